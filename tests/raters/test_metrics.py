"""Figures of raters against gold: published values, scikit-learn, plain loops, and properties."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, confusion_matrix, f1_score, precision_score, recall_score

from annotator.agreement.metrics import Figure
from annotator.agreement.sums import VALUES
from annotator.raters.metrics import N_BINS, GoldTrajectory, RaterReport, compare, verdicts
from tests.conftest import SHARED_DATA
from tests.raters.benchmark import SETS, one_hot, read_gold, read_judges

SINGLE = (
    "step_acc",
    "step_acc_answered",
    "first_err_acc",
    "first_err_acc_strict",
    "coverage",
    "macro_f1",
    "ece",
    "brier",
    "processbench_f1",
    "prm_score",
)
NAN = np.full(3, np.nan)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def gold_of(*rows, groups=None, domains=None):
    """Trajectories from lists of values; None is a step without gold."""
    return [
        GoldTrajectory(
            np.array([value or 0 for value in row], dtype=np.int64),
            np.array([value is not None for value in row], dtype=np.bool_),
            groups[i] if groups else i,
            domains[i] if domains else "",
        )
        for i, row in enumerate(rows)
    ]


def report(gold, given, **options):
    return compare(gold, {"rater": given}, **options)["rater"].overall


def values_of(found: RaterReport) -> dict[str, float | None]:
    several = {
        f"{name} {value}": getattr(found, name)[k].value
        for name in ("recall", "precision")
        for k, value in enumerate(VALUES)
    }
    return {**{name: getattr(found, name).value for name in SINGLE}, **several}


# Worked out by hand


def test_a_small_example_worked_out_by_hand():
    gold = gold_of([1, 1, -1, -1], [1, 0], [None, -1])
    given = [one_hot([1, 1, -1, 1]), one_hot([1, None]), one_hot([1, 0])]
    found = report(gold, given, resamples=0)
    assert found.confusion == [[1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 3, 0]]
    assert (found.n_trajectories, found.n_steps, found.n_groups) == (3, 7, 3)
    expected = {
        "step_acc": 4 / 7,  # what is not said is wrong
        "step_acc_answered": 4 / 6,
        # The first step of the third trajectory has no gold, so nobody knows its first error.
        "first_err_acc": 2 / 2,
        "first_err_acc_strict": 1 / 2,  # "no error" beside an abstention has not been said
        "coverage": 6 / 7,
        "macro_f1": (2 * 1 / (3 + 1) + 0 + 2 * 3 / (3 + 4)) / 3,
        "ece": 2 / 6,  # always sure, right four times in six
        "brier": 2 * 2 / 6,
        "processbench_f1": 0.0,  # 1 of 1 with an error, 0 of 1 without
        "prm_score": (2 * 3 / (2 * 3 + 2) + 2 * 1 / (2 * 1 + 2)) / 2,
        "recall -1": 1 / 3,
        "recall 0": 0.0,
        "recall 1": 1.0,
        "precision -1": 1.0,
        "precision 0": 0.0,
        "precision 1": 3 / 4,
    }
    assert values_of(found) == pytest.approx(expected, abs=1e-12)


def test_processbench_f1_is_the_harmonic_mean_over_runs_with_and_without_an_error():
    gold = gold_of([1, -1], [-1, 1], [-1], [1], [0, 1])
    given = [one_hot(row) for row in ([1, -1], [1, -1], [1], [1], [1, -1])]
    found = report(gold, given, resamples=0)
    assert found.processbench_f1.value == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    neither = report(gold, [one_hot([-value if value else 1 for value in one.values]) for one in gold], resamples=0)
    assert neither.processbench_f1.value == 0.0
    only_errors = report(gold[:3], given[:3], resamples=0)
    assert only_errors.processbench_f1.value is None
    assert only_errors.processbench_f1.reason == "It takes trajectories with an error and trajectories without one."


@pytest.mark.parametrize(
    ("said", "is_right", "is_right_strictly"),
    [
        ([1, -1, 1], True, True),
        ([1, -1, None], True, True),  # what comes after the first error does not matter
        ([None, -1, 1], True, False),  # the first step may have been meant as the error
        ([None, 1, 1], False, False),
        ([None, None, None], False, False),
        ([1, 1, 1], False, False),
        ([-1, -1, 1], False, False),
    ],
)
def test_the_strict_first_error_has_to_be_said(said, is_right, is_right_strictly):
    found = report(gold_of([1, -1, 1]), [one_hot(said)], resamples=0)
    assert found.first_err_acc.value == is_right
    assert found.first_err_acc_strict.value == is_right_strictly


def test_saying_nothing_finds_no_error_in_the_lenient_count_and_nothing_in_the_strict_one():
    found = report(gold_of([1, 1], [1, -1]), [None, None], resamples=0)
    assert (found.first_err_acc.value, found.first_err_acc_strict.value) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("row", "is_known"),
    [([1, -1, None], True), ([1, None, -1], False), ([1, 1, None], False), ([1, 1, 1], True), ([-1, None], True)],
)
def test_a_first_error_is_known_where_every_step_before_it_has_gold(row, is_known):
    found = report(gold_of(row), [one_hot([value or 1 for value in row])], resamples=0)
    assert found.first_err_acc.n == is_known
    assert found.first_err_acc.value == (1.0 if is_known else None)


def test_of_equal_probabilities_the_lower_value_is_the_verdict():
    rows = np.array([[0.5, 0, 0.5], [0.2, 0.4, 0.4], [0, 0, 1], NAN])
    assert verdicts(rows).tolist() == [0, 1, 2, 3]


def test_reliability_bins_hold_their_upper_edge():
    probs = np.array([[0.2, 0.2, 0.6], [0.6 + 1e-9, 0.2, 0.2 - 1e-9], [0, 0, 1], [1 / 3] * 3])
    bins = report(gold_of([1, 1, 1, 1]), [probs], resamples=0).reliability
    assert len(bins) == N_BINS
    assert [(round(b.high * N_BINS), b.n, b.accuracy) for b in bins if b.n] == [
        (5, 1, 0.0),
        (9, 1, 1.0),
        (10, 1, 0.0),
        (15, 1, 1.0),
    ]
    assert bins[8].confidence == 0.6
    assert bins[0].confidence is bins[0].accuracy is None


def test_a_rater_that_always_abstains_has_no_figure_of_answered_steps_and_is_wrong_everywhere():
    found = report(gold_of([1, -1], [0]), [None, np.array([NAN])], resamples=100)
    assert (found.coverage.value, found.step_acc.value, found.macro_f1.value) == (0.0, 0.0, 0.0)
    assert found.step_acc_answered == Figure(
        None, None, None, 0, "answered steps with gold", "The rater answered no step that has gold."
    )
    assert [found.ece.value, found.brier.value, found.prm_score.value] == [None, None, None]
    assert [one.value for one in found.recall] == [0.0, 0.0, 0.0]
    assert [one.reason for one in found.precision] == [
        f"The rater called no step with gold {v}." for v in ("-1", "0", "+1")
    ]
    assert found.confusion == [[0, 0, 0, 1]] * 3


def test_nothing_to_compare_gives_reasons_and_no_numbers():
    for gold, probs in (([], []), (gold_of([None, None]), [one_hot([1, -1])])):
        found = report(gold, probs)
        assert set(values_of(found).values()) == {None}
        assert all(getattr(found, name).reason for name in SINGLE)
        assert (found.n_trajectories, found.n_steps, found.n_groups) == (0, 0, 0)
    assert compare(gold_of([1]), {}) == {}


@pytest.mark.parametrize(
    ("gold", "given", "message"),
    [
        (gold_of([1, 1]), [one_hot([1])], r"rater, trajectory 0: predictions of shape \(1, 3\), not \(2, 3\)"),
        (gold_of([1, 1]), [], "rater has predictions for 0 trajectories, but there are 1"),
        (gold_of([1]), [np.array([[0.5, 0.5, 0.5]])], r"trajectory 0, step 0: \[0.5, 0.5, 0.5\] is no distribution"),
        (gold_of([1]), [np.array([[-0.5, 0.5, 1]])], "is no distribution"),
        (gold_of([1]), [np.array([[np.nan, 0.5, 0.5]])], "is no distribution"),
        (gold_of([1], [2]), [None, None], "gold of trajectory 1 has a value other than -1, 0 and 1"),
        ([GoldTrajectory(np.array([1, 1]), np.array([True]), 0)], [None], "2 values and 1 marks of gold"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_place(gold, given, message):
    with pytest.raises(ValueError, match=message):
        compare(gold, {"rater": given})


# Against scikit-learn and plain loops


def random_case(seed, n=60):
    """Gold with gaps, predictions with abstentions, several trajectories per group, three domains."""
    random = np.random.default_rng(seed)
    gold, given = [], []
    for i in range(n):
        length = int(random.integers(1, 9))
        values = random.choice([-1, 0, 1], length, p=[0.3, 0.1, 0.6])
        gold.append(GoldTrajectory(values, random.random(length) < 0.9, i // 4, "abc"[i % 3]))
        probs = random.dirichlet([0.5, 0.3, 0.7], length)
        probs[random.random(length) < 0.1] = np.nan
        given.append(None if random.random() < 0.1 else probs)
    return gold, given


def flat(gold, given):
    """Gold and predicted values of the steps that have gold; 2 is an abstention."""
    pairs = []
    for one, probs in zip(gold, given, strict=True):
        for t in np.flatnonzero(one.has_gold):
            row = NAN if probs is None else probs[t]
            pairs.append((one.values[t], 2 if np.isnan(row).any() else VALUES[int(row.argmax())], row))
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]), np.array([p[2] for p in pairs])


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn(seed):
    gold, given = random_case(seed)
    found = report(gold, given, resamples=0)
    y, said, probs = flat(gold, given)
    answered = said != 2
    assert np.array_equal(confusion_matrix(y, said, labels=[-1, 0, 1, 2])[:3], found.confusion)
    options = {"labels": [-1, 0, 1], "zero_division": 0}
    assert found.macro_f1.value == pytest.approx(f1_score(y, said, average="macro", **options), abs=1e-9)
    assert [f.value for f in found.recall] == pytest.approx(recall_score(y, said, average=None, **options), abs=1e-9)
    assert [f.value for f in found.precision] == pytest.approx(
        precision_score(y, said, average=None, **options), abs=1e-9
    )
    brier = brier_score_loss(y[answered], probs[answered], labels=[-1, 0, 1], scale_by_half=False)
    assert found.brier.value == pytest.approx(brier, abs=1e-9)
    good, called_good = y[answered] >= 0, said[answered] >= 0
    both = [f1_score(good, called_good, pos_label=label) for label in (True, False)]
    assert found.prm_score.value == pytest.approx(np.mean(both), abs=1e-9)


def slow_figures(gold, given):
    """Everything in loops, as docs/raters.md defines it."""
    y, said, probs = flat(gold, given)
    right = sum(a == b for a, b in zip(y, said, strict=True))
    answered = [i for i in range(len(y)) if said[i] != 2]
    ece = 0.0
    for b in range(N_BINS):
        inside = [i for i in answered if b / N_BINS < max(probs[i]) <= (b + 1) / N_BINS]
        if inside:
            sure = sum(max(probs[i]) for i in inside) / len(inside)
            hit = sum(y[i] == said[i] for i in inside) / len(inside)
            ece += len(inside) / len(answered) * abs(sure - hit)
    lenient, strict, with_error, without = [], [], [], []
    for one, rows in zip(gold, given, strict=True):
        n = len(one.values)
        error = next((t for t in range(n) if one.has_gold[t] and one.values[t] == -1), None)
        if not all(one.has_gold[: n if error is None else error]):
            continue
        verdict = [None] * n if rows is None else [None if np.isnan(r).any() else int(r.argmax()) for r in rows]
        named = next((t for t in range(n) if verdict[t] == 0), None)
        is_said = None not in verdict[: n if named is None else named]
        lenient.append(named == error)
        strict.append(named == error and is_said)
        (without if error is None else with_error).append(strict[-1])
    a, b = np.mean(with_error), np.mean(without)
    return {
        "step_acc": right / len(y),
        "step_acc_answered": right / len(answered),
        "coverage": len(answered) / len(y),
        "ece": ece,
        "first_err_acc": np.mean(lenient),
        "first_err_acc_strict": np.mean(strict),
        "processbench_f1": 2 * a * b / (a + b) if a + b else 0.0,
    }


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_plain_loops(seed):
    gold, given = random_case(seed)
    slow = slow_figures(gold, given)
    fast = values_of(report(gold, given, resamples=0))
    assert {name: fast[name] for name in slow} == pytest.approx(slow, abs=1e-9)


def test_intervals_are_percentiles_over_groups_drawn_with_replacement():
    gold, given = random_case(0)
    found = report(gold, given, resamples=400, seed=7)
    members = {g: [i for i, one in enumerate(gold) if one.group == g] for g in {one.group: None for one in gold}}
    names, random, drawn = list(members), np.random.default_rng(7), []
    for picks in random.integers(len(names), size=(400, len(names))):
        chosen = [i for pick in picks for i in members[names[pick]]]
        drawn.append(slow_figures([gold[i] for i in chosen], [given[i] for i in chosen]))
    for name in drawn[0]:
        figure = getattr(found, name)
        expected = np.quantile([one[name] for one in drawn], [0.025, 0.975])
        assert [figure.low, figure.high] == pytest.approx(expected, abs=1e-9), name
        assert figure.low <= figure.value <= figure.high


def test_without_two_groups_in_a_figure_there_is_no_interval():
    given = [one_hot([1, -1]), one_hot([1])]
    same = report(gold_of([1, -1], [1], groups=["a", "a"]), given, resamples=50)
    assert (same.step_acc.value, same.step_acc.low, same.step_acc.high, same.n_groups) == (1.0, None, None, 1)
    two = report(gold_of([1, -1], [1]), given, resamples=50)
    # Both draws of the two are right throughout: Wilson's interval of two, and none for what is no share.
    assert (two.step_acc.low, two.step_acc.high) == pytest.approx((0.342380, 1.0), abs=1e-6)
    assert (two.ece.value, two.ece.low, two.ece.high) == (0.0, None, None)
    assert two.recall[0].low is None  # only one of the two has a -1


def test_domains_are_compared_by_themselves():
    gold, given = random_case(1)
    both = compare(gold, {"rater": given}, resamples=50, seed=3)["rater"]
    assert list(both.domains) == ["a", "b", "c"]
    for domain, found in both.domains.items():
        kept = [i for i, one in enumerate(gold) if one.domain == domain]
        assert found == report([gold[i] for i in kept], [given[i] for i in kept], resamples=50, seed=3)
    assert compare([replace(one, domain="a") for one in gold], {"rater": given})["rater"].domains == {}


# Properties


CASES = st.integers(0, 10_000).map(lambda seed: random_case(seed, n=15))


@given(CASES, st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_order_of_trajectories_does_not_matter(case, random):
    gold, given = case
    order = list(range(len(gold)))
    random.shuffle(order)
    shuffled = report([gold[i] for i in order], [given[i] for i in order], resamples=0)
    assert values_of(shuffled) == pytest.approx(values_of(report(gold, given, resamples=0)), abs=1e-12)


@given(CASES)
@settings(max_examples=40, deadline=None)
def test_everything_twice_leaves_figures_and_intervals_as_they_are(case):
    gold, given = case
    once, twice = report(gold, given, resamples=50), report(gold * 2, given * 2, resamples=50)
    assert values_of(twice) == pytest.approx(values_of(once), abs=1e-12)
    assert twice.step_acc.n == 2 * once.step_acc.n
    assert [twice.step_acc.low, twice.step_acc.high] == pytest.approx([once.step_acc.low, once.step_acc.high])


@given(CASES)
@settings(max_examples=40, deadline=None)
def test_figures_stay_within_their_bounds_and_abstaining_never_helps_the_strict_ones(case):
    gold, given = case
    found = values_of(report(gold, given, resamples=0))
    for name, value in found.items():
        assert value is None or 0 <= value <= (2 if name == "brier" else 1), name
    fewer = report(gold, [None if i % 2 else one for i, one in enumerate(given)], resamples=0)
    assert fewer.step_acc.value <= found["step_acc"]
    assert (fewer.first_err_acc_strict.value or 0) <= (found["first_err_acc_strict"] or 0)


def test_gold_itself_is_a_perfect_rater():
    gold, _ = random_case(2)
    full = [replace(one, has_gold=np.ones(len(one.values), dtype=np.bool_)) for one in gold]
    found = values_of(report(full, [one_hot(one.values.tolist()) for one in full], resamples=0))
    assert found == {name: 0.0 if name in ("ece", "brier") else 1.0 for name in found}


# Published figures


@pytest.fixture(scope="module")
def judges():
    folder = SHARED_DATA / "agentprocessbench"
    if not folder.is_dir():
        pytest.skip("the human and judge labels (shared/data beside the checkout) are not on this machine")
    return compare(read_gold(folder), read_judges(folder))


@pytest.mark.parametrize(
    ("judge", "domain", "step_acc", "first_err_acc"),
    [
        # The benchmark's own evaluation script prints these.
        ("GPT-5.2", "hotpotqa", 72.07, 69.60),
        ("GPT-5.2", "bfcl", 71.62, 52.80),
        ("Qwen3-8B", "bfcl", 64.94, 30.80),  # 3.6 % failed rows: wrong steps, but right where there is no error
    ],
)
def test_agentprocessbench_published_figures(judges, judge, domain, step_acc, first_err_acc):
    found = judges[judge].domains[domain]
    assert round(100 * found.step_acc.value, 2) == step_acc
    assert round(100 * found.first_err_acc.value, 2) == first_err_acc


def test_the_best_single_judges_of_agentprocessbench(judges):
    def step_acc(name):
        return [round(100 * judges[name].domains[domain].step_acc.value, 1) for domain in SETS]

    assert step_acc("Gemini-3-Flash-Preview-Thinking") == [75.7, 81.8]
    assert step_acc("Qwen3-30B-A3B-Thinking-2507") == [70.0, 73.2]  # the best of the open ones


def test_failed_rows_are_abstentions(judges):
    kimi = judges["Kimi-K2.5-Thinking"].domains["hotpotqa"]
    assert kimi.coverage.value == pytest.approx(704 / 734)
    llama = judges["Llama-3.2-3B-Instruct"].domains["bfcl"]
    assert (round(100 * llama.first_err_acc.value, 1), round(100 * llama.first_err_acc_strict.value, 1)) == (23.6, 18.8)


def test_twenty_raters_on_a_thousand_trajectories_take_seconds():
    random = np.random.default_rng(0)
    gold = gold_of(*[random.choice([-1, 0, 1], 8, p=[0.3, 0.1, 0.6]).tolist() for _ in range(1000)])
    given = {f"rater {i}": list(random.dirichlet([1, 1, 1], (1000, 8))) for i in range(20)}
    started = process_time()
    found = compare(gold, given, resamples=1000)
    assert process_time() - started < 10  # about half a second on a free machine
    assert len(found) == 20
