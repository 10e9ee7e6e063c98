"""Long lists come in pages: `count`, `next`, `previous` and `results`."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

Row = TypeVar("Row", bound=Model)


class Pages(PageNumberPagination):
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000


def paginate(request: Request, rows: QuerySet[Row], represent: Callable[[Sequence[Row]], Any]) -> Response:
    """The page that the request asks for; `represent` turns its rows into JSON, all at once."""
    pages = Pages()
    page = pages.paginate_queryset(rows, request)
    return pages.get_paginated_response(represent(page or []))
