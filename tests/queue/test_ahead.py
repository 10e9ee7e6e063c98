"""The slot that waits for its annotator while they finish another one."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils.timezone import now

from annotator.models import Assignment, AuditEvent, Membership
from annotator.queue import actions as queue
from tests.factories import World, label, make_member, make_trajectory

pytestmark = pytest.mark.django_db


def ahead_of(world: World) -> Assignment:
    slot = queue.claim_ahead(world.project, world.annotator)
    assert slot is not None
    return slot


def test_what_waits_is_handed_out_next_and_only_once(world: World) -> None:
    for _ in range(3):
        make_trajectory(world.project)
    first = queue.claim_next(world.project, world.annotator)
    waiting = ahead_of(world)
    assert ahead_of(world) == waiting
    assert queue.claim_next(world.project, world.annotator) == waiting
    waiting.refresh_from_db()
    assert not waiting.is_ahead
    assert waiting.lease_expires_at is not None
    assert waiting.lease_expires_at > now() + timedelta(minutes=59)
    third = queue.claim_next(world.project, world.annotator)
    assert third is not None
    assert len({first, waiting, third}) == 3
    assert AuditEvent.objects.filter(action="assignment.claimed").count() == 3


def test_it_waits_for_ten_minutes_and_goes_back(world: World) -> None:
    make_trajectory(world.project)
    waiting = ahead_of(world)
    assert waiting.lease_expires_at is not None
    assert timedelta(minutes=9) < waiting.lease_expires_at - now() <= timedelta(minutes=10)
    Assignment.objects.filter(pk=waiting.pk).update(lease_expires_at=now() - timedelta(seconds=1))
    assert queue.expire() == 1
    waiting.refresh_from_db()
    assert (waiting.status, waiting.annotator, waiting.is_ahead) == ("open", None, False)
    assert queue.claim_next(world.project, world.second) == waiting


def test_a_first_label_takes_it_up(world: World) -> None:
    make_trajectory(world.project)
    make_trajectory(world.project)
    waiting = ahead_of(world)
    label(waiting, world.annotator, {0: 1})
    waiting.refresh_from_db()
    assert not waiting.is_ahead
    assert queue.claim_next(world.project, world.annotator) != waiting


def test_each_has_their_own_and_nobody_two(world: World) -> None:
    make_trajectory(world.project)
    make_trajectory(world.project)
    mine = ahead_of(world)
    theirs = queue.claim_ahead(world.project, world.second)
    assert theirs is not None
    assert theirs != mine
    assert queue.claim_next(world.project, world.second) == theirs
    other = queue.claim_next(world.project, world.annotator)
    assert other == mine
    third = queue.claim_next(world.project, world.annotator)
    assert third is not None
    Assignment.objects.filter(pk=mine.pk).update(is_ahead=True)
    with pytest.raises(IntegrityError, match="assignment_one_ahead_per_annotator"), transaction.atomic():
        Assignment.objects.filter(pk=third.pk).update(is_ahead=True)


def test_the_page_of_the_following_trajectory_comes_before_it_is_asked_for(world: World, client: Client) -> None:
    make_trajectory(world.project)
    following = make_trajectory(world.project)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    client.force_login(world.annotator)
    response = client.post(f"/assignments/{slot.pk}/ahead/")
    waiting = following.assignments.get(annotator=world.annotator)
    assert f'data-url="/assignments/{waiting.pk}/"' in response.content.decode()
    assert waiting.is_ahead
    # It is not among what the overview offers to continue, since it has not been begun.
    assert f"/assignments/{waiting.pk}/" not in client.get("/projects/demo/").content.decode()
    answer = client.post(f"/assignments/{slot.pk}/skip/", {"reason": "too long"})
    assert answer["Location"] == f"/assignments/{waiting.pk}/"
    assert client.post(f"/assignments/{waiting.pk}/ahead/").status_code == 204


@pytest.mark.parametrize(
    ("_case", "who", "status"),
    [("colleagues learn nothing", "second", 404), ("outsiders learn nothing", "outsider", 404)],
)
def test_nobody_else_loads_ahead(world: World, client: Client, _case: str, who: str, status: int) -> None:
    make_trajectory(world.project)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    client.force_login(world.user(who))
    assert client.post(f"/assignments/{slot.pk}/ahead/").status_code == status
    assert Assignment.objects.filter(is_ahead=True).count() == 0


def test_who_is_no_annotator_any_more_gets_nothing_new(world: World, client: Client) -> None:
    make_trajectory(world.project, n_steps=1)
    make_trajectory(world.project)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    Membership.objects.filter(user=world.annotator).update(role="reviewer")
    client.force_login(world.annotator)
    assert client.post(f"/assignments/{slot.pk}/ahead/").status_code == 403
    answer = client.post(f"/assignments/{slot.pk}/submit/", {"step-0": "1", "outcome": "1"})
    assert answer["Location"] == "/projects/demo/"
    slot.refresh_from_db()
    assert slot.status == "submitted"
    assert Assignment.objects.filter(annotator=world.annotator).count() == 1


def test_two_people_ahead_of_the_last_slot(world: World) -> None:
    world.project.overlap = 1
    world.project.save(update_fields=["overlap"])
    make_trajectory(world.project)
    third = make_member(world.project)
    assert queue.claim_ahead(world.project, third) is not None
    assert queue.claim_ahead(world.project, world.annotator) is None
