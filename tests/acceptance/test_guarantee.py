"""The promise: what a rule takes, small bets worked by hand, and how often a false promise is believed."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from annotator.acceptance.guarantee import (
    _STAKES,
    RULES,
    Rule,
    Trial,
    audit_evidence,
    best,
    in_order,
    log_wealth,
    prospect,
    try_rules,
)
from annotator.acceptance.terms import Terms, first_that_tests, to_learn_from, why_not
from annotator.chance import chance
from annotator.errors import InvalidSettings


def probs_of(*rows: tuple[float, int]) -> np.ndarray:
    """(certainty, value) by step; the rest goes to the other values alike."""
    found = np.array([[(1 - sure) / 2] * 3 for sure, _ in rows])
    for row, (sure, value) in zip(found, rows, strict=True):
        row[value + 1] = sure
    return found


def test_a_rule_takes_what_is_sure_never_a_0_and_the_surest_first() -> None:
    probs = probs_of((0.9, 1), (0.95, -1), (0.99, 0), (0.7, 1), (0.92, 1), (0.9, 1), (0.9, -1))
    starts = np.array([0, 5, 5, 7])
    assert Rule(0.9, None).takes(starts, probs).tolist() == [True, True, False, False, True, True, True]
    assert Rule(0.91, None).takes(starts, probs).tolist() == [False, True, False, False, True, False, False]
    assert Rule(0.9, 2).takes(starts, probs).tolist() == [False, True, False, False, True, True, True]
    assert Rule(0.9, 1).takes(starts, probs).tolist() == [False, True, False, False, False, True, False]
    assert Rule(0.9, 1).takes(np.array([0]), probs[:0]).tolist() == []


def test_wealth_is_the_mean_over_all_stakes_whatever_the_order() -> None:
    gains, most = np.array([0.1, -2.0, 0.1, 0.5]), 3.0
    by_hand = sum(Fraction(math.prod(Fraction(1 + float(s) / most * g) for g in gains)) for s in _STAKES)
    assert math.exp(log_wealth(gains, most)) == pytest.approx(float(by_hand / len(_STAKES)))
    assert log_wealth(gains[::-1], most) == pytest.approx(log_wealth(gains, most))
    assert log_wealth(np.array([]), 1.0) == log_wealth(gains, 0.0) == 0.0
    assert np.isfinite(log_wealth(np.full(2000, -3.0), 3.0))


def test_a_fair_game_never_pays_on_average() -> None:
    """Every sample of four trajectories with a fair chance of a wrong label: the mean wealth is 1 exactly."""
    share = 0.25  # of one label each
    total = 0.0
    for wrong in product([0, 1], repeat=4):
        chance = math.prod(share if w else 1 - share for w in wrong)
        total += chance * math.exp(log_wealth(share - np.array(wrong, dtype=float), 1.0))
    assert total == pytest.approx(1)


def trial(rule: Rule, taken: np.ndarray, wrong: np.ndarray, n_labels: int = 100) -> Trial:
    n = len(taken)
    return Trial(rule, taken, wrong, int(taken.max()), np.ones(n), np.ones(n), n_labels)


def test_few_errors_prove_a_promise_and_many_do_not() -> None:
    rule, taken = Rule(0.9, 5), np.full(200, 4)
    wrong = np.zeros(200, dtype=np.int64)
    assert trial(rule, taken, wrong).evidence(0.05) > math.log(10)
    wrong[:10] = 4  # in clumps: 5 %
    assert trial(rule, taken, wrong).evidence(0.05) < 0
    spread = np.zeros(200, dtype=np.int64)
    spread[:8] = 1  # 1 %
    clumped = np.zeros(200, dtype=np.int64)
    clumped[:2] = 4
    assert trial(rule, taken, spread).evidence(0.05) > trial(rule, taken, clumped).evidence(0.05)
    # The fewer of what the sample stands for are left, the more the known errors weigh.
    rest = Trial(rule, taken, spread, 4, np.full(200, 0.3), np.ones(200), 100)
    assert rest.evidence(0.05) < trial(rule, taken, spread).evidence(0.05)


def test_a_false_promise_is_believed_no_more_often_than_it_says() -> None:
    """In a pool of 2,000 just over 8 % of what is taken is wrong, in clumps; 2,000 samples of 100."""
    rng = np.random.default_rng(7)
    taken = rng.integers(0, 5, 2_000)
    wrong = np.where(rng.random(2_000) < 0.2, rng.binomial(taken, 0.4), 0)
    epsilon = float(wrong.sum() / taken.sum()) - 1e-9
    believed = 0
    for _ in range(2_000):
        some = rng.choice(2_000, 100, replace=False)
        believed += trial(Rule(0.9, 4), taken[some], wrong[some]).evidence(epsilon) >= math.log(10)
    assert believed / 2_000 < 0.1


def test_a_true_audit_seldom_cries_wolf_and_a_broken_promise_is_found() -> None:
    rng = np.random.default_rng(3)
    alarms, found = 0, 0
    for _ in range(400):
        taken = rng.integers(1, 5, 150)
        true, broken = (rng.binomial(taken, p) for p in (0.05, 0.15))
        looks = range(10, 151, 10)
        alarms += any(audit_evidence(taken[:n], true[:n], 0.05, 4) >= math.log(10) for n in looks)
        found += any(audit_evidence(taken[:n], broken[:n], 0.05, 4) >= math.log(10) for n in looks)
    assert alarms / 400 < 0.1
    assert found / 400 > 0.9


def test_an_audit_cries_wolf_no_more_often_where_what_is_settled_first_is_worse() -> None:
    """Of 2,000 trajectories the first half has all errors, but few enough; its audits are settled first."""
    rng = np.random.default_rng(0)
    false, false_by_settling = 0, 0
    for _ in range(200):
        wrong = np.where(np.arange(2_000) < 1_000, rng.binomial(3, 0.09, 2_000), 0)
        epsilon = float(wrong.sum()) / 6_000
        turns = rng.permutation(2_000)[:200]
        settles = np.argsort(np.argsort(turns))  # in the order of import
        taken = np.full(200, 3)
        looks = range(10, 201, 10)
        so_far = [np.where(settles < n, wrong[turns], 0) for n in looks]
        false += any(audit_evidence(taken, some, epsilon, 3) >= math.log(10) for some in so_far)
        by_settling = wrong[np.sort(turns)]
        false_by_settling += any(audit_evidence(taken[:n], by_settling[:n], epsilon, 3) >= math.log(10) for n in looks)
    assert false / 200 <= 0.1
    assert false_by_settling / 200 > 0.3


def test_an_audit_remembers_the_most_that_its_stake_has_been() -> None:
    taken, wrong = np.full(4, 2), np.array([0, 2, 0, 0])
    stakes = [math.prod(1 + float(s) / 0.4 * g for g in gains) for s in _STAKES for gains in [[-0.4, 1.6]]]
    assert audit_evidence(taken, wrong, 0.2, 2) == pytest.approx(math.log(float(np.mean(stakes))))
    assert audit_evidence(taken, 0 * wrong, 0.2, 2) == audit_evidence(taken[:0], wrong[:0], 0.2, 0) == 0


def test_rules_come_in_the_order_of_their_prospect_without_gold() -> None:
    rng = np.random.default_rng(0)
    starts = np.arange(0, 1001, 5)
    sure = rng.uniform(0.6, 0.995, 1000)
    probs = probs_of(*[(float(one), 1) for one in sure])
    order = in_order(starts, probs, 0.05)
    prospects = [prospect(starts, probs, rule, 0.05) for rule in order]
    assert prospects == sorted(prospects, reverse=True)
    assert min(prospects) > 0
    assert Rule(0.8, None) not in order  # a tenth of it is expected to be wrong
    assert len(order) < len(RULES)
    assert in_order(starts, probs_of(*[(0.7, 1)] * 1000), 0.05) == []


def test_the_test_stops_at_the_first_rule_that_fails_and_takes_the_one_with_most_labels() -> None:
    taken, none, many = np.full(200, 3), np.zeros(200, dtype=np.int64), np.full(200, 1)
    trials = [
        trial(Rule(0.99, 3), taken, none, 10),
        trial(Rule(0.97, 3), taken, none, 30),
        trial(Rule(0.95, 3), taken, none, 20),
        trial(Rule(0.9, 3), taken, many, 40),
        trial(Rule(0.8, 3), taken, none, 50),
    ]
    tried = try_rules(iter(trials), 0.05, 0.1)
    assert [one.holds for one in tried] == [True, True, True, False]
    chosen = best(tried)
    assert chosen is not None
    assert chosen.rule == Rule(0.97, 3)
    assert best(try_rules(iter(trials[3:]), 0.05, 0.1)) is None
    assert best([]) is None


def test_part_of_the_sample_is_learnt_from_where_other_gold_is_missing() -> None:
    chances = np.array([0.7, 0.3, 0.1, 0.499, 0.5, 0.2])
    assert to_learn_from(chances, 0).tolist() == [1, 2, 3, 5]
    assert to_learn_from(chances, 98).tolist() == [2, 5]
    assert to_learn_from(chances, 100).tolist() == to_learn_from(chances[:0], 0).tolist() == []
    assert len(to_learn_from(np.linspace(0, 1, 1_000), 0)) == 100


def test_the_more_there_is_the_more_tests_and_nothing_that_tests_is_learnt_from_later() -> None:
    chances = np.random.default_rng(0).random(400)
    before: set[int] = set()
    for n, n_elsewhere in ((50, 0), (150, 0), (200, 0), (250, 10), (250, 40), (400, 40), (400, 200)):
        tests = set(range(n)) - set(to_learn_from(chances[:n], n_elsewhere).tolist())
        assert before < tests
        before = tests
    assert len(before) == 400


def test_what_is_missing_is_named() -> None:
    assert why_not(100, 50, 0, 5) == ""
    assert "of which 49 can be spared for the test; it needs 50" in why_not(98, 49, 0, 5)
    assert why_not(50, 0, 200, 5) == ""
    assert "Gold of 20 trajectories is too little" in why_not(80, 15, 5, 5)
    assert why_not(100, 50, 0, 0, is_heard=False) == (
        "There is nothing to accept: no model has rated 95 % of the sample, so none is heard. Start one over all "
        "trajectories, on the page Models."
    )
    assert why_not(100, 50, 0, 0) == (
        "There is nothing to accept: each trajectory that all heard models have rated has been begun by somebody, is "
        "accepted or in an audit already, or waits as the random part of a round. Have them rate further ones."
    )
    assert why_not(100, 50, 0, 1, 60) == ""
    assert why_not(100, 50, 0, 0, 60) == (
        "There is nothing to accept: the 60 that models have rated and nobody has begun came into the queue after the "
        "first of the rounds that test, which could not draw them. Start a round with a share at random now; once "
        "people have taken 50 that it and later ones drew at random, these test alone."
    )


@pytest.mark.parametrize(
    ("n_before", "n_pool", "n_drawn", "first"),
    [
        ([100], [100], [3], 0),
        ([100, 100, 100], [100, 60, 20], [40, 40, 20], 0),  # nothing has come since
        ([100, 140], [100, 80], [60, 50], 0),  # just half of what it could draw
        ([100, 141], [100, 80], [60, 50], 1),
        ([100, 141], [100, 80], [60, 49], 0),  # too few: the earlier ones test on
        ([100, 141, 160], [100, 80, 60], [60, 40, 10], 1),  # with what a later round drew there are enough
        ([100, 120, 141], [100, 80, 80], [60, 20, 50], 2),  # little by little
        ([100, 180, 260], [100, 80, 80], [60, 50, 49], 1),
    ],
)
def test_a_new_sample_begins_where_most_is_new(
    n_before: list[int], n_pool: list[int], n_drawn: list[int], first: int
) -> None:
    assert first_that_tests(np.array(n_before), np.array(n_pool), np.array(n_drawn)) == first


def test_chance_is_even_and_the_same_each_time() -> None:
    found = np.sort([chance("acceptance", "demo", f"t-{i}") for i in range(2_000)])
    assert np.abs(found - (np.arange(2_000) + 0.5) / 2_000).max() < 0.03
    assert chance("acceptance", "demo", "t-1") == 0.057504671475883125
    assert chance("audit", 5, 12) == 0.9480175354653393


def test_terms_outside_their_bounds_are_refused_by_name() -> None:
    assert Terms.parse({}) == Terms(epsilon=0.05, delta=0.1, audit_share=0.1)
    with pytest.raises(InvalidSettings) as refusal:
        Terms.parse({"epsilon": 0.5, "audit_share": 0, "more": 1})
    assert set(refusal.value.fields) == {"epsilon", "audit_share", "more"}
