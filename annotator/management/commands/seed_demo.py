"""`manage.py seed_demo`"""

from typing import Any

from django.core.management.base import BaseCommand

from annotator import demo
from annotator.management.commands._arguments import refusals


class Command(BaseCommand):
    help = "Make the project `demo` with sample trajectories, labels, disputes and a release. It may run again."

    @refusals()
    def handle(self, *args: Any, **options: Any) -> None:
        demo.seed()
