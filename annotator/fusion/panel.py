"""The judgements of many raters about the steps of many trajectories, as arrays. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray

MISSING = -9  # among values -1, 0, +1
N_VALUES = 3  # -1, 0, +1, in this order everywhere
LEANINGS = (-1, 0, 1)  # of findings of rules
_MOST_FINDINGS = 3  # that count, of one step and leaning
LEAST_GOLD, LEAST_TASKS = 25, 5  # trajectories, and tasks among them: less is too little for a fusion


@dataclass(frozen=True)
class Panel:
    """n trajectories with m steps in all, and r raters. The steps of trajectory i are starts[i]:starts[i + 1].

    probs: (m, r, 3) P(-1), P(0), P(+1) by each rater; a row of NaN abstains; a verdict is one-hot.
    gold: (m,) -1, 0, +1 or MISSING.
    groups: (n,) the task of each trajectory, as a number; folds never tear one apart.
    relative_length: (n,) how long each trajectory is, on a scale that compares between sources; see `relative_lengths`.
    texts: what the raters said of each step, joined; empty where nobody did.
    outcome: (n,) how the trajectory ended, e.g. its reward from 0 to 1; NaN where unknown.
    begins_turn: (m,) whether the agent had spoken to a person and goes on after the answer; never the first step.
    context: (m, k) further numbers about each step, such as findings of rules; k may be 0.
    seen: (n, r) whether people settled a trajectory with the rater's word in sight; None: nowhere.
    """

    raters: tuple[str, ...]
    starts: IntArray
    probs: npt.NDArray[np.float32]
    gold: npt.NDArray[np.int8]
    groups: IntArray
    relative_length: FloatArray
    texts: Sequence[str]
    outcome: FloatArray
    begins_turn: BoolArray
    context: npt.NDArray[np.float32]
    seen: BoolArray | None = None

    def __post_init__(self) -> None:
        m, n = self.n_steps, self.n_trajectories
        shapes = {
            "probs": (self.probs.shape, (m, len(self.raters), N_VALUES)),
            "gold": (self.gold.shape, (m,)),
            "groups": (self.groups.shape, (n,)),
            "relative_length": (self.relative_length.shape, (n,)),
            "texts": ((len(self.texts),), (m,)),
            "outcome": (self.outcome.shape, (n,)),
            "begins_turn": (self.begins_turn.shape, (m,)),
            "context": (self.context.shape[:1], (m,)),
        }
        if self.seen is not None:
            shapes["seen"] = (self.seen.shape, (n, len(self.raters)))
        for name, (is_, should) in shapes.items():
            if is_ != should:
                raise ValueError(f"Panel.{name} has the shape {is_}; {should} fits {n} trajectories with {m} steps.")

    @property
    def n_trajectories(self) -> int:
        return len(self.starts) - 1

    @property
    def n_steps(self) -> int:
        return int(self.starts[-1])

    @property
    def lengths(self) -> IntArray:
        return np.diff(self.starts)

    @property
    def owner(self) -> IntArray:
        """(m,) the trajectory of each step."""
        return np.repeat(np.arange(self.n_trajectories), self.lengths)

    @property
    def place(self) -> IntArray:
        """(m,) the index of each step in its trajectory."""
        return np.arange(self.n_steps) - np.repeat(self.starts[:-1], self.lengths)

    @property
    def votes(self) -> npt.NDArray[np.int8]:
        """(m, r) the likeliest value by each rater, or MISSING."""
        silent = np.isnan(self.probs[:, :, 0])
        likeliest = np.nan_to_num(self.probs).argmax(axis=2) - 1
        return np.where(silent, MISSING, likeliest).astype(np.int8)

    @property
    def has_gold(self) -> BoolArray:
        """(n,) trajectories with a gold step."""
        return np.bincount(self.owner[self.gold != MISSING], minlength=self.n_trajectories) > 0

    @property
    def n_seen(self) -> int:
        """Trajectories that people settled with some rater's word in sight."""
        return 0 if self.seen is None else int(self.seen.any(axis=1).sum())

    def of(self, trajectories: npt.ArrayLike) -> "Panel":
        """Only these trajectories (numbers or a mask), in this order."""
        chosen = np.arange(self.n_trajectories)[np.asarray(trajectories)]
        lengths = self.lengths[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        steps = np.repeat(self.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        return Panel(
            raters=self.raters,
            starts=starts,
            probs=self.probs[steps],
            gold=self.gold[steps],
            groups=self.groups[chosen],
            relative_length=self.relative_length[chosen],
            texts=[self.texts[i] for i in steps],
            outcome=self.outcome[chosen],
            begins_turn=self.begins_turn[steps],
            context=self.context[steps],
            seen=None if self.seen is None else self.seen[chosen],
        )

    def fair(self) -> tuple[IntArray, "Panel"]:
        """The trajectories to learn from, and which they are: with gold, and without what people had in sight then.

        What such raters said in words, and of how it ended, cannot be told from what others said, so all of it goes.
        Where no rater is left, so does the gold.
        """
        places = np.flatnonzero(self.has_gold)
        panel = self.of(places)
        if panel.seen is None or panel.n_seen == 0:
            return places, panel
        probs, owner = panel.probs.copy(), panel.owner
        probs[panel.seen[owner]] = np.nan
        is_seen = np.asarray(panel.seen.sum(axis=1) > 0)
        n_said = np.bincount(owner, weights=(~np.isnan(probs[:, :, 0])).sum(axis=1), minlength=panel.n_trajectories)
        left = replace(
            panel,
            probs=probs,
            texts=["" if is_seen[i] else text for i, text in zip(owner, panel.texts, strict=True)],
            outcome=np.where(is_seen, np.nan, panel.outcome),
        )
        kept = np.flatnonzero(~is_seen | (n_said > 0))
        return places[kept], left.of(kept)

    def by(self, raters: Sequence[str]) -> "Panel":
        """Only these raters, in this order; the texts stay."""
        places = [self.raters.index(name) for name in raters]
        seen = None if self.seen is None else self.seen[:, places]
        return replace(self, raters=tuple(raters), probs=self.probs[:, places], seen=seen)

    def plus(self, rater: str, probs: npt.NDArray[np.floating]) -> "Panel":
        """With one more rater, who says probs (m, 3)."""
        both = np.concatenate([self.probs, probs[:, None].astype(np.float32)], axis=1)
        seen = None if self.seen is None else np.pad(self.seen, ((0, 0), (0, 1)))
        return replace(self, raters=(*self.raters, rater), probs=both, seen=seen)

    def with_gold(self, gold: npt.NDArray[np.int8]) -> "Panel":
        return replace(self, gold=gold)


def relative_lengths(lengths: IntArray, sources: Sequence[str]) -> FloatArray:
    """(n,) the share of the trajectories of its source that are shorter, from 0 to 1; one as long counts half.

    How many steps are many differs from source to source: ten are few for a booking, and a lot for a question.
    """
    numbers: dict[str, int] = {}
    source = np.array([numbers.setdefault(name, len(numbers)) for name in sources], dtype=np.int64)
    kinds, which, n = np.unique(np.stack([source, lengths]), axis=1, return_inverse=True, return_counts=True)
    in_source = np.bincount(source)
    before = np.cumsum(in_source) - in_source  # all of the sources before
    found = (np.cumsum(n) - n / 2 - before[kinds[0]]) / in_source[kinds[0]]
    return np.asarray(found[which.ravel()], dtype=np.float64)


def leanings(findings: Iterable[tuple[int, int | None]], n_steps: int) -> npt.NDArray[np.float32]:
    """(n_steps, 3) how many findings lean to each value, as `Panel.context`; each is (step, leaning or None).

    How much a leaning is worth is learnt from gold.
    """
    counts = np.zeros((n_steps, len(LEANINGS)), dtype=np.float32)
    for step, leaning in findings:
        if leaning in LEANINGS:
            counts[step, LEANINGS.index(leaning)] += 1
    return counts.clip(max=_MOST_FINDINGS)


def folds(groups: IntArray, n: int, seed: int) -> IntArray:
    """(n_trajectories,) a fold from 0 to n - 1 for each trajectory, the same for all of a task."""
    tasks, which = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(tasks)) % n)[which]
