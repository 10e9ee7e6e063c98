"""The learning curve as it is drawn and put into words: points in, coordinates and sentences out. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from annotator.raters.reliability import FEWEST_TASKS

# In the drawing's own units; it is scaled to the page.
WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 624, 14, 246

Effort = Literal["steps", "seconds"]


@dataclass(frozen=True)
class Share:
    """StepAcc on the held-out steps, with its 95 % interval where there is one."""

    value: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        return f"{100 * self.value:.1f} %"

    @property
    def interval(self) -> str:
        return "" if self.low is None or self.high is None else f"{100 * self.low:.1f} to {100 * self.high:.1f} %"

    def is_above(self, other: "Share") -> bool:
        """Whether its whole interval lies above the other's."""
        return self.low is not None and other.high is not None and self.low > other.high


@dataclass(frozen=True)
class CurvePoint:
    """One training: how much people did for what it learnt from, and how good the scorer became.

    Held-out steps become more as gold grows, and not the same in difficulty: only what was measured on the same ones is
    compared. That is what the latest training measured: itself, its baseline, and anew the version before it.
    """

    is_baseline: bool
    is_kept: bool
    n_trajectories: int
    n_steps: int
    n_chosen: int  # of its trajectories, by a strategy and not by chance
    seconds: int
    step_acc: Share
    always_positive: Share
    over_always: Share  # the difference of the two on the same steps, with its own interval
    over_before: Share | None  # likewise over the version before it
    n_held_out_tasks: int
    n_held_out_steps: int
    is_of_now: bool  # measured on the held-out steps of the latest training

    def effort(self, kind: Effort) -> int:
        return self.n_steps if kind == "steps" else self.seconds


@dataclass(frozen=True)
class Mark:
    x: float
    y: float
    low: float
    high: float
    kind: str  # a class of the stylesheet
    title: str
    is_of_now: bool


@dataclass(frozen=True)
class Tick:
    place: float
    text: str


@dataclass(frozen=True)
class Curve:
    marks: list[Mark]
    line: str  # "x,y x,y …", through what was measured on the same steps
    line_of_all: str
    baseline: str
    always: float  # the height of saying +1 always
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    effort: Effort
    axis: str
    n_left_out: int  # trainings of which no such effort was recorded
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    bottom: int = _BOTTOM


def draw(points: Sequence[CurvePoint], effort: Effort) -> Curve | None:
    """Quality against effort, of the trainings of which it is known: none was free. None where no effort is known."""
    n_all = len(points)
    points = [point for point in points if point.effort(effort) > 0]
    if not points:
        return None
    most = max(point.effort(effort) for point in points)
    unit, x_most, numbers = _scale(most, effort)
    always = [point for point in points if not point.is_baseline][-1:] or list(points[-1:])
    bounds = [p.step_acc.value if p.step_acc.low is None else p.step_acc.low for p in points]
    floor = math.floor(10 * min(*bounds, always[0].always_positive.value, 0.9) - 0.2) / 10
    floor = max(0.0, floor)

    def y_of(share: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (share - floor) / (1 - floor), 1)

    def x_of(amount: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * amount / x_most, 1)

    def mark(point: CurvePoint) -> Mark:
        share, kind = point.step_acc, "kept" if point.is_kept else "tried"
        named = {"kept": "Kept", "tried": "Not kept", "slice": "Random slice alone"}
        kind = "slice" if point.is_baseline else kind
        title = f"{named[kind]}: {share.text}" + (f" ({share.interval})" if share.interval else "")
        title += f", learnt from {point.n_trajectories} trajectories with {point.n_steps} steps"
        title += "" if point.is_of_now else f"; measured on the {point.n_held_out_steps} held-out steps of then"
        low, high = share.low, share.high
        return Mark(
            x_of(point.effort(effort)),
            y_of(share.value),
            y_of(share.value if low is None else low),
            y_of(share.value if high is None else high),
            kind,
            title,
            point.is_of_now,
        )

    ordered = sorted(points, key=lambda point: point.effort(effort))
    marks = [mark(point) for point in ordered]

    def line(through: Iterable[Mark]) -> str:
        return " ".join(f"{mark.x},{mark.y}" for mark in through)

    main = [mark for mark in marks if mark.kind != "slice"]

    tenths = range(round(10 * floor), 11)
    return Curve(
        marks=marks,
        line=line(mark for mark in main if mark.is_of_now),
        line_of_all=line(main),
        baseline=line(mark for mark in marks if mark.kind == "slice"),
        always=y_of(always[0].always_positive.value),
        y_ticks=[Tick(y_of(n / 10), f"{10 * n} %") for n in tenths if len(tenths) <= 7 or n % 2 == 0],
        x_ticks=[Tick(x_of(number * unit), f"{number:g}") for number in numbers],
        effort=effort,
        axis="steps with gold" if effort == "steps" else _UNITS[unit],
        n_left_out=n_all - len(points),
    )


_UNITS = {1: "seconds of people's time", 60: "minutes of people's time", 3600: "hours of people's time"}


def _scale(most: int, effort: Effort) -> tuple[int, float, list[float]]:
    """The unit, the end of the axis in it times the unit, and four to six round numbers of units on it."""
    unit = 1
    if effort == "seconds":
        unit = 3600 if most >= 2 * 3600 else 60 if most >= 120 else 1
    amount = most / unit
    power = 10 ** math.floor(math.log10(amount / 5 if amount > 5 else 1))
    every = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= amount)
    n = math.ceil(amount / every + 0.05)
    return unit, n * every * unit, [every * number for number in range(n + 1)]


