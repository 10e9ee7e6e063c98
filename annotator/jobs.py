"""The life of a Job row: queued → running → done / failed / cancelled. The work itself is in flow.py."""

import logging
from functools import partial
from typing import Any

from django.db import InterfaceError, transaction
from django.db import OperationalError as DatabaseOperationalError
from django.db.models import F
from django.utils.timezone import now
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from annotator import audit
from annotator.celery import app
from annotator.errors import JobConflict
from annotator.models import Job, Project, Upload, User

logger = logging.getLogger(__name__)


# A job that has taken so many workers down with it, as one that needs more memory than there is, is not begun again.
MOST_DEATHS = 5
# What jobs.py and the handlers write into `params` beside what the job is to do; a new job starts without it.
_REMEMBERED = ("n_deaths", "retried_as")


class JobCancelled(Exception):
    """Somebody asked for the job to stop; what was done so far stays, and a new run goes on from there."""


@transaction.atomic
def create(
    project: Project,
    kind: Job.Kind,
    params: dict[str, Any],
    *,
    unit: str,
    n_total: int | None,
    user: User | None,
    queue: Job.Queue = Job.Queue.DEFAULT,
    is_sent: bool = False,
) -> Job:
    """Creates a queued job; the caller runs it or sends it to a worker, unless it `is_sent` with the transaction."""
    job = Job.objects.create(
        project=project, kind=kind, params=params, unit=unit, n_total=n_total, created_by=user, queue=queue
    )
    audit.log("job.queued", job, user=user, project_id=project.pk, data={"kind": kind})
    if is_sent:
        transaction.on_commit(partial(send, job.pk))
    return job


# Creates a job and asks a worker to run it once the transaction has committed.
enqueue = partial(create, is_sent=True)


# What runs a job of a kind; the web side knows the workers' tasks by name only.
TASKS: dict[str, str] = {
    Job.Kind.PRELABEL: "workers.tasks.prelabel",
    Job.Kind.TRAIN_SCORER: "workers.tasks.train_scorer",
    Job.Kind.LEARN: "workers.tasks.learn",
}
# Jobs of these kinds need nothing but their parameters, so the same may be tried again at any time.
_READS_NO_FILE = (Job.Kind.PUBLISH, Job.Kind.TRAIN_SCORER, Job.Kind.WITHDRAW)
# Only their own start knows what they need, and what may not run beside them.
_STARTED_ELSEWHERE = (
    Job.Kind.PRELABEL, Job.Kind.IMPORT_PREDICTIONS, Job.Kind.LEARN, Job.Kind.FUSE, Job.Kind.SELECT, Job.Kind.ACCEPT,
)  # fmt: skip
_ENDED_BADLY = (Job.Status.FAILED, Job.Status.CANCELLED)


def send(job_id: int, *, n_workers: int = 1) -> None:
    """Tells so many workers. When Redis cannot be reached the job stays queued and the beat sends it again."""
    kind, queue = Job.objects.values_list("kind", "queue").get(pk=job_id)
    try:
        for _ in range(n_workers):
            app.send_task(TASKS.get(kind, "workers.tasks.run_job"), [job_id], queue=queue)
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("Job %s stays queued: Redis cannot be reached (%s).", job_id, error)


def start(job_id: int) -> Job | None:
    """The job, for the one worker that gets it; None for a message that came twice."""
    started = Job.objects.filter(pk=job_id, status=Job.Status.QUEUED).update(
        status=Job.Status.RUNNING, started_at=now(), heartbeat_at=now(), n_done=0, error=""
    )
    return Job.objects.select_related("project", "created_by").get(pk=job_id) if started else None


def report(job: Job, n_done: int, n_total: int | None = None) -> None:
    """Stores progress and shows that the worker lives. Raises JobCancelled when a person asked for that."""
    total = {} if n_total is None else {"n_total": n_total}
    running = Job.objects.filter(pk=job.pk, status=Job.Status.RUNNING)
    if not running.filter(is_cancel_requested=False).update(n_done=n_done, heartbeat_at=now(), **total):
        running.update(n_done=n_done, **total)  # so far it got before it stopped
        raise JobCancelled


def advance(job_id: int, by: int) -> None:
    """Like report, for a job that several workers share: adds to what is done. Raises JobCancelled."""
    running = Job.objects.filter(pk=job_id, status=Job.Status.RUNNING, is_cancel_requested=False)
    if not running.update(n_done=F("n_done") + by, heartbeat_at=now()):
        raise JobCancelled


def remember(job: Job, **params: object) -> None:
    """Stores where the work has got to, for a worker that takes over."""
    job.params = {**job.params, **params}
    Job.objects.filter(pk=job.pk).update(params=job.params)


