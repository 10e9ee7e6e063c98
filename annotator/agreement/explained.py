"""What each figure is called, what it says in plain words, and how it is written and drawn. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from annotator.agreement.metrics import Figure, PairReport, StepReport


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
BY_KEY = {explained.key: explained for explained in EXPLAINED}

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
        low = _shown(self.figure.low, self.explained).removesuffix(" %")
        return f"{low} to {_shown(self.figure.high, self.explained)}"

    @property
    def basis(self) -> str:
        return _with_minus(self.figure.basis)

    @property
    def reason(self) -> str:
        return _with_minus(self.figure.reason)

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
    return _with_minus(f"{100 * value:.1f} %" if explained.is_share else f"{value:.3f}")


def _with_minus(text: str) -> str:
    """A real minus sign before a number."""
    return re.sub(r"-(?=\d)", "−", text)


def figure_rows(report: StepReport | PairReport, explained: Sequence[Explained]) -> list[FigureRow]:
    figures: dict[str, Figure] = vars(report)
    return [FigureRow(one, figures[one.key]) for one in explained]
