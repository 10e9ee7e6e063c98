"""From labels to the sums that every agreement figure is a function of: how often which values met. Pure.

What people said is compared two by two: two labels of the same step, two first errors of the same trajectory. One
trajectory's counts are a row of a matrix, so a part of a project is some of the rows, and a resample of trajectories is
a weight for each row.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self

import numpy as np

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray

VALUES = (-1, 0, 1)

_K = len(VALUES)
_SQUARE = _K * _K
_N_ERROR_COLUMNS = 3
_NO_ERROR = -1  # in place of the index of a first error
EVERYBODY_ELSE = -1  # in place of a rater


@dataclass(frozen=True)
class Columns:
    """Arrays of one length: a table by its columns."""

    def where(self, chosen: BoolArray | IntArray) -> Self:
        """Some of the rows."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True)
class Labels(Columns):
    """Submitted step labels; raters and trajectories are ids.

    `n_in_full`: how many labels the rater's judgement has if it is of the whole trajectory: one per step or, of whoever
    stopped at the first error, up to there. `version`: of the guideline, 0 for none. `is_root`: marked as an error of
    its own, as against one that follows from an earlier step.
    """

    trajectory: IntArray
    step: IntArray
    rater: IntArray
    value: IntArray
    n_in_full: IntArray
    version: IntArray
    is_root: BoolArray


@dataclass(frozen=True)
class LabelPairs(Columns):
    """Two labels of one step each, `a` by the rater with the lower id.

    `cell`: the place of their values in the confusion. `n_labels`: how many labels the step has. `is_decided`: somebody
    decided anew there.
    """

    trajectory: IntArray
    a: IntArray
    b: IntArray
    cell: IntArray
    n_labels: IntArray
    is_decided: BoolArray

    def as_if_alone(self) -> "LabelPairs":
        """As if nobody else had labelled the steps."""
        return replace(self, n_labels=np.full_like(self.n_labels, 2))

    def of(self, rater: int) -> "LabelPairs":
        """The rater's labels against whoever else gave one: the rater first, the others as one person."""
        own = self.where((self.a == rater) | (self.b == rater))
        turned = own.cell % _K * _K + own.cell // _K
        others = np.full_like(own.a, EVERYBODY_ELSE)
        cell = np.where(own.a == rater, own.cell, turned)
        return replace(own, a=np.full_like(own.a, rater), b=others, cell=cell).as_if_alone()


@dataclass(frozen=True)
class ErrorPairs(Columns):
    """The first errors of two raters who judged a whole trajectory: the same step or both none; a step apart."""

    trajectory: IntArray
    a: IntArray
    b: IntArray
    is_same: BoolArray
    is_near: BoolArray


@dataclass(frozen=True)
class Compared:
    labels: Labels
    pairs: LabelPairs
    errors: ErrorPairs

    @cached_property
    def sums(self) -> "Sums":
        return sums_of(self.pairs, self.errors)


@dataclass(frozen=True)
class Sums(Columns):
    """One row per trajectory with a step in common. `counts` is to be added up, then taken apart by `Totals`."""

    trajectory: IntArray
    counts: FloatArray
    is_by: BoolArray  # (trajectories, raters): who judged a step in common

    @property
    def n_raters(self) -> int:
        return int(self.is_by.any(axis=0).sum())


class Totals:
    """Counts (..., columns), added up, taken apart.

    A pair of labels counts in `confusion` once, in `coincidences` in both orders, so that each label has the weight 1
    there, and in `by_step` so that each step has the weight 1/2.
    """

    def __init__(self, counts: FloatArray) -> None:
        *sizes, n_columns = counts.shape
        n_squares = n_columns // _SQUARE
        squares = counts[..., : n_squares * _SQUARE].reshape(*sizes, n_squares, _K, _K)
        self.confusion = squares[..., 0, :, :]
        if n_squares == 1:  # every step has two labels
            paired, self.by_step = self.confusion, self.confusion / 2
        else:
            paired, self.by_step = squares[..., 1, :, :], squares[..., 2, :, :]
        self.coincidences = paired + np.swapaxes(paired, -1, -2)
        self.same_error, self.near_error, self.in_full = np.moveaxis(counts[..., -_N_ERROR_COLUMNS:], -1, 0)
        self.n_steps = 2 * self.by_step.sum(axis=(-2, -1))


