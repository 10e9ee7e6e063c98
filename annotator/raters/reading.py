"""The comparison of raters as its page shows it: ranked rows, words for figures, points of the reliability diagram."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from annotator.agreement.metrics import Figure
from annotator.agreement.sums import VALUES
from annotator.models import Calibration, ModelVersion
from annotator.raters.metrics import RaterComparison, RaterReport


@dataclass(frozen=True)
class Explained:
    """What a figure is called and what it says in plain words."""

    key: str
    title: str
    meaning: str


# What the table shows, in its order.
FIGURES = (
    Explained(
        "step_acc",
        "StepAcc",
        "The share of steps with gold on which the model gives the same value; a missing answer is wrong.",
    ),
    Explained(
        "first_err_acc",
        "FirstErrAcc",
        "The share of trajectories whose first −1 is that of gold, or which have none in both.",
    ),
    Explained("first_err_acc_strict", "FirstErrAcc, strict", "The same, but a missing answer on the way is wrong."),
    Explained(
        "macro_f1",
        "Macro-F1",
        "The mean over the three values of how well each is found; the rare 0 counts as much as +1.",
    ),
    Explained(
        "ece",
        "ECE",
        "Expected calibration error: how far the model's certainty is from how often it is right. Less is better.",
    ),
    Explained(
        "processbench_f1",
        "ProcessBench F1",
        "First errors as ProcessBench counts them: trajectories with and without an error weigh alike.",
    ),
    Explained("prm_score", "PRMScore", "Right or wrong alone, as PRMBench counts: both classes weigh alike."),
    Explained("coverage", "Answered", "The share of steps with gold about which the model says anything."),
)

# The drawing of a reliability diagram, in its own units.
SIZE, MARGIN = 200, 24


@dataclass(frozen=True)
class Shown:
    """One figure in words."""

    value: str
    interval: str
    reason: str


@dataclass(frozen=True)
class Cell:
    n: int
    shade: int  # 0 … 4: the share of its row
    is_same: bool
    steps: str  # the query string that lists the steps


@dataclass(frozen=True)
class MatrixRow:
    value: int
    cells: list[Cell]


@dataclass(frozen=True)
class Point:
    """One bin of a reliability diagram: where it lies, how large its dot is, and what it says."""

    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True)
class ModelRow:
    version: ModelVersion
    report: RaterReport
    figures: list[Shown]
    recall: list[tuple[int, Shown]]
    matrix: list[MatrixRow]
    domains: list[tuple[str, int, list[Shown]]]
    points: list[Point]
    calibration: "CalibrationShown | None"
    n_left_out: int  # trajectories with gold that do not count for it


@dataclass(frozen=True)
class CalibrationShown:
    """The latest calibration of a version, out of fold: before and after."""

    calibration: Calibration
    ece_before: str
    ece_after: str
    before: list[Point]
    after: list[Point]


def model_rows(
    versions: Sequence[ModelVersion],
    compared: Mapping[str, RaterComparison],
    calibrations: Mapping[int, Calibration],
    query: Mapping[str, str],
    *,
    n_trajectories: int,
) -> list[ModelRow]:
    """The best StepAcc first; a model that has answered nothing comes last. query: what the figures are measured by."""
    rows = []
    for version in versions:
        comparison = compared[str(version)]
        report = comparison.overall
        domains = [(name, part.n_steps, _figures(part)) for name, part in comparison.domains.items()]
        recall = [(value, _shown(figure)) for value, figure in zip(VALUES, report.recall, strict=True)][::-1]
        calibration = calibrations.get(version.pk)
        rows.append(
            ModelRow(
                version=version,
                report=report,
                figures=_figures(report),
                recall=recall,
                matrix=_matrix(version, report.confusion, query),
                domains=domains,
                points=points([vars(one) for one in report.reliability]),
                calibration=_calibration(calibration) if calibration else None,
                n_left_out=n_trajectories - report.n_trajectories,
            )
        )
    return sorted(rows, key=lambda row: -(row.report.step_acc.value or 0.0))


def _figures(report: RaterReport) -> list[Shown]:
    figures: dict[str, Figure] = vars(report)
    return [_shown(figures[one.key]) for one in FIGURES]


def _shown(figure: Figure) -> Shown:
    if figure.value is None:
        return Shown("–", "", figure.reason)
    interval = (
        f"{100 * figure.low:.1f} to {100 * figure.high:.1f}"
        if figure.low is not None and figure.high is not None
        else ""
    )
    return Shown(f"{100 * figure.value:.1f}", interval, "")


def _matrix(version: ModelVersion, confusion: Sequence[Sequence[int]], query: Mapping[str, str]) -> list[MatrixRow]:
    """+1 first, as people read it; the last column is what the model left unanswered."""
    order = sorted(range(len(VALUES)), reverse=True)

    def cell(i: int, j: int) -> Cell:
        total = sum(confusion[i])
        said = VALUES[j] if j < len(VALUES) else "none"
        steps = urlencode({"version": version.pk, "gold": VALUES[i], "said": said, **query})
        return Cell(confusion[i][j], -(-4 * confusion[i][j] // total) if total else 0, i == j, steps)

    return [MatrixRow(VALUES[i], [cell(i, j) for j in [*order, len(VALUES)]]) for i in order]


def points(bins: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The bins that hold something, for raters/_reliability.html; the area of a dot is its share of the steps."""
    most = max((one["n"] for one in bins), default=0)
    side = SIZE - 2 * MARGIN
    return [
        Point(
            x=round(MARGIN + side * one["confidence"], 1),
            y=round(SIZE - MARGIN - side * one["accuracy"], 1),
            radius=round(2 + 7 * (one["n"] / most) ** 0.5, 1),
            title=f"{one['n']} steps: {100 * one['confidence']:.0f} % sure, {100 * one['accuracy']:.0f} % right",
        )
        for one in bins
        if one["n"]
    ]


def _calibration(calibration: Calibration) -> CalibrationShown:
    before, after = calibration.report["before"], calibration.report["after"]
    return CalibrationShown(
        calibration,
        ece_before=f"{100 * before['ece']:.1f}",
        ece_after=f"{100 * after['ece']:.1f}",
        before=points(before["reliability"]),
        after=points(after["reliability"]),
    )
