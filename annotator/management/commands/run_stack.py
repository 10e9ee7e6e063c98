"""`make run`: the whole platform on one machine."""

import json
import os
import sys
from argparse import SUPPRESS
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator import stack
from annotator.embedded import EmbeddedError

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Command(BaseCommand):
    help = "Start PostgreSQL, Redis, web, worker and beat on this machine (HOST and PORT say where); Ctrl-C stops them."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--prepare", action="store_true", help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["prepare"]:
            self._prepare()
            return
        port = os.environ.get("PORT", "8000")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise CommandError(f"PORT is {port!r}: it must be a number from 1 to 65535.")
        try:
            sys.exit(stack.run(settings.STEPMARK_HOME, host=os.environ.get("HOST", "127.0.0.1"), port=int(port)))
        except EmbeddedError as error:
            raise CommandError(str(error)) from error

    def _prepare(self) -> None:
        """The part that needs Django with its database; the last line is for the supervisor."""
        from annotator import demo

        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        is_private = os.environ.get("HOST", "127.0.0.1") in LOOPBACK
        if is_private:
            call_command("seed_demo", verbosity=0)
        else:
            demo.close_accounts()
        self.stdout.write(json.dumps(demo.ACCOUNTS if is_private else []))
