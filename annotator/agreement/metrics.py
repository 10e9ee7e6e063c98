"""How far people agree on the steps they judged in common: shares, chance-corrected coefficients, intervals.

Pure: values in, numbers out. A figure that the data cannot give is None with a reason, never NaN or a polite 1.0.

Every statistic is a function of sums over trajectories. One trajectory's sums are a row of a matrix, so a resample of
trajectories is a row of weights, and all resamples together are one matrix product.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

VALUES = (-1, 0, 1)

_NOT_IN_FULL, _NO_ERROR = -2, -1  # in place of the index of a first error
_CELLS_PER_CHUNK = 2_000_000  # of resamples x trajectories at a time: about 50 MB in three arrays
_K = len(VALUES)
_SQUARE = _K * _K
_MORE_THAN_TWO = (
    "Cohen's kappa compares exactly two people and {} judged steps in common; "
    "read it for each pair, or Fleiss' kappa for all of them."
)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int8]
Id = TypeVar("Id", bound=Hashable)  # Mapping is invariant in its key: a dict[int, int] is no Mapping[Hashable, int]


@dataclass(frozen=True)
class Judgement:
    """What one rater submitted on one trajectory: step index -> -1, 0 or +1, only for the steps judged."""

    rater: Hashable
    trajectory: Hashable
    values: Mapping[int, int]


@dataclass(frozen=True)
class Figure:
    """One statistic. `low` and `high` bound the 95 % interval; `reason` says why `value` is None, else it is empty."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    reason: str


@dataclass(frozen=True)
class PairReport:
    """Two raters on the steps both judged. `confusion[i][j]`: the first said VALUES[i], the second VALUES[j]."""

    raters: tuple[Hashable, Hashable]
    n_trajectories: int
    n_steps: int
    raw_agreement: Figure
    cohen_kappa: Figure
    krippendorff_alpha_nominal: Figure
    krippendorff_alpha_ordinal: Figure
    first_error_agreement: Figure
    confusion: list[list[int]]


@dataclass(frozen=True)
class AgreementReport:
    """All raters together, on the steps judged by two or more; the three counts leave out who and what has none.

    `confusion` is that of the pair for two raters; for more it counts each ordered pair of raters: it is symmetric.
    """

    n_raters: int
    n_trajectories: int
    n_steps: int
    raw_agreement: Figure
    cohen_kappa: Figure
    fleiss_kappa: Figure
    krippendorff_alpha_nominal: Figure
    krippendorff_alpha_ordinal: Figure
    first_error_agreement: Figure
    confusion: list[list[int]]
    pairs: list[PairReport]


