"""What Stepmark believes about every step, from all raters together, and under which promise a belief becomes gold."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now

from annotator.models.accounts import User
from annotator.models.importing import Trajectory
from annotator.models.jobs import Job
from annotator.models.prelabelling import ModelVersion
from annotator.models.projects import Project
from annotator.models.protection import append_only


class Fusion(models.Model):
    """One fitted fusion of all raters of a project. Never changed; the latest counts."""

    class Method(models.TextChoices):
        MAJORITY = "majority", "majority of the models"
        BEST_SINGLE = "best_single", "the best single model"
        CHAIN = "chain", "gold-anchored chain"
        STACKER = "stacker", "stacker"
        BLEND = "blend", "stacker and chain"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="fusions")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="fusion")
    number = models.PositiveIntegerField(help_text="Counts the fusions of the project, from 1.")
    method = models.CharField(max_length=12, choices=Method)
    reason = models.TextField(help_text="Why this method, in a sentence.")
    versions = models.ManyToManyField(ModelVersion, related_name="+", help_text="The models it hears.")
    parameters = models.BinaryField(help_text="annotator.fusion.fit.Fusion.to_bytes: plain arrays, nothing pickled.")
    refresh = models.JSONField(
        help_text="The few numbers with which one trajectory is refreshed: chain, people's habits."
    )
    report = models.JSONField(help_text="Every method on held-out tasks.")
    n_trajectories = models.PositiveIntegerField(help_text="With gold, that it was fitted on.")
    n_steps = models.PositiveIntegerField()
    data_sha256 = models.CharField(max_length=64, help_text="Of the gold and the predictions that it was fitted on.")
    seed = models.PositiveIntegerField(default=0)
    code_version = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="fusion_number_once")]
        triggers = append_only()

    def __str__(self) -> str:
        return f"fusion {self.number}"


class Posterior(models.Model):
    """What is believed about the steps of one trajectory now. Replaced by every fusion and every new label."""

    trajectory = models.OneToOneField(Trajectory, on_delete=models.PROTECT, related_name="posterior")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="posteriors")
    fusion = models.ForeignKey(Fusion, on_delete=models.PROTECT, related_name="posteriors")
    evidence = ArrayField(
        ArrayField(models.FloatField(), size=3), help_text="n_steps rows: what the models alone say, before the chain."
    )
    probs = ArrayField(ArrayField(models.FloatField(), size=3), help_text="n_steps rows: P(-1), P(0), P(+1).")
    first_error = ArrayField(
        models.FloatField(), help_text="n_steps + 1 numbers: P(the first error is step t), P(none)."
    )
    # What queues and lists order by.
    expected_errors = models.FloatField(help_text="How many of the likeliest values are expected to be wrong.")
    mean_entropy = models.FloatField()
    first_error_entropy = models.FloatField(help_text="From 0 to 1.")
    disagreement = models.FloatField(help_text="Mean mutual information between the committee's members, in nats.")
    updated_at = models.DateTimeField(default=now)

    class Meta:
        indexes = [models.Index("project", F("expected_errors").desc(), name="posterior_worst")]

    def __str__(self) -> str:
        return f"posterior of {self.trajectory_id}"


class Acceptance(models.Model):
    """A promise under which what the fusion believes becomes gold without a person, until an audit breaks it.

    With probability 1 - delta at most epsilon of the accepted step labels are wrong.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        STOPPED = "stopped"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="acceptances")
    fusion = models.ForeignKey(Fusion, on_delete=models.PROTECT, related_name="acceptances")
    epsilon = models.FloatField()
    delta = models.FloatField()
    threshold = models.FloatField(help_text="The probability from which a value is accepted.")
    audit_share = models.FloatField(help_text="The share of accepted trajectories that people go on judging blind.")
    report = models.JSONField(help_text="The sample, the thresholds tried, the bound of each.")
    status = models.CharField(max_length=8, choices=Status, default=Status.ACTIVE)
    stop_reason = models.TextField(blank=True)
    stopped_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project"], condition=Q(status="active"), name="acceptance_one_active")
        ]

    def __str__(self) -> str:
        return f"acceptance {self.pk} ({self.status})"


class LearningPoint(models.Model):
    """How good a model was after so much human effort: one point of the learning curve."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="learning_points")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, related_name="learning_points")
    is_baseline = models.BooleanField(default=False, help_text="Learnt from the random slice alone.")
    is_kept = models.BooleanField(default=False, help_text="It replaced the model before it.")
    n_trajectories = models.PositiveIntegerField(help_text="That it learnt from.")
    n_steps = models.PositiveIntegerField()
    effort_seconds = models.PositiveIntegerField(help_text="Active time of people on these steps.")
    metrics = models.JSONField(help_text="On the held-out tasks, with intervals, and calibration.")
    facts = models.JSONField(default=dict, help_text="Data hash, seed, code version, split.")
    reason = models.TextField(blank=True, help_text="Why it was kept or not.")
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["id"]
        triggers = append_only()

    def __str__(self) -> str:
        return f"learning point {self.pk}"
