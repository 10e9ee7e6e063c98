"""`manage.py learn SLUG`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.management.commands._arguments import find_project, refusals
from annotator.management.commands._watching import watch
from annotator.models import Job
from annotator.prelabelling import learning


class Command(BaseCommand):
    help = "Train the project's scorer from its gold of now and watch it; it is used only if it is better."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument("--no-wait", action="store_true", help="start it and return")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        job = learning.start(find_project(options["project"]), user=None)
        self.stdout.write(f"Started as job {job.pk}.")
        if not options["no_wait"]:
            self._tell(watch(self, job.pk))

    def _tell(self, job: Job) -> None:
        if job.status != Job.Status.DONE:
            raise CommandError(job.error or "The training was cancelled; nothing was changed.")
        result = job.result
        acc = result["step_acc"]
        bounds = "" if acc["low"] is None else f" (95 % interval {acc['low']:.1%} to {acc['high']:.1%})"
        self.stdout.write(f"Steps right, on tasks that are held out: {acc['value']:.1%}{bounds}")
        kept = f"Kept as {result['version']}." if result["is_kept"] else "Not kept; the version before goes on."
        self.stdout.write(f"{kept} {result['reason']}")
