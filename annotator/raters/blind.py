"""Which labels people gave before a model's word was in their sight, and what was judged with it in sight.

It is the judgement that is blind or not, not the label: who is shown suggestions sees those of other steps, too.
Whoever opens the page of what models said has it in sight from then on.
"""

from collections import defaultdict
from datetime import datetime

import numpy as np
from django.db.models import BigIntegerField, Exists, F, OuterRef, Q, QuerySet
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
_HINTED = Assignment.HintArm.HINTED


def labels(within: Q) -> dict[str, IntArray]:
    """Submitted step labels (trajectory, step, rater, value, at) given with no suggestion in sight.

    Of a judgement with a reveal, what stood before it. within: of which annotations, by names that start with
    `annotation`.
    """
    after = Q(annotation__hints_shown_at__isnull=False) | Q(annotation__assignment__hint_arm=_HINTED)
    blind = columns(
        Label.objects.submitted()
        .filter(within, step__isnull=False)
        .exclude(after)
        .filter(is_after_hint=False, hint_value__isnull=True),
        trajectory="annotation__trajectory_id",
        step="step__index",
        rater="annotation__annotator_id",
        value="value",
        at=Cast(Extract("labelled_at", "epoch"), BigIntegerField()),
    )
    before = _before_a_reveal(within)
    return {name: np.concatenate([blind[name], before[name]]) for name in blind}


def _before_a_reveal(within: Q) -> dict[str, IntArray]:
    counts = Annotation.objects.submitted().filter(assignment=OuterRef("annotation__assignment"))
    events = (
        LabelEvent.objects.filter(
            Exists(counts),
            within,
            annotation__assignment__hint_arm=Assignment.HintArm.REVEAL_AFTER,
            annotation__hints_shown_at__isnull=False,
            at__lt=F("annotation__hints_shown_at"),
            is_after_hint=False,
            step__isnull=False,
        )
        .order_by("annotation__trajectory_id", "step_id", "annotation__annotator_id", "-id")
        .distinct("annotation__trajectory_id", "step_id", "annotation__annotator_id")
    )
    names = ("annotation__trajectory_id", "step__index", "annotation__annotator_id", "value", "at")
    rows = [
        (trajectory, step, rater, value, int(at.timestamp()))
        for trajectory, step, rater, value, at in events.values_list(*names)
        if value is not None
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return dict(zip(("trajectory", "step", "rater", "value", "at"), table.T, strict=True))


def in_sight(project: Project) -> dict[str, set[int]]:
    """By a model's name: trajectories that somebody judged, or decided, with what one of its versions says in sight.

    What all raters say together is the word of each model that it hears.
    """
    was_shown = Q(hints_shown_at__isnull=False) | Q(assignment__hint_arm=_HINTED)
    seen = Annotation.objects.filter(
        was_shown, trajectory__project=project, submitted_at__isnull=False, assignment__hint_version__isnull=False
    )
    by_version: defaultdict[int, set[int]] = defaultdict(set)
    for pk, trajectory in seen.order_by().values_list("assignment__hint_version", "trajectory").distinct():
        by_version[pk].add(trajectory)
    found: defaultdict[str, set[int]] = defaultdict(set)
    for version in ModelVersion.objects.filter(pk__in=by_version):
        for name in _speaks_for(version):
            found[name] |= by_version[version.pk]
    said = Prediction.objects.filter(trajectory__in=_read_first(project)).order_by()
    for name, trajectory in said.values_list("version__name", "trajectory").distinct():
        found[name].add(trajectory)
    return dict(found)


def keep_reading(trajectory: Trajectory, reader: User) -> None:
    """Keeps that somebody has read what the models say: what they judge or decide there from now on measures none."""
    if not _readings(trajectory.project_id).filter(object_id=trajectory.pk, user=reader).exists():
        audit.log(_READ, trajectory, user=reader, project_id=trajectory.project_id)


def _readings(project_id: int) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(project=project_id, object_type="trajectory", action=_READ)


def _read_first(project: Project) -> set[int]:
    """Trajectories of which somebody read what the models say, and judged or decided after that."""
    read: dict[tuple[int, int | None], datetime] = {}
    for trajectory, user, at in _readings(project.pk).order_by("-id").values_list("object_id", "user", "at"):
        read[trajectory, user] = at  # the first time stands
    several = {trajectory for trajectory, _ in read}
    decided = Adjudication.objects.filter(dispute__trajectory__in=several)
    judged = Annotation.objects.submitted().filter(trajectory__in=several)
    said = [
        *decided.values_list("dispute__trajectory", "reviewer", "decided_at"),
        *judged.values_list("trajectory", "annotator", "submitted_at"),
    ]
    return {pk for pk, user, at in said if at is not None and (pk, user) in read and read[pk, user] < at}


def _speaks_for(version: ModelVersion) -> list[str]:
    if version.kind != ModelVersion.Kind.FUSION:
        return [version.name]
    return [heard.rpartition(" v")[0] for heard in version.config["hears"]]
