"""A release's file as a download, for the page and the API."""

from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from django.http import FileResponse

from annotator.models import Release
from annotator.releases.exporters import EXPORTERS
from annotator.releases.files import check_export, export

# An export of up to so many bytes is put together in memory, a larger one in a temporary file.
IN_MEMORY = 8 * 1024 * 1024
CONTENT_TYPES = {"json": "application/json", "jsonl": "application/x-ndjson"}


def download(release: Release, format_name: str, split: str | None) -> FileResponse:
    """One file, written out in full before the first byte goes: a fault must not end in half a file.

    Raises InvalidInput for an unknown format or split.
    """
    check_export(format_name, split)
    file = cast(BinaryIO, SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115  # the response closes it
    result = export(release, format_name, file, split=split)
    file.seek(0)
    extension = EXPORTERS[format_name].extension
    name = "-".join([release.project.slug, f"v{release.number}", format_name, *([split] if split else [])])
    return FileResponse(
        file,
        as_attachment=True,
        filename=f"{name}.{extension}",
        content_type=CONTENT_TYPES[extension],
        headers={"X-Content-SHA256": result.sha256},
    )
