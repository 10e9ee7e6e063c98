"""Small panels with known gold for the tests of the fusion."""

from collections.abc import Sequence

import numpy as np

from annotator.fusion.panel import MISSING, Panel, relative_lengths


def panel_of(
    gold: Sequence[Sequence[int]],
    votes: Sequence[Sequence[Sequence[int | None]]],
    *,
    groups: Sequence[int] | None = None,
    texts: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    turns: Sequence[Sequence[bool]] | None = None,
) -> Panel:
    """gold[i][t], votes[rater][i][t], None abstains; turns[i][t]: whether the step begins one, by default none."""
    starts = np.concatenate([[0], np.cumsum([len(one) for one in gold])])
    probs = np.full((starts[-1], len(votes), 3), np.nan, dtype=np.float32)
    for rater, said in enumerate(votes):
        flat = [value for one in said for value in one]
        for step, value in enumerate(flat):
            if value is not None:
                probs[step, rater] = np.eye(3)[value + 1]
    return Panel(
        raters=tuple(f"r{n}" for n in range(len(votes))),
        starts=starts,
        probs=probs,
        gold=np.array([value for one in gold for value in one], dtype=np.int8),
        groups=np.arange(len(gold)) if groups is None else np.array(groups),
        relative_length=relative_lengths(np.diff(starts), sources or [""] * len(gold)),
        texts=texts or [""] * int(starts[-1]),
        outcome=np.full(len(gold), np.nan),
        begins_turn=np.array(
            [new for one in turns or [[False] * len(one) for one in gold] for new in one], dtype=np.bool_
        ),
        context=np.zeros((starts[-1], 0), dtype=np.float32),
    )


def made_up(n: int, *, accuracies: Sequence[float], seed: int = 0, text_tells: bool = False) -> Panel:
    """n trajectories of 3 to 8 steps; an error often carries on; each rater errs at random, most often towards +1."""
    rng = np.random.default_rng(seed)
    gold = []
    for _ in range(n):
        values: list[int] = []
        for _ in range(rng.integers(3, 9)):
            before = values[-1] if values else 1
            values.append(int(rng.choice([-1, 0, 1], p=[0.75, 0.05, 0.2] if before == -1 else [0.15, 0.05, 0.8])))
        gold.append(values)
    votes = [
        [[v if rng.random() < accuracy else int(rng.choice([-1, 0, 1, 1])) for v in one] for one in gold]
        for accuracy in accuracies
    ]
    flat = [value for one in gold for value in one]
    words = {-1: "a wrong call", 0: "nothing new", 1: "fits well"}
    texts = [words[v] if rng.random() < 0.9 else "unclear" for v in flat] if text_tells else None
    return panel_of(gold, votes, groups=[i // 2 for i in range(n)], texts=texts)


def without_gold(panel: Panel, keep: int) -> Panel:
    """Only the first trajectories keep their gold."""
    gold = panel.gold.copy()
    gold[panel.owner >= keep] = MISSING
    return panel.with_gold(gold)
