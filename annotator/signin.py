"""Signing in and changing one's password, with limits on wrong ones.

The attempts are counted in PostgreSQL. Several web processes share the count, so it cannot live in one of them; Redis
may be down or emptied at any time, and then a limit kept there would either vanish or lock everybody out. Without
PostgreSQL nobody can sign in anyway. Each attempt is stored before its password is looked at, so however many arrive at
once, no more than the limit are ever checked.
"""

import logging
import math
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LoginView, PasswordChangeView, redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse, reverse_lazy
from django.utils.crypto import salted_hmac
from django.utils.timezone import now
from django.views.decorators.http import require_safe
from django.views.generic.edit import FormView

from annotator import audit
from annotator.models import LoginAttempt, User

WINDOW = timedelta(minutes=5)
PER_ACCOUNT = 5  # wrong passwords for one username from one address within the window
PER_ADDRESS = 50  # for all usernames together: many people may share an office's address

logger = logging.getLogger(__name__)


class _LimitedView(FormView):  # type: ignore[type-arg]  # not generic at run time
    """A form with a password, which answers 429 while there were too many wrong ones."""

    def username(self) -> str:
        raise NotImplementedError

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**{"refusal": "", **kwargs})

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        at = now()
        LoginAttempt.objects.filter(at__lte=at - WINDOW).delete()
        self.attempt = LoginAttempt.objects.create(
            account=_account(self.username()), address=client_address(request), at=at
        )
        until = _refused_until(self.attempt)
        return self._refuse(until - at) if until else super().post(request, *args, **kwargs)

    def form_valid(self, form: BaseForm) -> HttpResponse:
        """The right password: what this person mistyped from here is forgotten."""
        LoginAttempt.objects.filter(account=self.attempt.account, address=self.attempt.address).delete()
        return super().form_valid(form)

    def _refuse(self, wait: timedelta) -> HttpResponse:
        """Without looking at the password. It does not count either, or who keeps trying would never get in."""
        self.attempt.delete()
        logger.warning("Sign-in refused after too many wrong passwords from %s.", self.attempt.address)
        minutes = math.ceil(wait / timedelta(minutes=1))
        refusal = (
            "There were too many wrong passwords. "
            f"Try again in {minutes} minute{'s' if minutes > 1 else ''}; until then the right one is refused as well."
        )
        about = {name: value for name, value in self.get_form_kwargs().items() if name not in ("data", "files")}
        form = self.get_form_class()(**about)
        response = self.render_to_response(self.get_context_data(form=form, refusal=refusal), status=429)
        response["Retry-After"] = str(math.ceil(wait.total_seconds()))
        return response


class SignInView(_LimitedView, LoginView):
    """Where everybody signs in."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Whoever is signed in goes on, unless they come from a page of another account, to sign in with that one."""
        if request.user.is_authenticated and "again" not in request.GET:
            return redirect(self.get_success_url())
        return super().get(request, *args, **kwargs)

    def username(self) -> str:
        return self.request.POST.get("username", "")

    def get_initial(self) -> dict[str, Any]:
        return {**super().get_initial(), "username": self.username()[:150]}


class PasswordView(_LimitedView, PasswordChangeView):
    """A new password for whoever knows the old one; it ends their other sessions."""

    template_name = "registration/password.html"
    success_url = reverse_lazy("token-list")

    def username(self) -> str:
        return self.request.user.get_username()

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "label_suffix": ""}

    @transaction.atomic
    def form_valid(self, form: BaseForm) -> HttpResponse:
        response = super().form_valid(form)
        user = self.request.user
        assert isinstance(user, User)  # PasswordChangeView lets nobody else in
        audit.log("user.password_changed", user, user=user, project_id=None)
        messages.success(self.request, "Your password is changed.")
        return response


@require_safe
@login_not_required
def operators_login(request: HttpRequest) -> HttpResponse:
    """Operators sign in where everybody does: Django's own page for them would check passwords without a limit."""
    if request.user.is_authenticated:
        if not admin.site.has_permission(request):
            raise PermissionDenied("These pages are for the operators of this installation.")
        return redirect("admin:index")
    return redirect_to_login(request.GET.get("next") or reverse("admin:index"))


def client_address(request: HttpRequest) -> str:
    """The address to count by: of IPv6 the /64 network, since whoever has one address has all of it."""
    text: str = request.META.get("REMOTE_ADDR", "")
    forwarded: list[str] = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    if settings.PROXIES and len(forwarded) >= settings.PROXIES:
        text = forwarded[-settings.PROXIES].strip() or text
    try:
        address = ip_address(text)
    except ValueError:
        return text[:64]
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)


def _account(username: str) -> str:
    """The same for every spelling that Django's form would take for one username."""
    name = unicodedata.normalize("NFKC", username.strip()).casefold()
    return salted_hmac("annotator.signin", name, algorithm="sha256").hexdigest()


def _refused_until(attempt: LoginAttempt) -> datetime | None:
    """When this attempt, which is stored already, would have been let through; None: now."""
    recent = LoginAttempt.objects.filter(address=attempt.address, at__gt=attempt.at - WINDOW).order_by("-at", "-id")
    attempts = list(recent.values_list("account", "at"))
    from_here = [at for _, at in attempts]
    for_account = [at for account, at in attempts if account == attempt.account]
    ends = [*_ends(for_account, PER_ACCOUNT), *_ends(from_here, PER_ADDRESS)]
    return max(ends, default=None)


def _ends(newest_first: Sequence[datetime], limit: int) -> list[datetime]:
    return [newest_first[limit] + WINDOW] if len(newest_first) > limit else []
