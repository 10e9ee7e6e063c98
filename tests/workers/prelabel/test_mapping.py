"""From the numbers of a head to P(-1), P(0), P(+1)."""

import numpy as np
import pytest

from annotator.prelabelling.discriminative import Mapping
from workers.prelabel.discriminative.mapping import probabilities

PAIR = Mapping(activation="softmax", outputs=("negative", "non_negative"))


def test_two_classes_are_split_at_the_base_rate():
    logits = np.log([[[0.2, 0.8], [0.5, 0.5]]])
    probs, raw, spread = probabilities(logits, PAIR)
    assert probs == pytest.approx(np.array([[0.2, 0.8 * 0.078, 0.8 * 0.922], [0.5, 0.5 * 0.078, 0.5 * 0.922]]))
    assert raw == pytest.approx(np.array([0.8, 0.5]))
    assert spread is None


def test_the_order_of_the_outputs_is_what_the_model_file_says():
    turned = Mapping(activation="softmax", outputs=("non_negative", "negative"))
    logits = np.log([[[0.2, 0.8]]])
    assert probabilities(logits, turned)[1] == pytest.approx([0.2])


def test_a_saturated_softmax_keeps_its_place():
    """The published snippet drops exact zeros, and with them moves every later step."""
    logits = np.array([[[0.0, 2000.0], [2000.0, 0.0], [1.0, 1.0]]], dtype=np.float32)
    assert probabilities(logits, PAIR)[1].tolist() == [1.0, 0.0, 0.5]


def test_three_classes_are_taken_as_they_are():
    rule = Mapping(activation="softmax", outputs=("positive", "negative", "neutral"))
    probs, raw, _ = probabilities(np.log([[[0.5, 0.2, 0.3]]]), rule)
    assert probs == pytest.approx(np.array([[0.2, 0.3, 0.5]]))
    assert raw == pytest.approx([0.8])


def test_the_difference_of_two_probabilities_is_kept_raw():
    rule = Mapping(activation="softmax", outputs=("negative", "non_negative"), raw="difference")
    probs, raw, _ = probabilities(np.log([[[0.3, 0.7]]]), rule)
    assert raw == pytest.approx([0.4])
    assert probs[0, 0] == pytest.approx(0.3)


def test_an_ensemble_averages_probabilities_and_tells_its_deviation():
    rule = Mapping(activation="sigmoid", outputs=("non_negative",))
    p = np.array([[0.2], [0.6]])
    probs, raw, spread = probabilities(np.log(p / (1 - p))[..., None], rule)
    assert raw == pytest.approx([0.4])
    assert probs[0, 0] == pytest.approx(0.6)
    assert spread == pytest.approx([0.2])


@pytest.mark.parametrize(
    "rule", [PAIR, Mapping(activation="softmax", outputs=("negative", "neutral", "positive"))], ids=["two", "three"]
)
def test_a_step_without_a_finite_number_is_an_abstention(rule):
    logits = np.zeros((1, 3, len(rule.outputs)))
    logits[0, 1, 0] = np.nan
    logits[0, 2, 1] = np.inf
    probs, raw, _ = probabilities(logits, rule)
    assert np.isnan(probs).all(axis=1).tolist() == [False, True, True]
    assert np.isnan(raw).tolist() == [False, True, True]


def test_a_value_head_without_a_finite_number_abstains_too():
    rule = Mapping(activation="sigmoid", outputs=("non_negative",))
    probs, raw, _ = probabilities(np.array([[[np.inf], [0.0]]]), rule)
    assert np.isnan(probs).all(axis=1).tolist() == [True, False]
    assert raw[1] == 0.5
