"""What people and models said beside a yardstick that they had no part in, read for `reliability`.

Nobody is judged by what a model told them, nor by themselves:

- Of a person only labels count that they gave before a model's word was in sight.
- A person's yardstick is what another reviewer decided, else what the others said, blind as well, without them.
- A model is not judged by trajectories of which somebody had seen what it says nor, a scorer trained here, by those
  that it may have learnt from; and never by labels that a model gave (accepted ones).
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
from django.db.models import Count, QuerySet
from django.db.models.functions import Coalesce

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray
from annotator.agreement.labels import columns
from annotator.agreement.sums import VALUES, Columns
from annotator.models import (
    Adjudication,
    GoldLabel,
    Label,
    ModelVersion,
    Posterior,
    Prediction,
    Project,
    SelectionPick,
    User,
)
from annotator.raters import blind
from annotator.raters.actions import latest_versions, learnt
from annotator.raters.calibrated import calibrated
from annotator.raters.metrics import verdicts
from annotator.raters.reliability import Reliability, Said, hazards, leave_one_out, reliabilities
from annotator.raters.reliability_page import RaterRow, left_out

Against = Literal["gold", "posterior"]

_K = len(VALUES)
_NONE, _UNDECIDABLE = -9, -8  # in place of a decision


@dataclass
class Rater:
    """A person or the latest version of a model, and how much of what they said could not count."""

    key: str  # person-PK or model-PK
    name: str
    kind: Literal["person", "model"]
    pk: int
    hears_itself: bool = False  # the yardstick is made with what this model says
    n_after_hints: int = 0  # labels given with a model's word in sight
    n_without: int = 0  # labels (of models: answers) on steps without a yardstick
    n_shown: int = 0  # trajectories of which people had seen what this model says
    n_learnt: int = 0  # trajectories that this scorer may have learnt from


@dataclass(frozen=True)
class Reading:
    """`said.rater` is the place in `raters`: people first, each kind by name."""

    raters: list[Rater]
    said: Said


@dataclass(frozen=True)
class _Labels(Columns):
    trajectory: IntArray
    step: IntArray
    rater: IntArray
    value: IntArray
    at: IntArray


@dataclass(frozen=True)
class _Layout:
    """All steps of a project in one row, trajectory after trajectory; `ids` ascend."""

    ids: IntArray
    n_steps: IntArray
    group: IntArray

    @property
    def n(self) -> int:
        return int(self.n_steps.sum())

    def places(self, trajectory: IntArray, step: IntArray) -> IntArray:
        starts = np.cumsum(self.n_steps) - self.n_steps
        return np.asarray(starts[np.searchsorted(self.ids, trajectory)] + step)

    def said(self, labels: _Labels, truth: FloatArray, hazard: FloatArray) -> Said:
        at = np.searchsorted(self.ids, labels.trajectory)
        return Said(
            rater=labels.rater,
            trajectory=labels.trajectory,
            step=labels.step,
            n_steps=self.n_steps[at],
            group=self.group[at],
            value=labels.value,
            at=labels.at,
            truth=truth,
            hazard=hazard,
        )


@dataclass(frozen=True)
class _Beliefs:
    """By place in the layout, NaN where nothing is believed: by the models alone, by all, and of first errors."""

    alone: FloatArray
    probs: FloatArray
    hazard: FloatArray


def read(project: Project, against: Against) -> Reading:
    """Everybody who has submitted a step label and every model that gives values, beside gold or the posterior."""
    layout = _layout(project)
    beliefs = _beliefs(project, layout) if against == "posterior" else None
    sights = blind.sights(project.trajectories.all())
    people, of_people = _people(project, layout, beliefs, sights)
    models, of_models = _models(project, layout, beliefs, sights, first=len(people))
    parts = [of_people, *of_models]
    said = Said(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Said)))
    return Reading([*people, *models], said)


@dataclass(frozen=True)
class Report:
    """Whoever can be compared, and those of whom nothing can be said yet, with what was left out of theirs.

    n_half: trajectories that judge no model yet because they are half settled. n_chosen: of the n_trajectories that
    count, those that a strategy of a selection round chose and not chance.
    """

    rows: list[RaterRow]
    silent: list[tuple[str, list[str]]]
    n_half: int = 0
    n_trajectories: int = 0
    n_chosen: int = 0


def report(project: Project, against: Against) -> Report:
    found = read(project, against)
    reports = {one.rater: one for one in reliabilities(found.said)}
    rows: list[RaterRow] = []
    silent: list[tuple[str, list[str]]] = []
    for number, rater in enumerate(found.raters):
        without = left_out(
            rater.kind,
            against,
            n_after_hints=rater.n_after_hints,
            n_without=rater.n_without,
            n_shown=rater.n_shown,
            n_learnt=rater.n_learnt,
        )
        if number in reports:
            figures = reports[number]
            if against == "posterior" and rater.kind == "person":
                figures = _without_first_errors(figures)
            is_belief = against == "posterior"
            rows.append(RaterRow(rater.key, rater.name, rater.kind, figures, rater.hears_itself, is_belief, without))
        else:
            silent.append((rater.name, without))
    if against == "posterior":
        return Report(rows, silent)
    chosen, _ = SelectionPick.objects.chosen_and_drawn(project)
    counted = set(found.said.trajectory.tolist())
    return Report(
        rows,
        silent,
        n_half=project.trajectories.half_settled().count(),
        n_trajectories=len(counted),
        n_chosen=len(counted & chosen),
    )


def _without_first_errors(figures: Reliability) -> Reliability:
    why = "What the models alone say of each step does not say where errors begin."
    return replace(
        figures,
        **{name: replace(getattr(figures, name), reason=why) for name in ("missed", "missed_as_plus", "early")},
    )


def _layout(project: Project) -> _Layout:
    facts = list(project.trajectories.order_by("pk").values_list("pk", "n_steps", "group_key"))
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(key, len(numbers)) for _, _, key in facts]
    ids, n_steps = (np.array([fact[k] for fact in facts], dtype=np.int64) for k in (0, 1))
    return _Layout(ids, n_steps, np.array(groups, dtype=np.int64))


def _beliefs(project: Project, layout: _Layout) -> _Beliefs:
    rows = list(
        Posterior.objects.filter(project=project)
        .order_by("trajectory_id")
        .values_list("trajectory_id", "evidence", "probs", "first_error")
    )
    alone, probs = np.full((layout.n, _K), np.nan), np.full((layout.n, _K), np.nan)
    hazard = np.full(layout.n, np.nan)
    place = layout.places(*_steps_of([(pk, said) for pk, _, said, _ in rows]))
    alone[place] = _normalised(_flat([row[1] for row in rows]))
    probs[place] = _normalised(_flat([row[2] for row in rows]))
    hazard[place] = np.concatenate([np.zeros(0), *(hazards(np.array(row[3], dtype=np.float64)) for row in rows)])
    return _Beliefs(alone, probs, hazard)


def _flat(per_trajectory: Sequence[Sequence[Sequence[float | None]]]) -> FloatArray:
    """(steps, 3) of all trajectories, one after the other; a null becomes NaN."""
    return np.array(list(chain.from_iterable(per_trajectory)), dtype=np.float64).reshape(-1, _K)


def _normalised(rows: FloatArray) -> FloatArray:
    """Stored numbers may miss 1 by a rounding."""
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def _steps_of(rows: Sequence[tuple[int, Sequence[Any]]]) -> tuple[IntArray, IntArray]:
    """Trajectory and step of every row of arrays that have a row per step."""
    lengths = np.array([len(array) for _, array in rows], dtype=np.int64)
    trajectory = np.repeat(np.array([pk for pk, _ in rows], dtype=np.int64), lengths)
    return trajectory, np.arange(len(trajectory)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


# People.


def _people(
    project: Project, layout: _Layout, beliefs: _Beliefs | None, sights: Sequence[blind.Sight]
) -> tuple[list[Rater], Said]:
    labels = _Labels(**blind.labels(project.trajectories.all(), sights))
    place = layout.places(labels.trajectory, labels.step)
    if beliefs is None:
        truth = leave_one_out(labels.trajectory, labels.step, labels.rater, labels.value)
        _put_decisions(project, layout, labels, place, truth)
        hazard = truth[:, 0]
    else:
        # What is believed of a step knows the person's own label; what the models say alone does not. It says nothing
        # of first errors: that errors carry on is in the belief only.
        truth, hazard = beliefs.alone[place], np.full(len(place), np.nan)
    is_known = ~np.isnan(truth[:, 0])
    n_given: dict[int, int] = dict(_submitted(project).values_list("annotation__annotator").annotate(n=Count("pk")))
    names = User.objects.filter(pk__in=n_given).order_by("username").values_list("pk", "username")
    raters = [Rater(f"person-{pk}", name, "person", pk) for pk, name in names]
    for rater in raters:
        own = labels.rater == rater.pk
        rater.n_after_hints = max(0, n_given[rater.pk] - int(own.sum()))
        rater.n_without = int((own & ~is_known).sum())
    numbers = np.array([rater.pk for rater in raters], dtype=np.int64)
    order = np.argsort(numbers)
    number = order[np.searchsorted(numbers[order], labels.rater)]
    said = layout.said(_Labels(labels.trajectory, labels.step, number, labels.value, labels.at), truth, hazard)
    return raters, said.where(is_known)


def _submitted(project: Project) -> QuerySet[Label]:
    return Label.objects.submitted().filter(annotation__trajectory__project=project, step__isnull=False).order_by()


def _put_decisions(project: Project, layout: _Layout, labels: _Labels, place: IntArray, truth: FloatArray) -> None:
    """What a reviewer decided goes before what others said, but not for the reviewer who decided it."""
    decided = columns(
        GoldLabel.objects.filter(
            trajectory__project=project, step__isnull=False, provenance=GoldLabel.Provenance.ADJUDICATED
        ),
        trajectory="trajectory_id",
        step="step__index",
        value=Coalesce("value", _UNDECIDABLE),
    )
    deciders = columns(
        Adjudication.objects.filter(dispute__trajectory__project=project, dispute__step__isnull=False),
        trajectory="dispute__trajectory_id",
        step="dispute__step__index",
        rater="reviewer_id",
    )
    decision = np.full(layout.n, _NONE)
    decision[layout.places(decided["trajectory"], decided["step"])] = decided["value"]
    top = 1 + max(labels.rater.max(initial=0), deciders["rater"].max(initial=0))
    own = np.isin(
        place * top + labels.rater, layout.places(deciders["trajectory"], deciders["step"]) * top + deciders["rater"]
    )
    said = np.where(own, _NONE, decision[place])
    truth[said == _UNDECIDABLE] = np.nan
    is_value = said >= VALUES[0]
    truth[is_value] = np.eye(_K)[said[is_value] - VALUES[0]]


# Models.


def _models(
    project: Project, layout: _Layout, beliefs: _Beliefs | None, sights: Sequence[blind.Sight], *, first: int
) -> tuple[list[Rater], list[Said]]:
    versions = latest_versions(project)
    if not versions:
        return [], []
    if beliefs is None:
        truth = _gold(project, layout)
        hazard = truth[:, 0]
    else:
        truth, hazard = beliefs.probs, beliefs.hazard
    shown = blind.in_sight(project, sights)
    heard = _heard(project) if beliefs is not None else set()
    raters: list[Rater] = []
    parts: list[Said] = []
    for version in versions:
        rater = Rater(f"model-{version.pk}", str(version), "model", version.pk, hears_itself=version.name in heard)
        parts.append(
            _said_by(
                version,
                rater,
                first + len(raters),
                layout,
                truth,
                hazard,
                shown.get(version.name, set()),
            )
        )
        raters.append(rater)
    return raters, parts


def _said_by(
    version: ModelVersion,
    rater: Rater,
    number: int,
    layout: _Layout,
    truth: FloatArray,
    hazard: FloatArray,
    shown: Set[int],
) -> Said:
    by_heart = learnt(version)
    rows = list(Prediction.objects.filter(version=version).order_by("trajectory_id").values_list("trajectory", "probs"))
    rater.n_shown, rater.n_learnt = (len({pk for pk, _ in rows} & those) for those in (shown, by_heart))
    rows = [row for row in rows if row[0] not in shown and row[0] not in by_heart]
    trajectory, step = _steps_of(rows)
    said = verdicts(calibrated(_flat([probs for _, probs in rows]), version.calibrations.last()))
    place = layout.places(trajectory, step)
    answered: BoolArray = said < _K
    is_known = answered & ~np.isnan(truth[place, 0])
    rater.n_without = int((answered & ~is_known).sum())
    # Trajectories are numbered as they were imported: the only order that a model's answers have.
    labels = _Labels(trajectory, step, np.full(len(step), number), said + VALUES[0], trajectory)
    return layout.said(labels, truth[place], hazard[place]).where(is_known)


def _gold(project: Project, layout: _Layout) -> FloatArray:
    """By place: what people settled; NaN where nothing is, half of it is, or only a model's label was accepted."""
    settled = GoldLabel.objects.by_people().exclude(trajectory__in=project.trajectories.half_settled().values("pk"))
    given = columns(
        settled.filter(trajectory__project=project, step__isnull=False, value__isnull=False),
        trajectory="trajectory_id",
        step="step__index",
        value="value",
    )
    truth = np.full((layout.n, _K), np.nan)
    truth[layout.places(given["trajectory"], given["step"])] = np.eye(_K)[given["value"] - VALUES[0]]
    return truth


def _heard(project: Project) -> set[str]:
    """The models whose word is in what is believed."""
    return set(
        ModelVersion.objects.filter(
            project=project, pk__in=project.fusions.filter(posteriors__isnull=False).values("versions")
        ).values_list("name", flat=True)
    )
