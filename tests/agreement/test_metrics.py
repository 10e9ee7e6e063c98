"""Agreement figures against published values, two libraries, and plain-loop references that follow the definitions."""

import tracemalloc
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from random import Random
from time import process_time
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss_kappa

from annotator.agreement import metrics
from annotator.agreement.coefficients import (
    cohen_kappa,
    coincidences,
    first_error,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    raw_agreement,
)
from annotator.agreement.intervals import wilson
from annotator.agreement.metrics import AgreementReport, Figure, GroupReport, PairReport, StepReport
from annotator.agreement.sums import VALUES
from tests.agreement.judgements import Judgement, agreement_report, group_report

Level = Literal["nominal", "ordinal"]
Steps = dict[tuple[Hashable, int], dict[Hashable, int]]  # (trajectory, step) -> rater -> value

STATISTICS = (
    "raw_agreement",
    "cohen_kappa",
    "fleiss_kappa",
    "krippendorff_alpha_nominal",
    "krippendorff_alpha_ordinal",
    "first_error_agreement",
    "first_error_within_one",
    "gwet_ac1",
)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# Published figures.

# Krippendorff 2011, section D: observers A to D, twelve units, None where an observer was silent.
KRIPPENDORFF_2011 = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]

# The table of 14 raters, 10 subjects and 5 categories with which Fleiss' kappa is usually explained.
FLEISS_EXAMPLE = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def counts_of(observers: Sequence[Sequence[int | None]], categories: Iterable[int]) -> list[list[int]]:
    """(units, categories) from one list per observer."""
    return [
        [sum(value == category for value in unit) for category in categories] for unit in zip(*observers, strict=True)
    ]


def judgements_of(confusion: list[list[int]]) -> tuple[list[int], list[int]]:
    """Two lists of values with this confusion matrix."""
    cells = [(i, j) for i, row in enumerate(confusion) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in cells], [j for _, j in cells]


def test_krippendorffs_own_coincidence_matrix() -> None:
    expected = [
        [7, 4 / 3, 1 / 3, 1 / 3, 0],
        [4 / 3, 10, 4 / 3, 1 / 3, 0],
        [1 / 3, 4 / 3, 8, 1 / 3, 0],
        [1 / 3, 1 / 3, 1 / 3, 4, 0],
        [0, 0, 0, 0, 3],
    ]
    assert coincidences(counts_of(KRIPPENDORFF_2011, range(1, 6))) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_krippendorffs_own_example(level: Level, published: float) -> None:
    matrix = coincidences(counts_of(KRIPPENDORFF_2011, range(1, 6)))
    assert krippendorff_alpha(matrix, level) == pytest.approx(published, abs=0.0005)


def test_krippendorffs_binary_example_of_two_observers() -> None:
    """Krippendorff 2011, section A: ten units, alpha 0.095."""
    a, b = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    matrix = coincidences(counts_of([a, b], [0, 1]))
    assert matrix.tolist() == [[10, 4], [4, 2]]
    assert krippendorff_alpha(matrix) == pytest.approx(0.095, abs=0.0005)
    assert krippendorff_alpha(matrix, "ordinal") == pytest.approx(krippendorff_alpha(matrix))


def test_fleiss_textbook_example() -> None:
    assert fleiss_kappa(FLEISS_EXAMPLE) == pytest.approx(0.210, abs=0.0005)
    assert fleiss_kappa(FLEISS_EXAMPLE) == pytest.approx(statsmodels_fleiss_kappa(FLEISS_EXAMPLE), abs=1e-12)


def test_gwets_examples() -> None:
    """The figures of Gwet's own package irrCAC: two raters of 100 patients, and four of twelve units, some unrated."""
    patients = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]
    cells = [(i, j, n) for i, row in enumerate(patients) for j, n in enumerate(row)]
    counts = [[(i == k) + (j == k) for k in range(3)] for i, j, n in cells for _ in range(n)]
    assert gwet_ac1(counts) == pytest.approx(0.8493305, abs=5e-8)
    assert gwet_ac1(counts_of(KRIPPENDORFF_2011, range(1, 6))) == pytest.approx(0.77544, abs=5e-6)


@pytest.mark.parametrize(
    ("confusion", "kappa"),
    [
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], 0.29 / 0.59),  # Cohen 1960: 0.70 observed, 0.41 by chance
        ([[20, 5], [10, 15]], 0.4),
        ([[45, 15], [25, 15]], 0.06 / 0.46),
        ([[0, 5], [5, 0]], -1.0),
        ([[3, 0], [0, 4]], 1.0),
        ([[0, 5], [0, 0]], 0.0),  # each used one value, not the same one
    ],
)
def test_cohen_published_and_extreme_tables(confusion: list[list[int]], kappa: float) -> None:
    assert cohen_kappa(*judgements_of(confusion)) == pytest.approx(kappa, abs=1e-12)


# Small cases by hand.


def test_raw_agreement_pools_pairs_over_steps() -> None:
    assert raw_agreement([[2, 0, 1], [0, 0, 2], [0, 1, 0]]) == (1 + 1) / (3 + 1)


