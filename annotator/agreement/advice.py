"""What a project should do next, from its agreement figures: each advice names the figure behind it. Pure."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from statistics import median

from annotator.agreement.metrics import AgreementReport, Figure, GroupReport
from annotator.agreement.sums import VALUES

# Krippendorff's rule of thumb (Content Analysis, ch. 12).
UNFIT, FIT = 0.667, 0.8
# Fewer trajectories than these give intervals too wide to act on.
ENOUGH_TRAJECTORIES = 30
ENOUGH_OF_A_PART = 10
ENOUGH_OF_A_VALUE = 20
LOW_SPECIFIC = 0.5
STABLE_AC1 = 0.8
SKEWED = 0.8  # a share of all judgements
# By how much one figure must differ from another before anybody should act on it.
PAIR_GAP = 0.15
FIRST_ERROR_GAP = 0.1
DECISION_GAP = 0.1
VERSION_GAP = 0.05


@dataclass(frozen=True)
class Advice:
    """`because` is the figure that triggered it; `steps`, if any, says which steps to read."""

    text: str
    because: str
    steps: Mapping[str, object] = field(default_factory=dict)


def advise(
    report: AgreementReport, versions: Sequence[tuple[int, GroupReport]], names: Mapping[Hashable, str]
) -> list[Advice]:
    """What to do next, most pressing first; empty where the figures call for nothing.

    `versions`: the figures of each guideline version, oldest first.
    """
    if report.n_trajectories < ENOUGH_TRAJECTORIES:
        return [
            Advice(
                f"Wait until {ENOUGH_TRAJECTORIES} trajectories have been judged by two people. With fewer, chance "
                "moves the figures too much to act on them.",
                f"trajectories judged in common: {report.n_trajectories}",
            )
        ]
    return [
        *_on_alpha(report),
        *_on_versions(versions),
        *_on_pairs(report, names),
        *_on_values(report),
        *_on_first_error(report),
        *_on_decisions(report),
    ]


def _on_alpha(report: AgreementReport) -> Iterator[Advice]:
    alpha, ac1 = report.krippendorff_alpha_nominal.value, report.gwet_ac1.value
    if alpha is None or alpha >= FIT:
        return
    because = f"Krippendorff's alpha, nominal: {_number(alpha)}; the usual limits are {UNFIT} and {FIT}"
    value, share = _commonest(report)
    if ac1 is not None and ac1 >= STABLE_AC1 and share >= SKEWED:
        yield Advice(
            "Look at the values one by one before you judge the whole. Nearly all judgements have the same value, and "
            "then alpha falls with a few differences while Gwet's AC1 stays high.",
            f"{because}; Gwet's AC1: {_number(ac1)}; {_percent(share)} of the judgements are {_signed(value)}",
            {"same": 0},
        )
    elif alpha < UNFIT:
        yield Advice(
            "Do not publish yet. Read the steps on which people differ, say in the guideline what they read "
            "differently, and have those steps labelled again.",
            because,
            {"same": 0},
        )
    else:
        yield Advice(
            "Publish only with this figure beside the data: it supports tentative conclusions. The steps on which "
            "people differ show what the guideline leaves open.",
            because,
            {"same": 0},
        )


def _commonest(report: AgreementReport) -> tuple[int, float]:
    """The value that most of the judgements compared have, and their share."""
    rows, columns = map(sum, report.confusion), map(sum, zip(*report.confusion, strict=True))
    counts = [row + column for row, column in zip(rows, columns, strict=True)]
    most = max(counts)
    return VALUES[counts.index(most)], most / sum(counts)


def _on_versions(versions: Sequence[tuple[int, GroupReport]]) -> Iterator[Advice]:
    known = [(number, part) for number, part in versions if part.n_trajectories >= ENOUGH_OF_A_PART]
    if len(known) < 2:
        return
    (old, before), (new, after) = known[-2:]
    was, now = before.krippendorff_alpha_nominal, after.krippendorff_alpha_nominal
    if was.value is None or now.value is None or abs(now.value - was.value) < VERSION_GAP or _within(was, now.value):
        return
    because = (
        f"Krippendorff's alpha, nominal: {_number(was.value)} under version {old}, {_number(now.value)} under {new}"
    )
    if now.value > was.value:
        text = f"Keep version {new} of the guideline: people agree more under it. Labels given under version {old} may "
        yield Advice(text + "be worth labelling again.", because, {"guideline": old, "same": 0})
    else:
        text = (
            f"Look at what version {new} of the guideline changed: people agree less under it than under version {old}."
        )
        yield Advice(text, because, {"guideline": new, "same": 0})


def _on_pairs(report: AgreementReport, names: Mapping[Hashable, str]) -> Iterator[Advice]:
    alphas = {
        pair.raters: pair.krippendorff_alpha_nominal.value
        for pair in report.pairs
        if pair.n_trajectories >= ENOUGH_OF_A_PART
    }
    known = {raters: alpha for raters, alpha in alphas.items() if alpha is not None}
    if len(known) < 3:
        return
    (a, b), lowest = min(known.items(), key=itemgetter(1))
    typical = median(alpha for raters, alpha in known.items() if raters != (a, b))
    if typical - lowest < PAIR_GAP:
        return
    yield Advice(
        f"Let {names[a]} and {names[b]} talk over the steps on which they differ: they agree much less than other "
        "pairs.",
        f"Krippendorff's alpha, nominal: {_number(lowest)} for this pair, {_number(typical)} in the middle of the rest",
        {"a": a, "b": b, "same": 0},
    )


_MEND = {
    1: "Mend the guideline's section on +1 with examples of steps that are just good enough and just not.",
    0: "Mend the guideline's section on neutral with examples: people do not mean the same by 0.",
    -1: "Mend the guideline's section on −1 with examples of errors, and of steps that only look like one.",
}


def _on_values(report: AgreementReport) -> Iterator[Advice]:
    for value, figure in zip(VALUES, report.specific_agreement, strict=True):
        if figure.value is not None and figure.n >= ENOUGH_OF_A_VALUE and figure.value < LOW_SPECIFIC:
            because = f"where one person gave {_signed(value)}, another gave it too in {_percent(figure.value)}"
            yield Advice(_MEND[value], because, {"value_a": value, "same": 0})


def _on_first_error(report: AgreementReport) -> Iterator[Advice]:
    exact, near = report.first_error_agreement.value, report.first_error_within_one.value
    if report.first_error_agreement.n < ENOUGH_OF_A_PART or exact is None or near is None:
        return
    if near - exact >= FIRST_ERROR_GAP:
        yield Advice(
            "Say in the guideline where an error begins: people see the same error, but one step apart.",
            f"first error: {_percent(exact)} the same step, {_percent(near)} within one step",
            {"same": 0},
        )


def _on_decisions(report: AgreementReport) -> Iterator[Advice]:
    everywhere, anew = report.raw_agreement.value, report.decision_points.raw_agreement.value
    if everywhere is not None and anew is not None and everywhere - anew >= DECISION_GAP:
        yield Advice(
            "Go by the decision points when you judge this project: part of the agreement comes from long runs that "
            "people only carry on.",
            f"observed agreement: {_percent(everywhere)} on all steps, {_percent(anew)} on decision points",
        )


def _within(figure: Figure, value: float) -> bool:
    return figure.low is not None and figure.high is not None and figure.low <= value <= figure.high


def _signed(value: int) -> str:
    return {1: "+1", 0: "0", -1: "−1"}[value]


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
