"""Rounds of selection: which trajectories or steps people should look at next, why, and with which probability."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

from annotator.models.accounts import User
from annotator.models.fusion import Fusion
from annotator.models.importing import Trajectory
from annotator.models.jobs import Job
from annotator.models.projects import Project
from annotator.models.queue import Assignment


class SelectionRound(models.Model):
    """One choice of what comes next; its Job is what people see. One is open per project at a time."""

    class Unit(models.TextChoices):
        TRAJECTORIES = "trajectories", "whole trajectories"
        STEPS = "steps", "single steps"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="selection_rounds")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="selection_round")
    number = models.PositiveIntegerField(help_text="Counts the rounds of the project, from 1.")
    unit = models.CharField(max_length=12, choices=Unit)
    settings = models.JSONField(help_text="selection.policy.SelectionPolicy as it was when the round was started.")
    seed = models.PositiveBigIntegerField()
    fusion = models.ForeignKey(Fusion, on_delete=models.PROTECT, null=True, related_name="+")
    is_cold = models.BooleanField(default=False, help_text="Stratified at random, because too little gold was there.")
    is_open = models.BooleanField(default=True, help_text="It has not ended yet.")
    is_scheduled = models.BooleanField(default=False, help_text="Started by the schedule, not by a person.")
    n_pool = models.PositiveIntegerField(default=0, help_text="Trajectories that could have been chosen.")
    report = models.JSONField(default=dict, help_text="What was believed when it chose, to tell later what it bought.")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="selection_round_number_once"),
            models.UniqueConstraint(fields=["project"], condition=Q(is_open=True), name="selection_round_one_open"),
        ]

    def __str__(self) -> str:
        return f"round {self.number}"


class SelectionPickQuerySet(models.QuerySet["SelectionPick"]):
    def taken(self) -> "SelectionPickQuerySet":
        """Those that somebody has got by this very choice, whatever became of it.

        An arm is drawn when a slot is claimed, and stays. What nobody took goes back to the pool with the next round,
        and may be chosen again.
        """
        return self.filter(Exists(Assignment.objects.filter(pick=OuterRef("pk")).exclude(hint_arm="")))

    def chosen_and_drawn(self, project: Project) -> tuple[set[int], set[int]]:
        """Trajectories that people got because a strategy chose them, and those that they got by chance.

        What is measured on the former is true of them alone: strategies choose what is doubtful, and so harder.
        """
        rows = set(self.taken().filter(round__project=project).values_list("trajectory", "probability"))
        drawn = {pk for pk, probability in rows if probability is not None}
        return {pk for pk, _ in rows} - drawn, drawn


class SelectionPick(models.Model):
    """One trajectory that a round chose: by which strategy, with which score, and how likely it was to be chosen."""

    round = models.ForeignKey(SelectionRound, on_delete=models.CASCADE, related_name="picks")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="picks")
    rank = models.PositiveIntegerField(help_text="From 0: the order in which people get them.")
    strategy = models.CharField(max_length=40)
    score = models.FloatField(null=True, help_text="By its strategy; none for the random slice.")
    steps = ArrayField(models.PositiveIntegerField(), null=True, help_text="Wanted step indices; null: every step.")
    probability = models.FloatField(
        null=True, help_text="Of being chosen, for the random slice; estimates weigh by its inverse."
    )
    reason = models.TextField(help_text="Why this one, in a sentence.")
    before = models.JSONField(default=dict, help_text="What was believed of it when it was chosen.")

    objects = SelectionPickQuerySet.as_manager()

    class Meta:
        ordering = ["rank"]
        constraints = [
            models.UniqueConstraint(fields=["round", "trajectory"], name="selection_pick_once_per_round"),
            models.CheckConstraint(
                condition=Q(probability__isnull=True) | Q(probability__gt=0, probability__lte=1),
                name="selection_pick_probability_is_one",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.trajectory_id} in round {self.round_id}"

    @property
    def leaves_out_outcome(self) -> bool:
        """Single steps are asked for, of a trajectory of which the outcome is wanted as well."""
        return bool(self.before.get("leaves_out_outcome"))
