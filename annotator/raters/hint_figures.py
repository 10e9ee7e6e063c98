"""What suggestions do to people's labels: figures per hint arm, differences from the blind one, and what they allow to
say. Pure: arrays in, numbers and sentences out.

Every figure is a share or a mean, so it is two sums over tasks. A resample of tasks is a row of weights, the same for
all arms: they judge the same tasks, and a difference between arms is computed within each resample.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from annotator.agreement.coefficients import FloatArray, IntArray, defined, ratio
from annotator.agreement.metrics import Figure
from annotator.projects.hints import Arm

ARMS: tuple[Arm, ...] = ("blind", "reveal_after", "hinted")
NONE = -9  # in place of a value: not labelled, not said, no gold
NEED_TRAJECTORIES, NEED_TASKS = 25, 10

AGREES, AGREED_FIRST, PEOPLE, GOLD = "agrees_with_model", "agreed_before", "people_agree", "right_by_gold"
CHANGED, MOVED, SECONDS = "changed_after_reveal", "moved_to_model", "active_seconds"
CORRECTED = "corrected"
UNITS = {
    AGREES: "labels on steps of which the model says something",
    AGREED_FIRST: "labels before anything was shown",
    PEOPLE: "pairs of labels on one step, both given in this arm",
    GOLD: "labels on steps with gold",
    CHANGED: "labels that stood when the suggestion was shown",
    MOVED: "labels that differed from the suggestion when it was shown",
    CORRECTED: "labels given in sight of a suggestion",
    SECONDS: "labels with a measured time",
}
FIGURES = tuple(UNITS)
COMPARED = (AGREES, PEOPLE, GOLD, SECONDS)  # what is compared with the blind arm
_COLUMNS = len(ARMS) * len(FIGURES)


@dataclass(frozen=True)
class Judged:
    """One person's submitted judgement of one trajectory; the arrays go by step and have NONE where there is nothing.

    `before` is the label that stood when the suggestion was shown (nowhere in the hinted arm), `final` the submitted
    one; in the blind arm they are the same. `model` is what it says by itself, `shown` what was suggested when the
    final label was given: in the hinted arm that knows the labels of the steps before. `seconds` is NaN where no time
    was measured. `group` is the task.
    """

    arm: Arm
    trajectory: Hashable
    group: Hashable
    rater: Hashable
    before: IntArray
    final: IntArray
    model: IntArray
    shown: IntArray
    gold: IntArray
    seconds: FloatArray
    was_revealed: bool = False


@dataclass(frozen=True)
class ArmReport:
    """One arm: how much there is, and its figures by name."""

    arm: Arm
    n_judgements: int
    n_trajectories: int
    n_groups: int
    n_raters: int
    n_steps: int
    figures: dict[str, Figure]

    @property
    def is_enough(self) -> bool:
        return self.n_trajectories >= NEED_TRAJECTORIES and self.n_groups >= NEED_TASKS


@dataclass(frozen=True)
class HintReport:
    """`differences`: arm -> figure -> its value minus that of the blind arm, both on the same tasks drawn anew."""

    arms: dict[Arm, ArmReport]
    differences: dict[Arm, dict[str, Figure]]


def report(judged: Sequence[Judged], *, resamples: int = 2000, seed: int = 0) -> HintReport:
    """All arms. The 95 % intervals are percentiles over resampled tasks; the same input and seed give the same ones."""
    groups = {group: number for number, group in enumerate(dict.fromkeys(one.group for one in judged))}
    sums = np.zeros((2, len(groups), _COLUMNS))
    for one in judged:
        sums[:, groups[one.group], _columns(one.arm)] += _own_sums(one)
    for first, second in _pairs(judged):
        both = (first.final != NONE) & (second.final != NONE)
        at = _columns(first.arm).start + FIGURES.index(PEOPLE)
        sums[:, groups[first.group], at] += (both & (first.final == second.final)).sum(), both.sum()
    drawn = _drawn(sums, resamples, seed)
    arms = {arm: _arm(arm, [one for one in judged if one.arm == arm], sums, drawn) for arm in ARMS}
    differences = {arm: {name: _difference(arm, name, arms, drawn) for name in COMPARED} for arm in ARMS[1:]}
    return HintReport(arms, differences)


def _columns(arm: Arm) -> slice:
    start = ARMS.index(arm) * len(FIGURES)
    return slice(start, start + len(FIGURES))


def _own_sums(one: Judged) -> FloatArray:
    """(2, figures): what a judgement adds to the two sums of each figure; that of pairs stays 0."""
    labelled = one.final != NONE
    said = labelled & (one.model != NONE)
    stood = (one.before != NONE) & (one.model != NONE)
    shown = stood & labelled & one.was_revealed
    differed = shown & (one.before != one.model)
    settled = labelled & (one.gold != NONE)
    in_sight = labelled & (one.shown != NONE) & (one.arm == "hinted")
    timed = labelled & ~np.isnan(one.seconds)
    sums = {
        AGREES: ((one.final == one.model) & said, said),
        AGREED_FIRST: ((one.before == one.model) & stood, stood),
        GOLD: ((one.final == one.gold) & settled, settled),
        CHANGED: ((one.final != one.before) & shown, shown),
        MOVED: ((one.final == one.model) & differed, differed),
        CORRECTED: ((one.final != one.shown) & in_sight, in_sight),
        SECONDS: (np.where(timed, one.seconds, 0.0), timed),
        PEOPLE: (np.zeros(1), np.zeros(1)),
    }
    return np.array([[float(sums[name][part].sum()) for name in FIGURES] for part in (0, 1)])


def _pairs(judged: Sequence[Judged]) -> list[tuple[Judged, Judged]]:
    """Two people on one trajectory in one arm."""
    together: dict[tuple[Hashable, Arm], list[Judged]] = {}
    for one in judged:
        together.setdefault((one.trajectory, one.arm), []).append(one)
    return [pair for those in together.values() for pair in combinations(those, 2) if pair[0].rater != pair[1].rater]


def _drawn(sums: FloatArray, resamples: int, seed: int) -> FloatArray:
    """(resamples, columns): each figure of each arm in each resample of tasks; NaN where it is undefined."""
    n, generator = sums.shape[1], np.random.default_rng(seed)
    if n < 2:
        return np.full((0, _COLUMNS), np.nan)
    values = np.empty((resamples, _COLUMNS))
    for number in range(resamples):
        weights = np.bincount(generator.integers(n, size=n), minlength=n).astype(np.float64)
        values[number] = ratio(weights @ sums[0], weights @ sums[1])
    return values


def _arm(arm: Arm, judged: Sequence[Judged], sums: FloatArray, drawn: FloatArray) -> ArmReport:
    columns = _columns(arm)
    of_arm, spread = sums[:, :, columns], drawn[:, columns]
    point = ratio(of_arm[0].sum(axis=0), of_arm[1].sum(axis=0))
    figures = {
        name: _figure(point[k], spread[:, k], of_arm[1, :, k], UNITS[name], _why_none(arm, name))
        for k, name in enumerate(FIGURES)
    }
    return ArmReport(
        arm=arm,
        n_judgements=len(judged),
        n_trajectories=len({one.trajectory for one in judged}),
        n_groups=len({one.group for one in judged}),
        n_raters=len({one.rater for one in judged}),
        n_steps=int(sum((one.final != NONE).sum() for one in judged)),
        figures=figures,
    )


def _figure(value: FloatArray, drawn: FloatArray, by_group: FloatArray, unit: str, why: str) -> Figure:
    """With an interval where two tasks or more have part in it."""
    n, point = round(by_group.sum()), defined(value)
    if point is None:
        return Figure(None, None, None, n, unit, why)
    known = drawn[~np.isnan(drawn)]
    if not known.size or np.count_nonzero(by_group) < 2:
        return Figure(point, None, None, n, unit, "")
    low, high = (float(bound) for bound in np.quantile(known, [0.025, 0.975]))
    return Figure(point, low, high, n, unit, "")


def _why_none(arm: Arm, name: str) -> str:
    if name in (CHANGED, MOVED) and arm != "reveal_after":
        return "Nothing is revealed in this arm."
    if name == CORRECTED and arm != "hinted":
        return "Nothing is suggested before the label in this arm."
    if name == AGREED_FIRST and arm == "hinted":
        return "Nothing is labelled before the suggestion is seen."
    return {
        PEOPLE: "No step was judged by two people in this arm yet.",
        GOLD: "No step judged in this arm has gold yet.",
        SECONDS: "No time was measured in this arm yet; the labelling page measures it.",
        MOVED: "No label differed from the suggestion when it was shown.",
    }.get(name, "Nothing was submitted in this arm yet.")


def _difference(arm: Arm, name: str, arms: Mapping[Arm, ArmReport], drawn: FloatArray) -> Figure:
    own, blind = arms[arm].figures[name], arms["blind"].figures[name]
    n = min(own.n, blind.n)
    if own.value is None or blind.value is None:
        return Figure(None, None, None, n, own.unit, own.reason or blind.reason)
    position = FIGURES.index(name)
    spread = drawn[:, _columns(arm)][:, position] - drawn[:, _columns("blind")][:, position]
    known = spread[~np.isnan(spread)]
    if not known.size or own.low is None or blind.low is None:
        return Figure(own.value - blind.value, None, None, n, own.unit, "")
    low, high = (float(bound) for bound in np.quantile(known, [0.025, 0.975]))
    return Figure(own.value - blind.value, low, high, n, own.unit, "")
