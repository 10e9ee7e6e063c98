"""Bringing a file's trajectories into a project, or only checking what would happen."""

import dataclasses
import hashlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO

from django.db import transaction
from django.utils.timezone import now

from annotator.bulk import copy_values
from annotator.importing.formats import BadRecord, read
from annotator.importing.schema import StepIn, TrajectoryIn, canonical, content_sha256, steps_of
from annotator.models import Job, Project, ReferenceLabel, Step, Trajectory

BATCH = 200
BATCH_BYTES = 8 * 1024 * 1024
# A report lists so many bad records in full; the rest is counted.
MAX_LISTED = 200


@dataclass
class ImportReport:
    """What a file holds and what became of it."""

    format: str = ""
    n_trajectories: int = 0
    n_steps: int = 0
    n_duplicates: int = 0
    n_bad: int = 0
    n_with_reference_labels: int = 0
    bad: list[dict[str, object]] = field(default_factory=list)

    def add_bad(self, record: BadRecord) -> None:
        self.n_bad += 1
        if len(self.bad) < MAX_LISTED:
            self.bad.append(dataclasses.asdict(record))

    def as_json(self) -> dict[str, object]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Incoming:
    trajectory: TrajectoryIn
    sha256: str
    steps: list[StepIn]


@dataclass
class _Batch:
    """Some records, checked and counted into steps; `read_until` is how many bytes of the file were read for them."""

    incoming: list[_Incoming] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    read_until: int = 0


class _Seen:
    """What this file brought so far: a check stores nothing that could be asked, and a batch is not stored yet.

    Sixteen bytes a trajectory for each of id and content, whatever the trajectory's size.
    """

    def __init__(self) -> None:
        self._content_of: dict[bytes, bytes] = {}
        self._contents: set[bytes] = set()

    def add(self, incoming: _Incoming) -> None:
        content = bytes.fromhex(incoming.sha256)[:16]
        self._content_of[_digest(incoming.trajectory.external_id)] = content
        self._contents.add(content)

    def content_of(self, external_id: str) -> bytes | None:
        return self._content_of.get(_digest(external_id))

    def has_content(self, sha256: str) -> bool:
        return bytes.fromhex(sha256)[:16] in self._contents


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def import_trajectories(
    project: Project,
    file: BinaryIO,
    *,
    name: str,
    format: str | None = None,  # the word users know
    stores: bool,
    job: Job | None = None,
    progress: Callable[[int], None] = lambda n_bytes: None,
) -> ImportReport:
    """Reads `file` record by record and stores what is new (or, with stores=False, only says what would be stored).

    `progress` is called after each batch with the bytes read so far. Running it again adds nothing: a trajectory is
    known by its external id and by its content. A record whose id is known with different content is reported bad.
    A worker that takes over `job` from a dead one counts as new what the dead one stored.
    """
    report = ImportReport(format=format or "")
    seen = _Seen()
    records = read(file, format=format, name=name)
    with closing(_read_ahead(_batches(records, file))) as batches:
        for batch in batches:
            for bad in batch.bad:
                report.add_bad(bad)
            if batch.incoming:
                report.format = batch.incoming[-1].trajectory.source_format
            with transaction.atomic():
                # Two imports into one project take turns, batch by batch, so that neither trips over the other's rows.
                Project.objects.select_for_update(no_key=True).get(pk=project.pk)
                new = list(_new_ones(project, batch.incoming, seen, report, job))
                if stores:
                    _store(project, new, job)
            progress(batch.read_until)
    return report


def _batches(records: Iterator[TrajectoryIn | BadRecord], file: BinaryIO) -> Iterator[_Batch]:
    """So many records at a time, fewer where they are long: memory and the time between two reports stay bounded."""
    batch, begun_at = _Batch(), file.tell()
    for record in records:
        if isinstance(record, BadRecord):
            batch.bad.append(record)
        else:
            batch.incoming.append(_Incoming(record, content_sha256(record), steps_of(record.messages)))
        batch.read_until = file.tell()
        if len(batch.incoming) + len(batch.bad) == BATCH or batch.read_until - begun_at >= BATCH_BYTES:
            yield batch
            batch, begun_at = _Batch(), file.tell()
    if batch.incoming or batch.bad:
        batch.read_until = file.tell()
        yield batch


