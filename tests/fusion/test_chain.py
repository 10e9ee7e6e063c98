"""The chain against every sequence of labels, counted out."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.fusion import chain as module
from annotator.fusion.chain import (
    PRIOR_CHAIN,
    PRIOR_START,
    PRIOR_TRANSITION,
    PRIOR_WEIGHT,
    Chain,
    believe,
    first_error_of,
    first_errors,
    fit_chain,
    fit_confusions,
    log_evidence,
)
from annotator.fusion.panel import MISSING
from tests.fusion.panels import made_up, panel_of


def counted_out(e: np.ndarray, chain: Chain, turns: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(e)
    probs, first = np.zeros((n, 3)), np.zeros(n + 1)
    for labels in product(range(3), repeat=n):
        if any(k not in (MISSING, label - 1) for k, label in zip(known, labels, strict=True)):
            continue
        weight = chain.start[labels[0]] * e[0, labels[0]]
        for t in range(1, n):
            weight *= chain.transition[int(turns[t]), labels[t - 1], labels[t]] * e[t, labels[t]]
        probs[np.arange(n), labels] += weight
        first[labels.index(0) if 0 in labels else n] += weight
    return probs / first.sum(), first / first.sum()


@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_it_equals_the_sum_over_all_sequences(seed: int, lengths: list[int], is_normalised: bool) -> None:
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    evidence = rng.random((starts[-1], 3)) + 0.01
    chain = Chain(rng.random(3) + 0.05, rng.random((2, 3, 3)) + 0.05)
    if is_normalised:
        chain = Chain(chain.start / chain.start.sum(), chain.transition / chain.transition.sum(axis=2, keepdims=True))
    known = np.where(rng.random(starts[-1]) < 0.3, rng.integers(-1, 2, starts[-1]), MISSING)
    turns = rng.random(starts[-1]) < 0.4
    found = believe(starts, evidence, chain, turns, known)
    # The chain's own beliefs are Markov with its odds ratios: where the first error is follows from them exactly.
    where = first_error_of(starts, found, chain.transition, turns)
    for i, n in enumerate(lengths):
        steps = slice(starts[i], starts[i + 1])
        probs, first = counted_out(evidence[steps], chain, turns[steps], known[steps])
        assert found[steps] == pytest.approx(probs, abs=1e-12)
        assert where[starts[i] + i : starts[i] + i + n + 1] == pytest.approx(first, abs=1e-7)


def test_the_first_error_is_the_likeliest_place_not_the_first_likely_error() -> None:
    first_error = np.array([0.2, 0.5, 0.1, 0.2, 0.3, 0.7])
    assert first_errors(np.array([0, 3, 4]), first_error).tolist() == [1, 1]


def test_the_chain_is_counted_and_shrunk() -> None:
    panel = panel_of([[1, -1, -1], [MISSING, 1, 1]], [[[1, 1, 1], [1, 1, 1]]])
    chain = fit_chain(panel)
    assert chain.start == pytest.approx((PRIOR_START * PRIOR_WEIGHT + [0, 0, 1]) / (PRIOR_WEIGHT + 1))
    rows = PRIOR_TRANSITION * PRIOR_WEIGHT
    within, between = chain.transition
    assert within[0] == pytest.approx((rows[0] + [1, 0, 0]) / (PRIOR_WEIGHT + 1))
    assert within[1] == pytest.approx(PRIOR_TRANSITION[1])
    assert within[2] == pytest.approx((rows[2] + [1, 0, 1]) / (PRIOR_WEIGHT + 2))
    assert between == pytest.approx(PRIOR_TRANSITION)


def test_what_follows_in_a_new_turn_is_counted_apart() -> None:
    panel = panel_of([[-1, 1, -1, -1]], [[[1, 1, 1, 1]]], turns=[[False, True, False, False]])
    rows = PRIOR_TRANSITION * PRIOR_WEIGHT
    within, between = fit_chain(panel).transition
    assert within[0] == pytest.approx((rows[0] + [1, 0, 0]) / (PRIOR_WEIGHT + 1))
    assert within[2] == pytest.approx((rows[2] + [1, 0, 0]) / (PRIOR_WEIGHT + 1))
    assert between[0] == pytest.approx((rows[0] + [0, 0, 1]) / (PRIOR_WEIGHT + 1))
    assert between[2] == pytest.approx(PRIOR_TRANSITION[2])


def test_habits_are_counted_on_gold_and_a_silent_rater_says_nothing() -> None:
    panel = panel_of([[1, 1, -1, MISSING]], [[[1, -1, -1, 1]], [[None, None, None, None]]])
    habits = fit_confusions(panel)
    assert habits[0].tolist() == [[3 / 5, 1 / 5, 1 / 5], [1 / 4, 2 / 4, 1 / 4], [2 / 6, 1 / 6, 3 / 6]]
    assert habits[1].tolist() == [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    evidence = log_evidence(panel, habits)
    assert evidence[0] == pytest.approx(np.log([1 / 5, 1 / 4, 3 / 6]))


@given(order=st.permutations(range(3)), seed=st.integers(0, 1000))
def test_other_names_for_the_values_are_nothing(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts, evidence = np.array([0, 4, 6]), rng.random((6, 3)) + 0.01
    chain = Chain(rng.random(3) + 0.05, rng.random((2, 3, 3)) + 0.05)
    turned = Chain(chain.start[order], chain.transition[:, order][:, :, order])
    turns = np.array([False, True, False, True, False, True])
    found = believe(starts, evidence[:, order], turned, turns)
    assert found == pytest.approx(believe(starts, evidence, chain, turns)[:, order], abs=1e-12)


@given(order=st.permutations(range(4)))
def test_the_order_of_raters_is_nothing(order: list[int]) -> None:
    panel = made_up(8, accuracies=[0.9, 0.6, 0.5, 0.8])
    again = panel.by([panel.raters[i] for i in order])
    expected = log_evidence(panel, fit_confusions(panel))
    assert log_evidence(again, fit_confusions(again)) == pytest.approx(expected, abs=1e-9)


def test_a_rater_heard_twice_at_half_the_temper_counts_once() -> None:
    panel = made_up(8, accuracies=[0.9, 0.6])
    twice = panel.by(["r0", "r1", "r0", "r1"])
    expected = log_evidence(panel, fit_confusions(panel))
    assert log_evidence(twice, fit_confusions(twice)) / 2 == pytest.approx(expected, abs=1e-9)


def test_a_rater_that_never_speaks_changes_nothing() -> None:
    panel = made_up(8, accuracies=[0.9, 0.6, 0.5])
    probs = panel.probs.copy()
    probs[:, 2] = np.nan
    silent = replace(panel, probs=probs)
    pair = panel.by(["r0", "r1"])
    expected = log_evidence(pair, fit_confusions(pair))
    assert log_evidence(silent, fit_confusions(silent)) == pytest.approx(expected, abs=1e-9)


def test_trajectories_of_every_length_at_once_are_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", 12)
    monkeypatch.setattr(module, "_PAIRS", 5)
    rng = np.random.default_rng(0)
    lengths = [3, 0, 7, 1, 5, 20, 2]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    evidence = rng.random((starts[-1], 3)) + 0.01
    chain = Chain(PRIOR_START, np.stack([PRIOR_TRANSITION, PRIOR_TRANSITION[::-1]]))
    turns = rng.random(starts[-1]) < 0.4
    found = believe(starts, evidence, chain, turns)
    where = first_error_of(starts, found, chain.transition, turns)
    for i, n in enumerate(lengths):
        steps, alone = slice(starts[i], starts[i + 1]), np.array([0, n])
        assert found[steps] == pytest.approx(believe(alone, evidence[steps], chain, turns[steps]), abs=1e-12)
        first = where[starts[i] + i : starts[i + 1] + i + 1]
        again = first_error_of(alone, found[steps], chain.transition, turns[steps])
        assert first == pytest.approx(again, abs=1e-7)
        assert first.sum() == pytest.approx(1.0, abs=1e-12)


def test_where_the_first_error_is_agrees_with_what_is_believed_of_the_steps() -> None:
    """By hand: with neighbours that know nothing of each other it is a product, with equal ones all or nothing."""
    starts, probs = np.array([0, 2, 3]), np.array([[0.3, 0.1, 0.6], [0.4, 0.2, 0.4], [0.2, 0.2, 0.6]])
    free, equal = np.ones((3, 3)), np.eye(3) + 1e-9
    within = np.zeros(3, dtype=np.bool_)
    found = first_error_of(starts, probs, np.stack([free, equal]), within)
    assert found == pytest.approx([0.3, 0.7 * 0.4, 0.7 * 0.6, 0.2, 0.8])
    alike = first_error_of(starts, probs[[0, 0, 2]], np.stack([free, equal]), ~within)
    assert alike == pytest.approx([0.3, 0.0, 0.7, 0.2, 0.8], abs=1e-6)
    known = np.array([[0.0, 0.0, 1.0], [0.9, 0.05, 0.05], [1.0, 0.0, 0.0]])
    found = first_error_of(starts, known, PRIOR_CHAIN.transition, within)
    assert found == pytest.approx([0.0, 0.9, 0.1, 1.0, 0.0], abs=1e-9)


@given(st.integers(0, 10_000))
def test_the_first_step_is_the_first_error_as_often_as_it_is_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([0.5, 0.5, 0.5], 40)
    starts = np.array([0, 10, 25, 40])
    found = first_error_of(starts, probs, PRIOR_CHAIN.transition, rng.random(40) < 0.3)
    for i in range(3):
        here, steps = found[starts[i] + i : starts[i + 1] + i + 1], probs[starts[i] : starts[i + 1], 0]
        assert here[0] == pytest.approx(steps[0], abs=1e-6)
        assert (here[:-1] <= steps + 1e-6).all()
        assert here[-1] <= 1 - steps.max() + 1e-6
