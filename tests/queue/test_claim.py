"""Claiming: the best open slot, under a lease, never twice."""

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.errors import AssignmentNotYours, InvalidInput
from annotator.labelling import actions as labelling
from annotator.labelling.intake import Changes
from annotator.models import Annotation, Assignment, AuditEvent, Label
from annotator.queue import actions as queue
from tests.factories import World, label, make_member, make_project, make_trajectory

pytestmark = pytest.mark.django_db


def let_lease_run_out(assignment: Assignment) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(lease_expires_at=now() - timedelta(seconds=1))


def claim(world: World, user: str = "annotator") -> Assignment:
    assignment = queue.claim_next(world.project, world.user(user))
    assert assignment is not None
    return assignment


def test_every_new_trajectory_gets_as_many_slots_as_the_project_overlaps(world: World) -> None:
    first = make_trajectory(world.project)
    assert list(first.assignments.order_by("slot").values_list("slot", "status")) == [(0, "open"), (1, "open")]
    assert queue.enqueue(world.project) == 0
    assert Assignment.objects.count() == 2


def test_a_claim_holds_the_oldest_slot_of_the_highest_priority(world: World) -> None:
    make_trajectory(world.project)
    urgent = make_trajectory(world.project)
    urgent.assignments.update(priority=1.0)
    before = now()
    slot = claim(world)
    assert (slot.trajectory_id, slot.slot, slot.status) == (urgent.pk, 0, "claimed")
    assert slot.annotator == world.annotator
    assert slot.lease_expires_at is not None
    assert timedelta(minutes=60) <= slot.lease_expires_at - before < timedelta(minutes=61)
    assert AuditEvent.objects.get(action="assignment.claimed").object_id == slot.pk


def test_nobody_gets_a_trajectory_twice(world: World) -> None:
    make_trajectory(world.project)
    claim(world)
    assert queue.claim_next(world.project, world.annotator) is None
    assert Assignment.objects.filter(status="claimed").count() == 1


def test_the_database_refuses_a_second_slot_for_the_same_person(world: World) -> None:
    trajectory = make_trajectory(world.project)
    claim(world)
    with pytest.raises(IntegrityError, match="assignment_once_per_annotator"):
        trajectory.assignments.filter(slot=1).update(
            status="claimed", annotator=world.annotator, lease_expires_at=now()
        )


def test_no_more_people_than_the_overlap_get_a_trajectory(world: World) -> None:
    make_trajectory(world.project)
    third = make_member(world.project)
    claim(world)
    claim(world, "second")
    assert queue.claim_next(world.project, third) is None
    assert Assignment.objects.filter(status="claimed").count() == 2


def test_slots_of_another_project_are_not_offered(world: World) -> None:
    make_trajectory(make_project())
    assert queue.claim_next(world.project, world.annotator) is None


def test_a_claim_whose_lease_ran_out_goes_to_the_next_person(world: World) -> None:
    world.project.overlap = 1
    world.project.save()
    make_trajectory(world.project)
    slot = claim(world)
    let_lease_run_out(slot)
    assert claim(world, "second").pk == slot.pk
    assert AuditEvent.objects.filter(action="assignment.expired", object_id=slot.pk).count() == 1


def test_a_claim_within_its_lease_stays(world: World) -> None:
    make_trajectory(world.project)
    claim(world)
    assert queue.expire() == 0
    assert Assignment.objects.filter(status="claimed", annotator=world.annotator).count() == 1


def test_saving_a_label_renews_the_lease(world: World) -> None:
    make_trajectory(world.project)
    slot = claim(world)
    Assignment.objects.filter(pk=slot.pk).update(lease_expires_at=now() + timedelta(minutes=2))
    label(slot, world.annotator, {0: 1})
    slot.refresh_from_db()
    assert slot.lease_expires_at is not None
    assert slot.lease_expires_at > now() + timedelta(minutes=59)


