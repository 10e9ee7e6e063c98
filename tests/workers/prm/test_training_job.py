"""From a published release to scores: the real task functions on a real database."""

from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from annotator import flow, jobs
from annotator.models import Job, ModelVersion, Prediction, Project, Trajectory, User
from annotator.prelabelling import actions, catalogue, reading, training
from annotator.prelabelling.actions import Selection
from annotator.prelabelling.scorer_config import ScorerConfig
from annotator.releases.policy import ReleasePolicy
from tests.factories import World, judge, make_trajectory, make_world
from tests.workers.prm import toy
from workers import tasks

pytestmark = pytest.mark.django_db(transaction=True)  # a release takes its own snapshot


@pytest.fixture
def models(settings: Settings, tmp_path: Path) -> Path:
    settings.MODELS_FOLDER = tmp_path
    return tmp_path


def add(project: Project, annotator: User, numbers: range, *, judged: bool = True) -> list[Trajectory]:
    added = []
    for number in numbers:
        messages = toy.messages_of(toy.values_of(number), number)
        trajectory = make_trajectory(project, messages=messages, group_key=f"task {number % 12}")
        if judged:
            judge(trajectory, annotator, toy.values_of(number))
        added.append(trajectory)
    return added


def published(world: World, n: int) -> None:
    add(world.project, world.annotator, range(n))
    splits = {"train": 0.7, "validation": 0.1, "test": 0.2}
    flow.publish(world.project, ReleasePolicy.parse({"splits": splits}), user=world.admin)


@pytest.fixture
def toys(transactional_db: None) -> World:
    """A project in which one person judges, with a small release."""
    world = make_world("toys", overlap=1)
    published(world, 18)
    return world


def train(world: World, **options: object) -> Job:
    parsed = training.parse({"release": 1, "name": "own", "max_epochs": 25, **options})
    job = training.start(world.project, parsed, user=world.admin)
    tasks.train_scorer(job.pk)
    job.refresh_from_db()
    return job


def prelabel(world: World, name: str = "own", *, gold: str = "without") -> Job:
    config = catalogue.read(world.project.slug).get(name)
    run = actions.start(world.project, config, Selection.parse({"gold": gold}), estimate={}, user=world.admin)
    tasks.prelabel(run.job_id)
    return Job.objects.get(pk=run.job_id)


def test_a_release_becomes_a_model_that_scores_what_it_has_never_seen(models: Path, transactional_db: None) -> None:
    toys = make_world("toys", overlap=1)
    published(toys, 40)
    job = train(toys)
    assert (job.status, job.error, job.unit, job.queue) == ("done", "", "epochs", "gpu")
    assert job.n_done == job.n_total
    learnt = job.result
    splits = toys.project.releases.get().manifest["counts"]["by_split"]
    assert learnt["n_trajectories"] == 40 - splits["test"] < 40
    assert learnt["test"]["scorer"]["step_acc"]["value"] > 0.9
    assert learnt["held_out"]["scorer"]["step_acc"]["value"] > 0.9
    assert learnt["held_out"]["always_positive"]["step_acc"]["value"] < 0.55
    assert sorted(path.name for path in (models / "checkpoints/own").iterdir()) == ["model.safetensors", "scorer.json"]
    config = catalogue.read("toys").get("own")
    assert isinstance(config, ScorerConfig)
    assert (config.project, config.release, config.mask, config.mode) == ("toys", 1, "full", "blind")
    assert config.weights_sha256 == learnt["weights_sha256"]

    new = add(toys.project, toys.annotator, range(1000, 1020), judged=False)
    scored = prelabel(toys)
    assert (scored.status, scored.error, scored.result["version"]) == ("done", "", "own v1")
    version = ModelVersion.objects.get()
    assert (version.kind, version.sees_reference, version.config["mask"]) == ("scorer", False, "full")
    assert version.weights_sha256 == config.weights_sha256
    assert version.config["is_calibrated"]
    assert [(row.version, row.is_calibrated) for row in reading.versions_of(toys.project)] == [(version, True)]
    assert version.render_sha256
    said = {p.trajectory_id: p for p in Prediction.objects.all()}
    assert set(said) == {trajectory.pk for trajectory in new}
    pairs = [
        (value, wanted)
        for trajectory, number in zip(new, range(1000, 1020), strict=True)
        for value, wanted in zip(said[trajectory.pk].values, toy.values_of(number), strict=True)
    ]
    assert sum(value == wanted for value, wanted in pairs) / len(pairs) > 0.9
    assert all(len(p.spread or []) == len(p.probs) for p in said.values())


def test_training_again_makes_a_version_only_if_something_changed(toys: World, models: Path) -> None:
    first, again = train(toys, max_epochs=2), train(toys, max_epochs=2)
    assert first.result == again.result
    add(toys.project, toys.annotator, range(1000, 1002), judged=False)
    assert prelabel(toys).result["version"] == "own v1"
    other = train(toys, max_epochs=2, seed=1)
    assert other.result["weights_sha256"] != first.result["weights_sha256"]
    assert prelabel(toys).result["version"] == "own v2"
    assert ModelVersion.objects.count() == 2


def test_a_worker_without_the_checkpoint_says_where_it_is(toys: World, models: Path) -> None:
    train(toys, max_epochs=1)
    for path in (models / "checkpoints/own").iterdir():
        path.unlink()
    add(toys.project, toys.annotator, range(1000, 1001), judged=False)
    job = prelabel(toys)
    assert job.status == "failed"
    assert job.error.startswith("This worker has no weights of the scorer own: it was trained on another machine.")
    assert Prediction.objects.count() == 0


def test_too_little_gold_fails_with_a_sentence_and_writes_nothing(models: Path, transactional_db: None) -> None:
    world = make_world("few", overlap=1)
    published(world, 6)
    job = train(world)
    assert job.status == "failed"
    assert "are too few to train on; it takes 10" in job.error
    assert list(models.iterdir()) == []


def test_an_encoder_that_is_not_there_fails_with_a_sentence(toys: World, models: Path) -> None:
    job = train(toys, encoder="nowhere")
    assert (job.status, job.error.split(":")[0]) == ("failed", "This machine has no sentence encoder nowhere")
    assert list(models.iterdir()) == []


def test_a_cancelled_training_stops_between_epochs_and_writes_nothing(
    toys: World, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = jobs.report

    def cancels_in_the_third_epoch(job: Job, n_done: int, n_total: int | None = None) -> None:
        if n_done == 2:
            jobs.cancel(job, user=toys.admin)
        report(job, n_done, n_total)

    monkeypatch.setattr(jobs, "report", cancels_in_the_third_epoch)
    job = train(toys)
    assert (job.status, job.n_done) == ("cancelled", 2)
    assert list(models.iterdir()) == []


def test_a_name_that_was_taken_meanwhile_is_not_overwritten(toys: World, models: Path) -> None:
    job = training.start(toys.project, training.parse({"release": 1, "name": "own", "max_epochs": 1}), user=toys.admin)
    (models / "own.yaml").write_text("kind: rules\nname: own\n")
    tasks.train_scorer(job.pk)
    job.refresh_from_db()
    assert (job.status, job.error[:42]) == ("failed", "The name own belongs to another model. Cho")
    assert (models / "own.yaml").read_text() == "kind: rules\nname: own\n"


def test_a_job_that_failed_can_be_tried_again(toys: World, models: Path) -> None:
    job = train(toys, encoder="nowhere")
    again = jobs.retry(job, user=toys.admin)
    assert (again.kind, again.queue, again.params, again.n_total) == (job.kind, "gpu", job.params, None)
