"""Calibrators: known parameters come back, the optimum is that of other optimisers, the quality is out of fold."""

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from scipy.special import logit as scipy_logit
from statsmodels.miscmodels.ordinal_model import OrderedModel

from annotator.prelabelling.scores import split_non_negative
from annotator.raters.calibration import (
    CumulativeLink,
    Temperature,
    TooLittleGoldError,
    calibrate,
    fit_cumulative_link,
    fit_temperature,
    fold_of,
    logit,
    quality,
)
from annotator.raters.metrics import GoldTrajectory, verdicts
from tests.raters.benchmark import read_gold, read_judges

PRIOR = CumulativeLink(slope=1.0, lower=0.0, upper=0.16)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def draw(link, n, seed=0):
    """Scores of a model, and values as the link says they fall."""
    random = np.random.default_rng(seed)
    scores = expit(random.normal(0.5, 2, n))
    return scores, values_from(link.probabilities(scores), random)


def values_from(probs, random):
    return (random.random(len(probs))[:, None] > probs.cumsum(axis=1)).sum(axis=1).clip(0, 2) - 1


def nll(link, scores, values):
    return quality(link.probabilities(scores), values).nll


def penalised(parameters, scores, values, strength=1.0):
    """The objective as its docstring states it, from slope, lower and upper."""
    slope, lower, upper = parameters
    z = scipy_logit(scores)
    low, high = expit(lower - slope * z), expit(upper - slope * z)
    likelihood = np.select([values == -1, values == 0], [low, high - low], 1 - high)
    gap = np.log(np.expm1(upper - lower)) - np.log(np.expm1(0.16))
    return -np.log(likelihood).sum() + strength / 2 * ((slope - 1) ** 2 + lower**2 + gap**2)


# The cumulative link


@pytest.mark.parametrize(
    "true", [CumulativeLink(0.6, -0.5, 0.3), CumulativeLink(1.5, 0.4, 0.5), CumulativeLink(0.2, -1.0, 1.0)]
)
def test_known_parameters_come_back_from_ten_thousand_steps(true):
    fitted = fit_cumulative_link(*draw(true, 10_000))
    found, expected = (fitted.slope, fitted.lower, fitted.upper), (true.slope, true.lower, true.upper)
    assert found == pytest.approx(expected, abs=0.1)  # four standard errors at most


@pytest.mark.parametrize("n", [12, 60, 600])
def test_the_optimum_is_the_one_that_scipy_finds_in_other_coordinates(n):
    scores, values = draw(CumulativeLink(0.6, -0.5, 0.3), n, seed=n)
    options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 5000, "maxfev": 5000}
    reference = minimize(
        lambda x: penalised((np.exp(x[0]), x[1], x[1] + np.exp(x[2])), scores, values),
        [0.0, 0.0, -1.8],
        method="Nelder-Mead",
        options=options,
    )
    fitted = fit_cumulative_link(scores, values)
    ours = penalised((fitted.slope, fitted.lower, fitted.upper), scores, values)
    assert ours == pytest.approx(reference.fun, abs=1e-9)
    slope, lower, gap = np.exp(reference.x[0]), reference.x[1], np.exp(reference.x[2])
    assert (fitted.slope, fitted.lower, fitted.upper) == pytest.approx((slope, lower, lower + gap), abs=1e-5)


def test_without_the_prior_it_is_the_ordered_logit_of_statsmodels():
    scores, values = draw(CumulativeLink(0.6, -0.5, 0.3), 800)
    model = OrderedModel(values, scipy_logit(scores)[:, None], distr="logit")
    result = model.fit(method="bfgs", disp=False, gtol=1e-9)
    lower, upper = model.transform_threshold_params(result.params)[1:3]
    fitted = fit_cumulative_link(scores, values, strength=0)
    assert (fitted.slope, fitted.lower, fitted.upper) == pytest.approx((result.params[0], lower, upper), abs=1e-5)
    assert nll(fitted, scores, values) == pytest.approx(-result.llf / 800, abs=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.5, 2, 20]))
