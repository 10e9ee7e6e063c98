"""How an endpoint is described for the OpenAPI document."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from annotator.api.serializers import ErrorSerializer

View = TypeVar("View", bound=Callable[..., Any])


def describe(
    name: str,
    *,
    answers: dict[Any, Any],
    refusals: Sequence[int] = (403, 404),
    request: Any = None,
    query: dict[str, Sequence[str] | type] | None = None,
    method: str | None = None,
) -> Callable[[View], View]:
    """Names an endpoint and lists what it takes and gives; the view's docstring says what it does."""
    errors = dict.fromkeys((401, *refusals), ErrorSerializer)
    parameters = [
        OpenApiParameter(key, enum=None if isinstance(kind, type) else list(kind), type=kind if isinstance(kind, type) else str)
        for key, kind in (query or {}).items()
    ]
    return extend_schema(
        operation_id=name,
        methods=method and [method],
        request=request,
        responses={**answers, **errors},
        parameters=parameters,
    )


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


PAGE: dict[str, Sequence[str] | type] = {"page": int, "page_size": int}
