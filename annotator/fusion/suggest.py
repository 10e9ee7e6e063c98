"""What a model suggests for each step to somebody who has labelled the steps before it. Pure.

static/js/hints.js computes the same in the browser, so that a suggestion changes with the key that was pressed and not
when a server has answered: nobody confirms with one key what they have not seen.
"""

from collections.abc import Mapping

import numpy as np

from annotator.agreement.coefficients import BoolArray, FloatArray
from annotator.fusion.chain import PRIOR_CHAIN
from annotator.fusion.panel import N_VALUES
from annotator.fusion.people import pair_potentials

# PULL[k]: what one more of the value k than the model had expected adds to the log of each value at the next step.
PULL = np.log(pair_potentials(PRIOR_CHAIN, 0.7).transition[0])
# How much of that is left a step later: one label is less of a reason than two that say the same.
MEMORY = 0.3
# How much of it is left where a new turn begins: an error carries on less often there.
TURN = 0.5
# How far the numbers of an uncalibrated model are believed: one that is always sure could never be corrected.
TRUST = 0.7


def trusted(probs: FloatArray, *, is_calibrated: bool) -> FloatArray:
    """(n, 3) as the model says, or drawn towards even odds where nobody knows how far that can be believed."""
    return probs if is_calibrated else TRUST * probs + (1 - TRUST) / N_VALUES


def expected(evidence: FloatArray) -> FloatArray:
    """(n, 3) what there is to be surprised at: the evidence or, in a row of NaN, how frequent the values are."""
    return np.where(np.isnan(evidence), PRIOR_CHAIN.marginal, evidence)


def conditioned(evidence: FloatArray, begins_turn: BoolArray, given: Mapping[int, int]) -> FloatArray:
    """(n, 3) evidence, a row of NaN where the model is silent -> (n, 3): row t knows the labels of steps before t.

    begins_turn: (n,). given: step -> value. log p_t(y) = log e_t(y) + sum over k of r_t(k) · PULL[k, y] + constant.
    e is `expected`. s_t = known_t - e_t + MEMORY · r_t says how far the labels up to t differ from what the model had
    expected; known_t is the label, or p_t where there is none. r_t = s_{t-1}, or TURN · s_{t-1} where a turn begins.
    Without a label all s are 0 and p is the evidence.
    """
    found, surprise = np.empty_like(evidence), np.zeros(N_VALUES)
    for step, row in enumerate(expected(evidence)):
        if begins_turn[step]:
            surprise = TURN * surprise
        pulled = row.clip(1e-9) * np.exp(surprise @ PULL)
        found[step] = pulled / pulled.sum()
        known = np.eye(N_VALUES)[given[step] + 1] if step in given else found[step]
        surprise = known - row + MEMORY * surprise
    found[np.isnan(evidence)] = np.nan
    return found
