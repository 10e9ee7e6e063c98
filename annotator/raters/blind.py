"""Which labels people gave before a model's word was in their sight, and what was judged with it in sight.

It is the judgement that is blind or not, not the label: who is shown suggestions sees those of other steps, too.
Whoever opens a page that says what models said of a trajectory has it in sight from then on.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from django.db.models import BigIntegerField, Exists, OuterRef, QuerySet
from django.db.models.functions import Cast, Extract

from annotator import audit
from annotator.agreement.coefficients import IntArray
from annotator.agreement.labels import columns
from annotator.models import (
    Adjudication,
    Annotation,
    Assignment,
    AuditEvent,
    Label,
    LabelEvent,
    ModelVersion,
    Prediction,
    Project,
    Trajectory,
    User,
)

_READ = "trajectory.models_read"

Trajectories = QuerySet[Trajectory]


class Sight(NamedTuple):
    """Since when somebody has had a model's word on a trajectory in sight: in this slot or, with none, on a page."""

    trajectory: int
    person: int
    at: datetime
    slot: int | None


def in_slots(trajectories: Trajectories) -> list[Sight]:
    """Who was shown suggestions as an annotator; it does not matter whether they submitted anything."""
    hinted = Assignment.objects.filter(trajectory__in=trajectories, hint_arm=Assignment.HintArm.HINTED)
    trajectory_of = dict(hinted.values_list("pk", "trajectory"))
    claims = AuditEvent.objects.filter(
        object_type="assignment", object_id__in=hinted.values("pk"), action="assignment.claimed", user__isnull=False
    )
    reveals = Annotation.objects.filter(trajectory__in=trajectories, hints_shown_at__isnull=False)
    named = ("trajectory", "annotator", "hints_shown_at", "assignment")
    return [
        *(Sight(trajectory_of[slot], who, at, slot) for slot, who, at in claims.values_list("object_id", "user", "at")),
        *(Sight(one, who, at, slot) for one, who, at, slot in reveals.values_list(*named) if at is not None),
    ]


def sights(trajectories: Trajectories) -> list[Sight]:
    """Everybody's; whoever asks for `labels` and for what is `in_sight` reads them once, and gives them to both."""
    on_pages = [Sight(trajectory, who, at, None) for (trajectory, who), at in read_since(trajectories).items()]
    return in_slots(trajectories) + on_pages


def read_since(trajectories: Trajectories) -> dict[tuple[int, int], datetime]:
    """By trajectory and person: when they first opened a page that says what models said of it."""
    read = _readings(trajectories).order_by("-id").values_list("object_id", "user", "at")
    return {(trajectory, who): at for trajectory, who, at in read if who is not None}


def _readings(trajectories: Trajectories) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(object_type="trajectory", object_id__in=trajectories.values("pk"), action=_READ)


def keep_reading(project: Project, trajectories: Iterable[Trajectory], reader: User) -> None:
    """Keeps that somebody has read what models say: what they judge or decide there from now on is not blind.

    A GET writes it, for opening the page is what it records; opening it again writes nothing.
    """
    read = {one.pk: one for one in trajectories}
    before = _readings(project.trajectories.filter(pk__in=read)).filter(user=reader)
    known = set(before.values_list("object_id", flat=True))
    new = [one for pk, one in read.items() if pk not in known]
    audit.log_all(_READ, new, user=reader, project_id=project.pk)


def labels(trajectories: Trajectories, known: Sequence[Sight] | None = None) -> dict[str, IntArray]:
    """Submitted step labels (trajectory, step, rater, value, at) given with no model's word in sight.

    Of whoever had one in sight later, what stood before that, in the judgement that they submitted.
    """
    given = columns(
        Label.objects.submitted().filter(annotation__trajectory__in=trajectories, step__isnull=False),
        trajectory="annotation__trajectory_id",
        step="step__index",
        rater="annotation__annotator_id",
        value="value",
        at=Cast(Extract("labelled_at", "epoch"), BigIntegerField()),
    )
    judgements = list(zip(given["trajectory"].tolist(), given["rater"].tolist(), strict=True))
    judged = set(judgements)
    since: dict[tuple[int, int], datetime] = {}
    for one in sights(trajectories) if known is None else known:
        if (pair := (one.trajectory, one.person)) in judged:
            since[pair] = min(one.at, since.get(pair, one.at))
    if not since:
        return given
    blind = np.array([pair not in since for pair in judgements], dtype=np.bool_)
    before = _before(since)
    return {name: np.concatenate([given[name][blind], before[name]]) for name in given}


