"""The agreement report as the page shows it: names for raters, rows for tables, links to steps. Pure."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from annotator.agreement.advice import Advice, advise
from annotator.agreement.breakdown import Breakdown, Part
from annotator.agreement.charts import Chart, chart
from annotator.agreement.explained import BY_KEY, EXPLAINED, Explained, FigureRow, figure_rows
from annotator.agreement.metrics import AgreementReport, GroupReport, PairReport, StepReport
from annotator.agreement.sums import VALUES

# What the tables of parts show of each part.
PART_FIGURES = ("raw_agreement", "krippendorff_alpha_nominal", "gwet_ac1", "first_error_agreement")
# What is drawn of the parts, and the limits of Krippendorff's rule of thumb.
DRAWN = (("raw_agreement", ()), ("krippendorff_alpha_nominal", (0.667, 0.8)))


@dataclass(frozen=True)
class Cell:
    n: int
    shade: int  # 0 … 4: the share of the largest cell
    is_same: bool
    steps: str  # the query string that lists the steps


@dataclass(frozen=True)
class MatrixRow:
    value: int
    cells: list[Cell]


def matrix(confusion: Sequence[Sequence[int]], raters: tuple[Hashable, Hashable] | None = None) -> list[MatrixRow]:
    """+1 first, as people read it; the report counts from −1. `raters`: the pair that the steps of a cell are of."""
    largest = max(max(row) for row in confusion)
    order = sorted(range(len(VALUES)), reverse=True)
    people = dict(zip(("a", "b"), raters, strict=True)) if raters else {}

    def cell(i: int, j: int) -> Cell:
        n = confusion[i][j]
        steps = urlencode({**people, "value_a": VALUES[i], "value_b": VALUES[j]})
        return Cell(n, -(-4 * n // largest) if largest else 0, i == j, steps)

    return [MatrixRow(VALUES[i], [cell(i, j) for j in order]) for i in order]


def _whole_matrix(report: AgreementReport) -> list[MatrixRow]:
    if report.n_raters == 2:
        return matrix(report.confusion, report.pairs[0].raters)
    # The report counts two people in both orders; the steps behind a cell are listed once, and so is their number.
    once = [[n // 2 if i == j else n for j, n in enumerate(row)] for i, row in enumerate(report.confusion)]
    return matrix(once)


@dataclass(frozen=True)
class Pair:
    first: str
    second: str
    report: PairReport
    figures: list[FigureRow]
    confusion: list[MatrixRow]
    steps: str
    differing: str


@dataclass(frozen=True)
class ValueRow:
    """How often a value that one person gave was given by the other, too."""

    value: int
    row: FigureRow
    same: str
    differing: str


@dataclass(frozen=True)
class PartRow:
    title: str
    report: GroupReport
    figures: list[FigureRow]
    steps: str
    differing: str


@dataclass(frozen=True)
class Drawing:
    key: str
    title: str
    chart: Chart


@dataclass(frozen=True)
class Parts:
    """A breakdown as a table and, if drawn, the same figures as charts."""

    rows: list[PartRow]
    titles: list[str]
    drawings: list[Drawing]


@dataclass(frozen=True)
class AdviceRow:
    advice: Advice
    steps: str


@dataclass(frozen=True)
class AgreementPage:
    report: AgreementReport
    advice: list[AdviceRow]
    figures: list[FigureRow]
    decisions: list[FigureRow]
    values: list[ValueRow]
    confusion: list[MatrixRow]
    domains: Parts
    periods: Parts
    versions: Parts
    pairs: list[Pair]
    pair_titles: list[str]
    columns: list[int]

    @property
    def of_two(self) -> Pair | None:
        """The only pair, whose matrix has a person on each side."""
        return self.pairs[0] if self.report.n_raters == 2 else None


def agreement_page(report: AgreementReport, parts: Breakdown, names: Mapping[Hashable, str]) -> AgreementPage:
    of_pairs = [explained for explained in EXPLAINED if explained.key != "fleiss_kappa"]
    of_steps = [explained for explained in EXPLAINED if explained.key in StepReport.__dataclass_fields__]
    advice = advise(report, [(version, part.report) for version, part in parts.versions], names)
    return AgreementPage(
        report=report,
        advice=[AdviceRow(one, urlencode(one.steps)) for one in advice],
        figures=figure_rows(report, EXPLAINED),
        decisions=figure_rows(report.decision_points, of_steps),
        values=_valuefigure_rows(report),
        confusion=_whole_matrix(report),
        domains=_parts(parts.domains),
        periods=_parts(parts.periods, name="periods", is_connected=True),
        versions=_parts([part for _, part in parts.versions], name="versions", is_connected=False),
        pairs=[_pair(pair, of_pairs, names) for pair in report.pairs],
        pair_titles=[explained.title for explained in of_pairs],
        columns=sorted(VALUES, reverse=True),
    )


def _pair(pair: PairReport, explained: Sequence[Explained], names: Mapping[Hashable, str]) -> Pair:
    a, b = pair.raters
    return Pair(
        first=names[a],
        second=names[b],
        report=pair,
        figures=figure_rows(pair, explained),
        confusion=matrix(pair.confusion, pair.raters),
        steps=urlencode({"a": a, "b": b}),
        differing=urlencode({"a": a, "b": b, "same": 0}),
    )


def _valuefigure_rows(report: GroupReport) -> list[ValueRow]:
    explained = Explained("specific_agreement", "", "", is_share=True)
    rows = [
        ValueRow(
            value,
            FigureRow(explained, figure),
            same=urlencode({"value_a": value, "value_b": value}),
            differing=urlencode({"value_a": value, "same": 0}),
        )
        for value, figure in zip(VALUES, report.specific_agreement, strict=True)
    ]
    return rows[::-1]


def _parts(parts: Sequence[Part], *, name: str = "", is_connected: bool = False) -> Parts:
    """`name`: the charts' ids begin with it; without one nothing is drawn."""
    explained = [BY_KEY[key] for key in PART_FIGURES]
    drawings = [
        Drawing(
            f"{name}-{key}",
            BY_KEY[key].title,
            chart(
                [(part.title, vars(part.report)[key]) for part in parts],
                is_share=BY_KEY[key].is_share,
                is_connected=is_connected,
                limits=limits,
            ),
        )
        for key, limits in (DRAWN if name and parts else ())
    ]
    return Parts(
        rows=[
            PartRow(
                part.title,
                part.report,
                figure_rows(part.report, explained),
                steps=urlencode(part.steps),
                differing=urlencode({**part.steps, "same": 0}),
            )
            for part in parts
        ],
        titles=[one.title for one in explained],
        drawings=drawings,
    )
