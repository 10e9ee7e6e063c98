"""The pages and the API of models: who may see them, what they start, what a run shows."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from annotator.management.commands import prelabel
from annotator.models import Job, PrelabelRun
from tests.factories import World, make_trajectory
from workers.prelabel import run as worker

pytestmark = pytest.mark.django_db

ROLES = [
    ("anonymous is sent to login", None, 302),
    ("outsiders learn nothing", "outsider", 404),
    ("annotators are told", "annotator", 403),
    ("reviewers are told", "reviewer", 403),
    ("admins may", "admin", 200),
]


def run_of(world: World) -> PrelabelRun:
    make_trajectory(world.project, n_steps=2)
    response = _client(world).post("/projects/demo/models/", {"model": "rules", "gold": "any"})
    run = PrelabelRun.objects.get()
    assert response["Location"] == f"/prelabel-runs/{run.pk}/"
    return run


def _client(world: World, who: str = "admin") -> Client:
    client = Client()
    client.force_login(world.user(who))
    return client


@pytest.mark.parametrize(("_case", "who", "status"), ROLES)
@pytest.mark.parametrize("path", ["/projects/demo/models/", "/prelabel-runs/{run}/"])
def test_who_sees_the_pages(world: World, path: str, _case: str, who: str | None, status: int) -> None:
    run = run_of(world)
    client = Client()
    if who:
        client.force_login(world.user(who))
    assert client.get(path.format(run=run.pk)).status_code == status


def test_an_estimate_starts_nothing(world: World) -> None:
    make_trajectory(world.project, n_steps=2)
    page = _client(world).post("/projects/demo/models/", {"model": "judge-blind", "gold": "any", "estimate": "1"})
    assert page.status_code == 200
    assert "About <strong>1</strong> trajectories with 2 steps" in page.content.decode()
    assert Job.objects.count() == 0


def test_a_wrong_form_comes_back_and_starts_nothing(world: World) -> None:
    page = _client(world).post("/projects/demo/models/", {"model": "none such", "gold": "any", "limit": "0"})
    assert page.status_code == 422
    text = page.content.decode()
    assert "Select a valid choice. none such is not one of the available choices." in text
    assert "Ensure this value is greater than or equal to 1." in text
    assert PrelabelRun.objects.count() == 0


def test_a_second_start_is_refused_while_the_first_is_under_way(world: World) -> None:
    run = run_of(world)
    page = _client(world).post("/projects/demo/models/", {"model": "rules", "gold": "any"})
    said = f"Nothing was started: rules is under way already, as run {run.pk}."
    assert page.status_code == 409
    assert said in page.content.decode()
    answer = post(_client(world), "/api/v1/projects/demo/prelabel-runs/", {"model": "rules"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job.conflict")
    assert answer.json()["error"]["message"].startswith(said)
    assert PrelabelRun.objects.get() == run


def test_the_page_of_a_run_says_how_far_it_is(
    world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = run_of(world)
    client = _client(world)
    text = client.get(f"/prelabel-runs/{run.pk}/").content.decode()
    assert "Waiting for a worker that listens to the queue <code>default</code>" in text
    assert 'hx-trigger="every 1s"' in text
    worker.work(run.job_id)
    with django_assert_max_num_queries(12):
        text = client.get(f"/prelabel-runs/{run.pk}/").content.decode()
    assert "2 of 2 steps" in text
    assert "1 scored, 0 failed, 0 left" in text
    assert "hx-trigger" not in text
    form = {"model": "rules", "gold": "any", "estimate": "1"}
    assert "Nothing is left to score" in client.post("/projects/demo/models/", form).content.decode()
    again = client.post(f"/prelabel-runs/{run.pk}/again/")
    assert again["Location"] == f"/prelabel-runs/{PrelabelRun.objects.latest('pk').pk}/"
    assert PrelabelRun.objects.count() == 2


def test_the_page_of_a_run_says_when_its_worker_is_silent(world: World, settings: Settings) -> None:
    settings.JOB_STALLED_SECONDS = 240
    run = run_of(world)
    client = _client(world)
    said = "No sign of life from its worker for 2 min. If it has died, "
    for seconds, is_cancelled, end in (
        (20, False, None),
        (120, False, "another one goes on where it stopped, about 4 min after that sign."),
        (120, True, "the run ends once another one has looked at it, about 4 min after that sign."),
    ):
        silent = now() - timedelta(seconds=seconds)
        Job.objects.update(status="running", heartbeat_at=silent, is_cancel_requested=is_cancelled)
        text = client.get(f"/prelabel-runs/{run.pk}/").content.decode()
        assert (said in text) == (end is not None)
        assert end is None or said + end in text
        assert ("It stops as soon as the workers look up" in text) == is_cancelled


def test_the_command_estimates_starts_and_says_what_came_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trajectory(world.project, n_steps=2)
    out = io.StringIO()
    call_command("prelabel", "demo", model="rules", estimate=True, stdout=out)
    assert out.getvalue() == "1 trajectories with 2 steps\n"
    assert Job.objects.count() == 0
    call_command("prelabel", "demo", model="rules", no_wait=True, stdout=out)
    worker.work(Job.objects.get().pk)
    call_command("prelabel", "demo", model="rules", no_wait=True, stdout=out)
    first, again = out.getvalue().splitlines()[1::2]
    assert first == "1 trajectories with 2 steps"
    assert again.startswith("0 trajectories with 0 steps")
    assert [job.status for job in Job.objects.order_by("pk")] == ["done", "queued"]


def test_the_command_fails_where_nothing_is_left_to_score(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(_: object, job_id: int) -> Job:
        worker.work(job_id)
        return Job.objects.get(pk=job_id)

    monkeypatch.setattr(prelabel, "watch", watch)
    make_trajectory(world.project, n_steps=2)
    out = io.StringIO()
    call_command("prelabel", "demo", model="rules", stdout=out)
    assert "1 trajectories with 2 steps scored" in out.getvalue()
    with pytest.raises(CommandError, match=r"Nothing was left to score: rules v1 has scored all of these trajectories"):
        call_command("prelabel", "demo", model="rules", stdout=out)


def test_going_on_with_a_limited_run_takes_no_more_than_it_had_left(world: World) -> None:
    for _ in range(5):
        make_trajectory(world.project, n_steps=1)
    client = _client(world)
    client.post("/projects/demo/models/", {"model": "rules", "gold": "any", "limit": "3"})
    run = PrelabelRun.objects.get()
    worker.work(run.job_id)
    first = run.targets.earliest("id")
    Job.objects.update(status="cancelled")  # as if, but for the first, nothing of it had been scored yet
    run.targets.exclude(pk=first.pk).update(status="waiting")
    client.post(f"/prelabel-runs/{run.pk}/again/")
    again = PrelabelRun.objects.latest("pk")
    assert again.selection["limit"] == 2
    worker.work(again.job_id)
    client.post(f"/prelabel-runs/{again.pk}/again/")  # this one came to its end: the next so many
    assert PrelabelRun.objects.latest("pk").selection["limit"] == 2


def post(client: Client, path: str, body: dict[str, Any]) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json")


def test_the_api_lists_estimates_and_starts(world: World) -> None:
    make_trajectory(world.project, n_steps=2)
    client = _client(world)
    models = {each["name"]: each for each in client.get("/api/v1/projects/demo/models/").json()}
    assert models["rules"] == {"name": "rules", "kind": "rules", "title": "Rule verifiers"}
    path = "/api/v1/projects/demo/prelabel-runs/"
    estimate = post(client, path, {"model": "rules", "dry_run": True})
    assert estimate.status_code == 200
    assert estimate.json()["id"] is None
    assert estimate.json()["estimate"]["n_steps"] == 2
    assert PrelabelRun.objects.count() == 0
    started = post(client, path, {"model": "rules", "filter": {"gold": "without"}})
    assert started.status_code == 202
    run = PrelabelRun.objects.get()
    assert (started.json()["id"], started.json()["job"]["status"]) == (run.pk, "queued")
    worker.work(run.job_id)
    (listed,) = client.get(path).json()["results"]
    assert (listed["version"], listed["n_steps_done"], listed["job"]["status"]) == (1, 2, "done")


@pytest.mark.parametrize(
    ("_case", "body", "field"),
    [
        ("no such model", {"model": "nothing"}, "model"),
        ("a wrong filter", {"model": "rules", "filter": {"gold": "maybe"}}, "gold"),
        ("an unknown field", {"model": "rules", "when": "now"}, "when"),
    ],
)
def test_the_api_refuses_by_field(world: World, _case: str, body: dict[str, Any], field: str) -> None:
    make_trajectory(world.project)
    answer = post(_client(world), "/api/v1/projects/demo/prelabel-runs/", body)
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [field]
    assert PrelabelRun.objects.count() == 0
