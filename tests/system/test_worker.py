"""A real Celery worker on a real Redis: jobs run by themselves, and a killed worker's job is finished by the next."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils.timezone import now
from pytest_django.fixtures import Settings

from annotator import flow, jobs
from annotator.importing import uploads
from annotator.models import Assignment, Job, Step, Trajectory
from annotator.prelabelling import actions as prelabelling
from annotator.prelabelling import catalogue, training
from annotator.prelabelling.actions import Selection
from annotator.releases.policy import ReleasePolicy
from tests.factories import World, judge, make_messages, make_trajectory, make_world
from tests.system.conftest import StartWorker, wait_for
from tests.workers.prm import toy

pytestmark = pytest.mark.django_db(transaction=True)

N_STEPS = 3


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world()


def request_import(world: World, n_trajectories: int, *, unique: str = "") -> Job:
    pieces = (
        json.dumps({"id": f"{unique}{n}", "messages": make_messages(N_STEPS, unique=f"{unique}{n}")}).encode() + b"\n"
        for n in range(n_trajectories)
    )
    upload = uploads.store(world.project, "runs.jsonl", pieces, user=world.admin)
    return flow.request_import(upload, format=None, on_error="skip", is_dry_run=False, user=world.admin)


def test_a_job_runs_by_itself_and_survives_the_death_of_its_worker(world: World, start_worker: StartWorker) -> None:
    worker = start_worker()
    small = request_import(world, 3)
    wait_for(small, lambda job: job.is_finished)
    assert (small.status, small.error, small.result["n_trajectories"]) == (Job.Status.DONE, "", 3)

    large = request_import(world, 3000, unique="large-")
    wait_for(large, lambda job: job.n_done > 0)
    worker.kill()
    worker.wait()
    large.refresh_from_db()
    n_before = Trajectory.objects.count()
    assert large.status == Job.Status.RUNNING
    assert 3 < n_before < 3003

    start_worker()
    long_ago = now() - timedelta(minutes=6)
    Job.objects.filter(pk=large.pk).update(heartbeat_at=long_ago, queued_at=long_ago)
    assert jobs.recover() == 1
    wait_for(large, lambda job: job.is_finished)
    assert (large.status, large.error) == (Job.Status.DONE, "")
    counts = {name: large.result[name] for name in ("n_trajectories", "n_steps", "n_duplicates", "n_bad")}
    assert counts == {"n_trajectories": 3000, "n_steps": 3000 * N_STEPS, "n_duplicates": 0, "n_bad": 0}
    assert (Trajectory.objects.count(), Step.objects.count()) == (3003, 3003 * N_STEPS)
    assert Assignment.objects.open().count() == 3003 * world.project.overlap


def test_a_scorer_is_trained_by_a_worker_and_scores(
    world: World, start_worker: StartWorker, settings: Settings, tmp_path: Path
) -> None:
    settings.MODELS_FOLDER = tmp_path / "models"
    for number in range(12):
        messages = toy.messages_of(toy.values_of(number), number)
        trajectory = make_trajectory(world.project, messages=messages, group_key=f"task {number % 6}")
        for person in (world.annotator, world.second):
            judge(trajectory, person, toy.values_of(number))
    flow.publish(world.project, ReleasePolicy.parse({"splits": {"train": 1}}), user=None)
    start_worker()

    options = training.parse({"release": 1, "name": "own", "max_epochs": 2})
    job = training.start(world.project, options, user=world.admin)
    wait_for(job, lambda job: job.is_finished, seconds=120)  # the worker has to load torch
    assert (job.status, job.error, job.result["n_trajectories"]) == (Job.Status.DONE, "", 12)

    config = catalogue.read(world.project.slug).get("own")
    run = prelabelling.start(world.project, config, Selection(), estimate={}, user=world.admin)
    wait_for(run.job, lambda job: job.is_finished, seconds=120)
    assert (run.job.status, run.job.error, run.job.result["n_trajectories"]) == (Job.Status.DONE, "", 12)
