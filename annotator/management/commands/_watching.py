"""Following a job from the command line until it has ended."""

import time
from abc import ABC, abstractmethod
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.management.commands._arguments import find_project, refusals
from annotator.models import Job, Project

LOOK_EVERY_S = 0.5
NO_WORKER_AFTER_S = 15


def watch(command: BaseCommand, job_id: int) -> Job:
    """The job once it has ended, however that was. Interrupted, it says that the job goes on."""
    begun, told = time.monotonic(), False
    try:
        while not (job := Job.objects.get(pk=job_id)).is_finished:
            if job.status == Job.Status.QUEUED and not told and time.monotonic() - begun > NO_WORKER_AFTER_S:
                told = True
                command.stderr.write(f"No worker has taken it yet. Does one listen to the queue {job.queue}?")
            if command.stderr.isatty() and job.n_total:
                command.stderr.write(f"\r{job.n_done} of {job.n_total} {job.unit} ", ending="")
            time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        raise CommandError("Not watched any longer; the job goes on. Cancel it on its page.", returncode=130) from None
    return job


class JobCommand(BaseCommand, ABC):
    """Starts a job of one project and watches it: subclasses say what `begin` starts and `tell` what came of it."""

    cancelled: str  # what to say of a job that did not fail, but did not come to its end either

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument("--no-wait", action="store_true", help="start it and return")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        job = self.begin(find_project(options["project"]), options)
        self.stdout.write(f"Started as job {job.pk}.")
        if options["no_wait"]:
            return
        job = watch(self, job.pk)
        if job.status != Job.Status.DONE:
            raise CommandError(job.error or self.cancelled)
        self.tell(job.result)

    @abstractmethod
    def begin(self, project: Project, options: dict[str, Any]) -> Job: ...

    @abstractmethod
    def tell(self, result: dict[str, Any]) -> None: ...
