"""Whoever reads what the models say of a trajectory no longer measures them there."""

import pytest
from django.test import Client

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.models import AuditEvent, Dispute, Trajectory, User
from annotator.raters import blind
from annotator.raters.actions import compare_models
from tests.factories import World, judge, make_trajectory, predict

pytestmark = pytest.mark.django_db


@pytest.fixture
def trajectory(world: World) -> Trajectory:
    trajectory = make_trajectory(world.project, n_steps=2)
    predict(trajectory, [-1, 1], model="judge")
    predict(trajectory, [1, 1], model="other")
    judge(trajectory, world.annotator, [-1, 1])
    judge(trajectory, world.second, [1, 1])
    return trajectory


def read(client: Client, reader: User, trajectory: Trajectory) -> str:
    client.force_login(reader)
    return client.get(f"/projects/demo/trajectories/{trajectory.pk}/models/").content.decode()


def decide(world: World) -> None:
    flow.decide(Dispute.objects.get(), world.reviewer, DecisionIn(value=-1, reason_code="slip"))


def test_a_decision_after_reading_counts_for_no_model(client: Client, world: World, trajectory: Trajectory) -> None:
    assert "does not count when models are measured" in read(client, world.reviewer, trajectory)
    assert blind.in_sight(world.project) == {}
    decide(world)
    assert blind.in_sight(world.project) == {"judge": {trajectory.pk}, "other": {trajectory.pk}}
    _, compared, _ = compare_models(world.project, "gold")
    assert [one.overall.n_steps for one in compared.values()] == [0, 0]
    client.force_login(world.admin)
    assert "that people had judged with its word in sight" in " ".join(
        client.get("/projects/demo/raters/reliability/").content.decode().split()
    )


def test_reading_twice_is_kept_once(client: Client, world: World, trajectory: Trajectory) -> None:
    read(client, world.reviewer, trajectory)
    read(client, world.reviewer, trajectory)
    kept = AuditEvent.objects.get(action="trajectory.models_read")
    assert (kept.object_id, kept.user, kept.project) == (trajectory.pk, world.reviewer, world.project)


def test_what_was_decided_before_or_by_somebody_who_has_not_read_it_counts(
    client: Client, world: World, trajectory: Trajectory
) -> None:
    read(client, world.admin, trajectory)
    decide(world)
    read(client, world.reviewer, trajectory)
    assert blind.in_sight(world.project) == {}


def test_a_judgement_after_reading_counts_for_no_model(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    predict(trajectory, [-1, 1], model="judge")
    read(client, world.reviewer, trajectory)
    judge(trajectory, world.annotator, [-1, 1])
    assert blind.in_sight(world.project) == {}
    judge(trajectory, world.reviewer, [-1, 1])
    assert blind.in_sight(world.project) == {"judge": {trajectory.pk}}
