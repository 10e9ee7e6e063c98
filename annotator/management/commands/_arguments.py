"""What commands are given (a project, a person, a file), found or refused with a sentence."""

import json
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.core.management.base import CommandError
from django.db import DatabaseError

from annotator.errors import DomainError
from annotator.models import Project, User


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what the platform refuses, and a database that is not there, into a sentence and exit code 1."""
    try:
        yield
    except DomainError as error:
        raise CommandError(error.message) from error
    except DatabaseError as error:
        if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
            raise CommandError("The database has no tables yet. Run `manage.py migrate` first.") from error
        if isinstance(error.__cause__, psycopg.OperationalError):
            raise CommandError(f"The database cannot be used; check DATABASE_URL. It says: {error}") from error
        raise


def find_project(slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        raise CommandError(f"There is no project {slug!r}. Create it with `manage.py create_project {slug}`.")
    return project


def find_user(username: str) -> User:
    user = User.objects.filter(username=username).first()
    if user is None:
        raise CommandError(f"There is no user {username!r}. Create them with `manage.py create_user {username}`.")
    return user


def read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise CommandError(f"{path} is not valid JSON: {error}.") from error


def positive(text: str) -> int:
    """An argument that counts something."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
