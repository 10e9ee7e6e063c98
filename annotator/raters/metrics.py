"""How well raters match gold: the figures of this field's benchmarks, with intervals. Pure: arrays in, numbers out.

A rater is a person or a model. It gives each step a distribution over -1, 0, +1, or abstains; a person's label and a
judge's verdict are one-hot. A figure that the data cannot give is None with a reason, never NaN or 0.

Every figure is a function of sums over trajectories. One group's sums (the trajectories of one task) are a row of a
matrix, so a resample of groups is a row of weights, and all resamples of all raters are one matrix product.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray, defined, ratio
from annotator.agreement.intervals import of_resamples
from annotator.agreement.metrics import Figure
from annotator.agreement.sums import VALUES

N_BINS = 15

_K = len(VALUES)
_ABSTAINED, _NO_GOLD = _K, -1  # in place of a position in VALUES
_CELLS_PER_CHUNK = 2_000_000  # of resamples x groups at a time
_WIDTHS = {"confusion": _K * (_K + 1), "bins": 3 * N_BINS, "brier": 1, "first_errors": 6}
_N_SUMS = sum(_WIDTHS.values())

# Rater -> for each trajectory (n_steps, 3): P(-1), P(0), P(+1). A row of NaN abstains, and None from all steps.
Predictions = Mapping[str, Sequence[FloatArray | None]]


@dataclass(frozen=True)
class GoldTrajectory:
    """The gold of one trajectory. `values` (n_steps,) count only where `has_gold`; `group` is the task it is about."""

    values: IntArray
    has_gold: BoolArray
    group: Hashable
    domain: str = ""


@dataclass(frozen=True)
class Bin:
    """The answered steps whose top probability lies in (low, high]: how sure the rater was, and how often right."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class RaterReport:
    """One rater against gold; docs/raters.md defines each figure.

    `recall[k]` and `precision[k]` are those of VALUES[k]. `confusion[i][j]`: gold is VALUES[i] and the rater said
    VALUES[j], or abstained (the last column).
    """

    n_trajectories: int
    n_steps: int
    n_groups: int
    step_acc: Figure
    step_acc_answered: Figure
    first_err_acc: Figure
    first_err_acc_strict: Figure
    coverage: Figure
    macro_f1: Figure
    ece: Figure
    brier: Figure
    processbench_f1: Figure
    prm_score: Figure
    recall: list[Figure]
    precision: list[Figure]
    confusion: list[list[int]]
    reliability: list[Bin]


@dataclass(frozen=True)
class RaterComparison:
    """One rater on everything that has gold, and on each domain where there are several."""

    overall: RaterReport
    domains: dict[str, RaterReport]


def compare(
    gold: Sequence[GoldTrajectory], predictions: Predictions, *, resamples: int = 1000, seed: int = 0
) -> dict[str, RaterComparison]:
    """Every rater against gold. Trajectories without a gold step do not count.

    The 95 % intervals are percentiles over resampled groups (tasks), for neither the steps of a trajectory nor the
    trajectories of a task are independent. All raters share the resamples, and the same input and seed give the same
    report. Fewer than two groups, or `resamples=0`: no interval.

    Raises ValueError for arrays that do not fit together and for rows that are no distribution.
    """
    if resamples < 0:
        raise ValueError(f"resamples is {resamples}; it must be 0 or more.")
    table = _tabulate(gold)
    sums = {rater: _sums(table, _checked(table, rater, given)) for rater, given in predictions.items()}
    overall = _reports(table, sums, [True] * len(gold), resamples, seed)
    parts = sorted({one.domain for one in table.gold if one.has_gold.any()})
    domains = {
        domain: _reports(table, sums, [one.domain == domain for one in gold], resamples, seed)
        for domain in (parts if len(parts) > 1 else ())
    }
    return {
        rater: RaterComparison(overall[rater], {d: reports[rater] for d, reports in domains.items()}) for rater in sums
    }


def verdicts(probs: FloatArray) -> IntArray:
    """(n, 3) -> (n,): the position of the likeliest value in VALUES, or 3 for an abstention. Of equals, the lower."""
    likeliest = np.nan_to_num(probs).argmax(axis=1)
    return np.where(np.isnan(probs[:, 0]), _ABSTAINED, likeliest)


def calibration_bins(probs: FloatArray, codes: IntArray) -> FloatArray:
    """(3, N_BINS): steps, summed top probability and steps that were right, for each bin; abstentions left out.

    `codes` (n,): the positions of the gold values in VALUES.
    """
    said = verdicts(probs)
    answered = said != _ABSTAINED
    flat = _bin_columns(probs[answered], said[answered] == codes[answered], np.zeros(answered.sum(), np.int64), 1)
    return flat.reshape(3, N_BINS)


