"""How each annotator works: what they give, how well it holds, how they read; and what calls for a look. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray
from annotator.agreement.intervals import wilson
from annotator.agreement.metrics import Figure, against_others
from annotator.agreement.sums import VALUES, Columns, Compared

USUAL_ZEROS = (0.01, 0.20)
HURRIED_MS = 1500  # per step, over a whole trajectory
# Fewer steps or hurried trajectories than these may be chance.
FEWEST_STEPS = 100
FEWEST_HURRIED = 3


@dataclass(frozen=True)
class Readings(Columns):
    """How the steps were read, one place per submitted label; a step may come again with each revision."""

    label: IntArray
    assignment: IntArray
    step: IntArray
    rater: IntArray
    active_ms: IntArray
    is_seen: BoolArray
    is_superseded: BoolArray


@dataclass(frozen=True)
class Share:
    """`n_hits` of `n`, with the 95 % interval of Wilson (1927, J. Am. Stat. Assoc. 22)."""

    n_hits: int
    n: int

    @property
    def value(self) -> float | None:
        return self.n_hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.n_hits / self.n, self.n) if self.n else None


@dataclass(frozen=True)
class ReadingReport:
    """How one annotator read, where it was measured: labels that came over the API say nothing of it.

    `hurried`: the assignments with less than HURRIED_MS of active time per step. `unseen`: the labels whose step never
    was on the screen.
    """

    n_measured: int
    seconds_per_step: float | None
    n_steps: int
    unseen: list[int]
    hurried: list[int]


@dataclass(frozen=True)
class Flag:
    """`text` goes on after the annotator's name; `steps` are the filters that list what is behind it."""

    text: str
    steps: Mapping[str, object]


@dataclass(frozen=True)
class AnnotatorReport:
    rater: int
    n_trajectories: int
    n_of_value: tuple[int, ...]  # in the order of VALUES
    observed: Figure | None
    alpha: Figure | None
    gold: Share
    reading: ReadingReport
    n_returned: int

    @property
    def n_steps(self) -> int:
        return sum(self.n_of_value)

    @property
    def flags(self) -> list[Flag]:
        return [flag for flag in (self._on_zeros(), self._on_hurry()) if flag]

    def _on_zeros(self) -> Flag | None:
        n = self.n_steps
        if n < FEWEST_STEPS:
            return None
        lowest, highest = USUAL_ZEROS
        share = self.n_of_value[VALUES.index(0)] / n
        if lowest <= share <= highest:
            return None
        usual = f"usual is {100 * lowest:g} to {100 * highest:g} %"
        if share > highest:
            return Flag(f"gave 0 to {100 * share:.1f} % of {n} steps; {usual}. Look at these steps.", {"value": 0})
        given = f"gave 0 to {100 * share:.1f} % of" if share else "never gave 0 among"
        return Flag(f"{given} {n} steps; {usual}. Look whether some of them should be neutral.", {})

    def _on_hurry(self) -> Flag | None:
        n, n_measured = len(self.reading.hurried), self.reading.n_measured
        if n < FEWEST_HURRIED:
            return None
        limit = f"{HURRIED_MS / 1000:.1f} s"
        text = f"spent less than {limit} per step on {n} of {n_measured} trajectories. Look at these trajectories."
        return Flag(text, {"show": "hurried"})


def annotator_reports(
    compared: Compared, readings: Readings, gold: Mapping[int, Share], n_returned: Mapping[int, int]
) -> list[AnnotatorReport]:
    """One report per rater who has labelled a step, by their id; `gold` and `n_returned` by rater."""
    labels, of_readings = compared.labels, reading_reports(readings)
    others = against_others(compared)
    reports = []
    for rater in np.unique(labels.rater).tolist():
        own = labels.where(labels.rater == rater)
        figures = others.get(rater)
        reports.append(
            AnnotatorReport(
                rater=rater,
                n_trajectories=len(np.unique(own.trajectory)),
                n_of_value=tuple(int((own.value == value).sum()) for value in VALUES),
                observed=figures.raw_agreement if figures else None,
                alpha=figures.krippendorff_alpha_nominal if figures and figures.n_steps >= FEWEST_STEPS else None,
                gold=gold.get(rater, Share(0, 0)),
                reading=of_readings[rater],
                n_returned=n_returned.get(rater, 0),
            )
        )
    return reports


def reading_reports(readings: Readings) -> dict[int, ReadingReport]:
    """By rater. A later revision carries labels over without reading again, so the revisions count together."""
    _, step = np.unique(readings.assignment * (readings.step.max(initial=0) + 1) + readings.step, return_inverse=True)
    active_ms = np.bincount(step, readings.active_ms)[step]
    is_seen = (np.bincount(step, readings.is_seen) > 0)[step]
    now = ~readings.is_superseded
    current, active_ms, is_seen = readings.where(now), active_ms[now], is_seen[now]
    assignments, place = np.unique(current.assignment, return_inverse=True)
    total_ms, n_steps = np.bincount(place, active_ms), np.bincount(place)
    is_measured = (total_ms > 0) | (np.bincount(place, is_seen) > 0)
    is_hurried = is_measured & (total_ms < HURRIED_MS * n_steps)
    reports = {}
    for rater in np.unique(current.rater).tolist():
        own = (current.rater == rater) & is_measured[place]
        of_rater = np.unique(place[own])
        reports[rater] = ReadingReport(
            n_measured=len(of_rater),
            seconds_per_step=_median(active_ms[own]),
            n_steps=int(own.sum()),
            unseen=current.label[own & ~is_seen].tolist(),
            hurried=assignments[of_rater[is_hurried[of_rater]]].tolist(),
        )
    return reports


def _median(active_ms: FloatArray) -> float | None:
    return float(np.median(active_ms)) / 1000 if len(active_ms) else None
