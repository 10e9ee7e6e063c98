"""The one shape of every refusal: `{"error": {"code", "message", "fields"}}`."""

import logging
from collections.abc import Mapping

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from annotator.errors import DomainError

logger = logging.getLogger(__name__)

# Whether something is missing or hidden stays unsaid: an outsider must not learn which ids exist.
NOT_FOUND = "There is nothing at this address, or it is not yours to see."
NO_TOKEN = "Send a token in the header `Authorization: Bearer TOKEN`; the page Your account or create_token makes one."

CODES: dict[type[exceptions.APIException], str] = {
    exceptions.NotAuthenticated: "auth.missing",
    exceptions.AuthenticationFailed: "auth.invalid",
    exceptions.PermissionDenied: "access.denied",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method.not_allowed",
    exceptions.NotAcceptable: "media_type.not_acceptable",
    exceptions.UnsupportedMediaType: "media_type.unsupported",
    exceptions.ParseError: "input.unreadable",
}


def exception_handler(exc: Exception, context: Mapping[str, object]) -> Response:
    """Turns whatever an endpoint raised into the one error shape."""
    match exc:
        case DomainError():
            return refusal(exc.status, exc.code, exc.message, exc.fields)
        case Http404():
            return refusal(404, "not_found", NOT_FOUND)
        case PermissionDenied():
            return refusal(403, "access.denied", str(exc) or "You may not do this.")
        case RequestDataTooBig():
            return refusal(413, "input.too_large", "The request's body is too large; send it in several requests.")
        case SuspiciousOperation():
            return refusal(
                400, "input.refused", "The request was refused, because it does not look like an honest one."
            )
        case exceptions.APIException():
            return _api_exception(exc)
    logger.error("The API failed at something it did not expect.", exc_info=exc)
    request = context.get("request")
    got_request_exception.send(sender=None, request=request)  # as Django itself does for a view that raises
    return refusal(500, "internal", "The server failed. Try again, and report it if it happens again.")


def refusal(status: int, code: str, message: str, fields: Mapping[str, str] | None = None) -> Response:
    return Response({"error": {"code": code, "message": message, "fields": dict(fields or {})}}, status=status)


def _api_exception(exc: exceptions.APIException) -> Response:
    message = NO_TOKEN if isinstance(exc, exceptions.NotAuthenticated) else str(exc.detail)
    response = refusal(exc.status_code, CODES.get(type(exc), "refused"), message)
    if isinstance(exc, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        response["WWW-Authenticate"] = getattr(exc, "auth_header", "Bearer")
    return response
