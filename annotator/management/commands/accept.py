"""`manage.py accept SLUG`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.acceptance import actions
from annotator.acceptance.terms import Terms
from annotator.management.commands._arguments import find_project, refusals
from annotator.management.commands._watching import watch
from annotator.models import Job


class Command(BaseCommand):
    help = "Test a promise on the random sample, and accept those labels of models that it allows; a worker does it."

    def add_arguments(self, parser: CommandParser) -> None:
        default = Terms()
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument(
            "--epsilon", type=float, default=default.epsilon, metavar="SHARE", help="of the accepted labels, wrong"
        )
        parser.add_argument(
            "--delta", type=float, default=default.delta, metavar="CHANCE", help="that more are wrong all the same"
        )
        parser.add_argument(
            "--audit-share", type=float, default=default.audit_share, metavar="SHARE", help="that people judge instead"
        )
        parser.add_argument("--no-wait", action="store_true", help="start it and return")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        terms = Terms.parse({name: options[name] for name in ("epsilon", "delta", "audit_share")})
        job = actions.start(find_project(options["project"]), terms, user=None)
        self.stdout.write(f"Started as job {job.pk}.")
        if options["no_wait"]:
            return
        job = watch(self, job.pk)
        if job.status != Job.Status.DONE:
            raise CommandError(job.error or "It was cancelled, and nothing stays accepted.")
        found = job.result
        if found["status"] != "active":
            raise CommandError("The sample does not prove of any rule that it keeps the promise. Nothing was accepted.")
        self.stdout.write(
            f"Acceptance {found['number']}: {found['n_labels']} labels in {found['n_trajectories']} trajectories; "
            f"people audit {found['n_audits']} others."
        )
