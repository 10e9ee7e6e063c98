"""How far each rater, person or model, can be relied on, and in what they err. Pure: arrays in, numbers out.

Every label stands beside a yardstick: a distribution over -1, 0, +1 that the rater had no part in. A settled value is
all on one value, what the others said may be divided, a posterior is what it is. A rater is right by the weight that
the yardstick gives to their value, so all figures are expectations; with settled values they are plain shares.

Every figure is one weighted sum over another. One task's sums are a row of a matrix, so a resample of tasks is a row of
weights. docs/raters.md defines the figures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import FloatArray, IntArray, ratio
from annotator.agreement.intervals import Z, wilson
from annotator.agreement.metrics import Figure, counted
from annotator.agreement.sums import VALUES, Columns
from annotator.raters.metrics import resampled

FEWEST = 5  # steps or trajectories below which a share is not given
FEWEST_TASKS = 20  # below which resampling tasks tells too little, and a difference or a trend has no interval
FEWEST_OF_TREND = 100  # labels
DRIFT_P = 0.01
BLOCKS, LEAST_BLOCK = 8, 25

_K = len(VALUES)
FOUND, MISSED, MISSED_PLUS, EARLY, CLEAN = range(_K * _K, _K * _K + 5)  # after the cells (value, yardstick)
_WIDTH = CLEAN + 1


@dataclass(frozen=True)
class Said(Columns):
    """One place per label, in any order; raters, trajectories and groups (tasks) are ids, `at` orders a rater's labels.

    truth: (n, 3) the yardstick over VALUES. hazard: (n,) how likely the first error is here, given that it was not
    earlier; NaN where that is unknown.
    """

    rater: IntArray
    trajectory: IntArray
    step: IntArray
    n_steps: IntArray
    group: IntArray
    value: IntArray
    at: IntArray
    truth: FloatArray
    hazard: FloatArray

    @property
    def right(self) -> FloatArray:
        """(n,) the weight of the yardstick on what was said."""
        return np.asarray(self.truth[np.arange(len(self.value)), self.value - VALUES[0]])


@dataclass(frozen=True)
class Drift:
    """How the share of right labels changes from a rater's first label to their last, by a straight line.

    `blocks`: the labels in order, in parts of like size: the number of the first and of the last one, and their share.
    """

    change: Figure
    p: float | None
    blocks: list[tuple[int, int, Figure]]


@dataclass(frozen=True)
class Reliability:
    """One rater. `of_value[k]`: of the steps that are VALUES[k] by the yardstick, how many the rater calls so.

    First errors: of those that the rater came to without having said -1 before, the share `missed`, and
    `missed_as_plus` with +1; of all trajectories, the share on which the rater said -1 too `early` (before the first
    error, or without any).
    """

    rater: int
    n_steps: int
    n_trajectories: int
    n_tasks: int
    reachable: float  # the share of right labels of whoever always gives the yardstick's likeliest value
    accuracy: Figure
    of_value: tuple[Figure, ...]
    zeros: Figure
    true_zeros: Figure
    excess_zeros: Figure
    missed: Figure
    missed_as_plus: Figure
    early: Figure
    drift: Drift


@dataclass(frozen=True)
class _Share:
    """What a figure divides by what, as weights of the columns."""

    above: FloatArray
    below: FloatArray
    unit: str
    is_difference: bool = False


def _weights(*columns: int) -> FloatArray:
    weights = np.zeros(_WIDTH)
    weights[list(columns)] = 1.0
    return weights


def _cell(value: int, truth: int) -> int:
    return (value - VALUES[0]) * _K + truth - VALUES[0]


_SIGNED = {-1: "−1", 0: "0", 1: "+1"}
_SAID_0 = _weights(*(_cell(0, truth) for truth in VALUES))
_TRUE = {truth: _weights(*(_cell(value, truth) for value in VALUES)) for truth in VALUES}
_ALL = sum(_TRUE.values(), start=np.zeros(_WIDTH))
_FIRST, _RUNS = _weights(FOUND, MISSED), _weights(FOUND, MISSED, EARLY, CLEAN)
_STEPS, _ERRORS, _JUDGED = "compared steps", "first errors", "trajectories"
_SHARES = {
    "accuracy": _Share(_weights(*(_cell(value, value) for value in VALUES)), _ALL, _STEPS),
    **{
        f"of {value}": _Share(
            _weights(_cell(value, value)), _TRUE[value], f"steps with the true value {_SIGNED[value]}"
        )
        for value in VALUES
    },
    "zeros": _Share(_SAID_0, _ALL, _STEPS),
    "true_zeros": _Share(_TRUE[0], _ALL, _STEPS),
    "excess_zeros": _Share(_SAID_0 - _TRUE[0], _ALL, _STEPS, is_difference=True),
    "missed": _Share(_weights(MISSED), _FIRST, _ERRORS),
    "missed_as_plus": _Share(_weights(MISSED_PLUS), _FIRST, _ERRORS),
    "early": _Share(_weights(EARLY), _RUNS, _JUDGED),
}
_ABOVE = np.stack([share.above for share in _SHARES.values()], axis=1)
_BELOW = np.stack([share.below for share in _SHARES.values()], axis=1)


def leave_one_out(trajectory: IntArray, step: IntArray, rater: IntArray, value: IntArray) -> FloatArray:
    """(n, 3): what the other raters of the same step said most often, NaN where nobody else judged it.

    Evenly divided where several values are. The rater's own label has no part in it.
    """
    if not len(value):
        return np.zeros((0, _K))
    _, place = np.unique(trajectory * (step.max() + 1) + step, return_inverse=True)
    counts = np.zeros((place.max() + 1, _K))
    np.add.at(counts, (place, value - VALUES[0]), 1)
    others = counts[place]
    others[np.arange(len(value)), value - VALUES[0]] -= 1
    is_top = others == others.max(axis=1, keepdims=True)
    truth = is_top / is_top.sum(axis=1, keepdims=True)
    truth[others.sum(axis=1) == 0] = np.nan
    return np.asarray(truth)


def hazards(first_error: FloatArray) -> FloatArray:
    """(n + 1,) P(the first error is step t), P(none) -> (n,): P(it is here, given that it was not earlier)."""
    left = first_error[::-1].cumsum()[::-1][:-1]
    return np.clip(np.nan_to_num(ratio(first_error[:-1], left)), 0.0, 1.0)


def reliabilities(said: Said, *, resamples: int = 1000, seed: int = 0) -> list[Reliability]:
    """One report per rater with a label, by their id. The same input and seed give the same intervals.

    95 % intervals are percentiles over resampled tasks, which all raters share. A share that rests on fewer than 20
    tasks, or is 0 or 1, has Wilson's interval with each task as one observation, as if its steps were copies of each
    other. Raises ValueError for yardsticks that are no distribution.
    """
    if not len(said.value):
        return []
    _check(said)
    raters, number = np.unique(said.rater, return_inverse=True)
    groups, group = np.unique(said.group, return_inverse=True)
    sums = np.zeros((len(groups), len(raters), _WIDTH))
    for value in VALUES:
        rows = said.value == value
        for truth in VALUES:
            weights = said.truth[rows, truth - VALUES[0]]
            sums[:, :, _cell(value, truth)] = _by_group(group[rows], number[rows], weights, sums.shape)
    order, starts, outcomes = first_errors(said)
    heads = order[starts]
    for column in (FOUND, MISSED, MISSED_PLUS, EARLY, CLEAN):
        weights = outcomes[:, column - FOUND]
        sums[:, :, column] = _by_group(group[heads], number[heads], weights, sums.shape)
    drawn = resampled(sums.reshape(len(groups), -1), resamples if len(groups) > 1 else 0, seed)
    drawn = drawn.reshape(len(drawn), len(raters), _WIDTH)
    n_trajectories = np.bincount(number[heads], minlength=len(raters))
    n_steps = np.bincount(number, minlength=len(raters))
    return [
        _report(int(rater), int(n_steps[j]), int(n_trajectories[j]), sums[:, j], drawn[:, j], said.where(number == j))
        for j, rater in enumerate(raters)
    ]


def first_errors(said: Said) -> tuple[IntArray, IntArray, FloatArray]:
    """What became of the first error of each judgement (one rater, one trajectory).

    Returns the order that puts the labels of a judgement beside each other, where in it each judgement begins, and
    (judgements, 5) the probabilities of FOUND, MISSED, MISSED with +1, EARLY and CLEAN. The steps are read from the
    first; the first one that either side calls an error decides. What lies behind a step without label or yardstick is
    unknown and counts nowhere.
    """
    order, starts, by_label, left = _followed(said)
    found = np.zeros((len(starts), 5))
    if len(starts):
        found[:, :4] = np.add.reduceat(by_label, starts)
    lengths = np.diff(np.append(starts, len(order)))
    found[:, 4] = np.where(lengths == said.n_steps[order][starts], left, 0)
    return order, starts, found


def deciding_weights(said: Said, outcome: int) -> FloatArray:
    """(n,) how likely it is at this label that its judgement's first error was FOUND, MISSED or called too EARLY."""
    order, _, by_label, _ = _followed(said)
    weights = np.zeros(len(order))
    weights[order] = by_label[:, outcome - FOUND]
    return weights


