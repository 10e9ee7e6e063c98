"""The hint arm of a slot: drawn when it is claimed, with what it is drawn for, and never again."""

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator.labelling import hints
from annotator.models import Annotation, Assignment, Calibration, Label, ModelVersion, Prediction, Project
from annotator.queue import actions as queue
from tests.factories import World, judge, label, make_member, make_trajectory, make_world, predict

pytestmark = pytest.mark.django_db


def set_policy(world: World, **policy: object) -> None:
    world.project.hint_policy = {"model": "judge", **policy}
    world.project.save()


def claim(world: World, who: str = "annotator") -> Assignment:
    slot = queue.claim_next(world.project, world.user(who))
    assert slot is not None
    return Assignment.objects.get(pk=slot.pk)


def test_an_all_blind_project_claims_in_as_many_statements_as_before(
    world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    predict(make_trajectory(world.project), [1, 1, 1])
    with django_assert_num_queries(4):  # the transaction's begin and end, the lock, the claim
        queue.claim_next(world.project, world.annotator)
    slot = Assignment.objects.get(status="claimed")
    assert (slot.hint_arm, slot.hint_version, slot.no_hints) == ("blind", None, "")


@pytest.mark.parametrize("ahead", [False, True])
def test_the_arm_is_the_one_of_the_hash_and_names_what_it_was_drawn_for(world: World, ahead: bool) -> None:
    set_policy(world, reveal_after=40, hinted=30)
    predictions = {}
    for number in range(12):
        trajectory = make_trajectory(world.project, external_id=f"x-{number}")
        predictions[trajectory.pk] = predict(trajectory, [1, 0, -1])
    for person in (world.annotator, world.second):
        take = queue.claim_ahead if ahead else queue.claim_next
        while (slot := take(world.project, person)) is not None:
            slot.refresh_from_db()
            assert slot.hint_arm == world.project.hints.draw("demo", slot.trajectory.external_id, slot.slot)
            assert slot.hint_version == predictions[slot.trajectory_id].version
            if ahead:
                queue.claim_next(world.project, person)
    arms = set(Assignment.objects.values_list("hint_arm", flat=True))
    assert arms == {"blind", "reveal_after", "hinted"}


def test_the_latest_version_and_its_calibration_are_kept_whatever_comes_later(world: World) -> None:
    set_policy(world, hinted=100)
    trajectory = make_trajectory(world.project)
    first = predict(trajectory, [1, 0, -1]).version
    fitted = {"n_trajectories": 25, "n_steps": 75, "report": {}}
    calibration = Calibration.objects.create(
        version=first, method="temperature", parameters={"temperature": 2.0}, **fitted
    )
    slot = claim(world)
    second = ModelVersion.objects.create(project=world.project, kind="judge", name="judge", number=2)
    Prediction.objects.create(version=second, trajectory=trajectory, probs=[[1, 0, 0]] * 3)
    Calibration.objects.create(version=first, method="temperature", parameters={"temperature": 9.0}, **fitted)
    other = claim(world, "second")
    assert (slot.hint_version, slot.hint_calibration) == (first, calibration)
    assert (other.hint_version, other.hint_calibration) == (second, None)
    queue.release_claim(slot.pk, world.annotator)
    assert claim(world).hint_version == first


def test_where_there_is_nothing_to_show_it_is_blind_and_says_why(world: World) -> None:
    set_policy(world, hinted=100)
    make_trajectory(world.project)
    assert claim(world).no_hints == "no_prediction"  # no version at all
    predict(make_trajectory(world.project), [1, 1, 1])
    predict(make_trajectory(world.project), [None, None, None])
    make_trajectory(world.project)
    slots = [claim(world) for _ in range(3)]
    assert [(slot.hint_arm, slot.no_hints) for slot in slots] == [
        ("hinted", ""),
        ("blind", "abstained"),
        ("blind", "no_prediction"),
    ]
    assert [slot.hint_version is None for slot in slots] == [False, True, True]


def test_a_model_that_saw_the_reference_is_never_shown(world: World) -> None:
    set_policy(world, reveal_after=100)
    trajectory = make_trajectory(world.project)
    version = ModelVersion.objects.create(
        project=world.project, kind="judge", name="judge", number=1, sees_reference=True
    )
    Prediction.objects.create(version=version, trajectory=trajectory, probs=[[0, 0, 1]] * 3)
    slot = claim(world)
    assert (slot.hint_arm, slot.no_hints, slot.hint_version) == ("blind", "sees_reference", None)


def test_a_question_about_single_steps_is_always_blind() -> None:
    policy = {"hinted": 100, "model": "judge"}
    world = make_world(overlap=2, max_overlap=3, required_agreement=2, hint_policy=policy)
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, 1, 1])
    judge(trajectory, world.annotator, [1, 1, 1])
    judge(trajectory, world.second, [1, -1, 1])
    world.project.memberships.filter(user=world.reviewer).update(role="annotator")
    spot = claim(world, "reviewer")
    assert spot.wanted_steps == [1]
    assert (spot.hint_arm, spot.no_hints) == ("blind", "spot_question")


