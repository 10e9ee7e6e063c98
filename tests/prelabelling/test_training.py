"""Asking for a scorer to be trained: from the page, the API and the command line. Workers do it elsewhere."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils.timezone import now
from pytest_django.fixtures import Settings

from annotator import jobs
from annotator.errors import InvalidInput
from annotator.models import AuditEvent, Job, Project, Release
from annotator.prelabelling import catalogue, learning, training
from annotator.prelabelling.configs import ConfigError, parse
from annotator.prelabelling.scorer_config import ScorerConfig
from tests.api.client import client_of
from tests.factories import World, make_trajectory, make_world

pytestmark = pytest.mark.django_db

MODEL_FILE = """
kind: scorer
name: {name}
title: The scorer of {project}
project: {project}
release: 1
mask: prefix
mode: with_reference
encoder: {{kind: hashed, width: 256}}
features: [step_text, place, rules]
features_version: 1
rules_version: 1
is_calibrated: true
data_sha256: {hash}
weights_sha256: {hash}
"""


@pytest.fixture(autouse=True)
def models(settings: Settings, tmp_path: Path) -> Path:
    settings.MODELS_FOLDER = tmp_path
    return tmp_path


def add_scorer(models: Path, name: str, project: str) -> None:
    (models / f"{name}.yaml").write_text(MODEL_FILE.format(name=name, project=project, hash="a" * 64))


def publish(project: Project, number: int = 1) -> None:
    Release.objects.create(project=project, number=number, policy={}, published_at=now())


def test_a_model_file_of_a_scorer_is_read_and_a_wrong_one_named(models: Path) -> None:
    text = MODEL_FILE.format(name="own", project="demo", hash="a" * 64)
    config = parse(text, "own.yaml")
    assert isinstance(config, ScorerConfig)
    assert config.encoder is not None
    assert (config.mask, config.encoder.kind, config.features) == ("prefix", "hashed", ("step_text", "place", "rules"))
    assert set(config.identity()) == set(ScorerConfig.model_fields) - {"title", "weights_sha256"}
    with pytest.raises(ConfigError, match=r"own\.yaml: mask: Input should be 'full' or 'prefix'"):
        parse(text.replace("mask: prefix", "mask: half"), "own.yaml")
    with pytest.raises(ConfigError, match=r"own\.yaml: features\[1\]: "):
        parse(text.replace("place", "votes"), "own.yaml")


def test_a_version_that_came_out_of_two_trainings_scores_the_rest_in_one_run(world: World, models: Path) -> None:
    config = parse(MODEL_FILE.format(name="own", project="demo", hash="a" * 64), "own.yaml")
    assert isinstance(config, ScorerConfig)
    make_trajectory(world.project)
    run, other = (
        learning.prelabel_rest(
            jobs.create(world.project, Job.Kind.LEARN, {}, unit="percent", n_total=100, user=None), config
        )
        for _ in range(2)
    )
    assert run is not None
    assert run == other


def test_a_scorer_is_a_model_of_its_own_project_only(world: World, models: Path) -> None:
    add_scorer(models, "ours", "demo")
    add_scorer(models, "theirs", "elsewhere")
    assert "ours" in catalogue.read("demo").models
    assert "theirs" not in catalogue.read("demo").models
    with pytest.raises(InvalidInput, match="There is no model 'theirs'") as refused:
        catalogue.read("demo").get("theirs")
    assert "theirs" not in refused.value.message.partition("There are:")[2]


def test_a_training_is_queued_for_the_workers_that_have_torch(world: World) -> None:
    publish(world.project)
    options = training.parse({"release": 1, "name": "own", "mask": "prefix", "seed": 3})
    job = training.start(world.project, options, user=world.admin)
    assert (job.kind, job.status, job.queue, job.unit, job.n_total) == ("train_scorer", "queued", "gpu", "epochs", None)
    assert training.parse(job.params) == options
    assert AuditEvent.objects.filter(action="job.queued", object_id=job.pk, user=world.admin).count() == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"release": 2}, r"There is no release 2\. There are: 1\."),
        ({"release": 0}, "release: Input should be greater than or equal to 1"),
        ({"name": "Own Scorer"}, "name: String should match pattern"),
        ({"name": "theirs"}, "The name theirs belongs to another model"),
        ({"name": "rules"}, "The name rules belongs to another model"),
        ({"name": "broken"}, "The name broken belongs to another model"),
        ({"mask": "half"}, "mask: Input should be 'full' or 'prefix'"),
        ({"encoder": "../../etc"}, "encoder: String should match pattern"),
        ({"epochs": 5}, "epochs: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_queued(
    world: World, models: Path, changes: dict[str, object], sentence: str
) -> None:
    publish(world.project)
    add_scorer(models, "theirs", "elsewhere")
    (models / "broken.yaml").write_text("kind: scorer\n")
    with pytest.raises(InvalidInput, match=sentence):
        training.start(world.project, training.parse({"release": 1, "name": "own", **changes}), user=world.admin)
    assert Job.objects.count() == 0


def test_the_release_of_another_project_is_not_there(world: World) -> None:
    publish(make_world("other").project)
    with pytest.raises(InvalidInput, match=r"There is no release 1\. Publish one first\."):
        training.start(world.project, training.parse({"release": 1, "name": "own"}), user=world.admin)


def test_the_page_trains_where_there_is_a_release(client: Client, world: World) -> None:
    client.force_login(world.admin)
    address = "/projects/demo/models/"
    assert "Train the project" not in client.get(address).content.decode()
    publish(world.project)
    assert "Train the project" in client.get(address).content.decode()
    sent = {"release": "1", "name": "own", "mask": "prefix", "mode": "blind"}
    answer = client.post(f"{address}train/", sent)
    job = Job.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/jobs/{job.pk}/")
    assert {name: job.params[name] for name in ("release", "name", "mask", "mode")} == {**sent, "release": 1}
    page = client.get(f"/jobs/{job.pk}/").content.decode()
    assert "Training of a step scorer: own" in page


def test_a_wrong_form_comes_back_with_what_was_typed(client: Client, world: World) -> None:
    client.force_login(world.admin)
    publish(world.project)
    send = {"release": "1", "mask": "full", "mode": "blind"}
    answer = client.post("/projects/demo/models/train/", {**send, "name": "Not Good"})
    assert answer.status_code == 422
    assert 'value="Not Good"' in answer.content.decode()
    assert "Use lower-case letters, digits" in answer.content.decode()
    taken = client.post("/projects/demo/models/train/", {**send, "name": "rules"})
    assert taken.status_code == 422
    assert "The name rules belongs to another model." in taken.content.decode()
    assert Job.objects.count() == 0


@pytest.mark.parametrize(("who", "status"), [("annotator", 403), ("reviewer", 403), ("outsider", 404)])
def test_only_admins_train(client: Client, world: World, who: str, status: int) -> None:
    publish(world.project)
    client.force_login(world.user(who))
    sent = {"release": 1, "name": "own", "mask": "full", "mode": "blind"}
    assert client.post("/projects/demo/models/train/", sent).status_code == status
    asked = client_of(world.user(who)).post("/api/v1/projects/demo/scorers/", {"release": 1, "name": "own"}, "json")
    assert asked.status_code == status
    assert Job.objects.count() == 0


def test_the_api_answers_with_the_job(world: World) -> None:
    publish(world.project)
    client = client_of(world.admin)
    answer = client.post("/api/v1/projects/demo/scorers/", {"release": 1, "name": "own", "encoder": "minilm"}, "json")
    assert answer.status_code == 202
    job = Job.objects.get()
    assert (answer.json()["id"], answer.json()["kind"]) == (job.pk, "train_scorer")
    assert job.params["encoder"] == "minilm"
    refused = client.post("/api/v1/projects/demo/scorers/", {"release": 7, "name": "own"}, "json")
    assert refused.status_code == 400
    assert refused.json()["error"]["fields"] == {"release": "There is no release 7. There are: 1."}
    assert Job.objects.count() == 1


LEARNT = {
    "model": "own",
    "n_trajectories": 40,
    "n_steps": 130,
    "n_tasks": 12,
    "n_left_out": 1,
    "n_epochs": 9,
    "encoder": None,
    "calibration": {"n_trajectories": 40, "before": {"nll": 0.6, "ece": 0.08}, "after": {"nll": 0.5, "ece": 0.031}},
    "held_out": {
        "scorer": {"step_acc": {"value": 0.75, "low": 0.7, "high": 0.8, "n": 130}},
        "always_positive": {"step_acc": {"value": 0.6, "low": 0.5, "high": 0.7, "n": 130}},
    },
    "test": {"scorer": {"step_acc": {"value": 0.5, "low": None, "high": None, "n": 8}}},
}


def finished(world: World, monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
    """Lets the next training end at once, as a worker would have left it."""

    def end(job_id: int) -> None:
        Job.objects.filter(pk=job_id).update(**{"status": "done", "finished_at": now(), "result": LEARNT, **fields})

    monkeypatch.setattr("annotator.jobs.send", end)


def test_the_command_starts_it_and_says_how_good_the_scorer_is(
    world: World, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: pytest.FixtureRequest
) -> None:
    publish(world.project)
    finished(world, monkeypatch)
    out = StringIO()
    with monkeypatch.context() as patch:
        patch.setattr("django.db.transaction.on_commit", lambda run: run())
        call_command("train_scorer", "demo", "--release", "1", "--name", "own", "--seed", "4", stdout=out)
    job = Job.objects.get()
    assert (job.params["seed"], job.created_by) == (4, None)
    assert out.getvalue().splitlines() == [
        f"Started as job {job.pk}.",
        "own: learnt from 40 trajectories with 130 steps of 12 tasks in 9 epochs.",
        "Steps right, on tasks it had not seen: 75.0% (95 % interval 70.0% to 80.0%)",
        "Steps right, saying +1 always: 60.0% (95 % interval 50.0% to 70.0%)",
        "Start it with: manage.py prelabel demo --model own",
    ]


def test_the_command_says_why_it_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(world.project)
    finished(world, monkeypatch, status="failed", error="9 trajectories are too few.", result={})
    with monkeypatch.context() as patch, pytest.raises(CommandError, match="9 trajectories are too few"):
        patch.setattr("django.db.transaction.on_commit", lambda run: run())
        call_command("train_scorer", "demo", "--release", "1", "--name", "own", stdout=StringIO())
    with pytest.raises(CommandError, match="There is no release 5"):
        call_command("train_scorer", "demo", "--release", "5", "--name", "own")


def test_the_page_of_a_job_shows_what_was_learnt(client: Client, world: World) -> None:
    params = {"name": "own", "release": 1}
    job = Job.objects.create(
        project=world.project, kind="train_scorer", status="done", params=params, result=LEARNT, unit="epochs",
        n_done=29, n_total=29, finished_at=now(),
    )  # fmt: skip
    client.force_login(world.admin)
    page = " ".join(client.get(f"/jobs/{job.pk}/").content.decode().split())
    assert "40 trajectories with 130 steps of 12 tasks, 9 epochs; 1 left out" in page
    assert "75.0 %, 95 % interval 70.0 % to 80.0 %" in page
    assert "error on tasks it was not fitted on 0.080 before, 0.031 after" in page
    assert "50.0 % of 8" in page
    assert "left out: they did not help on tasks it had not seen" in page
    assert "Start own" in page
