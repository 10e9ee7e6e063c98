"""The files that a release can be written as: one module per target format, all pure functions of `ReleaseRecord`s."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, cast

from annotator.releases.exporters.agentprocessbench import AGENTPROCESSBENCH
from annotator.releases.exporters.prm800k import PRM800K
from annotator.releases.exporters.processbench import PROCESSBENCH
from annotator.releases.exporters.provenance import PROVENANCE
from annotator.releases.exporters.record import Exporter, ExportOptions, LeftOut, ReleaseRecord, Row
from annotator.releases.exporters.trl_stepwise import TRL_STEPWISE
from annotator.releases.exporters.views import in_view

__all__ = ["EXPORTERS", "ExportOptions", "Exporter", "ReleaseRecord", "WriteResult", "write"]

EXPORTERS: dict[str, Exporter] = {
    exporter.name: exporter for exporter in (AGENTPROCESSBENCH, PRM800K, PROCESSBENCH, TRL_STEPWISE, PROVENANCE)
}


@dataclass(frozen=True)
class WriteResult:
    """What was written. `left_out`: reason -> how many steps' labels, or trajectories, the file does not carry."""

    n_rows: int
    n_bytes: int
    sha256: str
    left_out: dict[str, int]


def write(
    format: str,
    records: Iterable[ReleaseRecord],
    out: BinaryIO,
    options: ExportOptions,
) -> WriteResult:
    """Write the records in their order, holding one at a time; equal records give equal bytes.

    "jsonl" is one row per line, "json" an array with one row per line; UTF-8, "\\n" line ends. KeyError for an unknown
    format, ValueError for NaN and infinities, which JSON has not.
    """
    exporter = EXPORTERS[format]
    left_out: Counter[str] = Counter()
    digest = hashlib.sha256()
    n_rows = n_bytes = 0

    def put(data: bytes) -> None:
        nonlocal n_bytes
        out.write(data)
        digest.update(data)
        n_bytes += len(data)

    first, between, last = (b"[\n", b",\n", b"\n]\n") if exporter.extension == "json" else (b"", b"\n", b"\n")
    put(first)
    for record in records:
        if exporter.has_error_view:
            record = cast(ReleaseRecord, {**record, "steps": in_view(record["steps"], options.error_view)})
        for row in exporter.export(record, options):
            if isinstance(row, LeftOut):
                left_out[row.reason] += 1
                continue
            put(between + _line(row) if n_rows else _line(row))
            n_rows += 1
    put(last if n_rows or first else b"")
    return WriteResult(n_rows, n_bytes, digest.hexdigest(), dict(sorted(left_out.items())))


def _line(row: Row) -> bytes:
    text = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half a surrogate pair has no UTF-8; written as a backslash and its number it is the JSON escape for itself.
    return text.encode("utf-8", "backslashreplace")