@settings(max_examples=100, deadline=None)
def test_on_its_own_data_the_fit_is_never_worse_than_the_prior_and_always_a_distribution(seed, n, spread):
    random = np.random.default_rng(seed)
    scores, values = expit(random.normal(0, spread, n)), random.integers(-1, 2, n)
    fitted = fit_cumulative_link(scores, values)
    assert nll(fitted, scores, values) <= nll(PRIOR, scores, values) + 1e-12
    assert fitted.slope > 0
    assert fitted.lower < fitted.upper
    probs = fitted.probabilities(np.array([0.0, 1e-9, 0.3, 0.7, 1.0]))
    assert (probs >= 0).all()
    assert probs.sum(axis=1) == pytest.approx(1)
    assert (np.diff(probs[:, 0]) <= 0).all()  # the surer of "non-negative" the model is, the less likely is -1


def test_one_kind_of_value_no_steps_and_saturated_scores_have_a_fit_too():
    scores = expit(np.random.default_rng(0).normal(0, 2, 200))
    assert fit_cumulative_link(scores[:0], np.zeros(0, np.int64)) == PRIOR
    for value in (-1, 0, 1):
        probs = fit_cumulative_link(scores, np.full(200, value)).probabilities(scores)
        assert probs.mean(axis=0)[value + 1] > 0.9
    values = np.where(scores > 0.5, 1, -1)
    assert fit_cumulative_link(scores, values).probabilities(scores)[:, 1].min() > 0  # neutral stays possible
    saturated = fit_cumulative_link(np.array([0.0, 1.0] * 100), np.array([-1, 1] * 90 + [1, -1] * 10))
    assert saturated.probabilities(np.array([1.0]))[0, 2] == pytest.approx(0.9, abs=0.02)


def test_a_model_that_is_wrong_more_often_than_right_ends_as_one_that_says_nothing():
    scores, values = draw(CumulativeLink(1.0, 0.0, 0.2), 500)
    fitted = fit_cumulative_link(1 - scores, values)
    assert 0 < fitted.slope < 1e-6
    shares = [(values == value).mean() for value in (-1, 0, 1)]
    assert fitted.probabilities(np.array([0.5]))[0] == pytest.approx(shares, abs=0.01)


def test_without_gold_neutral_gets_its_usual_share_and_the_prior_agrees_in_the_middle():
    assert split_non_negative(np.array([0.0, 0.5, 1.0])) == pytest.approx(
        np.array([[1, 0, 0], [0.5, 0.039, 0.461], [0, 0.078, 0.922]])
    )
    assert PRIOR.probabilities(np.array([0.5]))[0] == pytest.approx([0.5, 0.04, 0.46], abs=0.001)
    assert np.isnan(PRIOR.probabilities(np.array([np.nan]))).all()
    assert logit(np.array([0.0, 0.5, 1.0])).tolist() == [-12.0, 0.0, 12.0]


# Temperature


