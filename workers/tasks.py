"""Celery entry points: ids in, one call. Everything here may run twice without harm."""

from celery import shared_task

from annotator import accounts, flow
from annotator.importing import uploads
from annotator.prelabelling import learning
from annotator.queue import actions as queue
from annotator.selection import actions as selection


@shared_task
def run_job(job_id: int) -> None:
    flow.run_job(job_id)


@shared_task
def prelabel(job_id: int) -> None:
    from workers.prelabel import run  # loads torch if the model needs it

    run.work(job_id)


@shared_task
def train_scorer(job_id: int) -> None:
    from workers import train_scorer as training  # loads torch

    training.work(job_id)


@shared_task
def learn(job_id: int) -> None:
    from workers import learn as training  # loads torch

    training.work(job_id)


@shared_task
def train_due_scorers() -> None:
    learning.start_due()


@shared_task
def start_due_rounds() -> None:
    selection.start_due()


@shared_task
def expire_claims() -> None:
    queue.expire()


@shared_task
def recover_jobs() -> None:
    flow.recover_jobs()


@shared_task
def delete_old_uploads() -> None:
    uploads.delete_old()


@shared_task
def forget_expired() -> None:
    accounts.forget_expired()
