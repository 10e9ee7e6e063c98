"""How much a look at a step or a trajectory is expected to be worth. Pure.

P (m, 3) are the beliefs about the steps, `starts` (n + 1,) where each trajectory begins among them.
"""

import numpy as np

from annotator.agreement.coefficients import FloatArray, IntArray

# Of opening a trajectory, in steps: what reading into it costs before the first label.
OPENING_COST = 4.0
# Annotations with a time, before a project's own cost is believed; and what no project's opening exceeds.
LEAST_TIMED, MOST_OPENING = 30, 50.0
# Left out is what took longer than usual by so many standard deviations of the logarithms; never below the first of
# these times as long, and always above the second.
_BY_FAR, _FAR_IS = 4.0, (3.0, 8.0)
_ROUNDS = 10  # of drawing the line and leaving out what lies above it by far


def entropy(probs: FloatArray) -> FloatArray:
    """(…, k) -> (…,) in nats."""
    return np.asarray(-(probs * np.log(probs.clip(1e-12))).sum(axis=-1), dtype=np.float64)


def doubt(probs: FloatArray) -> FloatArray:
    """(m, 3) -> (m,) the probability that the likeliest value is wrong: the expected errors of a step."""
    return np.asarray(1 - probs.max(axis=-1), dtype=np.float64)


def most_doubtful(probs: FloatArray, candidates: IntArray, n: int) -> list[int]:
    """Up to n of the candidates, indices of probs (m, 3), in order."""
    order = np.argsort(-doubt(probs[candidates]), kind="stable")[:n]
    return sorted(candidates[order].tolist())


def disagreement(members: FloatArray) -> FloatArray:
    """(members, m, 3) -> (m,) mutual information of label and member, in nats: what more gold could settle.

    Houlsby et al., Bayesian Active Learning for Classification and Preference Learning (2011).
    """
    return np.asarray(entropy(members.mean(axis=0)) - entropy(members).mean(axis=0), dtype=np.float64).clip(0.0)


def cost(lengths: IntArray, opening: float = OPENING_COST, per_step: float = 1.0) -> FloatArray:
    """(n,) what judging each whole trajectory costs, in steps."""
    return np.asarray(opening + per_step * lengths, dtype=np.float64)


def fitted_opening(n_steps: IntArray, active_ms: FloatArray) -> float | None:
    """What opening a trajectory costs in steps, from how long people took; None where that cannot be told.

    n_steps (n,): judged in each judgement; active_ms (n,): its time. The line time = opening + per step * n by least
    squares, where misses count by their share of the time, for long ones vary more. What lies above it by far is left
    out: somebody left a page open. Nothing else may be: times have a long tail, shorter for long trajectories whose
    steps even out, so cutting off more of it, or following the usual time and not the mean, would tilt the line.
    """
    if len(n_steps) < LEAST_TIMED or len(np.unique(n_steps)) < 2:
        return None
    expected = cost(n_steps)
    times = active_ms / np.median(active_ms / expected)
    for _ in range(_ROUNDS):
        ratios = np.log(np.maximum(times, 1e-6) / expected)
        above = ratios - np.median(ratios)
        is_kept = above <= np.clip(_BY_FAR * 1.4826 * np.median(np.abs(above)), *np.log(_FAR_IS))
        design = np.column_stack([np.ones(len(times)), n_steps]) / expected[:, None]
        line, *_ = np.linalg.lstsq(design[is_kept], (times / expected)[is_kept])
        opening, per_step = (float(part) for part in line)
        if per_step <= 0:
            return None
        expected = cost(n_steps, max(opening, 0.0), per_step)
    return float(np.clip(opening / per_step, 0.0, MOST_OPENING))


def expected_errors_per_cost(probs: FloatArray, starts: IntArray, costs: FloatArray) -> FloatArray:
    """(n,) how many wrong values a look is expected to set right, for what it costs: the order to mend labels by."""
    return np.asarray(sums(doubt(probs), starts) / costs, dtype=np.float64)


def mean_entropy(probs: FloatArray, starts: IntArray) -> FloatArray:
    """(n,) the order to train a model by: a sum would only prefer long trajectories."""
    return np.asarray(sums(entropy(probs), starts) / np.maximum(np.diff(starts), 1), dtype=np.float64)


def mean_disagreement(members: FloatArray, starts: IntArray) -> FloatArray:
    """(n,) of the committee."""
    return np.asarray(sums(disagreement(members), starts) / np.maximum(np.diff(starts), 1), dtype=np.float64)


def first_error_entropy(first_error: FloatArray, starts: IntArray) -> FloatArray:
    """(n,) from 0 to 1: how open it is where the first error is. first_error: (m + n,) as fusion.chain gives it."""
    lengths = np.diff(starts)
    begins = starts[:-1] + np.arange(len(lengths))
    parts = -(first_error * np.log(first_error.clip(1e-12)))
    whole = np.concatenate([[0.0], np.cumsum(parts)])
    return np.asarray(
        (whole[begins + lengths + 1] - whole[begins]) / np.log(np.maximum(lengths + 1, 2)), dtype=np.float64
    )


def contradiction(first_error: FloatArray, starts: IntArray, outcome: FloatArray) -> FloatArray:
    """(n,) from 0 to 1: looks right and ended wrong, or the reverse; 0 where the outcome (from 0 to 1) is unknown."""
    lengths = np.diff(starts)
    is_clean = first_error[starts[1:] + np.arange(len(lengths))]
    return np.asarray(np.abs(np.nan_to_num(outcome - is_clean)), dtype=np.float64)


def sums(values: FloatArray, starts: IntArray) -> FloatArray:
    """(m,) -> (n,) the sum over each trajectory."""
    whole = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(whole[starts[1:]] - whole[starts[:-1]], dtype=np.float64)