def finish(job: Job, status: Job.Status, *, result: dict[str, Any] | None = None, error: str = "") -> None:
    Job.objects.filter(pk=job.pk, status=Job.Status.RUNNING).update(
        status=status, finished_at=now(), error=error, **({} if result is None else {"result": result})
    )


def is_outage(error: Exception) -> bool:
    """Whether PostgreSQL went away, which passes by itself: the job then stays as it is, and recover() finds it."""
    if not isinstance(error, (DatabaseOperationalError, InterfaceError)):
        return False
    state = getattr(error.__cause__, "sqlstate", None)  # None: the connection broke before the server could answer
    return state is None or state.startswith(("08", "57P"))


@transaction.atomic
def cancel(job: Job, *, user: User) -> None:
    """Stops a queued job now and a running one at its next report; asked twice, it is logged once."""
    job = Job.objects.select_for_update(no_key=True).get(pk=job.pk)
    if job.is_finished:
        raise JobConflict("This job has already ended, so there is nothing to cancel.")
    if job.is_cancel_requested:
        return
    job.is_cancel_requested = True
    if job.status == Job.Status.QUEUED:
        job.status, job.finished_at = Job.Status.CANCELLED, now()
    job.save(update_fields=["is_cancel_requested", "status", "finished_at"])
    audit.log("job.cancelled", job, user=user, project_id=job.project_id)


def can_retry(job: Job) -> bool:
    """Whether `retry` is worth offering; what a file job read may still be gone."""
    return job.status in _ENDED_BADLY and job.kind not in _STARTED_ELSEWHERE and "retried_as" not in job.params


@transaction.atomic
def retry(job: Job, *, user: User) -> Job:
    """Queues a new job with the parameters of one that failed or was cancelled; the old one stays as it ended.

    Asked twice, it leads to the same new job. Raises JobConflict when it has not ended badly, or when the file that it
    read is no longer there.
    """
    job = Job.objects.select_for_update(no_key=True).select_related("project").get(pk=job.pk)
    if again := Job.objects.filter(pk=job.params.get("retried_as")).first():
        return again
    if job.status not in _ENDED_BADLY:
        raise JobConflict("Only a job that failed or was cancelled can be tried again.")
    if job.kind in _STARTED_ELSEWHERE:
        raise JobConflict("Start it again where it was started: it goes on with what is missing.")
    if job.kind not in _READS_NO_FILE:
        # Locked, so that the daily cleaning of old uploads does not take it away under the new job.
        upload = Upload.objects.select_for_update(no_key=True).filter(pk=job.params.get("upload")).first()
        if upload is None:
            raise JobConflict(
                "The file of this job is no longer there, or it was read by a command on the server. "
                "Import the file again; nothing is added twice."
            )
    params = {name: value for name, value in job.params.items() if name not in _REMEMBERED}
    if job.kind == Job.Kind.PUBLISH:
        params.pop("release", None)  # the one that was begun is gone
    total = None if job.kind in _READS_NO_FILE else job.n_total
    queue = Job.Queue(job.queue)
    again = enqueue(job.project, Job.Kind(job.kind), params, unit=job.unit, n_total=total, user=user, queue=queue)
    remember(job, retried_as=again.pk)
    audit.log("job.retried", job, user=user, project_id=job.project_id, data={"as": again.pk})
    return again


def recover() -> int:
    """Puts jobs whose worker died back into the queue and sends every queued job that was forgotten."""
    for job_id in Job.objects.stalled().values_list("pk", flat=True):
        _take_back(job_id)
    forgotten = list(Job.objects.forgotten().values_list("pk", flat=True))
    for job_id in forgotten:
        send(job_id)
    return len(forgotten)


@transaction.atomic
def _take_back(job_id: int) -> None:
    """Queues a job whose worker died, unless it has done so too often or another beat is at it."""
    job = Job.objects.stalled().select_for_update(no_key=True, skip_locked=True).filter(pk=job_id).first()
    if job is None:
        return
    n_deaths = job.params.get("n_deaths", 0) + 1
    remember(job, n_deaths=n_deaths)
    audit.log("job.abandoned", job, user=None, project_id=job.project_id, data={"n_deaths": n_deaths})
    if n_deaths < MOST_DEATHS:
        Job.objects.filter(pk=job.pk).update(status=Job.Status.QUEUED)
    else:
        message = (
            f"The worker died {n_deaths} times while it ran this job, so it is not begun again. Its log may say why; "
            "most often the machine has too little memory. What was done stays, and trying again goes on from there."
        )
        finish(job, Job.Status.FAILED, error=message)
