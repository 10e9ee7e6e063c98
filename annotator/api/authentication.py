"""Who sends a request: a person with a token, as `Authorization: Bearer TOKEN` (or knox's own word, `Token`)."""

from hmac import compare_digest

from django.utils.timezone import now
from knox.crypto import hash_token
from knox.settings import CONSTANTS
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from annotator.identity import USER_COLUMNS, user_of
from annotator.models import User
from annotator.postgresql.base import prepared_cursor

SCHEMES = (b"bearer", b"token")
REFUSAL = "The token is unknown, expired or revoked. Make a new one on the page Your account or with create_token."


class BearerAuthentication(BaseAuthentication):
    """knox makes the tokens and stores them hashed; they expire and can be revoked.

    Its own authentication takes two queries of the ORM, one of them for expired tokens that it could delete on the way.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        scheme, *rest = get_authorization_header(request).split() or [b""]
        if scheme.lower() not in SCHEMES:
            return None
        if len(rest) != 1:
            raise AuthenticationFailed("The Authorization header must be the word Bearer, a space and the token.")
        # No token has other bytes, and PostgreSQL does not take all of them.
        user = _owner_of(rest[0].decode()) if rest[0].isalnum() else None
        if user is None:
            raise AuthenticationFailed(REFUSAL)
        return user, None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="stepmark"'


def _owner_of(token: str) -> User | None:
    with prepared_cursor() as cursor:
        cursor.execute(
            f"""SELECT token.digest, {USER_COLUMNS} FROM knox_authtoken AS token
                  JOIN annotator_user AS person ON person.id = token.user_id
                 WHERE token.token_key = %(key)s AND (token.expiry IS NULL OR token.expiry >= %(at)s)
                   AND person.is_active""",
            {"key": token[: CONSTANTS.TOKEN_KEY_LENGTH], "at": now()},
        )
        rows = cursor.fetchall()
    digest = hash_token(token)
    return next((user_of(person) for stored, *person in rows if compare_digest(stored, digest)), None)
