"""Unsupervised aggregation on cases that can be worked by hand, and what must not change it."""

from collections.abc import Callable
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.fusion import crowd as module
from annotator.fusion.chain import PRIOR_TRANSITION
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


SMALL = panel_of(
    [[1, 1, 1], [1, 1], [1]],
    [[[1, -1, -1], [-1, 1], [0]], [[1, 1, -1], [-1, None], [1]], [[0, -1, 1], [1, 0], [1]]],
)


@pytest.mark.parametrize("method", [dawid_skene, one_coin, chain_dawid_skene])
def test_two_rounds_are_those_of_an_enumeration_of_all_sequences(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_ROUNDS", 2)
    panel, truth = SMALL, majority(SMALL)
    paths = [
        [(path, np.arange(a, b)) for path in product(range(3), repeat=int(b - a))]
        for a, b in zip(panel.starts[:-1], panel.starts[1:], strict=True)
    ]
    # By trajectory: how likely each sequence of values is. At first its steps are taken as independent.
    shares = [np.array([np.prod(truth[steps, path]) for path, steps in one]) for one in paths]
    for _ in range(2):
        start, pairs, marginal = np.ones(3), PRIOR_TRANSITION.copy(), truth.mean(axis=0)
        for one, share in zip(paths, shares, strict=True):
            for (path, _steps), p in zip(one, share, strict=True):
                start[path[0]] += p
                for before, after in pairwise(path):
                    pairs[before, after] += p
        confusions = np.full((3, 3, 3), 0.01)
        for rater, step in np.argwhere(panel.votes.T != -9):
            confusions[rater, :, panel.votes[step, rater] + 1] += truth[step]
        confusions /= confusions.sum(axis=(1, 2) if method is one_coin else 2, keepdims=True)
        if method is one_coin:
            right = np.trace(confusions, axis1=1, axis2=2)[:, None, None]
            confusions = np.where(np.eye(3) == 1, right, (1 - right) / 2)
        start, pairs = start / start.sum(), pairs / pairs.sum(axis=1, keepdims=True)
        truth = np.zeros_like(truth)
        for i, one in enumerate(paths):
            likely = []
            for path, steps in one:
                p = np.prod([marginal[k] for k in path])
                if method is chain_dawid_skene:
                    p = start[path[0]] * np.prod([pairs[a, b] for a, b in pairwise(path)])
                for step, value in zip(steps, path, strict=True):
                    said = [(r, vote + 1) for r, vote in enumerate(panel.votes[step]) if vote != -9]
                    p *= np.prod([confusions[r, value, vote] for r, vote in said])
                likely.append(p)
            shares[i] = np.array(likely) / np.sum(likely)
            for (path, steps), p in zip(one, shares[i], strict=True):
                truth[steps, path] += p
    assert method(panel) == pytest.approx(truth, abs=1e-9)


def test_weak_raters_do_not_dissolve_the_chain() -> None:
    rng = np.random.default_rng(0)
    follows = [[0.9, 0.02, 0.08], [0.1, 0.8, 0.1], [0.05, 0.03, 0.92]]
    gold = []
    for _ in range(300):
        values = [int(rng.choice(3, p=[0.2, 0.1, 0.7]))]
        for _ in range(9):
            values.append(int(rng.choice(3, p=follows[values[-1]])))
        gold.append([value - 1 for value in values])
    votes = [[[v if rng.random() < 0.35 else int(rng.choice([-1, 0, 1])) for v in one] for one in gold] for _ in "abc"]
    panel = panel_of(gold, votes)
    right = float((chain_dawid_skene(panel).argmax(axis=1) - 1 == panel.gold).mean())
    assert right == pytest.approx(0.847, abs=0.01)  # with neighbours as if independent: 0.748
