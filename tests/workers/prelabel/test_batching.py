"""Batches by token budget, and the budget that gives way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.prelabel.discriminative.batching import Budget, plan


def test_rows_of_like_length_share_a_batch():
    assert plan([10, 50, 12, 49, 11], 100) == [[1, 3], [2, 4, 0]]


def test_a_row_beyond_the_budget_is_a_batch_of_its_own():
    assert plan([500, 10, 400], 100) == [[0], [2], [1]]


def test_a_batch_that_keeps_the_device_busy_takes_only_rows_of_like_length():
    assert plan([5000, 4999, 4250, 4249], 100_000) == [[0, 1, 2], [3]]
    assert plan([2000, 100, 100, 100, 100], 100_000) == [[0, 1, 2, 3], [4]]  # 8,000 tokens, padding included, are free


@given(st.lists(st.integers(1, 1000), max_size=60), st.integers(1, 3000))
def test_no_batch_exceeds_the_budget_and_every_row_is_there_once(lengths, budget):
    batches = plan(lengths, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


def test_the_budget_is_halved_from_what_failed_and_grows_slowly():
    budget = Budget(32_000)
    budget.halve(20_000)
    assert budget.tokens == 10_000
    for _ in range(15):
        budget.succeed()
    assert budget.tokens == 10_000
    budget.succeed()
    assert budget.tokens == 11_250
    for _ in range(16 * 100):
        budget.succeed()
    assert budget.tokens == 32_000


@pytest.mark.parametrize("used", [1, 2])
def test_the_budget_never_reaches_zero(used):
    budget = Budget(8)
    budget.halve(used)
    assert budget.tokens == 1
