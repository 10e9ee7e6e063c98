"""What is believed of one trajectory, as a drawing: a column for each step."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotator.templatetags.stepmark import signed, value_class

COLUMN, GAP, LEFT = 22, 4, 52  # px
FIRST_HEIGHT, HEIGHT = 60, 100
TOP = FIRST_HEIGHT + 24  # of the values, below the first error
_MOST_NAMED = 30  # steps whose numbers all fit


@dataclass(frozen=True)
class Piece:
    """A part of a column: P(value) high."""

    y: float
    height: float
    css: str
    title: str


@dataclass(frozen=True)
class Column:
    """A step, or at the end the case that there is no error; of that one there are no values."""

    x: float
    middle: float
    name: str
    first: Piece
    values: list[Piece]


@dataclass(frozen=True)
class Drawing:
    """width: of it all in px; summary: what the drawing says about the first error, in words."""

    width: int
    columns: list[Column]
    summary: str
    VALUES = (-1, 0, 1)


def draw(probs: Sequence[Sequence[float]], first_error: Sequence[float]) -> Drawing:
    """probs: (n, 3) P(-1), P(0), P(+1) of each step; first_error: (n + 1,) P(the first error is there), last: none."""
    every = 1 if len(probs) <= _MOST_NAMED else 5
    columns = []
    for place, p in enumerate(first_error):
        is_step = place < len(probs)
        name = f"step {place + 1}" if is_step else "no error"
        shown = str(place + 1) if is_step and (place + 1) % every == 0 else ""
        x = LEFT + place * COLUMN + (0 if is_step else GAP)
        where = f"the first error is at {name}" if is_step else "there is no error"
        columns.append(
            Column(
                x=x,
                middle=x + (COLUMN - GAP) / 2,
                name=shown if is_step else "none",
                first=Piece(
                    round(FIRST_HEIGHT * (1 - p), 1), round(FIRST_HEIGHT * p, 1), "", f"{where}: {100 * p:.0f} %"
                ),
                values=_pieces(probs[place], name) if is_step else [],
            )
        )
    return Drawing(LEFT + len(first_error) * COLUMN + 2 * GAP, columns, summary(first_error))


def summary(first_error: Sequence[float]) -> str:
    """Where the first error most likely is, and how likely."""
    place = max(range(len(first_error)), key=first_error.__getitem__)
    likely = f"{100 * first_error[place]:.0f} %"
    return f"none ({likely})" if place == len(first_error) - 1 else f"step {place + 1} ({likely})"


def _pieces(probs: Sequence[float], name: str) -> list[Piece]:
    """From below: -1, 0, +1."""
    found, y = [], float(TOP + HEIGHT)
    for value, p in zip((-1, 0, 1), probs, strict=True):
        y -= HEIGHT * p
        found.append(
            Piece(round(y, 1), round(HEIGHT * p, 1), value_class(value), f"{name} is {signed(value)}: {100 * p:.0f} %")
        )
    return found