def test_fleiss_with_varying_raters_counts_each_step_once() -> None:
    # p = 1/3 and 1; shares 2/5, 0, 3/5; the last step has one judgement and is left out.
    assert fleiss_kappa([[2, 0, 1], [0, 0, 2], [0, 1, 0]]) == pytest.approx((2 / 3 - 13 / 25) / (12 / 25))


def test_alpha_by_hand() -> None:
    # Two raters on four steps: (-1, -1), (0, 1), (1, 1), (1, 1); n = 2, 1, 5 of 8.
    matrix = coincidences([[2, 0, 0], [0, 1, 1], [0, 0, 2], [0, 0, 2]])
    assert matrix.tolist() == [[2, 0, 0], [0, 0, 1], [0, 1, 4]]
    assert krippendorff_alpha(matrix) == pytest.approx(1 - 7 * 2 / (2 * (2 * 1 + 2 * 5 + 1 * 5)))
    # Ordinal distances: -1 to 0 is 1.5, 0 to 1 is 3, -1 to 1 is 4.5.
    ordinal = 1 - 7 * (2 * 3**2) / (2 * (2 * 1.5**2 + 10 * 4.5**2 + 5 * 3**2))
    assert krippendorff_alpha(matrix, "ordinal") == pytest.approx(ordinal)


@pytest.mark.parametrize(
    ("values", "index"), [([], None), ([1, 0, 1], None), ([-1], 0), ([1, 0, -1, -1], 2), ([0, -1, 1], 1)]
)
def test_first_error(values: list[int], index: int | None) -> None:
    assert first_error(values) == index


@pytest.mark.parametrize("counts", [[], [[0, 0, 1]], [[0, 0, 0]]])
def test_functions_are_undefined_without_two_judgements_of_a_step(counts: list[list[int]]) -> None:
    assert raw_agreement(counts) is None
    assert fleiss_kappa(counts) is None
    assert krippendorff_alpha(coincidences(counts)) is None
    assert krippendorff_alpha(coincidences(counts), "ordinal") is None
    assert gwet_ac1(counts or np.empty((0, 3))) is None
    assert cohen_kappa([], []) is None


def test_coefficients_are_undefined_where_all_is_in_one_category() -> None:
    counts = [[0, 0, 2], [0, 0, 3]]
    assert raw_agreement(counts) == 1.0
    assert fleiss_kappa(counts) is None
    assert krippendorff_alpha(coincidences(counts)) is None
    assert krippendorff_alpha(coincidences(counts), "ordinal") is None
    assert cohen_kappa([1, 1], [1, 1]) is None
    assert gwet_ac1(counts) == 1.0  # what AC1 is for: it is defined here


def test_wrong_arguments_of_the_functions_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 steps"):
        cohen_kappa([1, 1], [1])
    with pytest.raises(ValueError, match="'nominal' or 'ordinal'"):
        krippendorff_alpha(np.eye(3), "interval")  # type: ignore[arg-type]


# References that follow the definitions, one judgement at a time.


def judged_steps(judgements: list[Judgement]) -> Steps:
    """{(trajectory, step): {rater: value}}"""
    steps: Steps = {}
    for judgement in judgements:
        for step, value in judgement.values.items():
            steps.setdefault((judgement.trajectory, step), {})[judgement.rater] = value
    return steps


def slow_raw(steps: Steps) -> float | None:
    pairs = [(a, b) for values in steps.values() for a, b in combinations(values.values(), 2)]
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def slow_cohen(steps: Steps) -> float | None:
    shared = [values for values in steps.values() if len(values) >= 2]
    raters = sorted({rater for values in shared for rater in values}, key=str)
    if len(raters) != 2:
        return None
    a, b = ([values[rater] for values in shared] for rater in raters)
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    by_chance = sum(a.count(value) * b.count(value) for value in VALUES)
    if by_chance == len(a) ** 2:
        return None
    expected = by_chance / len(a) ** 2
    return (observed - expected) / (1 - expected)


def slow_fleiss(steps: Steps) -> float | None:
    shared = [Counter(values.values()) for values in steps.values() if len(values) >= 2]
    if len({value for counts in shared for value in counts}) < 2:
        return None
    agreement = [(sum(n * n for n in c.values()) - c.total()) / (c.total() * (c.total() - 1)) for c in shared]
    everything = sum(shared, Counter())
    by_chance = sum((n / everything.total()) ** 2 for n in everything.values())
    return (sum(agreement) / len(agreement) - by_chance) / (1 - by_chance)


def slow_ac1(steps: Steps, categories: Sequence[int] = VALUES) -> float | None:
    shared = [list(values.values()) for values in steps.values() if len(values) >= 2]
    if not shared:
        return None
    alike = [sum(a == b for a, b in permutations(values, 2)) / (len(values) * (len(values) - 1)) for values in shared]
    usage = [sum(values.count(k) / len(values) for values in shared) / len(shared) for k in categories]
    by_chance = sum(q * (1 - q) for q in usage) / (len(categories) - 1)
    return (sum(alike) / len(shared) - by_chance) / (1 - by_chance)


def slow_specific(steps: Steps, value: int) -> float | None:
    """Each judgement asks each other judgement of its step, once."""
    met = [b for values in steps.values() for a, b in permutations(values.values(), 2) if a == value]
    return met.count(value) / len(met) if met else None