def _read_ahead(batches: Iterator[_Batch]) -> Generator[_Batch, None, None]:
    """The same batches; a thread makes the next one while PostgreSQL stores this one, which holds no lock of Python's.

    Close it before the file: the thread is reading from it.
    """
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _new_ones(
    project: Project, incoming: list[_Incoming], seen: _Seen, report: ImportReport, job: Job | None
) -> Iterator[_Incoming]:
    """Yields what is not known yet and counts everything."""
    ids = [each.trajectory.external_id for each in incoming]
    hashes = [each.sha256 for each in incoming]
    known = project.trajectories.filter(external_id__in=ids)
    known_ids = {
        external_id: (sha256, job is not None and imported_by == job.pk)
        for external_id, sha256, imported_by in known.values_list("external_id", "content_sha256", "imported_by")
    }
    known_contents = set(
        project.trajectories.filter(content_sha256__in=hashes).values_list("content_sha256", flat=True)
    )
    for each in incoming:
        external_id = each.trajectory.external_id
        in_file = seen.content_of(external_id)
        stored, is_from_this_job = known_ids.get(external_id, ("", False))
        same_id_content = stored or (in_file.hex() if in_file else "")
        if same_id_content and not each.sha256.startswith(same_id_content[:32]):
            reason = f"A trajectory {external_id!r} with other messages is there already; give this one its own id."
            report.add_bad(BadRecord(each.trajectory.line, "external_id", reason, each.trajectory.unit))
            continue
        is_resumed = is_from_this_job and in_file is None
        if not is_resumed and (same_id_content or each.sha256 in known_contents or seen.has_content(each.sha256)):
            report.n_duplicates += 1
            continue
        seen.add(each)
        report.n_trajectories += 1
        report.n_steps += len(each.steps)
        report.n_with_reference_labels += bool(each.trajectory.reference_labels)
        if not is_resumed:
            yield each


_TRAJECTORY = (
    "project_id",
    "external_id",
    "source_format",
    "instruction",
    "messages",
    "tools",
    "reference",
    "outcome",
    "metadata",
    "group_key",
    "content_sha256",
    "n_steps",
    "imported_by_id",
    "created_at",
)
_STEP = ("trajectory_id", "index", "message_index", "kind", "tool_names")


def _store(project: Project, new: list[_Incoming], job: Job | None) -> None:
    at = now()
    trajectories = [_trajectory_row(project, each, job, at) for each in new]
    ids = copy_values(Trajectory, _TRAJECTORY, trajectories)
    steps = [
        (trajectory_id, step.index, step.message_index, step.kind, step.tool_names)
        for trajectory_id, each in zip(ids, new, strict=True)
        for step in each.steps
    ]
    step_ids = copy_values(Step, _STEP, steps)
    step_at = {(row[0], row[2]): step_id for row, step_id in zip(steps, step_ids, strict=True)}
    references: list[tuple[int, int | None, int]] = []
    for trajectory_id, each in zip(ids, new, strict=True):
        for message_index, value in each.trajectory.reference_labels.items():
            references.append((trajectory_id, step_at[trajectory_id, message_index], value))
        if each.trajectory.reference_outcome is not None:
            references.append((trajectory_id, None, each.trajectory.reference_outcome))
    copy_values(ReferenceLabel, ("trajectory_id", "step_id", "value"), references)


def _trajectory_row(project: Project, incoming: _Incoming, job: Job | None, at: datetime) -> tuple[object, ...]:
    """The values of `_TRAJECTORY`."""
    trajectory = incoming.trajectory
    return (
        project.pk,
        trajectory.external_id,
        trajectory.source_format,
        trajectory.instruction,
        trajectory.messages_json,
        trajectory.tools_json,
        None if trajectory.reference is None else canonical(trajectory.reference),
        trajectory.outcome,
        canonical(trajectory.metadata),
        trajectory.group_key,
        incoming.sha256,
        len(incoming.steps),
        job.pk if job else None,
        at,
    )
