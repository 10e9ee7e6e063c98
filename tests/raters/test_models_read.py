"""Whoever reads what the models say of a trajectory no longer measures them there."""

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.fusion import actions as fusion
from annotator.models import AuditEvent, Dispute, ModelVersion, Posterior, ReferenceLabel, Trajectory, User
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


STEPS = "/projects/demo/raters/steps/?version={model}&against=reference"
OF_MODEL = "/projects/demo/raters/reliability/steps/?rater=model-{model}"
OF_PERSON = "/projects/demo/raters/reliability/steps/?rater=person-{person}"


def read(client: Client, reader: User, trajectory: Trajectory) -> str:
    client.force_login(reader)
    return client.get(f"/projects/demo/trajectories/{trajectory.pk}/models/").content.decode()


def decide(world: World) -> None:
    flow.decide(Dispute.objects.get(), world.reviewer, DecisionIn(value=-1, reason_code="slip"))


def test_a_decision_after_reading_counts_for_no_model(client: Client, world: World, trajectory: Trajectory) -> None:
    assert "of this trajectory from now on measures no model" in read(client, world.reviewer, trajectory)
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


def fuse(world: World) -> None:
    flow.run_job(fusion.start(world.project, user=None).pk)
    assert Posterior.objects.exists()


@pytest.mark.parametrize(
    ("address", "says_models_word"),
    [
        (STEPS, True),
        (OF_MODEL, True),
        (OF_MODEL + "&against=posterior", True),
        (OF_PERSON + "&against=posterior", True),
        (OF_PERSON, False),  # beside what people said
        ("/projects/demo/raters/", False),
        ("/projects/demo/raters/reliability/?against=posterior", False),
        ("/projects/demo/beliefs/", False),
    ],
)
def test_whoever_opens_a_list_with_models_words_has_read_them_of_all_that_are_in_it(
    client: Client, world: World, trajectory: Trajectory, address: str, says_models_word: bool
) -> None:
    for step in trajectory.steps.all():
        ReferenceLabel.objects.create(trajectory=trajectory, step=step, value=1)
    decide(world)
    fuse(world)
    version = ModelVersion.objects.get(name="judge")
    unlisted = make_trajectory(world.project)
    predict(unlisted, [1, 1, 1])
    client.force_login(world.reviewer)
    for _ in range(2):
        answer = client.get(address.format(model=version.pk, person=world.annotator.pk))
        assert answer.status_code == 200
        assert ("of these trajectories from now on" in answer.content.decode()) == says_models_word
    kept = AuditEvent.objects.filter(action="trajectory.models_read").values_list("object_id", "user", "project")
    expected = [(trajectory.pk, world.reviewer.pk, world.project.pk)] if says_models_word else []
    assert list(kept) == expected
    decide(world)
    assert bool(blind.in_sight(world.project)) == says_models_word


def test_a_list_of_many_is_kept_in_one_insert(
    client: Client, world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(30):
        trajectory = make_trajectory(world.project, n_steps=1)
        predict(trajectory, [1])
        ReferenceLabel.objects.create(trajectory=trajectory, step=trajectory.steps.get(), value=1)
    client.force_login(world.reviewer)
    address = STEPS.format(model=ModelVersion.objects.get().pk)
    with django_assert_max_num_queries(18):
        client.get(address)
    assert AuditEvent.objects.filter(action="trajectory.models_read").count() == 30


def test_beliefs_do_not_say_where_the_first_error_is(client: Client, world: World, trajectory: Trajectory) -> None:
    fuse(world)
    client.force_login(world.reviewer)
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert trajectory.external_id in text
    assert "First error, most likely" not in text
