"""`manage.py select SLUG`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.management.commands._arguments import find_project, refusals
from annotator.management.commands._watching import watch
from annotator.models import Job
from annotator.selection import actions


class Command(BaseCommand):
    help = "Start a selection round: choose what people of a project get next, and watch it; a worker does it."

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
            raise CommandError(job.error or "The round was cancelled and chose nothing.")
        found = job.result
        self.stdout.write(f"Round {found['number']}: {found['n_picks']} of {found['n_pool']} trajectories chosen.")
