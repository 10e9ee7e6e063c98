"""A model of the raters' habits: what the gold is, given what all of them voted and said around a step. Pure.

Two learners: a multinomial logistic regression over numbers and words, and gradient boosted trees over the numbers and
what the words alone say. Both see every rater's verdict on the step and on its
neighbours (stacking: Wolpert, Neural Networks 5, 1992).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.fusion import features, trees
from annotator.fusion.features import N_LENGTHS, Look
from annotator.fusion.panel import MISSING, N_VALUES, Panel, folds

_WORD_FOLDS = 3
_STRENGTH = 2.0  # inverse regularisation of the logistic regressions
_NUMBERS_SCALE = 0.1  # of the numbers beside the words
_FLOOR = 1e-4


@dataclass(frozen=True)
class Words:
    """A logistic regression over words: idf (N_WORDS,), 0 for words that gold has not taught; coef (3, N_WORDS)."""

    idf: npt.NDArray[np.float32]
    coef: npt.NDArray[np.float32]
    intercept: FloatArray


@dataclass(frozen=True)
class Stacker:
    """mean, scale (k,) of the numbers but lengths; coef (3, k), intercept (3,) of the logistic regression over them."""

    mean: FloatArray
    scale: FloatArray
    coef: FloatArray
    intercept: FloatArray
    words_in_both: npt.NDArray[np.float32]  # (3, N_WORDS) beside `coef`; empty without texts
    words: Words | None
    trees: trees.Trees

    def members(self, panel: Panel) -> FloatArray:
        """(2, m, 3) what each learner believes."""
        return self.members_of(features.look(panel))

    def members_of(self, seen: Look) -> FloatArray:
        """The same of m steps that are seen already."""
        x = seen.numbers
        z = (x[:, N_LENGTHS:] - self.mean) / self.scale
        logits = z @ self.coef.T * _NUMBERS_SCALE + self.intercept
        if self.words is not None:
            w = _weighed(seen.words if seen.words is not None else _nothing_said(len(x)), self.words.idf)
            logits = logits + w @ self.words_in_both.T.astype(np.float64)
            x = np.concatenate([x, np.log(_word_probs(w, self.words))], axis=1)
        return np.stack([_softmax(logits), self.trees.probs(x.astype(np.float32))]).clip(_FLOOR, 1.0)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Plain arrays, from which `from_arrays` makes the same again."""
        found: dict[str, npt.NDArray[np.generic]] = {
            "mean": self.mean,
            "scale": self.scale,
            "coef": self.coef,
            "intercept": self.intercept,
            "words_in_both": self.words_in_both,
        }
        found |= {f"trees_{name}": array for name, array in self.trees.arrays().items()}
        if self.words is not None:
            found |= {"idf": self.words.idf, "words": self.words.coef, "words_intercept": self.words.intercept}
        return found

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> "Stacker":
        a = {name: np.asarray(array) for name, array in arrays.items()}
        words = Words(a["idf"], a["words"], a["words_intercept"]) if "idf" in a else None
        grown = trees.Trees.from_arrays({n.removeprefix("trees_"): x for n, x in a.items() if n.startswith("trees_")})
        return Stacker(a["mean"], a["scale"], a["coef"], a["intercept"], a["words_in_both"], words, grown)


def fit(panel: Panel, seed: int = 0) -> Stacker:
    """On the steps with gold; at least two values have to occur among them, else ValueError."""
    return fit_on(panel, features.look(panel), seed)


def fit_on(panel: Panel, seen: Look, seed: int = 0) -> Stacker:
    """The same, where what the panel looks like is known already."""
    known = np.flatnonzero(panel.gold != MISSING)
    y = panel.gold[known].astype(np.int64) + 1
    if len(np.unique(y)) < 2:
        raise ValueError("A stacker needs gold of at least two values.")
    with threadpool_limits(1):  # for so little work threads wait for each other: many times slower with two
        return _fit(seen.at(known), y, panel.groups[panel.owner[known]], seed)


