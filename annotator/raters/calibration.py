"""Turn a model's numbers into probabilities that can be believed, by what gold says. Pure: arrays in, numbers out.

A model with one number per step (a process reward model: P(non-negative)) gets a cumulative link; a model with three
probabilities gets a temperature. Both are fitted by likelihood, so a step of a certain model that is wrong weighs much.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.agreement.sums import VALUES
from annotator.chance import chance
from annotator.prelabelling.scores import split_non_negative
from annotator.raters.metrics import Bin, GoldTrajectory, calibration_bins, expected_calibration_error, reliability

MIN_TRAJECTORIES = 25
FOLDS = 5

_MAX_LOGIT = 12.0  # P = 0.999994: what a model saturates at says nothing about how sure it is beyond
_FLOOR = 0.01  # the least probability that a temperature works on: one-hot and vote shares have zeros
_PRIOR = np.array([1.0, 0.0, 0.16])  # slope, lower and the gap to upper: .5 becomes .5, .04, .46
_MAX_TEMPERATURE = 50.0
_TINY = 1e-12


class TooLittleGoldError(ValueError):
    """Too few trajectories to calibrate on; the message says how many it takes."""


@dataclass(frozen=True)
class CumulativeLink:
    """P(y <= -1) = sigmoid(lower - slope z) and P(y <= 0) = sigmoid(upper - slope z), for z = logit P(non-negative)."""

    slope: float
    lower: float
    upper: float

    def probabilities(self, scores: FloatArray) -> FloatArray:
        """(n,) P(non-negative) -> (n, 3). NaN stays an abstention."""
        z = logit(scores)
        up_to_negative = _sigmoid(self.lower - self.slope * z)
        up_to_neutral = _sigmoid(self.upper - self.slope * z)
        return np.stack([up_to_negative, up_to_neutral - up_to_negative, 1 - up_to_neutral], axis=1)


@dataclass(frozen=True)
class Temperature:
    """Probabilities to the power of 1 / temperature, normalised. Above 1 the model becomes less sure."""

    temperature: float

    def probabilities(self, scores: FloatArray) -> FloatArray:
        """(n, 3) -> (n, 3). A probability below 0.01 counts as 0.01. Rows of NaN stay abstentions."""
        powers = _log_floored(scores) / self.temperature
        weights = np.exp(powers - powers.max(axis=1, keepdims=True, initial=-np.inf))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Quality:
    """Calibration on the answered steps with gold: mean negative log likelihood, ECE and its bins."""

    nll: float
    ece: float
    reliability: list[Bin]


@dataclass(frozen=True)
class Calibration:
    """A calibrator fitted on all gold, one for each fold without its gold, and how good those are there (`after`)."""

    calibrator: CumulativeLink | Temperature
    folds: list[CumulativeLink | Temperature]
    n_trajectories: int
    n_steps: int
    n_groups: int
    before: Quality
    after: Quality


def fold_of(task: Hashable) -> int:
    """By a hash of the task alone: what is settled later finds the calibrator that knows no gold of its task, too."""
    return int(chance("calibration fold", str(task)) * FOLDS)


def logit(scores: FloatArray) -> FloatArray:
    """The log odds, at most 12 either way."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(scores) - np.log1p(-scores), -_MAX_LOGIT, _MAX_LOGIT))


def fit_cumulative_link(scores: FloatArray, values: IntArray, *, strength: float = 1.0) -> CumulativeLink:
    """The link of the likeliest parameters, given `scores` (n,) P(non-negative) and `values` (n,) in -1, 0, +1.

    The summed negative log likelihood plus a penalty is minimised: strength / 2 times the squared distances of slope
    from 1, of lower from 0 and of softplus⁻¹(upper - lower) from that of 0.16. With strength 1 these are normal priors
    of standard deviation 1, which a few dozen steps outweigh; the last one keeps neutral possible where gold has none
    yet. All of it is convex in slope, lower and the gap, so there is one minimum. Newton steps, each halved until it
    improves, in coordinates in which every slope and gap is positive.
    """
    z, codes = logit(scores), values - VALUES[0]
    theta = _to_free(_PRIOR)
    now = _penalised(theta, z, codes, strength)
    for _ in range(100):
        gradient, hessian = _derivatives(theta, z, codes, strength)
        step = np.linalg.solve(hessian + 1e-9 * np.eye(3), gradient)
        step /= max(1.0, float(np.abs(step).max()))  # a longer one may land where the slope is 0 to machine precision
        for halvings in range(40):
            candidate = theta - step / 2**halvings
            then = _penalised(candidate, z, codes, strength)
            if then < now:
                break
        else:
            break
        gained, theta, now = now - then, candidate, then
        if gained < 1e-13 * (1 + abs(now)):
            break
    slope, lower, gap = (float(parameter) for parameter in _from_free(theta))
    return CumulativeLink(slope, lower, lower + gap)


