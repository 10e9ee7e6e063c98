"""Judgements that another tool made, read from its `step_labels` file: AgentProcessBench's form of results.

Pure. A row that its tool marks as failed, a step without a label and a skipped row are abstentions, never a 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import numpy as np
from pydantic import JsonValue

from annotator.importing.formats import BadRecord
from annotator.importing.records import Record, read_records
from annotator.importing.schema import FieldError, Unit, Value, check_storable, labels_by_message, place, ternary
from annotator.prelabelling.scores import VALUES, TrajectoryScores

_FAILED = "llm_annotate_failed"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Judgement:
    """One row: what a judge said about one trajectory, by message index.

    The trajectory is known by `external_id` ("" if the row has none) or by source, query and sample.
    """

    line: int
    unit: Unit
    external_id: str
    sample: tuple[str, int, int] | None
    updated_at: datetime
    values: dict[int, Value]
    explanations: dict[int, str]
    final: Value | None
    failure: str  # why nothing in the row counts; "" if it does

    @property
    def key(self) -> str:
        """Rows of one record have one key."""
        return self.external_id or ":".join(map(str, self.sample or ()))


def read_judgements(file: BinaryIO) -> Iterator[Judgement | BadRecord]:
    """Every row of the file and every row that is none, in order; nothing in the file makes it raise."""
    for record in read_records(file):
        try:
            yield _judgement(record)
        except FieldError as error:
            yield BadRecord(record.number, error.field, error.reason, record.unit)


def latest(rows: Iterator[Judgement | BadRecord]) -> tuple[list[Judgement], list[BadRecord]]:
    """The last word on each record, by `updated_at` and then by line, in the order of first rows; and the bad rows."""
    found: dict[str, Judgement] = {}
    bad: list[BadRecord] = []
    for row in rows:
        if isinstance(row, BadRecord):
            bad.append(row)
        elif row.key not in found or row.updated_at >= found[row.key].updated_at:
            found[row.key] = row
    return list(found.values()), bad


def scores_of(judgement: Judgement, step_messages: Sequence[int]) -> TrajectoryScores:
    """The judgement as scores of the trajectory whose steps are these messages.

    Raises FieldError if it speaks of a message that is no step: then it was made about another trajectory.
    """
    steps = {message: step for step, message in enumerate(step_messages)}
    for field, indices in (("step_labels", judgement.values), ("explanations.steps", judgement.explanations)):
        for index in indices:
            if index not in steps:
                raise FieldError(f"{field}.{index}", f"message {index} is no step of this trajectory.")
    probs = np.full((len(steps), len(VALUES)), np.nan)
    rationales: list[str | None] = [None] * len(steps)
    for index, value in judgement.values.items():
        probs[steps[index]] = np.equal(VALUES, value)
    for index, text in judgement.explanations.items():
        rationales[steps[index]] = text
    n_missing = len(steps) - len(judgement.values)
    note = judgement.failure or (f"{n_missing} of {len(steps)} steps have no label." if n_missing else "")
    return TrajectoryScores(
        probs, None, rationales, n_tokens=0, n_dropped_tokens=0, first_truncated_step=None, note=note
    )


def _judgement(record: Record) -> Judgement:
    row = record.value
    if isinstance(row, FieldError):
        raise row
    check_storable(row)
    if not isinstance(row, dict):
        raise FieldError("", "must be an object with step_labels.")
    if "step_labels" not in row:
        raise FieldError("step_labels", "is missing.")
    values, final = labels_by_message(row["step_labels"]), ternary(row.get("final_label"), "final_label")
    explanations = _explanations(row.get("explanations"))
    external_id, sample = _text(row, "record_id"), _sample(row)
    if not external_id and sample is None:
        raise FieldError("record_id", "is missing, and so are query_index and sample_index: whose labels are these?")
    failure = _failure(row)
    if failure:  # what such a row holds are placeholders
        values, final, explanations = {}, None, {}
    return Judgement(
        record.number, record.unit, external_id, sample, _updated_at(row), values, explanations, final, failure
    )


def _text(row: dict[str, JsonValue], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FieldError(key, "must be a string.")
    return value


def _sample(row: dict[str, JsonValue]) -> tuple[str, int, int] | None:
    indices = []
    for key in ("query_index", "sample_index"):
        value = row.get(key)
        if value is None:
            return None
        if type(value) is not int or value < 0:
            raise FieldError(key, "must be an integer from 0.")
        indices.append(value)
    return _text(row, "data_source"), indices[0], indices[1]


def _failure(row: dict[str, JsonValue]) -> str:
    comment = _text(row, "comment")
    if comment.startswith(_FAILED):
        reason = comment.removeprefix(_FAILED).lstrip(": ")
        return f"The judge failed: {reason}" if reason else "The judge failed."
    status = _text(row, "status")
    return f"The row has the status {status}." if status not in ("", "done") else ""


def _updated_at(row: dict[str, JsonValue]) -> datetime:
    text = _text(row, "updated_at")
    if not text:
        return _LONG_AGO
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise FieldError("updated_at", "must be a time such as 2026-02-04T14:52:38+00:00.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _explanations(value: JsonValue) -> dict[int, str]:
    if value is None:
        return {}
    steps = value.get("steps") if isinstance(value, dict) else value
    if steps is None:
        return {}
    if not isinstance(steps, dict):
        raise FieldError("explanations.steps", "must be an object from message index to text.")
    found = {}
    for key, text in steps.items():
        where = place(["explanations", "steps", key])
        if not (key.isascii() and key.isdigit() and len(key) < 10):
            raise FieldError(where, 'the key must be the index of a message, counted from 0, such as "2".')
        if text is not None:
            if not isinstance(text, str):
                raise FieldError(where, "must be a string or null.")
            found[int(key)] = text
    return found