def _fit(seen: Look, y: IntArray, tasks: IntArray, seed: int) -> Stacker:
    x = seen.numbers
    # A regression goes on in a straight line where a length has never been seen; trees do not.
    plain = x[:, N_LENGTHS:]
    mean, scale = plain.mean(axis=0, dtype=np.float64), np.maximum(plain.std(axis=0, dtype=np.float64), 0.05)
    z = sparse.csr_matrix((plain - mean) / scale * _NUMBERS_SCALE)
    words: Words | None = None
    words_in_both = np.zeros((N_VALUES, 0), dtype=np.float32)
    idf = _idf(seen.words) if seen.words is not None else np.zeros(0, dtype=np.float32)
    if seen.words is not None and idf.any():
        w = _weighed(seen.words, idf)
        used = np.flatnonzero(idf)
        coef, intercept = _logistic(sparse.hstack([z, w[:, used]]).tocsr(), y)
        coef, words_in_both = coef[:, : z.shape[1]], _spread(coef[:, z.shape[1] :], used)
        words = _fit_words(w, used, y, idf)
        x = np.concatenate([x, np.log(_word_probs_out_of_fold(w, used, y, tasks, idf, seed))], axis=1)
    else:
        coef, intercept = _logistic(z, y)
    grown = trees.grow(x.astype(np.float32), y, seed)
    return Stacker(mean, scale, coef, intercept, words_in_both, words, grown)


def _logistic(x: sparse.csr_matrix, y: IntArray) -> tuple[FloatArray, FloatArray]:
    """(3, k) and (3,); a value that never occurs is never likely."""
    model = LogisticRegression(C=_STRENGTH, max_iter=100, tol=1e-3).fit(x, y)
    coef, intercept = np.zeros((N_VALUES, x.shape[1])), np.full(N_VALUES, -10.0)
    if len(model.classes_) == 2:  # one row: the log-odds of the second
        coef[model.classes_[1]], intercept[model.classes_] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        coef[model.classes_], intercept[model.classes_] = model.coef_, model.intercept_
    return coef, intercept


def _fit_words(w: sparse.csr_matrix, used: IntArray, y: IntArray, idf: npt.NDArray[np.float32]) -> Words:
    coef, intercept = _logistic(w[:, used], y)
    return Words(idf, _spread(coef, used), intercept)


def _word_probs_out_of_fold(
    w: sparse.csr_matrix, used: IntArray, y: IntArray, groups: IntArray, idf: npt.NDArray[np.float32], seed: int
) -> FloatArray:
    """(m, 3) for the trees, which must not see what the words have learnt by heart."""
    which = folds(groups, _WORD_FOLDS, seed)
    found = np.full((len(y), N_VALUES), 1.0 / N_VALUES)
    for fold in range(_WORD_FOLDS):
        others = which != fold
        if len(np.unique(y[others])) > 1:
            found[~others] = _word_probs(w[~others], _fit_words(w[others], used, y[others], idf))
    return found


def _idf(raw: sparse.csr_matrix) -> npt.NDArray[np.float32]:
    """(N_WORDS,) of words that occur in at least two steps; 0 of others."""
    n = np.asarray((raw > 0).sum(axis=0)).ravel()
    return np.where(n >= 2, np.log((1 + raw.shape[0]) / (1 + n)) + 1.0, 0.0).astype(np.float32)


def _weighed(raw: sparse.csr_matrix, idf: npt.NDArray[np.float32]) -> sparse.csr_matrix:
    """TF-IDF, rows of length 1."""
    w = raw.multiply(idf).tocsr()
    length = np.sqrt(np.asarray(w.multiply(w).sum(axis=1)).ravel())
    return sparse.diags(1.0 / np.where(length > 0, length, 1.0)) @ w


def _nothing_said(m: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((m, features.N_WORDS), dtype=np.float32)


def _word_probs(w: sparse.csr_matrix, words: Words) -> FloatArray:
    return _softmax(w @ words.coef.T.astype(np.float64) + words.intercept).clip(_FLOOR, 1.0)


def _spread(coef: FloatArray, used: IntArray) -> npt.NDArray[np.float32]:
    whole = np.zeros((N_VALUES, features.N_WORDS), dtype=np.float32)
    whole[:, used] = coef
    return whole


def _softmax(logits: FloatArray) -> FloatArray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float64)
