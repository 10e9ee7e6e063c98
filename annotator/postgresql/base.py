"""Django's PostgreSQL backend with two things that it lacks: a cheap health check, and prepared statements on request.

Django looks for a class of this name in the module `base` of the package that the setting ENGINE names.
"""

import select
from collections.abc import Mapping
from typing import Any, Self, cast

import psycopg
from django.db import connections
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper


class PreparedCursor(psycopg.Cursor[tuple[Any, ...]]):
    """Binds on the server and prepares every statement: PostgreSQL plans it once per connection, not every time.

    Integers go as text, whose type PostgreSQL takes from the statement. psycopg names the smallest type that holds
    each, and every combination of types would be another statement to prepare.
    """

    def execute(self, query: str, params: Mapping[str, object]) -> Self:  # type: ignore[override]
        values = {name: str(value) if type(value) is int else value for name, value in params.items()}
        return super().execute(query, values, prepare=True)


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        """Whether the server is still there, without asking it.

        Django sends SELECT 1 at the start of every request. An idle connection has nothing to read unless the server
        has ended it (or tells of something, which is rare: then it is replaced for nothing).
        """
        if self.connection is None or self.connection.closed or self.connection.broken:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0)

    def prepared_cursor(self) -> CursorWrapper:
        self.close_if_health_check_failed()
        self.ensure_connection()
        self.validate_thread_sharing()
        cursor: Any = PreparedCursor(self.connection)
        return self.make_debug_cursor(cursor) if self.queries_logged else self.make_cursor(cursor)


def prepared_cursor() -> CursorWrapper:
    """A cursor for a statement that is sent often and costs more to plan than to run."""
    return cast(DatabaseWrapper, connections["default"]).prepared_cursor()