def overconfident(n, temperature, seed=0):
    """Probabilities that are too sure by a known temperature, and values as they really fall."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.2, (n, 3))
    real = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    too_sure = np.exp(logits * temperature)
    return too_sure / too_sure.sum(axis=1, keepdims=True), values_from(real, random)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_a_known_temperature_comes_back(temperature):
    scores, values = overconfident(20_000, temperature)
    assert fit_temperature(scores, values).temperature == pytest.approx(temperature, rel=0.1)


def test_the_temperature_is_the_one_that_scipy_finds():
    scores, values = overconfident(300, 2.0)
    for strength in (0.0, 1.0, 30.0):
        reference = minimize_scalar(
            lambda t, s=strength: 300 * nll(Temperature(np.exp(t)), scores, values) + s / 2 * (np.exp(-t) - 1) ** 2,
            bounds=(-3, 3),
            method="bounded",
            options={"xatol": 1e-10},
        )
        found = fit_temperature(scores, values, strength=strength).temperature
        assert found == pytest.approx(np.exp(reference.x), rel=1e-5)


def test_of_one_hot_verdicts_the_temperature_makes_the_accuracy_the_probability():
    values = np.array([1] * 80 + [-1] * 20)
    said = np.tile([0.0, 0.0, 1.0], (100, 1))
    probs = fit_temperature(said, values, strength=0).probabilities(said)
    assert probs[0] == pytest.approx([0.1, 0.1, 0.8], abs=1e-4)
    # The prior pulls it towards what the model says by less than half a point.
    assert fit_temperature(said, values).probabilities(said)[0, 2] == pytest.approx(0.803, abs=0.002)


def test_a_model_that_is_right_on_all_gold_does_not_become_certain():
    values = np.ones(75, dtype=np.int64)  # 25 trajectories of three steps
    said = np.tile([0.1, 0.1, 0.8], (75, 1))
    fitted = fit_temperature(said, values)
    # With b = 1 / T, each step costs log(1 + 2 * 8 ** -b): at the minimum 150 log 8 / (8 ** b + 2) = b - 1.
    b = 1 / fitted.temperature
    assert 150 * np.log(8) / (8**b + 2) == pytest.approx(b - 1, abs=1e-4)
    assert fitted.probabilities(said)[0, 2] == pytest.approx(0.990, abs=0.001)
    assert fit_temperature(said[:0], values[:0]).temperature == pytest.approx(1)


@given(st.integers(0, 10_000), st.floats(0.05, 20))
@settings(max_examples=50, deadline=None)
def test_a_temperature_never_changes_a_verdict_and_keeps_abstentions(seed, temperature):
    scores = np.random.default_rng(seed).dirichlet([1, 1, 1], 20).clip(0.02, None)
    scores = scores / scores.sum(axis=1, keepdims=True)
    scores[3] = np.nan
    probs = Temperature(temperature).probabilities(scores)
    assert np.array_equal(verdicts(probs), verdicts(scores))
    assert np.delete(probs, 3, axis=0).sum(axis=1) == pytest.approx(1)


# Out of fold


def project(n, per_task=2):
    random, link = np.random.default_rng(0), CumulativeLink(0.3, -0.8, 0.4)
    gold, scores = [], []
    for i in range(n):
        score = expit(random.normal(1, 3, 6))
        values = values_from(link.probabilities(score), random)
        gold.append(GoldTrajectory(values, np.ones(6, dtype=np.bool_), i // per_task))
        scores.append(score)
    return gold, scores


def test_the_quality_is_that_of_steps_whose_task_the_calibrator_has_not_seen():
    gold, scores = project(40)
    found = calibrate(gold, scores)
    after, values = [], []
    for fold in range(5):
        inside = [i for i in range(40) if fold_of(gold[i].group) == fold]
        outside = [i for i in range(40) if fold_of(gold[i].group) != fold]
        link = fit_cumulative_link(
            np.concatenate([scores[i] for i in outside]), np.concatenate([gold[i].values for i in outside])
        )
        assert found.folds[fold] == link
        after += [link.probabilities(scores[i]) for i in inside]
        values += [gold[i].values for i in inside]
    expected = quality(np.concatenate(after), np.concatenate(values))
    assert (found.after.nll, found.after.ece) == pytest.approx((expected.nll, expected.ece), abs=1e-12)
    assert [b.n for b in found.after.reliability] == [b.n for b in expected.reliability]
    every = fit_cumulative_link(np.concatenate(scores), np.concatenate([one.values for one in gold]))
    assert found.calibrator == every
    assert (found.n_trajectories, found.n_steps, found.n_groups) == (40, 240, 20)
    assert {fold_of(one.group) for one in gold} == {0, 1, 2, 3, 4}


def test_an_overconfident_model_is_better_after_calibration():
    found = calibrate(*project(200))
    assert found.before == quality(
        split_non_negative(np.concatenate(project(200)[1])), np.concatenate([one.values for one in project(200)[0]])
    )
    assert found.before.ece > 0.15
    assert found.after.ece < 0.05
    assert found.after.nll < found.before.nll
    assert sum(b.n for b in found.after.reliability) == 1200
    assert found == calibrate(*project(200))


def test_only_answered_steps_with_gold_count():
    gold, scores = project(30)
    sparse = [score.copy() for score in scores]
    sparse[0][2] = np.nan
    sparse[1] = None
    gold[2] = replace(gold[2], has_gold=np.arange(6) < 4)
    gold[3] = replace(gold[3], has_gold=np.zeros(6, dtype=np.bool_))
    found = calibrate(gold, sparse)
    assert (found.n_trajectories, found.n_steps) == (28, 28 * 6 - 1 - 2)


def test_three_probabilities_get_a_temperature():
    gold, scores = project(30)
    found = calibrate(gold, [split_non_negative(score) for score in scores])
    assert isinstance(found.calibrator, Temperature)
    assert found.after.nll < found.before.nll


@pytest.mark.parametrize(
    ("n", "per_task", "message"),
    [
        (0, 1, "0 trajectories have gold on a step that this model answered; calibration takes 25"),
        (24, 1, "24 trajectories have gold on a step that this model answered; calibration takes 25"),
        (30, 30, "All 30 trajectories with gold belong to one task"),
    ],
)
def test_too_little_gold_is_refused_with_a_sentence(n, per_task, message):
    with pytest.raises(TooLittleGoldError, match=message):
        calibrate(*project(n, per_task=per_task))


def test_twenty_five_trajectories_of_two_tasks_are_enough():
    assert calibrate(*project(25, per_task=13)).n_groups == 2


def test_an_abstaining_model_is_refused_like_one_without_gold():
    gold, _ = project(30)
    with pytest.raises(TooLittleGoldError, match="0 trajectories"):
        calibrate(gold, [None] * 30)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(5), "Scores of shape"),
        (np.full(6, 1.5), "A score is no probability"),
        (np.full((6, 3), 0.5), "A score is no probability"),
        (np.full((6, 3), 1 / 3), "Some trajectories have one score per step and others three"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, message):
    gold, fine = project(30)
    with pytest.raises(ValueError, match=message):
        calibrate(gold, [scores, *fine[1:]])


# Real raters


def test_real_judges_become_calibrated_out_of_fold(shared_data):
    folder = shared_data / "agentprocessbench"
    gold, judges = read_gold(folder), read_judges(folder)
    for verdict_rows in judges.values():
        found = calibrate(gold, verdict_rows)
        assert found.after.ece < found.before.ece
        assert found.after.ece < 0.1
        assert found.after.nll < found.before.nll
    one = calibrate(gold, judges["Gemini-3-Flash-Preview-Thinking"])
    assert (one.n_trajectories, one.n_steps, one.n_groups) == (500, 3324, 100)
    assert (one.before.ece, one.after.ece) == pytest.approx((0.176, 0.047), abs=0.001)


def test_the_share_of_real_judges_that_see_no_error_is_calibrated_by_the_link(shared_data):
    folder = shared_data / "agentprocessbench"
    gold, judges = read_gold(folder), read_judges(folder)
    votes = [np.stack(rows) for rows in zip(*judges.values(), strict=True)]  # per trajectory (judges, n, 3)
    n_votes = [(~np.isnan(rows[:, :, 0])).sum(axis=0) for rows in votes]
    shares = [1 - (np.nansum(rows[:, :, 0], axis=0) + 0.5) / (n + 1) for rows, n in zip(votes, n_votes, strict=True)]
    found = calibrate(gold, shares)
    assert (found.before.ece, found.after.ece) == pytest.approx((0.054, 0.046), abs=0.001)
    assert (found.before.nll, found.after.nll) == pytest.approx((0.594, 0.559), abs=0.001)
