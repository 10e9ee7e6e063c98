"""Reviewers' work: which trajectory's disputes somebody holds, and what was decided."""

from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from annotator.models.accounts import User
from annotator.models.agreement import Dispute
from annotator.models.importing import Trajectory
from annotator.models.projects import Project
from annotator.models.protection import append_only


class ReviewQuerySet(models.QuerySet["Review"]):
    def worthiest_first(self) -> "ReviewQuerySet":
        return self.order_by("-worth", "-severity", "id")


class Review(models.Model):
    """One trajectory with disputes, as work for a reviewer: open → claimed (with a lease) → done.

    It opens again when a later judgement adds a dispute. `needs_second` is drawn when it opens for the first time.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        CLAIMED = "claimed"
        DONE = "done"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="reviews")
    trajectory = models.OneToOneField(Trajectory, on_delete=models.PROTECT, related_name="review")
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    severity = models.PositiveIntegerField(help_text="Sum over the trajectory's undecided disputes.")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="reviews")
    lease_expires_at = models.DateTimeField(null=True)
    worth = models.FloatField(default=0.0, help_text="Sum over the trajectory's undecided disputes.")
    needs_second = models.BooleanField(
        default=False,
        help_text="Each of its disputes is decided by two reviewers who do not see each other's decision.",
    )

    objects = ReviewQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="claimed") | Q(reviewer__isnull=False, lease_expires_at__isnull=False),
                name="review_claim_has_a_reviewer_and_a_lease",
            )
        ]
        indexes = [
            models.Index(
                "project",
                F("worth").desc(),
                F("severity").desc(),
                "id",
                name="review_worthiest",
                condition=~Q(status="done"),
            )
        ]

    def __str__(self) -> str:
        return f"review {self.pk} ({self.status})"


class AdjudicationQuerySet(models.QuerySet["Adjudication"]):
    def withheld(self) -> "AdjudicationQuerySet":
        """First decisions without a second: nobody sees them but who made them, or the second would not be blind."""
        seconds = Adjudication.objects.filter(dispute=OuterRef("dispute"), turn=Adjudication.Turn.SECOND)
        return self.filter(~Exists(seconds), turn=Adjudication.Turn.FIRST)


class Adjudication(models.Model):
    """A reviewer's decision on one dispute. A later one overrules it; both stay.

    Where a second reviewer is wanted, the first two decisions are blind and settle the dispute only if they are alike.
    """

    class Turn(models.TextChoices):
        FIRST = "first", "the first of two blind ones"
        SECOND = "second", "the second of two blind ones"
        OPEN = "open", "in sight of those before it; it settles the dispute"

    class Reason(models.TextChoices):
        MISREAD = "misread", "a rater misread the step or its result"
        GUIDELINE = "guideline", "the guideline was applied differently"
        PROPAGATION = "propagation", "an earlier error was carried on differently"
        HINDSIGHT = "hindsight", "a rater judged by what came later"
        SLIP = "slip", "a slip of the hand"
        AMBIGUOUS = "ambiguous", "the guideline does not settle it"
        INSUFFICIENT = "insufficient", "the trajectory does not show enough"
        OTHER = "other", "other (see the note)"

    dispute = models.ForeignKey(Dispute, on_delete=models.PROTECT, related_name="adjudications")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="adjudications")
    value = models.SmallIntegerField(null=True, help_text="Null: undecidable.")
    reason_code = models.CharField(max_length=12, choices=Reason)
    note = models.TextField(blank=True)
    decided_at = models.DateTimeField()
    turn = models.CharField(max_length=6, choices=Turn, default=Turn.OPEN)

    objects = AdjudicationQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["dispute", "turn"], condition=Q(turn__in=["first", "second"]), name="adjudication_one_per_turn"
            ),
            models.UniqueConstraint(
                fields=["dispute", "reviewer"],
                condition=Q(turn__in=["first", "second"]),
                name="adjudication_second_is_somebody_else",
            ),
            models.CheckConstraint(
                condition=Q(value__isnull=True) | Q(value__in=[-1, 0, 1]), name="adjudication_value_is_ternary"
            ),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.value} ({self.reason_code})"
