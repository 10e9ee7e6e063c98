"""What a label or a settled value changes, and what it leaves alone."""

import numpy as np
import pytest

from annotator.fusion.chain import PRIOR_CHAIN, PRIOR_TRANSITION, Chain, first_error_of
from annotator.fusion.panel import MISSING
from annotator.fusion.people import PRIOR_PERSON, fit_people, learn_people, pair_potentials, refresh

CHAIN = PRIOR_CHAIN
LINKS = pair_potentials(CHAIN, 0.5)
STARTS = np.array([0, 3, 5])
WITHIN = np.zeros(5, dtype=np.bool_)
EVIDENCE = np.array([[0.1, 0.1, 0.8], [0.5, 0.1, 0.4], [0.4, 0.1, 0.5], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]])


def test_where_nothing_is_known_the_models_word_stands() -> None:
    found = refresh(STARTS, EVIDENCE, CHAIN, LINKS, WITHIN)
    assert found.probs == pytest.approx(EVIDENCE)
    assert found.first_error == pytest.approx(first_error_of(STARTS, EVIDENCE, CHAIN.transition, WITHIN))


def test_gold_is_certain_moves_its_neighbours_and_no_other_trajectory() -> None:
    gold = np.array([MISSING, -1, MISSING, MISSING, MISSING])
    found = refresh(STARTS, EVIDENCE, CHAIN, LINKS, WITHIN, gold=gold)
    assert found.probs[1].tolist() == [1, 0, 0]
    assert found.probs[2, 0] > EVIDENCE[2, 0]  # an error carries on
    assert found.probs[0, 0] > EVIDENCE[0, 0]  # and has come from somewhere
    assert found.probs[3:] == pytest.approx(EVIDENCE[3:])
    assert found.first_error[2:4].sum() == pytest.approx(0, abs=1e-9)  # it is at the second step or before


@pytest.mark.filterwarnings("error")
def test_gold_is_certain_also_where_the_models_were_sure_of_another_value() -> None:
    sure, gold = np.tile([0.0, 0.0, 1.0], (5, 1)), np.array([MISSING, -1, MISSING, MISSING, MISSING])
    found = refresh(STARTS, sure, CHAIN, LINKS, WITHIN, gold=gold)
    assert found.probs[1].tolist() == [1, 0, 0]
    assert found.probs[[0, 2, 3, 4]] == pytest.approx(sure[[0, 2, 3, 4]], abs=1e-9)


def test_an_error_reaches_into_the_next_turn_as_far_as_errors_do() -> None:
    """Here nothing carries on from turn to turn, so the next one is as the models say."""
    gold, new = np.array([-1, *[MISSING] * 4]), np.array([False, True, False, False, False])
    chain = Chain(CHAIN.start, np.stack([PRIOR_TRANSITION, np.tile(CHAIN.marginal, (3, 1))]))
    apart = refresh(STARTS, EVIDENCE, chain, pair_potentials(chain, 0.5), new, gold=gold)
    assert apart.probs[1:] == pytest.approx(EVIDENCE[1:])
    within = refresh(STARTS, EVIDENCE, chain, pair_potentials(chain, 0.5), WITHIN, gold=gold)
    assert within.probs[1, 0] > EVIDENCE[1, 0]


def test_a_label_weighs_by_the_persons_habits() -> None:
    habits = fit_people({1: np.diag([400.0, 40, 400]), 2: np.full((3, 3), 100.0)})
    careful = refresh(STARTS, EVIDENCE, CHAIN, LINKS, WITHIN, [(1, 1, 1)], habits).probs[1]
    guesses = refresh(STARTS, EVIDENCE, CHAIN, LINKS, WITHIN, [(1, 2, 1)], habits).probs[1]
    assert careful[2] > 0.95
    assert guesses[2] < 0.6
    both = refresh(STARTS, EVIDENCE, CHAIN, LINKS, WITHIN, [(1, 1, 1), (1, 2, 1)], habits).probs[1]
    assert both[2] > careful[2]


def test_nobody_known_is_taken_for_an_average_person() -> None:
    nobody = fit_people({})
    assert nobody.pooled == pytest.approx(PRIOR_PERSON)
    assert nobody.of(7) == pytest.approx(PRIOR_PERSON)
    new = fit_people({1: np.diag([1000.0, 100, 1000]), 2: np.zeros((3, 3))})
    assert new.of(2) == pytest.approx(new.pooled)
    assert new.of(1)[0, 0] > new.pooled[0, 0]