def _followed(said: Said) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """The order and starts of `first_errors`, the probabilities (n, 4) in that order of FOUND, MISSED, MISSED with +1
    and EARLY at each label, and (judgements,) of none of these.
    """
    order = np.lexsort((said.step, said.trajectory, said.rater))
    rater, trajectory, step = said.rater[order], said.trajectory[order], said.step[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (rater[1:] != rater[:-1]) | (trajectory[1:] != trajectory[:-1])
    starts = np.flatnonzero(is_new)
    lengths = np.diff(np.append(starts, len(order)))
    value, hazard = said.value[order], said.hazard[order]
    by_label = np.zeros((len(order), 4))
    left = np.ones(len(starts))  # P(neither side has called anything an error so far)
    for place in range(int(lengths.max(initial=0))):
        here = np.flatnonzero((lengths > place) & (left > 0))
        rows = starts[here] + place
        is_known = (step[rows] == place) & ~np.isnan(hazard[rows])
        now, error = np.where(is_known, left[here], 0.0), np.nan_to_num(hazard[rows])
        says = value[rows] == -1
        by_label[rows, 0] = np.where(says, now * error, 0)
        by_label[rows, 1] = np.where(says, 0, now * error)
        by_label[rows, 2] = np.where(value[rows] == 1, now * error, 0)
        by_label[rows, 3] = np.where(says, now * (1 - error), 0)
        left[here] = np.where(says, 0, now * (1 - error))
    return order, starts, by_label, left


def trend(right: FloatArray, group: IntArray) -> tuple[float, float]:
    """The change of `right` (n,), in its order, from the first to the last, by least squares, and its standard error.

    The error allows for dependence within a group: the cluster-robust sandwich with the usual correction for few
    groups, G/(G-1) * (n-1)/(n-2) (Liang & Zeger 1986, Biometrika 73). Needs 3 labels and 2 groups.
    """
    n = len(right)
    design = np.column_stack([np.ones(n), np.linspace(0.0, 1.0, n)])
    bread = np.linalg.inv(design.T @ design)
    line = bread @ design.T @ right
    _, place = np.unique(group, return_inverse=True)
    scores = design * (right - design @ line)[:, None]
    by_group = np.zeros((place.max() + 1, 2))
    np.add.at(by_group, place, scores)
    meat = by_group.T @ by_group
    n_groups = len(by_group)
    variance = (bread @ meat @ bread)[1, 1] * n_groups / (n_groups - 1) * (n - 1) / (n - 2)
    return float(line[1]), math.sqrt(max(0.0, float(variance)))


def drift_of(said: Said) -> Drift:
    """Of one rater's labels."""
    order = np.lexsort((said.step, said.trajectory, said.at))
    right, group = said.right[order], said.group[order]
    n, n_groups = len(right), len(np.unique(group))
    size = max(LEAST_BLOCK, -(-n // BLOCKS))
    edges = list(range(0, n, size))
    if len(edges) > 1 and n - edges[-1] < LEAST_BLOCK:
        edges.pop()  # a short rest joins the block before
    blocks = [
        (start + 1, end, _plain_share(right[start:end], group[start:end]))
        for start, end in zip(edges, [*edges[1:], n], strict=True)
    ]
    if n < FEWEST_OF_TREND or n_groups < FEWEST_TASKS:
        why = f"It takes {FEWEST_OF_TREND} compared labels on {FEWEST_TASKS} tasks; there are {n} on {n_groups}."
        return Drift(Figure(None, None, None, n, _STEPS, why), None, blocks)
    change, error = trend(right, group)
    p = math.erfc(abs(change) / error / math.sqrt(2)) if error else float(change == 0)
    return Drift(Figure(change, change - Z * error, change + Z * error, n, _STEPS, ""), p, blocks)


def _plain_share(right: FloatArray, group: IntArray) -> Figure:
    """With Wilson's interval, each task one observation."""
    share = float(right.mean())
    return Figure(share, *wilson(share, len(np.unique(group))), len(right), _STEPS, "")


def _check(said: Said) -> None:
    is_fine = (said.truth >= 0).all(axis=1) & (np.abs(said.truth.sum(axis=1) - 1) < 1e-6)
    if not is_fine.all():
        at = int(np.argmin(is_fine))
        where = f"rater {said.rater[at]}, trajectory {said.trajectory[at]}, step {said.step[at]}"
        raise ValueError(f"{where}: the yardstick {said.truth[at].tolist()} is no distribution over -1, 0 and 1.")


def _by_group(group: IntArray, number: IntArray, weights: FloatArray, shape: Sequence[int]) -> FloatArray:
    """(groups, raters): summed weights."""
    n_groups, n_raters = shape[:2]
    flat = np.bincount(group * n_raters + number, weights, minlength=n_groups * n_raters)
    return np.asarray(flat.reshape(n_groups, n_raters), dtype=np.float64)


def _report(
    rater: int, n_steps: int, n_trajectories: int, sums: FloatArray, drawn: FloatArray, own: Said
) -> Reliability:
    """`sums` (groups, columns) and `drawn` (resamples, columns): the rater's."""
    totals = sums.sum(axis=0)
    below_by_group = sums @ _BELOW
    above, below = totals @ _ABOVE, totals @ _BELOW
    spread = ratio(drawn @ _ABOVE, drawn @ _BELOW)
    figures = {
        name: _figure(share, above[k], below[k], spread[:, k], int(np.count_nonzero(below_by_group[:, k] > 0)))
        for k, (name, share) in enumerate(_SHARES.items())
    }
    return Reliability(
        rater=rater,
        n_steps=n_steps,
        n_trajectories=n_trajectories,
        n_tasks=int(np.count_nonzero(sums @ _ALL > 0)),
        reachable=float(own.truth.max(axis=1).mean()),
        of_value=tuple(figures.pop(f"of {value}") for value in VALUES),
        **figures,
        drift=drift_of(own),
    )


def _figure(share: _Share, above: float, below: float, spread: FloatArray, n_tasks: int) -> Figure:
    n = round(float(below))
    if n < FEWEST:
        return Figure(None, None, None, n, share.unit, f"Only {counted(n, share.unit)} so far; it takes {FEWEST}.")
    value = float(above / below)
    known = spread[~np.isnan(spread)]
    if n_tasks >= FEWEST_TASKS and known.size and (share.is_difference or 0 < value < 1):
        low, high = (float(bound) for bound in np.quantile(known, [0.025, 0.975]))
        return Figure(value, low, high, n, share.unit, "")
    if share.is_difference:
        return Figure(value, None, None, n, share.unit, "")
    value = min(1.0, max(0.0, value))  # sums of weights may miss 1 by a rounding
    return Figure(value, *wilson(value, n_tasks), n, share.unit, "")
