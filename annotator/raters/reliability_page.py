"""How far raters can be relied on, as the page says it: plain words first, then figures and small drawings. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from annotator.agreement.charts import Chart, chart
from annotator.agreement.metrics import Figure
from annotator.agreement.sums import VALUES
from annotator.raters.reliability import DRIFT_P, Drift, Reliability

# What is worth a word. An interval has to lie beyond it as a whole.
LEAST_DIFFERENCE = 0.02  # of the share of 0, and of a drift
MISSED = 0.25  # of the first errors
EARLY = 0.10  # of the trajectories

Kind = Literal["person", "model"]
WIDTH = 100  # of a small drawing, in its own units: a share lies at its percentage
SPARK_HEIGHT = 30

SORTS = {
    "name": "Rater",
    "accuracy": "Right",
    "zeros": "Use of 0",
    "missed": "First errors missed",
    "early": "Errors seen too early",
    "drift": "Over time",
}


@dataclass(frozen=True)
class Verdict:
    """Goes on after the rater's name. `steps` lists what is behind it, unless it is empty."""

    short: str
    text: str
    steps: str = ""
    is_warning: bool = True


@dataclass(frozen=True)
class Shown:
    """A figure in words; `reason` is why there is none. `steps` lists what is behind it, unless it is empty."""

    value: str
    interval: str
    basis: str
    reason: str
    steps: str = ""


@dataclass(frozen=True)
class Dot:
    """How often one value is found: where its dot and its interval lie."""

    value: int
    shown: Shown
    x: float | None
    left: float
    right: float


@dataclass(frozen=True)
class Drawing:
    key: str
    title: str
    chart: Chart


@dataclass(frozen=True)
class Detail:
    title: str
    meaning: str
    shown: Shown


@dataclass(frozen=True)
class Spark:
    """The share of right labels, block by block, as a line with its band."""

    line: str
    band: str


@dataclass(frozen=True)
class RaterRow:
    key: str
    name: str
    kind: Kind
    report: Reliability
    hears_itself: bool  # the yardstick is made with this rater's own word, so nothing is concluded from it
    is_belief: bool  # the yardstick is what is believed, not what is settled
    left_out: list[str]

    @property
    def verdicts(self) -> list[Verdict]:
        if self.hears_itself:
            return []
        return verdicts_of(self.report, self.key, self.kind, is_belief=self.is_belief)

    @property
    def reachable(self) -> str:
        """How often whoever gives the likeliest value would be right, where that is not always."""
        return percent(self.report.reachable) if self.report.reachable < 0.9995 else ""

    @property
    def accuracy(self) -> Shown:
        return shown(self.report.accuracy, self._steps(show="wrong"))

    @property
    def dots(self) -> list[Dot]:
        """+1 first, as people read it."""
        figures = list(zip(VALUES, self.report.of_value, strict=True))[::-1]
        return [_dot(value, figure, self._steps(truth=value, show="wrong")) for value, figure in figures]

    @property
    def zeros(self) -> Shown:
        return shown(self.report.zeros, self._steps(said=0))

    @property
    def true_zeros(self) -> str:
        return percent(self.report.true_zeros.value)

    @property
    def missed(self) -> Shown:
        return shown(self.report.missed, self._steps(show="missed"))

    @property
    def early(self) -> Shown:
        return shown(self.report.early, self._steps(show="early"))

    @property
    def drift(self) -> str:
        return drift_word(self.report.drift, self.kind)

    @property
    def spark(self) -> Spark | None:
        blocks = self.report.drift.blocks
        return _spark(blocks) if len(blocks) > 1 else None

    @property
    def drawing(self) -> Drawing | None:
        """The same with its scale, as large as a chart."""
        blocks = self.report.drift.blocks
        if len(blocks) < 2:
            return None
        what = "Label" if self.kind == "person" else "Answer"
        figures = [(f"{first}–{last}", figure) for first, last, figure in blocks]
        title = f"{what}s in order, and how many of them are right"
        return Drawing(f"drift-{self.key}", title, chart(figures, is_share=True, is_connected=True))

    @property
    def details(self) -> list[Detail]:
        report = self.report
        of_values = [
            Detail(
                f"Finds {signed(value)}",
                f"Of the steps that are {signed(value)}, how many they call so.",
                shown(figure),
            )
            for value, figure in list(zip(VALUES, report.of_value, strict=True))[::-1]
        ]
        change = report.drift.change
        drifted = Shown("–", "", "", change.reason)
        if change.value is not None:
            drifted = Shown(points(change), "", f"p = {_p(report.drift.p)}, {change.n} labels", "")
        return [
            Detail("Right", "How many of the compared steps have the value that counts.", shown(report.accuracy)),
            *of_values,
            Detail("Gives 0", "How many of the compared steps they call 0.", shown(report.zeros)),
            Detail("Steps that are 0", "How many of the same steps are 0.", shown(report.true_zeros)),
            Detail("Misses first errors", "Of those that they came to without −1 before.", shown(report.missed)),
            Detail("With +1", "The first errors that they call correct.", shown(report.missed_as_plus)),
            Detail(
                "Sees errors too early",
                "Trajectories with a −1 before the first error, or without any.",
                shown(report.early),
            ),
            Detail("Change", "From the first to the last label, by a straight line.", drifted),
        ]

    @property
    def order(self) -> dict[str, float | None]:
        """By SORTS; the worst is the least."""
        report = self.report
        excess, missed, early = (f.value for f in (report.excess_zeros, report.missed, report.early))
        return {
            "accuracy": report.accuracy.value,
            "zeros": None if excess is None else -abs(excess),
            "missed": None if missed is None else -missed,
            "early": None if early is None else -early,
            "drift": report.drift.change.value,
        }

    def _steps(self, **wanted: object) -> str:
        return urlencode({"rater": self.key, **wanted})