def slow_alpha(steps: Steps, level: Level, categories: Iterable[int] = VALUES) -> float | None:
    """Disagreement within steps against disagreement among all paired judgements, pair by pair."""
    shared = [list(values.values()) for values in steps.values() if len(values) >= 2]
    everything = [value for values in shared for value in values]
    usage = Counter(everything)
    if len(usage) < 2:
        return None

    def distance(a: int, b: int) -> float:
        if level == "nominal":
            return float(a != b)
        low, high = sorted((a, b))
        between = sum(usage[category] for category in categories if low <= category <= high)
        return (between - (usage[low] + usage[high]) / 2) ** 2

    n = len(everything)
    observed = sum(distance(a, b) / (len(values) - 1) for values in shared for a, b in permutations(values, 2)) / n
    expected = sum(usage[a] * usage[b] * distance(a, b) for a in usage for b in usage) / (n * (n - 1))
    return 1 - observed / expected


def slow_first_error(steps: Steps, n_steps_of: Mapping[Hashable, int], *, tolerance: int = 0) -> float | None:
    by_trajectory: dict[Hashable, dict[Hashable, dict[int, int]]] = {}
    for (trajectory, step), values in steps.items():
        for rater, value in values.items():
            by_trajectory.setdefault(trajectory, {}).setdefault(rater, {})[step] = value
    same: list[bool] = []
    for trajectory, raters in by_trajectory.items():
        union = {step for values in raters.values() for step in values}
        length = n_steps_of.get(trajectory, len(union))
        firsts = []
        for judged in raters.values():
            if len(judged) == length:
                firsts.append(next((step for step in sorted(judged) if judged[step] == -1), None))
        for a, b in combinations(firsts, 2):
            same.append(a == b or (a is not None and b is not None and abs(a - b) <= tolerance))
    return sum(same) / len(same) if same else None


def slow_decisions(judgements: list[Judgement]) -> Steps:
    """The steps of two or more judgements at which one of them did not just carry on."""
    steps = judged_steps(judgements)
    shared = {key: values for key, values in steps.items() if len(values) >= 2}
    kept = {rater for values in shared.values() for rater in values}
    roots = {(j.trajectory, step, j.rater) for j in judgements for step in j.roots}

    def decides(trajectory: Hashable, step: int, rater: Hashable) -> bool:
        before = steps.get((trajectory, step - 1), {}).get(rater)
        return before != steps[trajectory, step][rater] or (trajectory, step, rater) in roots

    return {(t, s): v for (t, s), v in shared.items() if any(decides(t, s, rater) for rater in v if rater in kept)}


def slow_report(judgements: list[Judgement], n_steps_of: Mapping[Hashable, int]) -> dict[str, float | None]:
    steps = judged_steps(judgements)
    return {
        "raw_agreement": slow_raw(steps),
        "cohen_kappa": slow_cohen(steps),
        "fleiss_kappa": slow_fleiss(steps),
        "krippendorff_alpha_nominal": slow_alpha(steps, "nominal"),
        "krippendorff_alpha_ordinal": slow_alpha(steps, "ordinal"),
        "first_error_agreement": slow_first_error(steps, n_steps_of),
        "first_error_within_one": slow_first_error(steps, n_steps_of, tolerance=1),
        "gwet_ac1": slow_ac1(steps),
    }


def simulated(
    n_trajectories: int, n_raters: int, *, n_steps: int = 6, seed: int = 0, absent: float = 0.0, agree: float = 0.7
) -> list[Judgement]:
    """Raters who copy a hidden truth most of the time; some trajectories and some steps are not judged."""
    generator = np.random.default_rng(seed)
    judgements = []
    for trajectory in range(n_trajectories):
        truth = generator.choice(VALUES, n_steps, p=[0.3, 0.1, 0.6])
        for rater in range(n_raters):
            values = np.where(generator.random(n_steps) < agree, truth, generator.choice(VALUES, n_steps))
            spot = generator.random(n_steps) < 0.5 if generator.random() < absent else np.zeros(n_steps, bool)
            if generator.random() >= absent / 2:
                judged = {step: int(value) for step, value in enumerate(values) if not spot[step]}
                judgements.append(Judgement(f"rater {rater}", trajectory, judged))
    return judgements


def figures_of(report: StepReport | PairReport) -> dict[str, Figure]:
    return {name: getattr(report, name) for name in STATISTICS if hasattr(report, name)}


# The report.


def test_report_of_two_raters_by_hand() -> None:
    judgements = [
        Judgement("ana", "t1", {0: 1, 1: 1, 2: -1, 3: -1}),
        Judgement("ben", "t1", {0: 1, 1: 0, 2: -1, 3: 1}),
        Judgement("ana", "t2", {0: 1, 1: 1}),
        Judgement("ben", "t2", {0: 1, 1: -1}),
        Judgement("ana", "t3", {0: -1}),  # nobody else
    ]
    report = agreement_report(judgements, n_steps_of={"t1": 4, "t2": 2, "t3": 5})
    assert (report.n_raters, report.n_trajectories, report.n_steps) == (2, 2, 6)
    assert report.confusion == [[1, 0, 1], [0, 0, 0], [1, 1, 2]]
    assert report.raw_agreement.value == 0.5
    assert report.raw_agreement.unit == "steps judged by both"
    assert report.raw_agreement.n == 6
    assert report.cohen_kappa.value == pytest.approx((3 / 6 - 16 / 36) / (1 - 16 / 36))
    assert report.first_error_agreement == replace(
        report.first_error_agreement, value=0.5, n=2, unit="trajectories judged in full by both", reason=""
    )
    (pair,) = report.pairs
    assert pair.raters == (0, 1)
    assert (pair.n_trajectories, pair.n_steps, pair.confusion) == (2, 6, report.confusion)
    assert all(getattr(pair, name) == figure for name, figure in figures_of(report).items() if name != "fleiss_kappa")


