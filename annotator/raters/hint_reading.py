"""Judgements with their hint arms, as the report compares them, and the report as its page shows it."""

from collections import defaultdict
from dataclasses import dataclass
from typing import cast

import numpy as np
from django.db.models import F

from annotator.agreement.charts import Chart, chart
from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.agreement.metrics import Figure
from annotator.models import Annotation, Calibration, Label, LabelEvent, Prediction, Project
from annotator.projects.hints import Arm
from annotator.raters import blind
from annotator.raters.actions import Against, read_gold
from annotator.raters.calibrated import calibrated
from annotator.raters.hint_figures import (
    AGREED_FIRST,
    AGREES,
    ARMS,
    CHANGED,
    COMPARED,
    CORRECTED,
    GOLD,
    MOVED,
    NONE,
    PEOPLE,
    SECONDS,
    HintReport,
    Judged,
)
from annotator.raters.hint_words import WORDS, amount
from annotator.raters.metrics import verdicts

TITLES = {
    AGREES: ("Agreement with the model", "How often a label is the value that the model gives."),
    AGREED_FIRST: ("The same, before anything was shown", "The label that stood when the suggestion came into sight."),
    PEOPLE: ("Agreement between people", "How often two people in this arm gave the same step the same value."),
    GOLD: ("Accuracy", "How often a label is the value that counts."),
    CHANGED: ("Changed after the reveal", "Of the labels that stood when the suggestion was shown."),
    MOVED: ("Moved to the model's value", "Of the labels that differed from it when it was shown."),
    CORRECTED: ("Corrected suggestions", "Of the labels given in sight of one, those with another value."),
    SECONDS: ("Active time per step", "The mean, without idle time; with the time after the reveal."),
}

Key = tuple[int, int]  # trajectory and annotator


def read(project: Project, against: Against) -> list[Judged]:
    """Every submitted judgement whose slot was drawn into an arm: the model had something to say about each of them.

    Without those whose authors had read before what models said, or had been shown it in another slot: they are in none
    of the arms.
    """
    slots = {"assignment__project": project, "assignment__hint_version__isnull": False, "assignment__no_hints": ""}
    drawn = {f"annotation__{field}": value for field, value in slots.items()}
    labels: dict[Key, dict[int, tuple[int, int, int | None]]] = defaultdict(dict)
    place = (F("annotation__trajectory_id"), F("annotation__annotator_id"), F("step__index"))
    rows = (
        Label.objects.submitted()
        .filter(**drawn, step__isnull=False)
        .values_list(*place, "value", "active_ms", "hint_value")
    )
    for trajectory, annotator, index, *label in rows.iterator(chunk_size=10_000):
        labels[trajectory, annotator][index] = tuple(label)
    own: dict[Key, dict[int, int | None]] = defaultdict(dict)  # what stood before a suggestion was shown
    events = LabelEvent.objects.filter(**drawn, step__isnull=False, is_after_hint=False).order_by("id")
    for trajectory, annotator, index, value in events.values_list(*place, "value").iterator(chunk_size=10_000):
        own[trajectory, annotator][index] = value
    gold = read_gold(project, against)
    settled = dict(zip(gold.ids, gold.gold, strict=True))
    said = _Said()
    annotations = Annotation.objects.submitted().filter(**slots)
    read_since = blind.read_since(project.trajectories.all())
    shown_in: dict[Key, set[int | None]] = defaultdict(set)
    for one in blind.in_slots(project.trajectories.all()):
        shown_in[one.trajectory, one.person].add(one.slot)
    judged = []
    for slot, trajectory, annotator, at, n, group, arm, shown_at, version, calibration in annotations.order_by(
        "id"
    ).values_list(
        "assignment_id",
        "trajectory_id",
        "annotator_id",
        "submitted_at",
        "trajectory__n_steps",
        "trajectory__group_key",
        "assignment__hint_arm",
        "hints_shown_at",
        "assignment__hint_version_id",
        "assignment__hint_calibration_id",
    ):
        key = (trajectory, annotator)
        assert at is not None  # it is submitted
        if shown_in[key] - {slot} or (key in read_since and read_since[key] < at):
            continue
        final = _filled(n, {index: value for index, (value, _, _) in labels[key].items()})
        seconds = np.full(n, np.nan)
        for index, (_, active_ms, _) in labels[key].items():
            seconds[index] = active_ms / 1000 or np.nan
        known = settled.get(trajectory)
        judged.append(
            Judged(
                arm=cast("Arm", arm),
                trajectory=trajectory,
                group=group,
                rater=annotator,
                before=final if arm == "blind" else _filled(n, own[key] if arm == "reveal_after" else {}),
                final=final,
                model=said.values(version, calibration, trajectory),
                shown=_filled(n, {index: hint for index, (_, _, hint) in labels[key].items()}),
                gold=np.where(known.has_gold, known.values, NONE) if known else _filled(n, {}),
                seconds=seconds,
                was_revealed=arm == "reveal_after" and shown_at is not None,
            )
        )
    return judged