@dataclass(frozen=True)
class Conclusions:
    known: list[str]
    open: list[str]


def conclude(points: Sequence[CurvePoint], *, has_rounds: bool) -> Conclusions:
    """What the points show, and what they do not show yet.

    A difference counts only on enough tasks, and where its interval lies beside 0, or intervals are apart.
    """
    known: list[str] = []
    open_: list[str] = []
    main = [point for point in points if not point.is_baseline]
    if not main:
        return Conclusions([], [])
    used = [point for point in main if point.is_kept][-1:]
    for question in (_beats_always(used), _more_helps(main), _beats_chance(points, has_rounds=has_rounds)):
        if question:
            is_known, sentence = question
            (known if is_known else open_).append(sentence)
    if main[-1].n_held_out_tasks < FEWEST_TASKS:
        open_.append(
            f"How good it is exactly: only {main[-1].n_held_out_tasks} tasks are held out, so the intervals are wide. "
            "They become narrower as gold on more tasks comes in."
        )
    return Conclusions(known, open_)


def _beats_always(used: Sequence[CurvePoint]) -> tuple[bool, str] | None:
    if not used:
        return None
    now = used[0]
    compared = f"{now.step_acc.text} of the held-out steps are right, {now.always_positive.text} saying +1 always"
    return _told(
        now.over_always,
        now.n_held_out_tasks,
        compared,
        better="The scorer in use is better than saying +1 always",
        worse="The scorer in use is worse than saying +1 always",
        unknown="Whether the scorer in use is better than saying +1 always",
    )


def _more_helps(main: Sequence[CurvePoint]) -> tuple[bool, str]:
    """The latest training against the version before it, which was measured anew beside it."""
    question, latest = "Whether more gold makes it better", main[-1]
    before = [point for point in main[:-1] if point.is_of_now and point.n_steps < latest.n_steps][-1:]
    if not before or latest.over_before is None:
        return False, f"{question}: it takes a second training, with more gold."
    compared = (
        f"{latest.step_acc.text} with {latest.n_trajectories} trajectories, {before[0].step_acc.text} with "
        f"{before[0].n_trajectories}, on the same held-out steps"
    )
    return _told(
        latest.over_before,
        latest.n_held_out_tasks,
        compared,
        better="More gold has helped",
        worse="More gold has made it worse",
        unknown=question,
    )


def _told(over: Share, n_tasks: int, compared: str, *, better: str, worse: str, unknown: str) -> tuple[bool, str]:
    """What a difference, by drawing the same tasks for both, says of them."""
    by = f"{100 * over.value:+.1f} points".replace("-", "−")
    if n_tasks < FEWEST_TASKS:
        return False, f"{unknown}: {compared}, {by}; {_too_few(n_tasks)}."
    if over.low is None or over.high is None:
        return False, f"{unknown}: {compared}, {by}, and no interval is known."
    by += f" (95 % interval {100 * over.low:+.1f} to {100 * over.high:+.1f})".replace("-", "−")
    if over.low > 0:
        return True, f"{better}: {compared}, {by}."
    if over.high < 0:
        return True, f"{worse}: {compared}, {by}."
    return False, f"{unknown}: {compared}, {by}."


def _too_few(n_tasks: int) -> str:
    return f"it takes {FEWEST_TASKS} held-out tasks to tell that from chance, and there are {n_tasks}"


def _beats_chance(points: Sequence[CurvePoint], *, has_rounds: bool) -> tuple[bool, str] | None:
    """The random slice against the largest training that strategies chose for and that cost no more steps than it."""
    asked = "Whether choosing what people label beats chance"
    if not has_rounds:
        return False, f"{asked}: no selection round has run, so nothing was chosen yet."
    of_now = [point for point in points if point.is_of_now]
    slices = [point for point in of_now if point.is_baseline]
    if not slices:
        return False, f"{asked}: the random slice is too small to learn from it alone."
    chance = slices[0]
    chosen = [point for point in of_now if not point.is_baseline and point.n_chosen]
    if not chosen:
        return False, f"{asked}: nothing that the latest trainings learnt from had been chosen by a strategy."
    cheaper = [point for point in chosen if point.n_steps <= chance.n_steps]
    if not cheaper:
        return False, (
            f"{asked}: no training that was measured on the same steps has had as few to learn from as the random "
            f"slice, {chance.n_steps}."
        )
    ours = max(cheaper, key=lambda point: point.n_steps)
    compared = (
        f"{_said(ours.step_acc)} with {ours.n_steps} steps against {_said(chance.step_acc)} with the {chance.n_steps} "
        "of the random slice"
    )
    if chance.n_held_out_tasks < FEWEST_TASKS:
        return False, f"{asked}: {compared}; {_too_few(chance.n_held_out_tasks)}."
    if ours.step_acc.is_above(chance.step_acc):
        return True, f"Choosing what people label beats chance: {compared}."
    if chance.step_acc.is_above(ours.step_acc):
        return True, f"Choosing what people label does worse than chance: {compared}."
    return False, f"{asked}: {compared}, and these intervals overlap."


def _said(share: Share) -> str:
    return f"{share.text} of the held-out steps" + (f" ({share.interval})" if share.interval else "")