def test_an_arm_once_drawn_stays_when_the_policy_changes(world: World) -> None:
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, 1, 1])
    set_policy(world, hinted=100)
    slot = claim(world)
    queue.release_claim(slot.pk, world.annotator)
    Project.objects.update(hint_policy={})
    world.project.refresh_from_db()
    again = claim(world, "second")
    assert (again.pk, again.hint_arm) == (slot.pk, "hinted")


def test_whoever_gets_the_slot_after_a_skip_has_the_same_arm(world: World) -> None:
    set_policy(world, hinted=50, reveal_after=50)
    for number in range(6):
        predict(make_trajectory(world.project, external_id=f"x-{number}"), [1, 1, 1])
    skipped = [claim(world) for _ in range(6)]
    for slot in skipped:
        queue.skip(slot.pk, world.annotator, "Not my language.")
    Assignment.objects.filter(status="open").exclude(slot=0).update(priority=-1)
    taken = [claim(world, "second") for _ in range(6)]
    assert {(slot.trajectory_id, slot.slot, slot.hint_arm) for slot in taken} == {
        (slot.trajectory_id, slot.slot, slot.hint_arm) for slot in skipped
    }
    assert len({slot.hint_arm for slot in taken}) == 2


def test_the_database_refuses_hints_of_no_version(world: World) -> None:
    make_trajectory(world.project)
    with pytest.raises(IntegrityError, match="assignment_hints_are_of_a_version"):
        Assignment.objects.update(hint_arm="hinted")


def test_what_somebody_saw_in_another_slot_leaves_the_arm_of_this_one_as_it_is_drawn(world: World) -> None:
    set_policy(world, hinted=50)
    numbers = (f"x-{number}" for number in range(100))
    arms = ("hinted", "blind")
    external_id = next(
        x for x in numbers if tuple(world.project.hints.draw("demo", x, slot) for slot in (0, 1)) == arms
    )
    trajectory = make_trajectory(world.project, external_id=external_id)
    version = predict(trajectory, [1, 0, -1]).version
    first = claim(world)
    queue.release_claim(first.pk, world.annotator)
    assert claim(world, "second").pk == first.pk
    again = claim(world)
    assert (again.trajectory, again.slot) == (trajectory, 1)
    assert (again.hint_arm, again.hint_version, again.no_hints) == ("blind", version, "")
    queue.skip(again.pk, world.annotator, "I have seen it.")
    other = claim(world, "reviewer")  # who has seen nothing
    assert (other.slot, other.hint_arm, other.hint_version, other.no_hints) == (1, "blind", version, "")


def test_a_claim_of_somebody_who_saw_the_suggestions_shows_them_to_nobody_who_labels_blind(world: World) -> None:
    set_policy(world, hinted=100)
    predict(make_trajectory(world.project, n_steps=2), [1, -1])
    seen = claim(world, "second")
    queue.release_claim(seen.pk, world.second)
    claim(world, "reviewer")  # takes that slot
    blind = claim(world)
    Assignment.objects.filter(pk=blind.pk).update(hint_arm="blind")
    label(blind, world.annotator, {0: 1})
    Assignment.objects.filter(pk=blind.pk).update(lease_expires_at=now() - timedelta(minutes=1))
    assert claim(world, "second").pk == blind.pk
    queue.release_claim(blind.pk, world.second)
    label(blind, world.annotator, {1: -1}, outcome=1)
    slot = Assignment.objects.get(pk=blind.pk)
    assert (slot.annotator, slot.hint_arm) == (world.annotator, "blind")
    assert hints.shown(slot, Annotation.objects.get()) == {}
    labels = Label.objects.order_by("step__index").values_list("value", "hint_value", "is_after_hint")
    assert list(labels) == [(1, None, False), (-1, None, False), (1, None, False)]


def test_a_question_about_single_steps_is_blind_for_whoever_saw_the_suggestions_too() -> None:
    world = make_world(overlap=2, max_overlap=3, hint_policy={"hinted": 100, "model": "judge"})
    leaver = make_member(world.project)
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, 1, 1])
    seen = queue.claim_next(world.project, leaver)
    assert seen is not None
    queue.release_claim(seen.pk, leaver)
    judge(trajectory, world.annotator, [1, 1, 1])
    judge(trajectory, world.second, [1, -1, 1])
    spot = queue.claim_next(world.project, leaver)
    assert spot is not None
    assert (spot.wanted_steps, spot.hint_arm, spot.no_hints) == ([1], "blind", "spot_question")
    queue.skip(spot.pk, leaver, "no time")
    again = queue.claim_next(world.project, world.reviewer)
    assert again is not None
    assert (again.wanted_steps, again.hint_arm, again.no_hints) == ([1], "blind", "spot_question")


def test_a_skipped_slot_keeps_its_arm(world: World) -> None:
    set_policy(world, hinted=100)
    version = predict(make_trajectory(world.project), [1, 1, 1]).version
    slot = claim(world)
    queue.skip(slot.pk, world.annotator, "not mine")
    new = Assignment.objects.get(slot=slot.slot, status="open")
    assert (new.hint_arm, new.hint_version, new.annotator) == ("hinted", version, None)
