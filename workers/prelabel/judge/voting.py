"""Several votes on one trajectory become probabilities.

A step's probabilities are the mean of the distributions of the votes that speak of it: what the tokens say where the
endpoint offers them, else all on the label. A vote that cannot be read abstains on every step, one that leaves out
steps abstains on those. A step of which no vote speaks stays without probabilities.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from workers.prelabel.judge.answers import Answer
from workers.prelabel.judge.logprobs import Tokens
from workers.prelabel.judge.parsing import StepVote, read_votes


@dataclass(frozen=True)
class Vote:
    """One answer: its labels by step with their distributions, and a sentence on what it does not say."""

    steps: dict[int, StepVote] = field(default_factory=dict)
    probs: dict[int, np.ndarray] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the votes say together: (n, 3) probabilities, a reason per step, and what is missing from which votes."""

    probs: np.ndarray
    rationales: list[str | None]
    note: str


def vote_of(answer: Answer, n_steps: int) -> Vote:
    """The vote that an answer is."""
    if answer.abstains:
        return Vote(missing=answer.abstains)
    steps = read_votes(answer.text, n_steps)
    if not steps:
        return Vote(missing="The answer held no JSON object with labels.")
    tokens = Tokens(answer.text, answer.tokens)
    probs = {}
    for step, vote in steps.items():
        told = tokens.label_probs(vote.label_at)
        probs[step] = np.eye(3)[vote.column] if told is None else told
    left_out = n_steps - len(steps)
    return Vote(steps, probs, f"The answer left out {left_out} of {n_steps} steps." if left_out else "")


def combine(votes: Sequence[Vote], n_steps: int) -> Verdict:
    """The verdict of all votes."""
    probs = np.full((n_steps, 3), np.nan)
    rationales: list[str | None] = [None] * n_steps
    for step in range(n_steps):
        speaking = [vote for vote in votes if step in vote.steps]
        if not speaking:
            continue
        mean = np.mean([vote.probs[step] for vote in speaking], axis=0)
        probs[step] = mean
        # The reason comes from a vote for the likeliest label; of several such votes the surest one, then the first.
        winner = int(np.argmax(mean))
        voice = max(speaking, key=lambda v: (v.steps[step].column == winner, v.probs[step][winner]))
        rationales[step] = voice.steps[step].reason or None
    return Verdict(probs, rationales, _note(votes))


def _note(votes: Sequence[Vote]) -> str:
    missing = Counter(vote.missing for vote in votes if vote.missing)
    if len(votes) == 1:
        return votes[0].missing
    return " ".join(f"{n} of {len(votes)} votes: {sentence}" for sentence, n in missing.items())
