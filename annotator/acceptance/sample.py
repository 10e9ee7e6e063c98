"""Who was drawn at random and judged blind, and which trajectories nobody has begun: what a promise is tested on."""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from django.db.models import Exists, Min, OuterRef, Q

from annotator.acceptance.terms import HEARD_FROM, first_that_tests, to_learn_from, why_not
from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.chance import chance
from annotator.models import (
    Acceptance,
    Annotation,
    Assignment,
    GoldLabel,
    Job,
    ModelVersion,
    Prediction,
    Project,
    SelectionPick,
    SelectionRound,
    Trajectory,
)
from annotator.models.importing import TrajectoryQuerySet
from annotator.raters import blind
from annotator.raters.actions import latest_versions
from annotator.selection.actions import untouched

Status = Assignment.Status


@dataclass(frozen=True)
class Drawn:
    """The trajectories that rounds drew at random, whole, and that somebody has taken; each in one round only.

    ids: in the order of their ids. rounds (n,): the place of each one's round in `begun` and `ended`, between which it
    was drawn. probabilities (n,): with which. is_known (n,): all its judgements are in, none given in sight of a model.
    chances (n,): by which it is learnt from or tests, the same in every try. since: the number of the first round that
    counts, where earlier ones do not; else None.
    """

    ids: list[int]
    rounds: IntArray
    probabilities: FloatArray
    is_known: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    chances: FloatArray
    begun: list[datetime]
    ended: list[datetime]
    since: int | None = None

    @property
    def weights(self) -> FloatArray:
        """(n,) the inverse probability, over the largest in the same round; 1 where all had the same."""
        inverse = 1 / self.probabilities
        largest = np.zeros(len(self.begun))
        np.maximum.at(largest, self.rounds, inverse)
        return np.asarray(inverse / largest[self.rounds], dtype=np.float64)

    def some(self, chosen: IntArray) -> "Drawn":
        """Of these places; rounds of which none is left are dropped."""
        used, rounds = np.unique(self.rounds[chosen], return_inverse=True)
        return replace(
            self,
            ids=[self.ids[i] for i in chosen],
            rounds=rounds.astype(np.int64),
            probabilities=self.probabilities[chosen],
            is_known=self.is_known[chosen],
            chances=self.chances[chosen],
            begun=[self.begun[i] for i in used],
            ended=[self.ended[i] for i in used],
        )


def doubtful(trajectories: Collection[int]) -> set[int]:
    """Those that are not known: a judgement is out, or somebody judged or decided with a model's word in sight."""
    in_doubt = ~Q(status=Status.SUBMITTED) | ~Q(hint_arm=Assignment.HintArm.BLIND)
    slots = Assignment.objects.live().filter(in_doubt, trajectory__in=trajectories)
    steered = blind.steered(Trajectory.objects.filter(pk__in=trajectories))
    return {*slots.values_list("trajectory", flat=True), *steered}


def last_broken(project: Project) -> Acceptance | None:
    """The promise that an audit broke last. What was drawn before is known to mislead, so it tests no other one."""
    return project.acceptances.filter(status=Acceptance.Status.BROKEN).order_by("stopped_at").last()


def drawn(project: Project) -> Drawn:
    """What people take of a round's random part is a random part of it, too: they get it in a random order.

    Of rounds that were started after the last promise was broken, and of these the ones that test (first_that_tests).
    """
    picks = SelectionPick.objects.taken().filter(
        round__project=project,
        round__job__finished_at__isnull=False,
        probability__isnull=False,
        steps__isnull=True,
    )
    if broken := last_broken(project):
        picks = picks.filter(round__created_at__gt=broken.stopped_at)
    picks = picks.order_by("trajectory")
    rows = list(picks.values_list("trajectory", "round", "probability", "trajectory__external_id"))
    chosen = SelectionRound.objects.filter(project=project, job__finished_at__isnull=False).order_by("id")
    rounds = list(chosen.select_related("job").only("number", "n_pool", "created_at", "job__finished_at"))
    place = {round_.pk: i for i, round_ in enumerate(rounds)}
    ids = [row[0] for row in rows]
    unknown = doubtful(ids)
    found = Drawn(
        ids=ids,
        rounds=np.array([place[row[1]] for row in rows], dtype=np.int64),
        probabilities=np.array([row[2] for row in rows], dtype=np.float64),
        is_known=np.array([pk not in unknown for pk in ids], dtype=np.bool_),
        chances=np.array([chance("acceptance", project.slug, row[3]) for row in rows], dtype=np.float64),
        begun=[round_.created_at for round_ in rounds],
        ended=[round_.job.finished_at or round_.created_at for round_ in rounds],
    )
    if not ids:
        return found.some(np.arange(0))
    used, n_drawn = np.unique(found.rounds, return_counts=True)
    some = [rounds[place] for place in used]
    n_before = _in_queue_before(project, [round_.created_at for round_ in some])
    first = first_that_tests(n_before, np.array([round_.n_pool for round_ in some], dtype=np.int64), n_drawn)
    kept = found.some(np.flatnonzero(found.rounds >= used[first]))
    return replace(kept, since=some[first].number) if first else kept


