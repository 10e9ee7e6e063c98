"""What an admin promises, which rounds test it, and when these are enough. Pure."""

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.errors import parsed
from annotator.fusion.panel import LEAST_GOLD

LEAST_SAMPLE = 50  # trajectories that test; with less no rule could ever hold
# So many trajectories with gold outside the sample are enough to learn from; what lacks is taken from the sample.
ENOUGH_TO_LEARN = 100
# A model is heard if it has spoken of so much of the sample; others would be missing just where it matters.
HEARD_FROM = 0.95


class Terms(BaseModel):
    """docs/acceptance.md explains each field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epsilon: Annotated[float, Field(ge=0.005, le=0.2)] = 0.05
    delta: Annotated[float, Field(ge=0.001, le=0.2)] = 0.1
    audit_share: Annotated[float, Field(ge=0.02, le=0.5)] = 0.1

    @classmethod
    def parse(cls, data: object) -> "Terms":
        """Raises InvalidSettings, naming each field that is wrong."""
        return parsed(cls, data, "Nothing was started: the promise does not fit.", "terms")


def to_learn_from(chances: FloatArray, n_elsewhere: int) -> IntArray:
    """The places of the sampled trajectories that are learnt from and do not test: the lowest chances below a half.

    chances (n,): of each trajectory one that stays the same. n_elsewhere: trajectories with gold that are not in the
    sample. With more of either none that tests becomes one that is learnt from: another try is no other test.
    """
    n = min(max(0, ENOUGH_TO_LEARN - n_elsewhere), int((chances < 0.5).sum()))
    return np.sort(np.argsort(chances)[:n])


def first_that_tests(n_before: IntArray, n_pool: IntArray, n_drawn: IntArray) -> int:
    """The place of the first round of the sample; the later ones belong to it, too.

    n_before (n,): trajectories that had come into the queue before each round, n_pool: that it could draw, n_drawn: of
    its random part, taken by people, at least 1. Where most of what a round could draw had come since the sample began,
    another sample begins; the latest that is large enough tests. No label has a say in that.
    """
    begins = [0]
    for i in range(1, len(n_before)):
        if 2 * (n_before[i] - n_before[begins[-1]]) > n_pool[i]:
            begins.append(i)
    return max((i for i in begins if n_drawn[i:].sum() >= LEAST_SAMPLE), default=0)


def why_not(
    n_sample: int,
    n_learnt: int,
    n_elsewhere: int,
    n_pool: int,
    n_late: int = 0,
    *,
    is_heard: bool = True,
    broken: str = "",
) -> str:
    """What is missing to test a promise, as a sentence; empty where nothing is.

    n_sample: judged trajectories that were drawn at random, n_learnt: those of them that are learnt from; n_pool: the
    others that can be accepted, as far as all rounds that test could draw them, n_late: the rest.
    is_heard: some model is; broken: the promise since whose end the sample was drawn.
    """
    if n_sample - n_learnt < LEAST_SAMPLE:
        since = f", after the audit broke {broken}," if broken else ""
        return (
            f"The promise is tested on trajectories that a selection round drew at random{since} and people judged "
            f"blind. There are {n_sample}, of which {n_sample - n_learnt} can be spared for the test; it needs "
            f"{LEAST_SAMPLE} at least. Start rounds with a larger share at random."
        )
    if n_elsewhere + n_learnt < LEAST_GOLD:
        return f"Gold of {n_elsewhere + n_learnt} trajectories is too little to learn from; {LEAST_GOLD} are needed."
    if not is_heard:
        return (
            f"There is nothing to accept: no model has rated {100 * HEARD_FROM:g} % of the sample, so none is heard. "
            "Start one over all trajectories, on the page Models."
        )
    if not n_pool and n_late:
        return (
            f"There is nothing to accept: the {n_late} that models have rated and nobody has begun came into the queue "
            "after the first of the rounds that test, which could not draw them. Start a round with a share at random "
            f"now; once people have taken {LEAST_SAMPLE} that it and later ones drew at random, these test alone."
        )
    if not n_pool:
        return (
            "There is nothing to accept: each trajectory that all heard models have rated has been begun by somebody, "
            "is accepted or in an audit already, or waits as the random part of a round. Have them rate further ones."
        )
    return ""
