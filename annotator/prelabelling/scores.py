"""The one contract of all pre-labellers: what a model reads of a trajectory, and what it says about its steps.

Pure: no Django, no torch. A step is one assistant message, counted as `annotator.importing.schema.steps_of` counts.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from annotator.importing.chat import role_of
from annotator.importing.schema import MessageIn

VALUES = (-1, 0, 1)  # what the columns of `TrajectoryScores.probs` stand for

# Of the steps that are not wrong, the share that is neutral: .0531 / .6815 of the gold of AgentProcessBench.
NEUTRAL_SHARE = 0.078


@dataclass(frozen=True)
class TrajectoryText:
    """A trajectory as a pre-labeller may read it. `reference` and `outcome` are for models that ask for them."""

    instruction: str
    messages: list[MessageIn]
    tools: list[dict[str, JsonValue]]
    reference: JsonValue = None
    outcome: float | None = None

    @property
    def n_steps(self) -> int:
        return sum(role_of(message) == "assistant" for message in self.messages)


class ScoringError(Exception):
    """A trajectory that could not be scored; the text is a sentence for the person who started the run."""


@dataclass(frozen=True, eq=False)
class TrajectoryScores:
    """What one model says about one trajectory of n steps."""

    probs: (
        np.ndarray
    )  # (n, 3) float64: P(-1), P(0), P(+1), each row sums to 1; a row of NaN is an abstention, never a 0
    raw: np.ndarray | None  # (n,) float64: the model's own number before mapping; NaN where it abstained
    rationales: list[str | None]  # (n,) why, in the model's words
    n_tokens: int  # read by the model; what two windows both read counts twice
    n_dropped_tokens: int  # cut away to fit (0: nothing)
    first_truncated_step: int | None  # 0-based: the scores from this step on saw a shortened context; None: none did
    note: str = ""  # why it abstained, or what had to be changed in the text
    spread: np.ndarray | None = None  # (n,) float64: standard deviation over the members of an ensemble
    first_extrapolated_step: int | None = None  # 0-based: later than the first predicted error, where it never learnt
    findings: tuple[dict[str, JsonValue], ...] = ()  # of rules: step, code, leaning, sentence, evidence

    def __post_init__(self) -> None:
        n = len(self.rationales)
        if self.probs.shape != (n, len(VALUES)):
            raise ValueError(f"probs has the shape {self.probs.shape}; {n} steps need ({n}, 3).")
        for name, values in (("raw", self.raw), ("spread", self.spread)):
            if values is not None and values.shape != (n,):
                raise ValueError(f"{name} has the shape {values.shape}; {n} steps need ({n},).")
        judged = ~self.abstained
        if not np.isfinite(self.probs[judged]).all() or (self.probs[judged] < 0).any():
            raise ValueError("A row of probs must hold three probabilities, or three NaN for an abstention.")
        if not np.allclose(self.probs[judged].sum(axis=1), 1, atol=1e-6):
            raise ValueError("A row of probs does not sum to 1.")

    @property
    def abstained(self) -> np.ndarray:
        """(n,) bool: the steps about which the model says nothing."""
        return np.asarray(np.isnan(self.probs).all(axis=1))


def split_non_negative(p: np.ndarray) -> np.ndarray:
    """(n,) P(not wrong) -> (n, 3) probabilities, before any gold is there to calibrate with.

    P(-1) = 1 - p; the rest is split at the base rate, because a model of two classes says nothing about it.
    """
    return np.stack([1 - p, p * NEUTRAL_SHARE, p * (1 - NEUTRAL_SHARE)], axis=1)
