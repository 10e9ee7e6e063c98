"""Rounds: shares, siblings, and a random slice that tells the truth about the pool."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.selection.batch import RANDOM, choose, spread

SCORES = np.arange(100, dtype=float)
SHARES = {"errors": 0.6, "contradiction": 0.2, RANDOM: 0.2}


def test_each_strategy_has_its_share_by_falling_score() -> None:
    picks = choose({"errors": SCORES, "contradiction": -SCORES}, SHARES, 10, np.arange(100), 2, seed=1)
    by = {name: [pick.index for pick in picks if pick.strategy == name] for name in SHARES}
    assert {name: len(chosen) for name, chosen in by.items()} == {"errors": 6, "contradiction": 2, RANDOM: 2}
    left = [i for i in range(99, -1, -1) if i not in by[RANDOM]]
    assert by["errors"] == left[:6]
    assert by["contradiction"] == left[::-1][:2]
    assert {pick.probability for pick in picks if pick.strategy == RANDOM} == {0.02}
    assert all(pick.probability is None for pick in picks if pick.strategy != RANDOM)


def test_few_siblings_of_a_task() -> None:
    picks = choose({"errors": SCORES}, {"errors": 1.0}, 6, np.arange(100) // 10, 2, seed=0)
    assert [pick.index for pick in picks] == [99, 98, 89, 88, 79, 78]


@given(n=st.integers(0, 120), seed=st.integers(0, 1000))
def test_nothing_is_chosen_twice_and_the_seed_decides(n: int, seed: int) -> None:
    args = ({"errors": SCORES}, {"errors": 0.5, RANDOM: 0.5}, n, np.arange(100), 1, seed)
    picks = choose(*args)
    assert len({pick.index for pick in picks}) == len(picks) == min(n, 100)
    assert picks == choose(*args)


def test_the_random_slice_estimates_the_pool_without_bias() -> None:
    """Weighed by the inverse of its probability, whatever the strategies choose beside it."""
    truth = (np.arange(100) % 7 == 0).astype(float)
    found = []
    for seed in range(3000):
        picks = choose({"errors": truth}, SHARES, 20, np.arange(100) // 5, 2, seed)
        found.append(sum(truth[p.index] / p.probability for p in picks if p.probability) / 100)
    assert np.mean(found) == pytest.approx(truth.mean(), abs=0.01)
    assert np.std(found) > 0.05  # it is a sample


def test_spread_takes_the_farthest() -> None:
    vectors = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    assert spread(vectors, np.array([0, 1, 2, 3, 4]), 3).tolist() == [0, 4, 2]
    assert spread(vectors, np.array([1, 3]), 5).tolist() == [1, 3]
    assert spread(vectors, np.array([], dtype=int), 2).tolist() == []
