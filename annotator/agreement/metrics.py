"""How far people agree on the steps they judged in common: reports of all, of pairs and of parts, with intervals.

Pure: labels in, numbers out. A figure that the labels cannot give is None with a reason, never NaN or a polite 1.0.
"""

from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import (
    FloatArray,
    IntArray,
    ac1_of,
    alpha_of,
    cohen_of,
    defined,
    fleiss_of,
    off_diagonal,
    ratio,
    raw_of,
    specific_of,
)
from annotator.agreement.intervals import of_resamples
from annotator.agreement.sums import VALUES, Compared, Sums, Totals, sums_of

RESAMPLES = 2000
RESAMPLES_OF_A_PART = 500  # parts are smaller than the whole and many

_CELLS_PER_CHUNK = 100_000  # of resamples x trajectories at a time: less than a megabyte, which the cache holds
_SPECIFIC = tuple(f"specific_agreement {value}" for value in VALUES)
_OF_STEPS = (
    "raw_agreement",
    "cohen_kappa",
    "fleiss_kappa",
    "gwet_ac1",
    "krippendorff_alpha_nominal",
    "krippendorff_alpha_ordinal",
)
_CORRECTED = _OF_STEPS[1:]  # for chance: no shares
_MORE_THAN_TWO = (
    "Cohen's kappa compares exactly two people and {} judged steps in common; "
    "read it for each pair, or Fleiss' kappa for all of them."
)


