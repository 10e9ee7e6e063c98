"""Unsupervised aggregation, for comparison: what raters say is all there is. Pure. Shared errors mislead all of these.

Dawid and Skene, Applied Statistics 28 (1979): the truth is hidden, every rater has a confusion matrix, and
expectation-maximisation finds both. One-coin: a single accuracy per rater. The chain form takes neighbouring truths as
dependent (Nguyen et al., ACL 2017, with full confusion matrices).
"""

import numpy as np

from annotator.agreement.coefficients import FloatArray
from annotator.fusion.chain import PRIOR_TRANSITION, Chain, believe, log_evidence
from annotator.fusion.panel import N_VALUES, Panel

_MOST_ROUNDS = 100
_STOPS_BELOW = 1e-5
_SMOOTHING = 0.01


def majority(panel: Panel) -> FloatArray:
    """(m, 3) the share of raters that give each value, each rater that abstains left out; even where all do."""
    said = np.nan_to_num(panel.probs).sum(axis=1, dtype=np.float64) + 1e-6
    return np.asarray(said / said.sum(axis=1, keepdims=True), dtype=np.float64)


def dawid_skene(panel: Panel) -> FloatArray:
    """(m, 3) posteriors of steps taken as independent."""
    return _maximise(panel, one_coin=False, chained=False)


def one_coin(panel: Panel) -> FloatArray:
    """(m, 3) the same with one accuracy per rater; its errors fall evenly on the other two values."""
    return _maximise(panel, one_coin=True, chained=False)


def chain_dawid_skene(panel: Panel) -> FloatArray:
    """(m, 3) the same with a hidden chain per trajectory."""
    return _maximise(panel, one_coin=False, chained=True)


def _maximise(panel: Panel, *, one_coin: bool, chained: bool) -> FloatArray:
    said = np.nan_to_num(panel.probs).astype(np.float64)  # (m, r, 3)
    truth = majority(panel)
    inside = np.flatnonzero(panel.place[1:] > 0)
    pairs = truth[inside].T @ truth[inside + 1]
    no_turns = np.zeros(panel.n_steps, dtype=np.bool_)
    for _ in range(_MOST_ROUNDS):
        counts = np.einsum("mk,mrl->rkl", truth, said) + _SMOOTHING
        if one_coin:
            right = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
            off = (1 - right)[:, None, None] / (N_VALUES - 1)
            counts = np.where(np.eye(N_VALUES, dtype=bool), right[:, None, None], off)
        confusions = counts / counts.sum(axis=2, keepdims=True)
        logs = log_evidence(panel, confusions)
        if chained:
            follows = pairs + PRIOR_TRANSITION
            start = truth[panel.starts[:-1]].sum(axis=0) + 1.0
            transition = follows / follows.sum(axis=1, keepdims=True)
            chain = Chain(start / start.sum(), np.stack([transition, transition]))
            # From here on pairs of neighbours as such: as if independent, the chain would dissolve round by round.
            pairs = np.zeros_like(follows)
            evidence = np.exp(logs - logs.max(axis=1, keepdims=True))
            new = believe(panel.starts, evidence, chain, no_turns, pairs=pairs)
        else:
            logs = logs + np.log(truth.mean(axis=0) + 1e-12)
            new = np.exp(logs - logs.max(axis=1, keepdims=True))
            new = new / new.sum(axis=1, keepdims=True)
        moved = float(np.abs(new - truth).mean())
        truth = new
        if moved < _STOPS_BELOW:
            break
    return truth
