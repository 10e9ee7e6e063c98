"""The files of a release: every format written from its sealed rows, and the manifest that describes them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from django.db.models import F, JSONField, Q
from django.db.models.expressions import RawSQL

from annotator.errors import InvalidInput
from annotator.models import Release
from annotator.releases.exporters import EXPORTERS, ExportOptions, WriteResult, write
from annotator.releases.exporters.record import ReleaseRecord
from annotator.releases.policy import SPLITS, ReleasePolicy


def file_name(format_name: str, split: str | None) -> str:
    """`trl_stepwise/train.jsonl`, or `trl_stepwise.jsonl` for all splits together."""
    extension = EXPORTERS[format_name].extension
    return f"{format_name}/{split}.{extension}" if split else f"{format_name}.{extension}"


def export(release: Release, format_name: str, out: BinaryIO, *, split: str | None = None) -> WriteResult:
    """Writes one file of a release (no split: all of it); the same release gives the same bytes every time.

    Raises InvalidInput for an unknown format or split.
    """
    check_export(format_name, split)
    policy = ReleasePolicy.parse(release.policy)  # one of before `error_view` has the default
    options = ExportOptions(policy.neutral, policy.error_view, release.manifest.get("format_version", 1))
    whole = EXPORTERS[format_name].needs_all_messages
    return write(format_name, records(release, split, whole=whole), out, options)


def check_export(format_name: str, split: str | None) -> None:
    """Raises InvalidInput for a format or split that does not exist."""
    if format_name not in EXPORTERS:
        raise InvalidInput(
            f"There is no format {format_name!r}. Choose one of {', '.join(EXPORTERS)}.", {"format": "Unknown."}
        )
    if split is not None and split not in SPLITS:
        raise InvalidInput(f"There is no split {split!r}. Choose one of {', '.join(SPLITS)}.", {"split": "Unknown."})


# The messages before the first step and the steps, with null in the place of every other one. What tools answer is
# most of a trajectory: to leave it in PostgreSQL spares sending and decoding it.
_OPENING_AND_STEPS = """
    SELECT jsonb_agg(
        CASE WHEN place <= (annotator_releaserow.record #>> '{steps,0,message_index}')::int
                  OR message ->> 'role' = 'assistant' THEN message END
        ORDER BY place)
    FROM jsonb_array_elements(annotator_trajectory.messages) WITH ORDINALITY AS given (message, place)
"""


_OF_TRAJECTORY = {
    "external_id": F("trajectory__external_id"),
    "group_key": F("trajectory__group_key"),
    "content_sha256": F("trajectory__content_sha256"),
    "source_format": F("trajectory__source_format"),
    "instruction": F("trajectory__instruction"),
    "reference": F("trajectory__reference"),
    "environment_outcome": F("trajectory__outcome"),
    "metadata": F("trajectory__metadata"),
    "tools": F("trajectory__tools"),
}


def records(release: Release, split: str | None = None, *, whole: bool = True) -> Iterator[ReleaseRecord]:
    """The release's rows with their trajectories, by trajectory; a few at a time in memory.

    Without `whole` the messages between the steps are None.
    """
    messages = F("trajectory__messages") if whole else RawSQL(_OPENING_AND_STEPS, (), output_field=JSONField())
    rows = release.rows.filter(Q(split=split) if split else Q()).order_by("trajectory_id")
    # Values, since a model object of each row and trajectory would take as long as decoding its JSON.
    for row in rows.values("trajectory_id", "split", "record", **_OF_TRAJECTORY, messages=messages).iterator(50):
        rest = {name: value for name, value in row.items() if name != "record"}
        yield cast(ReleaseRecord, {**rest, **row["record"]})


def export_directory(release: Release, format_name: str, directory: Path) -> list[Path]:
    """Writes one format as `directory/<split>.<ext>` with the manifest beside it; returns the files written.

    The layout is the one that `datasets.load_dataset(directory)` reads without being told.
    """
    check_export(format_name, None)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for split in SPLITS:
        name = file_name(format_name, split)
        if name not in release.manifest["files"]:
            continue
        path = directory / Path(name).name
        with path.open("wb") as out:
            result = export(release, format_name, out, split=split)
        if result.sha256 != release.manifest["files"][name]["sha256"]:
            raise RuntimeError(f"{path} differs from the manifest of {release}: report this as a bug.")
        written.append(path)
    manifest = directory / "manifest.json"
    manifest.write_text(manifest_text(release), encoding="utf-8")
    return [*written, manifest]


def manifest_text(release: Release) -> str:
    return json.dumps(release.manifest, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def manifest_sha256(release: Release) -> str:
    return hashlib.sha256(manifest_text(release).encode()).hexdigest()
