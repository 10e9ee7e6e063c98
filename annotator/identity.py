"""Who sends a request, in prepared statements: a browser's session, the person behind it, the owner of a token.

Every request asks for these. Django's ORM builds the two queries of a session anew each time, which took two fifths of
a save over the page (docs/performance.md); what they mean is Django's and knox's as before.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.backends import db
from django.utils.timezone import now

from annotator.models import User
from annotator.postgresql.base import prepared_cursor

USER_FIELDS = [field.attname for field in User._meta.concrete_fields]
USER_COLUMNS = ", ".join(f'person."{field.column}"' for field in User._meta.concrete_fields)


class SessionStore(db.SessionStore):
    """Django finds it by this name in the module that SESSION_ENGINE names."""

    def load(self) -> dict[str, Any]:
        with prepared_cursor() as cursor:
            cursor.execute(
                "SELECT session_data FROM django_session WHERE session_key = %(key)s AND expire_date > %(at)s",
                {"key": self.session_key, "at": now()},
            )
            row = cursor.fetchone()
        if row is None:
            self._session_key = None
            return {}
        return self.decode(row[0])


class Backend(ModelBackend):
    def get_user(self, user_id: int) -> User | None:
        with prepared_cursor() as cursor:
            cursor.execute(f"SELECT {USER_COLUMNS} FROM annotator_user AS person WHERE id = %(id)s", {"id": user_id})
            row = cursor.fetchone()
        user = row and user_of(row)
        return user if user and self.user_can_authenticate(user) else None


def user_of(row: Sequence[Any]) -> User:
    """The person whose USER_COLUMNS these are."""
    return User.from_db("default", USER_FIELDS, row)
