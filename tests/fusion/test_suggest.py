"""What is suggested to somebody who has labelled the steps before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.fusion.chain import Chain
from annotator.fusion.panel import MISSING
from annotator.fusion.people import refresh
from annotator.fusion.suggest import LINKS, conditioned, trusted

SAID = st.lists(st.tuples(st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.05, 1)), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(SAID, st.dictionaries(st.integers(0, 6), st.sampled_from([-1, 0, 1])))
def test_it_is_what_the_fusion_believes_once_the_labels_before_are_gold(
    said: list[tuple[float, float, float]], labels: dict[int, int]
) -> None:
    evidence = np.array(said) / np.sum(said, axis=1, keepdims=True)
    n = len(evidence)
    found = conditioned(evidence, labels)
    for step in range(n):
        gold = np.array([labels.get(t, MISSING) if t < step else MISSING for t in range(n)])
        assert found[step] == pytest.approx(refresh(np.array([0, n]), evidence, LINKS, gold=gold).probs[step])


def test_worked_by_hand() -> None:
    # Two steps; a label reaches the next one by (2, 1, 1) after -1 and by (1, 1, 2) after +1.
    links = Chain(np.ones(3), np.array([[2.0, 1, 1], [1, 1, 1], [1, 1, 2]]))
    evidence = np.array([[0.0, 0.0, 1.0], [0.4, 0.0, 0.6]])
    found = conditioned(evidence, {0: -1}, links)
    # The models alone say +1 first, so (1, 1, 2) is taken back: 0.4 * 2 / 1 against 0.6 * 1 / 2.
    assert found[1] == pytest.approx([0.8 / 1.1, 0, 0.3 / 1.1], abs=1e-6)
    assert found[0] == pytest.approx(evidence[0], abs=1e-6)


def test_a_label_changes_nothing_at_its_own_step_nor_before_and_passes_over_a_silent_one() -> None:
    evidence = np.array([[0.3, 0.1, 0.6], [np.nan] * 3, [0.45, 0.05, 0.5]])
    alone, known = conditioned(evidence, {}), conditioned(evidence, {0: -1})
    assert alone[[0, 2]] == pytest.approx(evidence[[0, 2]])
    assert known[0] == pytest.approx(evidence[0])
    assert np.isnan(known[1]).all()
    assert known[2].argmax() == 0 and alone[2].argmax() == 2
    assert conditioned(evidence, {2: -1})[[0, 2]] == pytest.approx(evidence[[0, 2]])


def test_a_model_that_is_always_sure_can_be_corrected_unless_gold_says_that_it_is_right() -> None:
    sure = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    assert trusted(sure, is_calibrated=False) == pytest.approx(np.array([[0.1, 0.1, 0.8]] * 2))
    assert trusted(sure, is_calibrated=True) == pytest.approx(sure)
    drawn = conditioned(trusted(sure, is_calibrated=False), {0: -1})[1]
    assert drawn[0] > 0.4
    assert conditioned(sure, {0: -1})[1, 2] > 0.99
