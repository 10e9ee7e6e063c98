"""AgentProcessBench's human labels and what language models said of the same steps, as panels for the fusion.

A folder holds gold_<set>.jsonl and judges/<model>/<set>.jsonl for any number of sets, and of some also <set>.jsonl, the
trajectories themselves, in which rules can find something. What a judge said of the final result counts as knowledge of
the outcome; the human label of it does not.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from annotator.fusion.panel import LEANINGS, Panel, leanings, relative_lengths
from annotator.importing.formats import BadRecord
from annotator.importing.formats import read as read_trajectories
from annotator.importing.schema import TrajectoryIn, steps_of
from annotator.prelabelling.imported import Judgement, latest, read_judgements
from annotator.prelabelling.rules import find

Key = tuple[str, int, int]  # data source, question, sample
Said = TypeVar("Said")

# Judges behind a hosted API; the others are open models.
STRONG = (
    "DeepSeek-V3.2", "DeepSeek-V3.2-Thinking", "GPT-5.2", "GPT-5.2-Chat", "GPT-5.2-Thinking-medium",
    "Gemini-3-Flash-Preview", "Gemini-3-Flash-Preview-Thinking", "Kimi-K2.5", "Kimi-K2.5-Thinking",
)  # fmt: skip
CHEAP = ("DeepSeek-V3.2", "GPT-5.2-Chat", "Gemini-3-Flash-Preview")


def panels_of(panel: Panel) -> dict[str, list[str]]:
    """The panels of judges known by name; of others, thirds by their accuracy on all gold, for want of better."""
    return panels(panel.raters) if set(STRONG) & set(panel.raters) else _thirds(panel)


def _thirds(panel: Panel) -> dict[str, list[str]]:
    right = (panel.votes == panel.gold[:, None]).sum(axis=0)
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
    found = [
        ("strong, {}", strong),
        ("strong, {}", strong[::2]),
        ("cheap, {}", [name for name in CHEAP if name in there]),
        ("open, {}", [name for name in openly if name not in small][:3]),
        ("open, {} small", small[:5]),
        ("open, {}", openly),
        ("mixed, {}", strong[1:4:2] + openly[1:6:2]),
        ("all, {}", there),
    ]
    return {name.format(len(chosen)): chosen for name, chosen in found if len(chosen) >= 2}


def choose(there: Mapping[str, list[str]], wanted: Sequence[str] | None, usual: Sequence[str]) -> dict[str, list[str]]:
    """The wanted panels, or the usual ones, or the first three. Ends the program if one is not there."""
    if not there:
        sys.exit("Two judges at least are needed, as judges/<model>/<set>.jsonl in the folder of --data.")
    if missing := [name for name in wanted or [] if name not in there]:
        sys.exit(f"There is no panel {' or '.join(map(repr, missing))} here, but: {'; '.join(there)}.")
    titles = wanted or [name for name in usual if name in there] or list(there)[:3]
    return {title: there[title] for title in titles}


@dataclass(frozen=True)
class Data:
    """The labels of some sets, and what judges said of the same steps.

    names: of the sets; set_of (n,): the number of the set of each trajectory; keys: their questions and samples;
    judges: by name, for each trajectory what it said, or None; leanings: of each trajectory what the rules lean to, by
    the message of its steps (3,); empty without its text. notes: what is missing or was left out, as sentences.
    """

    names: Sequence[str]
    set_of: np.ndarray
    keys: Sequence[Key]
    gold: Sequence[Judgement]
    judges: Mapping[str, Sequence[Judgement | None]]
    leanings: Sequence[Mapping[int, np.ndarray]]
    notes: Sequence[str]

    @property
    def has_rules(self) -> bool:
        return any(self.leanings)

    def panel(self, judges: Sequence[str] | None = None, *, rules: bool = False) -> Panel:
        """These judges, by default all: what the others said is nowhere in it, neither as words nor as the outcome.

        rules: with what the rules find in the trajectories, where these are there, the reference answer among it.
        Its steps are those with a human label; its groups are questions, and those of two sets differ.
        """
        chosen = list(self.judges if judges is None else judges)
        steps = [sorted(one.values) for one in self.gold]
        starts = np.concatenate([[0], np.cumsum([len(messages) for messages in steps])]).astype(np.int64)
        probs = np.full((starts[-1], len(chosen), 3), np.nan, dtype=np.float32)
        texts: list[list[str]] = [[] for _ in range(starts[-1])]
        outcomes: list[list[int]] = [[] for _ in self.gold]
        for j, judge in enumerate(chosen):
            for i, one in enumerate(self.judges[judge]):
                if one is None:
                    continue
                for step, message in enumerate(steps[i], start=starts[i]):
                    if (value := one.values.get(message)) is not None:
                        probs[step, j] = np.eye(3)[value + 1]
                    if why := one.explanations.get(message):
                        texts[step].append(why)
                if one.final is not None:
                    outcomes[i].append(one.final)
        silent = np.zeros(len(LEANINGS), dtype=np.float32)
        found = [
            of.get(message, silent) for of, messages in zip(self.leanings, steps, strict=True) for message in messages
        ]
        values = [one.values[message] for one, messages in zip(self.gold, steps, strict=True) for message in messages]
        tasks: dict[tuple[int, str, int], int] = {}
        groups = [
            tasks.setdefault((of_set, source, question), len(tasks))
            for of_set, (source, question, _) in zip(self.set_of.tolist(), self.keys, strict=True)
        ]
        return Panel(
            raters=tuple(chosen),
            starts=starts,
            probs=probs,
            gold=np.array(values, dtype=np.int8),
            groups=np.array(groups, dtype=np.int64),
            relative_length=relative_lengths(np.diff(starts), [self.names[i] for i in self.set_of]),
            texts=[" ".join(one) for one in texts],
            outcome=np.array([np.mean(one) if one else np.nan for one in outcomes]),
            begins_turn=np.array([new for messages in steps for new in _turns(messages)], dtype=np.bool_),
            context=np.array(found if rules else np.zeros((starts[-1], 0)), dtype=np.float32),
        )


def _turns(messages: Sequence[int]) -> list[bool]:
    """Which steps begin a turn. Where nothing but their places among the messages is known: a tool's answer is one
    message, and what is said between two turns is more.
    """
    return [False, *(after - before > 2 for before, after in pairwise(messages))]


def read(folder: Path, names: Sequence[str] | None = None) -> Data:
    """The sets of the folder, by default all. Ends the program where there is nothing to measure."""
    if not names:
        names = sorted(path.stem.removeprefix("gold_") for path in folder.glob("gold_*.jsonl"))
    if not names:
        sys.exit(f"There is no gold_<set>.jsonl in {folder}; name the folder of the human labels with --data.")
    notes: list[str] = []
    gold: dict[str, dict[Key, Judgement]] = {}
    for name in names:
        rows = _rows(folder / f"gold_{name}.jsonl", notes)
        if labelled := {key: one for key, one in rows.items() if one.values}:
            gold[name] = labelled
        if not labelled or len(labelled) < len(rows):
            left_out = f"{len(rows) - len(labelled)} of {len(rows)}"
            notes.append(f"gold_{name}.jsonl: {left_out} trajectories have no label and are left out.")
    if not gold:
        sys.exit(f"No gold_<set>.jsonl in {folder} holds a human label. {' '.join(notes)}")
    said_by_rules = [of for name, rows in gold.items() for of in _leanings(folder / f"{name}.jsonl", rows)]
    found: dict[str, list[Judgement | None]] = {}
    for judge in sorted(path.name for path in folder.glob("judges/*") if path.is_dir()):
        by_set = {
            name: _matched(rows, _rows(folder / "judges" / judge / f"{name}.jsonl", notes))
            for name, rows in gold.items()
        }
        silent = [name for name, said in by_set.items() if not any(said)]
        if len(silent) < len(gold):
            found[judge] = [one for said in by_set.values() for one in said]
        notes += [f"{judge} says nothing of {', '.join(silent)}."] if silent else []
    return Data(
        names=list(gold),
        set_of=np.repeat(np.arange(len(gold)), [len(rows) for rows in gold.values()]),
        keys=[key for rows in gold.values() for key in rows],
        gold=[one for rows in gold.values() for one in rows.values()],
        judges=found,
        leanings=said_by_rules,
        notes=notes,
    )


def texts(path: Path) -> tuple[list[TrajectoryIn], int]:
    """The trajectories of <set>.jsonl, and how many of its rows cannot be read."""
    with path.open("rb") as file:
        rows = list(read_trajectories(file, format="agentprocessbench", name=path.name))
    found = [one for one in rows if not isinstance(one, BadRecord)]
    return found, len(rows) - len(found)


def _leanings(path: Path, gold: Mapping[Key, Judgement]) -> list[dict[int, np.ndarray]]:
    """What the rules lean to in each trajectory with gold, by the message of its steps; empty without its text."""
    return [{} if one is None else _leanings_of(one) for one in _matched(gold, _by_key(path))]


def _by_key(path: Path) -> dict[Key, TrajectoryIn]:
    found = {}
    for one in texts(path)[0] if path.is_file() else []:
        source, query, sample = one.external_id.rsplit(":", 2)
        found[source, int(query), int(sample)] = one
    return found


def _leanings_of(one: TrajectoryIn) -> dict[int, np.ndarray]:
    steps = steps_of(one.messages)
    findings = find(one.messages, one.tools, one.reference)
    counts = leanings(((each.step, each.leaning) for each in findings), len(steps))
    return {step.message_index: row for step, row in zip(steps, counts, strict=True)}


def _rows(path: Path, notes: list[str]) -> dict[Key, Judgement]:
    """The last word on each trajectory. A row that cannot be read is left out, and the notes say which."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        rows, bad = latest(read_judgements(file))
    found = {one.sample: one for one in rows if one.sample is not None}
    where = f"{path.parent.name}/{path.name}"
    if bad:
        notes.append(f"{where}: {len(bad)} rows cannot be read and are left out; the first is {bad[0]}")
    if len(found) < len(rows):
        notes.append(f"{where}: {len(rows) - len(found)} rows without query_index and sample_index are left out.")
    return found


def _matched(gold: Mapping[Key, Judgement], said: Mapping[Key, Said]) -> list[Said | None]:
    """What is there of each trajectory with gold. The source matters only where its questions have the same numbers."""
    first = 1 if len({key[1:] for key in gold}) == len(gold) else 0
    of = {key[first:]: one for key, one in said.items()}
    return [of.get(key[first:]) for key in gold]
