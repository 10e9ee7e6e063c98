"""The trees as arrays say what scikit-learn says."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from annotator.fusion import trees


@pytest.mark.parametrize("values", [[0, 1, 2], [0, 2]])
def test_they_equal_the_library_that_grew_them(values: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    grown = []

    class Remembered(HistGradientBoostingClassifier):  # type: ignore[misc]
        def fit(self, x, y):
            grown.append(self)
            return super().fit(x, y)

    monkeypatch.setattr(trees, "HistGradientBoostingClassifier", Remembered)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    y = np.array(values)[np.digitize(x[:, 0] + x[:, 1] * x[:, 2], [-0.5, 0.5][: len(values) - 1])]
    found = trees.grow(x, y, seed=3)
    again = trees.Trees.from_arrays(found.arrays())
    # Two forests that differ by chance alone: the mean of their log-odds.
    assert [one.random_state for one in grown] == [3, 4]
    each = np.log([one.predict_proba(x) for one in grown])
    assert not np.allclose(each[0], each[1])
    expected = np.exp(each.mean(axis=0))
    expected /= expected.sum(axis=1, keepdims=True)
    probs = again.probs(x)
    assert probs[:, values] == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(probs, found.probs(x))
    assert probs.sum(axis=1) == pytest.approx(np.ones(400))