def test_two_raters_agree_with_scikit_learn_and_statsmodels() -> None:
    judgements = simulated(60, 2, seed=4)
    a, b = ([v for j in judgements if j.rater == f"rater {r}" for v in j.values.values()] for r in (0, 1))
    report = agreement_report(judgements, resamples=0)
    assert report.confusion == confusion_matrix(a, b, labels=VALUES).tolist()
    assert report.cohen_kappa.value == pytest.approx(cohen_kappa_score(a, b, labels=VALUES), abs=1e-12)
    assert report.cohen_kappa.value == pytest.approx(cohen_kappa(a, b), abs=1e-12)
    counts = counts_of([a, b], VALUES)
    assert report.fleiss_kappa.value == pytest.approx(statsmodels_fleiss_kappa(counts), abs=1e-12)
    assert report.raw_agreement.value == np.mean(np.array(a) == np.array(b))


@pytest.mark.parametrize("n_raters", [3, 5])
def test_constant_raters_agree_with_statsmodels(n_raters: int) -> None:
    judgements = simulated(40, n_raters, seed=n_raters)
    counts = [[list(values.values()).count(v) for v in VALUES] for values in judged_steps(judgements).values()]
    report = agreement_report(judgements, resamples=0)
    assert report.fleiss_kappa.value == pytest.approx(statsmodels_fleiss_kappa(counts), abs=1e-12)
    assert report.fleiss_kappa.value == pytest.approx(fleiss_kappa(counts), abs=1e-12)
    assert report.raw_agreement.value == pytest.approx(raw_agreement(counts), abs=1e-12)
    alpha = krippendorff_alpha(coincidences(counts), "ordinal")
    assert report.krippendorff_alpha_ordinal.value == pytest.approx(alpha, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_raters", [2, 3, 5])
@pytest.mark.parametrize("lengths_are_known", [True, False])
def test_report_equals_the_plain_loops(seed: int, n_raters: int, lengths_are_known: bool) -> None:
    judgements = simulated(12, n_raters, n_steps=4, seed=seed, absent=0.6)
    n_steps_of: dict[Hashable, int] = dict.fromkeys(range(12), 4) if lengths_are_known else {}
    report = agreement_report(judgements, n_steps_of=n_steps_of or None, resamples=0)
    expected = slow_report(judgements, n_steps_of)
    for name, figure in figures_of(report).items():
        assert figure.value == pytest.approx(expected[name], abs=1e-12), name
    for value, figure in zip(VALUES, report.specific_agreement, strict=True):
        assert figure.value == pytest.approx(slow_specific(judged_steps(judgements), value), abs=1e-12), value
    assert group_report(judgements, n_steps_of=n_steps_of or None, resamples=0) == GroupReport(
        **{name: getattr(report, name) for name in GroupReport.__dataclass_fields__}
    )
    for pair in report.pairs:
        first, second = (f"rater {number}" for number in pair.raters)
        steps = judged_steps([j for j in judgements if j.rater in (first, second)])
        shared = [values for values in steps.values() if len(values) == 2]
        assert pair.n_steps == len(shared)
        assert pair.cohen_kappa.value == pytest.approx(slow_cohen(steps), abs=1e-12)
        assert pair.krippendorff_alpha_ordinal.value == pytest.approx(slow_alpha(steps, "ordinal"), abs=1e-12)
        table = Counter((values[first], values[second]) for values in shared)
        assert pair.confusion == [[table[x, y] for y in VALUES] for x in VALUES]


def test_plain_loop_alpha_gives_krippendorffs_figures() -> None:
    """The reference itself against the published values, so that both cannot be wrong alike."""
    steps: Steps = {
        ("", unit): {observer: value for observer, value in enumerate(values) if value is not None}
        for unit, values in enumerate(zip(*KRIPPENDORFF_2011, strict=True))
    }
    assert slow_alpha(steps, "nominal", range(1, 6)) == pytest.approx(0.743, abs=0.0005)
    assert slow_alpha(steps, "ordinal", range(1, 6)) == pytest.approx(0.815, abs=0.0005)


def test_three_raters_point_from_cohen_to_the_pairs_and_fleiss() -> None:
    judgements = [Judgement(rater, 1, {0: 1, 1: value}) for rater, value in [(10, 1), (9, -1), (2, -1)]]
    report = agreement_report(judgements)
    assert (report.cohen_kappa.value, report.cohen_kappa.low, report.cohen_kappa.high) == (None, None, None)
    assert "3 judged steps in common" in report.cohen_kappa.reason
    assert "each pair" in report.cohen_kappa.reason
    assert "Fleiss" in report.cohen_kappa.reason
    assert [pair.raters for pair in report.pairs] == [(2, 9), (2, 10), (9, 10)]
    assert report.confusion == [[2, 0, 2], [0, 0, 0], [2, 0, 6]]  # twelve ordered pairs
    assert report.raw_agreement.value == 4 / 6
    assert (report.raw_agreement.n, report.raw_agreement.unit) == (2, "steps judged by two or more")
    assert report.first_error_agreement.value == pytest.approx(1 / 3)
    assert (report.first_error_agreement.n, report.first_error_agreement.reason) == (3, "")


def test_a_third_rater_with_nothing_in_common_changes_nothing() -> None:
    judgements = simulated(10, 2)
    stranger = [Judgement("stranger", "elsewhere", {0: 1}), Judgement("unused", 0, {})]
    assert agreement_report(judgements + stranger) == agreement_report(judgements)


def test_only_pairs_that_share_a_step_are_listed() -> None:
    judgements = [
        Judgement("a", 1, {0: 1}),
        Judgement("b", 1, {0: 1, 1: -1}),
        Judgement("c", 1, {1: 0}),
        Judgement("d", 2, {0: 0}),
    ]
    assert [pair.raters for pair in agreement_report(judgements).pairs] == [(0, 1), (1, 2)]


def test_judgements_of_one_rater_on_one_trajectory_are_joined() -> None:
    whole = [Judgement("a", 1, {0: 1, 1: -1}), Judgement("b", 1, {0: 1, 1: 0})]
    in_parts = [Judgement("a", 1, {1: -1}), Judgement("b", 1, {0: 1, 1: 0}), Judgement("a", 1, {0: 1})]
    assert agreement_report(in_parts) == agreement_report(whole)


# First error.


@pytest.mark.parametrize(
    ("a", "b", "n_steps_of", "value", "n"),
    [
        ({0: 1, 1: -1, 2: 1}, {0: 0, 1: -1, 2: -1}, {"t": 3}, 1.0, 1),  # the same first one, other values differ
        ({0: 1, 1: -1}, {0: -1, 1: -1}, {"t": 2}, 0.0, 1),
        ({0: 1, 1: 0}, {0: 1, 1: 1}, {"t": 2}, 1.0, 1),  # neither found one
        ({0: 1, 1: -1}, {0: 1, 1: 1}, {"t": 2}, 0.0, 1),
        ({0: 1, 1: -1}, {0: 1, 1: -1}, {"t": 3}, None, 0),  # step 2 is missing from both
        ({0: 1, 1: -1}, {0: 1, 1: -1}, None, 1.0, 1),  # without lengths the union is all there is
        ({0: 1, 1: -1}, {1: -1}, None, None, 0),
        ({0: 1, 1: -1}, {0: 1, 1: -1}, {"other": 3}, 1.0, 1),
    ],
)
def test_first_error_agreement_needs_both_in_full(
    a: dict[int, int], b: dict[int, int], n_steps_of: Mapping[Hashable, int] | None, value: float | None, n: int
) -> None:
    report = agreement_report([Judgement("a", "t", a), Judgement("b", "t", b)], n_steps_of=n_steps_of)
    assert (report.first_error_agreement.value, report.first_error_agreement.n) == (value, n)
    assert bool(report.first_error_agreement.reason) == (value is None)


def test_first_error_of_a_gapped_union_is_in_step_order() -> None:
    judgements = [Judgement("a", "t", {7: -1, 2: 1}), Judgement("b", "t", {2: -1, 7: -1})]
    assert agreement_report(judgements).first_error_agreement.value == 0.0


def test_one_trajectory_in_full_gives_no_interval_for_the_first_error() -> None:
    judgements = [Judgement(rater, "t1", {0: 1, 1: -1}) for rater in "ab"]
    judgements += [Judgement(rater, "t2", {0: 1}) for rater in "ab"]
    report = agreement_report(judgements, n_steps_of={"t1": 2, "t2": 2})
    assert report.first_error_agreement == Figure(1.0, None, None, 1, "trajectories judged in full by both", "")
    # Every draw of the two agrees in everything: that says little of others.
    assert (report.raw_agreement.low, report.raw_agreement.high) == pytest.approx((0.342380, 1.0), abs=1e-6)
    assert (report.cohen_kappa.value, report.cohen_kappa.low, report.cohen_kappa.high) == (1.0, None, None)


@pytest.mark.parametrize(
    ("first_errors", "exact", "within_one"),
    [
        ((2, 3), 0, 1),
        ((2, 4), 0, 0),
        ((0, None), 0, 0),  # none is no neighbour of the first step
        ((4, None), 0, 0),
        ((None, None), 1, 1),
        ((1, 1, 2, 3), 1, 4),  # of six pairs: 1-1; 1-2 twice; 2-3
    ],
)
def test_first_error_within_one_step(first_errors: tuple[int | None, ...], exact: int, within_one: int) -> None:
    judgements = [
        Judgement(rater, "t", {step: -1 if step == error else 1 for step in range(5)})
        for rater, error in enumerate(first_errors)
    ]
    report = agreement_report(judgements)
    n = report.first_error_agreement.n
    assert n == report.first_error_within_one.n == len(first_errors) * (len(first_errors) - 1) / 2
    assert (report.first_error_agreement.value, report.first_error_within_one.value) == (exact / n, within_one / n)


# Decision points.


def test_decision_points_are_the_first_step_and_the_changes_of_either() -> None:
    judgements = [
        Judgement("a", "t", {0: 1, 1: 1, 2: -1, 3: -1, 4: -1, 5: 1}),
        Judgement("b", "t", {0: 1, 1: 1, 2: 1, 3: -1, 4: -1, 5: 1}),
    ]
    report = agreement_report(judgements)
    # Steps 0, 2 (a changes), 3 (b changes) and 5 (both); 1 and 4 only carry on.
    assert (report.decision_points.n_steps, report.n_steps) == (4, 6)
    assert report.decision_points.raw_agreement.value == 3 / 4
    assert report.raw_agreement.value == 5 / 6


def test_an_error_of_its_own_within_a_run_is_a_decision_point() -> None:
    run = {0: -1, 1: -1, 2: -1}
    judgements = [Judgement("a", "t", run, roots=frozenset({0, 2})), Judgement("b", "t", run, roots=frozenset({0}))]
    assert agreement_report(judgements).decision_points.n_steps == 2


def test_a_step_after_one_that_was_not_judged_is_a_decision_point() -> None:
    judgements = [Judgement("a", "t", {1: 1, 2: 1}), Judgement("b", "t", {0: 1, 1: 1, 2: 1})]
    assert agreement_report(judgements).decision_points.n_steps == 1  # step 1: nothing is known of a's step 0


@pytest.mark.parametrize("n_raters", [2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_decision_points_equal_the_plain_loops(n_raters: int, seed: int) -> None:
    judgements = simulated(12, n_raters, n_steps=5, seed=seed, absent=0.5)
    judgements = [replace(j, roots=frozenset(s for s, v in j.values.items() if v == -1 and s % 2)) for j in judgements]
    report, steps = agreement_report(judgements, resamples=50), slow_decisions(judgements)
    points = report.decision_points
    assert 0 < points.n_steps == len(steps) <= report.n_steps
    assert points.n_trajectories == len({trajectory for trajectory, _ in steps})
    expected = slow_report([], {}) | {"raw_agreement": slow_raw(steps), "cohen_kappa": slow_cohen(steps)}
    expected |= {"fleiss_kappa": slow_fleiss(steps), "gwet_ac1": slow_ac1(steps)}
    expected |= {f"krippendorff_alpha_{level}": slow_alpha(steps, level) for level in ("nominal", "ordinal")}
    for name, figure in figures_of(points).items():
        assert figure.value == pytest.approx(expected[name], abs=1e-12), name
        assert figure.low is not None or figure.value is None


# Undefined figures, refusals.


@pytest.mark.parametrize(
    "judgements",
    [
        [],
        [Judgement("a", 1, {})],
        [Judgement("a", 1, {0: 1, 1: -1})],
        [Judgement("a", 1, {0: 1}), Judgement("b", 1, {1: 1}), Judgement("b", 2, {0: 1})],
    ],
)
def test_nothing_in_common_gives_reasons_and_no_number(judgements: list[Judgement]) -> None:
    report = agreement_report(judgements)
    assert (report.n_raters, report.n_trajectories, report.n_steps, report.pairs) == (0, 0, 0, [])
    assert report.confusion == [[0, 0, 0]] * 3
    for figure in figures_of(report).values():
        assert (figure.value, figure.low, figure.high, figure.n) == (None, None, None, 0)
        assert "No step was judged by two people" in figure.reason
        assert "it takes" in figure.reason


@pytest.mark.parametrize("value", VALUES)
def test_one_value_throughout_is_undefined_and_not_perfect(value: int) -> None:
    judgements = [Judgement(rater, t, {0: value, 1: value}) for rater in "ab" for t in range(5)]
    report = agreement_report(judgements)
    assert report.raw_agreement == Figure(1.0, *wilson(1.0, 5), 10, "steps judged by both", "")
    assert report.first_error_agreement.value == 1.0
    for name in STATISTICS[1:5]:
        figure = getattr(report, name)
        assert (figure.value, figure.low, figure.high) == (None, None, None)
        assert f"have the value {value:+d},".replace("+0", "0") in figure.reason
        assert "it takes" in figure.reason


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ([Judgement(7, 1, {0: 1}), Judgement(8, 5, {2: -1, 3: 2})], "2 by 8 on step 3 of 5: a value is -1, 0 or 1"),
        (
            [Judgement(8, 1, {0: 1}), Judgement(7, 1, {0: -1}), Judgement(7, 1, {0: 1, 1: 1})],
            "1 by 7 on step 0 of 1: a rater judges a step once",
        ),
    ],
)
def test_impossible_labels_are_refused(judgements: list[Judgement], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agreement_report(judgements)


def test_negative_number_of_resamples_is_refused() -> None:
    with pytest.raises(ValueError, match="resamples is -1"):
        agreement_report([], resamples=-1)


# Intervals.


def test_one_trajectory_gives_values_without_intervals() -> None:
    report = agreement_report([Judgement("a", 1, {0: 1, 1: -1}), Judgement("b", 1, {0: 1, 1: 0})])
    assert report.cohen_kappa.value == pytest.approx(1 / 3)
    assert all((f.low, f.high, f.reason) == (None, None, "") for f in figures_of(report).values())


def test_no_resamples_no_intervals() -> None:
    report = agreement_report(simulated(5, 2), resamples=0)
    assert all((f.low, f.high, f.reason) == (None, None, "") for f in figures_of(report).values())


@pytest.mark.parametrize("n_raters", [2, 3])
def test_intervals_equal_those_of_literally_repeated_trajectories(n_raters: int) -> None:
    """Draw the same trajectories, write each down as often as it was drawn, and compute by plain loops."""
    resamples, seed, n_steps = 60, 11, 3
    judgements = simulated(12, n_raters, n_steps=n_steps, seed=5, absent=0.5)
    lengths: dict[Hashable, int] = dict.fromkeys(range(12), n_steps)
    report = agreement_report(judgements, n_steps_of=lengths, resamples=resamples, seed=seed)
    in_common = {t for (t, _), values in judged_steps(judgements).items() if len(values) >= 2}
    shared = [t for t in range(12) if t in in_common]
    assert 5 <= len(shared) == report.n_trajectories
    drawn: dict[str, list[float | None]] = {name: [] for name in STATISTICS}
    for draw in np.random.default_rng(seed).integers(len(shared), size=(resamples, len(shared))):
        copies = [(place, shared[number]) for place, number in enumerate(draw)]
        repeated = [replace(j, trajectory=place) for place, t in copies for j in judgements if j.trajectory == t]
        for name, value in slow_report(repeated, lengths).items():
            drawn[name].append(value)
    for name, figure in figures_of(report).items():
        if figure.value is not None:
            known = [value for value in drawn[name] if value is not None]
            if np.ptp(known) < 1e-9:
                assert figure.low is None or figure.high == 1.0 > figure.low
                continue
            expected = np.quantile(known, [0.025, 0.975])
            assert (figure.low, figure.high) == pytest.approx(tuple(expected), abs=1e-12), name


def test_undefined_resamples_are_left_out_of_the_interval() -> None:
    judgements = [Judgement(rater, t, {0: 1}) for rater in "ab" for t in range(3)]
    judgements += [Judgement("a", 3, {0: -1, 1: -1}), Judgement("b", 3, {0: -1, 1: 1})]
    report = agreement_report(judgements)
    for name in STATISTICS[1:5]:
        figure = getattr(report, name)
        assert -1 <= figure.low <= figure.value <= figure.high <= 1


def test_same_seed_same_report_and_another_seed_other_intervals() -> None:
    judgements = simulated(30, 3, seed=2)
    report = agreement_report(judgements, seed=1)
    assert agreement_report(judgements, seed=1) == report
    other = agreement_report(judgements, seed=2)
    assert other.fleiss_kappa.value == report.fleiss_kappa.value
    assert other.fleiss_kappa.low != report.fleiss_kappa.low


def test_chunks_of_resamples_are_all_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    judgements = simulated(30, 2, seed=2)
    whole = agreement_report(judgements).cohen_kappa
    monkeypatch.setattr(metrics, "_CELLS_PER_CHUNK", 7 * 30)
    in_chunks = agreement_report(judgements).cohen_kappa
    assert in_chunks.value == whole.value
    assert (in_chunks.low, in_chunks.high) == pytest.approx((whole.low, whole.high), abs=0.02)


def test_intervals_of_whole_trajectories_are_wider_than_of_single_steps() -> None:
    """Twenty steps that all repeat one verdict are one observation, not twenty."""
    generator = np.random.default_rng(3)
    verdicts = [(int(generator.choice([-1, 1])), bool(generator.random() < 0.8)) for _ in range(60)]
    clustered, single = [], []
    for t, (value, is_same) in enumerate(verdicts):
        other = value if is_same else -value
        clustered += [Judgement("a", t, dict.fromkeys(range(20), value))]
        clustered += [Judgement("b", t, dict.fromkeys(range(20), other))]
        single += [Judgement("a", (t, s), {0: value}) for s in range(20)]
        single += [Judgement("b", (t, s), {0: other}) for s in range(20)]
    wide, narrow = agreement_report(clustered).cohen_kappa, agreement_report(single).cohen_kappa
    assert wide.value == pytest.approx(narrow.value)
    assert wide.low is not None and wide.high is not None and narrow.low is not None and narrow.high is not None
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(20**0.5, rel=0.15)


# Invariants.

RATERS, TRAJECTORIES = ("a", "b", "c", "d"), (1, 2, 3, 4)


@st.composite
def judgement_lists(draw: st.DrawFn) -> list[Judgement]:
    cells = st.dictionaries(st.integers(0, 4), st.sampled_from(VALUES), max_size=5)
    places = draw(st.lists(st.tuples(st.sampled_from(RATERS), st.sampled_from(TRAJECTORIES)), unique=True, max_size=14))
    return [Judgement(rater, trajectory, draw(cells)) for rater, trajectory in places]


def all_figures(report: AgreementReport) -> list[Figure]:
    return [*figures_of(report).values(), *(f for pair in report.pairs for f in figures_of(pair).values())]


@settings(max_examples=150, deadline=None)
@given(judgement_lists())
def test_any_input_gives_figures_that_are_numbers_or_reasons(judgements: list[Judgement]) -> None:
    report = agreement_report(judgements, resamples=40)
    for figure in all_figures(report):
        assert (figure.value is None) == bool(figure.reason)
        assert (figure.low is None) == (figure.high is None)
        if figure.value is None:
            assert figure.low is None
        else:
            assert type(figure.value) is float
            assert -1 - 1e-12 <= figure.value <= 1 + 1e-12
        if figure.low is not None:
            assert type(figure.low) is type(figure.high) is float
            assert -1 - 1e-12 <= figure.low <= figure.high <= 1 + 1e-12
    expected = slow_report(judgements, {})
    assert {name: f.value for name, f in figures_of(report).items()} == pytest.approx(expected, abs=1e-9)
    assert all(type(cell) is int for row in report.confusion for cell in row)


@settings(max_examples=80, deadline=None)
@given(judgement_lists(), st.randoms())
def test_order_of_the_judgements_does_not_matter(judgements: list[Judgement], random: Random) -> None:
    shuffled = [replace(j, values=dict(sorted(j.values.items(), reverse=True))) for j in judgements]
    random.shuffle(shuffled)
    assert agreement_report(shuffled, resamples=20) == agreement_report(judgements, resamples=20)


@settings(max_examples=80, deadline=None)
@given(judgement_lists(), st.permutations(RATERS))
def test_figures_do_not_depend_on_who_is_who(judgements: list[Judgement], names: list[str]) -> None:
    renamed: dict[Hashable, str] = dict(zip(RATERS, names, strict=True))
    others = [replace(j, rater=renamed[j.rater]) for j in judgements]
    before, after = agreement_report(judgements, resamples=20), agreement_report(others, resamples=20)
    for name in STATISTICS:
        one, two = getattr(before, name), getattr(after, name)
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=1e-9), name
        assert (one.n, one.unit, one.reason) == (two.n, two.unit, two.reason)
    assert before.decision_points.n_steps == after.decision_points.n_steps
    if before.n_raters > 2:
        assert before.confusion == after.confusion == np.transpose(before.confusion).tolist()
    elif before.pairs:
        assert after.confusion in (before.confusion, np.transpose(before.confusion).tolist())


@settings(max_examples=80, deadline=None)
@given(judgement_lists())
def test_turning_the_scale_round_changes_no_coefficient(judgements: list[Judgement]) -> None:
    """Swapping +1 and -1 keeps the order of the categories, so even ordinal alpha stays; first errors may move."""
    turned = [replace(j, values={step: -value for step, value in j.values.items()}) for j in judgements]
    before, after = agreement_report(judgements, resamples=0), agreement_report(turned, resamples=0)
    for name in STATISTICS[:5]:
        assert getattr(before, name).value == pytest.approx(getattr(after, name).value, abs=1e-9), name


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(VALUES), st.sampled_from(VALUES)), max_size=30))
def test_cohen_is_symmetric_and_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    kappa = cohen_kappa(a, b)
    assert kappa == pytest.approx(cohen_kappa(b, a), abs=1e-12)
    if kappa is None:
        assert len({*a, *b}) < 2
    else:
        assert kappa == pytest.approx(cohen_kappa_score(a, b, labels=VALUES), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(VALUES), min_size=2, max_size=20).filter(lambda values: len(set(values)) > 1))