def agreement_report(
    judgements: Sequence[Judgement],
    *,
    n_steps_of: Mapping[Id, int] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> AgreementReport:
    """The agreement of all raters and of each pair that shares a step; the same input and seed give the same report.

    `n_steps_of` (trajectory -> length in steps) decides who judged a trajectory in full, which first-error agreement
    needs; a trajectory missing there is taken to be as long as the union of its judged steps.

    Intervals are percentiles over resampled trajectories, for the steps of one are not independent (the cluster
    bootstrap: Davison and Hinkley 1997, Bootstrap Methods and their Application, sections 3.8 and 5.3). Resamples in
    which the figure is undefined are left out. Fewer than two trajectories, or `resamples=0`: no interval.

    Raises ValueError for a value outside -1, 0, +1, a step outside its trajectory, or a step one rater judged twice.
    """
    if resamples < 0:
        raise ValueError(f"resamples is {resamples}; it must be 0 or more.")
    table = _tabulate(judgements, dict(n_steps_of.items()) if n_steps_of else {})
    pairs = _pairs_in_common(table)
    common = table.of(sorted({rater for pair in pairs for rater in pair}))
    sums = _sums(common)
    return AgreementReport(
        n_raters=len(common.raters),
        n_trajectories=len(sums),
        n_steps=len(common.codes),
        confusion=_square(sums, 0).astype(np.int64).tolist(),
        pairs=[_pair_report(table.of(pair), resamples, seed) for pair in pairs],
        **_figures(sums, len(common.raters), resamples, seed),
    )


def raw_agreement(counts: npt.ArrayLike) -> float | None:
    """Share of agreeing pairs among all pairs of judgements of the same step; None where no step has two.

    `counts` (steps, categories): how many raters gave the step that category. Of two raters: the share of equal steps.
    """
    return _defined(_raw(_step_sums(counts)[0].sum(axis=0)))


def cohen_kappa(a: Sequence[int] | IntArray, b: Sequence[int] | IntArray) -> float | None:
    """Chance-corrected agreement of two raters, each with their own marginals (Cohen 1960, Educ. Psychol. Meas. 20).

    `a` and `b` (steps,): the values each gave to the same steps, in the same order. None without steps, or where both
    used one and the same value throughout (0/0). Raises ValueError for unequal lengths.
    """
    if len(a) != len(b):
        raise ValueError(f"The raters judged {len(a)} and {len(b)} steps; Cohen's kappa needs the same steps.")
    categories, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    confusion = np.zeros((len(categories), len(categories)))
    np.add.at(confusion, (codes[: len(a)], codes[len(a) :]), 1)
    return _defined(_cohen(confusion))


def fleiss_kappa(counts: npt.ArrayLike) -> float | None:
    """Chance-corrected agreement of many raters with pooled marginals (Fleiss 1971, Psychol. Bull. 76).

    `counts` (steps, categories): how many raters gave the step that category. The number n_i of raters may vary: a step
    with n_i >= 2 has the agreement p_i = (sum_k n_ik^2 - n_i) / (n_i (n_i - 1)), their mean counts each such step once,
    the marginals are shares of all judgements of the same steps, and other steps are left out. With constant n_i this
    is Fleiss' own value. None where no step has two judgements, or all are of one category (0/0).
    """
    _, paired, disagreement = _step_sums(counts)
    return _defined(_fleiss(disagreement.sum(axis=0), np.asarray(float(len(paired))), paired.sum(axis=(0, 2))))


def coincidences(counts: npt.ArrayLike) -> FloatArray:
    """Krippendorff's coincidence matrix (categories, categories) of `counts` (steps, categories).

    A step of m >= 2 judgements adds its ordered pairs times 1/(m - 1): they sum to the judgements that have a partner.
    """
    return np.asarray(_step_sums(counts)[1].sum(axis=0))


def krippendorff_alpha(coincidences: npt.ArrayLike, level: Literal["nominal", "ordinal"] = "nominal") -> float | None:
    """Krippendorff's alpha, 1 - observed / expected disagreement, from a coincidence matrix (categories, categories).

    "nominal": any two categories differ alike. "ordinal": categories are ranked as in the matrix, and two differ by the
    judgements between them, so the distances follow the marginals. None where nothing is paired or all is in one
    category (0/0). Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; 2018, Content Analysis, ch. 12.
    """
    if level not in ("nominal", "ordinal"):
        raise ValueError(f"level is {level!r}; it must be 'nominal' or 'ordinal'.")
    return _defined(_alpha(np.asarray(coincidences, dtype=np.float64), level))


def first_error(values: Sequence[int]) -> int | None:
    """Index of the first -1 among `values` in step order; None where there is none."""
    return next((index for index, value in enumerate(values) if value == -1), None)


# Batched formulas: `...` stands for nothing (the data) or for the resamples; NaN means undefined.


def _raw(confusion: FloatArray) -> FloatArray:
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def _cohen(confusion: FloatArray) -> FloatArray:
    """(..., K, K) -> (...). Written with disagreements, so that "all in one category" is an exact 0 below the line."""
    expected = _off_diagonal(confusion.sum(axis=-1)[..., :, None] * confusion.sum(axis=-2)[..., None, :])
    return 1 - _ratio(_off_diagonal(confusion) * confusion.sum(axis=(-2, -1)), expected)


def _fleiss(disagreement: FloatArray, n_steps: FloatArray, usage: FloatArray) -> FloatArray:
    """Summed 1 - p_i (...), steps (...), judgements per category (..., K) -> (...)."""
    expected = _ratio(_off_diagonal(usage[..., :, None] * usage[..., None, :]), usage.sum(axis=-1) ** 2)
    return 1 - _ratio(_ratio(disagreement, n_steps), expected)


def _alpha(paired: FloatArray, level: str) -> FloatArray:
    usage = paired.sum(axis=-1)
    # Krippendorff's ordinal distance, the sum of n_g from c to k less half of both ends, is that of their mean ranks.
    rank = np.cumsum(usage, axis=-1) - usage / 2
    squared = (rank[..., :, None] - rank[..., None, :]) ** 2 if level == "ordinal" else np.ones_like(paired)
    expected = _off_diagonal(usage[..., :, None] * usage[..., None, :] * squared)
    return 1 - _ratio(_off_diagonal(paired * squared) * (usage.sum(axis=-1) - 1), expected)


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """above / below, NaN (and no warning) where below is 0."""
    return np.asarray(np.divide(above, below, out=np.full(np.shape(below), np.nan), where=np.asarray(below) > 0))


def _off_diagonal(matrix: FloatArray) -> FloatArray:
    """(..., K, K) -> (...): the sum beside the diagonal, without taking a difference of large numbers."""
    return np.asarray((matrix * (1 - np.eye(matrix.shape[-1]))).sum(axis=(-2, -1)))


def _defined(value: FloatArray) -> float | None:
    return None if np.isnan(value) else float(value)


def _step_sums(counts: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(steps, K) -> ordered pairs and coincidences (steps', K, K), 1 - p_i (steps',), of steps with two judgements."""
    n = np.atleast_2d(np.asarray(counts, dtype=np.float64))
    n = n[n.sum(axis=1) >= 2]
    m = n.sum(axis=1)
    pairs = n[:, :, None] * n[:, None, :] - n[:, :, None] * np.eye(n.shape[1])
    return pairs, pairs / (m - 1)[:, None, None], _off_diagonal(pairs) / (m * (m - 1))


@dataclass(frozen=True)
class _Table:
    raters: tuple[Hashable, ...]
    codes: CodeArray  # (steps, raters): position in VALUES, or -1 for not judged
    trajectory: IntArray  # (steps,): number of the trajectory, ascending
    first_errors: IntArray  # (trajectories, raters)

    def of(self, columns: Sequence[int]) -> "_Table":
        """Only these raters, and only the steps that two of them judged."""
        chosen = np.asarray(columns, dtype=np.int64)
        codes = self.codes[:, chosen]
        shared = (codes >= 0).sum(axis=1) >= 2
        kept, trajectory = np.unique(self.trajectory[shared], return_inverse=True)
        raters = tuple(self.raters[i] for i in columns)
        return _Table(raters, codes[shared], trajectory, self.first_errors[kept][:, chosen])


def _tabulate(judgements: Sequence[Judgement], n_steps_of: Mapping[Hashable, int]) -> _Table:
    raters = sorted({judgement.rater for judgement in judgements}, key=_sort_key)
    trajectories = sorted({judgement.trajectory for judgement in judgements if judgement.values}, key=_sort_key)
    rater_number = {rater: number for number, rater in enumerate(raters)}
    trajectory_number = {trajectory: number for number, trajectory in enumerate(trajectories)}
    rows = []
    for judgement in judgements:
        rater, name, end = judgement.rater, judgement.trajectory, n_steps_of.get(judgement.trajectory, np.inf)
        for step, value in judgement.values.items():
            if value not in VALUES:
                raise ValueError(f"{value!r} by {rater!r} on step {step} of {name!r}: a value is -1, 0 or 1.")
            if not 0 <= step < end:
                raise ValueError(f"Step {step} judged by {rater!r}: trajectory {name!r} has no such step.")
            rows.append((trajectory_number[name], step, rater_number[rater], VALUES.index(value)))
    trajectory, step_index, column, code = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    width = int(step_index.max(initial=0)) + 1
    units, unit = np.unique(trajectory * width + step_index, return_inverse=True)
    codes = np.full((len(units), len(raters)), -1, dtype=np.int8)
    codes[unit, column] = code
    if np.count_nonzero(codes >= 0) < len(rows):
        raise ValueError("A rater judged the same step of a trajectory twice; pass only one value for it.")
    trajectory, step_index = np.divmod(units, width)
    n_judged = np.bincount(trajectory, minlength=len(trajectories))
    n_steps = np.array([n_steps_of.get(name, n) for name, n in zip(trajectories, n_judged, strict=True)], np.int64)
    return _Table(tuple(raters), codes, trajectory, _first_errors(codes, trajectory, step_index, n_steps))


def _sort_key(identity: Hashable) -> tuple[float, str]:
    """Numbers by size, then everything else by its text: ids of any kind have one order."""
    return (identity, "") if isinstance(identity, int | float) else (np.inf, str(identity))


def _first_errors(codes: CodeArray, trajectory: IntArray, step_index: IntArray, n_steps: IntArray) -> IntArray:
    """(trajectories, raters): step index of the first -1, _NO_ERROR, or _NOT_IN_FULL."""
    beyond = np.iinfo(np.int64).max
    errors = np.where(codes == VALUES.index(-1), step_index[:, None], beyond)
    first = np.minimum.reduceat(errors, _starts(trajectory), axis=0)
    n_judged = np.add.reduceat(codes >= 0, _starts(trajectory), axis=0, dtype=np.int64)
    return np.where(n_judged < n_steps[:, None], _NOT_IN_FULL, np.where(first == beyond, _NO_ERROR, first))


def _starts(trajectory: IntArray) -> IntArray:
    return np.flatnonzero(np.diff(trajectory, prepend=-1))


def _pairs_in_common(table: _Table) -> list[tuple[int, int]]:
    judged = (table.codes >= 0).astype(np.float64)
    n_shared = judged.T @ judged
    return [(i, j) for i, j in combinations(range(len(table.raters)), 2) if n_shared[i, j] > 0]


def _sums(table: _Table) -> FloatArray:
    """One row per trajectory: confusion (K x K), coincidences (K x K), Fleiss' disagreement, steps, pairs of raters
    with the same first error, pairs of raters who both judged in full: (trajectories, 2 K^2 + 4)."""
    codes = table.codes.astype(np.int64)
    counts = np.stack([(codes == code).sum(axis=1) for code in range(_K)], axis=1)
    pairs, paired, disagreement = _step_sums(counts)
    if len(table.raters) == 2:
        pairs = np.eye(_SQUARE)[codes[:, 0] * _K + codes[:, 1]]
    flat = [pairs.reshape(-1, _SQUARE), paired.reshape(-1, _SQUARE), disagreement, np.ones(len(codes))]
    per_trajectory = np.add.reduceat(np.column_stack(flat), _starts(table.trajectory), axis=0)
    return np.column_stack([per_trajectory, _first_error_pairs(table.first_errors)])


def _first_error_pairs(first_errors: IntArray) -> FloatArray:
    """(trajectories, raters) -> (trajectories, 2): pairs that name the same first error, and all pairs in full."""
    in_full = first_errors != _NOT_IN_FULL
    named = np.column_stack([np.nonzero(in_full)[0], first_errors[in_full]])
    groups, size = np.unique(named, axis=0, return_counts=True)
    equal = np.bincount(groups[:, 0], weights=size * (size - 1) / 2, minlength=len(first_errors))
    n_full = in_full.sum(axis=1)
    return np.column_stack([equal, n_full * (n_full - 1) / 2])


def _square(sums: FloatArray, position: int) -> FloatArray:
    """The confusion (position 0) or the coincidences (1) of all trajectories together, (K, K)."""
    return np.asarray(sums[:, position * _SQUARE : (position + 1) * _SQUARE].sum(axis=0).reshape(_K, _K))


def _statistics(totals: FloatArray) -> dict[str, FloatArray]:
    """Every statistic, by its name, of summed rows (..., 2 K^2 + 4)."""
    confusion, paired = np.moveaxis(totals[..., : 2 * _SQUARE].reshape(*totals.shape[:-1], 2, _K, _K), -3, 0)
    disagreement, n_steps, equal, in_full = np.moveaxis(totals[..., 2 * _SQUARE :], -1, 0)
    return {
        "raw_agreement": _raw(confusion),
        "cohen_kappa": _cohen(confusion),
        # A row of coincidences sums to the judgements in that category: these are Fleiss' marginals, too.
        "fleiss_kappa": _fleiss(disagreement, n_steps, paired.sum(axis=-1)),
        "krippendorff_alpha_nominal": _alpha(paired, "nominal"),
        "krippendorff_alpha_ordinal": _alpha(paired, "ordinal"),
        "first_error_agreement": _ratio(equal, in_full),
    }


def _resampled(sums: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Totals (resamples, columns) of trajectories drawn with replacement. Counting draws beats NumPy's multinomial."""
    n, generator = len(sums), np.random.default_rng(seed)
    totals = np.empty((resamples, sums.shape[1]))
    chunk = max(1, _CELLS_PER_CHUNK // n)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        cells = generator.integers(n, size=(size, n)) + np.arange(size)[:, None] * n
        weights = np.bincount(cells.ravel(), minlength=size * n).reshape(size, n)
        totals[start : start + size] = weights.astype(np.float64) @ sums
    return totals


def _figures(sums: FloatArray, n_raters: int, resamples: int, seed: int) -> dict[str, Figure]:
    both = n_raters == 2
    steps = "steps judged by both" if both else "steps judged by two or more"
    full = "trajectories judged in full by both" if both else "pairs of people per trajectory, both in full"
    drawn = _statistics(_resampled(sums, resamples, seed)) if len(sums) >= 2 else {}
    figures = {}
    for name, statistic in _statistics(sums.sum(axis=0)).items():
        unit, per_trajectory = (full, sums[:, -1]) if name == "first_error_agreement" else (steps, sums[:, -3])
        value, low, high, reason = _defined(statistic), None, None, ""
        if name == "cohen_kappa" and n_raters > 2:
            value, reason = None, _MORE_THAN_TWO.format(n_raters)
        elif value is None:
            reason = _why_undefined(name, sums)
        elif np.count_nonzero(per_trajectory) >= 2 and not np.isnan(drawn[name]).all():
            low, high = (float(bound) for bound in np.nanquantile(drawn[name], [0.025, 0.975]))
        figures[name] = Figure(value, low, high, int(per_trajectory.sum()), unit, reason)
    return figures


def _why_undefined(name: str, sums: FloatArray) -> str:
    if not len(sums):
        return "No step was judged by two people yet; it takes a second person's labels for a step that has labels."
    if name == "first_error_agreement":
        return "No trajectory was judged in full by two people yet; it takes two who label each of its steps."
    value = VALUES[int(_square(sums, 1).sum(axis=1).argmax())]
    return (
        f"All judgements compared have the value {value:+d}, so chance alone would give the same agreement (0/0); "
        "it takes a step on which somebody gives another value."
    )


def _pair_report(table: _Table, resamples: int, seed: int) -> PairReport:
    sums = _sums(table)
    figures = _figures(sums, 2, resamples, seed)
    del figures["fleiss_kappa"]  # for many raters
    return PairReport(
        raters=(table.raters[0], table.raters[1]),
        n_trajectories=len(sums),
        n_steps=len(table.codes),
        confusion=_square(sums, 0).astype(np.int64).tolist(),
        **figures,
    )
