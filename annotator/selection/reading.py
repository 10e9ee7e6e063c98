"""What a round bought: by strategy, how much people settled of what it chose, and how often the belief was wrong."""

from collections import defaultdict
from dataclasses import dataclass, field

from django.db.models import Exists, OuterRef

from annotator.labelling.effort import Effort, by_trajectory
from annotator.models import AcceptanceAudit, Assignment, GoldLabel, Label, SelectionRound, Trajectory
from annotator.raters import blind
from annotator.selection.batch import RANDOM
from annotator.selection.policy import STRATEGIES, SelectionPolicy


@dataclass
class Bought:
    """Of one strategy in one round. Only steps that people settled blind tell how often a belief was wrong."""

    strategy: str
    n_wanted: int | None = None  # None for rounds from before this was kept
    n_picks: int = 0
    n_settled: int = 0  # trajectories with a settled step
    n_steps: int = 0  # settled
    n_in_sight: int = 0  # of these, with a model's word in sight
    n_compared: int = 0  # the others of which something was believed when the round chose
    n_wrong: int = 0  # of these, settled with another value than the one that was believed
    effort: Effort = field(default_factory=Effort)
    against_random: float | None = None  # the wrong share, over that of the random slice

    @property
    def title(self) -> str:
        return STRATEGIES[self.strategy][0]

    @property
    def wrong_share(self) -> float | None:
        return self.n_wrong / self.n_compared if self.n_compared else None


def bought(round_: SelectionRound) -> list[Bought]:
    """By strategy that has a share or a trajectory, in the order of STRATEGIES."""
    picks = {pick.trajectory_id: pick for pick in round_.picks.all()}
    # What nobody took went back to the pool with the next round: what it brought then is not of this one.
    taken = set(round_.picks.taken().values_list("trajectory_id", flat=True))
    values: dict[int, list[tuple[int, int]]] = defaultdict(list)
    gold = GoldLabel.objects.by_people().filter(
        trajectory__picks__round=round_, step__isnull=False, value__isnull=False, settled_at__gte=round_.created_at
    )
    for trajectory, index, value in gold.values_list("trajectory_id", "step__index", "value"):
        assert value is not None  # filtered above
        values[trajectory].append((index, value))
    spent = by_trajectory(
        Label.objects.filter(
            annotation__trajectory__picks__round=round_, annotation__submitted_at__gte=round_.created_at
        )
    )
    steered = blind.steered(Trajectory.objects.filter(pk__in=values))
    wanted = round_.report.get("wanted")
    rows = {name: Bought(name, wanted and wanted.get(name, 0)) for name in STRATEGIES}
    for pk, pick in picks.items():
        row = rows[pick.strategy]
        row.n_picks += 1
        if pk not in taken:
            continue
        row.effort += spent.get(pk, Effort())
        settled = values.get(pk, [])
        row.n_settled += bool(settled)
        row.n_steps += len(settled)
        if pk in steered:
            # Whoever has a suggestion before them settles what it says more often, and chance is asked without any.
            row.n_in_sight += len(settled)
        elif believed := pick.before.get("values"):
            row.n_compared += len(settled)
            row.n_wrong += sum(believed[index] != value for index, value in settled)
    by_chance = rows[RANDOM].wrong_share
    for row in rows.values():
        if by_chance and row.wrong_share is not None and row.strategy != RANDOM:
            row.against_random = row.wrong_share / by_chance
    return [row for row in rows.values() if row.n_picks or row.n_wanted]


def not_taken(round_: SelectionRound) -> list[str]:
    """What became of the trajectories of a round that nobody took by it and that wait no longer."""
    gone = round_.picks.filter(assignments__isnull=True)
    of_it = {"trajectory": OuterRef("trajectory"), "acceptance__created_at__gte": round_.created_at}
    slots = Assignment.objects.live().filter(trajectory=OuterRef("trajectory"))
    is_accepted = Exists(GoldLabel.objects.filter(**of_it)) & ~Exists(slots)
    is_audit = Exists(AcceptanceAudit.objects.filter(**of_it))
    n_accepted, n_audits = gone.filter(is_accepted).count(), gone.filter(~is_accepted, is_audit).count()
    n_returned = gone.count() - n_accepted - n_audits
    found = {
        "went back to the pool": n_returned,
        f"{'was' if n_accepted == 1 else 'were'} accepted": n_accepted,
        "went to an audit": n_audits,
    }
    return [f"{n:,} {what}" for what, n in found.items() if n]


def why_short(round_: SelectionRound) -> list[str]:
    """Why a round that has chosen has fewer trajectories than were wanted; nothing where it has as many."""
    policy, n = SelectionPolicy.model_validate(round_.settings), round_.picks.count()
    n_taken, n_siblings = round_.report.get("n_taken_meanwhile", 0), round_.report.get("n_siblings_left", 0)
    n_unknown = round_.n_pool - n - n_taken - n_siblings
    found: list[str] = []
    if n >= policy.n_wanted:
        return found
    if round_.n_pool < policy.n_wanted:
        found.append(f"only {round_.n_pool:,} could be chosen")
    if n_taken:
        found.append(f"{n_taken:,} had been begun by somebody meanwhile")
    if n_siblings:
        found.append(f"strategies choose {policy.most_siblings} of one task at most, which left out {n_siblings:,}")
    if n_unknown and n + n_taken < policy.n_wanted and "n_siblings_left" in round_.report:
        found.append(f"no strategy knew anything of {n_unknown:,}")
    return found
