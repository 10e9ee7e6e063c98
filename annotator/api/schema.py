"""How an endpoint is described for the OpenAPI document."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from annotator.api.authentication import BearerAuthentication
from annotator.api.requests import take_query
from annotator.api.serializers.common import ErrorSerializer

View = TypeVar("View", bound=Callable[..., Any])


REASONS = {
    400: "The request is wrong at the named places.",
    401: "There is no token, or it is unknown, expired or revoked.",
    403: "Your role in the project does not allow this.",
    404: "There is nothing there, or it is not yours to see.",
    409: "The state of things does not allow this now.",
    415: "The body must be multipart/form-data.",
    422: "A label is missing.",
}


def describe(
    name: str,
    *,
    answers: dict[Any, Any],
    refusals: Sequence[int] = (403, 404),
    request: Any = None,
    query: Sequence[OpenApiParameter] = (),
    method: str | None = None,
    description: str | None = None,
) -> Callable[[View], View]:
    """Names an endpoint and lists what it takes and gives; the view's docstring says what it does."""
    errors = {status: OpenApiResponse(ErrorSerializer, REASONS[status]) for status in sorted({400, 401, *refusals})}
    documented = extend_schema(
        operation_id=name,
        methods=method and [method],
        description=description,
        request=request,
        responses={**answers, **errors},
        parameters=list(query),
    )

    def described(view: View) -> View:
        take_query(view, [parameter.name for parameter in query])
        return documented(view)

    return described


def page_of(serializer: type[serializers.BaseSerializer[Any]]) -> type[serializers.Serializer[Any]]:
    """A page of a long list."""
    name = serializer.__name__.replace("Serializer", "PageSerializer")
    fields = {
        "count": serializers.IntegerField(help_text="On all pages together."),
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
        "results": serializer(many=True),
    }
    return type(name, (serializers.Serializer,), fields)


PAGE = (
    OpenApiParameter("page", int, description="From 1."),
    OpenApiParameter("page_size", int, description="100 unless told otherwise; at most 1000."),
)


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # drf-spectacular's
    """What the OpenAPI document says about it."""

    target_class = BearerAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, object]:
        return {"type": "http", "scheme": "bearer", "description": "A token from `manage.py create_token USERNAME`."}
