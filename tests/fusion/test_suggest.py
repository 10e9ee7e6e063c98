"""What is suggested to somebody who has labelled the steps before."""

from collections.abc import Collection, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.agreement.coefficients import FloatArray
from annotator.fusion import suggest
from annotator.fusion.chain import PRIOR_CHAIN, PRIOR_TRANSITION
from annotator.fusion.suggest import trusted
from annotator.raters.calibrated import calibrated

SAID = st.lists(st.tuples(st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.05, 1)), min_size=1, max_size=7)
LABELS = st.dictionaries(st.integers(0, 6), st.sampled_from([-1, 0, 1]))


def conditioned(evidence: FloatArray, given: Mapping[int, int], turns: Collection[int] = ()) -> FloatArray:
    """turns: the steps that begin one."""
    return suggest.conditioned(evidence, np.array([step in turns for step in range(len(evidence))]), given)


def normal(said: list[tuple[float, float, float]]) -> FloatArray:
    return np.asarray(np.array(said) / np.sum(said, axis=1, keepdims=True), dtype=np.float64)


@settings(max_examples=60, deadline=None)
@given(SAID, LABELS)
def test_only_labels_before_a_step_change_what_is_suggested_there(
    said: list[tuple[float, float, float]], labels: dict[int, int]
) -> None:
    evidence = normal(said)
    assert conditioned(evidence, {}) == pytest.approx(evidence)
    found = conditioned(evidence, labels)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(evidence)))
    for step in range(len(evidence)):
        before = {t: value for t, value in labels.items() if t < step}
        assert conditioned(evidence, before)[step] == pytest.approx(found[step])
        if not before:
            assert found[step] == pytest.approx(evidence[step])


@settings(max_examples=60, deadline=None)
@given(SAID)
def test_a_label_that_was_fully_expected_changes_nothing(said: list[tuple[float, float, float]]) -> None:
    evidence = normal(said)
    evidence[0] = [0, 0, 1]
    assert conditioned(evidence, {0: 1}) == pytest.approx(evidence, abs=1e-6)


def test_worked_by_hand() -> None:
    evidence = np.array([[0.2, 0.1, 0.7], [0.4, 0.1, 0.5], [0.3, 0.1, 0.6]])
    found = conditioned(evidence, {0: -1, 1: -1})
    # The labels are -1 where the model gave it 0.2, then 0.4; 0.3 of the first surprise is left at the third step.
    first = np.array([0.8, -0.1, -0.7])
    second = np.array([0.6, -0.1, -0.5]) + 0.3 * first
    # 0.7 times how many times likelier each value is after each than it is in the long run.
    marginal = PRIOR_CHAIN.marginal
    pull = 0.7 * np.log(PRIOR_TRANSITION / marginal)
    for step, surprise in ((1, first), (2, second)):
        raised = evidence[step] * np.exp(surprise @ pull)
        assert found[step] == pytest.approx(raised / raised.sum())
    assert found[0] == pytest.approx(evidence[0])
    assert found[1] == pytest.approx([0.8187, 0.0507, 0.1306], abs=1e-4)


def test_where_a_turn_begins_a_label_counts_for_half() -> None:
    evidence = np.array([[0.2, 0.1, 0.7], [0.4, 0.1, 0.5], [0.3, 0.1, 0.6]])
    found = conditioned(evidence, {0: -1, 1: -1}, turns=[1])
    first = np.array([0.8, -0.1, -0.7]) / 2
    second = np.array([0.6, -0.1, -0.5]) + 0.3 * first
    pull = 0.7 * np.log(PRIOR_TRANSITION / PRIOR_CHAIN.marginal)
    for step, surprise in ((1, first), (2, second)):
        raised = evidence[step] * np.exp(surprise @ pull)
        assert found[step] == pytest.approx(raised / raised.sum())
    assert evidence[1, 0] < found[1, 0] < conditioned(evidence, {0: -1, 1: -1})[1, 0]


def test_a_label_changes_nothing_at_its_own_step_nor_before_and_passes_over_a_silent_one() -> None:
    evidence = np.array([[0.3, 0.1, 0.6], [np.nan] * 3, [0.45, 0.05, 0.5]])
    alone, known = conditioned(evidence, {}), conditioned(evidence, {0: -1})
    assert alone[[0, 2]] == pytest.approx(evidence[[0, 2]])
    assert known[0] == pytest.approx(evidence[0])
    assert np.isnan(known[1]).all()
    assert known[2].argmax() == 0 and alone[2].argmax() == 2
    assert conditioned(evidence, {2: -1})[[0, 2]] == pytest.approx(evidence[[0, 2]])
    fading = conditioned(np.array([[0.2, 0.1, 0.7]] * 12), {0: -1})[1:, 0]
    assert (np.diff(fading) < 0).all() and fading[-1] == pytest.approx(0.2, abs=0.05)


def test_of_a_silent_step_a_label_is_as_surprising_as_its_value_is_rare() -> None:
    silent = np.array([[np.nan] * 3, [0.2, 0.1, 0.7]])
    usual = np.array([PRIOR_CHAIN.marginal, [0.2, 0.1, 0.7]])
    for value in (-1, 0, 1):
        assert conditioned(silent, {0: value})[1] == pytest.approx(conditioned(usual, {0: value})[1])


def test_a_model_that_is_always_sure_can_be_corrected_unless_gold_says_that_it_is_right() -> None:
    sure = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    assert trusted(sure, is_calibrated=False) == pytest.approx(np.array([[0.1, 0.1, 0.8]] * 2))
    assert trusted(sure, is_calibrated=True) == pytest.approx(sure)
    drawn = conditioned(trusted(sure, is_calibrated=False), {0: -1})[1]
    assert drawn[0] > 0.4
    assert conditioned(sure, {0: -1})[1, 2] > 0.99


def test_of_a_trajectory_without_steps_nothing_is_suggested() -> None:
    assert conditioned(calibrated([], None), {}).shape == (0, 3)
