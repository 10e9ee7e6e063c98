"""`manage.py create_user USERNAME`"""

import sys
from getpass import getpass
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from annotator import audit
from annotator.management.commands._arguments import refusals
from annotator.models import User


class Command(BaseCommand):
    help = "Create a person who can sign in; add_member gives them a role in a project."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", metavar="USERNAME")
        parser.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input instead of asking"
        )
        parser.add_argument("--email", default="", help="the person's address")
        parser.add_argument("--superuser", action="store_true", help="may do everything under /operators/")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        username, is_superuser = options["username"], options["superuser"]
        if User.objects.filter(username=username).exists():
            raise CommandError(f"There is a user {username!r} already; nothing was changed.")
        password = self._password(username, from_stdin=options["password_stdin"])
        user = User(username=username, email=options["email"], is_staff=is_superuser, is_superuser=is_superuser)
        try:
            user.set_password(password)
            user.full_clean()
            validate_password(password, user)
        except ValidationError as error:
            raise CommandError(f"The user was not created. {' '.join(error.messages)}") from error
        with transaction.atomic():
            user.save()
            audit.log("user.created", user, user=None, project_id=None, data={"is_superuser": is_superuser})
        self.stdout.write(f"Created user {username}.")

    def _password(self, username: str, *, from_stdin: bool) -> str:
        if from_stdin:
            password = sys.stdin.readline().rstrip("\r\n")
        elif sys.stdin.isatty():
            password = getpass(f"Password for {username}: ")
            if password != getpass("The same again: "):
                raise CommandError("The user was not created. The two passwords differ.")
        else:
            raise CommandError("There is no terminal to ask for the password: pass --password-stdin and send it there.")
        if not password:
            raise CommandError("The user was not created. The password is empty.")
        return password
