"""What became of the labels: settled steps (gold) and disputed ones."""

from django.db import models
from django.db.models import Q

from annotator.models.importing import Step, Trajectory


class GoldLabelQuerySet(models.QuerySet["GoldLabel"]):
    def by_people(self) -> "GoldLabelQuerySet":
        """Without accepted labels of models: nothing may be measured or learnt by those."""
        return self.exclude(provenance=GoldLabel.Provenance.CERTIFIED)


class GoldLabel(models.Model):
    """The settled value of a step or, with no step, of the outcome, and how it was settled.

    No value: settled as undecidable (by a reviewer) or discarded (by the project's escalation rule).
    """

    class Provenance(models.TextChoices):
        UNANIMOUS = "unanimous"
        MAJORITY = "majority", "majority"
        ADJUDICATED = "adjudicated"
        DISCARDED = "discarded"
        CERTIFIED = "certified", "accepted model label"

    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="gold_labels")
    step = models.ForeignKey(Step, on_delete=models.PROTECT, null=True, related_name="gold_labels")
    value = models.SmallIntegerField(null=True)
    provenance = models.CharField(max_length=12, choices=Provenance)
    settled_at = models.DateTimeField()
    acceptance = models.ForeignKey(
        "annotator.Acceptance",
        on_delete=models.PROTECT,
        null=True,
        related_name="gold_labels",
        help_text="The promise under which a model's label was accepted.",
    )

    objects = GoldLabelQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["trajectory", "step"], nulls_distinct=False, name="gold_label_once"),
            models.CheckConstraint(
                condition=Q(value__isnull=True) | Q(value__in=[-1, 0, 1]), name="gold_label_value_is_ternary"
            ),
            models.CheckConstraint(
                condition=Q(value__isnull=False) | Q(provenance__in=["adjudicated", "discarded"]),
                name="gold_label_agreed_has_a_value",
            ),
            models.CheckConstraint(
                condition=Q(acceptance__isnull=False, provenance="certified")
                | (Q(acceptance__isnull=True) & ~Q(provenance="certified")),
                name="gold_label_certified_names_its_promise",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.value} ({self.provenance})"


class DisputeQuerySet(models.QuerySet["Dispute"]):
    def undecided(self) -> "DisputeQuerySet":
        return self.filter(decided_at__isnull=True)

    def of_steps(self) -> "DisputeQuerySet":
        return self.filter(step__isnull=False)

    def worthiest_first(self) -> "DisputeQuerySet":
        return self.order_by("-worth", "-severity", "trajectory_id", models.F("step__index").asc(nulls_last=True))


class Dispute(models.Model):
    """A step or, with no step, an outcome, whose submitted values differ."""

    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="disputes")
    step = models.ForeignKey(Step, on_delete=models.PROTECT, null=True, related_name="disputes")
    severity = models.PositiveSmallIntegerField(
        help_text="Distance of the extreme values: 2 for +1 against -1, 1 where a 0 differs from its neighbour."
    )
    worth = models.FloatField(default=0.0, help_text="How many labels a decision is expected to set right.")
    created_at = models.DateTimeField(auto_now_add=True)
    decided_at = models.DateTimeField(null=True, help_text="When the latest decision was made.")

    objects = DisputeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["trajectory", "step"], nulls_distinct=False, name="dispute_once_per_step")
        ]
        indexes = [models.Index(fields=["trajectory"], name="dispute_undecided", condition=Q(decided_at__isnull=True))]

    def __str__(self) -> str:
        return f"dispute {self.pk}"