def expected_calibration_error(bins: FloatArray) -> FloatArray:
    """(..., 3, N_BINS) -> (...): the mean distance of top probability and accuracy, weighted by the bins' steps."""
    n, confidence, right = np.moveaxis(bins, -2, 0)
    return ratio(np.abs(confidence - right).sum(axis=-1), n.sum(axis=-1))


def reliability(bins: FloatArray) -> list[Bin]:
    """(3, N_BINS) as the points of a reliability diagram."""
    edges = np.linspace(0, 1, N_BINS + 1)
    confidence, accuracy = ratio(bins[1], bins[0]), ratio(bins[2], bins[0])
    return [
        Bin(float(edges[i]), float(edges[i + 1]), round(bins[0, i]), defined(confidence[i]), defined(accuracy[i]))
        for i in range(N_BINS)
    ]


@dataclass(frozen=True)
class _Table:
    gold: Sequence[GoldTrajectory]
    code: IntArray  # (steps,): position in VALUES, or _NO_GOLD
    trajectory: IntArray  # (steps,)
    step: IntArray  # (steps,): index within its trajectory
    first_error: IntArray  # (trajectories,): step index, or the number of steps where there is none
    is_first_error_known: BoolArray  # (trajectories,): every step before it has gold, too


def _tabulate(gold: Sequence[GoldTrajectory]) -> _Table:
    for number, one in enumerate(gold):
        if one.values.ndim != 1 or one.values.shape != one.has_gold.shape:
            raise ValueError(f"Trajectory {number} has {one.values.size} values and {one.has_gold.size} marks of gold.")
        if not np.isin(one.values[one.has_gold], VALUES).all():
            raise ValueError(f"The gold of trajectory {number} has a value other than -1, 0 and 1.")
    lengths = np.array([one.values.size for one in gold], dtype=np.int64)
    trajectory = np.repeat(np.arange(len(gold)), lengths)
    step = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    empty = np.zeros(0, np.int64)
    values = np.concatenate([empty, *(one.values for one in gold)])
    has_gold = np.concatenate([empty.astype(np.bool_), *(one.has_gold for one in gold)])
    code = np.where(has_gold, values - VALUES[0], _NO_GOLD)
    first_error = _first(code == 0, trajectory, step, lengths)
    known = first_error <= _first(~has_gold, trajectory, step, lengths)
    return _Table(gold, code, trajectory, step, first_error, known)


def _first(marked: BoolArray, trajectory: IntArray, step: IntArray, lengths: IntArray) -> IntArray:
    """(trajectories,): index of the first marked step, or the number of steps where none is."""
    first = lengths.copy()
    np.minimum.at(first, trajectory[marked], step[marked])
    return first


def _checked(table: _Table, rater: str, given: Sequence[FloatArray | None]) -> FloatArray:
    """(steps, 3): the rows of all trajectories together."""
    if len(given) != len(table.gold):
        raise ValueError(f"{rater} has predictions for {len(given)} trajectories, but there are {len(table.gold)}.")
    rows = [np.zeros((0, _K))]
    for number, (one, probs) in enumerate(zip(table.gold, given, strict=True)):
        wanted = (one.values.size, _K)
        if probs is not None and probs.shape != wanted:
            raise ValueError(f"{rater}, trajectory {number}: predictions of shape {probs.shape}, not {wanted}.")
        rows.append(np.full(wanted, np.nan) if probs is None else probs)
    flat = np.concatenate(rows).astype(np.float64)
    abstained = np.isnan(flat).all(axis=1)
    wrong = ~abstained & ~((flat >= 0).all(axis=1) & (np.abs(flat.sum(axis=1) - 1) < 1e-6))
    if wrong.any():
        at = int(wrong.argmax())
        where = f"trajectory {table.trajectory[at]}, step {table.step[at]}"
        raise ValueError(f"{rater}, {where}: {flat[at].tolist()} is no distribution over -1, 0 and 1.")
    return flat


def _sums(table: _Table, probs: FloatArray) -> FloatArray:
    """(trajectories, _N_SUMS): one row per trajectory, as `_statistics` reads it."""
    n, said = len(table.gold), verdicts(probs)
    has_gold = table.code != _NO_GOLD
    cells = (table.trajectory * _K + table.code) * (_K + 1) + said
    confusion = np.bincount(cells[has_gold], minlength=n * _K * (_K + 1)).reshape(n, _K * (_K + 1))
    both = has_gold & (said != _ABSTAINED)
    code, where = table.code[both], table.trajectory[both]
    bins = _bin_columns(probs[both], said[both] == code, where, n)
    distance = ((probs[both] - np.eye(_K)[code]) ** 2).sum(axis=1)
    brier = np.bincount(where, weights=distance, minlength=n)
    return np.column_stack([confusion, bins, brier, _first_error_columns(table, said)])


