"""Rounds of selection: start one, choose, and put what was chosen first in the queue.

A round touches open slots of trajectories that nobody has begun, and nothing else: whatever people hold, drafted or
judged stays as it is, with its place in the queue.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Exists, OuterRef

from annotator import audit, jobs
from annotator.errors import DomainError, InvalidInput, JobConflict, JobFailed
from annotator.fusion import actions as fusion
from annotator.fusion.suggestions import TRUSTED
from annotator.models import (
    Acceptance,
    AcceptanceAudit,
    Annotation,
    Assignment,
    Fusion,
    Job,
    Membership,
    Posterior,
    Project,
    SelectionPick,
    SelectionRound,
    User,
)
from annotator.models.importing import TrajectoryQuerySet
from annotator.queue.rest import rest_of
from annotator.selection.acquisition import doubt
from annotator.selection.batch import RANDOM, Pick, choose, interleaved, quotas, stratified
from annotator.selection.policy import STRATEGIES, SelectionPolicy
from annotator.selection.pool import Pool, asked, read_pool, scores_of, spread_out

logger = logging.getLogger(__name__)

# A scheduled round starts when fewer than this share of the last one's trajectories wait.
_NEARLY_TAKEN = 0.2
# After a round that ended so none starts by itself: a person has to look first, or has just said that they want none.
STOPPED = (Job.Status.FAILED, Job.Status.CANCELLED)
_NO_SINGLE_STEPS = (
    "this project stops at the first error, so single steps cannot be asked for. Choose whole trajectories."
)


def untouched(project: Project) -> TrajectoryQuerySet:
    """What a round may choose: nobody has had any slot of it yet, and none is an escalation or an audit.

    An arm is drawn when a slot is claimed, and stays: whoever let the claim lapse may still have the page open, and may
    have seen what a model says.
    """
    slots = Assignment.objects.live().filter(trajectory=OuterRef("pk"))
    begun = Annotation.objects.filter(trajectory=OuterRef("pk"))
    audits = AcceptanceAudit.objects.filter(
        trajectory=OuterRef("pk"), acceptance__status__in=Acceptance.IN_FORCE, settled_at=None
    )
    return project.trajectories.filter(
        Exists(slots),
        ~Exists(audits),
        ~Exists(slots.exclude(status=Assignment.Status.OPEN, hint_arm="")),
        ~Exists(slots.filter(priority__gte=1)),
        ~Exists(begun),
    )


@transaction.atomic
def start(project: Project, *, user: User | None, is_scheduled: bool = False) -> Job:
    """Queues a round with the project's policy.

    Raises JobConflict while one is open or a fusion is under way, InvalidInput without a pool.
    """
    current = Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # one at a time
    rounds = SelectionRound.objects.filter(project=current)
    rounds.filter(is_open=True, job__finished_at__isnull=False).update(is_open=False)  # cancelled before it ran
    if busy := rounds.filter(is_open=True).first():
        raise JobConflict(f"Nothing was started: {busy} has not ended yet. Its job is number {busy.job_id}.")
    if fusion.is_under_way(current):
        raise JobConflict(
            "Nothing was started: a fusion of this project is under way. Start the round once it has ended, so that it "
            "chooses by what is believed then."
        )
    if not untouched(current).exists():
        raise InvalidInput(
            "Nothing was started: somebody has begun every trajectory that is in the queue."
            if Assignment.objects.filter(project=current).exists()
            else "Nothing was started: there is no trajectory in the queue. Import some first."
        )
    policy = current.selection
    if not can_ask(current, policy):
        raise InvalidInput(f"Nothing was started: {_NO_SINGLE_STEPS}")
    params = {"is_scheduled": is_scheduled}
    job = jobs.enqueue(current, Job.Kind.SELECT, params, unit="trajectories", n_total=None, user=user)
    latest = rounds.order_by("-number").first()
    SelectionRound.objects.create(
        project=current,
        job=job,
        number=latest.number + 1 if latest else 1,
        unit=policy.unit,
        settings=policy.model_dump(mode="json"),
        seed=secrets.randbits(31),
        is_scheduled=is_scheduled,
        created_by=user,
    )
    return job


def start_due() -> int:
    """Starts a round wherever the policy says so and most of the last one is taken; returns how many."""
    n_started = 0
    for project in Project.objects.filter(selection_policy__is_on=True).order_by("id"):
        if is_due(project):
            try:
                start(project, user=None, is_scheduled=True)
            except DomainError as error:
                logger.info("No round for %s: %s", project.slug, error.message)
            else:
                n_started += 1
    return n_started


def is_due(project: Project) -> bool:
    """Whether a scheduled round would start now, if there is anything to choose from."""
    last = SelectionRound.objects.filter(project=project).select_related("job").last()
    if last is None:
        return True
    if last.is_open and not last.job.is_finished:
        return False
    if last.job.status in STOPPED:
        return False
    return waiting(last) < max(1, _NEARLY_TAKEN * last.picks.count())


def waiting(round_: SelectionRound) -> int:
    """How many trajectories of the round still have an open slot that some annotator may take.

    What every annotator has had or skipped waits for nobody.
    """
    had = Assignment.objects.filter(trajectory=OuterRef(OuterRef("trajectory")), annotator=OuterRef("user"))
    annotators = Membership.objects.filter(role=Membership.Role.ANNOTATOR, user__is_active=True)
    takers = annotators.filter(~Exists(had), project=round_.project_id)
    slots = Assignment.objects.open().filter(Exists(takers), pick__round=round_)
    return slots.values("trajectory").distinct().count()


def choose_next(job: Job) -> dict[str, Any]:
    """What a job of a round does: fuses first if there is something to learn, so that it chooses by what is known now.

    Run again after a crash, it does nothing twice: a fusion goes on, and what is chosen is written in one transaction.
    """
    round_ = SelectionRound.objects.select_related("project").get(job=job)
    if not round_.is_open:
        return _result(round_)
    try:
        policy = SelectionPolicy.model_validate(round_.settings)
        if _has_fused(job) or (policy.needs_beliefs and fusion.is_worth_it(round_.project)):
            fusion.fuse(job)
        if not can_ask(round_.project, policy):
            raise JobFailed(f"Nothing was chosen: {_NO_SINGLE_STEPS}")  # the settings have changed meanwhile
        pool = read_pool(round_.project, policy, untouched(round_.project))
        jobs.report(job, 0, len(pool.ids))
        picks = _choose(pool, round_)
        jobs.report(job, len(pool.ids))
        _write(round_, pool, picks)
    except Exception as error:
        if not jobs.is_outage(error):
            SelectionRound.objects.filter(pk=round_.pk).update(is_open=False)
        raise
    return _result(round_)


def can_ask(project: Project, policy: SelectionPolicy) -> bool:
    """Whether a round may ask so: where labelling stops at the first error, single steps cannot be asked for."""
    return policy.unit != "steps" or project.scheme.mode != "stop_at_first_error"


def _has_fused(job: Job) -> bool:
    return Fusion.objects.filter(job=job).exists()


def _result(round_: SelectionRound) -> dict[str, Any]:
    found = {"round": round_.pk, "number": round_.number, "n_picks": round_.picks.count(), "n_pool": round_.n_pool}
    return {**found, "is_fused": _has_fused(round_.job)}


def _choose(pool: Pool, round_: SelectionRound) -> list[Pick]:
    policy = SelectionPolicy.model_validate(round_.settings)
    round_.n_pool, round_.fusion = len(pool.ids), pool.fusion if policy.needs_beliefs else None
    round_.is_cold = policy.needs_beliefs and (pool.fusion is None or pool.fusion.method not in TRUSTED)
    shares = {str(name): float(share) for name, share in policy.shares.items()}
    n = min(policy.n_wanted, len(pool.ids))
    round_.report = {"wanted": {RANDOM: n} if round_.is_cold else quotas(shares, n)}
    if round_.is_cold:
        return stratified(pool.strata, policy.n_wanted, round_.seed)
    scores = scores_of(pool, policy)
    keys = spread_out(scores, pool, policy)
    picks = choose(keys, shares, policy.n_wanted, pool.groups, policy.most_siblings, round_.seed)
    left = set(np.flatnonzero(np.any([np.isfinite(values) for values in scores.values()], axis=0)))
    left -= {pick.index for pick in picks}
    # A short round leaves out what some strategy knows only because its task has had its part.
    round_.report["n_siblings_left"] = len(left) if len(picks) < n else 0
    known = [p if p.strategy == RANDOM else replace(p, score=float(scores[p.strategy][p.index])) for p in picks]
    return interleaved(known)


@transaction.atomic
def _write(round_: SelectionRound, pool: Pool, picks: Sequence[Pick]) -> None:
    """Stores the picks and puts them first; those that somebody has begun meanwhile are left to them."""
    project = Project.objects.select_for_update(no_key=True).get(pk=round_.project_id)
    _forget_earlier(project)
    policy = SelectionPolicy.model_validate(round_.settings)
    chosen = [pool.ids[pick.index] for pick in picks]
    free = _lock_untouched(project, chosen)
    kept = [p for p, pk in zip(picks, chosen, strict=True) if pk in free]
    probs = dict(
        Posterior.objects.filter(trajectory__in=[pool.ids[p.index] for p in kept]).values_list("trajectory", "probs")
    )
    rest = rest_of(free)
    open_slots = list(Assignment.objects.open().filter(trajectory__in=free))
    with_outcome = {slot.trajectory_id for slot in open_slots if slot.wants_outcome}
    rows = []
    for rank, pick in enumerate(kept):
        pk = pool.ids[pick.index]
        # What was accepted is not asked again, but by chance: that is asked whole, to estimate by.
        steps = asked(probs.get(pk), rest.get(pk), policy) if pick.probability is None else None
        before: dict[str, Any] = {}
        if policy.unit == "steps" and steps and pk in with_outcome:
            before["leaves_out_outcome"] = True
        if pk in probs:
            beliefs = np.array(probs[pk])
            before["values"] = [int(v) for v in beliefs.argmax(axis=1) - 1]
            before["expected_errors"] = round(float(doubt(beliefs).sum()), 4)
        rows.append(
            SelectionPick(
                round=round_,
                trajectory_id=pk,
                rank=rank,
                strategy=pick.strategy,
                score=pick.score,
                steps=steps,
                probability=pick.probability,
                reason=_reason(pick, round_),
                before=before,
            )
        )
    stored = SelectionPick.objects.bulk_create(rows, batch_size=2_000)
    by_trajectory = {pick.trajectory_id: pick for pick in stored}
    changed = []
    for slot in open_slots:
        pick_row = by_trajectory[slot.trajectory_id]
        slot.pick = pick_row
        slot.priority = 1 - (pick_row.rank + 1) / (len(stored) + 1)  # in (0, 1): escalations, from 1 on, go first
        slot.wanted_steps = pick_row.steps
        slot.wants_outcome = slot.wants_outcome and not pick_row.leaves_out_outcome
        changed.append(slot)
    Assignment.objects.bulk_update(changed, ["pick", "priority", "wanted_steps", "wants_outcome"], batch_size=2_000)
    round_.is_open = False
    round_.report |= {"n_taken_meanwhile": len(picks) - len(kept), "opening_steps": round(pool.opening, 1)}
    round_.save(update_fields=["is_open", "is_cold", "n_pool", "fusion", "report"])
    audit.log(
        "selection.chosen",
        round_,
        user=round_.created_by,
        project_id=project.pk,
        data={"number": round_.number, "n_picks": len(stored), "n_pool": round_.n_pool, "is_cold": round_.is_cold},
    )


def _forget_earlier(project: Project) -> None:
    """What earlier rounds chose and nobody has begun goes back to the pool, whole and without priority."""
    waiting = Assignment.objects.open().filter(pick__isnull=False, project=project)
    left = _lock_untouched(project, list(waiting.values_list("trajectory", flat=True).distinct()))
    slots = Assignment.objects.open().filter(trajectory__in=left)
    slots.filter(pick__before__leaves_out_outcome=True).update(wants_outcome=True)
    slots.update(pick=None, priority=0, wanted_steps=None)
    for trajectory, steps in rest_of(left).items():
        slots.filter(trajectory=trajectory).update(wanted_steps=steps)


def _lock_untouched(project: Project, trajectories: Sequence[int]) -> set[int]:
    """Locks the slots of these trajectories; returns those of which every slot is locked and still untouched.

    Whoever is claiming a slot holds its row: the trajectory is theirs, with all its slots, so that these never ask for
    different things. It is passed over and not waited for.
    """
    slots = Assignment.objects.live().filter(trajectory__in=trajectories)
    locked = slots.open().select_for_update(skip_locked=True, of=("self",)).values_list("trajectory", flat=True)
    have, wanted = Counter(locked), Counter(slots.values_list("trajectory", flat=True))
    free = untouched(project).filter(pk__in=trajectories).values_list("pk", flat=True)
    return {pk for pk in free if have[pk] == wanted[pk]}


def _reason(pick: Pick, round_: SelectionRound) -> str:
    if pick.strategy == RANDOM:
        how = ", its share of its source and length" if round_.is_cold else ""
        return f"drawn at random{how}; one of {round_.n_pool} with probability {pick.probability:.2g}"
    assert pick.score is not None
    score = "" if pick.strategy == "oldest" else f" (score {pick.score:.3g})"
    return f"{STRATEGIES[pick.strategy][1]}{score}"
