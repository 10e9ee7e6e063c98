"""What a worker does with a pre-label run: load the model, score what is left, store as it goes."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from annotator import flow, jobs
from annotator.errors import JobFailed
from annotator.models import Guideline, Job, PrelabelRun
from annotator.prelabelling import actions, catalogue
from annotator.prelabelling.actions import Identity, Result
from annotator.prelabelling.configs import ModelConfig, canonical_sha256
from annotator.prelabelling.discriminative import DiscriminativeConfig
from annotator.prelabelling.judge_config import JudgeConfig
from annotator.prelabelling.scores import TrajectoryText

logger = logging.getLogger(__name__)

# Results wait for each other for so long, and no more than so many are stored at once.
STORE_EVERY_S = 1.0
STORED_AT_ONCE = 64
# How often the leader looks whether the others have finished what they claimed.
WAIT_S = 1.0

Trajectories: TypeAlias = Iterable[tuple[int, TrajectoryText]]


@dataclass
class Model:
    """A loaded model, whatever its kind. `cost` is what it has spent since it was asked last."""

    config: ModelConfig
    identity: Identity
    score: Callable[[Trajectories], Iterator[Result]]
    cost: Callable[[], Decimal] = lambda: Decimal(0)


def work(job_id: int) -> None:
    """Leads a queued run to its end, or helps with one that another worker leads."""
    if Job.objects.filter(pk=job_id, status=Job.Status.QUEUED).exists():
        flow.run_job(job_id, lead)
    else:
        help_out(job_id)


def lead(job: Job) -> dict[str, Any]:
    """Scores until every trajectory of the run has ended, also what others had claimed and left behind."""
    run = PrelabelRun.objects.select_related("project").get(job=job)
    model = load(run)
    actions.attach_version(run, model.config, model.identity)
    actions.plan(run)
    while True:
        stopped = _score(run, model)
        if stopped:
            raise JobFailed(stopped, actions.summary(run))
        if actions.is_complete(run):
            return actions.summary(run)
        time.sleep(WAIT_S)  # others are still at it
        jobs.advance(job.pk, 0)


def help_out(job_id: int) -> None:
    """Takes a share of a run that another worker leads; what goes wrong here is left to the leader."""
    running = PrelabelRun.objects.filter(job=job_id, job__status=Job.Status.RUNNING, version__isnull=False)
    run = running.select_related("project").first()
    if run is None or actions.is_complete(run):
        return
    try:
        model = load(run)
        actions.attach_version(run, model.config, model.identity)
        _score(run, model)
    except jobs.JobCancelled:
        logger.info("Job %s was cancelled.", job_id)
    except JobFailed as error:
        logger.warning("This worker does not take part in job %s: %s", job_id, error)


def _score(run: PrelabelRun, model: Model) -> str:
    """Scores what can be claimed. Returns why it ended early; "" if it did not."""
    worker = f"{socket.gethostname()[:40]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    with_reference = actions.sees_reference(model.config)
    waiting: list[Result] = []
    since = time.monotonic()
    try:
        for result in model.score(actions.claimed(run, worker, with_reference=with_reference)):
            waiting.append(result)
            if len(waiting) >= STORED_AT_ONCE or time.monotonic() - since > STORE_EVERY_S:
                actions.store(run, worker, waiting, cost=model.cost())
                waiting, since = [], time.monotonic()
        actions.store(run, worker, waiting, cost=model.cost())
    finally:
        actions.release(run, worker)
    return ""
