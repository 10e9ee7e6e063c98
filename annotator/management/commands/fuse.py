"""`manage.py fuse SLUG`"""

from typing import Any

from annotator.fusion import actions
from annotator.management.commands._watching import JobCommand
from annotator.models import Fusion, Job, Project


class Command(JobCommand):
    help = "Fuse everything that models and people say of a project's steps, and watch it; a worker does it."
    cancelled = "The fusion was cancelled. Start it again to go on."

    def begin(self, project: Project, options: dict[str, Any]) -> Job:
        return actions.start(project, user=None)

    def tell(self, result: dict[str, Any]) -> None:
        fusion = Fusion.objects.get(pk=result["fusion"])
        self.stdout.write(f"{fusion}: {fusion.reason}")
