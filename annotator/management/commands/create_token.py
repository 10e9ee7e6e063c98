"""`manage.py create_token USERNAME`"""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotator import accounts
from annotator.management.commands._arguments import find_user, positive, refusals

MOST_DAYS = 3650


class Command(BaseCommand):
    help = "Make an API token for a person. Standard output gets the token and nothing else; it is shown only once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USERNAME")
        parser.add_argument("--days", type=positive, metavar="N", help="how long it is valid (default: API_TOKEN_DAYS)")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        user, days = find_user(options["username"]), options["days"]
        if not user.is_active:
            raise CommandError(f"User {user.username!r} is deactivated, so a token would open nothing.")
        if days is not None and days > MOST_DAYS:
            raise CommandError(f"A token is valid for at most {MOST_DAYS} days; make a new one then.")
        stored, token = accounts.create_token(user, user=None, lifetime=timedelta(days=days) if days else None)
        self.stderr.write(f"Valid until {stored.expiry:%Y-%m-%d %H:%M} UTC. It is stored hashed: keep it now.")
        self.stdout.write(token)
