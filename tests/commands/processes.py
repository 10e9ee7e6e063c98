"""Commands as a person runs them: another process, with its own connection to this test's database."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from django.db import connection

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def manage(*arguments: str, stdin: str = "") -> Ended:
    """Runs manage.py; only a test with `django_db(transaction=True)` shares what it has stored."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    ended = subprocess.run(
        [sys.executable, str(MANAGE), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "DATABASE_URL": url.geturl()},
        timeout=60,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)