def compare(labels: Labels) -> Compared:
    """Sets what different raters said side by side.

    Raises ValueError for a value outside -1, 0, +1, or a step that one rater judged twice.
    """
    labels = labels.where(np.lexsort((labels.rater, labels.step, labels.trajectory)))
    _check(labels)
    step = _numbered(labels.trajectory, labels.step)
    first, second = _two_by_two(step)
    code = labels.value + 1  # the place in VALUES
    pairs = LabelPairs(
        trajectory=labels.trajectory[first],
        a=labels.rater[first],
        b=labels.rater[second],
        cell=code[first] * _K + code[second],
        n_labels=np.bincount(step)[step[first]],
        is_decided=(np.bincount(step, weights=_decides(labels)) > 0)[step[first]],
    )
    return Compared(labels, pairs, _error_pairs(labels))


def _check(labels: Labels) -> None:
    is_again = np.append(False, _continues(labels.trajectory, labels.step, labels.rater))[: len(labels.value)]
    refusals = {
        "a value is -1, 0 or 1": ~np.isin(labels.value, VALUES),
        "a rater judges a step once": is_again,
    }
    for rule, is_wrong in refusals.items():
        if is_wrong.any():
            wrong = labels.where(np.flatnonzero(is_wrong)[:1])
            raise ValueError(
                f"{wrong.value[0]} by {wrong.rater[0]} on step {wrong.step[0]} of {wrong.trajectory[0]}: {rule}."
            )


def _continues(*columns: IntArray) -> BoolArray:
    """For every row but the first: whether it equals the one before in all columns."""
    return np.asarray(np.logical_and.reduce([column[1:] == column[:-1] for column in columns]))


def _numbered(*columns: IntArray) -> IntArray:
    """The number of each row's group; rows that are equal in all columns follow one another."""
    return np.cumsum(np.append(False, ~_continues(*columns))[: len(columns[0])])


def _two_by_two(group: IntArray) -> tuple[IntArray, IntArray]:
    """The places of all two rows of one group, the earlier one first; rows of a group follow one another."""
    first, second = [], []
    for distance in range(1, int(np.bincount(group).max(initial=0))):
        places = np.flatnonzero(group[distance:] == group[:-distance])
        first.append(places)
        second.append(places + distance)
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *first]), np.concatenate([none, *second])


def _decides(labels: Labels) -> BoolArray:
    """Whether the rater decided anew: not just the value of the step before again, or an error of its own."""
    order = np.lexsort((labels.step, labels.rater, labels.trajectory))
    one = labels.where(order)
    is_next = _continues(one.trajectory, one.rater, one.value) & (np.diff(one.step) == 1)
    decides = np.empty(len(order), dtype=np.bool_)
    decides[order] = np.append(True, ~is_next)[: len(order)] | one.is_root
    return decides


def _error_pairs(labels: Labels) -> ErrorPairs:
    one = labels.where(np.lexsort((labels.step, labels.rater, labels.trajectory)))
    judgement = _numbered(one.trajectory, one.rater)
    starts = np.flatnonzero(np.diff(judgement, prepend=-1))
    beyond = np.iinfo(np.int64).max
    errors = np.where(one.value == -1, one.step, beyond)
    error = np.minimum.reduceat(errors, starts) if len(starts) else errors
    error[error == beyond] = _NO_ERROR
    whole = np.flatnonzero(np.bincount(judgement) == one.n_in_full[starts])
    starts, error = starts[whole], error[whole]
    first, second = _two_by_two(_numbered(one.trajectory[starts]))
    is_same = error[first] == error[second]
    is_near = (np.abs(error[first] - error[second]) == 1) & (error[first] != _NO_ERROR) & (error[second] != _NO_ERROR)
    a, b = starts[first], starts[second]
    return ErrorPairs(one.trajectory[a], one.rater[a], one.rater[b], is_same, is_same | is_near)


def sums_of(pairs: LabelPairs, errors: ErrorPairs) -> Sums:
    """Adds up by trajectory. Whoever judged a whole trajectory shares a step with whoever else did."""
    trajectories, row = np.unique(pairs.trajectory, return_inverse=True)
    n, m = len(trajectories), pairs.n_labels
    place = row * _SQUARE + pairs.cell
    weights = [None] if (m == 2).all() else [None, 1 / (m - 1), 1 / (m * (m - 1))]
    squares = [np.bincount(place, weight, minlength=n * _SQUARE).reshape(n, _SQUARE) for weight in weights]
    row_of_error = np.searchsorted(trajectories, errors.trajectory)
    counted = (errors.is_same, errors.is_near, np.ones(len(errors.trajectory)))
    raters = np.unique([pairs.a, pairs.b])
    is_by = np.zeros((n, len(raters)), dtype=np.bool_)
    for rater in (pairs.a, pairs.b):
        is_by[row, np.searchsorted(raters, rater)] = True
    of_errors = [np.bincount(row_of_error, one, minlength=n) for one in counted]
    return Sums(trajectories, np.column_stack([*squares, *of_errors]).astype(np.float64), is_by)
