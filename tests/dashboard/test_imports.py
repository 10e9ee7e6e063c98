"""Importing a file through the pages, and following its jobs."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils.timezone import now

from annotator import flow, jobs
from annotator.dashboard import job_views
from annotator.dashboard.job_views import progress_text
from annotator.models import Job, Trajectory, Upload
from tests.factories import World, make_messages

URL = "/projects/demo/import/"


@pytest.fixture
def admin(client: Client, world: World) -> Client:
    client.force_login(world.admin)
    return client


def upload(client: Client, *texts: str, **choices: str) -> Any:
    file = io.BytesIO("\n".join(texts).encode())
    file.name = "runs.jsonl"
    return client.post(URL, {"file": file, "format": "", "on_error": "skip", **choices})


def record(name: str) -> str:
    return json.dumps({"id": name, "messages": make_messages(2, unique=name)})


def checked(client: Client, *texts: str, **choices: str) -> Job:
    upload(client, *texts, **choices)
    job = Job.objects.latest("id")
    flow.run_job(job.pk)
    job.refresh_from_db()
    return job


def page(client: Client, job: Job) -> str:
    return client.get(f"/jobs/{job.pk}/").content.decode()


def test_a_file_is_checked_before_it_is_imported(admin: Client, world: World) -> None:
    response = upload(admin, record("a"), "{broken", record("b"), format="openai_chat")
    check = Job.objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/jobs/{check.pk}/")
    assert (check.kind, check.status, check.created_by) == (Job.Kind.IMPORT_CHECK, Job.Status.QUEUED, world.admin)
    assert (check.params["format"], check.params["on_error"]) == ("openai_chat", "skip")
    flow.run_job(check.pk)
    html = page(admin, check)
    assert "Import 2 trajectories" in html
    assert '<td class="nowrap">Line 2</td>' in html
    assert "is not valid JSON" in html
    assert not Trajectory.objects.exists()

    response = admin.post(f"/jobs/{check.pk}/import/")
    job = Job.objects.get(kind=Job.Kind.IMPORT)
    assert (response.status_code, response["Location"]) == (302, f"/jobs/{job.pk}/")
    flow.run_job(job.pk)
    html = page(admin, job)
    assert "What came in" in html
    assert 'href="/projects/demo/trajectories/"' in html
    assert list(Trajectory.objects.order_by("pk").values_list("external_id", flat=True)) == ["a", "b"]
    assert not Upload.objects.exists()


def test_a_second_click_on_import_leads_to_the_same_job(admin: Client) -> None:
    check = checked(admin, record("a"))
    first = admin.post(f"/jobs/{check.pk}/import/")
    assert admin.post(f"/jobs/{check.pk}/import/")["Location"] == first["Location"]
    flow.run_job(Job.objects.latest("id").pk)
    assert admin.post(f"/jobs/{check.pk}/import/")["Location"] == first["Location"]
    assert Job.objects.filter(kind=Job.Kind.IMPORT).count() == 1


def test_an_import_that_failed_can_be_repeated(admin: Client) -> None:
    check = checked(admin, record("a"))
    admin.post(f"/jobs/{check.pk}/import/")
    Job.objects.filter(kind=Job.Kind.IMPORT).update(status=Job.Status.FAILED)
    admin.post(f"/jobs/{check.pk}/import/")
    assert Job.objects.filter(kind=Job.Kind.IMPORT).count() == 2


def test_a_check_that_is_not_done_cannot_be_imported(admin: Client) -> None:
    upload(admin, record("a"))
    response = admin.post(f"/jobs/{Job.objects.get().pk}/import/")
    assert response.status_code == 409
    assert "Wait for the check, or repeat it." in response.content.decode()
    assert Job.objects.count() == 1


def test_a_file_that_is_gone_is_said(admin: Client) -> None:
    check = checked(admin, record("a"))
    Upload.objects.all().delete()
    response = admin.post(f"/jobs/{check.pk}/import/")
    assert response.status_code == 409
    assert "uploads are kept for a week" in response.content.decode()
    assert Job.objects.count() == 1


def test_bad_records_keep_a_file_out_if_the_admin_chose_so(admin: Client) -> None:
    html = page(admin, checked(admin, record("a"), "{broken", on_error="abort"))
    assert "Nothing would be imported" in html
    assert 'id="import"' not in html


def test_a_file_of_duplicates_offers_nothing(admin: Client) -> None:
    check = checked(admin, record("a"))
    admin.post(f"/jobs/{check.pk}/import/")
    flow.run_job(Job.objects.latest("id").pk)
    assert "There is nothing new to import in this file." in page(admin, checked(admin, record("a")))


def test_an_empty_file_is_reported_by_the_check(admin: Client) -> None:
    job = checked(admin, "")
    assert (job.status, job.result["n_bad"]) == (Job.Status.DONE, 1)
    assert "holds no records" in page(admin, job)


def test_a_form_without_a_file_comes_back(admin: Client) -> None:
    response = admin.post(URL, {"format": "openai_chat", "on_error": "abort"})
    html = response.content.decode()
    assert response.status_code == 422
    assert "This field is required." in html
    assert '<option value="openai_chat" selected>' in html
    assert not Job.objects.exists()


def test_a_large_file_goes_to_the_database_in_chunks(admin: Client) -> None:
    big = json.dumps({"id": "big", "messages": make_messages(2, unique="x" * 3_000_000)})
    upload(admin, big)
    stored = Upload.objects.get()
    assert (stored.n_bytes, stored.chunks.count()) == (len(big), len(big) // 1024**2 + 1)


def test_an_unfinished_job_asks_for_itself_and_a_finished_one_does_not(admin: Client, world: World) -> None:
    job = jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=3_200_000, user=world.admin)
    assert 'hx-trigger="every 1s"' in page(admin, job)
    jobs.start(job.pk)
    Job.objects.filter(pk=job.pk).update(n_done=1_200_000)
    html = admin.get(f"/jobs/{job.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert html.strip().startswith('<div id="job"')
    assert "1.2 of 3.2 MB" in html
    jobs.finish(job, Job.Status.FAILED, error="The disk is full.")
    html = admin.get(f"/jobs/{job.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert "hx-trigger" not in html
    assert "The disk is full." in html


def test_a_job_that_nobody_takes_asks_for_a_worker(admin: Client, world: World) -> None:
    job = jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=1, user=world.admin)
    assert "Waiting for a worker" not in page(admin, job)
    Job.objects.filter(pk=job.pk).update(queued_at=now() - timedelta(seconds=11))
    assert "Waiting for a worker of the queue <code>default</code>: all are busy, or none is running." in page(
        admin, job
    )


def test_a_job_is_cancelled_by_its_button(admin: Client, world: World) -> None:
    job = jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=1, user=world.admin)
    assert f'action="/jobs/{job.pk}/cancel/"' in page(admin, job)
    assert admin.post(f"/jobs/{job.pk}/cancel/").status_code == 302
    assert "It was cancelled before it changed anything." in page(admin, job)
    assert admin.post(f"/jobs/{job.pk}/cancel/").status_code == 409


def test_the_list_shows_every_job_with_its_status(admin: Client, world: World) -> None:
    assert "No job has run yet." in admin.get("/projects/demo/jobs/").content.decode()
    for status in Job.Status:
        job = jobs.create(world.project, Job.Kind.IMPORT, {"name": "x.jsonl"}, unit="bytes", n_total=1, user=None)
        Job.objects.filter(pk=job.pk).update(status=status)
    jobs.create(world.project, Job.Kind.PUBLISH, {"policy": {}}, unit="files", n_total=None, user=world.admin)
    html = admin.get("/projects/demo/jobs/").content.decode()
    for status in Job.Status:
        assert f">{status.value}</span>" in html
    assert html.count("x.jsonl") == 5


@pytest.mark.parametrize(
    ("unit", "n_done", "n_total", "text"),
    [
        ("bytes", 1_200_000, 3_200_000, "1.2 of 3.2 MB"),
        ("bytes", 500, 1500, "0.5 of 1.5 kB"),
        ("bytes", 2 * 10**9, 5 * 10**9, "2.0 of 5.0 GB"),
        ("bytes", 3, 9, "3 of 9 bytes"),
        ("files", 4, 20, "4 of 20 files"),
        ("files", 0, None, "0 files"),
    ],
)
def test_progress_is_said_in_units_that_people_know(unit: str, n_done: int, n_total: int | None, text: str) -> None:
    assert progress_text(Job(unit=unit, n_done=n_done, n_total=n_total)) == text


def test_the_list_of_jobs_has_pages_and_shows_progress(
    admin: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_views, "PER_PAGE", 2)
    for _ in range(3):
        jobs.create(world.project, Job.Kind.IMPORT, {"name": "runs.jsonl"}, unit="bytes", n_total=2_000_000, user=None)
    running = jobs.start(Job.objects.latest("id").pk)
    assert running is not None
    jobs.report(running, 500_000)
    html = admin.get("/projects/demo/jobs/").content.decode()
    assert "0.5 of 2.0 MB" in html
    assert "Page 1 of 2" in html
    second = admin.get("/projects/demo/jobs/?page=2").content.decode()
    assert f'href="/jobs/{Job.objects.earliest("id").pk}/"' in second
    assert f'href="/jobs/{running.pk}/"' not in second
