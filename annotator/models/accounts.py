"""People."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person who can sign in. What they may do is decided per project, by their Membership."""


class LoginAttempt(models.Model):
    """A try to sign in that did not end well; annotator.signin counts them and deletes them soon."""

    # A keyed hash: people type passwords into the field for the username.
    account = models.CharField(max_length=64)
    address = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["address", "at"], name="login_attempt_by_address"),
            models.Index(fields=["at"], name="login_attempt_by_time"),
        ]

    def __str__(self) -> str:
        return f"login attempt from {self.address}"
