"""AgentProcessBench's human labels and what language models said of the same steps, as panels for the fusion.

A folder holds gold_<set>.jsonl and judges/<model>/<set>.jsonl for any number of sets. What a judge said of the final
result counts as knowledge of the outcome; the human label of it does not.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from annotator.fusion.panel import MISSING, Panel, relative_lengths

# Judges behind a hosted API; the others are open models.
STRONG = (
    "DeepSeek-V3.2", "DeepSeek-V3.2-Thinking", "GPT-5.2", "GPT-5.2-Chat", "GPT-5.2-Thinking-medium",
    "Gemini-3-Flash-Preview", "Gemini-3-Flash-Preview-Thinking", "Kimi-K2.5", "Kimi-K2.5-Thinking",
)  # fmt: skip
CHEAP = ("DeepSeek-V3.2", "GPT-5.2-Chat", "Gemini-3-Flash-Preview")


def sets_of(folder: Path) -> list[str]:
    return sorted(path.stem.removeprefix("gold_") for path in folder.glob("gold_*.jsonl"))


def panels_of(panel: Panel) -> dict[str, list[str]]:
    """The panels of judges known by name; of others, thirds by their accuracy on all gold, for want of better."""
    return panels(panel.raters) if set(STRONG) & set(panel.raters) else _thirds(panel)


def _thirds(panel: Panel) -> dict[str, list[str]]:
    right = ((panel.votes == panel.gold[:, None]) & (panel.gold != MISSING)[:, None]).sum(axis=0)
    by_skill = [panel.raters[i] for i in np.argsort(-right, kind="stable")]
    n = len(by_skill)
    third = max(2, n // 3)
    found = {
        "strongest third": by_skill[:third],
        "weakest third": by_skill[-third:],
        "mixed, 3": by_skill[:: max(1, n // 3)][:3],
        "mixed, 5": by_skill[:: max(1, n // 5)][:5],
        f"all, {n}": by_skill,
    }
    return {name: chosen for name, chosen in found.items() if len(chosen) >= 2}


def panels(raters: Sequence[str]) -> dict[str, list[str]]:
    """By name: panels of 3, 5 and 20 raters, from those that are there; one with fewer than two is left out."""
    there = sorted(raters)
    strong = [name for name in STRONG if name in there]
    openly = [name for name in there if name not in STRONG]
    small = [name for name in openly if any(size in name for size in ("-3B", "-4B", "-8B"))]
    found = {
        "strong, 9": strong,
        "strong, 5": strong[::2],
        "cheap, 3": [name for name in CHEAP if name in there],
        "open, 3": [name for name in openly if name not in small][:3],
        "open, 5 small": small[:5],
        "open, 11": openly,
        "mixed, 5": strong[1:4:2] + openly[1:6:2],
        f"all, {len(there)}": there,
    }
    return {name: chosen for name, chosen in found.items() if len(chosen) >= 2}


def read(folder: Path, names: Sequence[str], judges: Sequence[str] | None = None) -> Panel:
    """These judges, by default all, over these sets: what the others said is nowhere in it, neither as words nor as the
    outcome. The groups are questions; questions of two sets differ.
    """
    gold_rows = [(name, row) for name in names for row in _rows(folder / f"gold_{name}.jsonl")]
    if judges is None:
        judges = sorted(path.name for path in (folder / "judges").iterdir() if path.is_dir())
    steps = [sorted(row["step_labels"], key=int) for _, row in gold_rows]
    starts = np.concatenate([[0], np.cumsum([len(keys) for keys in steps])]).astype(np.int64)
    probs = np.full((starts[-1], len(judges), 3), np.nan, dtype=np.float32)
    texts: list[list[str]] = [[] for _ in range(starts[-1])]
    outcomes: list[list[float]] = [[] for _ in gold_rows]
    for j, judge in enumerate(judges):
        said = {name: _latest(folder / "judges" / judge / f"{name}.jsonl") for name in names}
        for i, (name, row) in enumerate(gold_rows):
            one = said[name].get((row["query_index"], row["sample_index"]))
            if one is None:
                continue
            explained = (one.get("explanations") or {}).get("steps") or {}
            for k, key in enumerate(steps[i]):
                value = one["step_labels"].get(key)
                if value is not None:
                    probs[starts[i] + k, j] = np.eye(3)[value + 1]
                if explained.get(key):
                    texts[starts[i] + k].append(explained[key])
            if one.get("final_label") is not None:
                outcomes[i].append(one["final_label"])
    values = [row["step_labels"][key] for (_, row), keys in zip(gold_rows, steps, strict=True) for key in keys]
    tasks: dict[tuple[str, Any], int] = {}
    groups = [tasks.setdefault((name, row["query_index"]), len(tasks)) for name, row in gold_rows]
    return Panel(
        raters=tuple(judges),
        starts=starts,
        probs=probs,
        gold=np.array([MISSING if value is None else value for value in values], dtype=np.int8),
        groups=np.array(groups),
        relative_length=relative_lengths(np.diff(starts), [name for name, _ in gold_rows]),
        texts=[" ".join(one) for one in texts],
        outcome=np.array([np.mean(one) if one else np.nan for one in outcomes]),
        context=np.zeros((starts[-1], 0), dtype=np.float32),
    )


def keys(folder: Path, name: str) -> list[tuple[int, int]]:
    """Question and sample of each trajectory of one set, in the order in which `read` gives them."""
    return [(row["query_index"], row["sample_index"]) for row in _rows(folder / f"gold_{name}.jsonl")]


def _latest(path: Path) -> dict[tuple[int, int], dict[str, Any]]:
    found: dict[tuple[int, int], dict[str, Any]] = {}
    if not path.is_file():
        return found
    for row in _rows(path):
        key = (row["query_index"], row["sample_index"])
        if key not in found or row["updated_at"] >= found[key]["updated_at"]:
            found[key] = row
    return {key: row for key, row in found.items() if not row.get("comment", "").startswith("llm_annotate_failed")}


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
