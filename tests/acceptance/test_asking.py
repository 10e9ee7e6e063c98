"""What is asked of whom once accepted labels are taken back: everything, and nobody who does not exist."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.test import Client

from annotator import flow
from annotator.acceptance import actions
from annotator.adjudication import actions as adjudication
from annotator.labelling import completeness
from annotator.models import Acceptance, Annotation, Assignment, GoldLabel, Membership, Trajectory, User
from annotator.queue import actions as queue
from tests.factories import World, judge, label, make_acceptance, make_member, make_trajectory, make_world

pytestmark = pytest.mark.django_db

TRUTH = [1, -1, 1]


@pytest.fixture
def pair(db: None) -> World:
    """A project that wants two judgements and has two annotators."""
    return make_world(overlap=2, max_overlap=2)


@pytest.fixture
def promise(pair: World) -> Acceptance:
    return make_acceptance(pair.project)


def make_accepted(world: World, promise: Acceptance, accepted: Sequence[int] = (0, 1)) -> Trajectory:
    """A trajectory of three steps, of which these are accepted."""
    trajectory = make_trajectory(world.project, n_steps=3)
    for step in trajectory.steps.filter(index__in=accepted):
        about: dict[str, Any] = {"provenance": "certified", "acceptance": promise, "settled_at": promise.created_at}
        GoldLabel.objects.create(trajectory=trajectory, step=step, value=1, **about)
    Assignment.objects.filter(trajectory=trajectory).update(wanted_steps=sorted({0, 1, 2} - set(accepted)))
    return trajectory


def withdraw(world: World, promise: Acceptance) -> None:
    job = actions.stop(promise, withdraws=True, user=world.admin)
    assert job is not None
    flow.run_job(job.pk)


def asked(trajectory: Trajectory) -> list[tuple[str, str | None, list[int] | None, bool]]:
    slots = Assignment.objects.filter(trajectory=trajectory).order_by("slot").select_related("annotator")
    return [
        (slot.status, slot.annotator.username if slot.annotator else None, slot.wanted_steps, slot.wants_outcome)
        for slot in slots
    ]


def gold(trajectory: Trajectory) -> dict[int | None, int | None]:
    return dict(trajectory.gold_labels.values_list("step__index", "value"))


def submit_again(trajectory: Trajectory, who: Any, values: dict[int, int | None]) -> None:
    slot = Assignment.objects.get(trajectory=trajectory, annotator=who)
    label(slot, who, values)
    flow.submit(slot.pk, who)


def test_what_nobody_has_begun_is_asked_whole_again(pair: World, promise: Acceptance) -> None:
    part, outcome_alone = make_accepted(pair, promise), make_accepted(pair, promise, [0, 1, 2])
    withdraw(pair, promise)
    assert asked(part) == asked(outcome_alone) == [("open", None, None, True)] * 2


def test_who_has_judged_the_rest_is_asked_for_what_was_taken_back(
    client: Client, pair: World, promise: Acceptance
) -> None:
    trajectory = make_accepted(pair, promise)
    for who in (pair.annotator, pair.second):
        judge(trajectory, who, TRUTH)
    assert gold(trajectory) == {0: 1, 1: 1, 2: 1, None: 1}
    withdraw(pair, promise)
    assert asked(trajectory) == [
        ("returned", "demo-ann", [0, 1, 2], True),
        ("returned", "demo-bob", [0, 1, 2], True),
    ]
    # What was settled stays settled, and what they said stays.
    assert gold(trajectory) == {2: 1, None: 1}
    assert Annotation.objects.submitted().filter(trajectory=trajectory).count() == 2
    client.force_login(pair.annotator)
    page = client.get("/projects/demo/history/").content.decode()
    assert "You are asked for steps 1, 2, too, because models’ labels of them were taken back." in page
    assert "You reopened this" not in page
    for who in (pair.annotator, pair.second):
        submit_again(trajectory, who, {0: -1, 1: -1})
    assert gold(trajectory) == {0: -1, 1: -1, 2: 1, None: 1}
    assert {status for status, *_ in asked(trajectory)} == {"submitted"}


def test_what_one_has_judged_is_asked_of_them_and_of_the_next(pair: World, promise: Acceptance) -> None:
    trajectory = make_accepted(pair, promise)
    judge(trajectory, pair.annotator, TRUTH)
    withdraw(pair, promise)
    assert asked(trajectory) == [("returned", "demo-ann", [0, 1, 2], True), ("open", None, [0, 1, 2], True)]
    judge(trajectory, pair.second, [1, 1, 1])
    assert gold(trajectory) == {}
    submit_again(trajectory, pair.annotator, {0: 1, 1: 1})
    assert gold(trajectory) == {0: 1, 1: 1, 2: 1, None: 1}


def test_what_somebody_holds_is_asked_of_them_and_their_draft_stays(pair: World, promise: Acceptance) -> None:
    trajectory = make_accepted(pair, promise)
    slot = queue.claim_next(pair.project, pair.annotator)
    assert slot is not None
    draft = label(slot, pair.annotator, {2: -1})
    withdraw(pair, promise)
    assert asked(trajectory) == [("claimed", "demo-ann", [0, 1, 2], True), ("open", None, [0, 1, 2], True)]
    assert list(draft.labels.values_list("step__index", "value")) == [(2, -1)]
    slot.refresh_from_db()
    assert completeness.missing_labels(slot, draft) == ["step 0", "step 1", "outcome"]


def test_annotators_who_have_not_had_it_are_asked_first(pair: World, promise: Acceptance) -> None:
    """A third one takes one of the two judgements; the other is asked of somebody who has judged the rest."""
    make_member(pair.project, "annotator", "third")
    settled, half = make_accepted(pair, promise), make_accepted(pair, promise)
    for who in (pair.annotator, pair.second):
        judge(settled, who, TRUTH)
    judge(half, pair.annotator, TRUTH)
    withdraw(pair, promise)
    assert asked(settled) == [
        ("returned", "demo-ann", [0, 1, 2], True),
        ("submitted", "demo-bob", [2], True),
        ("open", None, [0, 1], False),
    ]
    # Two have not had this one: one for the slot that was open, one for the new.
    assert asked(half) == [
        ("submitted", "demo-ann", [2], True),
        ("open", None, [0, 1, 2], True),
        ("open", None, [0, 1], False),
    ]


def test_who_has_left_is_asked_nothing(pair: World, promise: Acceptance) -> None:
    both, one = make_accepted(pair, promise), make_accepted(pair, promise)
    for trajectory in (both, one):
        judge(trajectory, pair.annotator, TRUTH)
    judge(both, pair.second, TRUTH)
    Membership.objects.filter(user=pair.annotator).delete()
    withdraw(pair, promise)
    assert asked(both) == [("submitted", "demo-ann", [2], True), ("returned", "demo-bob", [0, 1, 2], True)]
    assert asked(one) == [("submitted", "demo-ann", [2], True), ("open", None, [0, 1, 2], True)]
    submit_again(both, pair.second, {0: 1, 1: -1})
    assert gold(both) == {0: 1, 1: -1, 2: 1, None: 1}


def test_where_nobody_is_left_one_slot_waits(pair: World, promise: Acceptance) -> None:
    trajectory = make_accepted(pair, promise)
    for who in (pair.annotator, pair.second):
        judge(trajectory, who, TRUTH)
    Membership.objects.filter(user__in=[pair.annotator, pair.second]).delete()
    withdraw(pair, promise)
    assert asked(trajectory) == [
        ("submitted", "demo-ann", [2], True),
        ("submitted", "demo-bob", [2], True),
        ("open", None, [0, 1], False),
    ]
    judge(trajectory, pair.reviewer, [-1, -1, 1])
    assert gold(trajectory) == {0: -1, 1: -1, 2: 1, None: 1}


def take_back(trajectory: Trajectory, who: User, world: World) -> None:
    annotation = Annotation.objects.submitted().get(trajectory=trajectory, annotator=who)
    flow.take_back(annotation.pk, world.reviewer)


def test_what_is_taken_back_from_one_is_asked_of_the_next(pair: World, promise: Acceptance) -> None:
    """What somebody else says of these steps meanwhile is not dropped for what the first never said."""
    third = make_member(pair.project, "annotator", "third")
    trajectory = make_accepted(pair, promise)
    for who in (pair.annotator, pair.second):
        judge(trajectory, who, TRUTH)
    withdraw(pair, promise)
    label(Assignment.objects.get(trajectory=trajectory, slot=0), pair.annotator, {0: 0})
    take_back(trajectory, pair.annotator, pair)
    assert asked(trajectory) == [
        ("submitted", "demo-ann", [2], True),
        ("returned", "demo-bob", [0, 1, 2], True),
        ("open", None, [0, 1], False),
    ]
    judge(trajectory, third, TRUTH)
    assert gold(trajectory) == {2: 1, None: 1}
    # Nobody is asked for ever: from whom it was taken back it is not asked anew.
    take_back(trajectory, pair.second, pair)
    assert asked(trajectory) == [
        ("submitted", "demo-ann", [2], True),
        ("submitted", "demo-bob", [2], True),
        ("submitted", "third", [0, 1], False),
    ]
    assert gold(trajectory) == {0: 1, 1: -1, 2: 1, None: 1}
    # A draft that was begun meanwhile has no say in steps that are not asked of its author any more.
    submitted = Annotation.objects.submitted().get(trajectory=trajectory, annotator=pair.annotator)
    adjudication.return_to_author(submitted.pk, pair.reviewer, "Look again.")
    flow.submit(submitted.assignment_id, pair.annotator)
    assert gold(trajectory) == {0: 1, 1: -1, 2: 1, None: 1}


def test_what_waits_for_who_has_left_is_asked_of_whoever_joins(pair: World, promise: Acceptance) -> None:
    trajectory = make_accepted(pair, promise)
    for who in (pair.annotator, pair.second):
        judge(trajectory, who, TRUTH)
    withdraw(pair, promise)
    Membership.objects.filter(user__in=[pair.annotator, pair.second]).delete()
    for who in (pair.annotator, pair.second):
        assert flow.take_back_all(pair.project, who.username, pair.reviewer) == 1
    assert asked(trajectory) == [
        ("submitted", "demo-ann", [2], True),
        ("submitted", "demo-bob", [2], True),
        ("open", None, [0, 1], False),
    ]
    assert gold(trajectory) == {2: 1, None: 1}


def test_who_is_with_a_reviewers_return_is_asked_for_more_with_it(pair: World, promise: Acceptance) -> None:
    trajectory = make_accepted(pair, promise)
    annotation = judge(trajectory, pair.annotator, TRUTH)
    judge(trajectory, pair.second, TRUTH)
    adjudication.return_to_author(annotation.pk, pair.reviewer, "Look again.")
    withdraw(pair, promise)
    take_back(trajectory, pair.annotator, pair)
    assert asked(trajectory) == [("submitted", "demo-ann", [2], True), ("returned", "demo-bob", [0, 1, 2], True)]
    submit_again(trajectory, pair.second, {0: 1, 1: -1})
    assert gold(trajectory) == {0: 1, 1: -1, 2: 1, None: 1}


def test_who_is_asked_whole_is_asked_nothing_more(pair: World, promise: Acceptance) -> None:
    """A round drew it by chance while labels were accepted: its slots want every step as they are."""
    trajectory = make_accepted(pair, promise)
    Assignment.objects.filter(trajectory=trajectory).update(wanted_steps=None)
    judge(trajectory, pair.annotator, TRUTH)
    withdraw(pair, promise)
    assert asked(trajectory) == [("submitted", "demo-ann", None, True), ("open", None, None, True)]
    judge(trajectory, pair.second, TRUTH)
    assert gold(trajectory) == {0: 1, 1: -1, 2: 1, None: 1}
