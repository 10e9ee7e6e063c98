"""How far people agree on the steps they judged in common: reports of all, of pairs and of parts, with intervals.

Pure: values in, numbers out. A figure that the data cannot give is None with a reason, never NaN or a polite 1.0.

Every statistic is a function of sums over trajectories. One trajectory's sums are a row of a matrix, so a resample of
trajectories is a row of weights, and all resamples together are one matrix product.
"""

from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from annotator.agreement.coefficients import (
    FloatArray,
    IntArray,
    ac1_of,
    alpha_of,
    cohen_of,
    defined,
    fleiss_of,
    ratio,
    raw_of,
    specific_of,
    step_sums,
)

VALUES = (-1, 0, 1)

_NOT_IN_FULL, _NO_ERROR = -2, -1  # in place of the index of a first error
_CELLS_PER_CHUNK = 2_000_000  # of resamples x trajectories at a time: about 50 MB in three arrays
_K = len(VALUES)
_SQUARE = _K * _K
_SPECIFIC = tuple(f"specific_agreement {value}" for value in VALUES)
_OF_STEPS = (
    "raw_agreement",
    "cohen_kappa",
    "fleiss_kappa",
    "gwet_ac1",
    "krippendorff_alpha_nominal",
    "krippendorff_alpha_ordinal",
)
_MORE_THAN_TWO = (
    "Cohen's kappa compares exactly two people and {} judged steps in common; "
    "read it for each pair, or Fleiss' kappa for all of them."
)

CodeArray = npt.NDArray[np.int8]
Id = TypeVar("Id", bound=Hashable)  # Mapping is invariant in its key: a dict[int, int] is no Mapping[Hashable, int]


@dataclass(frozen=True)
class Judgement:
    """What one rater submitted on one trajectory: step index -> -1, 0 or +1, only for the steps judged.

    `roots`: steps at which the rater marked an error of its own, as against one that follows from an earlier step.
    """

    rater: Hashable
    trajectory: Hashable
    values: Mapping[int, int]
    roots: Set[int] = frozenset()


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
class StepReport:
    """All raters together, on steps judged by two or more; the three counts leave out who and what has none."""

    n_raters: int
    n_trajectories: int
    n_steps: int
    raw_agreement: Figure
    cohen_kappa: Figure
    fleiss_kappa: Figure
    gwet_ac1: Figure
    krippendorff_alpha_nominal: Figure
    krippendorff_alpha_ordinal: Figure


@dataclass(frozen=True)
class GroupReport(StepReport):
    """The same of all common steps, with what only whole trajectories and single values can tell.

    `specific_agreement[k]`: of the judgements with VALUES[k] that met another one, the share that met the same value.
    `confusion` is that of the pair for two raters; for more it counts each ordered pair of raters: it is symmetric.
    """

    first_error_agreement: Figure
    first_error_within_one: Figure
    specific_agreement: list[Figure]
    confusion: list[list[int]]


@dataclass(frozen=True)
class PairReport:
    """Two raters on the steps both judged. `confusion[i][j]`: the first said VALUES[i], the second VALUES[j]."""

    raters: tuple[Hashable, Hashable]
    n_trajectories: int
    n_steps: int
    raw_agreement: Figure
    cohen_kappa: Figure
    gwet_ac1: Figure
    krippendorff_alpha_nominal: Figure
    krippendorff_alpha_ordinal: Figure
    first_error_agreement: Figure
    first_error_within_one: Figure
    specific_agreement: list[Figure]
    confusion: list[list[int]]


@dataclass(frozen=True)
class AgreementReport(GroupReport):
    """Everything at once. `decision_points`: only the steps at which somebody decided anew.

    Those are the steps where at least one of the raters has no equal value on the step before (the first step, a
    change, a step before which they judged nothing) or has marked an error of its own.
    """

    decision_points: StepReport
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
    table = _checked(judgements, n_steps_of, resamples)
    pairs = _pairs_in_common(table)
    common = table.of(sorted({rater for pair in pairs for rater in pair}))
    return AgreementReport(
        **vars(_group_report(common, resamples, seed)),
        decision_points=_step_report(common.at_decisions(), resamples, seed),
        pairs=[_pair_report(table.of(pair), resamples, seed) for pair in pairs],
    )


