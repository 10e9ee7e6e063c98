"""What a worker does with a pre-label run: load the model, score what is left, store as it goes."""

import logging
import os
import socket
import time
import uuid
from typing import Any

from annotator import flow, jobs
from annotator.errors import JobFailed
from annotator.models import Job, PrelabelRun
from annotator.prelabelling import actions
from annotator.prelabelling.actions import Result
from workers.prelabel.loading import Model, load

logger = logging.getLogger(__name__)

# Results wait for each other for so long, and no more than so many are stored at once.
STORE_EVERY_S = 1.0
STORED_AT_ONCE = 64
# How often the leader looks whether the others have finished, and anybody whether the job was cancelled.
LOOK_EVERY_S = 1.0


def work(job_id: int) -> None:
    """Leads a queued run to its end, or helps with one that another worker leads."""
    if Job.objects.filter(pk=job_id, status=Job.Status.QUEUED).exists():
        flow.run_job(job_id, lead)
    else:
        help_out(job_id)


def lead(job: Job) -> dict[str, Any]:
    """Scores until every trajectory of the run has ended, also those that others had claimed and left behind."""
    run = PrelabelRun.objects.select_related("project").get(job=job)
    jobs.report(job, *actions.progress(run))  # of one that another worker has begun; not if it was cancelled meanwhile
    model = load(run, _asks_to_stop(job.pk))
    actions.attach_version(run, model.config, model.identity)
    actions.plan(run)
    while True:
        try:
            _score(run, model)
        except JobFailed as error:
            raise JobFailed(error.message, actions.summary(run)) from None
        if actions.is_complete(run):
            return actions.summary(run)
        time.sleep(LOOK_EVERY_S)  # others are still at it
        jobs.advance(job.pk, 0)


def help_out(job_id: int) -> None:
    """Takes a share of a run that another worker leads; what goes wrong here is left to the leader.

    Of runs that need a GPU: what a judge asks at once, and may spend, is counted by one worker alone.
    """
    shared = PrelabelRun.objects.filter(job__queue=Job.Queue.GPU).select_related("project")
    run = shared.filter(job=job_id, job__status=Job.Status.RUNNING).first()
    if run is None or (run.targets.exists() and actions.is_complete(run)):
        return
    try:
        model = load(run, _asks_to_stop(job_id))  # while the leader loads its own: all are told at the same time
        while not run.targets.exists():
            time.sleep(LOOK_EVERY_S)
            jobs.advance(job_id, 0)
        actions.attach_version(run, model.config, model.identity)
        _score(run, model)
    except jobs.JobCancelled:
        logger.info("Job %s was cancelled.", job_id)
    except JobFailed as error:
        logger.warning("This worker does not take part in job %s: %s", job_id, error)


class _asks_to_stop:  # noqa: N801  # used as a function
    """Whether somebody has cancelled the job. Asking shows that the worker lives; it is cheap to ask often."""

    def __init__(self, job_id: int) -> None:
        self._job_id, self._next, self._answer = job_id, 0.0, False

    def __call__(self) -> bool:
        if not self._answer and time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOK_EVERY_S
            try:
                jobs.advance(self._job_id, 0)
            except jobs.JobCancelled:
                self._answer = True
        return self._answer


def _score(run: PrelabelRun, model: Model) -> None:
    """Scores what this worker can claim. Raises JobCancelled, and JobFailed when the model cannot go on."""
    worker = f"{socket.gethostname()[:40]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    waiting: list[Result] = []
    since = time.monotonic()
    spent = model.spent()

    def store() -> None:
        nonlocal waiting, since, spent
        now_spent = model.spent()
        actions.store(run, worker, waiting, cost=now_spent - spent)
        waiting, since, spent = [], time.monotonic(), now_spent

    trajectories = actions.claimed(run, worker, with_reference=actions.sees_reference(model.config))
    try:
        for result in model.score(trajectories):
            waiting.append(result)
            if len(waiting) >= STORED_AT_ONCE or time.monotonic() - since > STORE_EVERY_S:
                store()
    finally:
        # Also what was finished before the model gave up, or was told to.
        try:
            store()
        finally:
            actions.release(run, worker)
