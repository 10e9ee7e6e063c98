"""The stacker against scikit-learn, and panels that are odd."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from annotator.fusion import features, stacker
from annotator.fusion.panel import MISSING, relative_lengths
from tests.fusion.panels import made_up, panel_of

ACCURACIES = [0.75, 0.6, 0.6]


def test_its_logistic_regression_is_the_librarys() -> None:
    panel = made_up(40, accuracies=ACCURACIES)
    found = stacker.fit(panel)
    x = features.numbers(panel).astype(np.float64)[:, features.N_LENGTHS :]
    z = (x - found.mean) / found.scale * 0.1
    expected = LogisticRegression(C=2.0, max_iter=100, tol=1e-3).fit(sparse.csr_matrix(z), panel.gold)
    assert found.members(panel)[0] == pytest.approx(expected.predict_proba(z).clip(1e-4), abs=1e-6)


@pytest.mark.parametrize("text_tells", [True, False])
def test_it_is_the_same_from_plain_arrays(text_tells: bool) -> None:
    panel = made_up(40, accuracies=ACCURACIES, text_tells=text_tells)
    found = stacker.fit(panel)
    again = stacker.Stacker.from_arrays(found.arrays())
    assert (found.words is not None) == text_tells
    assert np.array_equal(again.members(panel), found.members(panel))


def test_one_look_at_a_panel_is_what_its_parts_look_like() -> None:
    panel = made_up(30, accuracies=ACCURACIES, text_tells=True)
    some = np.arange(5, 17)
    steps = np.flatnonzero(np.isin(panel.owner, some))
    whole, part = features.look(panel).at(steps), features.look(panel.of(some))
    assert np.array_equal(whole.numbers, part.numbers)
    assert whole.words is not None
    assert part.words is not None
    assert (whole.words != part.words).nnz == 0


def test_the_regression_does_not_see_how_long_a_trajectory_is() -> None:
    # It would go on in a straight line at lengths that gold has never shown.
    panel = made_up(40, accuracies=ACCURACIES, text_tells=True)
    found, seen = stacker.fit(panel), features.look(panel)
    longer = seen.numbers.copy()
    longer[:, : features.N_LENGTHS] += 3.0
    by_regression, by_trees = found.members_of(features.Look(longer, seen.words))
    before = found.members(panel)
    assert np.array_equal(by_regression, before[0])
    assert not np.array_equal(by_trees, before[1])
    assert seen.numbers[:, 0] == pytest.approx(np.repeat(panel.relative_length, panel.lengths))


def test_a_length_counts_among_those_of_the_same_source() -> None:
    lengths, sources = np.array([3, 30, 5, 3, 10, 20, 10]), ["qa", "shop", "qa", "qa", "shop", "shop", "shop"]
    found = relative_lengths(lengths, sources)
    assert found == pytest.approx([1 / 3, 7 / 8, 5 / 6, 1 / 3, 1 / 4, 5 / 8, 1 / 4])
    assert relative_lengths(lengths[:1], ["qa"]) == pytest.approx([0.5])
    assert relative_lengths(lengths[:0], []).shape == (0,)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_errors_before_a_step_count_as_much_in_a_long_trajectory_as_in_a_short_one(times: int) -> None:
    panel = panel_of([[1, 1] * times + [1]], [[[-1, 1] * times + [1]], [[1, 1] * times + [1]]])
    before = features._so_far(panel, (panel.votes == -1).astype(np.float32))
    assert before[0] == pytest.approx([0.0, 0.0])
    assert before[-1] == pytest.approx([1 / 2, 1 / 4])  # one of two raters; a half of what that one said


def test_neighbours_beyond_the_ends_of_a_trajectory_say_nothing() -> None:
    panel = made_up(8, accuracies=ACCURACIES)
    alone = panel.of([3])
    among = np.flatnonzero(panel.owner == 3)
    assert np.array_equal(features.numbers(panel)[among], features.numbers(alone))


def test_words_that_nobody_says_twice_teach_nothing() -> None:
    panel = made_up(30, accuracies=ACCURACIES)
    panel = replace(panel, texts=[f"word{i}" for i in range(panel.n_steps)])
    found = stacker.fit(panel)
    assert found.words is None
    assert np.array_equal(found.members(panel), stacker.fit(replace(panel, texts=[""] * panel.n_steps)).members(panel))


def test_it_works_where_nobody_says_anything_any_more() -> None:
    panel = made_up(40, accuracies=ACCURACIES, text_tells=True)
    silent = replace(panel, texts=[""] * panel.n_steps)
    assert stacker.fit(panel).members(silent).sum(axis=2) == pytest.approx(np.ones((2, panel.n_steps)), abs=1e-3)


def test_steps_without_gold_teach_nothing() -> None:
    panel = made_up(40, accuracies=ACCURACIES)
    gold = panel.gold.copy()
    gold[panel.owner >= 30] = MISSING
    few = stacker.fit(panel.with_gold(gold))
    assert np.array_equal(few.members(panel), stacker.fit(panel.of(np.arange(30))).members(panel))


def test_a_single_value_is_refused() -> None:
    panel = made_up(10, accuracies=ACCURACIES)
    with pytest.raises(ValueError, match="at least two values"):
        stacker.fit(panel.with_gold(np.ones_like(panel.gold)))