def fit_temperature(scores: FloatArray, values: IntArray, *, strength: float = 1.0) -> Temperature:
    """The likeliest temperature between 1/50 and 50, given `scores` (n, 3) and `values` (n,).

    The summed negative log likelihood plus strength / 2 times the squared distance of 1 / temperature from 1 is
    minimised: the prior that the link has on its slope, without which a model that is right on all gold would be
    certain of everything. All of it is convex in 1 / temperature, so golden-section search finds the one minimum.
    """
    logs, codes = _log_floored(scores), values - VALUES[0]

    def penalised(log_temperature: float) -> float:
        powers = logs / np.exp(log_temperature)
        top = powers.max(axis=1)
        log_sum = top + np.log(np.exp(powers - top[:, None]).sum(axis=1))
        away = np.exp(-log_temperature) - _PRIOR[0]
        return float((log_sum - powers[np.arange(len(codes)), codes]).sum() + strength / 2 * away**2)

    bound = float(np.log(_MAX_TEMPERATURE))
    return Temperature(float(np.exp(_golden_section(penalised, -bound, bound))))


def calibrate(gold: Sequence[GoldTrajectory], scores: Sequence[FloatArray | None]) -> Calibration:
    """A calibrator for one model on one project's gold, with its quality out of fold.

    `scores`: for each trajectory P(non-negative) (n,), or (n, 3); NaN, or None for a whole trajectory, abstains. Tasks
    fall into five folds, and each fold's steps are judged by a calibrator fitted on the other folds, so that no
    trajectory helps to calibrate another one of its task. `before` is the model without a calibrator.

    Raises TooLittleGoldError where fewer than 25 trajectories, or a single task, have an answered step with gold, and
    ValueError for scores that do not fit the gold.
    """
    pieces = [_answered(one, given) for one, given in zip(gold, scores, strict=True)]
    kept = [i for i, (_, codes) in enumerate(pieces) if len(codes)]
    groups = {gold[i].group for i in kept}
    _refuse_too_little(len(kept), len(groups))
    if len({pieces[i][0].ndim for i in kept}) > 1:
        raise ValueError("Some trajectories have one score per step and others three; a model gives one kind.")
    flat, values = (np.concatenate([pieces[i][part] for i in kept]) for part in (0, 1))
    is_scalar = flat.ndim == 1
    fit: Callable[[FloatArray, IntArray], CumulativeLink | Temperature]
    fit = fit_cumulative_link if is_scalar else fit_temperature
    fold = np.concatenate([np.full(len(pieces[i][1]), fold_of(gold[i].group)) for i in kept])
    folds = [fit(flat[fold != k], values[fold != k]) for k in range(FOLDS)]
    after = np.empty((len(values), len(VALUES)))
    for k, calibrator in enumerate(folds):
        after[fold == k] = calibrator.probabilities(flat[fold == k])
    before = split_non_negative(flat) if is_scalar else Temperature(1.0).probabilities(flat)
    return Calibration(
        calibrator=fit(flat, values),
        folds=folds,
        n_trajectories=len(kept),
        n_steps=len(values),
        n_groups=len(groups),
        before=quality(before, values),
        after=quality(after, values),
    )


def quality(probs: FloatArray, values: IntArray) -> Quality:
    """Of answered steps: `probs` (n, 3), `values` (n,)."""
    codes = values - VALUES[0]
    bins = calibration_bins(probs, codes)
    likelihood = np.maximum(probs[np.arange(len(codes)), codes], _TINY)
    return Quality(float(-np.log(likelihood).mean()), float(expected_calibration_error(bins)), reliability(bins))


def _answered(one: GoldTrajectory, scores: FloatArray | None) -> tuple[FloatArray, IntArray]:
    """The scores and gold values of the steps that have both."""
    if scores is None:
        return np.zeros(0), np.zeros(0, np.int64)
    if scores.shape not in ((one.values.size,), (one.values.size, len(VALUES))):
        raise ValueError(f"Scores of shape {scores.shape} for a trajectory of {one.values.size} steps.")
    missing = np.isnan(scores).reshape(len(scores), -1).any(axis=1)
    known = scores[~missing]
    if ((known < 0) | (known > 1)).any() or (known.ndim == 2 and (np.abs(known.sum(axis=1) - 1) > 1e-6).any()):
        raise ValueError("A score is no probability: each lies between 0 and 1, and three of a step sum to 1.")
    kept = one.has_gold & ~missing
    return scores[kept].astype(np.float64), one.values[kept].astype(np.int64)


