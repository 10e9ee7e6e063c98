"""`manage.py select SLUG`"""

from typing import Any

from annotator.management.commands._watching import JobCommand
from annotator.models import Job, Project
from annotator.selection import actions


class Command(JobCommand):
    help = "Start a selection round: choose what people of a project get next, and watch it; a worker does it."
    cancelled = "The round was cancelled and chose nothing."

    def begin(self, project: Project, options: dict[str, Any]) -> Job:
        return actions.start(project, user=None)

    def tell(self, result: dict[str, Any]) -> None:
        self.stdout.write(f"Round {result['number']}: {result['n_picks']} of {result['n_pool']} trajectories chosen.")
