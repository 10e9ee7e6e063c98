"""Where the marks of a small chart lie: figures in, coordinates out. A template draws, the stylesheet colours. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from annotator.agreement.metrics import Figure

# In the drawing's own units; it is scaled to the page.
WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 628, 12, 190
_MOST_LABELS = 8


@dataclass(frozen=True)
class Mark:
    """One figure of the chart; `label` is empty where there is no room for it, `title` says all."""

    x: float
    y: float
    low: float
    high: float
    label: str
    title: str


@dataclass(frozen=True)
class Tick:
    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    marks: list[Mark]
    lines: list[str]  # "x,y x,y …", broken where a figure is undefined
    bands: list[str]
    ticks: list[Tick]
    limits: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    bottom: int = _BOTTOM


def chart(
    figures: Sequence[tuple[str, Figure]], *, is_share: bool, is_connected: bool, limits: Sequence[float] = ()
) -> Chart:
    """A chart of labelled figures from left to right, each with its interval, on a scale from 0 or a quarter below."""
    lowest = min((bound for _, f in figures for bound in (f.value, f.low) if bound is not None), default=0)
    floor = max(-1.0, min(0.0, math.floor(4 * lowest) / 4))
    every = -(-len(figures) // _MOST_LABELS)

    def y_of(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (max(value, floor) - floor) / (1 - floor), 1)

    def shown(value: float) -> str:
        return (f"{100 * value:.0f} %" if is_share else f"{value:.2f}").replace("-", "−")

    marks: list[Mark | None] = []
    for number, (label, figure) in enumerate(figures):
        if figure.value is None:
            marks.append(None)
            continue
        x = round(_LEFT + (_RIGHT - _LEFT) * (number + 0.5) / len(figures), 1)
        low = figure.value if figure.low is None else figure.low
        high = figure.value if figure.high is None else figure.high
        title = f"{label}: {shown(figure.value)}"
        title += "" if figure.low is None else f" ({shown(low)} to {shown(high)})"
        marks.append(Mark(x, y_of(figure.value), y_of(low), y_of(high), label if number % every == 0 else "", title))
    runs = [[mark for mark in run if mark] for is_known, run in groupby(marks, key=bool) if is_known and is_connected]
    return Chart(
        marks=[mark for mark in marks if mark],
        lines=[" ".join(f"{mark.x},{mark.y}" for mark in run) for run in runs],
        bands=[
            " ".join([f"{mark.x},{mark.high}" for mark in run] + [f"{mark.x},{mark.low}" for mark in reversed(run)])
            for run in runs
        ],
        ticks=[Tick(y_of(quarter / 4), shown(quarter / 4)) for quarter in range(int(4 * floor), 5)],
        limits=[Tick(y_of(value), shown(value)) for value in limits],
    )
