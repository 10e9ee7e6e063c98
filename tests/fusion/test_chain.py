"""The chain against every sequence of labels, counted out."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.fusion.chain import (
    PRIOR_START,
    PRIOR_TRANSITION,
    PRIOR_WEIGHT,
    Chain,
    believe,
    first_errors,
    fit_chain,
    fit_confusions,
    log_evidence,
)
from annotator.fusion.panel import MISSING
from tests.fusion.panels import panel_of


def counted_out(e: np.ndarray, chain: Chain, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(e)
    probs, first = np.zeros((n, 3)), np.zeros(n + 1)
    for labels in product(range(3), repeat=n):
        if any(k not in (MISSING, label - 1) for k, label in zip(known, labels, strict=True)):
            continue
        weight = chain.start[labels[0]] * e[0, labels[0]]
        for t in range(1, n):
            weight *= chain.transition[labels[t - 1], labels[t]] * e[t, labels[t]]
        probs[np.arange(n), labels] += weight
        first[labels.index(0) if 0 in labels else n] += weight
    return probs / first.sum(), first / first.sum()


@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_it_equals_the_sum_over_all_sequences(seed: int, lengths: list[int], is_normalised: bool) -> None:
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    evidence = rng.random((starts[-1], 3)) + 0.01
    chain = Chain(rng.random(3) + 0.05, rng.random((3, 3)) + 0.05)
    if is_normalised:
        chain = Chain(chain.start / chain.start.sum(), chain.transition / chain.transition.sum(axis=1, keepdims=True))
    known = np.where(rng.random(starts[-1]) < 0.3, rng.integers(-1, 2, starts[-1]), MISSING)
    found = believe(starts, evidence, chain, known)
    for i, n in enumerate(lengths):
        steps = slice(starts[i], starts[i + 1])
        probs, first = counted_out(evidence[steps], chain, known[steps])
        assert found.probs[steps] == pytest.approx(probs, abs=1e-12)
        assert found.first_error[starts[i] + i : starts[i] + i + n + 1] == pytest.approx(first, abs=1e-12)


def test_the_first_error_is_the_likeliest_place_not_the_first_likely_error() -> None:
    first_error = np.array([0.2, 0.5, 0.1, 0.2, 0.3, 0.7])
    assert first_errors(np.array([0, 3, 4]), first_error).tolist() == [1, 1]


def test_the_chain_is_counted_and_shrunk() -> None:
    panel = panel_of([[1, -1, -1], [MISSING, 1, 1]], [[[1, 1, 1], [1, 1, 1]]])
    chain = fit_chain(panel)
    assert chain.start == pytest.approx((PRIOR_START * PRIOR_WEIGHT + [0, 0, 1]) / (PRIOR_WEIGHT + 1))
    rows = PRIOR_TRANSITION * PRIOR_WEIGHT
    assert chain.transition[0] == pytest.approx((rows[0] + [1, 0, 0]) / (PRIOR_WEIGHT + 1))
    assert chain.transition[1] == pytest.approx(PRIOR_TRANSITION[1])
    assert chain.transition[2] == pytest.approx((rows[2] + [1, 0, 1]) / (PRIOR_WEIGHT + 2))


def test_habits_are_counted_on_gold_and_a_silent_rater_says_nothing() -> None:
    panel = panel_of([[1, 1, -1, MISSING]], [[[1, -1, -1, 1]], [[None, None, None, None]]])
    habits = fit_confusions(panel)
    assert habits[0].tolist() == [[3 / 5, 1 / 5, 1 / 5], [1 / 4, 2 / 4, 1 / 4], [2 / 6, 1 / 6, 3 / 6]]
    assert habits[1].tolist() == [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    evidence = log_evidence(panel, habits)
    assert evidence[0] == pytest.approx(np.log([1 / 5, 1 / 4, 3 / 6]))
