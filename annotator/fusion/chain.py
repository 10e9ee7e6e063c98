"""The labels of a trajectory as a chain: errors carry on and get corrected. Pure, vectorised over trajectories.

A hidden value per step with start and transition probabilities, and for every step the evidence of the raters. Errors
carry on within a turn more than into the next one, so where a turn begins other transitions hold. The forward-backward
algorithm gives the posterior of each step; a step whose label is known is clamped. From whatever is believed of the
steps, and from how neighbours depend on each other, follows where the first error is. docs/fusion.md has the formulas.
"""

from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray
from annotator.fusion.panel import MISSING, N_VALUES, Panel

# What people's labels of AgentProcessBench look like: the prior for projects with little gold.
PRIOR_START = np.array([0.134, 0.012, 0.854])
PRIOR_TRANSITION = np.array([[0.838, 0.027, 0.135], [0.352, 0.090, 0.558], [0.109, 0.045, 0.846]])
PRIOR_WEIGHT = 20.0  # pseudo-transitions out of each value

_CELLS = 600_000  # steps, padding included, that are computed together
_PAIRS = 100_000  # of neighbouring steps that are fitted together
_MOST_ROUNDS, _CLOSE = 100, 1e-9  # of proportional fitting
_TINY = 1e-30


@dataclass(frozen=True)
class Chain:
    """start (3,) and transition (2, 3, 3) probabilities over -1, 0, +1.

    transition[0]: to a step of the same turn, transition[1]: to one that begins a turn; their rows: from.
    """

    start: FloatArray
    transition: FloatArray

    @property
    def marginal(self) -> FloatArray:
        """(3,) how frequent each value is in the long run of a turn."""
        power = np.linalg.matrix_power(self.transition[0], 64)
        return np.asarray((self.start + power.mean(axis=0)) / 2, dtype=np.float64)


PRIOR_CHAIN = Chain(PRIOR_START, np.stack([PRIOR_TRANSITION, PRIOR_TRANSITION]))


def fit_chain(panel: Panel) -> Chain:
    """From the gold of neighbouring steps, shrunk towards PRIOR_TRANSITION."""
    start = PRIOR_START * PRIOR_WEIGHT
    known = panel.gold != MISSING
    first = panel.starts[:-1]
    first = first[known[first]]
    start = start + np.bincount(panel.gold[first] + 1, minlength=N_VALUES)
    inside = panel.place[1:] > 0
    pairs = np.flatnonzero(inside & known[1:] & known[:-1])
    counts = np.zeros((2, N_VALUES, N_VALUES))
    is_new = panel.begins_turn[pairs + 1].astype(np.int64)
    np.add.at(counts, (is_new, panel.gold[pairs] + 1, panel.gold[pairs + 1] + 1), 1.0)
    transition = PRIOR_CHAIN.transition * PRIOR_WEIGHT + counts
    return Chain(start / start.sum(), transition / transition.sum(axis=2, keepdims=True))


def believe(
    starts: IntArray,
    evidence: FloatArray,
    chain: Chain,
    begins_turn: BoolArray,
    known: IntArray | None = None,
    pairs: FloatArray | None = None,
) -> FloatArray:
    """Forward-backward over every trajectory: (m, 3).

    starts: (n + 1,). evidence: (m, 3), proportional to P(what the raters said | value), all above 0. begins_turn:
    (m,). known: (m,) values that are given (-1, 0, +1) or MISSING. pairs: (3 from, 3 to), to which the expected
    number of each value after each of the same turn is added.
    """
    weights = np.maximum(evidence, _TINY)
    weights = weights / weights.max(axis=1, keepdims=True)
    if known is not None:
        given = np.flatnonzero(known != MISSING)
        weights = weights.copy()
        weights[given] = 0.0
        weights[given, known[given].astype(np.int64) + 1] = 1.0
    lengths = np.diff(starts)
    probs: FloatArray = np.empty_like(weights)
    order = np.argsort(lengths, kind="stable")
    at = 0
    while at < len(order):
        longest_first = lengths[order[at:]]
        # As many of like length as fit; sorted, so that padding is small.
        n = max(1, int(np.searchsorted(longest_first * np.arange(1, len(longest_first) + 1), _CELLS, side="right")))
        _believe_some(starts, weights, chain, begins_turn, order[at : at + n], lengths, probs, pairs)
        at += n
    return probs