def in_order(rows: Sequence[RaterRow], sort: str) -> list[RaterRow]:
    """By one of SORTS, the worst first and who has no figure last; a leading minus turns it round."""
    name, is_reversed = sort.removeprefix("-"), sort.startswith("-")
    if name not in SORTS or name == "name":
        return sorted(rows, key=lambda row: (row.kind != "person", row.name), reverse=is_reversed)
    known = [(order, row) for row in rows if (order := row.order[name]) is not None]
    ordered = [row for _, row in sorted(known, key=lambda pair: pair[0], reverse=is_reversed)]
    return ordered + [row for row in rows if row.order[name] is None]


def verdicts_of(report: Reliability, key: str, kind: Kind, *, is_belief: bool = False) -> list[Verdict]:
    """What can be said with some certainty; empty where nothing stands out.

    A belief that is unsure of a step calls everybody wrong there in part, so it says nothing of missed or early errors.
    How often somebody gives 0, and whether they change, it can tell: these compare sums.
    """

    def steps(**wanted: object) -> str:
        return urlencode({"rater": key, **wanted})

    found: list[Verdict] = []
    excess, missed, early = report.excess_zeros, report.missed, report.early
    if excess.value is not None and excess.low is not None and excess.high is not None:
        used = (
            f"gives 0 to {percent(report.zeros.value)} of the steps, where {percent(report.true_zeros.value)} are 0: "
            f"{points(excess)}."
        )
        if excess.low > 0 and excess.value >= LEAST_DIFFERENCE:
            found.append(Verdict("overuses 0", f"overuses 0: {used}", steps(said=0)))
        elif excess.high < 0 and excess.value <= -LEAST_DIFFERENCE:
            found.append(Verdict("seldom gives 0", f"seldom gives 0: {used}", steps(truth=0, show="wrong")))
    if not is_belief and missed.low is not None and missed.low > MISSED:
        text = f"misses first errors: passes over {in_words(missed)} of them"
        if report.missed_as_plus.value is not None:
            text += f", and says +1 to {percent(report.missed_as_plus.value)}"
        found.append(Verdict("misses first errors", f"{text}.", steps(show="missed")))
    if not is_belief and early.low is not None and early.low > EARLY:
        text = f"sees errors too early: says −1 before the first error, or without one, on {in_words(early)} of the "
        found.append(Verdict("sees errors too early", f"{text}trajectories.", steps(show="early")))
    word = drift_word(report.drift, kind)
    if word in _DRIFTS[kind]:
        change = report.drift.change
        text = f"is {word}" if kind == "person" else f"is right {word}"
        text += f": {points(change)} from the first to the last label (p = {_p(report.drift.p)})."
        found.append(Verdict(word, text, is_warning=(change.value or 0) < 0))
    return found


