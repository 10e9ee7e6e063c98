"""The typed request that every endpoint receives."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.http import HttpResponseBase
from rest_framework.decorators import api_view
from rest_framework.request import Request

from annotator.errors import InvalidInput
from annotator.models import User

P = ParamSpec("P")
View = Callable[..., HttpResponseBase]


class ApiRequest(Request):
    """Authentication and IsAuthenticated have run."""

    user: User


def endpoint(*methods: str) -> Callable[[Callable[Concatenate[ApiRequest, P], HttpResponseBase]], View]:
    """DRF's api_view for functions that take an ApiRequest. In the address it takes what its description names."""

    def make(answer: Callable[Concatenate[ApiRequest, P], HttpResponseBase]) -> View:
        @wraps(answer)
        def checked(request: ApiRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            _refuse_unknown(request.query_params.keys(), view.cls.query_names)
            return answer(request, *args, **kwargs)

        view: Any = api_view(list(methods))(cast(Any, checked))
        view.cls.query_names = ()
        return cast(View, view)

    return make


def take_query(view: Any, names: Sequence[str]) -> None:
    """The endpoint takes these in the query string, too."""
    view.cls.query_names = (*view.cls.query_names, *names)


def _refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """A misspelt filter that were ignored would give another answer than the one asked for."""
    there = f"there are {', '.join(known)}" if known else "this address takes none"
    if wrong := {name: f"There is no such parameter; {there}." for name in names if name not in known}:
        said = " ".join(f"{name}: {message}" for name, message in wrong.items())
        raise InvalidInput(f"The address does not fit. {said}", wrong)
