"""From the rows of a release to what the scorer learns from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotator.agreement.sums import VALUES
from annotator.prelabelling.configs import json_sha256
from annotator.prelabelling.scores import TrajectoryText
from annotator.raters.metrics import GoldTrajectory
from annotator.releases.exporters.record import ReleaseRecord, gold_value
from annotator.releases.exporters.views import in_view
from annotator.releases.policy import ErrorView


@dataclass(frozen=True)
class Example:
    """One trajectory with its gold. `is_test`: its task is only measured on, and nothing is learnt from it."""

    text: TrajectoryText
    gold: GoldTrajectory
    content_sha256: str
    is_test: bool

    @property
    def n_steps(self) -> int:
        return len(self.gold.values)


def example_of(record: ReleaseRecord, error_view: ErrorView) -> Example:
    """Steps that the release masks have no gold; those after an error are seen as the release's policy sees them."""
    values = [gold_value(step) for step in in_view(record["steps"], error_view)]
    text = TrajectoryText(
        instruction=record["instruction"],
        messages=record["messages"],
        tools=record["tools"],  # type: ignore[arg-type]
        reference=record["reference"],
        outcome=record["environment_outcome"],
    )
    gold = GoldTrajectory(
        np.array([0 if value is None else value for value in values], dtype=np.int64),
        np.array([value is not None for value in values], dtype=np.bool_),
        record["group_key"],
        str(record["metadata"].get("data_source", "")),
    )
    return Example(text, gold, record["content_sha256"], record["split"] == "test")


def data_sha256(examples: Sequence[Example], *, with_reference: bool) -> str:
    """Of all that decides what is learnt: content, task, split and gold of every row, in any order."""
    rows = [
        json_sha256(
            [
                one.content_sha256,
                one.text.instruction,
                str(one.gold.group),
                one.is_test,
                [int(value) if has else None for value, has in zip(one.gold.values, one.gold.has_gold, strict=True)],
                one.text.reference if with_reference else None,
            ]
        )
        for one in examples
    ]
    return json_sha256([*sorted(rows)])


def targets_of(gold: GoldTrajectory) -> np.ndarray:
    """(n, 3): the gold as a distribution over -1, 0, +1; zeros where there is none."""
    return np.eye(len(VALUES), dtype=np.float32)[gold.values - VALUES[0]] * gold.has_gold[:, None]
