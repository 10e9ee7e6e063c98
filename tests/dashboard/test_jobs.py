"""The page of a job: where it leads once it is done."""

import re

import pytest
from django.test import Client
from django.utils.timezone import now

from annotator import flow
from annotator.fusion import actions as fusing
from annotator.models import Job
from annotator.projects.actions import change_settings
from annotator.releases.policy import ReleasePolicy
from annotator.selection import actions as selection
from tests.factories import World, judge, make_acceptance, make_trajectory, predict

pytestmark = pytest.mark.django_db


def onward(client: Client, job: Job) -> tuple[str, str] | None:
    """What the link of the page says and where it leads; None where there is none."""
    text = client.get(f"/jobs/{job.pk}/").content.decode()
    found = re.search(r'<a class="btn primary" href="([^"]+)">([^<]+)</a>', text)
    return found and (found[2], found[1])


@pytest.mark.django_db(transaction=True)  # a release takes its own snapshot
def test_a_job_that_is_done_leads_to_what_it_made(world: World, client: Client) -> None:
    client.force_login(world.admin)
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, 1, 1], model="other")
    make_trajectory(world.project)
    expected = {}

    job = fusing.start(world.project, user=world.admin)
    assert onward(client, job) is None  # not done yet
    flow.run_job(job.pk)
    expected[job] = ("To what is believed", "/projects/demo/beliefs/")

    job = selection.start(world.project, user=world.admin)
    flow.run_job(job.pk)
    expected[job] = ("To round 1", "/projects/demo/selection/1/")

    for person in (world.annotator, world.second):
        judge(trajectory, person, [1, 1, 1])
    job = flow.publish(world.project, ReleasePolicy(), user=world.admin)
    expected[job] = ("To release 1", f"/releases/{job.result['release']}/")

    about = {"project": world.project, "unit": "records", "status": "done", "finished_at": now()}
    acceptance = make_acceptance(world.project)
    for kind in ("accept", "withdraw"):
        job = Job.objects.create(kind=kind, result={"number": acceptance.number}, **about)
        expected[job] = ("To promise 1", "/projects/demo/acceptance/1/")
    job = Job.objects.create(kind="import_predictions", **about)
    expected[job] = ("To the models", "/projects/demo/models/")

    for job, (text, url) in expected.items():
        assert onward(client, job) == (text, url)
        assert client.get(url).status_code == 200


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("fuse", "What it had done by then stays. The next fusion, or the next selection round, goes on."),
        ("prelabel", "What it had done by then stays. Run it again to go on."),
        (
            "withdraw",
            "What it had done by then stays. People are asked about what it took back; try again for the rest.",
        ),
        ("publish", "It was cancelled before it changed anything."),
    ],
)
def test_a_cancelled_job_says_what_stays(world: World, client: Client, kind: str, sentence: str) -> None:
    client.force_login(world.admin)
    job = Job.objects.create(project=world.project, kind=kind, unit="trajectories", status="cancelled")
    assert "It was cancelled before it changed anything." in client.get(f"/jobs/{job.pk}/").content.decode()
    Job.objects.filter(pk=job.pk).update(started_at=now())
    assert sentence in client.get(f"/jobs/{job.pk}/").content.decode()


@pytest.mark.parametrize("kind", ["fuse", "select", "accept", "learn", "prelabel", "import_predictions"])
def test_what_only_its_own_start_may_start_is_not_offered_again(world: World, client: Client, kind: str) -> None:
    client.force_login(world.admin)
    about = {"project": world.project, "unit": "trajectories", "status": "failed", "started_at": now()}
    job = Job.objects.create(kind=kind, **about)
    assert 'id="retry"' not in client.get(f"/jobs/{job.pk}/").content.decode()
    assert client.post(f"/jobs/{job.pk}/retry/").status_code == 409
    assert list(Job.objects.all()) == [job]
    other = Job.objects.create(kind="publish", **about)
    assert 'id="retry"' in client.get(f"/jobs/{other.pk}/").content.decode()


def test_a_round_of_the_schedule_says_that_it_came_by_itself(world: World, client: Client) -> None:
    client.force_login(world.admin)
    make_trajectory(world.project)
    change_settings(world.project, {"selection_policy": {"is_on": True}}, user=world.admin)
    assert selection.start_due() == 1
    job = Job.objects.get(kind="select")
    said = "by itself, because the project chooses by a schedule and little that a round had chosen was waiting."
    assert said in client.get(f"/jobs/{job.pk}/").content.decode()
    assert "<td>the schedule</td>" in client.get("/projects/demo/jobs/").content.decode()
