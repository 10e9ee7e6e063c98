"""Unsupervised aggregation on cases that can be worked by hand, and what must not change it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.fusion.crowd import chain_dawid_skene, dawid_skene, majority, one_coin
from annotator.fusion.panel import Panel
from tests.fusion.panels import made_up, panel_of

Method = Callable[[Panel], np.ndarray]
METHODS: list[Method] = [majority, dawid_skene, one_coin, chain_dawid_skene]


def test_the_majority_leaves_out_who_abstains() -> None:
    panel = panel_of([[1, 1, 1]], [[[1, 1, None]], [[1, -1, None]], [[-1, None, None]]])
    assert majority(panel) == pytest.approx(
        np.array([[1 / 3, 0, 2 / 3], [1 / 2, 0, 1 / 2], [1 / 3, 1 / 3, 1 / 3]]), abs=1e-5
    )


@pytest.mark.parametrize("method", METHODS[1:])
def test_one_good_rater_is_heard_above_two_that_guess(method: Method) -> None:
    panel = made_up(150, accuracies=[0.95, 0.35, 0.35, 0.9])
    right = (method(panel).argmax(axis=1) - 1 == panel.gold).mean()
    assert right > (majority(panel).argmax(axis=1) - 1 == panel.gold).mean()
    assert right > 0.9


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None)
@given(order=st.permutations(range(4)))
def test_the_order_of_raters_is_nothing(method: Method, order: list[int]) -> None:
    panel = made_up(12, accuracies=[0.9, 0.6, 0.5, 0.8])
    again = panel.by([panel.raters[i] for i in order])
    assert method(again) == pytest.approx(method(panel), abs=1e-6)


@pytest.mark.parametrize("method", [majority, dawid_skene, one_coin])
def test_other_names_for_the_values_are_nothing(method: Method) -> None:
    panel = made_up(30, accuracies=[0.9, 0.6, 0.5])
    turned = Panel(**{**vars(panel), "probs": panel.probs[:, :, ::-1], "gold": -panel.gold})
    assert method(turned)[:, ::-1] == pytest.approx(method(panel), abs=1e-6)


def test_a_rater_heard_twice_counts_twice_in_the_majority() -> None:
    panel = panel_of([[1]], [[[1]], [[-1]]])
    assert majority(panel.by(["r0", "r1", "r1"]))[0] == pytest.approx([2 / 3, 0, 1 / 3], abs=1e-5)
