"""Reliability of raters, pure: against scikit-learn, statsmodels and small cases worked by hand; properties."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score
from statsmodels.stats.proportion import proportion_confint

from annotator.agreement.intervals import wilson
from annotator.agreement.sums import VALUES
from annotator.raters.reliability import (
    CLEAN,
    EARLY,
    FOUND,
    MISSED,
    MISSED_PLUS,
    Reliability,
    Said,
    deciding_weights,
    drift_of,
    first_errors,
    hazards,
    leave_one_out,
    reliabilities,
    trend,
)
from annotator.raters.reliability_page import RaterRow, drift_word, in_order, verdicts_of

Judgement = tuple[int, int, list[int], list[int]]  # rater, task (and trajectory), what was said, what counts


def said_of(judgements: list[Judgement], *, n_steps: int | None = None) -> Said:
    """Settled yardsticks; labels in the order of the list. A trajectory has the number of its task."""
    rows = [
        (rater, task, step, n_steps or len(said), task, value, number, counts)
        for number, (rater, task, said, truth) in enumerate(judgements)
        for step, (value, counts) in enumerate(zip(said, truth, strict=True))
    ]
    rater, trajectory, step, length, group, value, at, counts = np.array(rows, dtype=np.int64).reshape(-1, 8).T
    truth = np.eye(3)[counts + 1]
    return Said(rater, trajectory, step, length, group, value, at, truth, truth[:, 0].copy())


def random_judgements(seed: int, *, n_tasks: int, raters: int = 2, skew: float = 0.0) -> list[Judgement]:
    rng = np.random.default_rng(seed)
    found = []
    for task in range(n_tasks):
        truth = rng.choice(VALUES, size=4, p=[0.3, 0.2, 0.5]).tolist()
        for rater in range(raters):
            noise = rng.choice(VALUES, size=4)
            is_noisy = rng.random(4) < 0.3
            values = np.where(is_noisy, noise, truth)
            values = np.where(rng.random(4) < skew, 0, values)
            found.append((rater, task, values.tolist(), truth))
    return found


def test_accuracy_and_what_is_found_of_each_value_are_scikit_learns() -> None:
    judgements = random_judgements(1, n_tasks=60)
    for report in reliabilities(said_of(judgements)):
        own = [one for one in judgements if one[0] == report.rater]
        said, truth = [v for one in own for v in one[2]], [v for one in own for v in one[3]]
        assert report.accuracy.value == pytest.approx(accuracy_score(truth, said), abs=1e-12)
        recalls = recall_score(truth, said, labels=VALUES, average=None)
        assert [figure.value for figure in report.of_value] == pytest.approx(list(recalls), abs=1e-12)
        assert report.zeros.value == pytest.approx(said.count(0) / 240, abs=1e-12)
        assert report.true_zeros.value == pytest.approx(truth.count(0) / 240, abs=1e-12)
        assert report.excess_zeros.value == pytest.approx((said.count(0) - truth.count(0)) / 240, abs=1e-12)
        assert (report.n_steps, report.n_trajectories, report.n_tasks) == (240, 60, 60)


def test_the_intervals_are_those_of_a_plain_loop_over_resampled_tasks() -> None:
    judgements = random_judgements(2, n_tasks=40, raters=1)
    (report,) = reliabilities(said_of(judgements), resamples=300, seed=7)
    rng = np.random.default_rng(7)
    drawn = []
    for row in rng.integers(40, size=(300, 40)):
        picked = [judgements[task] for task in row]
        drawn.append(accuracy_score([v for one in picked for v in one[3]], [v for one in picked for v in one[2]]))
    assert (report.accuracy.low, report.accuracy.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-12)


def test_few_tasks_have_wilsons_interval_with_each_task_as_one_observation() -> None:
    low, high = proportion_confint(3, 10, method="wilson")
    assert wilson(0.3, 10) == pytest.approx((low, high), abs=1e-6)
    # 5 tasks of 4 steps, all right: as sure as 5 of 5, not as 20 of 20, and never "exactly 100 %".
    (report,) = reliabilities(said_of([(0, task, [1, 1, -1, 1], [1, 1, -1, 1]) for task in range(5)]))
    assert (report.accuracy.value, report.accuracy.n) == (1.0, 20)
    assert (report.accuracy.low, report.accuracy.high) == pytest.approx(
        proportion_confint(5, 5, method="wilson"), abs=1e-6
    )
    # A difference of two rates has no such interval, so nothing is said of it.
    assert (report.excess_zeros.value, report.excess_zeros.low) == (0.0, None)


def test_too_little_is_said_to_be_so() -> None:
    (report,) = reliabilities(said_of([(0, 0, [1, 1, 1, 0], [1, 1, 1, 0])]))
    assert report.accuracy.value is None
    assert report.accuracy.reason == "Only 4 compared steps so far; it takes 5."
    assert report.of_value[0].reason == "Only 0 steps with the true value −1 so far; it takes 5."
    assert report.missed.reason == "Only 0 first errors so far; it takes 5."
    assert report.drift.change.reason == "It takes 100 compared labels on 20 tasks; there are 4 on 1."
    assert drift_word(report.drift, "person") == "too little to say"
    # A divided yardstick: steps that weigh 4.4 and 4.6 in all are four and five.
    for weight, reason in ((0.88, "Only 4 steps with the true value −1 so far; it takes 5."), (0.92, "")):
        said = said_of([(0, task, [-1], [-1]) for task in range(5)])
        (report,) = reliabilities(replace(said, truth=np.tile([weight, 0.0, 1 - weight], (5, 1))))
        assert report.of_value[0].reason == reason


@pytest.mark.parametrize(
    ("_case", "said", "truth", "n_steps", "outcome"),
    [
        ("found", [1, -1, 1], [1, -1, -1], 3, FOUND),
        ("missed with a 0", [1, 0, -1], [1, -1, -1], 3, MISSED),
        ("called before it comes", [-1, 1, 1], [1, -1, 1], 3, EARLY),
        ("called where there is none", [1, 1, -1], [1, 1, 0], 3, EARLY),
        ("none on either side", [1, 0, 1], [1, 1, 0], 3, CLEAN),
        ("the rest is not judged, and not needed", [1, -1], [1, -1], 9, FOUND),
        ("the rest is not judged, so nobody knows", [1, 1], [1, 1], 9, None),
    ],
)
def test_first_errors(_case: str, said: list[int], truth: list[int], n_steps: int, outcome: int | None) -> None:
    _, _, outcomes = first_errors(said_of([(0, 0, said, truth)], n_steps=n_steps))
    wanted = np.zeros(5)
    if outcome is not None:
        wanted[outcome - FOUND] = 1
    assert outcomes.tolist() == [wanted.tolist()]


def test_an_error_passed_over_with_plus_one_counts_as_missed_and_as_that() -> None:
    _, _, outcomes = first_errors(said_of([(0, 0, [1, 1, -1], [1, -1, -1])]))
    assert outcomes[0, MISSED - FOUND] == outcomes[0, MISSED_PLUS - FOUND] == 1
    assert outcomes[0, EARLY - FOUND] == 0  # the -1 afterwards is neither early nor found


def test_a_gap_makes_the_rest_unknown() -> None:
    said = said_of([(0, 0, [1, 1, -1], [1, 1, -1])])
    without_second = said.where(said.step != 1)
    assert first_errors(without_second)[2].sum() == 0
    unknown = replace(said, hazard=np.array([0.0, np.nan, 1.0]))
    assert first_errors(unknown)[2].sum() == 0


def test_a_belief_about_first_errors_gives_expectations() -> None:
    # P(first error at 0, 1, 2, none) = .1, .5, .2, .2; the rater names step 1.
    first_error = np.array([0.1, 0.5, 0.2, 0.2])
    said = said_of([(0, 0, [1, -1, 1], [1, 1, 1])])
    _, _, outcomes = first_errors(replace(said, hazard=hazards(first_error)))
    # It is there: .5. It was before: .1, called +1. It comes later or never: .4.
    assert outcomes[0] == pytest.approx([0.5, 0.1, 0.1, 0.4, 0.0], abs=1e-12)
    nothing = replace(said, value=np.array([1, 1, 1]), hazard=hazards(first_error))
    assert first_errors(nothing)[2][0] == pytest.approx([0, 0.8, 0.8, 0, 0.2], abs=1e-12)


def test_the_steps_behind_missed_and_early_are_those_that_decide() -> None:
    judgements = [(0, 0, [1, 1, -1], [1, -1, -1]), (0, 1, [-1, 1, 1], [1, -1, 1]), (0, 2, [1, -1], [1, -1])]
    said = said_of(judgements)
    missed, early = deciding_weights(said, MISSED), deciding_weights(said, EARLY)
    assert [(int(said.trajectory[row]), int(said.step[row])) for row in np.flatnonzero(missed)] == [(0, 1)]
    assert [(int(said.trajectory[row]), int(said.step[row])) for row in np.flatnonzero(early)] == [(1, 0)]


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_where_yardsticks_are_divided_the_weights_of_the_steps_add_up_to_the_figures(seed: int) -> None:
    said = said_of(random_judgements(seed, n_tasks=30, raters=1))
    said = said.where(np.random.default_rng(seed).permutation(len(said.value)))
    hazard = np.random.default_rng(seed).choice([0.0, 0.5, 1.0], size=len(said.value))
    (report,) = reliabilities(replace(said, hazard=hazard), resamples=0)
    missed, early = (deciding_weights(replace(said, hazard=hazard), outcome) for outcome in (MISSED, EARLY))
    assert report.early.value == pytest.approx(early.sum() / report.n_trajectories, abs=1e-12)
    found = deciding_weights(replace(said, hazard=hazard), FOUND)
    assert report.missed.value == pytest.approx(missed.sum() / (missed + found).sum(), abs=1e-12)
    assert (early[said.value != -1] == 0).all()
    assert (missed[said.value == -1] == 0).all()


def test_leave_one_out_knows_only_what_the_others_said() -> None:
    # Step 0: three people; step 1: two who differ; step 2: one alone.
    step, rater = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 0])
    value = np.array([1, 1, -1, 0, 1, 1])
    truth = leave_one_out(np.zeros(6, np.int64), step, rater, value)
    assert truth[0].tolist() == [0.5, 0, 0.5]  # the others are +1 and -1
    assert truth[2].tolist() == [0, 0, 1]
    assert truth[3].tolist() == [0, 0, 1]
    assert truth[4].tolist() == [0, 1, 0]
    assert np.isnan(truth[5]).all()


@given(st.integers(0, 10_000), st.sampled_from(VALUES))
def test_ones_own_label_never_changes_ones_own_yardstick(seed: int, other_value: int) -> None:
    rng = np.random.default_rng(seed)
    n = 12
    rater, step = np.arange(n) % 4, np.arange(n) // 4
    value = rng.choice(VALUES, size=n)
    before = leave_one_out(np.zeros(n, np.int64), step, rater, value)
    changed = value.copy()
    changed[rater == 0] = other_value
    after = leave_one_out(np.zeros(n, np.int64), step, rater, changed)
    assert np.array_equal(before[rater == 0], after[rater == 0])


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_neither_the_order_of_labels_nor_the_names_of_raters_matter(seed: int) -> None:
    said = said_of(random_judgements(seed, n_tasks=25, raters=3))
    reports = reliabilities(said, resamples=20)
    shuffled = said.where(np.random.default_rng(seed).permutation(len(said.value)))
    assert reliabilities(shuffled, resamples=20) == reports
    renamed = reliabilities(replace(said, rater=np.array([7, 3, 5])[said.rater]), resamples=20)
    by_name = {report.rater: report for report in renamed}
    assert [replace(by_name[name], rater=rater) for rater, name in enumerate((7, 3, 5))] == reports


def test_a_belief_makes_expected_agreement() -> None:
    said = said_of([(0, task, [1, -1], [1, 1]) for task in range(5)])
    probs = np.tile([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]], (5, 1))
    (report,) = reliabilities(replace(said, truth=probs))
    assert report.accuracy.value == pytest.approx((0.7 + 0.6) / 2, abs=1e-12)
    assert report.of_value[0].value is None  # the -1s weigh 5 * .7 = 3.5 steps
    assert report.of_value[2].value is None  # 5 * .8 = 4
    assert report.reachable == pytest.approx(0.65, abs=1e-12)  # nobody could have more


def test_what_is_no_distribution_is_refused() -> None:
    said = said_of([(4, 9, [1], [1])])
    with pytest.raises(ValueError, match="rater 4, trajectory 9, step 0"):
        reliabilities(replace(said, truth=np.array([[0.5, 0.0, 0.0]])))


def test_the_trend_is_that_of_statsmodels_with_clustered_errors() -> None:
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(40), 5)
    right = (rng.random(200) < np.repeat(rng.uniform(0.3, 0.9, 40), 5)).astype(float)
    change, error = trend(right, group)
    design = sm.add_constant(np.linspace(0, 1, 200))
    fitted = sm.OLS(right, design).fit(cov_type="cluster", cov_kwds={"groups": group})
    assert change == pytest.approx(fitted.params[1], abs=1e-10)
    assert error == pytest.approx(fitted.bse[1], abs=1e-10)
    (report,) = reliabilities(_one_rater(right, group))
    assert report.drift.p == pytest.approx(fitted.pvalues[1], abs=1e-9)
    assert (report.drift.change.low, report.drift.change.high) == pytest.approx(fitted.conf_int()[1], abs=1e-5)


def _one_rater(right: np.ndarray, group: np.ndarray) -> Said:
    n = len(right)
    truth = np.eye(3)[np.full(n, 2)]
    order = np.arange(n)
    value = np.where(right > 0, 1, 0)
    return Said(np.zeros(n, np.int64), group, order, np.full(n, n), group, value, order, truth, np.zeros(n))


def test_who_gets_worse_is_said_to_and_who_is_steady_is_not() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(100), 4)
    falls = (rng.random(400) < np.linspace(0.95, 0.6, 400)).astype(float)
    steady = (rng.random(400) < 0.8).astype(float)
    drift = drift_of(_one_rater(falls, group))
    assert drift_word(drift, "person") == "getting worse"
    assert drift_word(drift, "model") == "less often on later imports"
    assert drift_word(drift_of(_one_rater(falls[::-1], group)), "person") == "getting better"
    assert drift_word(drift_of(_one_rater(steady, group)), "person") == "no drift seen"
    assert [(first, last) for first, last, _ in drift.blocks] == [(50 * k + 1, 50 * k + 50) for k in range(8)]
    assert drift.blocks[0][2].value == falls[:50].mean()


def test_the_trend_test_is_wrong_as_seldom_as_it_says() -> None:
    """Steady raters whose tasks differ: at 5 % about 5 % are named (without the clusters it would be 25)."""
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(40), 5)
    named = 0
    for _ in range(600):
        right = (rng.random(200) < np.repeat(rng.choice([0.1, 0.9], 40), 5)).astype(float)
        change, error = trend(right, group)
        named += abs(change) > 1.96 * error
    assert 0.03 < named / 600 < 0.09


def verdicts(judgements: list[Judgement]) -> list[str]:
    (report,) = reliabilities(said_of(judgements))
    return [verdict.short for verdict in verdicts_of(report, "person-1", "person")]


def test_the_words_follow_from_the_figures() -> None:
    steady = random_judgements(8, n_tasks=80, raters=1)
    assert "overuses 0" not in verdicts(steady)
    assert "overuses 0" in verdicts(random_judgements(8, n_tasks=80, raters=1, skew=0.4))
    assert verdicts([(0, task, [1, 1], [1, -1]) for task in range(30)]) == ["misses first errors"]
    assert verdicts([(0, task, [1, -1], [1, 1]) for task in range(30)]) == ["sees errors too early"]
    assert verdicts([(0, task, [1, 1, 1], [1, 0, 1]) for task in range(30)]) == ["seldom gives 0"]
    assert verdicts([(0, task, [1, 0, -1], [1, 0, -1]) for task in range(30)]) == []
    assert verdicts([(0, task, [0, 0], [1, 1]) for task in range(5)]) == []  # no interval, no word
    # An unsure belief says of everybody that they miss errors, so it is not heard on them.
    (report,) = reliabilities(said_of([(0, task, [1, 1], [1, -1]) for task in range(30)]))
    assert verdicts_of(report, "model-1", "model", is_belief=True) == []


def row(name: str, judgements: list[Judgement]) -> RaterRow:
    (report,) = reliabilities(said_of(judgements))
    return RaterRow(f"person-{name}", name, "person", report, hears_itself=False, is_belief=False, left_out=[])


def test_rows_are_sorted_the_worst_first_and_who_has_no_figure_last() -> None:
    good = row("good", [(0, task, [1, -1], [1, -1]) for task in range(20)])
    poor = row("poor", [(0, task, [1, 1], [1, -1]) for task in range(20)])
    new = row("new", [(0, 0, [1], [1])])
    names = {
        sort: [one.name for one in in_order([new, good, poor], sort)] for sort in ("name", "accuracy", "-accuracy")
    }
    assert names == {
        "name": ["good", "new", "poor"],
        "accuracy": ["poor", "good", "new"],
        "-accuracy": ["good", "poor", "new"],
    }
    assert [one.name for one in in_order([new, good, poor], "missed")] == ["poor", "good", "new"]
    assert [one.name for one in in_order([new, good, poor], "'; drop")] == ["good", "new", "poor"]
    assert isinstance(good.report, Reliability)
    assert [dot.shown.value for dot in poor.dots] == ["100.0 %", "–", "0.0 %"]
