"""The typed request that every endpoint receives."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, cast

from django.http import HttpResponseBase
from rest_framework.decorators import api_view
from rest_framework.request import Request

from annotator.models import User

P = ParamSpec("P")
View = Callable[..., HttpResponseBase]


class ApiRequest(Request):
    """Authentication and IsAuthenticated have run."""

    user: User


def endpoint(*methods: str) -> Callable[[Callable[Concatenate[ApiRequest, P], HttpResponseBase]], View]:
    """DRF's api_view for functions that take an ApiRequest."""
    return cast("Callable[[Callable[Concatenate[ApiRequest, P], HttpResponseBase]], View]", api_view(list(methods)))
