"""Real workers score with a real (tiny, random) reward model: killed, shared and cancelled runs lose nothing."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import Sum
from django.utils.timezone import now
from pytest_django.fixtures import Settings

from annotator import jobs
from annotator.models import Job, ModelVersion, Prediction, PrelabelRun, PrelabelTarget, Trajectory
from annotator.prelabelling import actions, catalogue
from annotator.prelabelling.actions import Selection
from tests.factories import World, make_messages, make_world
from tests.system.conftest import StartWorker, wait_for
from tests.workers.prelabel import checkpoints

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "qwen2.5-math-prm-7b"
N_TRAJECTORIES, N_STEPS = 900, 3
TARGET = PrelabelTarget.Status


@pytest.fixture
def world(transactional_db: None, settings: Settings, tmp_path: Path) -> World:
    """A project with N_TRAJECTORIES, and the model's weights where the workers look for them."""
    settings.MODELS_FOLDER = tmp_path / "models"
    checkpoints.save(MODEL, settings.MODELS_FOLDER / "checkpoints" / MODEL)
    world = make_world()
    Trajectory.objects.bulk_create(
        Trajectory(
            project=world.project,
            external_id=f"t-{n}",
            source_format="test",
            messages=make_messages(N_STEPS, unique=f"{n} "),
            group_key=f"t-{n}",
            content_sha256=f"{n:064}",
            n_steps=N_STEPS,
        )
        for n in range(N_TRAJECTORIES)
    )
    return world


def start(world: World) -> PrelabelRun:
    config = catalogue.read(world.project.slug).get(MODEL)
    return actions.start(world.project, config, Selection(), estimate={}, user=world.admin)


def counts_are_exact(*runs: PrelabelRun) -> None:
    """Every trajectory was scored once, and what the runs count is what was stored."""
    assert Prediction.objects.count() == N_TRAJECTORIES
    assert Prediction.objects.values("trajectory").distinct().count() == N_TRAJECTORIES
    for run in runs:
        run.refresh_from_db()
        run.job.refresh_from_db()
        stored = Prediction.objects.filter(run=run)
        n, n_tokens = stored.count(), stored.aggregate(n=Sum("n_tokens"))["n"]
        assert (run.n_steps_done, run.n_tokens) == (n * N_STEPS, n_tokens)
        assert run.job.n_done == n * N_STEPS
    assert ModelVersion.objects.count() == 1


def test_what_a_killed_worker_had_stored_stays_and_another_scores_the_rest(
    world: World, start_worker: StartWorker
) -> None:
    run = start(world)
    worker = start_worker()
    wait_for(run.job, lambda job: job.n_done > 0, seconds=120)  # it has to load torch first
    worker.kill()
    worker.wait()
    before = dict(Prediction.objects.values_list("pk", "created_at"))
    assert 0 < len(before) < N_TRAJECTORIES, "the worker was killed too early or too late to prove anything"
    held = run.targets.filter(status=TARGET.CLAIMED)
    assert held.exists()

    # What the beat would see some minutes later.
    long_ago = now() - timedelta(minutes=11)
    held.update(lease_expires_at=long_ago)
    Job.objects.filter(pk=run.job_id).update(heartbeat_at=long_ago, queued_at=long_ago)
    assert jobs.recover() == 1
    start_worker()
    wait_for(run.job, lambda job: job.is_finished, seconds=120)
    assert (run.job.status, run.job.error) == (Job.Status.DONE, "")
    assert run.job.n_done == run.job.n_total == N_TRAJECTORIES * N_STEPS
    counts_are_exact(run)
    assert dict(Prediction.objects.filter(pk__in=before).values_list("pk", "created_at")) == before


def test_two_workers_share_a_run_and_a_cancelled_one_is_gone_on_with(world: World, start_worker: StartWorker) -> None:
    start_worker()
    start_worker()
    cancelled = start(world)
    wait_for(cancelled.job, lambda job: job.n_done > 0, seconds=120)
    jobs.cancel(cancelled.job, user=world.admin)
    wait_for(cancelled.job, lambda job: job.is_finished, seconds=60)
    n_scored = Prediction.objects.count()
    assert cancelled.job.status == Job.Status.CANCELLED
    assert 0 < n_scored < N_TRAJECTORIES
    assert cancelled.job.n_done == n_scored * N_STEPS
    assert cancelled.job.n_total == N_TRAJECTORIES * N_STEPS

    run = start(world)
    jobs.send(run.job_id)  # for the second worker
    seen: list[tuple[int, int | None]] = []

    def look(job: Job) -> bool:
        seen.append((job.n_done, job.n_total))
        return job.is_finished

    wait_for(run.job, look, seconds=120)
    assert (run.job.status, run.job.error) == (Job.Status.DONE, "")
    assert run.job.result["n_trajectories"] == N_TRAJECTORIES - n_scored
    counts_are_exact(cancelled, run)
    assert len(set(run.targets.values_list("worker", flat=True))) == 2, "one worker did it all"
    # What the page shows only grows, and is never more than there is.
    total = (N_TRAJECTORIES - n_scored) * N_STEPS
    planned = [n_done for n_done, n_total in seen if n_total == total]
    assert planned == sorted(planned)
    assert planned[-1] == total
