"""`manage.py fuse SLUG`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.fusion import actions
from annotator.management.commands._arguments import find_project, refusals
from annotator.management.commands._watching import watch
from annotator.models import Fusion, Job


class Command(BaseCommand):
    help = "Fuse everything that models and people say of a project's steps, and watch it; a worker does it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument("--no-wait", action="store_true", help="start it and return")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        job = actions.start(find_project(options["project"]), user=None)
        self.stdout.write(f"Started as job {job.pk}.")
        if options["no_wait"]:
            return
        job = watch(self, job.pk)
        if job.status != Job.Status.DONE:
            raise CommandError(job.error or "The fusion was cancelled. Start it again to go on.")
        fusion = Fusion.objects.get(pk=job.result["fusion"])
        self.stdout.write(f"{fusion}: {fusion.reason}")
