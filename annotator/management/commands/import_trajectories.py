"""`manage.py import_trajectories FILE --project SLUG`"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator import flow, jobs
from annotator.importing.formats import FORMATS, BadRecord
from annotator.management.commands._arguments import find_project, refusals
from annotator.models import Job, Project

# The job's page in the web lists more of them.
MOST_LISTED = 20


class Command(BaseCommand):
    help = "Import a file of trajectories in this process; a job in the web shows it too. Importing again adds nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="a JSON or JSONL file")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--format", choices=list(FORMATS), help="default: found out from the first record")
        parser.add_argument(
            "--on-error",
            choices=["skip", "abort"],
            default="skip",
            help="skip bad records and import the others (default), or import nothing when a record is bad",
        )
        parser.add_argument("--dry-run", action="store_true", help="only report what an import would bring")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        if options["file"] == "-":
            raise CommandError("Standard input cannot be imported, because a file may be read twice. Save it first.")
        project, path = find_project(options["project"]), Path(options["file"])
        params = {"name": path.name, "format": options["format"], "on_error": options["on_error"]}
        kind = Job.Kind.IMPORT_CHECK if options["dry_run"] else Job.Kind.IMPORT
        try:
            n_total = path.stat().st_size
            with io.BufferedReader(_Watched(path, self._show_progress(n_total))) as file:
                job = self._run(project, file, params, kind=kind, n_total=n_total)
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        if job.result:
            self._report(job)
        if job.status == Job.Status.CANCELLED:
            raise CommandError("The job was cancelled. What was imported stays; run the command again to go on.")
        if job.status != Job.Status.DONE:
            raise CommandError(job.error)
        if options["dry_run"] and options["on_error"] == "abort" and job.result["n_bad"]:
            raise CommandError("With --on-error abort nothing of this file would be imported.")

    def _run(self, project: Project, file: BinaryIO, params: dict[str, Any], **about: Any) -> Job:
        try:
            return flow.import_now(project, file, params, **about)
        except KeyboardInterrupt:
            running = project.jobs.filter(kind=about["kind"], status=Job.Status.RUNNING, params=params)
            jobs.finish(running.latest("id"), Job.Status.CANCELLED)
            raise CommandError(
                "Stopped. What was imported stays; run the command again to go on.", returncode=130
            ) from None
        finally:
            if self.stderr.isatty():
                self.stderr.write("")

    def _show_progress(self, n_total: int) -> Callable[[int], None]:
        if not self.stderr.isatty():
            return lambda n_bytes: None
        return lambda n_bytes: self.stderr.write(f"\rRead {n_bytes * 100 // max(n_total, 1)} %", ending="")

    def _report(self, job: Job) -> None:
        report = job.result
        verb = "would be imported" if job.kind == Job.Kind.IMPORT_CHECK else "imported"
        if job.status == Job.Status.FAILED:
            verb = "are good"
        self.stdout.write(f"{report['n_trajectories']} trajectories with {report['n_steps']} steps {verb}")
        self.stdout.write(f"{report['n_with_reference_labels']} of them with reference labels")
        self.stdout.write(f"{report['n_duplicates']} duplicates left out")
        self.stdout.write(f"{report['n_bad']} bad records")
        for bad in report["bad"][:MOST_LISTED]:
            self.stderr.write(str(BadRecord(**bad)))
        if report["n_bad"] > MOST_LISTED:
            self.stderr.write(f"… and {report['n_bad'] - MOST_LISTED} more bad records.")


class _Watched(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        super().__init__(path)
        self._progress = progress

    def readinto(self, buffer: Any) -> int | None:
        n_bytes = super().readinto(buffer)
        self._progress(self.tell())
        return n_bytes