def test_whoever_comes_back_late_goes_on_if_nobody_took_the_slot(world: World) -> None:
    make_trajectory(world.project)
    slot = claim(world)
    label(slot, world.annotator, {0: 1})
    let_lease_run_out(slot)
    queue.expire()
    label(slot, world.annotator, {1: -1})
    slot.refresh_from_db()
    assert (slot.status, slot.annotator) == ("claimed", world.annotator)
    assert list(Label.objects.order_by("step__index").values_list("step__index", "value")) == [(0, 1), (1, -1)]


def test_whoever_comes_back_after_it_was_taken_is_told_and_the_draft_stays(world: World) -> None:
    world.project.overlap = 1
    world.project.save()
    make_trajectory(world.project)
    slot = claim(world)
    label(slot, world.annotator, {0: 1})
    let_lease_run_out(slot)
    claim(world, "second")
    with pytest.raises(AssignmentNotYours, match="somebody else has taken this trajectory"):
        label(slot, world.annotator, {1: 1})
    draft = Annotation.objects.get(annotator=world.annotator)
    assert list(draft.labels.values_list("step__index", "value")) == [(0, 1)]
    slot.refresh_from_db()
    assert slot.annotator == world.second


def test_skipping_needs_a_reason(world: World) -> None:
    make_trajectory(world.project)
    slot = claim(world)
    for nothing in ("  ", "\0", " \0 "):
        with pytest.raises(InvalidInput, match="Say in a few words why"):
            queue.skip(slot.pk, world.annotator, nothing)
    with pytest.raises(InvalidInput, match="The text has 501 characters; at most 500 are stored"):
        queue.skip(slot.pk, world.annotator, "x" * 501)
    slot.refresh_from_db()
    assert (slot.status, slot.skip_reason) == ("claimed", "")
    queue.skip(slot.pk, world.annotator, " " + "x" * 500)
    slot.refresh_from_db()
    assert (slot.status, slot.skip_reason) == ("skipped", "x" * 500)


def test_a_skipped_slot_goes_to_somebody_else_and_never_back(world: World) -> None:
    trajectory = make_trajectory(world.project)
    slot = claim(world)
    queue.skip(slot.pk, world.annotator, "It is in Finnish.")
    slot.refresh_from_db()
    assert (slot.status, slot.skip_reason, slot.annotator) == ("skipped", "It is in Finnish.", world.annotator)
    assert trajectory.assignments.live().filter(status="open").count() == 2
    assert queue.claim_next(world.project, world.annotator) is None
    assert claim(world, "second").trajectory_id == trajectory.pk


def test_a_given_back_slot_is_open_again_for_the_same_person_too(world: World) -> None:
    make_trajectory(world.project)
    slot = claim(world)
    queue.release_claim(slot.pk, world.annotator)
    slot.refresh_from_db()
    assert (slot.status, slot.annotator, slot.lease_expires_at) == ("open", None, None)
    assert claim(world).pk == slot.pk


def test_a_submitted_assignment_can_neither_be_skipped_nor_labelled(world: World) -> None:
    make_trajectory(world.project, n_steps=1)
    slot = claim(world)
    label(slot, world.annotator, {0: 1}, 1)
    flow.submit(slot.pk, world.annotator)
    with pytest.raises(AssignmentNotYours, match="already submitted"):
        queue.skip(slot.pk, world.annotator, "Changed my mind.")
    with pytest.raises(AssignmentNotYours, match="already submitted"):
        labelling.save_labels(slot.pk, world.annotator, Changes({0: -1}, {}))
    assert Label.objects.get(step__index=0).value == 1


def test_lapsed_claims_are_reopened_by_as_many_statements_however_many_they_are(
    world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in (2, 6):
        people = [make_member(world.project) for _ in range(n)]
        for _ in range(n):
            make_trajectory(world.project)
        slots = [queue.claim_next(world.project, person) for person in people]
        Assignment.objects.filter(pk__in=[slot.pk for slot in slots if slot]).update(
            lease_expires_at=now() - timedelta(seconds=1)
        )
        with django_assert_num_queries(5):  # a savepoint and its release, the claims, their change, their events
            assert queue.expire() == n
    events = AuditEvent.objects.filter(action="assignment.expired")
    assert list(events.values_list("project_id", flat=True)) == [world.project.pk] * 8
