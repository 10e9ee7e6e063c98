"""Rounds: shares, siblings, and a random slice that tells the truth about the pool."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.acceptance.guarantee import Rule, Trial
from annotator.selection.batch import RANDOM, choose, interleaved, quotas, spread, stratified

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


def test_a_strategy_does_not_choose_what_it_knows_nothing_of() -> None:
    scores = np.where(np.arange(100) < 3, 1.0, -np.inf)
    picks = choose({"errors": scores}, {"errors": 1.0}, 10, np.arange(100), 1, seed=0)
    assert sorted(pick.index for pick in picks) == [0, 1, 2]


def test_a_stratified_start_gives_each_stratum_its_share() -> None:
    strata = np.repeat([2, 0, 1], [50, 30, 20])
    picks = stratified(strata, 10, seed=3)
    assert Counter(strata[[pick.index for pick in picks]].tolist()) == {2: 5, 0: 3, 1: 2}
    assert {(pick.strategy, pick.score, pick.probability) for pick in picks} == {(RANDOM, None, 0.1)}
    assert len(stratified(strata, 1000, seed=0)) == 100
    assert stratified(strata[:0], 5, seed=0) == []


def test_in_a_stratified_start_everything_is_equally_likely() -> None:
    """Also what is alone in its stratum: of 7, 3 are drawn 4,000 times."""
    strata = np.array([0, 1, 1, 2, 2, 2, 2])
    drawn = Counter(pick.index for seed in range(4000) for pick in stratified(strata, 3, seed))
    assert all(abs(drawn[i] / 4000 - 3 / 7) < 0.035 for i in range(7)), drawn


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 1000))
def test_in_a_stratified_start_every_share_is_right_up_to_rounding(strata: list[int], n: int, seed: int) -> None:
    n = min(n, len(strata))
    drawn = [pick.index for pick in stratified(np.array(strata), n, seed)]
    assert len(set(drawn)) == len(drawn) == n
    counts = Counter(strata[i] for i in drawn)
    for stratum, size in Counter(strata).items():
        share = n * size // len(strata)
        assert share <= counts[stratum] <= share + (n * size % len(strata) > 0)


def test_a_promise_may_rest_on_a_stratified_start() -> None:
    """100 sources of 10 trajectories each, of which 3 are long and have all the errors: just over 10 %.

    Drawn by every 10th of them, whole samples have hardly a long one, and prove that there are fewer.
    """
    is_long = np.tile(np.repeat([0, 1], [7, 3]), 100)
    taken, wrong = np.full(1_000, 3), is_long.copy()
    wrong[:5] = 1
    strata = np.repeat(np.arange(100), 10) * 3 + is_long
    shares, believed = [], 0
    for seed in range(500):
        some = np.array([pick.index for pick in stratified(strata, 100, seed)])
        ones = np.ones(100)
        trial = Trial(Rule(0.9, 3), taken[some], wrong[some], 3, ones, ones, 1)
        believed += trial.evidence(0.1) >= math.log(10)
        shares.append(wrong[some].sum() / 300)
    assert believed / 500 < 0.1
    assert np.mean(shares) == pytest.approx(wrong.sum() / 3_000, abs=0.003)
    assert np.std(shares) < 1.1 * np.sqrt(0.3 * 0.7 / 100) / 3  # as of 100 that have nothing to do with each other


def test_of_two_in_a_stratified_start_one_is_never_a_sign_of_the_other() -> None:
    """Every subset of 5 alone in their strata and 2 in one: at most as likely as if each were drawn for itself."""
    strata, drawn = (
        np.array([0, 1, 2, 3, 4, 5, 5]),
        [
            frozenset(pick.index for pick in stratified(np.array([0, 1, 2, 3, 4, 5, 5]), 3, seed))
            for seed in range(6000)
        ],
    )
    for size in (2, 3):
        for some in combinations(range(len(strata)), size):
            together = sum(found.issuperset(some) for found in drawn) / len(drawn)
            assert together <= (3 / 7) ** size + 0.02, some


def test_every_beginning_of_a_round_holds_the_shares() -> None:
    order = interleaved(choose({"errors": SCORES}, {"errors": 80, RANDOM: 20}, 50, np.arange(100), 1, seed=0))
    assert len(order) == 50
    for n in range(5, 51, 5):
        assert sum(pick.strategy == RANDOM for pick in order[:n]) == n // 5
    errors = [pick.score or 0.0 for pick in order if pick.strategy == "errors"]
    assert errors == sorted(errors, reverse=True)


def test_what_a_strategy_has_nothing_for_goes_to_the_others() -> None:
    nothing = np.full(100, -np.inf)
    picks = choose({"contradiction": nothing, "errors": SCORES}, SHARES, 10, np.arange(100), 2, seed=1)
    assert Counter(pick.strategy for pick in picks) == {"errors": 8, RANDOM: 2}


def test_what_no_strategy_knows_anything_of_leaves_its_places_to_chance() -> None:
    """As many whatever is drawn, so that the probability stays what it says."""
    scores = {"a": np.where(np.arange(64) < 4, 1.0, -np.inf)}
    for seed in range(5):
        picks = choose(scores, {"a": 80, RANDOM: 20}, 50, np.arange(64), 3, seed)
        by_chance = [pick for pick in picks if pick.strategy == RANDOM]
        assert (len(by_chance), {pick.probability for pick in by_chance}) == (46, {46 / 64})
        assert len(picks) == 46 + len({0, 1, 2, 3} - {pick.index for pick in by_chance})


def test_strategies_take_turns_where_tasks_have_too_few_for_all() -> None:
    """20 tasks of 5, of which 3 may be chosen: 60 of 72 places, and each strategy has its share of these."""
    shares = {"errors": 50.0, "first": 20.0, "unsure": 10.0, RANDOM: 20.0}
    scores = {name: np.random.default_rng(i).random(100) for i, name in enumerate(("unsure", "errors", "first"))}
    picks = choose(scores, shares, 90, np.repeat(np.arange(20), 5), 3, seed=1)
    found = Counter(pick.strategy for pick in picks)
    assert (found[RANDOM], {pick.probability for pick in picks if pick.strategy == RANDOM}) == (18, {0.18})
    n = found.total() - 18
    assert 50 <= n <= 60  # of some tasks chance has taken more than two
    assert all(abs(found[name] - n * shares[name] / 80) <= 1 for name in scores), found
    for name in scores:  # by falling score
        chosen = [pick.score or 0.0 for pick in picks if pick.strategy == name]
        assert chosen == sorted(chosen, reverse=True)


def test_each_strategy_gets_what_it_is_owed_before_others_get_more() -> None:
    """As far as it knows enough: what is left of its share goes to the others by theirs."""
    few = np.where(np.arange(100) < 4, 1.0, -np.inf)
    shares = {"few": 50.0, "errors": 30.0, "middle": 20.0}
    picks = choose({"errors": SCORES, "middle": -abs(SCORES - 50), "few": few}, shares, 40, np.arange(100), 1, seed=1)
    assert Counter(pick.strategy for pick in picks) == {"few": 4, "errors": 22, "middle": 14}


def test_how_many_of_each_strategy_are_wanted() -> None:
    assert quotas(SHARES, 10) == {"errors": 6, "contradiction": 2, RANDOM: 2}
    assert quotas({"a": 47, "b": 48, RANDOM: 5}, 29) == {"a": 13, "b": 14, RANDOM: 2}
    assert quotas({"a": 1, RANDOM: 0}, 3) == {"a": 3, RANDOM: 0}


@pytest.mark.parametrize(("n", "n_random"), [(1, 1), (29, 2), (50, 3), (90, 5), (100, 5)])
def test_the_random_slice_is_never_less_than_its_share(n: int, n_random: int) -> None:
    picks = choose({"a": np.arange(200.0)}, {"a": 95, RANDOM: 5}, n, np.arange(200), 3, 0)
    assert sum(pick.strategy == RANDOM for pick in picks) == n_random
    assert len(picks) == n
