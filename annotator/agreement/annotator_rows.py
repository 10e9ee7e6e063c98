"""The reports of annotators as their page shows them. Pure."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from urllib.parse import urlencode

from annotator.agreement.annotators import AnnotatorReport, Flag
from annotator.agreement.explained import BY_KEY, WIDTH, FigureRow
from annotator.agreement.sums import VALUES


@dataclass(frozen=True)
class ValueShare:
    """How much of what somebody gave is this value; `left` and `width` are its part of the drawing."""

    value: int
    share: float
    left: float
    width: float


@dataclass(frozen=True)
class FlagRow:
    flag: Flag
    steps: str


@dataclass(frozen=True)
class AnnotatorRow:
    name: str
    report: AnnotatorReport
    shares: list[ValueShare]
    observed: FigureRow | None
    alpha: FigureRow | None
    flags: list[FlagRow]

    @property
    def unseen(self) -> float | None:
        reading = self.report.reading
        return len(reading.unseen) / reading.n_steps if reading.n_steps else None

    @property
    def basis(self) -> str:
        """The interval of the observed agreement, and how many pairs of labels it rests on."""
        if self.observed is None:
            return ""
        figure = self.observed.figure
        if figure.low is None or figure.high is None:
            return f"{figure.n} pairs"
        return f"{_span(figure.low, figure.high)}, {figure.n} pairs"

    @property
    def gold_basis(self) -> str:
        gold = self.report.gold
        return f"{_span(*gold.interval)}, {gold.n_hits} of {gold.n}" if gold.interval else ""


def annotator_rows(reports: Sequence[AnnotatorReport], names: Mapping[Hashable, str]) -> list[AnnotatorRow]:
    """In the order of their names."""
    rows = [
        AnnotatorRow(
            name=names[report.rater],
            report=report,
            shares=_shares(report),
            observed=FigureRow(BY_KEY["raw_agreement"], report.observed) if report.observed else None,
            alpha=FigureRow(BY_KEY["krippendorff_alpha_nominal"], report.alpha) if report.alpha else None,
            flags=[FlagRow(flag, urlencode(flag.steps)) for flag in report.flags],
        )
        for report in reports
    ]
    return sorted(rows, key=lambda row: row.name)


def _shares(report: AnnotatorReport) -> list[ValueShare]:
    shares = [n / report.n_steps for n in report.n_of_value]
    lefts = accumulate(shares, initial=0.0)
    return [
        ValueShare(value, share, round(WIDTH * left, 2), round(WIDTH * share, 2))
        for value, share, left in zip(VALUES, shares, lefts, strict=False)
    ]


def _span(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"
