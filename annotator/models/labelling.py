"""What people said: annotations, their labels as rows, and every change of a draft."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from annotator.models.accounts import User
from annotator.models.importing import Step, Trajectory
from annotator.models.projects import Guideline
from annotator.models.protection import append_only, final_with
from annotator.models.queue import Assignment


class AnnotationQuerySet(models.QuerySet["Annotation"]):
    def submitted(self) -> "AnnotationQuerySet":
        """The only ones that count anywhere: a draft is nobody's judgement yet, and a later revision replaces it."""
        return self.filter(submitted_at__isnull=False, is_superseded=False)


class Annotation(models.Model):
    """One person's whole judgement of one assignment; a draft until submitted, final from then on.

    A correction is a new revision: the one before stays as it was and is only marked as superseded.
    """

    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="annotations")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="annotations")
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="annotations")
    created_at = models.DateTimeField(auto_now_add=True)
    revision = models.PositiveSmallIntegerField(default=1)
    revealed_at = models.DateTimeField(null=True, help_text="When the reference was shown; later changes know it.")
    hints_shown_at = models.DateTimeField(
        null=True, help_text="When what the model said was shown; in the arm with hints from the start, the first save."
    )
    submitted_at = models.DateTimeField(null=True)
    is_superseded = models.BooleanField(default=False, help_text="A later revision was submitted.")

    objects = AnnotationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["assignment", "annotator", "revision"], name="annotation_once_per_assignment"
            ),
            models.UniqueConstraint(
                fields=["assignment"],
                condition=Q(submitted_at__isnull=False, is_superseded=False),
                name="annotation_one_submitted",
            ),
        ]
        triggers = [
            pgtrigger.Protect(
                name="submitted_is_final",
                operation=pgtrigger.Update,
                # A later revision may mark it as superseded, once; nothing else of it ever changes.
                condition=pgtrigger.Condition(
                    "OLD.submitted_at IS NOT NULL AND (OLD.is_superseded OR"
                    " to_jsonb(OLD) - 'is_superseded' IS DISTINCT FROM to_jsonb(NEW) - 'is_superseded')"
                ),
            ),
            pgtrigger.Protect(
                name="submitted_stays",
                operation=pgtrigger.Delete,
                condition=pgtrigger.Q(old__submitted_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"annotation {self.pk}"


class LabelQuerySet(models.QuerySet["Label"]):
    def submitted(self) -> "LabelQuerySet":
        return self.filter(annotation__submitted_at__isnull=False, annotation__is_superseded=False)


class Label(models.Model):
    """A step label or, with no step, the outcome label. No row means not judged, which is never 0."""

    class Value(models.IntegerChoices):
        INCORRECT = -1, "incorrect"
        NEUTRAL = 0, "neutral"
        CORRECT = 1, "correct"

    class ExitReason(models.TextChoices):
        CORRECTED = "corrected", "the error is corrected here"
        INDEPENDENT = "independent", "the step does not depend on the error"

    annotation = models.ForeignKey(Annotation, on_delete=models.CASCADE, related_name="labels")
    step = models.ForeignKey(Step, on_delete=models.PROTECT, null=True, related_name="labels")
    value = models.SmallIntegerField(choices=Value)
    guideline = models.ForeignKey(Guideline, on_delete=models.PROTECT, null=True, related_name="+")
    labelled_at = models.DateTimeField(default=now)
    # Error propagation: a -1 that only carries on an earlier error names its root; a step that ends one says how.
    root = models.ForeignKey(Step, on_delete=models.PROTECT, null=True, related_name="+")
    exit_reason = models.CharField(max_length=12, choices=ExitReason, blank=True)
    local_value = models.SmallIntegerField(
        null=True, help_text="The step judged as if what it builds on were right, where that differs."
    )
    extras = models.JSONField(default=dict, help_text="What the project's label scheme asks for beside the value.")
    is_after_reveal = models.BooleanField(default=False, help_text="Set or changed after the reference was shown.")
    is_after_hint = models.BooleanField(
        default=False, help_text="Set or changed after what the model says of this step was shown."
    )
    hint_value = models.SmallIntegerField(
        null=True, help_text="What the model said of it, if that was shown before the label became final."
    )
    # Evidence of reading, shown to reviewers only.
    active_ms = models.PositiveIntegerField(default=0, help_text="Time on the step without idle time.")
    is_seen = models.BooleanField(default=False, help_text="The step was on the screen.")
    has_opened = models.BooleanField(default=False, help_text="A folded text of its turn was unfolded.")

    objects = LabelQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["annotation", "step"], nulls_distinct=False, name="label_once_per_step"),
            models.CheckConstraint(condition=Q(value__in=[-1, 0, 1]), name="label_value_is_ternary"),
            models.CheckConstraint(
                condition=Q(local_value__isnull=True) | Q(local_value__in=[-1, 0, 1]),
                name="label_local_value_is_ternary",
            ),
            models.CheckConstraint(
                condition=Q(hint_value__in=[-1, 0, 1]) | Q(hint_value__isnull=True, is_after_hint=False),
                name="label_after_hint_has_one",
            ),
            models.CheckConstraint(
                condition=Q(root__isnull=True) | Q(value=-1), name="label_only_an_error_is_inherited"
            ),
        ]
        triggers = final_with(
            parent_table="annotator_annotation", parent_key="annotation_id", final_column="submitted_at"
        )

    def __str__(self) -> str:
        return f"{self.value:+d}"


class LabelEvent(models.Model):
    """One change of a draft: what the label became (null: it was cleared). Never changed or removed."""

    annotation = models.ForeignKey(Annotation, on_delete=models.PROTECT, related_name="label_events")
    step = models.ForeignKey(Step, on_delete=models.PROTECT, null=True, related_name="+")
    value = models.SmallIntegerField(null=True)
    is_after_reveal = models.BooleanField(default=False)
    is_after_hint = models.BooleanField(default=False)
    at = models.DateTimeField(default=now)

    class Meta:
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.value} at {self.at}"


class AnnotationReturn(models.Model):
    """A reviewer sends an annotation back to its author, saying why."""

    annotation = models.ForeignKey(Annotation, on_delete=models.PROTECT, related_name="returns")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    message = models.TextField()
    at = models.DateTimeField(default=now)

    class Meta:
        triggers = append_only()

    def __str__(self) -> str:
        return f"return of annotation {self.annotation_id}"


class StepComment(models.Model):
    """A word between a reviewer and the author of an annotation about one step (none: about the outcome)."""

    annotation = models.ForeignKey(Annotation, on_delete=models.PROTECT, related_name="comments")
    step = models.ForeignKey(Step, on_delete=models.PROTECT, null=True, related_name="+")
    author = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()
    at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["id"]
        triggers = append_only()

    def __str__(self) -> str:
        return f"comment {self.pk}"
