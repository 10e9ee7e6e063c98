"""A project, who works in it and the guideline they follow."""

import secrets

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.utils.timezone import now

from annotator.models.accounts import User
from annotator.prelabelling.learning_policy import LearningPolicy
from annotator.projects.hints import HintPolicy
from annotator.projects.scheme import LabelScheme
from annotator.selection.policy import SelectionPolicy


def make_rater_code() -> str:
    """A pseudonym under which a person's labels appear in releases, e.g. `r-9f3a61c2`."""
    return f"r-{secrets.token_hex(4)}"


class Project(models.Model):
    """One campaign: trajectories, members, a guideline, and the rules by which labels become gold."""

    class OnUnsettled(models.TextChoices):
        DISPUTE = "dispute", "a reviewer decides"
        DISCARD = "discard", "the step is left out"

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    overlap = models.PositiveSmallIntegerField(
        default=2, validators=[MinValueValidator(1)], help_text="How many people judge every trajectory at first."
    )
    max_overlap = models.PositiveSmallIntegerField(
        default=2, help_text="How many people may judge one step in all, when the first ones differ on it."
    )
    required_agreement = models.PositiveSmallIntegerField(
        default=2, help_text="How many people must give the same value to settle a step on which some differ."
    )
    on_unsettled = models.CharField(max_length=10, choices=OnUnsettled, default=OnUnsettled.DISPUTE)
    second_review = models.PositiveSmallIntegerField(
        default=0,
        validators=[MaxValueValidator(100)],
        help_text="How many percent of the disputed trajectories two reviewers decide, each without the other.",
    )
    claim_minutes = models.PositiveSmallIntegerField(
        default=60, validators=[MinValueValidator(1)], help_text="A claim with no label saved for so long goes back."
    )
    asks_outcome = models.BooleanField(default=True, help_text="Annotators also judge the final result.")
    label_scheme = models.JSONField(
        default=dict, blank=True, help_text="projects.scheme.LabelScheme: labelling mode, reveal, extras of a label."
    )
    hint_policy = models.JSONField(
        default=dict, blank=True, help_text="projects.hints.HintPolicy: who is shown what which model says."
    )
    selection_policy = models.JSONField(
        default=dict, blank=True, help_text="How rounds choose what comes next, and when they start by themselves."
    )
    learning_policy = models.JSONField(
        default=dict, blank=True, help_text="When the project's own step scorer is trained again."
    )
    shows_why = models.BooleanField(default=False, help_text="Annotators see why a trajectory was chosen for them.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(overlap__gte=1),
                name="project_overlap_at_least_1",
                violation_error_message="overlap: a project needs at least one annotator per trajectory.",
            ),
            models.CheckConstraint(
                condition=Q(max_overlap__gte=F("overlap")),
                name="project_max_overlap_covers_overlap",
                violation_error_message="max_overlap must not be smaller than overlap.",
            ),
            models.CheckConstraint(
                condition=Q(required_agreement__gte=1, required_agreement__lte=F("max_overlap")),
                name="project_required_agreement_is_reachable",
                violation_error_message="required_agreement must be between 1 and max_overlap.",
            ),
            models.CheckConstraint(
                condition=Q(second_review__lte=100),
                name="project_second_review_is_a_percentage",
                violation_error_message="second_review must be between 0 and 100.",
            ),
            models.CheckConstraint(
                condition=Q(claim_minutes__gte=1),
                name="project_claim_minutes_at_least_1",
                violation_error_message="claim_minutes: a claim must last at least one minute.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def scheme(self) -> LabelScheme:
        """The label scheme, with defaults where the project says nothing."""
        return LabelScheme.model_validate(self.label_scheme)

    @property
    def hints(self) -> HintPolicy:
        """The hint policy; a project that says nothing shows nothing."""
        return HintPolicy.model_validate(self.hint_policy)

    @property
    def learning(self) -> LearningPolicy:
        """The learning policy; a project that says nothing trains nothing by itself."""
        return LearningPolicy.model_validate(self.learning_policy)

    @property
    def selection(self) -> SelectionPolicy:
        """The selection policy; a project that says nothing has the default mix, by hand."""
        return SelectionPolicy.model_validate(self.selection_policy)


class Membership(models.Model):
    """One person's role in one project."""

    class Role(models.TextChoices):
        ANNOTATOR = "annotator"
        REVIEWER = "reviewer"
        ADMIN = "admin"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    rater_code = models.CharField(max_length=20, default=make_rater_code, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="membership_once_per_project"),
            models.UniqueConstraint(fields=["project", "rater_code"], name="membership_rater_code_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} in {self.project}"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def with_inviter(self) -> "InvitationQuerySet":
        """Adds `is_backed`, which `state` needs: whoever made the invitation is still an admin who may sign in."""
        inviter = Membership.objects.filter(project=OuterRef("project"), user=OuterRef("created_by"))
        backed = inviter.filter(role=Membership.Role.ADMIN, user__is_active=True)
        return self.select_related("created_by", "used_by").annotate(is_backed=Exists(backed))


class Invitation(models.Model):
    """A link by which somebody becomes a member, once; only a hash of its secret is stored."""

    class State(models.TextChoices):
        OPEN = "open"
        USED = "used"
        REVOKED = "revoked", "taken back"
        EXPIRED = "expired"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=10, choices=Membership.Role)
    secret_sha256 = models.CharField(max_length=64, unique=True)
    note = models.CharField(max_length=200, blank=True, help_text="For whom it is meant.")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = InvitationQuerySet.as_manager()

    def __str__(self) -> str:
        return f"invitation {self.pk} to {self.project}"

    @property
    def state(self) -> State:
        if self.used_at:
            return self.State.USED
        if self.revoked_at or not self.is_backed:  # type: ignore[attr-defined]  # by with_inviter
            return self.State.REVOKED
        return self.State.EXPIRED if self.expires_at <= now() else self.State.OPEN


class Guideline(models.Model):
    """One version of a project's instructions to annotators; a label names the version it was given under."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField(help_text="Markdown.")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint(fields=["project", "version"], name="guideline_version_once_per_project")
        ]

    def __str__(self) -> str:
        return f"guideline {self.version} of {self.project}"
