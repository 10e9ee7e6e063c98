"""Which labels people gave before a model's word was in their sight, and what was judged with it in sight.

It is the judgement that is blind or not, not the label: who is shown suggestions sees those of other steps, too.
"""

from collections import defaultdict

import numpy as np
from django.db.models import BigIntegerField, Exists, F, OuterRef, Q
from django.db.models.functions import Cast, Extract

from annotator.agreement.coefficients import IntArray
from annotator.agreement.labels import columns
from annotator.models import Annotation, Assignment, Label, LabelEvent, ModelVersion, Project

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
    """By a model's name: trajectories that somebody judged with what one of its versions says in sight.

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
    return dict(found)


def _speaks_for(version: ModelVersion) -> list[str]:
    if version.kind != ModelVersion.Kind.FUSION:
        return [version.name]
    return [heard.rpartition(" v")[0] for heard in version.config["hears"]]
