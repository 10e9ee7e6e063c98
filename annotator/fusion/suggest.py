"""What a model suggests for each step to somebody who has labelled the steps before it. Pure.

static/js/hints.js computes the same in the browser, so that a suggestion changes with the key that was pressed and not
when a server has answered: nobody confirms with one key what they have not seen.
"""

from collections.abc import Mapping

import numpy as np

from annotator.agreement.coefficients import FloatArray
from annotator.fusion.chain import PRIOR_START, PRIOR_TRANSITION, Chain
from annotator.fusion.panel import N_VALUES
from annotator.fusion.people import pair_potentials

# How far a label reaches, beside a model that has read the steps before it as well.
LINKS = pair_potentials(Chain(PRIOR_START, PRIOR_TRANSITION), 0.7)
# How far the numbers of an uncalibrated model are believed: one that is always sure could never be corrected.
TRUST = 0.7


def trusted(probs: FloatArray, *, is_calibrated: bool) -> FloatArray:
    """(n, 3) as the model says, or drawn towards even odds where nobody knows how far that can be believed."""
    return probs if is_calibrated else TRUST * probs + (1 - TRUST) / N_VALUES


def conditioned(evidence: FloatArray, given: Mapping[int, int], links: Chain = LINKS) -> FloatArray:
    """(n, 3) evidence, a row of NaN where the model abstained -> (n, 3): row t knows the labels of steps before t.

    given: step -> value. p_t(y) ∝ evidence_t(y) · ahead_t(y | labels and models before t) / ahead_t(y | models before
    t), as in annotator.fusion.people.refresh: without a label it is the evidence itself.
    """
    found = np.full_like(evidence, np.nan)
    alone = known = links.start
    for step, row in enumerate(evidence):
        here = np.ones(N_VALUES) if np.isnan(row[0]) else row.clip(1e-9)
        if not np.isnan(row[0]):
            found[step] = _normal(here * known / alone)
        alone = _normal(alone * here) @ links.transition
        known = (np.eye(N_VALUES)[given[step] + 1] if step in given else _normal(known * here)) @ links.transition
    return found


def _normal(x: FloatArray) -> FloatArray:
    return np.asarray(x / x.sum(), dtype=np.float64)
