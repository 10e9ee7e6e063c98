"""Publishing and fetching releases over the API."""

import hashlib
import json
from typing import Any

import pytest

from annotator import flow
from annotator.models import AuditEvent, Job, Release
from annotator.releases.exporters import EXPORTERS
from tests.api.client import client_of, post, refused
from tests.factories import World, judge, make_trajectory

# Publishing reads one snapshot, which needs a transaction of its own.
pytestmark = pytest.mark.django_db(transaction=True)

RELEASES = "/api/v1/projects/demo/releases/"


@pytest.fixture
def settled(world: World) -> World:
    for values in ([1, 1, -1], [1, 0, 1]):
        trajectory = make_trajectory(world.project)
        judge(trajectory, world.annotator, values)
        judge(trajectory, world.second, values)
    return world


def publish(world: World, body: object = None) -> dict[str, Any]:
    response = post(client_of(world.admin), RELEASES, body)
    assert response.status_code == 201, response.content
    release: dict[str, Any] = response.json()
    return release


def test_publishing_answers_with_the_release(settled: World) -> None:
    body = publish(settled, {"policy": {"seed": 7, "splits": {"train": 1.0}}})
    release = Release.objects.get()
    assert body["id"] == release.pk
    assert (body["project"], body["number"], body["created_by"]) == ("demo", 1, "demo-ada")
    assert body["policy"] == {
        "provenances": ["unanimous", "majority", "adjudicated"],
        "undecidable": "mask",
        "discarded": "mask",
        "neutral": "positive",
        "error_view": "as_labelled",
        "splits": {"train": 1.0},
        "seed": 7,
    }
    assert body["manifest"]["counts"]["n_trajectories"] == 2
    assert body["manifest"]["counts"]["by_split"] == {"train": 2}
    assert body["manifest"]["guideline_version"] == 1
    assert set(body["manifest"]["files"]) >= {f"{name}.{exporter.extension}" for name, exporter in EXPORTERS.items()}
    reader = client_of(settled.reviewer)
    assert reader.get(f"/api/v1/releases/{release.pk}/").json() == body
    del body["manifest"]
    assert reader.get(RELEASES).json() == {"count": 1, "next": None, "previous": None, "results": [body]}


def test_an_empty_body_means_the_default_policy_and_the_newest_release_is_listed_first(settled: World) -> None:
    assert publish(settled)["policy"]["seed"] == 0
    assert publish(settled, {})["number"] == 2
    assert [each["number"] for each in client_of(settled.admin).get(RELEASES).json()["results"]] == [2, 1]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"policy": {"seeds": 1}}, "policy.seeds"),
        ({"policy": {"provenances": ["guessed"]}}, "policy.provenances.0"),
        ({"policy": {"splits": {"train": 0.5}}}, "policy"),
        ({"policy": None}, "policy"),
        ({"seed": 1}, "seed"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_place(settled: World, body: object, place: str) -> None:
    error = refused(post(client_of(settled.admin), RELEASES, body), 400, "input.invalid")
    assert list(error["fields"]) == [place]
    assert (Release.objects.count(), Job.objects.count()) == (0, 0)


def test_nothing_to_release_gets_409_and_leaves_no_release(world: World) -> None:
    error = refused(post(client_of(world.admin), RELEASES), 409, "release.empty")
    assert error["message"].startswith("There is nothing to release")
    assert Release.objects.count() == 0
    assert Job.objects.get().status == Job.Status.FAILED


def test_a_large_release_is_handed_to_a_worker(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "PUBLISH_AT_ONCE_STEPS", 1)
    client = client_of(settled.admin)
    response = post(client, RELEASES)
    assert response.status_code == 202
    job = response.json()
    assert (job["kind"], job["status"]) == ("publish", "queued")
    assert client.get(RELEASES).json()["count"] == 0
    flow.run_job(job["id"])
    done = client.get(f"/api/v1/jobs/{job['id']}/").json()
    assert done["status"] == "done"
    release = client.get(f"/api/v1/releases/{done['result']['release']}/").json()
    assert release["number"] == done["result"]["number"] == 1


def test_a_release_that_is_not_published_cannot_be_seen(world: World) -> None:
    release = Release.objects.create(project=world.project, number=1, policy={})
    client = client_of(world.admin)
    refused(client.get(f"/api/v1/releases/{release.pk}/"), 404, "not_found")
    refused(client.get(f"/api/v1/releases/{release.pk}/export/?format=provenance"), 404, "not_found")
    assert client.get(RELEASES).json()["count"] == 0


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_export_is_the_file_of_the_manifest_every_time(settled: World, name: str) -> None:
    release = publish(settled)
    extension = EXPORTERS[name].extension
    client = client_of(settled.reviewer)
    first, second = (client.get(f"/api/v1/releases/{release['id']}/export/?format={name}") for _ in range(2))
    data = first.getvalue()
    assert second.getvalue() == data
    sha256 = hashlib.sha256(data).hexdigest()
    assert sha256 == release["manifest"]["files"][f"{name}.{extension}"]["sha256"]
    assert first["X-Content-SHA256"] == sha256
    assert first["Content-Disposition"] == f'attachment; filename="demo-v1-{name}.{extension}"'
    assert first["Content-Type"] == {"jsonl": "application/x-ndjson", "json": "application/json"}[extension]
    assert int(first["Content-Length"]) == len(data)


def test_an_export_of_one_split_has_only_its_rows(settled: World) -> None:
    release = publish(settled, {"policy": {"splits": {"validation": 1.0}}})
    client = client_of(settled.reviewer)
    path = f"/api/v1/releases/{release['id']}/export/?format=provenance"
    full = client.get(f"{path}&split=validation")
    assert full["Content-Disposition"] == 'attachment; filename="demo-v1-provenance-validation.jsonl"'
    assert [json.loads(line)["split"] for line in full.getvalue().splitlines()] == ["validation", "validation"]
    assert client.get(f"{path}&split=train").getvalue() == b""


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/csv", "application/json"])
def test_an_export_comes_whatever_the_client_accepts(settled: World, accept: str) -> None:
    release = publish(settled)
    path = f"/api/v1/releases/{release['id']}/export/?format=processbench"
    assert client_of(settled.admin).get(path, HTTP_ACCEPT=accept).status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [("", "format"), ("?format=", "format"), ("?format=csv", "format"), ("?format=provenance&split=dev", "split")],
)
def test_an_unknown_format_or_split_is_refused_with_the_choices(settled: World, query: str, field: str) -> None:
    release = publish(settled)
    response = client_of(settled.admin).get(f"/api/v1/releases/{release['id']}/export/{query}")
    error = refused(response, 400, "input.invalid")
    assert list(error["fields"]) == [field]
    assert ("agentprocessbench" if field == "format" else "train, validation, test") in error["message"]


def test_reading_writes_nothing(settled: World) -> None:
    release = publish(settled)
    events = AuditEvent.objects.count()
    client = client_of(settled.admin)
    for path in (
        RELEASES,
        f"/api/v1/releases/{release['id']}/",
        f"/api/v1/releases/{release['id']}/export/?format=provenance",
    ):
        assert client.get(path).status_code == 200
    assert AuditEvent.objects.count() == events