def _bin_columns(probs: FloatArray, is_right: BoolArray, where: IntArray, n: int) -> FloatArray:
    """(n, 3 * N_BINS): in each of n places, the rows of each bin, their top probabilities and how many were right."""
    top = probs.max(axis=1, initial=0)
    cell = where * N_BINS + np.clip(np.ceil(top * N_BINS).astype(np.int64) - 1, 0, N_BINS - 1)
    weights = (np.ones_like(top), top, is_right.astype(np.float64))
    return np.hstack([np.bincount(cell, weights=w, minlength=n * N_BINS).reshape(n, N_BINS) for w in weights])


def _first_error_columns(table: _Table, said: IntArray) -> FloatArray:
    """(trajectories, 6): with an error and without: how many, named rightly, and named without a gap before.

    A first error that is named after an abstention, and no error at all beside one, is a guess about what was not said.
    """
    lengths = np.array([one.values.size for one in table.gold], dtype=np.int64)
    named = _first(said == 0, table.trajectory, table.step, lengths)
    is_said = named <= _first(said == _ABSTAINED, table.trajectory, table.step, lengths)
    counts = table.is_first_error_known & (lengths > 0)
    right = counts & (named == table.first_error)
    has_error = table.first_error < lengths
    columns = [counts, right, right & is_said]
    return np.column_stack([part & column for part in (has_error, ~has_error) for column in columns]).astype(np.float64)


def _reports(
    table: _Table, sums: Mapping[str, FloatArray], chosen: Sequence[bool], resamples: int, seed: int
) -> dict[str, RaterReport]:
    """The raters on the chosen trajectories, all with the same resamples."""
    rows = [i for i, one in enumerate(table.gold) if chosen[i] and one.has_gold.any()]
    names = {group: number for number, group in enumerate(dict.fromkeys(table.gold[row].group for row in rows))}
    number = np.array([names[table.gold[row].group] for row in rows], dtype=np.int64)
    grouped = np.zeros((len(names), len(sums), _N_SUMS))
    for j, of_rater in enumerate(sums.values()):
        np.add.at(grouped[:, j], number, of_rater[rows])
    flat = grouped.reshape(len(names), len(sums) * _N_SUMS)
    drawn = resampled(flat, resamples if len(names) >= 2 else 0, seed)
    drawn = drawn.reshape(len(drawn), len(sums), _N_SUMS)
    return {rater: _report(grouped[:, j], drawn[:, j], len(rows)) for j, rater in enumerate(sums)}


