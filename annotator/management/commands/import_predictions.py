"""`manage.py import_predictions SLUG FILE --model NAME`"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator import flow
from annotator.importing.formats import BadRecord
from annotator.management.commands._arguments import find_project, refusals
from annotator.models import Job

MOST_LISTED = 20


class Command(BaseCommand):
    help = "Import what another tool's judge said about steps (a step_labels file) as predictions of one model version."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="SLUG")
        parser.add_argument("file", metavar="FILE", help="JSON or JSONL with step_labels, as AgentProcessBench has it")
        parser.add_argument("--model", required=True, metavar="NAME", help="what the rater is called in the project")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        project, path = find_project(options["project"]), Path(options["file"])
        try:
            with path.open("rb") as file:
                job = flow.import_predictions_now(project, file, path.name, model=options["model"])
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        report = job.result
        if report:
            self.stdout.write(
                f"{report['version'] or options['model']}: {report['n_imported']} trajectories with "
                f"{report['n_steps']} labels imported, {report['n_failed_rows']} of them failed rows (abstentions)"
            )
            self.stdout.write(
                f"{report['n_already']} were there already, {report['n_unknown']} are not in the project, "
                f"{report['n_bad']} bad records"
            )
            if report["n_only_before"]:
                self.stdout.write(
                    f"Of {report['n_only_before']} trajectories only the version before has spoken, and only the "
                    "latest version of a model counts. If both files are of one model, join them and import that file."
                )
            for bad in report["bad"][:MOST_LISTED]:
                self.stderr.write(str(BadRecord(**bad)))
        if job.status != Job.Status.DONE:
            raise CommandError(job.error)
