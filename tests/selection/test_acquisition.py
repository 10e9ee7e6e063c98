"""Scores worked by hand."""

import numpy as np
import pytest

from annotator.selection import acquisition as a

STARTS = np.array([0, 2, 3])
P = np.array([[1.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.2, 0.2, 0.6]])


def test_doubt_and_entropy() -> None:
    assert a.doubt(P) == pytest.approx([0, 0.5, 0.4])
    assert a.entropy(P)[:2] == pytest.approx([0, np.log(2)])
    assert a.mean_entropy(P, STARTS)[0] == pytest.approx(np.log(2) / 2)


def test_errors_per_cost_do_not_prefer_length() -> None:
    costs = a.cost(np.diff(STARTS))
    assert costs.tolist() == [6, 5]
    assert a.expected_errors_per_cost(P, STARTS, costs) == pytest.approx([0.5 / 6, 0.4 / 5])


def test_members_that_differ_are_worth_more_than_members_that_are_unsure() -> None:
    unsure = np.full((2, 1, 3), 1 / 3)
    differ = np.array([[[1.0, 0, 0]], [[0, 0, 1.0]]])
    assert a.disagreement(unsure) == pytest.approx([0])
    assert a.disagreement(differ) == pytest.approx([np.log(2)])
    assert a.mean_disagreement(differ, np.array([0, 1])) == pytest.approx([np.log(2)])


def test_where_the_first_error_is() -> None:
    first = np.array([0.5, 0.0, 0.5, 0.0, 1.0])
    assert a.first_error_entropy(first, STARTS) == pytest.approx([np.log(2) / np.log(3), 0])


def test_a_trajectory_that_looks_right_and_ended_wrong_contradicts_itself() -> None:
    first = np.array([0.1, 0.0, 0.9, 0.7, 0.3])
    assert a.contradiction(first, STARTS, np.array([0.0, 1.0])) == pytest.approx([0.9, 0.7])
    assert a.contradiction(first, STARTS, np.array([1.0, np.nan])) == pytest.approx([0.1, 0])