def resampled(sums: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Totals (resamples, columns) of groups drawn with replacement."""
    n, generator = len(sums), np.random.default_rng(seed)
    totals = np.empty((resamples, sums.shape[1]))
    chunk = max(1, _CELLS_PER_CHUNK // max(n, 1))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        cells = generator.integers(n, size=(size, n)) + np.arange(size)[:, None] * n
        weights = np.bincount(cells.ravel(), minlength=size * n).reshape(size, n)
        totals[start : start + size] = weights.astype(np.float64) @ sums
    return totals


def _statistics(totals: FloatArray) -> dict[str, FloatArray]:
    """Every figure of summed rows (..., _N_SUMS): (...), or (..., 3) for one figure per value; NaN where undefined."""
    ends = np.cumsum(list(_WIDTHS.values()))[:-1]
    flat, bins, brier, first_errors = np.split(totals, ends, axis=-1)
    confusion = flat.reshape(*totals.shape[:-1], _K, _K + 1)
    said, right = confusion[..., :_K], np.diagonal(confusion, axis1=-2, axis2=-1)
    n_gold, n_said = confusion.sum(axis=-1), said.sum(axis=-2)
    n_steps, n_answered = n_gold.sum(axis=-1), n_said.sum(axis=-1)
    with_error, right_error, said_error, without, right_none, said_none = np.moveaxis(first_errors, -1, 0)
    f1 = ratio(2 * right, n_gold + n_said)
    return {
        "step_acc": ratio(right.sum(axis=-1), n_steps),
        "step_acc_answered": ratio(right.sum(axis=-1), n_answered),
        "first_err_acc": ratio(right_error + right_none, with_error + without),
        "first_err_acc_strict": ratio(said_error + said_none, with_error + without),
        "coverage": ratio(n_answered, n_steps),
        "macro_f1": ratio(np.nan_to_num(f1).sum(axis=-1), (~np.isnan(f1)).sum(axis=-1)),
        "ece": expected_calibration_error(bins.reshape(*totals.shape[:-1], 3, N_BINS)),
        "brier": ratio(brier[..., 0], n_answered),
        "processbench_f1": _harmonic_mean(ratio(said_error, with_error), ratio(said_none, without)),
        "prm_score": _prm_score(said),
        "recall": ratio(right, n_gold),
        "precision": ratio(right, n_said),
    }


def _harmonic_mean(a: FloatArray, b: FloatArray) -> FloatArray:
    """NaN where one is NaN, 0 where both are 0."""
    return np.asarray(np.where((a == 0) & (b == 0), 0.0, ratio(2 * a * b, a + b)))


def _prm_score(said: FloatArray) -> FloatArray:
    """(..., 3, 3) of the answered steps -> (...): the mean of the F1 of the steps without and with an error."""
    both_good = said[..., 1:, 1:].sum(axis=(-2, -1))
    differ = said[..., 1:, 0].sum(axis=-1) + said[..., 0, 1:].sum(axis=-1)
    both_bad = said[..., 0, 0]
    return np.asarray((ratio(2 * both_good, 2 * both_good + differ) + ratio(2 * both_bad, 2 * both_bad + differ)) / 2)


_STEPS, _ANSWERED, _RUNS = "steps with gold", "answered steps with gold", "trajectories whose first error is known"
_BASIS = {
    "step_acc": (_STEPS, "No step has gold yet; it takes labels that were settled."),
    "step_acc_answered": (_ANSWERED, "The rater answered no step that has gold."),
    "first_err_acc": (_RUNS, "No trajectory has gold up to its first error; it takes one whose steps are all settled."),
    "coverage": (_STEPS, "No step has gold yet; it takes labels that were settled."),
    "macro_f1": (_STEPS, "No step has gold yet; it takes labels that were settled."),
    "ece": (_ANSWERED, "The rater answered no step that has gold."),
    "brier": (_ANSWERED, "The rater answered no step that has gold."),
    "processbench_f1": (_RUNS, "It takes trajectories with an error and trajectories without one."),
    "prm_score": (_ANSWERED, "It takes answered steps of which some are -1 and some are not, in gold or by the rater."),
}
_BASIS["first_err_acc_strict"] = _BASIS["first_err_acc"]
_SHARES = {"step_acc", "step_acc_answered", "first_err_acc", "first_err_acc_strict", "coverage"}


def _report(sums: FloatArray, drawn: FloatArray, n_trajectories: int) -> RaterReport:
    """One rater, of its sums by group (groups, _N_SUMS) and their resampled totals (resamples, _N_SUMS)."""
    totals = sums.sum(axis=0)
    first_errors = sums[:, -_WIDTHS["first_errors"] :]
    by_group = sums[:, : _WIDTHS["confusion"]].reshape(-1, _K, _K + 1)
    basis = {
        _STEPS: by_group.sum(axis=(1, 2)),
        _ANSWERED: by_group[:, :, :_K].sum(axis=(1, 2)),
        _RUNS: first_errors[:, 0] + first_errors[:, 3],
    }
    point, spread = _statistics(totals), _statistics(drawn)
    figures = {
        name: _figure(point[name], spread[name], basis[unit], unit, why, is_share=name in _SHARES)
        for name, (unit, why) in _BASIS.items()
    }
    recall, precision = [], []
    for k, value in enumerate(VALUES):
        signed = f"{value:+d}" if value else "0"
        unit, why = f"steps with the gold {signed}", f"No step has the gold {signed}."
        of_gold, of_said = by_group[:, k].sum(axis=1), by_group[:, :, k].sum(axis=1)
        recall.append(_figure(point["recall"][k], spread["recall"][:, k], of_gold, unit, why))
        unit, why = f"steps that the rater called {signed}", f"The rater called no step with gold {signed}."
        precision.append(_figure(point["precision"][k], spread["precision"][:, k], of_said, unit, why))
    start = _WIDTHS["confusion"]
    return RaterReport(
        n_trajectories=n_trajectories,
        n_steps=round(basis[_STEPS].sum()),
        n_groups=len(sums),
        **figures,
        recall=recall,
        precision=precision,
        confusion=by_group.sum(axis=0).round().astype(np.int64).tolist(),
        reliability=reliability(totals[start : start + _WIDTHS["bins"]].reshape(3, N_BINS)),
    )


def _figure(
    value: FloatArray, drawn: FloatArray, by_group: FloatArray, unit: str, why: str, *, is_share: bool = True
) -> Figure:
    """With the interval of the resamples in which the figure is defined, where two groups have part in it."""
    n, point = round(by_group.sum()), defined(value)
    if point is None:
        return Figure(None, None, None, n, unit, why)
    low, high = of_resamples(point, drawn, int(np.count_nonzero(by_group)), is_share=is_share)
    return Figure(point, low, high, n, unit, "")
