"""How long people took: the revisions of a judgement count together, and what was not timed is unknown."""

import numpy as np
import pytest

from annotator import flow
from annotator.labelling import revisions
from annotator.labelling.effort import Effort, judgements
from annotator.models import Annotation, Label, Project, Trajectory, User
from annotator.prelabelling import learning
from annotator.selection import pool, reading
from annotator.selection.acquisition import OPENING_COST
from tests.factories import World, judge, label, make_trajectory
from tests.selection.test_rounds import run


def timed(trajectory: Trajectory, person: User, values: list[int], ms: int) -> Annotation:
    """A judgement of which every step took so long."""
    slot = trajectory.assignments.claimable_by(person)[0]
    annotation = label(slot, person, dict(enumerate(values)), 1)
    annotation.labels.filter(step__isnull=False).update(active_ms=ms)
    flow.submit(slot.pk, person)
    return annotation


def correct(annotation: Annotation, world: World, ms: int) -> None:
    """A reviewer returns it, and its author changes one step."""
    revisions.return_annotation(annotation.pk, world.reviewer, "Look again.")
    draft = label(annotation.assignment, annotation.annotator, {0: -1})
    draft.labels.filter(step__index=0).update(active_ms=ms)
    flow.submit(annotation.assignment_id, annotation.annotator)


def steps() -> list[tuple[int, int, int]]:
    return list(judgements(Label.objects.filter(step__isnull=False)))


def opening_of(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """The lengths and times through which the line goes."""
    seen: list[tuple[int, float]] = []

    def fitted(n_steps: np.ndarray, active_ms: np.ndarray) -> None:
        seen.extend(zip(n_steps.tolist(), active_ms.tolist(), strict=True))

    monkeypatch.setattr(pool, "fitted_opening", fitted)
    assert pool._opening(project) == OPENING_COST
    return seen


def test_a_returned_judgement_keeps_the_time_it_had_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    trajectory = make_trajectory(world.project)
    round_ = run(world, n_wanted=1)
    first = timed(trajectory, world.annotator, [1, 1, 1], 10_000)
    timed(trajectory, world.second, [1, 1, 1], 5_000)
    before = Effort(8, 8, 45_000)  # with both outcomes
    assert [row.effort for row in reading.bought(round_)] == [before]
    revisions.return_annotation(first.pk, world.reviewer, "Look again.")
    assert [row.effort for row in reading.bought(round_)] == [before]  # a draft counts nowhere
    revisions.take_back(first.pk, world.reviewer)
    correct(first, world, 2_000)
    assert steps() == [(trajectory.pk, 3, 32_000), (trajectory.pk, 3, 15_000)]
    assert [(row.effort, row.effort.seconds) for row in reading.bought(round_)] == [(Effort(8, 8, 47_000), 47)]
    assert opening_of(world.project, monkeypatch) == [(3, 32_000), (3, 15_000)]
    # Step 1 is in dispute now, so it has no gold; nor is the outcome a step.
    chosen = world.project.trajectories.all()
    assert learning._efforts(chosen) == {trajectory.pk: Effort(4, 4, 30_000)}


def test_what_was_not_timed_is_not_free(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make_trajectory(world.project) for _ in range(2)]
    round_ = run(world, n_wanted=2)
    timed(made[0], world.annotator, [1, 1, 1], 8_000)
    judge(made[0], world.second, [1, 1, 1])
    (row,) = reading.bought(round_)
    assert (row.effort, row.effort.seconds, row.effort.timed) == (Effort(8, 4, 24_000), 48, "50 % timed")
    assert opening_of(world.project, monkeypatch) == [(3, 24_000)]
    for person in (world.annotator, world.second):
        judge(made[1], person, [1, 1, 1])
    (row,) = reading.bought(round_)
    assert (row.effort, row.effort.seconds, row.effort.timed) == (Effort(16, 4, 24_000), None, "25 % timed")
    assert (Effort().seconds, Effort().timed) == (None, "")
    assert (Effort(3, 3, 4_000).seconds, Effort(3, 3, 4_000).timed) == (4, "")
