"""The agreement report as the page shows it: names for raters, words for figures, places for a small drawing."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from annotator.agreement.metrics import VALUES, AgreementReport, Figure, PairReport


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
)

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


@dataclass(frozen=True)
class MatrixRow:
    value: int
    cells: list[Cell]


def matrix(confusion: Sequence[Sequence[int]]) -> list[MatrixRow]:
    """+1 first, as people read it; the report counts from −1."""
    largest = max(max(row) for row in confusion)
    order = sorted(range(len(VALUES)), reverse=True)
    return [
        MatrixRow(
            VALUES[i],
            [Cell(confusion[i][j], -(-4 * confusion[i][j] // largest) if largest else 0, i == j) for j in order],
        )
        for i in order
    ]


@dataclass(frozen=True)
class Pair:
    first: str
    second: str
    report: PairReport
    figures: list[FigureRow]
    confusion: list[MatrixRow]


@dataclass(frozen=True)
class AgreementPage:
    report: AgreementReport
    figures: list[FigureRow]
    confusion: list[MatrixRow]
    pairs: list[Pair]
    pair_titles: list[str]
    columns: list[int]

    @property
    def of_two(self) -> Pair | None:
        """The only pair, whose matrix has a person on each side."""
        return self.pairs[0] if self.report.n_raters == 2 else None


def agreement_page(report: AgreementReport, names: Mapping[Hashable, str]) -> AgreementPage:
    of_pairs = [explained for explained in EXPLAINED if explained.key != "fleiss_kappa"]
    return AgreementPage(
        report=report,
        figures=_rows(report, EXPLAINED),
        confusion=matrix(report.confusion),
        pairs=[
            Pair(
                names[pair.raters[0]],
                names[pair.raters[1]],
                pair,
                _rows(pair, of_pairs),
                matrix(pair.confusion),
            )
            for pair in report.pairs
        ],
        pair_titles=[explained.title for explained in of_pairs],
        columns=sorted(VALUES, reverse=True),
    )


def _rows(report: AgreementReport | PairReport, explained: Sequence[Explained]) -> list[FigureRow]:
    figures: dict[str, Figure] = vars(report)
    return [FigureRow(one, figures[one.key]) for one in explained]