def _in_queue_before(project: Project, times: Sequence[datetime]) -> IntArray:
    """How many trajectories had come before each of these times; what a promise gave back has come once more.

    Slots do not tell that: what is accepted later loses them, and the past must not change by that.
    """
    came = list(project.trajectories.values_list("created_at", flat=True))
    withdrawals = project.jobs.filter(kind=Job.Kind.WITHDRAW).order_by("-pk")
    first = dict(withdrawals.values_list("params__acceptance", "queued_at"))
    for promise in project.acceptances.filter(pk__in=first).only("report"):
        came += [first[promise.pk]] * promise.report.get("n_trajectories", 0)
    came.sort()
    return np.array([bisect_left(came, at) for at in times], dtype=np.int64)


def candidates(project: Project) -> TrajectoryQuerySet:
    """What nobody has ever been given, is in no audit, and does not wait as a round's random part.

    The random part is left to people, so that the next promise can be tested, too.
    """
    slots = Assignment.objects.filter(trajectory=OuterRef("pk"))
    accepted = GoldLabel.objects.filter(trajectory=OuterRef("pk"), acceptance__isnull=False)
    return untouched(project).filter(
        ~Exists(slots.filter(pick__probability__isnull=False)),
        ~Exists(accepted),
    )


def drawable_since(project: Project, at: datetime) -> TrajectoryQuerySet:
    """The candidates that every round begun after `at` could have drawn.

    The slots tell, not the trajectory: what an acceptance took whole had none while it was in force, and was drawn by
    no round of that time. Those that it has now are new.
    """
    new = Assignment.objects.live().filter(trajectory=OuterRef("pk"), created_at__gte=at)
    return candidates(project).filter(~Exists(new), created_at__lt=at)


def heard(project: Project, sample: Drawn) -> list[ModelVersion]:
    """The models whose word a promise may rest on: they have not learnt from this project's gold.

    What a project's own scorer says of trajectories that it learnt from, or that had no gold when it was trained, would
    be another thing in the sample than in the rest.
    """
    found = []
    for version in latest_versions(project):
        if version.kind == ModelVersion.Kind.SCORER:
            continue
        n = Prediction.objects.speaking().filter(version=version, trajectory__in=sample.ids).count()
        if n >= HEARD_FROM * len(sample.ids):
            found.append(version)
    return found


def first_judged(project: Project) -> dict[int, datetime]:
    """By trajectory: when the first judgement of it was submitted."""
    rows = Annotation.objects.submitted().filter(assignment__project=project).order_by()
    return dict(rows.values_list("trajectory").annotate(at=Min("submitted_at")).values_list("trajectory", "at"))


def made_at(ids: Sequence[int]) -> dict[int, datetime]:
    return dict(Trajectory.objects.filter(pk__in=ids).values_list("pk", "created_at"))


@dataclass(frozen=True)
class Counts:
    """What there is to test a promise on, for a page that must not wait for arrays."""

    n_drawn: int
    n_learnt: int
    n_known: int
    n_elsewhere: int
    n_pool: int
    n_late: int  # candidates that came after the first round that tests
    is_heard: bool  # some model has spoken of the sample
    since: int | None
    broken: Acceptance | None

    @property
    def missing(self) -> str:
        broken = str(self.broken or "")
        n_pool = self.n_pool, self.n_late
        return why_not(self.n_drawn, self.n_learnt, self.n_elsewhere, *n_pool, is_heard=self.is_heard, broken=broken)


def counts(project: Project) -> Counts:
    sample = drawn(project)
    gold = GoldLabel.objects.by_people().filter(trajectory__project=project, step__isnull=False, value__isnull=False)
    n_elsewhere = gold.exclude(trajectory__in=sample.ids).values("trajectory").distinct().count()
    learnt = to_learn_from(sample.chances, n_elsewhere)
    tests = sample.some(np.setdiff1d(np.arange(len(sample.ids)), learnt))
    versions = heard(project, sample)
    spoken_of = Prediction.objects.speaking().filter(trajectory=OuterRef("pk"))
    rated = [Exists(spoken_of.filter(version=version)) for version in versions]
    n_rated = candidates(project).filter(*rated).count() if rated else 0
    n_pool = n_rated
    if n_rated and tests.ids:
        n_pool = drawable_since(project, min(tests.begun)).filter(*rated).count()
    return Counts(
        n_drawn=len(sample.ids),
        n_learnt=len(learnt),
        n_known=int(sample.is_known.sum()),
        n_elsewhere=n_elsewhere,
        n_pool=n_pool,
        n_late=n_rated - n_pool,
        is_heard=bool(versions),
        since=sample.since,
        broken=last_broken(project),
    )
