"""`manage.py accept SLUG`"""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotator.acceptance import actions
from annotator.acceptance.terms import Terms
from annotator.management.commands._watching import JobCommand
from annotator.models import Job, Project


class Command(JobCommand):
    help = "Test a promise on the random sample, and accept those labels of models that it allows; a worker does it."
    cancelled = "It was cancelled, and nothing stays accepted."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        default = Terms()
        for name, value, unit, words in (
            ("--epsilon", default.epsilon, "SHARE", "of the accepted labels, wrong"),
            ("--delta", default.delta, "CHANCE", "that more are wrong all the same"),
            ("--audit-share", default.audit_share, "SHARE", "that people judge instead"),
        ):
            parser.add_argument(name, type=float, default=value, metavar=unit, help=words)

    def begin(self, project: Project, options: dict[str, Any]) -> Job:
        terms = Terms.parse({name: options[name] for name in ("epsilon", "delta", "audit_share")})
        return actions.start(project, terms, user=None)

    def tell(self, result: dict[str, Any]) -> None:
        if result["status"] != "active":
            raise CommandError("The sample does not prove of any rule that it keeps the promise. Nothing was accepted.")
        self.stdout.write(
            f"Acceptance {result['number']}: {result['n_labels']} labels in {result['n_trajectories']} trajectories; "
            f"people audit {result['n_audits']} others."
        )
