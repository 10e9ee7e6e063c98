"""AgentProcessBench's human labels and the verdicts of 20 judges on the same steps, read without the platform."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from annotator.agreement.sums import VALUES
from annotator.raters.metrics import GoldTrajectory

SETS = ("hotpotqa", "bfcl")


def read_gold(folder: Path, names: Sequence[str] = SETS) -> list[GoldTrajectory]:
    gold = []
    for name in names:
        for row in _rows(folder / f"gold_{name}.jsonl"):
            values = np.array([row["step_labels"][key] for key in _keys(row["step_labels"])])
            gold.append(GoldTrajectory(values, np.ones(len(values), bool), f"{name} {row['query_index']}", name))
    return gold


def read_judges(folder: Path, names: Sequence[str] = SETS) -> dict[str, list[np.ndarray]]:
    """Judge -> its verdicts as one-hot rows, in the order of `read_gold`; a failed row or missing step abstains."""
    found: dict[str, list[np.ndarray]] = {}
    for judge in sorted((folder / "judges").iterdir()):
        found[judge.name] = []
        for name in names:
            latest: dict[tuple[int, int], dict] = {}
            for row in _rows(judge / f"{name}.jsonl"):
                key = (row["query_index"], row["sample_index"])
                if key not in latest or row["updated_at"] >= latest[key]["updated_at"]:
                    latest[key] = row
            for row in _rows(folder / f"gold_{name}.jsonl"):
                said = latest.get((row["query_index"], row["sample_index"]), {}).get("step_labels", {})
                found[judge.name].append(one_hot([said.get(key) for key in _keys(row["step_labels"])]))
    return found


def one_hot(values: Sequence[int | None]) -> np.ndarray:
    """None abstains."""
    rows = [np.full(3, np.nan) if value is None else np.eye(3)[VALUES.index(value)] for value in values]
    return np.array(rows).reshape(-1, 3)


def _keys(step_labels: Mapping[str, int]) -> list[str]:
    return sorted(step_labels, key=int)


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
