"""Coefficients of agreement: shares and chance-corrected figures, of a table of counts or of many at once. Pure.

Each has a public function for one table (None where the figure is undefined) and a batched formula whose leading axes
`...` stand for nothing (the data) or for the resamples (NaN where undefined).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def raw_agreement(counts: npt.ArrayLike) -> float | None:
    """Share of agreeing pairs among all pairs of judgements of the same step; None where no step has two.

    `counts` (steps, categories): how many raters gave the step that category. Of two raters: the share of equal steps.
    """
    return defined(raw_of(step_sums(counts)[0].sum(axis=0)))


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
    return defined(cohen_of(confusion))


def fleiss_kappa(counts: npt.ArrayLike) -> float | None:
    """Chance-corrected agreement of many raters with pooled marginals (Fleiss 1971, Psychol. Bull. 76).

    `counts` (steps, categories): how many raters gave the step that category. The number n_i of raters may vary: a step
    with n_i >= 2 has the agreement p_i = (sum_k n_ik^2 - n_i) / (n_i (n_i - 1)), their mean counts each such step once,
    the marginals are shares of all judgements of the same steps, and other steps are left out. With constant n_i this
    is Fleiss' own value. None where no step has two judgements, or all are of one category (0/0).
    """
    _, paired, disagreement = step_sums(counts)
    return defined(fleiss_of(disagreement.sum(axis=0), np.asarray(float(len(paired))), paired.sum(axis=(0, 2))))


def gwet_ac1(counts: npt.ArrayLike) -> float | None:
    """Chance-corrected agreement that stays stable where nearly all judgements are alike (Gwet 2008, Br. J. Math. Stat.
    Psychol. 61, for many raters; 2014, Handbook of Inter-Rater Reliability, for varying raters).

    `counts` (steps, categories): how many raters gave the step that category; every category of the scale has a column,
    used or not. The agreement is Fleiss' mean over steps with two judgements. By chance: sum_k q_k (1 - q_k) / (K - 1),
    where q_k is the mean over all judged steps of the share of their raters who chose k. None where no step has two.
    """
    n = np.asarray(counts, dtype=np.float64).reshape(-1, np.shape(counts)[-1])
    judged = n[n.sum(axis=1) >= 1]
    disagreement = step_sums(n)[2]
    usage = (judged / judged.sum(axis=1, keepdims=True)).sum(axis=0)
    return defined(ac1_of(disagreement.sum(axis=0), np.asarray(float(len(disagreement))), usage))


def coincidences(counts: npt.ArrayLike) -> FloatArray:
    """Krippendorff's coincidence matrix (categories, categories) of `counts` (steps, categories).

    A step of m >= 2 judgements adds its ordered pairs times 1/(m - 1): they sum to the judgements that have a partner.
    """
    return np.asarray(step_sums(counts)[1].sum(axis=0))


def krippendorff_alpha(coincidences: npt.ArrayLike, level: Literal["nominal", "ordinal"] = "nominal") -> float | None:
    """Krippendorff's alpha, 1 - observed / expected disagreement, from a coincidence matrix (categories, categories).

    "nominal": any two categories differ alike. "ordinal": categories are ranked as in the matrix, and two differ by the
    judgements between them, so the distances follow the marginals. None where nothing is paired or all is in one
    category (0/0). Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; 2018, Content Analysis, ch. 12.
    """
    if level not in ("nominal", "ordinal"):
        raise ValueError(f"level is {level!r}; it must be 'nominal' or 'ordinal'.")
    return defined(alpha_of(np.asarray(coincidences, dtype=np.float64), level))


def first_error(values: Sequence[int]) -> int | None:
    """Index of the first -1 among `values` in step order; None where there is none."""
    return next((index for index, value in enumerate(values) if value == -1), None)


# The batched formulas.


def raw_of(confusion: FloatArray) -> FloatArray:
    return ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def cohen_of(confusion: FloatArray) -> FloatArray:
    """(..., K, K) -> (...). Written with disagreements, so that "all in one category" is an exact 0 below the line."""
    expected = off_diagonal(confusion.sum(axis=-1)[..., :, None] * confusion.sum(axis=-2)[..., None, :])
    return 1 - ratio(off_diagonal(confusion) * confusion.sum(axis=(-2, -1)), expected)


def fleiss_of(disagreement: FloatArray, n_steps: FloatArray, usage: FloatArray) -> FloatArray:
    """Summed 1 - p_i (...), steps (...), judgements per category (..., K) -> (...)."""
    expected = ratio(off_diagonal(usage[..., :, None] * usage[..., None, :]), usage.sum(axis=-1) ** 2)
    return 1 - ratio(ratio(disagreement, n_steps), expected)


def ac1_of(disagreement: FloatArray, n_steps: FloatArray, usage: FloatArray) -> FloatArray:
    """Summed 1 - p_i (...), steps (...), summed shares per category (..., K) -> (...)."""
    q = ratio(usage, usage.sum(axis=-1, keepdims=True) + np.zeros_like(usage))
    expected = (q * (1 - q)).sum(axis=-1) / (usage.shape[-1] - 1)
    return np.asarray(1 - ratio(disagreement, n_steps) / (1 - expected))  # what is expected is at most 1 / K


def specific_of(confusion: FloatArray) -> FloatArray:
    """(..., K, K) -> (..., K): of the judgements in a category that met another, how many met the same."""
    same = np.diagonal(confusion, axis1=-2, axis2=-1)
    return ratio(2 * same, confusion.sum(axis=-1) + confusion.sum(axis=-2))


def alpha_of(paired: FloatArray, level: str) -> FloatArray:
    usage = paired.sum(axis=-1)
    # Krippendorff's ordinal distance, the sum of n_g from c to k less half of both ends, is that of their mean ranks.
    rank = np.cumsum(usage, axis=-1) - usage / 2
    squared = (rank[..., :, None] - rank[..., None, :]) ** 2 if level == "ordinal" else np.ones_like(paired)
    expected = off_diagonal(usage[..., :, None] * usage[..., None, :] * squared)
    return 1 - ratio(off_diagonal(paired * squared) * (usage.sum(axis=-1) - 1), expected)


def ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """above / below, NaN (and no warning) where below is 0."""
    return np.asarray(np.divide(above, below, out=np.full(np.shape(below), np.nan), where=np.asarray(below) > 0))


def off_diagonal(matrix: FloatArray) -> FloatArray:
    """(..., K, K) -> (...): the sum beside the diagonal, without taking a difference of large numbers."""
    return np.asarray((matrix * (1 - np.eye(matrix.shape[-1]))).sum(axis=(-2, -1)))


def defined(value: FloatArray) -> float | None:
    return None if np.isnan(value) else float(value)


def step_sums(counts: npt.ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(steps, K) -> ordered pairs and coincidences (steps', K, K), 1 - p_i (steps',), of steps with two judgements."""
    n = np.atleast_2d(np.asarray(counts, dtype=np.float64))
    n = n[n.sum(axis=1) >= 2]
    m = n.sum(axis=1)
    pairs = n[:, :, None] * n[:, None, :] - n[:, :, None] * np.eye(n.shape[1])
    return pairs, pairs / (m - 1)[:, None, None], off_diagonal(pairs) / (m * (m - 1))
