"""`manage.py restore FILE`"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator import backup
from annotator.management.commands._arguments import refusals


class Command(BaseCommand):
    help = "Put back what `manage.py backup` wrote: all of it, or nothing is changed. Stop the stack first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--force", action="store_true", help="delete what the database holds now")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        path = options["file"]
        try:
            manifest = backup.restore(path, replaces=options["force"])
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        self.stderr.write(f"Made at {manifest.made_at} by Stepmark {manifest.app_version}. Everybody signs in again.")
        self.stdout.write(f"{manifest.n_rows} rows of {len(manifest.tables)} tables restored.")
