"""What Stepmark believes about every step, from all raters together, and under which promise a belief becomes gold."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
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


class AcceptanceQuerySet(models.QuerySet["Acceptance"]):
    def standing(self) -> "AcceptanceQuerySet":
        """Those whose labels count: in force, or ended by an admin who kept them.

        Not while one is being tested, nor once its labels are to be taken back, however far that has got.
        """
        jobs = Job.objects.filter(kind=Job.Kind.WITHDRAW, project=OuterRef("project"))
        of = Cast(KeyTextTransform("acceptance", "params"), models.BigIntegerField())
        withdrawals = jobs.annotate(of=of).filter(of=OuterRef("pk"))
        kept = Q(status=Acceptance.Status.STOPPED) & ~Exists(withdrawals)
        return self.filter(kept | Q(status=Acceptance.Status.ACTIVE))


class Acceptance(models.Model):
    """A promise under which labels of models become gold without a person, until an audit breaks it.

    With probability 1 - delta at most epsilon of the accepted step labels are wrong.
    """

    class Status(models.TextChoices):
        WORKING = "working", "being tested"
        REFUSED = "refused", "no rule keeps the promise"
        ACTIVE = "active", "in force"
        STOPPED = "stopped", "stopped"
        BROKEN = "broken", "stopped by its audit"

    IN_FORCE = (Status.WORKING, Status.ACTIVE)

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="acceptances")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="acceptance")
    number = models.PositiveIntegerField(help_text="Counts the acceptances of the project, from 1.")
    epsilon = models.FloatField(help_text="The share of accepted labels that may be wrong.")
    delta = models.FloatField(help_text="The probability with which more may be wrong all the same.")
    audit_share = models.FloatField(help_text="The share of trajectories that people judge blind instead.")
    status = models.CharField(max_length=8, choices=Status, default=Status.WORKING)
    threshold = models.FloatField(null=True, help_text="The probability from which a value is accepted.")
    most_each = models.PositiveIntegerField(null=True, help_text="Labels of one trajectory at most; null: all.")
    versions = models.ManyToManyField(ModelVersion, related_name="+", help_text="The models that it hears.")
    parameters = models.BinaryField(
        default=b"", help_text="annotator.fusion.fit.Fusion.to_bytes, learnt without the sample that tested it."
    )
    report = models.JSONField(default=dict, help_text="The sample, the rules tried, the evidence for each.")
    seed = models.PositiveBigIntegerField()
    data_sha256 = models.CharField(max_length=64, blank=True, help_text="Of all that it was learnt and tested on.")
    code_version = models.CharField(max_length=40)
    stop_reason = models.TextField(blank=True)
    stopped_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=now)

    objects = AcceptanceQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="acceptance_number_once"),
            models.UniqueConstraint(fields=["project"], condition=Q(status="working"), name="acceptance_one_at_a_time"),
            models.CheckConstraint(
                condition=~Q(status="active") | Q(threshold__isnull=False), name="acceptance_active_has_a_rule"
            ),
        ]

    def __str__(self) -> str:
        return f"acceptance {self.number}"

    @property
    def certainty(self) -> float:
        return 1 - self.delta


class AcceptanceAudit(models.Model):
    """A trajectory of which labels would have been accepted, had chance not given it to people instead."""

    acceptance = models.ForeignKey(Acceptance, on_delete=models.PROTECT, related_name="audits")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="audits")
    values = ArrayField(
        models.SmallIntegerField(null=True), help_text="n_steps: what would have been accepted; null: nothing."
    )
    n_wrong = models.PositiveIntegerField(
        null=True, help_text="Of these, those that people settled otherwise; null until they have settled all."
    )
    settled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["acceptance", "trajectory"], name="acceptance_audit_once"),
        ]

    def __str__(self) -> str:
        return f"audit of {self.trajectory_id}"

    @property
    def n_taken(self) -> int:
        return sum(value is not None for value in self.values)


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
