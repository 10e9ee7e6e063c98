#!/usr/bin/env python
"""Django's command line. Without DATABASE_URL it uses the embedded PostgreSQL, whether or not `make run` is up."""

import os
import re
import sys
from pathlib import Path

# Commands that never ask the database; run_stack starts its own.
NO_DATABASE = {"collectstatic", "compilemessages", "findstatic", "help", "makemessages", "run_stack", "version"}


def use_embedded_servers(command: str) -> None:
    from annotator import embedded

    home = Path(os.environ["STEPMARK_HOME"])
    try:
        if not os.environ.get("SECRET_KEY"):
            os.environ["SECRET_KEY"] = embedded.secret_key(home)
        if command not in NO_DATABASE:
            os.environ["DATABASE_URL"] = embedded.start_postgres(home)
            redis_url = embedded.running_redis(home)
            if redis_url:
                os.environ.setdefault("REDIS_URL", redis_url)
    except embedded.EmbeddedError as error:
        sys.exit(str(error))


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "annotator.settings")
    os.environ.setdefault("STEPMARK_HOME", str(Path(__file__).resolve().parent / "var"))
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY"):
        if not os.environ.get(name):  # an empty variable, as compose files make them, is none
            os.environ.pop(name, None)
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    if command == "create_project":  # its --settings names a file; Django would take it for a settings module
        sys.argv = [re.sub(r"^--settings(?=$|=)", "--settings-file", word) for word in sys.argv]
    asks_for_help = command in {"help", "--help", "-h", "version", "--version"} or {"-h", "--help"} & set(sys.argv[2:])
    if not asks_for_help and (command == "run_stack" or "DATABASE_URL" not in os.environ):
        use_embedded_servers(command)
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
