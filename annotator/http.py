"""The typed request every view receives, and the one place where a refusal becomes a response."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.middleware import HtmxDetails

from annotator.errors import DomainError, OtherAccount
from annotator.models import User


class Request(HttpRequest):
    """What every view receives: SignedInMiddleware and HtmxMiddleware have run."""

    user: User
    htmx: HtmxDetails


def number_of(given: str | None) -> int | None:
    """A number from a form or an address; None for what is none, and for one that no id or version can be."""
    return int(given) if given and given.isascii() and given.isdigit() and len(given) < 19 else None


@contextmanager
def refusals_shown(request: HttpRequest) -> Iterator[None]:
    """What is refused inside ends the block and stands on the next page."""
    try:
        yield
    except DomainError as error:
        messages.error(request, error.message)


def refuse(form: Form, fields: Mapping[str, str]) -> None:
    """Says in a form what was refused: at its fields, and above them what it has no field for."""
    for name, message in fields.items():
        form.add_error(name if name in form.fields else None, message)


def page_of(request: HttpRequest) -> str:
    """The page of ours that a form was sent from, or a link followed; empty if the browser names none."""
    came_from = request.headers.get("Referer", "")
    return came_from if url_has_allowed_host_and_scheme(came_from, {request.get_host()}, request.is_secure()) else ""


class SignedInMiddleware(LoginRequiredMiddleware):
    """Sends whoever is signed out to the sign-in page; not htmx, which would show it in a part of the page: 401.

    From there they come back to the page that they asked for. The address of a form is none: they come back to the page
    that it was on, and are told that what they sent is not stored.
    """

    def handle_no_permission(  # type: ignore[override]  # the stubs allow nothing but a redirect
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponse:
        if request.headers.get("HX-Request") == "true":
            return HttpResponse("You are signed out.", status=401, content_type="text/plain")
        if request.method not in ("GET", "HEAD"):
            query = urlencode({"next": page_of(request) or "/", "unstored": 1})
            return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")
        return super().handle_no_permission(request, view_func)


class DomainErrorMiddleware:
    """Turns a DomainError that a view did not handle into a page, or JSON for a script, that says what happened."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return _refusal(request, exception) if isinstance(exception, DomainError) else None


def _refusal(request: HttpRequest, error: DomainError) -> HttpResponse:
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse(error.as_json(), status=error.status)
    back = page_of(request)
    if request.method == "GET" and back == request.build_absolute_uri():
        back = ""  # it would be refused again
    return render(request, "refused.html", {"error": error, "back": back}, status=error.status)


class SameAccountMiddleware:
    """Takes nothing for one account from a page of another.

    A page outlives a sign-in in another tab, but labels and decisions are the statements of the person who read it. So
    a script says in `X-Account` whose page it is, and a form in its field `page_account`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], *_arguments: object) -> HttpResponse | None:
        if not request.user.is_authenticated:
            return None
        is_api = getattr(view, "csrf_exempt", False)  # it has no forms, and reads what is sent itself
        account = request.headers.get("X-Account") or (not is_api and request.POST.get("page_account"))
        if not account or account == str(request.user.pk):
            return None
        now = f"{request.user.get_username()} is signed in in this browser now."
        if request.headers.get("HX-Request") == "true":
            said = f"This page belongs to another account, and {now}"
            return HttpResponse(said, status=401, content_type="text/plain")
        error = OtherAccount(
            f"Nothing was stored: this page belongs to another account, and {now} "
            "Sign in again with the account of the page."
        )
        return _refusal(request, error)
