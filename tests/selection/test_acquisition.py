"""Scores worked by hand."""

import numpy as np
import pytest

from annotator.agreement.coefficients import FloatArray, IntArray
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


LENGTHS = {
    "even": np.arange(40) % 10 + 1,
    "a long tail": np.repeat([2, 3, 4, 5, 8, 14, 25], [60, 40, 20, 10, 5, 3, 2]),  # most of its time is that of a few
    "all long": np.arange(200) % 16 + 20,
}


@pytest.mark.parametrize("n_steps", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("opening", [0.0, 2.0, 6.0, 12.0])
def test_the_cost_of_opening_comes_from_peoples_times(n_steps: IntArray, opening: float) -> None:
    """So many steps of 5 s each to read in, and 5 s a step; pages left open for an hour change little."""
    times = np.asarray(5_000.0 * (opening + n_steps), dtype=np.float64)
    assert a.fitted_opening(n_steps, times) == pytest.approx(opening, abs=1e-3)
    for forgotten in ([3], [0, 1, 2], [-1, -2, -3], [1, len(times) // 2, -1]):
        some = times.copy()
        some[forgotten] += 3_600_000.0
        assert a.fitted_opening(n_steps, some) == pytest.approx(opening, rel=0.1, abs=0.1)


@pytest.mark.parametrize("opening", [2.0, 4.0, 8.0])
def test_the_cost_of_opening_does_not_grow_with_how_uneven_lengths_are(opening: float) -> None:
    """People differ by a fifth, and every fiftieth goes for coffee."""
    rng = np.random.default_rng(7)
    for n_steps in (rng.geometric(1 / 3, 3000), np.maximum(1, rng.lognormal(1.3, 0.7, 3000)).astype(np.int64)):
        times = 5_000.0 * (opening + n_steps) * rng.lognormal(-0.02, 0.2, 3000)
        times[::50] += 600_000.0
        assert a.fitted_opening(n_steps, times) == pytest.approx(opening, rel=0.1)


@pytest.mark.parametrize("spread", [0.2, 0.4, 0.7])
def test_the_cost_of_opening_does_not_depend_on_how_much_times_vary(spread: float) -> None:
    """Every step takes longer or shorter on its own, so the times of short trajectories have the longer tail."""
    rng = np.random.default_rng(7)
    n_steps = rng.geometric(0.3, 3000).clip(1, 20)
    times = [(5_000.0 * rng.lognormal(-(spread**2) / 2, spread, n) * (n + 8) / n).sum() for n in n_steps]
    assert a.fitted_opening(n_steps, np.array(times)) == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize(
    ("n_steps", "times"),
    [
        (np.arange(29), 5_000.0 * np.arange(29)),  # too few
        (np.full(40, 3), np.arange(40.0)),  # all of one length
        (np.arange(40), 1_000.0 * np.arange(40)[::-1]),  # the longer the quicker
    ],
)
def test_a_cost_that_cannot_be_told_is_not_made_up(n_steps: IntArray, times: FloatArray) -> None:
    assert a.fitted_opening(n_steps, times) is None
