"""API tokens, and what is thrown away when it has expired."""

from datetime import timedelta

from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.utils.timezone import now
from knox.models import AuthToken
from knox.settings import knox_settings

from annotator import audit
from annotator.models import User


@transaction.atomic
def create_token(owner: User, *, user: User | None, lifetime: timedelta | None = None) -> tuple[AuthToken, str]:
    """Makes a token, by default for API_TOKEN_DAYS; returns what is stored, and the token itself, which is not."""
    stored, token = AuthToken.objects.create(user=owner, expiry=lifetime or knox_settings.TOKEN_TTL)
    audit.log("token.created", owner, user=user, project_id=None, data={"key": stored.token_key})
    return stored, token


@transaction.atomic
def revoke_token(owner: User, key: str) -> bool:
    """Ends the owner's tokens that begin with `key`; False if there is none."""
    # The key is the start of the token and not unique by itself; the digest is.
    if "\0" in key or not AuthToken.objects.filter(user=owner, token_key=key).delete()[0]:
        return False
    audit.log("token.revoked", owner, user=owner, project_id=None, data={"key": key})
    return True


def forget_expired() -> None:
    """Deletes sessions and tokens that open nothing any more."""
    SessionStore.clear_expired()
    AuthToken.objects.filter(expiry__lte=now()).delete()
