"""Which labels people gave before a model's word was in their sight, and what was judged with it in sight.

It is the judgement that is blind or not, not the label: who is shown suggestions sees those of other steps, too.
"""

import numpy as np
from django.db.models import BigIntegerField, Exists, F, OuterRef, Q
from django.db.models.functions import Cast, Extract

from annotator.agreement.coefficients import IntArray
from annotator.agreement.labels import columns
from annotator.models import Annotation, Assignment, Label, LabelEvent

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
