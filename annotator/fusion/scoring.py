"""How good beliefs are against gold. Pure."""

from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.agreement.intervals import of_resamples
from annotator.fusion.chain import Chain, first_error_of, first_errors
from annotator.fusion.panel import MISSING, N_VALUES, Panel
from annotator.raters.metrics import Bin, calibration_bins, expected_calibration_error, reliability, resampled

_RESAMPLES = 1_000


@dataclass(frozen=True)
class Score:
    """Of one method on held-out tasks, in shares from 0 to 1; nll in nats per step."""

    step_acc: float
    macro_f1: float
    first_err_acc: float
    ece: float
    nll: float


def score(panel: Panel, probs: FloatArray, chain: Chain) -> Score:
    """probs (m, 3) against the panel's gold; the first error is the likeliest by P(F), as in use."""
    known = panel.gold != MISSING
    y, p = panel.gold[known].astype(np.int64) + 1, probs[known]
    said = p.argmax(axis=1)
    counts = np.zeros((N_VALUES, N_VALUES))
    np.add.at(counts, (y, said), 1.0)
    both = counts.sum(axis=0) + counts.sum(axis=1)
    f1 = (2 * np.diag(counts))[both > 0] / both[both > 0]
    whole = np.bincount(panel.owner[~known], minlength=panel.n_trajectories) == 0
    first = first_errors(panel.starts, first_error_of(panel.starts, probs, chain.transition, panel.begins_turn))
    return Score(
        step_acc=float((said == y).mean()),
        macro_f1=float(f1.mean()),
        first_err_acc=float((first == gold_first_errors(panel))[whole].mean()) if whole.any() else float("nan"),
        ece=ece(y, p),
        nll=nll(panel, probs),
    )


def gold_first_errors(panel: Panel) -> IntArray:
    """(n,) the index of the first gold -1 of each trajectory, or its number of steps."""
    found = panel.lengths.copy()
    wrong = np.flatnonzero(panel.gold == -1)[::-1]
    found[panel.owner[wrong]] = panel.place[wrong]
    return found


def ece(y: IntArray, probs: FloatArray) -> float:
    """Expected calibration error of the likeliest value, as on the page Raters. y (m,): 0 to 2."""
    return float(expected_calibration_error(calibration_bins(probs, y)))


def interval(panel: Panel, probs: FloatArray) -> tuple[float, float]:
    """The 95 % interval of the share of right steps, tasks drawn anew. It takes gold of two tasks."""
    known = np.flatnonzero(panel.gold != MISSING)
    _, which = np.unique(panel.groups[panel.owner[known]], return_inverse=True)
    right = probs[known].argmax(axis=1) - 1 == panel.gold[known]
    sums = np.stack([np.bincount(which, weights=right), np.bincount(which).astype(np.float64)], axis=1)
    drawn = resampled(sums, _RESAMPLES, seed=0)
    low, high = of_resamples(float(right.mean()), drawn[:, 0] / drawn[:, 1], len(sums), is_share=True)
    assert low is not None
    assert high is not None
    return low, high


def sureness(panel: Panel, probs: FloatArray) -> list[Bin]:
    """How sure and how often right: the steps with gold in bins of their likeliest value's probability."""
    known = np.flatnonzero(panel.gold != MISSING)
    return reliability(calibration_bins(probs[known], panel.gold[known].astype(np.int64) + 1))


def nll(panel: Panel, probs: FloatArray) -> float:
    """Nats per step with gold."""
    known = np.flatnonzero(panel.gold != MISSING)
    return float(-np.log(probs[known, panel.gold[known].astype(np.int64) + 1].clip(1e-6)).mean())