_DRIFTS: dict[Kind, tuple[str, str]] = {
    "person": ("getting worse", "getting better"),
    "model": ("less often on later imports", "more often on later imports"),
}


def drift_word(drift: Drift, kind: Kind) -> str:
    change, p = drift.change.value, drift.p
    if change is None or p is None:
        return "too little to say"
    if p >= DRIFT_P or abs(change) < LEAST_DIFFERENCE:
        return "no drift seen"
    return _DRIFTS[kind][change > 0]


def shown(figure: Figure, steps: str = "") -> Shown:
    if figure.value is None:
        return Shown("–", "", "", figure.reason)
    return Shown(percent(figure.value), _interval(figure), figure.basis, "", steps)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def in_words(figure: Figure) -> str:
    """`31.0 % (20.1 to 44.0)`."""
    return f"{percent(figure.value)} ({_interval(figure)})" if figure.low is not None else percent(figure.value)


def points(figure: Figure) -> str:
    """`+4.2 points (+1.0 to +7.4)`."""
    assert figure.value is not None
    said = f"{100 * figure.value:+.1f} points"
    if figure.low is not None and figure.high is not None:
        said += f" ({100 * figure.low:+.1f} to {100 * figure.high:+.1f})"
    return _minus(said)


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{100 * figure.low:.1f} to {100 * figure.high:.1f}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _p(p: float | None) -> str:
    return "–" if p is None else "less than 0.001" if p < 0.001 else f"{p:.3f}"


def signed(value: int) -> str:
    return _minus(f"{value:+d}") if value else "0"


def _dot(value: int, figure: Figure, steps: str) -> Dot:
    low, high = figure.low or 0.0, figure.high or 0.0
    return Dot(
        value=value,
        shown=shown(figure, steps),
        x=None if figure.value is None else round(WIDTH * figure.value, 1),
        left=round(WIDTH * low, 1),
        right=round(WIDTH * high, 1),
    )


def _spark(blocks: Sequence[tuple[int, int, Figure]]) -> Spark:
    """From 0 % at the bottom to 100 % at the top."""

    def y_of(share: float | None) -> float:
        return round(SPARK_HEIGHT * (1 - (share or 0.0)), 1)

    xs = [round(WIDTH * (k + 0.5) / len(blocks), 1) for k in range(len(blocks))]
    figures = [figure for _, _, figure in blocks]
    upper = [f"{x},{y_of(figure.high)}" for x, figure in zip(xs, figures, strict=True)]
    lower = [f"{x},{y_of(figure.low)}" for x, figure in zip(xs, figures, strict=True)]
    line = " ".join(f"{x},{y_of(figure.value)}" for x, figure in zip(xs, figures, strict=True))
    return Spark(line=line, band=" ".join([*upper, *lower[::-1]]))


def left_out(
    kind: Kind, against: str, *, n_after_hints: int = 0, n_without: int = 0, n_shown: int = 0, n_learnt: int = 0
) -> list[str]:
    """What could not count, and why, a sentence each."""
    noun = "label" if kind == "person" else "answer"
    without = "on steps without gold" if kind == "model" else "on steps that nobody else has judged or decided"
    if against == "posterior":
        without = "on steps about which nothing is believed yet"
    counts = [
        (n_after_hints, noun, f"{noun}s", "given with a model's word in sight"),
        (n_without, noun, f"{noun}s", without),
        (n_shown, "trajectory", "trajectories", "that people had judged with its word in sight"),
        (n_learnt, "trajectory", "trajectories", "that it may have learnt from"),
    ]
    return [f"{n} {one if n == 1 else many} {why}." for n, one, many, why in counts if n]
