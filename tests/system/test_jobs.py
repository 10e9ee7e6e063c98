"""The life of a job."""

import time
from datetime import timedelta

import pytest
from django.utils.timezone import now

from annotator import flow, jobs
from annotator.errors import JobConflict, JobFailed
from annotator.models import AuditEvent, Job
from tests.factories import World
from workers import tasks

pytestmark = pytest.mark.django_db
Status = Job.Status


@pytest.fixture
def job(world: World) -> Job:
    return jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=100, user=world.admin)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    messages: list[int] = []
    monkeypatch.setattr(jobs, "send", messages.append)
    return messages


def status_of(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def test_only_one_worker_gets_a_job(job: Job) -> None:
    first, second = jobs.start(job.pk), jobs.start(job.pk)
    assert first is not None
    assert second is None
    assert status_of(job) == Status.RUNNING


def test_a_message_that_comes_twice_runs_the_job_once(job: Job) -> None:
    runs: list[int] = []

    def handler(running: Job) -> dict[str, object]:
        runs.append(running.pk)
        flow.run_job(job.pk, handler)
        return {"n": 1}

    flow.run_job(job.pk, handler)
    flow.run_job(job.pk, handler)
    assert runs == [job.pk]
    assert status_of(job) == Status.DONE
    assert job.result == {"n": 1}
    assert job.is_finished


def test_a_job_is_sent_when_its_transaction_has_committed(
    world: World, sent: list[int], django_capture_on_commit_callbacks: pytest.FixtureRequest
) -> None:
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        job = jobs.enqueue(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=1, user=None)
        assert sent == []
    assert sent == [job.pk]


def test_redis_that_cannot_be_reached_leaves_the_job_queued_and_the_request_goes_on(job: Job) -> None:
    begun = time.monotonic()
    jobs.send(job.pk)  # REDIS_URL of the tests names a port on which nothing listens
    assert time.monotonic() - begun < 2  # left alone, kombu tries for six seconds
    assert status_of(job) == Status.QUEUED


def test_a_queued_job_is_cancelled_at_once(job: Job, world: World) -> None:
    jobs.cancel(job, user=world.admin)
    assert status_of(job) == Status.CANCELLED
    assert job.is_finished
    assert jobs.start(job.pk) is None
    assert AuditEvent.objects.filter(action="job.cancelled", object_id=job.pk, user=world.admin).count() == 1


def test_a_running_job_stops_at_its_next_report(job: Job, world: World) -> None:
    def handler(running: Job) -> dict[str, object]:
        jobs.report(running, 10)
        jobs.cancel(running, user=world.admin)
        assert status_of(job) == Status.RUNNING
        jobs.report(running, 20)
        raise AssertionError("it went on")

    flow.run_job(job.pk, handler)
    assert (status_of(job), job.n_done) == (Status.CANCELLED, 20)  # that is done, too


def test_a_job_that_has_ended_cannot_be_cancelled(job: Job, world: World) -> None:
    flow.run_job(job.pk, lambda running: {})
    with pytest.raises(JobConflict, match="already ended"):
        jobs.cancel(job, user=world.admin)
    assert (status_of(job), job.is_cancel_requested) == (Status.DONE, False)
    assert not AuditEvent.objects.filter(action="job.cancelled").exists()


def test_a_refusal_ends_the_job_with_its_sentence_and_what_it_found(job: Job) -> None:
    def handler(running: Job) -> dict[str, object]:
        raise JobFailed("Three lines are bad.", {"n_bad": 3})

    flow.run_job(job.pk, handler)
    assert (status_of(job), job.error, job.result) == (Status.FAILED, "Three lines are bad.", {"n_bad": 3})


def test_a_bug_ends_the_job_and_is_raised(job: Job) -> None:
    def handler(running: Job) -> dict[str, object]:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        flow.run_job(job.pk, handler)
    expected = "Unexpected ZeroDivisionError: division by zero. The log has the rest."
    assert (status_of(job), job.error) == (Status.FAILED, expected)


def test_a_job_whose_worker_died_is_queued_and_sent_again(job: Job, sent: list[int]) -> None:
    jobs.start(job.pk)
    assert jobs.recover() == 0
    assert status_of(job) == Status.RUNNING
    long_ago = now() - timedelta(minutes=6)
    Job.objects.filter(pk=job.pk).update(heartbeat_at=long_ago, queued_at=long_ago)
    assert jobs.recover() == 1
    assert (status_of(job), sent) == (Status.QUEUED, [job.pk])
    event = AuditEvent.objects.get(action="job.abandoned")
    assert (event.user, event.object_id, event.data) == (None, job.pk, {"n_deaths": 1})


def test_a_job_that_keeps_killing_its_workers_is_given_up(job: Job, world: World, sent: list[int]) -> None:
    for n_deaths in range(1, 6):
        assert jobs.start(job.pk)
        Job.objects.filter(pk=job.pk).update(heartbeat_at=now() - timedelta(minutes=6))
        jobs.recover()
        assert status_of(job) == (Status.QUEUED if n_deaths < 5 else Status.FAILED)
    assert job.is_finished
    assert "The worker died 5 times while it ran this job" in job.error


def test_a_job_whose_message_was_lost_is_sent_again(job: Job, sent: list[int]) -> None:
    assert jobs.recover() == 0
    Job.objects.filter(pk=job.pk).update(queued_at=now() - timedelta(seconds=31))
    tasks.recover_jobs()
    assert sent == [job.pk]


def test_a_stalled_job_that_was_to_be_cancelled_still_stops(job: Job, world: World, sent: list[int]) -> None:
    jobs.start(job.pk)
    jobs.cancel(job, user=world.admin)
    long_ago = now() - timedelta(minutes=6)
    Job.objects.filter(pk=job.pk).update(heartbeat_at=long_ago, queued_at=long_ago)
    jobs.recover()
    flow.run_job(job.pk, lambda running: jobs.report(running, 1) or {})  # type: ignore[func-returns-value]
    assert status_of(job) == Status.CANCELLED


def test_what_a_job_remembers_is_there_for_the_next_worker(job: Job) -> None:
    running = jobs.start(job.pk)
    assert running is not None
    jobs.remember(running, release=7)
    assert Job.objects.get(pk=job.pk).params == {"release": 7}
