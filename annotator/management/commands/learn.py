"""`manage.py learn SLUG`"""

from typing import Any

from annotator.management.commands._watching import JobCommand
from annotator.models import Job, Project
from annotator.prelabelling import learning


class Command(JobCommand):
    help = "Train the project's scorer from its gold of now and watch it; it is used only if it is better."
    cancelled = "The training was cancelled; nothing was changed."

    def begin(self, project: Project, options: dict[str, Any]) -> Job:
        return learning.start(project, user=None)

    def tell(self, result: dict[str, Any]) -> None:
        acc = result["step_acc"]
        bounds = "" if acc["low"] is None else f" (95 % interval {acc['low']:.1%} to {acc['high']:.1%})"
        self.stdout.write(f"Steps right, on tasks that are held out: {acc['value']:.1%}{bounds}")
        kept = f"Kept as {result['version']}." if result["is_kept"] else "Not kept; the version before goes on."
        self.stdout.write(f"{kept} {result['reason']}")
