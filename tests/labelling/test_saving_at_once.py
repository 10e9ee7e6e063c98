"""Saves that meet: other tabs, a submission, a return, a lapsed claim. Each has read before the other has written."""

import functools
import threading

import pytest

from annotator import access, flow
from annotator.errors import AssignmentNotYours, LabelsOutdated
from annotator.labelling import actions, revisions
from annotator.labelling.intake import Changes
from annotator.labelling.store import Basis
from annotator.models import Annotation, Assignment, AuditEvent, Label, LabelEvent
from annotator.queue import actions as queue
from tests.factories import World, label, make_trajectory, make_world
from tests.queue.test_concurrency import run_at_once

# A row's version tells transactions apart, so each save needs one of its own.
pytestmark = pytest.mark.django_db(transaction=True)

N_STEPS = 3


@pytest.fixture
def slot(world: World) -> Assignment:
    make_trajectory(world.project, n_steps=N_STEPS)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    return claimed


def basis_of(slot: Assignment, world: World) -> Basis:
    return access.get_basis(world.annotator, slot.pk)


def values() -> dict[int | None, int]:
    return dict(Label.objects.values_list("step__index", "value"))


def events() -> list[tuple[int | None, int | None]]:
    return list(LabelEvent.objects.order_by("id").values_list("step__index", "value"))


def test_two_tabs_that_begin_the_draft_share_it(slot: Assignment, world: World) -> None:
    first, second = basis_of(slot, world), basis_of(slot, world)
    actions.save(first, world.annotator, Changes({0: 1}, {}))
    actions.save(second, world.annotator, Changes({1: -1}, {}))
    assert Annotation.objects.count() == 1
    assert values() == {0: 1, 1: -1}
    assert second.draft is None
    assert events() == [(0, 1), (1, -1)]


def test_a_later_save_is_held_against_what_another_tab_has_stored(slot: Assignment, world: World) -> None:
    label(slot, world.annotator, {0: 1})
    basis = basis_of(slot, world)
    actions.save(basis_of(slot, world), world.annotator, Changes({0: -1}, {}, {0: {"active_ms": 900}}))
    actions.save(basis, world.annotator, Changes({0: -1}, {}, {0: {"active_ms": 500, "is_seen": True}}))
    stored = Label.objects.get()
    assert (stored.value, stored.active_ms, stored.is_seen) == (-1, 900, True)
    assert events() == [(0, 1), (0, -1)]


def test_a_save_that_was_overtaken_changes_nothing(slot: Assignment, world: World) -> None:
    late = [basis_of(slot, world) for _ in range(2)]
    first, second = (Changes({0: value}, {}, n_saves=0) for value in (1, -1))
    actions.save(basis_of(slot, world), world.annotator, second)
    # Whether it had read before that or not.
    for basis in (*late, basis_of(slot, world)):
        with pytest.raises(LabelsOutdated) as refused:
            actions.save(basis, world.annotator, first)
        assert refused.value.n_saves == 1
    assert (values(), events()) == ({0: -1}, [(0, -1)])


def test_a_save_is_overtaken_by_one_that_says_what_is_stored_already(slot: Assignment, world: World) -> None:
    actions.save(basis_of(slot, world), world.annotator, Changes({0: 1}, {}, n_saves=0))
    assert actions.save(basis_of(slot, world), world.annotator, Changes({0: 1}, {}, n_saves=1)).assignment.n_saves == 2
    with pytest.raises(LabelsOutdated):
        actions.save(basis_of(slot, world), world.annotator, Changes({0: -1}, {}, n_saves=1))
    # Who does not say what they know of is never overtaken.
    actions.save(basis_of(slot, world), world.annotator, Changes({0: 0}, {}))
    assert events() == [(0, 1), (0, 0)]


def test_a_save_from_before_a_submission_does_not_reach_the_next_revision(slot: Assignment, world: World) -> None:
    label(slot, world.annotator, dict.fromkeys(range(N_STEPS), 1), outcome=1)
    submitted = flow.submit(slot.pk, world.annotator)
    revisions.return_annotation(submitted.pk, world.reviewer, "Look at step 1.")
    with pytest.raises(LabelsOutdated):
        actions.save(basis_of(slot, world), world.annotator, Changes({0: -1}, {}, n_saves=0))
    assert set(values().values()) == {1}


