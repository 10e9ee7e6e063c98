"""What models said: which version of which model, in which run, about which trajectory."""

import numpy as np
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Func, Q
from django.utils.timezone import now

from annotator.models.importing import Trajectory
from annotator.models.jobs import Job
from annotator.models.projects import Project
from annotator.models.protection import append_only


class ModelVersion(models.Model):
    """A model exactly as it was: what every prediction can be traced to. Never changed.

    Other weights, another config or another way to render a trajectory are another version.
    """

    class Kind(models.TextChoices):
        DISCRIMINATIVE = "discriminative", "discriminative PRM"
        JUDGE = "judge", "generative judge"
        RULES = "rules", "rule verifiers"
        SCORER = "scorer", "the project's own step scorer"
        IMPORTED = "imported", "imported judgements"
        FUSION = "fusion", "all raters together"

    ALL_RATERS = "all-raters"  # what a fusion is called where it is suggested

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="model_versions")
    kind = models.CharField(max_length=14, choices=Kind)
    name = models.CharField(max_length=100, help_text="As the model file calls it.")
    number = models.PositiveIntegerField(help_text="Counts the versions of one name in the project, from 1.")
    config = models.JSONField(default=dict, help_text="The model file as it was read, defaults filled in.")
    config_sha256 = models.CharField(max_length=64)
    weights_sha256 = models.CharField(
        max_length=64, blank=True, help_text="Of the weights or of the imported file; blank where there are none."
    )
    render_sha256 = models.CharField(
        max_length=64, blank=True, help_text="Of the rule that makes text of a trajectory."
    )
    sees_reference = models.BooleanField(default=False, help_text="It read the reference answer or the outcome.")
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["name", "number"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name", "number"], name="model_version_number_once"),
            models.UniqueConstraint(
                fields=["project", "name", "config_sha256", "weights_sha256", "render_sha256"],
                name="model_version_once_per_content",
            ),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.name} v{self.number}"


class PrelabelRun(models.Model):
    """One run of a model over trajectories of a project, shared by any number of workers; its Job is what people see.

    The version is known once a worker has loaded the model.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="prelabel_runs")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="prelabel_run")
    model_name = models.CharField(max_length=100)
    config = models.JSONField(help_text="The model file as it was when the run was started.")
    selection = models.JSONField(default=dict, help_text="Which trajectories were wanted.")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, related_name="runs")
    estimate = models.JSONField(default=dict, help_text="What was expected when it was started.")
    n_steps_done = models.PositiveBigIntegerField(default=0)
    n_tokens = models.PositiveBigIntegerField(default=0)
    n_dropped_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=12, decimal_places=6, default=0, help_text="In the model file's currency.")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"prelabel run {self.pk} of {self.model_name}"


class PrelabelTarget(models.Model):
    """One trajectory that a run wants scored: waiting → claimed by a worker (with a lease) → done / failed."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        CLAIMED = "claimed"
        DONE = "done"
        FAILED = "failed"

    run = models.ForeignKey(PrelabelRun, on_delete=models.CASCADE, related_name="targets")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=8, choices=Status, default=Status.WAITING)
    worker = models.CharField(max_length=60, blank=True, help_text="Who has claimed it.")
    lease_expires_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, help_text="Why this trajectory could not be scored.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "trajectory"], name="prelabel_target_once_per_run"),
            models.CheckConstraint(
                condition=~Q(status="claimed") | Q(lease_expires_at__isnull=False, worker__gt=""),
                name="prelabel_target_claim_has_a_lease",
            ),
        ]
        indexes = [
            # For the workers: what is left of a run.
            models.Index(
                fields=["run", "id"], name="prelabel_target_left", condition=Q(status__in=["waiting", "claimed"])
            )
        ]

    def __str__(self) -> str:
        return f"{self.trajectory_id} in run {self.run_id}"


class PredictionQuerySet(models.QuerySet["Prediction"]):
    def speaking(self) -> "PredictionQuerySet":
        """Without those that abstain from every step."""
        return self.filter(Func("probs", template="0 <= ANY(%(expressions)s)", output_field=models.BooleanField()))


class Prediction(models.Model):
    """What one model version says about the steps of one trajectory. Never changed: another version says it anew.

    A row of three nulls in `probs` is an abstention, which is never a 0.
    """

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="predictions")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="predictions")
    run = models.ForeignKey(PrelabelRun, on_delete=models.PROTECT, null=True, related_name="predictions")
    probs = ArrayField(ArrayField(models.FloatField(null=True), size=3), help_text="n_steps rows: P(-1), P(0), P(+1).")
    raw = ArrayField(
        models.FloatField(null=True), null=True, help_text="The model's own number per step, before mapping."
    )
    spread = ArrayField(
        models.FloatField(null=True), null=True, help_text="Standard deviation over an ensemble, per step."
    )
    rationales = models.JSONField(default=list, help_text="Per step why, in the model's words, or null.")
    outcome = models.SmallIntegerField(null=True, help_text="What it says of the final result, if it does.")
    findings = models.JSONField(default=list, help_text="What rules found: step, code, leaning, sentence, evidence.")
    n_tokens = models.PositiveIntegerField(default=0)
    n_dropped_tokens = models.PositiveIntegerField(default=0, help_text="Cut away to fit the model.")
    first_truncated_step = models.PositiveIntegerField(null=True, help_text="From here on it saw a shortened text.")
    first_extrapolated_step = models.PositiveIntegerField(
        null=True, help_text="From here on it judges what it never learnt: steps after its first error."
    )
    note = models.TextField(blank=True, help_text="Why it abstained, or what was changed in the text.")
    created_at = models.DateTimeField(default=now)

    objects = PredictionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "trajectory"], name="prediction_once_per_version"),
            models.CheckConstraint(
                condition=Q(outcome__isnull=True) | Q(outcome__in=[-1, 0, 1]), name="prediction_outcome_is_ternary"
            ),
        ]
        indexes = [
            models.Index(fields=["trajectory"], name="prediction_of_trajectory"),
            # What is new since some time; rows lie in the order in which they came, so this one is tiny.
            BrinIndex(fields=["created_at"], name="prediction_by_time", autosummarize=True),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"prediction {self.pk}"

    @property
    def values(self) -> list[int | None]:
        """The likeliest value per step; None where the model abstained."""
        return [None if row[0] is None else int(np.argmax(np.array(row, dtype=np.float64))) - 1 for row in self.probs]


class Calibration(models.Model):
    """How the raw numbers of a model version become probabilities, fitted on the project's gold. The latest counts."""

    class Method(models.TextChoices):
        CUMULATIVE_LINK = "cumulative_link", "cumulative link"
        TEMPERATURE = "temperature", "temperature"

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="calibrations")
    method = models.CharField(max_length=16, choices=Method)
    parameters = models.JSONField()
    n_trajectories = models.PositiveIntegerField(help_text="With gold, that it was fitted on.")
    n_steps = models.PositiveIntegerField()
    report = models.JSONField(help_text="Out of fold: calibration error and likelihood before and after, the bins.")
    fitted_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["id"]
        triggers = append_only()

    def __str__(self) -> str:
        return f"calibration {self.pk} of {self.version_id}"
