"""Gradient boosted trees as plain arrays: scikit-learn grows them, and nothing of it is needed to ask them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier

from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.fusion.panel import N_VALUES

_ROWS = 4096  # that walk down all trees together
_NEVER = -12.0
_N_FORESTS = 2  # of the same numbers by different chance, averaged


@dataclass(frozen=True)
class Trees:
    """The nodes of all trees one after another. A leaf is its own left and right and holds what it adds.

    feature, left, right, threshold, value: (nodes,). roots (trees,); output (trees,) the value from 0 to 2 that a tree
    speaks for; base (3,) what each starts from: log-odds.
    """

    feature: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    threshold: FloatArray
    value: FloatArray
    roots: npt.NDArray[np.int32]
    output: npt.NDArray[np.int32]
    base: FloatArray

    def probs(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """(m, 3) of (m, k) numbers, none of them NaN."""
        votes = np.eye(N_VALUES)[self.output]  # (trees, 3)
        found = np.empty((len(x), N_VALUES))
        for at in range(0, len(x), _ROWS):
            some = x[at : at + _ROWS]
            row = np.arange(len(some))[:, None]
            node = np.broadcast_to(self.roots, (len(some), len(self.roots)))
            while True:
                goes_left = some[row, self.feature[node]] <= self.threshold[node]
                deeper = np.where(goes_left, self.left[node], self.right[node])
                if (deeper == node).all():
                    break
                node = deeper
            found[at : at + _ROWS] = self.value[node] @ votes + self.base
        e = np.exp(found - found.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float64)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> "Trees":
        return Trees(**{each.name: arrays[each.name] for each in fields(Trees)})  # type: ignore[arg-type]


def grow(x: npt.NDArray[np.float32], y: IntArray, seed: int) -> Trees:
    """x (m, k), y (m,) from 0 to 2, at least two of them. Call it with one thread: more wait for each other.

    The log-odds of forests that differ by chance alone are averaged, so that little of the chance is left.
    """
    forests = [_grow_one(x, y, seed + i) for i in range(_N_FORESTS)]
    sizes = np.cumsum([0, *(len(one.feature) for one in forests[:-1])])
    return Trees(
        feature=np.concatenate([one.feature for one in forests]),
        left=_moved([one.left for one in forests], sizes),
        right=_moved([one.right for one in forests], sizes),
        threshold=np.concatenate([one.threshold for one in forests]),
        value=np.concatenate([one.value for one in forests]) / len(forests),
        roots=_moved([one.roots for one in forests], sizes),
        output=np.concatenate([one.output for one in forests]),
        base=np.mean([one.base for one in forests], axis=0),
    )


def _moved(numbers: list[npt.NDArray[np.int32]], by: IntArray) -> npt.NDArray[np.int32]:
    """Numbers of nodes, once the nodes of the forests before stand in front of them."""
    return np.concatenate([some + int(n) for some, n in zip(numbers, by, strict=True)]).astype(np.int32)


def _grow_one(x: npt.NDArray[np.float32], y: IntArray, seed: int) -> Trees:
    model = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=8, max_bins=31, min_samples_leaf=15, l2_regularization=1.0,
        max_features=0.4, early_stopping=False, random_state=seed,
    )  # fmt: skip
    model.fit(x, y)
    parts: list[npt.NDArray[np.void]] = []
    roots, output, at = [], [], 0
    classes = model.classes_
    for rounds in model._predictors:  # test_trees.py holds the equality with predict_proba
        for place, tree in enumerate(rounds):
            nodes = tree.nodes.copy()
            leaf, here = nodes["is_leaf"].astype(bool), np.arange(len(nodes)) + at
            nodes["left"] = np.where(leaf, here, nodes["left"] + at)
            nodes["right"] = np.where(leaf, here, nodes["right"] + at)
            nodes["value"] = np.where(leaf, nodes["value"], 0.0)
            parts.append(nodes)
            roots.append(at)
            output.append(int(classes[place if len(classes) > 2 else 1]))
            at += len(nodes)
    nodes = np.concatenate(parts)
    base = np.full(N_VALUES, _NEVER)
    start = np.ravel(model._baseline_prediction)
    base[classes] = start if len(classes) > 2 else [0.0, start[0]]
    return Trees(
        feature=np.where(nodes["is_leaf"], 0, nodes["feature_idx"]).astype(np.int32),
        left=nodes["left"].astype(np.int32),
        right=nodes["right"].astype(np.int32),
        threshold=nodes["num_threshold"].astype(np.float64),
        value=nodes["value"].astype(np.float64),
        roots=np.array(roots, dtype=np.int32),
        output=np.array(output, dtype=np.int32),
        base=base,
    )
