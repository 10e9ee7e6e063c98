"""PRM800K: one line per trajectory, one completion per step, the ternary rating kept.

Decisions:
- a masked step stays in its place with the rating null;
- the labels after the first error are kept, as in PRM800K's phase 1; its phase 2 stops there. `finish_reason` is
  `found_error` when some step is rated -1, else `solution`;
- every step is the chosen one, since the agent did go on from it, but for a last step that is rated -1: null;
- `labeler` is one constant, because gold is several people's word; `timestamp` is that of the latest label or decision
  in UTC, null where there is none; `total_time` is null, since nobody measured it;
- `problem` is all that the agent had before its first step. The format has no place for what tools answered later;
- `external_id` is not in PRM800K: it leads from the row to the labels behind it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from pydantic import JsonValue

from annotator.releases.exporters.record import (
    Exporter,
    ExportOptions,
    LeftOut,
    ReleaseRecord,
    Row,
    gold_value,
    masked,
    ordered_steps,
)
from annotator.releases.exporters.render import opening, step_texts

LABELER = str(uuid5(NAMESPACE_URL, "stepmark:gold"))


def export(record: ReleaseRecord, options: ExportOptions) -> Iterator[Row | LeftOut]:
    ratings = [gold_value(step) for step in ordered_steps(record)]
    chosen: list[int | None] = [0] * len(ratings)
    if ratings[-1] == -1:
        chosen[-1] = None
    steps = [
        {
            "completions": [{"text": text, "rating": rating, "flagged": False}],
            "human_completion": None,
            "chosen_completion": choice,
        }
        for text, rating, choice in zip(step_texts(record), ratings, chosen, strict=True)
    ]
    finish_reason = "found_error" if -1 in ratings else "solution"
    yield {
        "labeler": LABELER,
        "timestamp": _timestamp(record),
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": opening(record), "ground_truth_answer": _answer(record["reference"])},
        "label": {"steps": steps, "total_time": None, "finish_reason": finish_reason},
        "external_id": record["external_id"],
    }
    yield from masked(record)


def _timestamp(record: ReleaseRecord) -> str | None:
    """In PRM800K's form: UTC, microseconds, no offset."""
    judged = [*record["steps"], *([record["outcome"]] if record["outcome"] else [])]
    times = [label["labelled_at"] for part in judged for label in part["labels"]]
    times += [decision["decided_at"] for part in judged for decision in part["decisions"]]
    latest = max((_as_utc(time) for time in times), default=None)
    return latest.replace(tzinfo=None).isoformat(timespec="microseconds") if latest else None


def _as_utc(time: str) -> datetime:
    parsed = datetime.fromisoformat(time)
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _answer(reference: JsonValue) -> str | None:
    """A text, the first of several accepted texts, or one of these under a usual name; else None."""
    if isinstance(reference, dict):
        named = (_answer(reference.get(key)) for key in ("ground_truth_answer", "answer", "target"))
        return next((answer for answer in named if answer is not None), None)
    first = reference[0] if isinstance(reference, list) and reference else reference
    return first if isinstance(first, str) else None


PRM800K = Exporter(
    "prm800k",
    "jsonl",
    "PRM800K: one line per trajectory, one completion per step with its rating +1, 0 or -1.",
    export,
    needs_all_messages=False,
)
