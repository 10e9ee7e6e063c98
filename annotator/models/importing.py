"""Trajectories as they were imported, their steps, and the files they came from."""

from collections.abc import Iterable

import pgtrigger
from django.contrib.postgres.aggregates import BoolOr
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Window
from django.db.models.functions import Lag

from annotator.models.accounts import User
from annotator.models.jobs import Job
from annotator.models.projects import Project


class TrajectoryQuerySet(models.QuerySet["Trajectory"]):
    def with_progress(self) -> "TrajectoryQuerySet":
        """Adds n_wanted (live slots), n_submitted and n_disputes (undecided)."""
        from annotator.models.queue import Assignment

        live = ~Q(assignments__status=Assignment.Status.SKIPPED) & Q(assignments__isnull=False)
        submitted = Q(assignments__status=Assignment.Status.SUBMITTED)
        return self.annotate(
            n_wanted=models.Count("assignments", filter=live, distinct=True),
            n_submitted=models.Count("assignments", filter=submitted, distinct=True),
            n_disputes=models.Count("disputes", filter=Q(disputes__decided_at__isnull=True), distinct=True),
        )

    def half_settled(self) -> "TrajectoryQuerySet":
        """With gold of people on some steps and none on others, while a judgement is out or a dispute undecided.

        What people agree on is settled at once, and is the easy half: nothing may be learnt from that or measured by it
        alone. Where single steps were asked about, the others stay without gold; once all are settled that were asked
        about, nothing is half about it.
        """
        from annotator.models.agreement import Dispute, GoldLabel
        from annotator.models.queue import Assignment

        of_it = {"trajectory": OuterRef("pk")}
        unsettled = Step.objects.filter(~Exists(GoldLabel.objects.filter(step=OuterRef("pk"))), **of_it)
        undecided = Dispute.objects.undecided().of_steps().filter(**of_it)
        out = Assignment.objects.live().exclude(status=Assignment.Status.SUBMITTED).filter(**of_it)
        return self._with_gold().filter(Exists(unsettled), Exists(undecided) | Exists(out))

    def to_learn_from(self) -> "TrajectoryQuerySet":
        """With gold of people, and not half settled: what models learn from and raters are measured by."""
        return self._with_gold().exclude(pk__in=self.half_settled().values("pk"))

    def _with_gold(self) -> "TrajectoryQuerySet":
        """What a model gave and nobody checked is none: it would teach a model nothing but itself."""
        from annotator.models.agreement import GoldLabel

        gold = GoldLabel.objects.by_people().filter(trajectory=OuterRef("pk"), step__isnull=False, value__isnull=False)
        return self.filter(Exists(gold))

    def lock(self, ids: Iterable[int]) -> None:
        """Locks these trajectories until the transaction ends, in the order of their ids.

        Whoever writes labels, gold, disputes or beliefs of several holds their rows first, taken in this one order:
        then no two wait for each other for ever.
        """
        list(self.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True).values_list("pk"))


class Trajectory(models.Model):
    """One recorded agent run, exactly as imported; the database refuses to edit it."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="trajectories")
    external_id = models.CharField(max_length=500)
    source_format = models.CharField(max_length=40)
    instruction = models.TextField(blank=True)
    messages = models.JSONField(help_text="The chat form, unchanged.")
    tools = models.JSONField(default=list)
    reference = models.JSONField(null=True, help_text="Ground truth given by the source.")
    outcome = models.FloatField(null=True, help_text="Reward reported by the environment.")
    metadata = models.JSONField(default=dict, help_text="The source record's other fields.")
    group_key = models.CharField(max_length=500, help_text="What the agent was asked; releases split by it.")
    content_sha256 = models.CharField(max_length=64)
    n_steps = models.PositiveIntegerField()
    imported_by = models.ForeignKey(Job, on_delete=models.PROTECT, null=True, related_name="trajectories")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TrajectoryQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "external_id"], name="trajectory_external_id_once_per_project"),
            models.UniqueConstraint(fields=["project", "content_sha256"], name="trajectory_content_once_per_project"),
        ]
        triggers = [pgtrigger.Protect(name="never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return self.external_id


class StepQuerySet(models.QuerySet["Step"]):
    def beginning_turns(self) -> "StepQuerySet":
        """Steps that follow a message of the agent and what somebody answered; give it whole trajectories.

        An agent that calls no tool at all may write its calls as text: there a message does not end a turn, and no
        step begins one.
        """
        return self.alias(
            kind_before=Window(Lag("kind"), partition_by="trajectory", order_by="index"),
            message_before=Window(Lag("message_index"), partition_by="trajectory", order_by="index"),
            calls_tools=Window(BoolOr(Q(kind=Step.Kind.TOOL_CALL)), partition_by="trajectory"),
        ).filter(kind_before=Step.Kind.MESSAGE, message_index__gt=F("message_before") + 1, calls_tools=True)


class Step(models.Model):
    """One agent action: one assistant message of the trajectory."""

    class Kind(models.TextChoices):
        TOOL_CALL = "tool_call", "tool call"
        MESSAGE = "message"

    trajectory = models.ForeignKey(Trajectory, on_delete=models.CASCADE, related_name="steps")
    index = models.PositiveIntegerField(help_text="From 0 within the trajectory.")
    message_index = models.PositiveIntegerField(help_text="From 0 within the trajectory's messages.")
    kind = models.CharField(max_length=10, choices=Kind)
    tool_names = ArrayField(models.TextField(), default=list)

    objects = StepQuerySet.as_manager()

    class Meta:
        ordering = ["trajectory", "index"]
        constraints = [models.UniqueConstraint(fields=["trajectory", "index"], name="step_index_once_per_trajectory")]
        triggers = [pgtrigger.Protect(name="never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"step {self.index + 1}"


class ReferenceLabel(models.Model):
    """A label that the source file brought along; never mixed with people's labels. No step: the outcome."""

    trajectory = models.ForeignKey(Trajectory, on_delete=models.CASCADE, related_name="reference_labels")
    step = models.ForeignKey(Step, on_delete=models.CASCADE, null=True, related_name="reference_labels")
    value = models.SmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["trajectory", "step"], nulls_distinct=False, name="reference_label_once_per_step"
            ),
            models.CheckConstraint(condition=Q(value__in=[-1, 0, 1]), name="reference_label_value_is_ternary"),
        ]
        triggers = [pgtrigger.Protect(name="never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.value:+d}"


class Upload(models.Model):
    """A file that an import job reads. It lies in PostgreSQL because web and workers share no disk."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="uploads")
    name = models.CharField(max_length=255)
    n_bytes = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class UploadChunk(models.Model):
    """One piece of an upload, at most importing.uploads.CHUNK_BYTES long."""

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="chunks")
    index = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upload", "index"], name="upload_chunk_once")]

    def __str__(self) -> str:
        return f"chunk {self.index} of {self.upload_id}"
