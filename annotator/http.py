"""The typed request every view receives, and the one place where a refusal becomes a response."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.middleware import HtmxDetails

from annotator.errors import DomainError
from annotator.models import User


class Request(HttpRequest):
    """What every view receives: LoginRequiredMiddleware and HtmxMiddleware have run."""

    user: User
    htmx: HtmxDetails


class DomainErrorMiddleware:
    """Turns a DomainError that a view did not handle into a page, or JSON for a script, that says what happened."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, DomainError):
            return None
        if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
            return JsonResponse(exception.as_json(), status=exception.status)
        came_from = request.headers.get("Referer", "")
        is_ours = url_has_allowed_host_and_scheme(came_from, {request.get_host()}, request.is_secure())
        back = came_from if is_ours and came_from != request.build_absolute_uri() else ""
        return render(request, "refused.html", {"error": exception, "back": back}, status=exception.status)
