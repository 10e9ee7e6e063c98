"""The contract of all pre-labellers."""

import numpy as np
import pytest

from annotator.prelabelling.scores import TrajectoryScores, TrajectoryText, split_non_negative


def make(probs, **fields):
    array = np.array(probs, dtype=np.float64)
    given = {"raw": None, "rationales": [None] * len(array), "n_tokens": 5, "n_dropped_tokens": 0}
    return TrajectoryScores(array, **{**given, "first_truncated_step": None, **fields})


def test_an_abstention_is_a_row_of_nan():
    assert make([[0.1, 0.2, 0.7], [np.nan] * 3]).abstained.tolist() == [False, True]


@pytest.mark.parametrize(
    ("probs", "fields", "told"),
    [
        ([[0.5, 0.5, 0.5]], {}, "does not sum to 1"),
        ([[1.5, -0.5, 0.0]], {}, "must hold three probabilities"),
        ([[np.nan, 0.5, 0.5]], {}, "must hold three probabilities"),
        ([[0.1, 0.2, 0.7]], {"rationales": [None, None]}, "2 steps need"),
        ([[0.1, 0.2, 0.7]], {"raw": np.zeros(2)}, r"raw has the shape \(2,\)"),
        ([[0.1, 0.2, 0.7]], {"spread": np.zeros(2)}, r"spread has the shape \(2,\)"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused(probs, fields, told):
    with pytest.raises(ValueError, match=told):
        make(probs, **fields)


def test_without_gold_what_is_not_wrong_is_split_at_the_base_rate():
    assert split_non_negative(np.array([1.0, 0.5])) == pytest.approx(np.array([[0, 0.078, 0.922], [0.5, 0.039, 0.461]]))


def test_a_step_is_an_assistant_message():
    roles = ["system", "user", "assistant", "tool", "assistant", "user"]
    assert TrajectoryText("", [{"role": role} for role in roles], tools=[]).n_steps == 2