def test_everybody_shrinks_by_20_labels_towards_all_and_all_by_30_towards_the_prior() -> None:
    habits = fit_people({1: np.diag([60.0, 0, 0]), 2: np.array([[0, 0, 10.0], [0, 0, 0], [0, 0, 0]])})
    pooled = (np.array([0.93, 0.03, 0.04]) * 30 + [60, 0, 10]) / 100
    assert habits.pooled[0] == pytest.approx(pooled)
    assert habits.pooled[1:] == pytest.approx(PRIOR_PERSON[1:])
    assert habits.of(1)[0] == pytest.approx((pooled * 20 + [60, 0, 0]) / 80)
    assert habits.of(2)[0] == pytest.approx((pooled * 20 + [0, 0, 10]) / 30)


def drawn(probs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(m,) -1, 0, +1 with probs (m, 3)."""
    return np.asarray((rng.random((len(probs), 1)) > probs.cumsum(axis=1)[:, :2]).sum(axis=1) - 1)


CARELESS = np.array([[0.5, 0.0, 0.5], [0.1, 0.8, 0.1], [0.02, 0.28, 0.7]])


@pytest.mark.parametrize("share_decided", [0.0, 0.2])
def test_who_errs_is_found_out_although_what_two_agreed_on_is_gold(share_decided: float) -> None:
    rng = np.random.default_rng(0)
    m = 3000
    evidence = rng.dirichlet([0.4, 0.2, 0.4], size=m)
    truth = drawn(evidence, rng)
    by = {1: drawn(PRIOR_PERSON[truth + 1], rng), 2: drawn(CARELESS[truth + 1], rng)}
    labels = [(step, who, int(values[step])) for who, values in by.items() for step in range(m)]
    decided = np.where((by[1] != by[2]) & (rng.random(m) < share_decided), truth, MISSING)
    people = learn_people(evidence, labels, decided)
    assert people.of(1) == pytest.approx(PRIOR_PERSON, abs=0.06)
    assert people.of(2) == pytest.approx(CARELESS, abs=0.08)


def test_what_a_reviewer_decided_counts_and_what_the_models_say_there_does_not() -> None:
    evidence = np.full((40, 3), [0.98, 0.01, 0.01])
    labels = [(step, 1, 1) for step in range(40)]
    decided = np.full(40, MISSING)
    assert learn_people(evidence, labels, decided).of(1)[0, 2] > 0.6
    right = learn_people(evidence, labels, np.full(40, 1)).of(1)
    assert right[0] == pytest.approx(PRIOR_PERSON[0])
    pooled = (PRIOR_PERSON[2] * 30 + [0, 0, 40]) / 70
    assert right[2] == pytest.approx((pooled * 20 + [0, 0, 40]) / 60)


def test_without_labels_nobody_is_known() -> None:
    nobody = learn_people(EVIDENCE, [], np.full(5, MISSING))
    assert nobody.own == {}
    assert nobody.pooled == pytest.approx(PRIOR_PERSON)


def test_names_and_order_of_labels_change_nothing() -> None:
    labels = [(0, 1, 1), (0, 2, -1), (1, 2, -1), (2, 1, 1), (4, 1, 0), (4, 2, 1)]
    found = learn_people(EVIDENCE, labels, np.full(5, MISSING))
    again = learn_people(EVIDENCE, [(s, {1: 9, 2: 4}[who], v) for s, who, v in reversed(labels)], np.full(5, MISSING))
    assert again.of(9) == pytest.approx(found.of(1))
    assert again.of(4) == pytest.approx(found.of(2))


def test_links_say_how_much_likelier_a_value_is_after_another_than_anywhere() -> None:
    # Whatever comes before, .6, .2, .2 follow: in the long run, with the start, .4, .2, .4.
    links = pair_potentials(Chain(np.array([0.2, 0.2, 0.6]), np.tile([0.6, 0.2, 0.2], (2, 3, 1))), 0.5)
    assert links.start.tolist() == [1, 1, 1]
    assert links.transition == pytest.approx(np.tile([1.5**0.5, 1, 0.5**0.5], (2, 3, 1)))


def test_labels_without_habits_are_refused() -> None:
    with pytest.raises(ValueError, match="habits"):
        refresh(STARTS, EVIDENCE, CHAIN, LINKS, WITHIN, [(0, 1, 1)])