@dataclass(frozen=True)
class Figure:
    """One statistic. `low` and `high` bound the 95 % interval; `reason` says why `value` is None, else it is empty."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    reason: str

    @property
    def basis(self) -> str:
        return counted(self.n, self.unit)


def counted(n: int, unit: str) -> str:
    """`2 labels on steps with gold`, `1 label on steps with gold`: the first plural of a unit is what is counted."""
    words = unit.split(" ")
    if n == 1:
        k = next(k for k, word in enumerate(words) if word.endswith("s"))
        words[k] = words[k].removesuffix("ies") + "y" if words[k].endswith("ies") else words[k].removesuffix("s")
    return " ".join([str(n), *words])


@dataclass(frozen=True)
class StepReport:
    """All raters together, on steps judged by two or more; the three counts leave out who and what has none."""

    n_raters: int
    n_trajectories: int
    n_steps: int
    raw_agreement: Figure
    cohen_kappa: Figure
    fleiss_kappa: Figure
    gwet_ac1: Figure
    krippendorff_alpha_nominal: Figure
    krippendorff_alpha_ordinal: Figure


@dataclass(frozen=True)
class GroupReport(StepReport):
    """The same of all common steps, with what only whole trajectories and single values can tell.

    `specific_agreement[k]`: of the judgements with VALUES[k] that met another one, the share that met the same value.
    `confusion` is that of the pair for two raters; for more it counts each ordered pair of raters: it is symmetric.
    """

    first_error_agreement: Figure
    first_error_within_one: Figure
    specific_agreement: list[Figure]
    confusion: list[list[int]]


@dataclass(frozen=True)
class PairReport:
    """Two raters on the steps both judged. `confusion[i][j]`: the first said VALUES[i], the second VALUES[j]."""

    raters: tuple[int, int]
    n_trajectories: int
    n_steps: int
    raw_agreement: Figure
    cohen_kappa: Figure
    gwet_ac1: Figure
    krippendorff_alpha_nominal: Figure
    krippendorff_alpha_ordinal: Figure
    first_error_agreement: Figure
    first_error_within_one: Figure
    specific_agreement: list[Figure]
    confusion: list[list[int]]


@dataclass(frozen=True)
class AgreementReport(GroupReport):
    """Everything at once. `decision_points`: only the steps at which somebody decided anew.

    Those are the steps where at least one of the raters has no equal value on the step before (the first step, a
    change, a step before which they judged nothing) or has marked an error of its own.
    """

    decision_points: StepReport
    pairs: list[PairReport]


def agreement_report(compared: Compared, *, resamples: int = RESAMPLES, seed: int = 0) -> AgreementReport:
    """The agreement of all raters and of each pair that shares a step; the same input and seed give the same report.

    Intervals are percentiles over resampled trajectories, for the steps of one are not independent (the cluster
    bootstrap: Davison and Hinkley 1997, Bootstrap Methods and their Application, sections 3.8 and 5.3). Resamples in
    which the figure is undefined are left out. Fewer than two trajectories, or `resamples=0`: no interval.
    """
    pairs, errors = compared.pairs, compared.errors
    whole = compared.sums
    deciding = sums_of(pairs.where(pairs.is_decided), errors)
    # The first step that two people have in common is a decision point: the rows are of the same trajectories, and the
    # same draws of them serve both.
    drawn = _resampled(np.hstack([whole.counts, deciding.counts]), resamples, seed)
    of_whole, of_deciding = np.hsplit(drawn, [whole.counts.shape[1]])
    group = _group_report(whole, of_whole)
    return AgreementReport(
        **vars(group),
        decision_points=_step_report(deciding, of_deciding),
        pairs=_pair_reports(compared, group, resamples, seed),
    )


def group_report(sums: Sums, *, resamples: int = RESAMPLES_OF_A_PART, seed: int = 0) -> GroupReport:
    """The agreement of all raters on a part of the trajectories or labels; otherwise as `agreement_report`."""
    return _group_report(sums, _resampled(sums.counts, resamples, seed))


def against_others(compared: Compared, *, resamples: int = RESAMPLES_OF_A_PART) -> dict[int, GroupReport]:
    """Of each rater who shares a step with anybody: their labels against those of all others, two labels at a time."""
    pairs = compared.pairs
    no_errors = compared.errors.where(np.empty(0, dtype=np.int64))
    raters = np.unique([pairs.a, pairs.b]).tolist()
    return {rater: group_report(sums_of(pairs.of(rater), no_errors), resamples=resamples) for rater in raters}


def _pair_reports(compared: Compared, group: GroupReport, resamples: int, seed: int) -> list[PairReport]:
    pairs, errors = compared.pairs, compared.errors
    raters = np.unique([pairs.a, pairs.b])
    if group.n_raters == 2:  # the pair is the group
        return [_pair_report((int(raters[0]), int(raters[1])), group)]
    places, places_of_errors = (_places_by_pair(one.a, one.b, raters) for one in (pairs, errors))
    nowhere = np.empty(0, dtype=np.int64)
    reports = []
    for pair, where in places.items():
        # To the two of them every step in common has two labels, whoever else has labelled it.
        own = pairs.where(where).as_if_alone()
        sums = sums_of(own, errors.where(places_of_errors.get(pair, nowhere)))
        reports.append(_pair_report(pair, group_report(sums, resamples=resamples, seed=seed)))
    return reports


def _places_by_pair(a: IntArray, b: IntArray, raters: IntArray) -> dict[tuple[int, int], IntArray]:
    """The places of each two raters, in the order of their ids."""
    key = np.searchsorted(raters, a) * len(raters) + np.searchsorted(raters, b)
    keys, starts = np.unique(np.sort(key), return_index=True)
    places = np.split(np.argsort(key, kind="stable"), starts[1:])
    numbers = (divmod(int(key), len(raters)) for key in keys)
    return {(int(raters[i]), int(raters[j])): where for (i, j), where in zip(numbers, places, strict=False)}


def _pair_report(raters: tuple[int, int], group: GroupReport) -> PairReport:
    of_many = ("n_raters", "fleiss_kappa")
    return PairReport(raters=raters, **{name: one for name, one in vars(group).items() if name not in of_many})


def _step_report(sums: Sums, drawn: FloatArray) -> StepReport:
    figures = _figures(sums, drawn)
    n_raters, n_trajectories, n_steps = _size(sums)
    return StepReport(n_raters, n_trajectories, n_steps, **{name: figures[name] for name in _OF_STEPS})


def _group_report(sums: Sums, drawn: FloatArray) -> GroupReport:
    figures = _figures(sums, drawn)
    confusion = Totals(sums.counts.sum(axis=0)).confusion
    if sums.n_raters > 2:
        confusion = confusion + confusion.T
    n_raters, n_trajectories, n_steps = _size(sums)
    return GroupReport(
        n_raters,
        n_trajectories,
        n_steps,
        specific_agreement=[figures.pop(name) for name in _SPECIFIC],
        confusion=confusion.astype(np.int64).tolist(),
        **figures,
    )


def _size(sums: Sums) -> tuple[int, int, int]:
    """Raters, trajectories and steps."""
    return sums.n_raters, len(sums.trajectory), round(Totals(sums.counts.sum(axis=0)).n_steps)


def _resampled(rows: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Totals (resamples, columns) of rows drawn with replacement. Counting draws beats NumPy's multinomial."""
    if resamples < 0:
        raise ValueError(f"resamples is {resamples}; it must be 0 or more.")
    n, generator = len(rows), np.random.default_rng(seed)
    totals = np.zeros((resamples, rows.shape[1]))
    chunk = max(1, _CELLS_PER_CHUNK // max(n, 1))
    for start in range(0, resamples if n else 0, chunk):
        size = min(chunk, resamples - start)
        cells = generator.integers(n, size=(size, n)) + np.arange(size)[:, None] * n
        weights = np.bincount(cells.ravel(), minlength=size * n).reshape(size, n)
        totals[start : start + size] = weights.astype(np.float64) @ rows
    return totals


def _statistics(totals: Totals) -> dict[str, FloatArray]:
    """Every statistic by its name."""
    by_step, disagreement = totals.by_step, 2 * off_diagonal(totals.by_step)
    return {
        "raw_agreement": raw_of(totals.confusion),
        "cohen_kappa": cohen_of(totals.confusion),
        # A row of coincidences sums to the judgements in that category: these are Fleiss' marginals, too.
        "fleiss_kappa": fleiss_of(disagreement, totals.n_steps, totals.coincidences.sum(axis=-1)),
        "gwet_ac1": ac1_of(disagreement, totals.n_steps, by_step.sum(axis=-1) + by_step.sum(axis=-2)),
        "krippendorff_alpha_nominal": alpha_of(totals.coincidences, "nominal"),
        "krippendorff_alpha_ordinal": alpha_of(totals.coincidences, "ordinal"),
        "first_error_agreement": ratio(totals.same_error, totals.in_full),
        "first_error_within_one": ratio(totals.near_error, totals.in_full),
        **dict(zip(_SPECIFIC, np.moveaxis(specific_of(totals.confusion), -1, 0), strict=True)),
    }


def _figures(sums: Sums, drawn: FloatArray) -> dict[str, Figure]:
    of_drawn, n_raters = _statistics(Totals(drawn)), sums.n_raters
    each = Totals(sums.counts)
    figures = {}
    for name, statistic in _statistics(Totals(sums.counts.sum(axis=0))).items():
        unit, per_trajectory = _basis(name, each, n_raters)
        value, low, high, reason = defined(statistic), None, None, ""
        if name == "cohen_kappa" and n_raters > 2:
            value, reason = None, _MORE_THAN_TWO.format(n_raters)
        elif value is None:
            reason = _why_undefined(name, sums)
        else:
            n_drawn = int(np.count_nonzero(per_trajectory))
            low, high = of_resamples(value, of_drawn[name], n_drawn, is_share=name not in _CORRECTED)
        figures[name] = Figure(value, low, high, round(per_trajectory.sum()), unit, reason)
    return figures


def _basis(name: str, each: Totals, n_raters: int) -> tuple[str, FloatArray]:
    """What a figure is computed over: its unit, and how many of them each trajectory has."""
    both = n_raters == 2
    if name in _SPECIFIC:
        k = _SPECIFIC.index(name)
        return f"judgements with the value {_signed(VALUES[k])} that met another", each.coincidences[:, k].sum(axis=1)
    if name.startswith("first_error"):
        unit = "trajectories judged in full by both" if both else "pairs of people per trajectory, both in full"
        return unit, each.in_full
    return "steps judged by both" if both else "steps judged by two or more", each.n_steps


def _why_undefined(name: str, sums: Sums) -> str:
    if not len(sums.trajectory):
        return "No step was judged by two people yet; it takes a second person's labels for a step that has labels."
    if name in _SPECIFIC:
        missing = _signed(VALUES[_SPECIFIC.index(name)])
        return f"No step judged by two people has the value {missing} from anybody; it takes one that has."
    if name.startswith("first_error"):
        return (
            "No trajectory was judged in full by two people yet; it takes two who label each of its steps or, where "
            "the project says so, all up to the first error."
        )
    value = VALUES[int(Totals(sums.counts.sum(axis=0)).coincidences.sum(axis=1).argmax())]
    return (
        f"All judgements compared have the value {_signed(value)}, so chance alone would give the same agreement "
        "(0/0); it takes a step on which somebody gives another value."
    )


def _signed(value: int) -> str:
    return f"{value:+d}" if value else "0"