def _filled(n: int, values: dict[int, int] | dict[int, int | None]) -> IntArray:
    array = np.full(n, NONE, dtype=np.int64)
    for index, value in values.items():
        if value is not None:
            array[index] = value
    return array


class _Said:
    """What versions say, read once for each version."""

    def __init__(self) -> None:
        self._probs: dict[int, dict[int, list[list[float | None]]]] = {}
        self._calibrations: dict[int, Calibration] = {}

    def values(self, version: int, calibration: int | None, trajectory: int) -> IntArray:
        """(n,): the likeliest value of each step, NONE where the model abstained."""
        if version not in self._probs:
            rows = Prediction.objects.filter(version=version).values_list("trajectory", "probs")
            self._probs[version] = dict(rows)
        if calibration is not None and calibration not in self._calibrations:
            self._calibrations[calibration] = Calibration.objects.get(pk=calibration)
        fitted = self._calibrations[calibration] if calibration is not None else None
        probs: FloatArray = calibrated(self._probs[version][trajectory], fitted)
        likeliest = verdicts(probs) - 1
        return np.where(np.isnan(probs[:, 0]), NONE, likeliest)


@dataclass(frozen=True)
class Cell:
    """One figure of one arm in words, with how far it is from the blind one."""

    value: str
    interval: str
    basis: str
    reason: str
    difference: str


@dataclass(frozen=True)
class Row:
    title: str
    meaning: str
    cells: list[Cell]


@dataclass(frozen=True)
class Drawing:
    key: str
    title: str
    chart: Chart


def rows_of(report: HintReport) -> list[Row]:
    """One row per figure, one cell per arm."""
    return [
        Row(title, meaning, [_cell(report, arm, name) for arm in ARMS]) for name, (title, meaning) in TITLES.items()
    ]


def _cell(report: HintReport, arm: Arm, name: str) -> Cell:
    figure = report.arms[arm].figures[name]
    difference = report.differences[arm][name] if arm != "blind" and name in COMPARED else None
    if figure.value is None:
        return Cell("–", "", "", figure.reason, "")
    return Cell(
        value=_shown(name, figure.value),
        interval="" if figure.low is None else f"{_shown(name, figure.low)} to {_shown(name, figure.high)}",
        basis=figure.basis,
        reason="",
        difference=""
        if difference is None or difference.value is None
        else f"{amount(name, difference)} against blind",
    )


def _shown(name: str, value: float | None) -> str:
    assert value is not None
    return f"{value:.1f} s" if name == SECONDS else f"{100 * value:.1f} %"


def drawings_of(report: HintReport) -> list[Drawing]:
    """The shares that arms are compared by, side by side."""

    def marks(name: str) -> list[tuple[str, Figure]]:
        return [(WORDS[arm], report.arms[arm].figures[name]) for arm in ARMS]

    return [
        Drawing(name, TITLES[name][0], chart(marks(name), is_share=True, is_connected=False))
        for name in COMPARED
        if name != SECONDS and any(figure.value is not None for _, figure in marks(name))
    ]
