"""Every table of a project as CSV or JSON, for its admins."""

from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotator import access
from annotator.dashboard.tables import TABLES, csv_lines, in_pieces, json_lines
from annotator.http import Request
from annotator.models import Membership

FORMATS = {
    "csv": ("text/csv; charset=utf-8", csv_lines),
    "json": ("application/json", json_lines),
}


@require_GET
def table_list(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    return render(request, "dashboard/tables.html", {"membership": membership, "section": "data", "tables": TABLES})


@require_GET
def table_download(request: Request, slug: str, name: str, format: str) -> HttpResponseBase:
    """One table, streamed: it is never in memory as a whole."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    if name not in TABLES or format not in FORMATS:
        raise Http404(f"There is no table {name!r} as {format!r}.")
    content_type, lines = FORMATS[format]
    pieces = in_pieces(lines(TABLES[name], membership.project))
    response = StreamingHttpResponse(pieces, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{slug}-{name}.{format}"'
    return response
