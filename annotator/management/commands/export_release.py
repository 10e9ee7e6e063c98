"""`manage.py export_release SLUG N --format NAME --out DIR`"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.management.commands._arguments import find_project, positive, refusals
from annotator.models import Project, Release
from annotator.releases.exporters import EXPORTERS
from annotator.releases.files import export_directory


class Command(BaseCommand):
    help = "Write a release as one file per split with its manifest beside them, and print their paths."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", metavar="SLUG")
        parser.add_argument("number", type=positive, metavar="N", help="the number that publish_release printed")
        parser.add_argument(
            "--format",
            required=True,
            choices=[*EXPORTERS, "all"],
            metavar="NAME",
            help="one of %(choices)s; all writes every format into a folder of its own",
        )
        parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="made if it is not there")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        release = _find_release(find_project(options["slug"]), options["number"])
        name, out = options["format"], options["out"]
        folders = {each: out / each for each in EXPORTERS} if name == "all" else {name: out}
        for format_name, folder in folders.items():
            try:
                written = export_directory(release, format_name, folder)
            except OSError as error:
                raise CommandError(f"{error.filename or folder} cannot be written: {error.strerror}.") from error
            for path in written:
                self.stdout.write(str(path))


def _find_release(project: Project, number: int) -> Release:
    published = project.releases.published()
    release = published.filter(number=number).first()
    if release is None:
        numbers = ", ".join(map(str, sorted(published.values_list("number", flat=True))))
        there = f"it has {numbers}" if numbers else "publish one with `manage.py publish_release`"
        raise CommandError(f"Project {project.slug!r} has no release {number}; {there}.")
    return release
