"""`manage.py add_member SLUG USERNAME ROLE`"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from annotator.management.commands._arguments import find_project, find_user, refusals
from annotator.models import Membership
from annotator.projects.actions import add_member


class Command(BaseCommand):
    help = "Give a person a role in a project, or change the one they have."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", metavar="SLUG")
        parser.add_argument("username", metavar="USERNAME")
        parser.add_argument("role", metavar="ROLE", choices=Membership.Role.values, help="one of %(choices)s")

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        project, user = find_project(options["slug"]), find_user(options["username"])
        membership = add_member(project, user, Membership.Role(options["role"]), user=None)
        self.stdout.write(f"{user.username} is now {membership.role} in {project.slug}.")
