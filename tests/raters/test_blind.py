"""Which labels count as given before a model's word was in sight: by their own author, and submitted."""

from typing import Any

import pytest
from django.test import Client

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.labelling import actions as labelling
from annotator.labelling import revisions
from annotator.models import Assignment, Dispute, Project, Trajectory, User
from annotator.queue import actions as queue
from annotator.raters import blind, hint_reading
from annotator.raters.reliability_reading import report
from tests.factories import World, judge, label, make_member, make_trajectory, make_world, predict

pytestmark = pytest.mark.django_db

# Trajectory, step, person, value.
Row = tuple[int, int, int, int]


def blind_labels(project: Project) -> list[Row]:
    found = blind.labels(project.trajectories.all())
    names = ("trajectory", "step", "rater", "value")
    return sorted(zip(*(found[name].tolist() for name in names), strict=True))


def rows(trajectory: Trajectory, person: User, values: list[int]) -> list[Row]:
    return [(trajectory.pk, step, person.pk, value) for step, value in enumerate(values)]


def shown_world(arm: str, **settings: Any) -> tuple[World, Trajectory]:
    """A trajectory of two steps of which the model has spoken, so that its slots are drawn into this arm."""
    world = make_world(hint_policy={arm: 100, "model": "judge"}, **settings)
    trajectory = make_trajectory(world.project, n_steps=2, enqueue=False)
    predict(trajectory, [-1, -1])
    queue.enqueue(world.project)
    return world, trajectory


def claim(world: World, person: User) -> Assignment:
    slot = queue.claim_next(world.project, person)
    assert slot is not None
    return slot


def read(client: Client, reader: User, trajectory: Trajectory) -> None:
    client.force_login(reader)
    assert client.get(f"/projects/demo/trajectories/{trajectory.pk}/models/").status_code == 200


@pytest.mark.parametrize("leaver_is_newer", [False, True])
def test_a_draft_that_was_given_back_counts_for_nobody(leaver_is_newer: bool) -> None:
    world, trajectory = shown_world("reveal_after", overlap=1)
    leaver, stayer = world.annotator, world.second
    if leaver_is_newer:  # with an id above those of all who have submitted
        leaver = make_member(world.project, username="demo-zoe")
    slot = claim(world, leaver)
    label(slot, leaver, {0: -1, 1: -1}, outcome=1)
    labelling.show_hints(slot.pk, leaver)
    queue.release_claim(slot.pk, leaver)
    assert claim(world, stayer).pk == slot.pk
    label(slot, stayer, {0: 1, 1: 1}, outcome=1)
    flow.submit(slot.pk, stayer)
    assert blind_labels(world.project) == rows(trajectory, stayer, [1, 1])
    nobody_else = ["2 labels on steps that nobody else has judged or decided."]
    assert report(world.project, "gold").silent == [(stayer.username, nobody_else)]


def test_what_stood_before_a_reveal_of_a_later_revision_counts() -> None:
    world, trajectory = shown_world("reveal_after")
    slot = claim(world, world.annotator)
    label(slot, world.annotator, {0: 1, 1: 1}, outcome=1)
    annotation = flow.submit(slot.pk, world.annotator)
    revisions.return_annotation(annotation.pk, world.reviewer, "Look again.")
    labelling.show_hints(slot.pk, world.annotator)
    label(slot, world.annotator, {0: -1})
    flow.submit(slot.pk, world.annotator)
    assert blind_labels(world.project) == rows(trajectory, world.annotator, [1, 1])


def test_labels_given_after_reading_what_models_said_are_not_blind(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    predict(trajectory, [-1, -1])
    read(client, world.reviewer, trajectory)
    judge(trajectory, world.reviewer, [-1, -1])
    judge(trajectory, world.annotator, [1, -1])
    assert blind_labels(world.project) == rows(trajectory, world.annotator, [1, -1])
    silent = dict(report(world.project, "gold").silent)
    assert silent["demo-rita"] == ["2 labels given with a model's word in sight."]


def test_of_a_judgement_whose_author_read_on_the_way_what_stood_before_counts(world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    predict(trajectory, [-1, -1])
    slot = claim(world, world.reviewer)
    label(slot, world.reviewer, {0: 1})
    blind.keep_reading(world.project, [trajectory], world.reviewer)  # as a list of steps does
    label(slot, world.reviewer, {0: -1, 1: -1}, outcome=1)
    assert blind_labels(world.project) == []
    flow.submit(slot.pk, world.reviewer)
    assert blind_labels(world.project) == [(trajectory.pk, 0, world.reviewer.pk, 1)]


def test_what_was_submitted_before_reading_counts(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    predict(trajectory, [-1, -1])
    judge(trajectory, world.reviewer, [1, 0])
    read(client, world.reviewer, trajectory)
    assert blind_labels(world.project) == rows(trajectory, world.reviewer, [1, 0])
    assert blind.in_sight(world.project) == {}


def test_suggestions_seen_in_a_slot_that_was_given_back_are_in_sight_in_the_next_one() -> None:
    """Also where the project has stopped showing them meanwhile."""
    world, trajectory = shown_world("hinted")
    seen = claim(world, world.annotator)
    queue.release_claim(seen.pk, world.annotator)
    Assignment.objects.filter(pk=seen.pk).update(priority=-1)
    world.project.hint_policy = {}
    world.project.save()
    slot = claim(world, world.annotator)
    assert (slot.trajectory, slot.hint_arm) == (trajectory, "blind")
    label(slot, world.annotator, {0: -1, 1: -1}, outcome=1)
    flow.submit(slot.pk, world.annotator)
    assert blind_labels(world.project) == []
    assert blind.in_sight(world.project) == {"judge": {trajectory.pk}}


def test_whoever_saw_suggestions_in_another_slot_is_in_none_of_the_arms_of_the_report() -> None:
    world, trajectory = shown_world("hinted")
    seen = claim(world, world.annotator)
    queue.release_claim(seen.pk, world.annotator)
    judge(trajectory, world.second, [1, 1])
    judge(trajectory, world.annotator, [1, -1])
    assert [one.rater for one in hint_reading.read(world.project, "gold")] == [world.second.pk]


def test_suggestions_seen_in_a_slot_that_was_given_back_are_in_sight_of_a_later_decision() -> None:
    world, trajectory = shown_world("reveal_after")
    slot = claim(world, world.reviewer)
    label(slot, world.reviewer, {0: 1, 1: 1}, outcome=1)
    labelling.show_hints(slot.pk, world.reviewer)
    queue.release_claim(slot.pk, world.reviewer)
    judge(trajectory, world.annotator, [1, 1])
    judge(trajectory, world.second, [-1, 1])
    assert blind.in_sight(world.project) == {}
    flow.decide(Dispute.objects.get(), world.reviewer, DecisionIn(value=-1, reason_code="slip"))
    assert blind.in_sight(world.project) == {"judge": {trajectory.pk}}


def test_whoever_has_read_what_models_said_is_in_no_arm_of_the_report(client: Client) -> None:
    world, trajectory = shown_world("reveal_after", overlap=3, max_overlap=3)
    for person in (world.annotator, world.second, world.reviewer):
        if person == world.reviewer:
            read(client, person, trajectory)
        slot = claim(world, person)
        label(slot, person, {0: 1, 1: 1}, outcome=1)
        flow.submit(slot.pk, person)
    read(client, world.admin, trajectory)
    people = [one.rater for one in hint_reading.read(world.project, "gold")]
    assert people == [world.annotator.pk, world.second.pk]