def test_identical_raters_reach_exactly_one(values: list[int]) -> None:
    report = agreement_report([Judgement(r, t, dict(enumerate(values))) for r in "abc" for t in (1, 2)], resamples=30)
    for name in STATISTICS:
        if name != "cohen_kappa":
            figure = getattr(report, name)
            is_share = name in ("raw_agreement", "first_error_agreement", "first_error_within_one")
            bounds = wilson(1.0, 2) if is_share else (None, None)
            assert (figure.value, figure.low, figure.high) == (1.0, *bounds)
    assert {pair.cohen_kappa.value for pair in report.pairs} == {1.0}


# Computing time and memory: generous limits against a slow machine; a loop over resamples would miss them by far.


def test_a_projects_page_is_quick() -> None:
    judgements = simulated(250, 2, n_steps=8)
    started = process_time()
    agreement_report(judgements)
    assert process_time() - started < 0.6


def test_a_large_project_takes_seconds_and_bounded_memory() -> None:
    judgements = simulated(10_000, 3, n_steps=8)
    started = process_time()
    report = agreement_report(judgements)
    assert process_time() - started < 10
    assert report.n_steps == 80_000
    tracemalloc.start()
    metrics._resampled(np.ones((10_000, 60)), 2000, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize(
    ("n", "unit", "said"),
    [
        (1, "labels with a measured time", "1 label with a measured time"),
        (2, "labels with a measured time", "2 labels with a measured time"),
        (1, "trajectories judged in full by both", "1 trajectory judged in full by both"),
        (1, "compared steps", "1 compared step"),
        (0, "pairs of labels on one step", "0 pairs of labels on one step"),
    ],
)
def test_what_a_figure_rests_on_is_said_in_singular_and_plural(n: int, unit: str, said: str) -> None:
    assert Figure(0.5, None, None, n, unit, "").basis == said
