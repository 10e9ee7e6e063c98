"""`manage.py accept SLUG`"""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotator.acceptance import actions
from annotator.acceptance.terms import Terms
from annotator.management.commands._watching import JobCommand
from annotator.models import Job, Project


class Command(JobCommand):
    help = (
        "Test a promise on the random sample, and accept those labels of models that it allows, or take the labels of "
        "an earlier one back. A worker does it."
    )
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
        parser.add_argument("--withdraw", type=int, metavar="NUMBER", help="take the labels of this acceptance back")

    def begin(self, project: Project, options: dict[str, Any]) -> Job:
        if (number := options["withdraw"]) is not None:
            promise = project.acceptances.filter(number=number).first()
            if promise is None:
                raise CommandError(f"{project.slug} has no acceptance {number}; the page Acceptance lists them.")
            self.cancelled = "It was cancelled before all labels were taken back; try it again on the job's page."
            job = actions.stop(promise, withdraws=True, user=None)
            assert job is not None
            return job
        terms = Terms.parse({name: options[name] for name in ("epsilon", "delta", "audit_share")})
        return actions.start(project, terms, user=None)

    def tell(self, result: dict[str, Any]) -> None:
        if "status" not in result:
            self.stdout.write(f"Acceptance {result['number']}: {result['n_labels']} labels were taken back.")
            return
        if result["status"] != "active":
            raise CommandError("The sample does not prove of any rule that it keeps the promise. Nothing was accepted.")
        self.stdout.write(
            f"Acceptance {result['number']}: {result['n_labels']} labels in {result['n_trajectories']} trajectories; "
            f"people audit {result['n_audits']} others."
        )
