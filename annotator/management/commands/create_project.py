"""`manage.py create_project SLUG`"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator.management.commands._arguments import positive, read_json, refusals
from annotator.projects.actions import ProjectSettings, create_project


class Command(BaseCommand):
    help = "Create a project. What is given here wins over the settings file."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Django gives every command a --settings for its own settings module; here it is the project's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", metavar="SLUG", help="its name in addresses: letters, digits, hyphens")
        parser.add_argument("--name", help="its name on pages (default: the slug)")
        parser.add_argument("--overlap", type=positive, metavar="N", help="how many people judge each trajectory")
        parser.add_argument(
            "--settings",
            "--settings-file",  # what manage.py makes of --settings, which Django would read before this command does
            dest="settings_file",
            type=Path,
            metavar="FILE.json",
            help="settings as docs/configuration.md lists them",
        )

        parser.set_defaults(settings=None)  # Django looks for its own

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        path = options["settings_file"]
        settings = read_json(path) if path else {}
        if not isinstance(settings, dict):
            raise CommandError(f"{path} must hold one JSON object with settings.")
        given = {name: options[name] for name in ("name", "overlap") if options[name] is not None}
        project = create_project(options["slug"], ProjectSettings.parse({**settings, **given}), user=None)
        self.stdout.write(f"Created project {project.slug}.")