def group_report(
    judgements: Sequence[Judgement],
    *,
    n_steps_of: Mapping[Id, int] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> GroupReport:
    """The agreement of all raters on a part of the trajectories or labels; otherwise as `agreement_report`."""
    table = _checked(judgements, n_steps_of, resamples)
    common = table.of(sorted({rater for pair in _pairs_in_common(table) for rater in pair}))
    return _group_report(common, resamples, seed)


def _checked(judgements: Sequence[Judgement], n_steps_of: Mapping[Id, int] | None, resamples: int) -> "_Table":
    if resamples < 0:
        raise ValueError(f"resamples is {resamples}; it must be 0 or more.")
    return _tabulate(judgements, dict(n_steps_of.items()) if n_steps_of else {})


@dataclass(frozen=True)
class _Table:
    raters: tuple[Hashable, ...]
    codes: CodeArray  # (steps, raters): position in VALUES, or -1 for not judged
    decided: npt.NDArray[np.bool_]  # (steps, raters): judged, and not just carried on from the step before
    trajectory: IntArray  # (steps,): number of the trajectory, ascending
    first_errors: IntArray  # (trajectories, raters)

    def of(self, columns: Sequence[int]) -> "_Table":
        """Only these raters, and only the steps that two of them judged."""
        chosen = np.asarray(columns, dtype=np.int64)
        n_judged = (self.codes[:, chosen] >= 0).sum(axis=1)
        return self._part(chosen, np.asarray(n_judged >= 2))

    def at_decisions(self) -> "_Table":
        return self._part(np.arange(len(self.raters)), np.asarray(self.decided.any(axis=1)))

    def _part(self, columns: IntArray, steps: npt.NDArray[np.bool_]) -> "_Table":
        kept, trajectory = np.unique(self.trajectory[steps], return_inverse=True)
        return _Table(
            tuple(self.raters[i] for i in columns),
            self.codes[np.ix_(steps, columns)],
            self.decided[np.ix_(steps, columns)],
            trajectory,
            self.first_errors[np.ix_(kept, columns)],
        )


def _tabulate(judgements: Sequence[Judgement], n_steps_of: Mapping[Hashable, int]) -> _Table:
    raters = sorted({judgement.rater for judgement in judgements}, key=_sort_key)
    trajectories = sorted({judgement.trajectory for judgement in judgements if judgement.values}, key=_sort_key)
    rater_number = {rater: number for number, rater in enumerate(raters)}
    trajectory_number = {trajectory: number for number, trajectory in enumerate(trajectories)}
    rows, roots = [], []
    for judgement in judgements:
        rater, name, end = judgement.rater, judgement.trajectory, n_steps_of.get(judgement.trajectory, np.inf)
        for step, value in judgement.values.items():
            if value not in VALUES:
                raise ValueError(f"{value!r} by {rater!r} on step {step} of {name!r}: a value is -1, 0 or 1.")
            if not 0 <= step < end:
                raise ValueError(f"Step {step} judged by {rater!r}: trajectory {name!r} has no such step.")
            rows.append((trajectory_number[name], step, rater_number[rater], VALUES.index(value)))
            roots.append(step in judgement.roots)
    trajectory, step_index, column, code = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    width = int(step_index.max(initial=0)) + 1
    units, unit = np.unique(trajectory * width + step_index, return_inverse=True)
    codes = np.full((len(units), len(raters)), -1, dtype=np.int8)
    codes[unit, column] = code
    if np.count_nonzero(codes >= 0) < len(rows):
        raise ValueError("A rater judged the same step of a trajectory twice; pass only one value for it.")
    own_error = np.zeros(codes.shape, dtype=np.bool_)
    own_error[unit, column] = roots
    trajectory, step_index = np.divmod(units, width)
    n_judged = np.bincount(trajectory, minlength=len(trajectories))
    n_steps = np.array([n_steps_of.get(name, n) for name, n in zip(trajectories, n_judged, strict=True)], np.int64)
    follows = (np.diff(units, prepend=-2) == 1) & (step_index > 0)  # the row above is the step before
    carried = follows[:, None] & (codes == np.roll(codes, 1, axis=0)) & ~own_error
    return _Table(
        raters=tuple(raters),
        codes=codes,
        decided=(codes >= 0) & ~carried,
        trajectory=trajectory,
        first_errors=_first_errors(codes, trajectory, step_index, n_steps),
    )


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
    """One row per trajectory, as `_statistics` reads it: (trajectories, 2 K^2 + K + 5)."""
    codes = table.codes.astype(np.int64)
    counts = np.stack([(codes == code).sum(axis=1) for code in range(_K)], axis=1)
    pairs, paired, disagreement = step_sums(counts)
    if len(table.raters) == 2:
        pairs = np.eye(_SQUARE)[codes[:, 0] * _K + codes[:, 1]]
    shares = counts / counts.sum(axis=1, keepdims=True)
    flat = [pairs.reshape(-1, _SQUARE), paired.reshape(-1, _SQUARE), shares, disagreement, np.ones(len(codes))]
    per_trajectory = np.add.reduceat(np.column_stack(flat), _starts(table.trajectory), axis=0)
    return np.column_stack([per_trajectory, _first_error_pairs(table.first_errors)])


def _first_error_pairs(first_errors: IntArray) -> FloatArray:
    """(trajectories, raters) -> (trajectories, 3): pairs that name the same first error, pairs that name one at most a
    step apart (or both none), and all pairs in full."""
    in_full = first_errors != _NOT_IN_FULL
    named = np.column_stack([np.nonzero(in_full)[0], first_errors[in_full]])
    groups, size = np.unique(named, axis=0, return_counts=True)
    row, first = groups[:-1].T
    is_next = (np.diff(groups, axis=0) == [0, 1]).all(axis=1) & (first != _NO_ERROR)
    apart = np.bincount(row, weights=is_next * size[:-1] * size[1:], minlength=len(first_errors))
    equal = np.bincount(groups[:, 0], weights=size * (size - 1) / 2, minlength=len(first_errors))
    n_full = in_full.sum(axis=1)
    return np.column_stack([equal, equal + apart, n_full * (n_full - 1) / 2])


def _square(sums: FloatArray, position: int) -> FloatArray:
    """The confusion (position 0) or the coincidences (1) of all trajectories together, (K, K)."""
    return np.asarray(sums[:, position * _SQUARE : (position + 1) * _SQUARE].sum(axis=0).reshape(_K, _K))


def _statistics(totals: FloatArray) -> dict[str, FloatArray]:
    """Every statistic, by its name, of summed rows (..., 2 K^2 + K + 5)."""
    confusion, paired = np.moveaxis(totals[..., : 2 * _SQUARE].reshape(*totals.shape[:-1], 2, _K, _K), -3, 0)
    shares = totals[..., 2 * _SQUARE : 2 * _SQUARE + _K]
    disagreement, n_steps, equal, near, in_full = np.moveaxis(totals[..., -5:], -1, 0)
    return {
        "raw_agreement": raw_of(confusion),
        "cohen_kappa": cohen_of(confusion),
        # A row of coincidences sums to the judgements in that category: these are Fleiss' marginals, too.
        "fleiss_kappa": fleiss_of(disagreement, n_steps, paired.sum(axis=-1)),
        "gwet_ac1": ac1_of(disagreement, n_steps, shares),
        "krippendorff_alpha_nominal": alpha_of(paired, "nominal"),
        "krippendorff_alpha_ordinal": alpha_of(paired, "ordinal"),
        "first_error_agreement": ratio(equal, in_full),
        "first_error_within_one": ratio(near, in_full),
        **dict(zip(_SPECIFIC, np.moveaxis(specific_of(confusion), -1, 0), strict=True)),
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
    drawn = _statistics(_resampled(sums, resamples, seed)) if len(sums) >= 2 else {}
    figures = {}
    for name, statistic in _statistics(sums.sum(axis=0)).items():
        unit, per_trajectory = _basis(name, sums, n_raters)
        value, low, high, reason = defined(statistic), None, None, ""
        if name == "cohen_kappa" and n_raters > 2:
            value, reason = None, _MORE_THAN_TWO.format(n_raters)
        elif value is None:
            reason = _why_undefined(name, sums)
        elif np.count_nonzero(per_trajectory) >= 2 and not np.isnan(drawn[name]).all():
            low, high = (float(bound) for bound in np.nanquantile(drawn[name], [0.025, 0.975]))
        figures[name] = Figure(value, low, high, round(per_trajectory.sum()), unit, reason)
    return figures


def _basis(name: str, sums: FloatArray, n_raters: int) -> tuple[str, FloatArray]:
    """What a figure is computed over: its unit, and how many of them each trajectory has."""
    both = n_raters == 2
    if name in _SPECIFIC:
        k = _SPECIFIC.index(name)
        paired = sums[:, _SQUARE : 2 * _SQUARE].reshape(-1, _K, _K)
        return f"judgements with the value {_signed(VALUES[k])} that met another", paired[:, k].sum(axis=1)
    if name.startswith("first_error"):
        unit = "trajectories judged in full by both" if both else "pairs of people per trajectory, both in full"
        return unit, sums[:, -1]
    return "steps judged by both" if both else "steps judged by two or more", sums[:, -4]


def _why_undefined(name: str, sums: FloatArray) -> str:
    if not len(sums):
        return "No step was judged by two people yet; it takes a second person's labels for a step that has labels."
    if name in _SPECIFIC:
        missing = _signed(VALUES[_SPECIFIC.index(name)])
        return f"No step judged by two people has the value {missing} from anybody; it takes one that has."
    if name.startswith("first_error"):
        return "No trajectory was judged in full by two people yet; it takes two who label each of its steps."
    value = VALUES[int(_square(sums, 1).sum(axis=1).argmax())]
    return (
        f"All judgements compared have the value {_signed(value)}, so chance alone would give the same agreement "
        "(0/0); it takes a step on which somebody gives another value."
    )


def _signed(value: int) -> str:
    return f"{value:+d}" if value else "0"


def _step_report(table: _Table, resamples: int, seed: int) -> StepReport:
    sums = _sums(table)
    figures = _figures(sums, len(table.raters), resamples, seed)
    of_steps = {name: figure for name, figure in figures.items() if name in _OF_STEPS}
    return StepReport(n_raters=len(table.raters), n_trajectories=len(sums), n_steps=len(table.codes), **of_steps)


def _group_report(table: _Table, resamples: int, seed: int) -> GroupReport:
    sums = _sums(table)
    figures = _figures(sums, len(table.raters), resamples, seed)
    return GroupReport(
        n_raters=len(table.raters),
        n_trajectories=len(sums),
        n_steps=len(table.codes),
        specific_agreement=[figures.pop(name) for name in _SPECIFIC],
        confusion=_square(sums, 0).astype(np.int64).tolist(),
        **figures,
    )


def _pair_report(table: _Table, resamples: int, seed: int) -> PairReport:
    sums = _sums(table)
    figures = _figures(sums, 2, resamples, seed)
    del figures["fleiss_kappa"]  # for many raters
    return PairReport(
        raters=(table.raters[0], table.raters[1]),
        n_trajectories=len(sums),
        n_steps=len(table.codes),
        specific_agreement=[figures.pop(name) for name in _SPECIFIC],
        confusion=_square(sums, 0).astype(np.int64).tolist(),
        **figures,
    )