def _refuse_too_little(n_trajectories: int, n_groups: int) -> None:
    if n_trajectories < MIN_TRAJECTORIES:
        raise TooLittleGoldError(
            f"{n_trajectories} trajectories have gold on a step that this model answered; calibration takes "
            f"{MIN_TRAJECTORIES}. Until then its scores stay uncalibrated."
        )
    if n_groups < 2:
        raise TooLittleGoldError(
            f"All {n_trajectories} trajectories with gold belong to one task; calibration is checked on tasks that it "
            "was not fitted on, so it takes gold on a second task."
        )


def _log_floored(probs: FloatArray) -> FloatArray:
    floored = np.maximum(probs, _FLOOR)
    return np.asarray(np.log(floored / floored.sum(axis=1, keepdims=True)))


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def _softplus(x: FloatArray) -> FloatArray:
    return np.asarray(np.logaddexp(0, x))


def _to_free(parameters: FloatArray) -> FloatArray:
    """(slope, lower, gap) -> coordinates of which every triple is allowed."""
    slope, lower, gap = parameters
    return np.array([np.log(np.expm1(slope)), lower, np.log(np.expm1(gap))])


def _from_free(theta: FloatArray) -> FloatArray:
    return np.array([_softplus(theta[0]), theta[1], max(float(_softplus(theta[2])), _TINY)])


def _distance(theta: FloatArray) -> FloatArray:
    """From the prior, of slope, lower and the free coordinate of the gap."""
    return np.array([_softplus(theta[0]) - _PRIOR[0], theta[1] - _PRIOR[1], theta[2] - _to_free(_PRIOR)[2]])


def _penalised(theta: FloatArray, z: FloatArray, codes: IntArray, strength: float) -> float:
    slope, lower, gap = _from_free(theta)
    low, high = lower - slope * z, lower + gap - slope * z
    # log(sigmoid(high) - sigmoid(low)), without taking a difference of nearly equal numbers.
    neutral = np.log(-np.expm1(-gap)) - _softplus(-high) - _softplus(low)
    log_likelihood = np.choose(codes, [-_softplus(-low), neutral, -_softplus(high)])
    return float(-log_likelihood.sum() + strength / 2 * (_distance(theta) ** 2).sum())


def _derivatives(theta: FloatArray, z: FloatArray, codes: IntArray, strength: float) -> tuple[FloatArray, FloatArray]:
    """The gradient in free coordinates, and of the Hessian what is never negative: near a minimum, nearly all of it."""
    slope, lower, gap = _from_free(theta)
    low, high = _sigmoid(lower - slope * z), _sigmoid(lower + gap - slope * z)
    is_negative, is_neutral, is_positive = (codes == k for k in range(len(VALUES)))
    # Of the negative log likelihood, by the lower bound of each step (both move together) and by the gap.
    by_both = is_positive * high + is_neutral * (low + high - 1) - is_negative * (1 - low)
    by_gap = is_positive * high - is_neutral * (1 - high + 1 / np.expm1(gap))
    bend_low = low * (1 - low) * (is_negative | is_neutral)
    bend_high = high * (1 - high) * (is_positive | is_neutral)
    bend_gap = bend_high + is_neutral * np.exp(-gap) / np.expm1(-gap) ** 2
    bounds = np.stack([-z, np.ones_like(z)])
    hessian = np.empty((3, 3))
    hessian[:2, :2] = (bounds * (bend_low + bend_high)) @ bounds.T
    hessian[:2, 2] = hessian[2, :2] = bounds @ bend_high
    hessian[2, 2] = bend_gap.sum()
    gradient = np.append(bounds @ by_both, by_gap.sum())
    change, distance = np.array([_sigmoid(theta[0]), 1, _sigmoid(theta[2])]), _distance(theta)
    curved = np.diag([0, 0, max(gradient[2], 0) * change[2] * (1 - change[2])])
    penalty = strength * np.array([change[0], 1, 1])
    hessian = change[:, None] * hessian * change + curved + np.diag(penalty * [change[0], 1, 1])
    return change * gradient + penalty * distance, hessian


def _golden_section(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one minimum between low and high has it."""
    share = (5**0.5 - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > 1e-7:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - share * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + share * (high - low)
            at_right = function(right)
    return (low + high) / 2
