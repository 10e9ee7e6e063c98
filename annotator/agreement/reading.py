"""The agreement report as the page shows it: names for raters, words for figures, places for small drawings."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from annotator.agreement.advice import Advice, advise
from annotator.agreement.breakdown import Breakdown, Part
from annotator.agreement.charts import Chart, chart
from annotator.agreement.metrics import AgreementReport, Figure, GroupReport, PairReport, StepReport
from annotator.agreement.steps import StepFilter
from annotator.agreement.sums import VALUES


@dataclass(frozen=True)
class Explained:
    """What a figure is called and what it says in plain words. Shares lie in 0 … 1, coefficients in −1 … 1."""

    key: str
    title: str
    meaning: str
    is_share: bool = False


EXPLAINED = (
    Explained(
        "raw_agreement",
        "Observed agreement",
        "How often two people gave the same step the same value, chance included.",
        is_share=True,
    ),
    Explained("cohen_kappa", "Cohen's kappa", "Agreement of two people beyond what their habits give by chance."),
    Explained("fleiss_kappa", "Fleiss' kappa", "The same for any number of people, with the habits of all pooled."),
    Explained(
        "gwet_ac1",
        "Gwet's AC1",
        "Agreement beyond chance that does not collapse where nearly all steps have the same value.",
    ),
    Explained(
        "krippendorff_alpha_nominal",
        "Krippendorff's alpha, nominal",
        "Agreement beyond chance when not everybody judged everything; any two different values count alike.",
    ),
    Explained(
        "krippendorff_alpha_ordinal",
        "Krippendorff's alpha, ordinal",
        "The same, but +1 against −1 counts more than a difference with a 0.",
    ),
    Explained(
        "first_error_agreement",
        "First-error agreement",
        "How often two people who judged a whole trajectory name the same first −1, or both none.",
        is_share=True,
    ),
    Explained(
        "first_error_within_one",
        "First-error agreement within one step",
        "The same, but a first −1 one step earlier or later counts as the same one.",
        is_share=True,
    ),
)
_BY_KEY = {explained.key: explained for explained in EXPLAINED}

# What the tables of parts show of each part.
PART_FIGURES = ("raw_agreement", "krippendorff_alpha_nominal", "gwet_ac1", "first_error_agreement")
# What is drawn of the parts, and the limits of Krippendorff's rule of thumb.
DRAWN = (("raw_agreement", ()), ("krippendorff_alpha_nominal", (0.667, 0.8)))

# The drawing's width in its own units; the figure's range is spread over it.
WIDTH = 100


@dataclass(frozen=True)
class Bar:
    """Where the interval and the value lie in the drawing."""

    zero: float
    point: float
    left: float
    width: float


@dataclass(frozen=True)
class FigureRow:
    explained: Explained
    figure: Figure

    @property
    def value(self) -> str:
        return _shown(self.figure.value, self.explained)

    @property
    def interval(self) -> str:
        if self.figure.low is None or self.figure.high is None:
            return "–"
        return f"{_shown(self.figure.low, self.explained)} to {_shown(self.figure.high, self.explained)}"

    @property
    def basis(self) -> str:
        return f"{self.figure.n} {self.figure.unit}"

    @property
    def bar(self) -> Bar | None:
        figure = self.figure
        if figure.value is None:
            return None
        low = figure.value if figure.low is None else figure.low
        high = figure.value if figure.high is None else figure.high
        left, right = self._place(low), self._place(high)
        return Bar(self._place(0), self._place(figure.value), left, round(right - left, 2))

    def _place(self, value: float) -> float:
        lowest = 0 if self.explained.is_share else -1
        return round(WIDTH * (min(max(value, lowest), 1) - lowest) / (1 - lowest), 2)


def _shown(value: float | None, explained: Explained) -> str:
    if value is None:
        return "–"
    shown = f"{100 * value:.1f} %" if explained.is_share else f"{value:.3f}"
    return shown.replace("-", "−")


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
        figures=_rows(report, EXPLAINED),
        decisions=_rows(report.decision_points, of_steps),
        values=_value_rows(report),
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
        figures=_rows(pair, explained),
        confusion=matrix(pair.confusion, pair.raters),
        steps=urlencode({"a": a, "b": b}),
        differing=urlencode({"a": a, "b": b, "same": 0}),
    )


def _value_rows(report: GroupReport) -> list[ValueRow]:
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
    explained = [_BY_KEY[key] for key in PART_FIGURES]
    drawings = [
        Drawing(
            f"{name}-{key}",
            _BY_KEY[key].title,
            chart(
                [(part.title, vars(part.report)[key]) for part in parts],
                is_share=_BY_KEY[key].is_share,
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
                _rows(part.report, explained),
                steps=urlencode(part.steps),
                differing=urlencode({**part.steps, "same": 0}),
            )
            for part in parts
        ],
        titles=[one.title for one in explained],
        drawings=drawings,
    )


def _rows(report: StepReport | PairReport, explained: Sequence[Explained]) -> list[FigureRow]:
    figures: dict[str, Figure] = vars(report)
    return [FigureRow(one, figures[one.key]) for one in explained]


def filter_words(wanted: StepFilter, names: Mapping[Hashable, str]) -> list[str]:
    """What the list of steps is restricted to, one phrase each."""
    a = names.get(wanted.a, "a person unknown here") if wanted.a else "one person"
    b = names.get(wanted.b, "a person unknown here") if wanted.b else "another"
    words = []
    if wanted.value_a is not None:
        words.append(f"{a} gave {_signed(wanted.value_a)}")
    elif wanted.a:
        words.append(f"judged by {a}")
    if wanted.value_b is not None:
        words.append(f"{b} gave {_signed(wanted.value_b)}")
    elif wanted.b:
        words.append(f"judged by {b}")
    if wanted.same is not None:
        words.append("their values are the same" if wanted.same else "their values differ")
    if wanted.domain:
        words.append(f"domain {wanted.domain}")
    if wanted.guideline is not None:
        words.append(f"labelled under guideline version {wanted.guideline}")
    if wanted.since:
        words.append(f"last judgement from {wanted.since:%-d %b %Y %H:%M} UTC")
    if wanted.until:
        words.append(f"last judgement until {wanted.until:%-d %b %Y %H:%M} UTC")
    return words


def _signed(value: int) -> str:
    return f"{value:+d}".replace("-", "−") if value else "0"
