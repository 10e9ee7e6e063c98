"""Who sends a request: a person with a token, as `Authorization: Bearer TOKEN` (or knox's own word, `Token`)."""

from knox.auth import TokenAuthentication
from knox.models import AuthToken
from rest_framework.authentication import get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from annotator.models import User

SCHEMES = (b"bearer", b"token")
REFUSAL = "The token is unknown, expired or revoked. Make a new one on the page Your account or with create_token."


class BearerAuthentication(TokenAuthentication):  # type: ignore[misc]  # knox has no types
    """Tokens are stored hashed, expire and can be revoked; knox does that."""

    def authenticate(self, request: Request) -> tuple[User, AuthToken] | None:
        scheme, *rest = get_authorization_header(request).split() or [b""]
        if scheme.lower() not in SCHEMES:
            return None
        if len(rest) != 1:
            raise AuthenticationFailed("The Authorization header must be the word Bearer, a space and the token.")
        # knox decodes and looks up whatever comes; bytes that no token has would break it.
        if not rest[0].isalnum():
            raise AuthenticationFailed(REFUSAL)
        try:
            user, token = self.authenticate_credentials(rest[0])
        except AuthenticationFailed:
            raise AuthenticationFailed(REFUSAL) from None
        return user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="stepmark"'
