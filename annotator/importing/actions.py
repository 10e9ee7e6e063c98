"""Bringing a file's trajectories into a project, or only checking what would happen."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from django.db import transaction

from annotator.bulk import copy_rows
from annotator.importing.formats import BadRecord, read
from annotator.importing.schema import StepIn, TrajectoryIn, content_sha256, steps_of
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
    for batch in _batches(records, file):
        incoming = []
        for record in batch:
            if isinstance(record, BadRecord):
                report.add_bad(record)
            else:
                incoming.append(_Incoming(record, content_sha256(record), steps_of(record.messages)))
                report.format = record.source_format
        with transaction.atomic():
            # Two imports into one project take turns, batch by batch, so that neither trips over the other's rows.
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)
            new = list(_new_ones(project, incoming, seen, report, job))
            if stores:
                _store(project, new, job)
        progress(file.tell())
    return report


def _batches(records: Iterator[TrajectoryIn | BadRecord], file: BinaryIO) -> Iterator[list[TrajectoryIn | BadRecord]]:
    """So many records at a time, fewer where they are long: memory and the time between two reports stay bounded."""
    batch: list[TrajectoryIn | BadRecord] = []
    read_until = file.tell()
    for record in records:
        batch.append(record)
        if len(batch) == BATCH or file.tell() - read_until >= BATCH_BYTES:
            yield batch
            batch, read_until = [], file.tell()
    if batch:
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


def _store(project: Project, new: list[_Incoming], job: Job | None) -> None:
    trajectories = [_trajectory_row(project, each, job) for each in new]
    copy_rows(trajectories)
    steps = [
        Step(
            trajectory=trajectory,
            index=step.index,
            message_index=step.message_index,
            kind=step.kind,
            tool_names=step.tool_names,
        )
        for trajectory, each in zip(trajectories, new, strict=True)
        for step in each.steps
    ]
    copy_rows(steps)
    step_at = {(step.trajectory_id, step.message_index): step for step in steps}
    references = []
    for trajectory, each in zip(trajectories, new, strict=True):
        for message_index, value in each.trajectory.reference_labels.items():
            step = step_at[trajectory.pk, message_index]
            references.append(ReferenceLabel(trajectory=trajectory, step=step, value=value))
        if each.trajectory.reference_outcome is not None:
            value = each.trajectory.reference_outcome
            references.append(ReferenceLabel(trajectory=trajectory, step=None, value=value))
    copy_rows(references)


def _trajectory_row(project: Project, incoming: _Incoming, job: Job | None) -> Trajectory:
    trajectory = incoming.trajectory
    return Trajectory(
        project=project,
        external_id=trajectory.external_id,
        source_format=trajectory.source_format,
        instruction=trajectory.instruction,
        messages=trajectory.messages,
        tools=trajectory.tools,
        reference=trajectory.reference,
        outcome=trajectory.outcome,
        metadata=trajectory.metadata,
        group_key=trajectory.group_key,
        content_sha256=incoming.sha256,
        n_steps=len(incoming.steps),
        imported_by=job,
    )