def test_a_save_that_meets_a_submission_is_refused(slot: Assignment, world: World) -> None:
    label(slot, world.annotator, dict.fromkeys(range(N_STEPS), 1), outcome=1)
    basis = basis_of(slot, world)
    flow.submit(slot.pk, world.annotator)
    with pytest.raises(AssignmentNotYours, match="You have already submitted this trajectory"):
        actions.save(basis, world.annotator, Changes({0: -1}, {}))
    assert set(values().values()) == {1}
    assert len(events()) == N_STEPS + 1


def test_a_save_that_meets_a_return_goes_into_the_new_revision(slot: Assignment, world: World) -> None:
    label(slot, world.annotator, dict.fromkeys(range(N_STEPS), 1), outcome=1)
    basis = basis_of(slot, world)
    annotation = flow.submit(slot.pk, world.annotator)
    revisions.return_annotation(annotation.pk, world.reviewer, "Look at step 1.")
    actions.save(basis, world.annotator, Changes({0: -1}, {}))
    by_revision = Label.objects.filter(step__index=0).values_list("annotation__revision", "value")
    assert dict(by_revision) == {1: 1, 2: -1}


def test_a_save_that_meets_a_claim_by_somebody_else_is_refused(world: World) -> None:
    world.project.overlap = 1
    world.project.save()
    make_trajectory(world.project)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    label(slot, world.annotator, {0: 1})
    basis = basis_of(slot, world)
    queue.release_claim(slot.pk, world.annotator)
    assert queue.claim_next(world.project, world.second) == slot
    with pytest.raises(AssignmentNotYours, match="somebody else has taken this trajectory"):
        actions.save(basis, world.annotator, Changes({0: -1}, {}))
    assert values() == {0: 1}
    slot.refresh_from_db()
    assert slot.annotator == world.second


def test_a_save_that_meets_the_reveal_is_marked_as_after_it() -> None:
    world = make_world(overlap=1, label_scheme={"reveal": "after_labels"})
    make_trajectory(world.project, n_steps=1)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    label(slot, world.annotator, {0: 1}, outcome=1)
    basis = basis_of(slot, world)
    actions.reveal(slot.pk, world.annotator)
    actions.save(basis, world.annotator, Changes({0: -1}, {}))
    marks = LabelEvent.objects.order_by("id").values_list("step__index", "value", "is_after_reveal")
    assert list(marks) == [(0, 1, False), (None, 1, False), (0, -1, True)]
    assert Label.objects.get(step__index=0).is_after_reveal


def test_many_tabs_at_once_lose_nothing_and_log_everything_once() -> None:
    world = make_world(overlap=1)
    make_trajectory(world.project, n_steps=24)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    work = [lambda i=i: label(slot, world.annotator, {i: 1, (i + 1) % 24: 1}, outcome=1) for i in range(24)]
    assert run_at_once(work) == []
    expected: dict[int | None, int] = {None: 1} | dict.fromkeys(range(24), 1)
    assert values() == expected
    assert sorted(events(), key=str) == sorted(values().items(), key=str)
    assert Annotation.objects.count() == 1


def test_saves_and_a_submission_at_once_leave_exactly_what_was_submitted() -> None:
    world = make_world(overlap=1)
    make_trajectory(world.project, n_steps=2)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    label(slot, world.annotator, {0: 1, 1: 1}, outcome=1)
    submitted = threading.Event()
    refused = []

    def save(value: int) -> None:
        for _ in range(10):
            was_submitted = submitted.is_set()
            try:
                label(slot, world.annotator, {0: value})
            except AssignmentNotYours:
                refused.append(value)
            else:
                assert not was_submitted

    def submit() -> None:
        flow.submit(slot.pk, world.annotator)
        submitted.set()

    assert run_at_once([*(lambda value=value: save(value) for value in (-1, 0, 1)), submit]) == []
    annotation = Annotation.objects.get()
    last_event = annotation.label_events.filter(step__index=0).order_by("id").last()
    assert annotation.submitted_at is not None
    assert last_event is not None
    assert annotation.labels.get(step__index=0).value == last_event.value
    assert not annotation.label_events.filter(at__gt=annotation.submitted_at).exists()


def test_submitting_twice_at_once_does_no_harm() -> None:
    world = make_world(overlap=1)
    for _ in range(5):
        make_trajectory(world.project, n_steps=2)
        slot = queue.claim_next(world.project, world.annotator)
        assert slot is not None
        label(slot, world.annotator, {0: 1, 1: 1}, outcome=1)
        submit = functools.partial(flow.submit, slot.pk, world.annotator)
        assert run_at_once([submit] * 3) == []
    assert Annotation.objects.submitted().count() == 5
    assert AuditEvent.objects.filter(action="annotation.submitted").count() == 5
