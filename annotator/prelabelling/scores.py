"""What goes into a pre-labeller and what comes out of it: the same for every kind of model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

Message = Mapping[str, JsonValue]


@dataclass(frozen=True)
class TrajectoryText:
    """A trajectory as a model reads it; one step = one assistant message, in order."""

    instruction: str
    messages: list[Message]
    tools: list[JsonValue]
    reference: JsonValue | None = None
    outcome: float | None = None


@dataclass(frozen=True)
class TrajectoryScores:
    """What one model says about one trajectory. n = n_steps."""

    probs: np.ndarray  # (n, 3) float64, columns P(-1), P(0), P(+1), each row sums to 1; a row of NaN is an abstention
    raw: np.ndarray | None  # (n,) the model's own number before mapping (e.g. P(positive)); NaN where abstained
    rationales: list[str | None]  # (n,) why, in the model's words
    n_tokens: int  # read by the model
    n_dropped_tokens: int  # cut away to fit (0: nothing)
    first_truncated_step: int | None  # scores of this step and later (or of None) saw a shortened context
    note: str = ""  # why it abstained, e.g. "The answer was no JSON."


@dataclass(frozen=True)
class ScoringError:
    """Why one trajectory has no scores; a later run may ask again."""

    message: str
