"""Projects, trajectories, imports and jobs over the API."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotator import flow, jobs
from annotator.models import Assignment, Job, Trajectory, Upload, UploadChunk
from tests.api.client import client_of, post, refused
from tests.factories import World, judge, make_messages, make_trajectory, make_world


def upload(*records: object, name: str = "runs.jsonl") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, "".join(json.dumps(record) + "\n" for record in records).encode())


def chats(n: int) -> list[dict[str, Any]]:
    return [{"id": f"run-{i}", "messages": make_messages(2, unique=f"chat {i}")} for i in range(n)]


def test_projects_are_those_of_the_person(world: World) -> None:
    make_world("other")
    response = client_of(world.reviewer).get("/api/v1/projects/")
    assert response.json() == {
        "count": 1,
        "next": None,
        "previous": None,
        "results": [
            {
                "slug": "demo",
                "name": "demo",
                "role": "reviewer",
                "overlap": 2,
                "max_overlap": 2,
                "required_agreement": 2,
                "on_unsettled": "dispute",
                "second_review": 0,
                "claim_minutes": 60,
                "asks_outcome": True,
                "created_at": world.project.created_at.isoformat().replace("+00:00", "Z"),
            }
        ],
    }


def test_a_project_shows_its_current_guideline(world: World) -> None:
    body = client_of(world.annotator).get("/api/v1/projects/demo/").json()
    assert body["slug"] == "demo"
    assert body["guideline"] == {"version": 1, "text": "# Guideline\n\nJudge **every** step."}
    world.project.guidelines.all().delete()
    assert client_of(world.annotator).get("/api/v1/projects/demo/").json()["guideline"] is None


def test_trajectories_come_with_their_progress_and_without_their_messages(world: World) -> None:
    disputed = make_trajectory(world.project, n_steps=2)
    judge(disputed, world.annotator, [1, 1])
    judge(disputed, world.second, [1, -1])
    make_trajectory(world.project)
    body = client_of(world.reviewer).get("/api/v1/projects/demo/trajectories/").json()
    assert body["count"] == 2
    assert body["results"][0] == {
        "id": disputed.pk,
        "external_id": disputed.external_id,
        "source_format": "openai_chat",
        "instruction": disputed.instruction,
        "group_key": disputed.group_key,
        "n_steps": 2,
        "content_sha256": disputed.content_sha256,
        "created_at": disputed.created_at.isoformat().replace("+00:00", "Z"),
        "n_wanted": 2,
        "n_submitted": 2,
        "n_disputes": 1,
    }
    assert [(row["n_submitted"], row["n_disputes"]) for row in body["results"]] == [(2, 1), (0, 0)]


def test_long_lists_come_in_pages(world: World) -> None:
    ids = [make_trajectory(world.project, enqueue=False).pk for _ in range(5)]
    client = client_of(world.admin)
    first = client.get("/api/v1/projects/demo/trajectories/?page_size=2").json()
    assert first["count"] == 5
    assert first["previous"] is None
    second = client.get(first["next"]).json()
    assert [row["id"] for row in second["results"]] == ids[2:4]
    third = client.get(second["next"]).json()
    assert third["next"] is None
    assert [row["id"] for row in third["results"]] == ids[4:]
    refused(client.get("/api/v1/projects/demo/trajectories/?page=99"), 404, "not_found")
    for size in ("x", "0", "-1", "1.5", "", "9" * 30):
        error = refused(client.get(f"/api/v1/projects/demo/trajectories/?page_size={size}"), 400, "input.invalid")
        assert error["fields"] == {"page_size": "Must be a whole number of rows, 1 to 1000."}
    most = client.get("/api/v1/projects/demo/trajectories/?page_size=5000").json()
    assert [row["id"] for row in most["results"]] == ids


def test_a_list_costs_the_same_however_long_it_is(world: World, django_assert_num_queries: Any) -> None:
    for _ in range(10):
        make_trajectory(world.project)
    client = client_of(world.admin)
    with django_assert_num_queries(4):  # the token, the membership, the count, the page
        assert len(client.get("/api/v1/projects/demo/trajectories/").json()["results"]) == 10


def test_an_upload_is_queued_and_a_worker_imports_it(world: World) -> None:
    client = client_of(world.admin)
    file = upload(*chats(3), {"messages": "no list"})
    response = client.post("/api/v1/projects/demo/imports/", {"file": file}, format="multipart")
    assert response.status_code == 202
    job = response.json()
    assert (job["project"], job["kind"], job["status"], job["unit"]) == ("demo", "import", "queued", "bytes")
    assert (job["n_total"], job["created_by"]) == (file.size, "demo-ada")
    assert Trajectory.objects.count() == 0

    flow.run_job(job["id"])

    done = client.get(f"/api/v1/jobs/{job['id']}/").json()
    assert done["status"] == "done"
    assert done["finished_at"] is not None
    assert done["n_done"] == file.size
    result = done["result"]
    assert (result["format"], result["n_trajectories"], result["n_steps"], result["n_bad"]) == ("openai_chat", 3, 6, 1)
    assert [(bad["line"], bad["field"]) for bad in result["bad"]] == [(4, "messages")]
    assert Trajectory.objects.count() == 3
    assert Assignment.objects.count() == 6


def test_a_dry_run_reports_and_stores_nothing(world: World) -> None:
    client = client_of(world.admin)
    form = {"file": upload(*chats(2)), "dry_run": "true", "format": "openai_chat"}
    job = client.post("/api/v1/projects/demo/imports/", form, format="multipart").json()
    assert job["kind"] == "import_check"
    flow.run_job(job["id"])
    assert client.get(f"/api/v1/jobs/{job['id']}/").json()["result"]["n_trajectories"] == 2
    assert Trajectory.objects.count() == 0


def test_with_abort_a_bad_record_keeps_everything_out(world: World) -> None:
    client = client_of(world.admin)
    form = {"file": upload(*chats(2), {"messages": []}), "on_error": "abort"}
    job = client.post("/api/v1/projects/demo/imports/", form, format="multipart").json()
    flow.run_job(job["id"])
    failed = client.get(f"/api/v1/jobs/{job['id']}/").json()
    assert failed["status"] == "failed"
    assert failed["error"].startswith("Nothing was imported, because 1 record is bad")
    assert failed["result"]["n_bad"] == 1
    assert Trajectory.objects.count() == 0


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ({}, {"file": "Send the file to import in this field, as multipart/form-data."}),
        ({"file": "text"}, {"file": "Send the file to import in this field, as multipart/form-data."}),
        ({"mode": "fast"}, {"mode": "There is no such field; there are file, format, on_error and dry_run."}),
        ({"on_error": "stop"}, {"on_error": "Must be one of skip, abort."}),
        ({"dry_run": "yes"}, {"dry_run": "Must be one of true, false."}),
        ({"format": "csv"}, {"format": "Must be one of agentprocessbench, openai_chat."}),
        ({"on_error": ["skip", "abort"]}, {"on_error": "Send this field once."}),
    ],
)
def test_a_wrong_form_is_refused_with_the_field(world: World, form: dict[str, Any], fields: dict[str, str]) -> None:
    file = {} if "file" in fields else {"file": upload(*chats(1))}
    response = client_of(world.admin).post("/api/v1/projects/demo/imports/", {**file, **form}, format="multipart")
    assert refused(response, 400, "input.invalid")["fields"] == fields
    assert (Upload.objects.count(), UploadChunk.objects.count(), Job.objects.count()) == (0, 0, 0)


def test_an_import_as_json_gets_415(world: World) -> None:
    refused(post(client_of(world.admin), "/api/v1/projects/demo/imports/", {}), 415, "media_type.unsupported")


def test_a_queued_job_is_cancelled_once(world: World) -> None:
    job = jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=None, user=world.admin)
    client = client_of(world.admin)
    body = post(client, f"/api/v1/jobs/{job.pk}/cancel/").json()
    assert (body["status"], body["is_cancel_requested"]) == ("cancelled", True)
    error = refused(post(client, f"/api/v1/jobs/{job.pk}/cancel/"), 409, "job.conflict")
    assert error["message"] == "This job has already ended, so there is nothing to cancel."
