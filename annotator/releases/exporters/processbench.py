"""ProcessBench: one object per trajectory whose `label` is the index of the first error, -1 where there is none.

Decisions:
- a neutral step is no error. Labels after the first error have no place in the format;
- the label is defined only when every step up to the first error is settled, and when every step is where there is no
  error. Other trajectories are left out and counted;
- `final_answer_correct` is the gold outcome, +1 being correct; without one it is whether the environment's reward is
  exactly 1; without either it is null, since unknown is not wrong;
- `generator` is the agent's model where the source names it, else the source's format;
- `problem` is all that the agent had before its first step. The format has no place for what tools answered later.
"""

from collections.abc import Iterator, Sequence

from annotator.releases.exporters.record import (
    NO_FIRST_ERROR,
    Exporter,
    ExportOptions,
    LeftOut,
    ReleaseRecord,
    Row,
    gold_value,
    ordered_steps,
)
from annotator.releases.exporters.render import opening, step_texts

NO_ERROR = -1  # of this format's `label`; not the -1 of a step's value


def export(record: ReleaseRecord, options: ExportOptions) -> Iterator[Row | LeftOut]:
    label = first_error([gold_value(step) for step in ordered_steps(record)])
    if label is None:
        yield LeftOut(NO_FIRST_ERROR)
        return
    yield {
        "id": record["external_id"],
        "generator": _generator(record),
        "problem": opening(record),
        "steps": step_texts(record),
        "final_answer_correct": _is_correct(record),
        "label": label,
    }


def first_error(values: Sequence[int | None]) -> int | None:
    """The index of the first -1, or NO_ERROR; None when a masked step (None) leaves it open."""
    for index, value in enumerate(values):
        if value is None:
            return None
        if value == -1:
            return index
    return NO_ERROR


def _generator(record: ReleaseRecord) -> str:
    named = (record["metadata"].get(key) for key in ("generator", "model", "model_name"))
    return next((name for name in named if isinstance(name, str) and name), record["source_format"])


def _is_correct(record: ReleaseRecord) -> bool | None:
    outcome = gold_value(record["outcome"])
    if outcome is not None:
        return outcome == 1
    reward = record["environment_outcome"]
    return None if reward is None else reward == 1


PROCESSBENCH = Exporter(
    "processbench",
    "json",
    "ProcessBench: one JSON array, the index of the first error or -1 for each trajectory.",
    export,
    needs_all_messages=False,
)