def _believe_some(
    starts: IntArray,
    weights: FloatArray,
    chain: Chain,
    begins_turn: BoolArray,
    some: IntArray,
    lengths: IntArray,
    probs: FloatArray,
    pairs: FloatArray | None,
) -> None:
    """The same for trajectories `some`, side by side: padding has even weights and is thrown away."""
    n, longest = len(some), int(lengths[some].max(initial=0))
    if longest == 0:
        return
    steps = starts[some][:, None] + np.arange(longest)  # (n, longest)
    is_real = np.arange(longest) < lengths[some][:, None]
    e = np.ones((longest, n, N_VALUES))
    e.transpose(1, 0, 2)[is_real] = weights[steps[is_real]]
    is_new = np.zeros((longest, n, 1), dtype=np.bool_)
    is_new[..., 0].T[is_real] = begins_turn[steps[is_real]]
    forward = np.empty_like(e)
    scale = np.empty((longest, n, 1))
    within, between = chain.transition
    for t in range(longest):
        ahead = chain.start if t == 0 else np.where(is_new[t], forward[t - 1] @ between, forward[t - 1] @ within)
        here = ahead * e[t]
        scale[t] = here.sum(axis=1, keepdims=True)
        forward[t] = here / scale[t]
    backward = np.ones((n, N_VALUES))
    last = lengths[some] - 1
    for t in range(longest - 1, -1, -1):
        # Steps behind the end of a trajectory tell nothing.
        backward[last <= t] = 1.0
        both = forward[t] * backward
        now_real = is_real[:, t]
        probs[steps[now_real, t]] = (both / both.sum(axis=1, keepdims=True))[now_real]
        here = e[t] * backward / scale[t]
        if pairs is not None and t > 0:
            same_turn = now_real & ~is_new[t, :, 0]
            pairs += within * (forward[t - 1][same_turn].T @ here[same_turn])
        backward = np.where(is_new[t], here @ between.T, here @ within.T)


def first_error_of(starts: IntArray, probs: FloatArray, transition: FloatArray, begins_turn: BoolArray) -> FloatArray:
    """(m + n,): for each trajectory in turn P(step t is -1 and none before it is) of its steps, and P(none).

    Steps are taken as a Markov chain with the marginals probs (m, 3) in which neighbours depend on each other as in
    transition (2, 3, 3): their joint distribution has its odds ratios. So P(F = 1) is P(-1) of the first step.
    By proportional fitting: Deming and Stephan, Annals of Mathematical Statistics 11 (1940).
    """
    n, lengths = len(starts) - 1, np.diff(starts)
    p = probs.clip(1e-12)
    p = p / p.sum(axis=1, keepdims=True)
    is_last = np.zeros(len(p), dtype=np.bool_)
    is_last[starts[1:][lengths > 0] - 1] = True
    before = np.flatnonzero(~is_last)
    given = np.empty((len(p), N_VALUES, N_VALUES))  # of the next step, given this one's value
    for at in range(0, len(before), _PAIRS):
        some = before[at : at + _PAIRS]
        given[some] = _joined(p[some], p[some + 1], transition[begins_turn[some + 1].astype(np.int64)])
    found = np.empty(len(p) + n)
    found[starts[1:] + np.arange(n)] = 1.0  # no steps, no error
    longest_first = np.argsort(-lengths, kind="stable")
    clean = np.empty((n, N_VALUES - 1))
    for t in range(int(lengths.max(initial=0))):
        some = longest_first[: int((lengths > t).sum())]
        steps = starts[some] + t
        here = p[steps] if t == 0 else np.einsum("ni,nij->nj", clean[some], given[steps - 1][:, 1:])
        found[steps + some], clean[some] = here[:, 0], here[:, 1:]
        found[starts[some + 1] + some] = here[:, 1:].sum(axis=1)
    return found


def _joined(left: FloatArray, right: FloatArray, transition: FloatArray) -> FloatArray:
    """P(right | left) with these marginals, (k, 3) each, and the odds ratios of transition: both (k, 3, 3)."""
    joint = left[:, :, None] * transition * right[:, None, :]
    for _ in range(_MOST_ROUNDS):
        rows = joint.sum(axis=2)
        if np.abs(rows - left).max(initial=0.0) < _CLOSE:
            break
        joint *= (left / rows)[:, :, None]
        joint *= (right / joint.sum(axis=1))[:, None, :]
    return np.asarray(joint / joint.sum(axis=2, keepdims=True), dtype=np.float64)


def log_evidence(panel: Panel, confusions: FloatArray) -> FloatArray:
    """(m, 3) sum over raters of log P(what the rater said | value). confusions: (r, 3 true, 3 said).

    Of a rater that gives probabilities it is the expectation over what it would say.
    """
    total = np.zeros((panel.n_steps, N_VALUES))
    logs = np.log(confusions)
    for rater in range(len(panel.raters)):
        said = np.nan_to_num(panel.probs[:, rater])
        total += said @ logs[rater].T
    return total


def fit_confusions(panel: Panel) -> FloatArray:
    """(r, 3 true, 3 said) on gold, with one pseudo-count per cell and one more on the diagonal."""
    known = panel.gold != MISSING
    truth = np.eye(N_VALUES)[panel.gold[known].astype(np.int64) + 1]
    said = np.nan_to_num(panel.probs[known]).astype(np.float64)
    counts = np.einsum("mk,mrl->rkl", truth, said) + 1.0 + np.eye(N_VALUES)
    return np.asarray(counts / counts.sum(axis=2, keepdims=True), dtype=np.float64)


def first_errors(starts: IntArray, first_error: FloatArray) -> IntArray:
    """(n,) the likeliest first error of each trajectory by P(F), not by the first -1; its n_steps stands for none."""
    begin = starts[:-1] + np.arange(len(starts) - 1)
    return np.array(
        [int(first_error[a : a + n + 1].argmax()) for a, n in zip(begin, np.diff(starts), strict=True)], dtype=np.int64
    )
