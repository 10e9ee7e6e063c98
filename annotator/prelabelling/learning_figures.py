"""Whether a newly trained scorer is better than the one before it: figures on the held-out tasks. Pure.

Both score the same trajectories, and every resample draws the same tasks for both: what is hard for both cancels out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from annotator.agreement.coefficients import FloatArray
from annotator.agreement.sums import VALUES
from annotator.raters.metrics import GoldTrajectory, compare, verdicts
from annotator.raters.reliability import FEWEST_TASKS

RESAMPLES = 2000
_FIGURES = ("step_acc", "macro_f1", "first_err_acc", "ece", "brier")
_TINY = 1e-12


@dataclass(frozen=True)
class Interval:
    """A figure with the 95 % interval from drawing tasks anew; without bounds where there are fewer than two tasks."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """New minus old. Of `step_acc` more is better, of `nll` (mean negative log likelihood, in nats) less."""

    step_acc: Interval
    nll: Interval
    n_tasks: int


@dataclass(frozen=True)
class Verdict:
    is_kept: bool
    reason: str


def measure(gold: Sequence[GoldTrajectory], said: Sequence[FloatArray]) -> dict[str, Any]:
    """The figures of one scorer as JSON, each with value, low, high and n.

    Beside them StepAcc of always saying +1 (`always_positive`), and how far the scorer is above it (`over_always`).
    `said`: for each trajectory (n_steps, 3) probabilities.
    """
    always = [np.tile([0.0, 0.0, 1.0], (len(one.values), 1)) for one in gold]
    found = compare(gold, {"scorer": list(said), "always_positive": always}, resamples=RESAMPLES)
    report = found["scorer"].overall
    figures = {name: asdict(getattr(report, name)) for name in _FIGURES}
    sums = _sums(gold, said)
    nll = _interval(sums[:, 2], sums[:, 0], _draws(len(sums)))
    return {
        **figures,
        "nll": {**asdict(nll), "n": report.n_steps, "unit": "steps with gold", "reason": ""},
        "always_positive": asdict(found["always_positive"].overall.step_acc),
        "over_always": asdict(difference(gold, said, always).step_acc),
        "held_out": {"n_trajectories": report.n_trajectories, "n_steps": report.n_steps, "n_tasks": report.n_groups},
    }


def difference(gold: Sequence[GoldTrajectory], new: Sequence[FloatArray], old: Sequence[FloatArray]) -> Difference:
    """How two scorers differ on the same trajectories, by a paired bootstrap over tasks with a fixed seed."""
    of_new, of_old = _sums(gold, new), _sums(gold, old)
    draws = _draws(len(of_new))
    by_task = of_new - of_old
    acc, nll = (_interval(by_task[:, column], of_new[:, 0], draws) for column in (1, 2))
    return Difference(acc, nll, len(of_new))


def judge(found: Difference) -> Verdict:
    """The rule by which a new scorer replaces the one before it.

    It must be right on more of the held-out steps or, where it is right on as many, give the gold a higher likelihood;
    and neither its share of right steps nor its likelihood may be worse in nearly all resamples (95 % interval of the
    difference). On few tasks that is no proof, and the reason does not say so: two would show the same difference in
    every resample whenever they happen to agree.
    """
    acc, nll, is_few = found.step_acc, found.nll, found.n_tasks < FEWEST_TASKS
    by = f"{_points(acc, is_few)}; negative log likelihood {_nats(nll, is_few)}"
    if acc.value < 0:
        return Verdict(False, f"It is right on fewer of the held-out steps than the one before ({by}).")
    if acc.value == 0 and nll.value >= 0:
        return Verdict(False, f"It is right on as many held-out steps as the one before, and no likelier ({by}).")
    if (nll.low is not None and nll.low > 0) or (acc.high is not None and acc.high < 0):
        worse = "worse" if is_few else "clearly worse"
        return Verdict(False, f"It is right on more held-out steps, but its probabilities are {worse} ({by}).")
    how = "right on more of the held-out steps" if acc.value > 0 else "as often right, and likelier on held-out steps"
    deciding = (acc.low is not None and acc.low > 0) if acc.value > 0 else (nll.high is not None and nll.high < 0)
    sure = "and that is more than chance" if deciding else "though the interval does not rule out chance"
    if is_few:
        sure = f"though it takes {FEWEST_TASKS} held-out tasks to tell that from chance, and there are {found.n_tasks}"
    return Verdict(True, f"It is {how}, {sure} ({by}).")


def _points(of: Interval, is_few: bool) -> str:
    bounds = ""
    if of.low is not None and of.high is not None and not is_few:
        bounds = f", 95 % interval {100 * of.low:+.1f} to {100 * of.high:+.1f}"
    return f"StepAcc {100 * of.value:+.1f} points{bounds}".replace("-", "−")


def _nats(of: Interval, is_few: bool) -> str:
    bounds = "" if of.low is None or of.high is None or is_few else f", {of.low:+.3f} to {of.high:+.3f}"
    return f"{of.value:+.3f}{bounds}".replace("-", "−")


def _sums(gold: Sequence[GoldTrajectory], said: Sequence[FloatArray]) -> FloatArray:
    """(tasks, 3): steps with gold, how many of them are right, their summed negative log likelihood."""
    place = {group: number for number, group in enumerate(dict.fromkeys(one.group for one in gold))}
    sums = np.zeros((len(place), 3))
    for one, probs in zip(gold, said, strict=True):
        codes, rows = one.values[one.has_gold] - VALUES[0], probs[one.has_gold]
        given = np.maximum(rows[np.arange(len(codes)), codes], _TINY)
        sums[place[one.group]] += [len(codes), (verdicts(rows) == codes).sum(), -np.log(given).sum()]
    return sums


def _draws(n: int) -> FloatArray:
    """(RESAMPLES, n): how often each task was drawn, with replacement."""
    generator = np.random.default_rng(0)
    return generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def _interval(summed: FloatArray, n: FloatArray, draws: FloatArray) -> Interval:
    value = float(summed.sum() / n.sum())
    if len(n) < 2:
        return Interval(value, None, None)
    drawn = (draws @ summed) / np.maximum(draws @ n, 1)
    low, high = (float(bound) for bound in np.quantile(drawn, [0.025, 0.975]))
    return Interval(value, low, high)
