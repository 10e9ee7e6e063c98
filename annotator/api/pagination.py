"""Long lists come in pages: `count`, `next`, `previous` and `results`."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

from annotator.errors import InvalidInput
from annotator.http import number_of

Row = TypeVar("Row", bound=Model)


class Pages(PageNumberPagination):
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000

    def get_page_size(self, request: Request) -> int:
        """Raises InvalidInput for what is no number of rows; DRF would answer as if it had not been said."""
        given = request.query_params.get(self.page_size_query_param)
        size = self.page_size if given is None else number_of(given)
        if not size:
            message = f"Must be a whole number of rows, 1 to {self.max_page_size}."
            raise InvalidInput(f"The address does not fit. page_size: {message}", {"page_size": message})
        return min(size, self.max_page_size)


def paginate(request: Request, rows: QuerySet[Row], represent: Callable[[Sequence[Row]], Any]) -> Response:
    """The page that the request asks for; `represent` turns its rows into JSON, all at once."""
    pages = Pages()
    page = pages.paginate_queryset(rows, request)
    return pages.get_paginated_response(represent(page or []))
