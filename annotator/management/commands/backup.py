"""`manage.py backup FILE`"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator import backup
from annotator.management.commands._arguments import refusals


class Command(BaseCommand):
    help = "Write everything in the database into one archive and verify it, while people go on working."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="a new file, for example stepmark-2026-11-20.zip")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        path = options["file"]
        try:
            manifest = backup.write(path)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
        n_bytes = path.stat().st_size
        self.stderr.write(
            f"Written and verified: {manifest.n_rows} rows of {len(manifest.tables)} tables, {n_bytes} B."
        )
        self.stdout.write(str(path))