def _before(since: dict[tuple[int, int], datetime]) -> dict[str, IntArray]:
    """What stood before each judgement's time; what its author drafted in another slot is no part of it."""
    own = Annotation.objects.submitted().filter(
        assignment=OuterRef("annotation__assignment"), annotator=OuterRef("annotation__annotator")
    )
    events = LabelEvent.objects.filter(
        Exists(own),
        annotation__trajectory__in={trajectory for trajectory, _ in since},
        is_after_hint=False,
        step__isnull=False,
    )
    stood: dict[tuple[int, int | None, int], tuple[int | None, datetime]] = {}
    names = ("annotation__trajectory_id", "step__index", "annotation__annotator_id", "value", "at")
    for trajectory, step, rater, value, at in events.order_by("id").values_list(*names):
        if (trajectory, rater) in since and at < since[trajectory, rater]:
            stood[trajectory, step, rater] = value, at
    rows = [(*place, value, int(at.timestamp())) for place, (value, at) in stood.items() if value is not None]
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return dict(zip(("trajectory", "step", "rater", "value", "at"), table.T, strict=True))


def _steered(trajectories: Trajectories, known: Sequence[Sight] | None = None) -> list[Sight]:
    """Sights after which the same person judged or decided the trajectory."""
    known = sights(trajectories) if known is None else known
    if not known:
        return []
    judged = Annotation.objects.submitted().filter(trajectory__in=trajectories)
    decided = Adjudication.objects.filter(dispute__trajectory__in=trajectories)
    last: dict[tuple[int, int], datetime] = {}
    for trajectory, person, at in [
        *judged.values_list("trajectory", "annotator", "submitted_at"),
        *decided.values_list("dispute__trajectory", "reviewer", "decided_at"),
    ]:
        if at is not None:
            last[trajectory, person] = max(at, last.get((trajectory, person), at))
    return [one for one in known if (pair := (one.trajectory, one.person)) in last and one.at < last[pair]]


def steered(trajectories: Trajectories) -> set[int]:
    """Trajectories that somebody judged or decided with a model's word in sight."""
    return {one.trajectory for one in _steered(trajectories)}


def in_sight(project: Project, known: Sequence[Sight] | None = None) -> dict[str, set[int]]:
    """By a model's name: trajectories that somebody judged, or decided, with what one of its versions says in sight.

    What all raters say together is the word of each model that it hears; on a page stands that of all models.
    """
    those = _steered(project.trajectories.all(), known)
    slots = project.assignments.filter(pk__in={one.slot for one in those if one.slot is not None})
    version_of = dict(slots.values_list("pk", "hint_version"))
    names = {version.pk: _speaks_for(version) for version in ModelVersion.objects.filter(pk__in=version_of.values())}
    found: defaultdict[str, set[int]] = defaultdict(set)
    for one in those:
        if one.slot is not None:
            for name in names[version_of[one.slot]]:
                found[name].add(one.trajectory)
    read = {one.trajectory for one in those if one.slot is None}
    said = Prediction.objects.filter(trajectory__in=read).order_by()
    for name, trajectory in said.values_list("version__name", "trajectory").distinct():
        found[name].add(trajectory)
    return dict(found)


def _speaks_for(version: ModelVersion) -> list[str]:
    if version.kind != ModelVersion.Kind.FUSION:
        return [version.name]
    return [heard.rpartition(" v")[0] for heard in version.config["hears"]]
