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
        """The only ones that count anywhere: a draft is nobody's judgement yet."""
        return self.filter(submitted_at__isnull=False)


class Annotation(models.Model):
    """One person's whole judgement of one assignment; a draft until submitted, final from then on."""

    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="annotations")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="annotations")
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="annotations")
    created_at = models.DateTimeField(auto_now_add=True)
    submitted_at = models.DateTimeField(null=True)

    objects = AnnotationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "annotator"], name="annotation_once_per_assignment"),
            models.UniqueConstraint(
                fields=["assignment"], condition=Q(submitted_at__isnull=False), name="annotation_one_submitted"
            ),
        ]
        triggers = [
            pgtrigger.Protect(
                name="submitted_is_final",
                operation=pgtrigger.Update | pgtrigger.Delete,
                condition=pgtrigger.Q(old__submitted_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"annotation {self.pk}"


class LabelQuerySet(models.QuerySet["Label"]):
    def submitted(self) -> "LabelQuerySet":
        return self.filter(annotation__submitted_at__isnull=False)


class Label(models.Model):
    """A step label or, with no step, the outcome label. No row means not judged, which is never 0."""

    class Value(models.IntegerChoices):
        INCORRECT = -1, "incorrect"
        NEUTRAL = 0, "neutral"
        CORRECT = 1, "correct"

    annotation = models.ForeignKey(Annotation, on_delete=models.CASCADE, related_name="labels")
    step = models.ForeignKey(Step, on_delete=models.PROTECT, null=True, related_name="labels")
    value = models.SmallIntegerField(choices=Value)
    guideline = models.ForeignKey(Guideline, on_delete=models.PROTECT, null=True, related_name="+")
    labelled_at = models.DateTimeField(default=now)

    objects = LabelQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["annotation", "step"], nulls_distinct=False, name="label_once_per_step"),
            models.CheckConstraint(condition=Q(value__in=[-1, 0, 1]), name="label_value_is_ternary"),
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
    at = models.DateTimeField(default=now)

    class Meta:
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.value} at {self.at}"
