"""The queue: one row per wanted judgement."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from annotator.models.accounts import User
from annotator.models.importing import Trajectory
from annotator.models.prelabelling import Calibration, ModelVersion
from annotator.models.projects import Project


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def open(self) -> "AssignmentQuerySet":
        return self.filter(status=Assignment.Status.OPEN)

    def live(self) -> "AssignmentQuerySet":
        """Every slot but those that were skipped (another row took their place)."""
        return self.exclude(status=Assignment.Status.SKIPPED)

    def claimable_by(self, user: User) -> "AssignmentQuerySet":
        """Open slots of trajectories that this person has not had before."""
        # NOT IN and not an anti-join: with statistics that lag behind a busy day the planner takes a person for new and
        # compares every open slot with everything they have had.
        had_before = Assignment.objects.filter(annotator=user).values("trajectory_id")
        return self.open().exclude(trajectory_id__in=had_before)

    def in_work_by(self, user: User) -> "AssignmentQuerySet":
        """What this person is judging: claimed or returned, and not submitted."""
        return self.filter(annotator=user, status__in=[Assignment.Status.CLAIMED, Assignment.Status.RETURNED])


class Assignment(models.Model):
    """One wanted judgement of one trajectory, of all its steps or (a spot question) of a named few.

    open → claimed (with a lease) → submitted / skipped. A claim whose lease ran out is open again. A submitted one may
    be returned: to its annotator alone, without a lease, for a new revision.
    """

    class Status(models.TextChoices):
        OPEN = "open"
        CLAIMED = "claimed"
        SUBMITTED = "submitted"
        RETURNED = "returned"
        SKIPPED = "skipped"

    class HintArm(models.TextChoices):
        BLIND = "blind", "blind"
        REVEAL_AFTER = "reveal_after", "shown after one's own labels"
        HINTED = "hinted", "shown from the start"

    class NoHints(models.TextChoices):
        SPOT_QUESTION = "spot_question", "questions about single steps are always blind"
        NO_PREDICTION = "no_prediction", "the model had said nothing of the trajectory"
        ABSTAINED = "abstained", "the model gave no step a value"
        RANDOM_SAMPLE = "random_sample", "chosen at random, to estimate by"
        SEES_REFERENCE = "sees_reference", "the model had read the reference"
        # Kept for slots claimed when this was still written: now it is the person's, and derived (raters.blind).
        SEEN_BEFORE = "seen_before", "its annotator had been shown the suggestions in another slot"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="assignments")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="assignments")
    slot = models.PositiveSmallIntegerField()
    wanted_steps = ArrayField(models.PositiveIntegerField(), null=True, help_text="Step indices; null: every step.")
    wants_outcome = models.BooleanField(default=True)
    priority = models.FloatField(default=0.0)
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    annotator = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="assignments")
    claimed_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    is_ahead = models.BooleanField(
        default=False, help_text="Claimed while its annotator finishes another one; theirs to take up next."
    )
    n_saves = models.PositiveIntegerField(
        default=0,
        db_default=0,  # of a server of the version before, while a migration goes on
        help_text="How often a draft of it was saved. A save that knows of fewer was overtaken by another.",
    )
    finished_at = models.DateTimeField(null=True)
    skip_reason = models.CharField(max_length=500, blank=True)
    # Drawn when it is claimed for the first time; it stays, whoever takes the slot up later and for every revision.
    hint_arm = models.CharField(max_length=12, choices=HintArm, blank=True)
    hint_version = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The version that the arm was drawn for. The blind arm shows nothing of it.",
    )
    hint_calibration = models.ForeignKey(
        Calibration, on_delete=models.PROTECT, null=True, related_name="+", help_text="Of the version, as it was then."
    )
    no_hints = models.CharField(
        max_length=14, choices=NoHints, blank=True, help_text="Why it is in its arm without having been drawn so."
    )
    pick = models.ForeignKey(
        "annotator.SelectionPick",
        on_delete=models.SET_NULL,
        null=True,
        related_name="assignments",
        help_text="The choice of a selection round that gave it its priority.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["trajectory", "slot"], condition=~Q(status="skipped"), name="assignment_slot_once"
            ),
            # The promise that nobody gets a trajectory twice; a skipped one is not offered again either. Led by the
            # person, so that a claim reads all that they have had from this index alone.
            models.UniqueConstraint(
                fields=["annotator", "trajectory"],
                condition=Q(annotator__isnull=False),
                name="assignment_once_per_annotator",
            ),
            models.CheckConstraint(
                condition=Q(status="open", annotator__isnull=True) | (~Q(status="open") & Q(annotator__isnull=False)),
                name="assignment_open_means_nobody_holds_it",
            ),
            models.CheckConstraint(
                condition=~Q(status="claimed") | Q(lease_expires_at__isnull=False), name="assignment_claim_has_a_lease"
            ),
            models.CheckConstraint(
                condition=Q(hint_arm__in=["", "blind"]) | Q(hint_version__isnull=False),
                name="assignment_hints_are_of_a_version",
            ),
            # claim_ahead and claim_next count on it: a person has at most one waiting in a project.
            models.UniqueConstraint(
                fields=["project", "annotator"],
                condition=Q(is_ahead=True, status="claimed"),
                name="assignment_one_ahead_per_annotator",
            ),
        ]
        indexes = [
            # For claim_next: the best open slot of a project.
            models.Index(
                "project", F("priority").desc(), "id", name="assignment_best_open", condition=Q(status="open")
            ),
            # For expire: claims whose lease has run out.
            models.Index(fields=["lease_expires_at"], name="assignment_leases", condition=Q(status="claimed")),
        ]

    def __str__(self) -> str:
        return f"assignment {self.pk} ({self.status})"

    def wants_step(self, index: int) -> bool:
        return self.wanted_steps is None or index in self.wanted_steps

    @property
    def wants_outcome_if_whole(self) -> bool:
        """Whether it asks for the outcome where it does not ask for single steps that a round chose."""
        return self.wants_outcome or (self.pick is not None and self.pick.leaves_out_outcome)
