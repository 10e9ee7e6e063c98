"""Jobs: what happened, and trying again."""

import pytest
from django.core.files.base import ContentFile
from django.test import Client

from annotator import flow, jobs
from annotator.importing import uploads
from annotator.models import AuditEvent, Job, Release, Upload
from annotator.releases.policy import ReleasePolicy
from tests.factories import World, make_world

GOOD = b'{"id": "a", "messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Yes."}]}\n'


def import_of(world: World, content: bytes) -> Job:
    upload = uploads.store(world.project, "runs.jsonl", ContentFile(content).chunks(), user=world.admin)
    return flow.request_import(upload, format=None, on_error="abort", is_dry_run=False, user=world.admin)


def test_a_cancelled_import_is_tried_again_as_a_new_job(client: Client, world: World) -> None:
    job = import_of(world, GOOD)
    jobs.cancel(job, user=world.admin)
    client.force_login(world.admin)
    assert "Try again" in client.get(f"/jobs/{job.pk}/").content.decode()
    response = client.post(f"/jobs/{job.pk}/retry/")
    again = Job.objects.latest("id")
    assert response["Location"] == f"/jobs/{again.pk}/"
    assert (again.kind, again.params, again.status, again.n_total) == (job.kind, job.params, "queued", job.n_total)
    flow.run_job(again.pk)
    assert world.project.trajectories.count() == 1
    html = client.get(f"/jobs/{job.pk}/").content.decode()
    assert f"Tried again as job {again.pk}" in html
    assert "Ended: cancelled" in html
    assert AuditEvent.objects.get(action="job.retried").data == {"as": again.pk}


def test_trying_again_twice_makes_one_job(client: Client, world: World) -> None:
    job = import_of(world, GOOD)
    jobs.cancel(job, user=world.admin)
    client.force_login(world.admin)
    first, second = (client.post(f"/jobs/{job.pk}/retry/")["Location"] for _ in range(2))
    assert first == second
    assert Job.objects.count() == 2
    assert AuditEvent.objects.filter(action="job.retried").count() == 1
    assert "Try again" not in client.get(f"/jobs/{job.pk}/").content.decode()
    again = Job.objects.latest("id")
    jobs.cancel(again, user=world.admin)
    assert client.post(f"/jobs/{again.pk}/retry/")["Location"] not in (first, f"/jobs/{job.pk}/")


def test_a_failed_import_is_tried_again(client: Client, world: World) -> None:
    job = import_of(world, b"{broken\n")
    flow.run_job(job.pk)
    client.force_login(world.admin)
    assert client.post(f"/jobs/{job.pk}/retry/").status_code == 302
    assert Job.objects.count() == 2


@pytest.mark.parametrize("why", ["it is queued", "the file is gone"])
def test_what_cannot_be_tried_again_says_why(client: Client, world: World, why: str) -> None:
    job = import_of(world, GOOD)
    if why == "the file is gone":
        jobs.cancel(job, user=world.admin)
        Upload.objects.all().delete()
    client.force_login(world.admin)
    response = client.post(f"/jobs/{job.pk}/retry/")
    said = {"it is queued": "Only a job that failed or was cancelled", "the file is gone": "is no longer there"}[why]
    assert response.status_code == 409
    assert said in response.content.decode()
    assert Job.objects.count() == 1


def test_a_failed_release_is_tried_again_under_the_same_policy(client: Client, transactional_db: None) -> None:
    world = make_world()
    job = flow.publish(world.project, ReleasePolicy(seed=7), user=world.admin)
    assert job.status == "failed"  # nothing is settled yet
    Job.objects.filter(pk=job.pk).update(params={**job.params, "release": 999})
    client.force_login(world.admin)
    client.post(f"/jobs/{job.pk}/retry/")
    again = Job.objects.latest("id")
    assert again.params == {"policy": ReleasePolicy(seed=7).model_dump(mode="json")}
    assert not Release.objects.exists()


@pytest.mark.parametrize(("who", "status"), [(None, 302), ("outsider", 404), ("annotator", 403), ("reviewer", 403)])
def test_only_admins_try_again(client: Client, world: World, who: str | None, status: int) -> None:
    job = import_of(world, GOOD)
    jobs.cancel(job, user=world.admin)
    if who:
        client.force_login(world.user(who))
    assert client.post(f"/jobs/{job.pk}/retry/").status_code == status
    assert Job.objects.count() == 1
