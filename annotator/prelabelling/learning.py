"""Training in the loop: when it is due, the gold that it learns from, and what became of it.

The worker's part is workers/learn.py; the rule that decides which version is used is learning_figures.judge.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from django.db import connection, transaction
from pydantic import JsonValue

from annotator import audit, jobs
from annotator.errors import DomainError, InvalidInput, InvalidSettings, JobConflict
from annotator.labelling.effort import Effort, by_trajectory
from annotator.models import (
    GoldLabel,
    Job,
    Label,
    LearningPoint,
    ModelVersion,
    PrelabelRun,
    Project,
    SelectionPick,
    SelectionRound,
    Trajectory,
    User,
)
from annotator.models.importing import TrajectoryQuerySet
from annotator.prelabelling import actions, names, reading
from annotator.prelabelling.learning_policy import Due, LearningPolicy, is_held_out, is_in_half, what_is_missing
from annotator.prelabelling.scorer_config import ScorerConfig
from annotator.prelabelling.scores import TrajectoryText
from annotator.raters.blind import in_sight
from annotator.raters.metrics import GoldTrajectory

logger = logging.getLogger(__name__)

Slice = Literal["random slice", "half by hash"]


@transaction.atomic
def change_policy(project: Project, changes: dict[str, Any], *, user: User) -> list[str]:
    """Changes the named fields of the learning policy; returns the names of those that differ now.

    Raises InvalidSettings, naming each field that is wrong; then nothing has changed.
    """
    current = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    old = current.learning.model_dump(mode="json")
    policy = LearningPolicy.parse({**old, **changes})
    if taken := names.why_no_scorer(current, policy.name_for(current.slug), in_loop=True):
        raise InvalidSettings(f"Nothing was changed: {taken}", {"name": taken})
    new = policy.model_dump(mode="json")
    changed = [name for name in new if new[name] != old[name]]
    if changed:
        current.learning_policy = project.learning_policy = new
        current.save(update_fields=["learning_policy"])
        difference = {
            side: {"learning_policy": {n: of[n] for n in changed}} for side, of in (("old", old), ("new", new))
        }
        audit.log("project.changed", current, user=user, project_id=current.pk, data=difference)
    return changed


def gold_trajectories(project: Project) -> TrajectoryQuerySet:
    """What a training may learn from or be measured on, in the order of ids."""
    return project.trajectories.to_learn_from().order_by("id")


def latest_job(project: Project) -> Job | None:
    """The training in the loop that was started last."""
    return project.jobs.filter(kind=Job.Kind.LEARN).order_by("-id").first()


def due(project: Project) -> Due:
    """How far the project is from its next training; one that failed or was cancelled counts as the last one, too."""
    policy = project.learning
    name = policy.name_for(project.slug)
    last = project.jobs.filter(kind=Job.Kind.LEARN, params__name=name).order_by("-id").first()
    return Due(policy, gold_trajectories(project).count(), last.params["n_gold"] if last else None)


def missing(project: Project) -> str:
    """What a training of now would lack, in sentences; empty where nothing is."""
    gold = _to_learn_from(project, project.learning.name_for(project.slug))
    return what_is_missing(gold.values_list("group_key", "n_steps"))


@transaction.atomic
def start(project: Project, *, user: User | None, is_scheduled: bool = False) -> Job:
    """Queues a training. Raises JobConflict while one is under way, InvalidInput without enough gold or if the name is
    taken.
    """
    Project.objects.select_for_update(no_key=True).only("pk").get(pk=project.pk)  # one at a time
    busy = project.jobs.filter(kind=Job.Kind.LEARN, finished_at__isnull=True).first()
    if busy:
        raise JobConflict(f"Nothing was started: job {busy.pk} is a training that has not ended yet.")
    found = due(project)
    name = found.policy.name_for(project.slug)
    if taken := names.why_no_scorer(project, name, in_loop=True):
        raise InvalidInput(f"Nothing was started: {taken}", {"name": taken})
    if is_scheduled and not found.is_due:
        raise JobConflict("Nothing was started: no training is due.")
    if lacks := missing(project):
        raise InvalidInput(f"Nothing was started. {lacks}")
    params = {
        "name": name,
        "policy": found.policy.model_dump(mode="json"),
        "n_gold": found.n_gold,
        "is_scheduled": is_scheduled,
    }
    queue = Job.Queue.GPU  # the workers that have torch
    return jobs.enqueue(project, Job.Kind.LEARN, params, unit="percent", n_total=100, user=user, queue=queue)


def start_due() -> int:
    """Starts every training that is due; returns how many. Asking again starts nothing twice."""
    n_started = 0
    for project in Project.objects.filter(learning_policy__is_on=True).order_by("id"):
        busy = project.jobs.filter(kind=Job.Kind.LEARN, finished_at__isnull=True).exists()
        if busy or not due(project).is_due or missing(project):
            continue
        try:
            start(project, user=None, is_scheduled=True)
        except DomainError as error:
            logger.warning("No training of %s: %s", project.slug, error.message)
        else:
            n_started += 1
    return n_started


@dataclass(frozen=True)
class GoldRow:
    """One trajectory as it was when the training began. `effort`: of people, on the steps that have gold."""

    text: TrajectoryText
    gold: GoldTrajectory
    content_sha256: str
    effort: Effort
    is_baseline: bool
    is_chosen: bool  # by a strategy


@dataclass(frozen=True)
class Snapshot:
    rows: list[GoldRow]
    baseline: Slice

    @property
    def what_baseline(self) -> str:
        if self.baseline == "random slice":
            return "what selection rounds chose at random"
        return "one half of the trajectories, by a hash: no selection round has run, so nothing was chosen"


def read_snapshot(job: Job) -> Snapshot:
    """The project's gold at this moment, from one snapshot; call it outside a transaction.

    What people settle while it is read, or later, belongs to the next training.
    """
    project = job.project
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        chosen = _to_learn_from(project, job.params["name"])
        values = _values(chosen)
        efforts = _efforts(chosen)
        has_rounds = SelectionRound.objects.filter(project=project, picks__isnull=False).exists()
        # Not what a later round put back into the pool: whoever chose that one, it was not this draw.
        picks = SelectionPick.objects.taken().filter(round__project=project)
        probability_of = dict(picks.values_list("trajectory_id", "probability"))
        at_random = {pk for pk, probability in probability_of.items() if probability is not None}
        fields = ("instruction", "messages", "tools", "group_key", "content_sha256", "external_id", "metadata")
        rows = [
            GoldRow(
                text=TrajectoryText(row.instruction, row.messages, row.tools),
                gold=_gold_of(row, values[row.pk]),
                content_sha256=row.content_sha256,
                effort=efforts.get(row.pk, Effort()),
                is_baseline=row.pk in at_random if has_rounds else is_in_half(row.external_id),
                is_chosen=row.pk in probability_of and row.pk not in at_random,
            )
            for row in chosen.only("n_steps", *fields).iterator(chunk_size=200)
        ]
    jobs.remember(job, n_gold=len(rows))
    return Snapshot(rows, "random slice" if has_rounds else "half by hash")


def _to_learn_from(project: Project, name: str) -> TrajectoryQuerySet:
    """What a training of the scorer with this name learns from or is measured on."""
    return gold_trajectories(project).exclude(pk__in=_flattering(project, name))


def _flattering(project: Project, name: str) -> list[int]:
    """Held-out trajectories that people judged with this scorer's suggestions in sight: it would measure itself."""
    seen = project.trajectories.filter(pk__in=in_sight(project).get(name, ()))
    return [pk for pk, task in seen.values_list("pk", "group_key") if is_held_out(task)]


def _values(chosen: TrajectoryQuerySet) -> dict[int, list[tuple[int, int]]]:
    """By trajectory: step index and value of people's gold."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    gold = GoldLabel.objects.by_people().filter(
        trajectory__in=chosen.values("pk"), step__isnull=False, value__isnull=False
    )
    for trajectory, index, value in gold.values_list("trajectory_id", "step__index", "value"):
        assert value is not None  # filtered above
        found[trajectory].append((index, value))
    return found


def _efforts(chosen: TrajectoryQuerySet) -> dict[int, Effort]:
    """By trajectory: what people's submitted labels on steps that have their gold have cost."""
    return by_trajectory(
        Label.objects.filter(
            annotation__trajectory__in=chosen.values("pk"),
            step__gold_labels__value__isnull=False,
            step__gold_labels__acceptance__isnull=True,
        )
    )


def _gold_of(row: Trajectory, given: list[tuple[int, int]]) -> GoldTrajectory:
    values, has_gold = np.zeros(row.n_steps, np.int64), np.zeros(row.n_steps, np.bool_)
    for index, value in given:
        values[index], has_gold[index] = value, True
    return GoldTrajectory(values, has_gold, row.group_key, str(row.metadata.get("data_source", "")))


@dataclass(frozen=True)
class Made:
    """One training as it is recorded; `identity` only where the version is kept."""

    n_trajectories: int
    n_steps: int
    effort_seconds: int
    metrics: dict[str, Any]
    facts: dict[str, JsonValue] = field(default_factory=dict)
    reason: str = ""
    is_kept: bool = False


def recorded(job: Job) -> LearningPoint | None:
    """What a worker that took this job before, and died, had recorded already."""
    points = job.project.learning_points.filter(facts__job=job.pk, is_baseline=False)
    return points.select_related("version").first()


@transaction.atomic
def record(
    job: Job, made: Made, baseline: Made | None, config: ScorerConfig, identity: actions.Identity
) -> LearningPoint:
    """Stores the points of a training, both or none, and the version if it is kept; the same job records once.

    Raises jobs.JobCancelled when somebody has cancelled the job: then nothing of this is stored.
    """
    jobs.advance(job.pk, 0)  # locks the job's row: another worker that was taken for dead comes second
    if before := recorded(job):
        return before
    version: ModelVersion | None = None
    if made.is_kept:
        data, sees = config.model_dump(mode="json"), actions.sees_reference(config)
        version = actions.version_of(job.project_id, config.kind, config.name, data, identity, sees_reference=sees)
    point = _store(job, made, version=version)
    if baseline is not None:
        _store(job, baseline, is_baseline=True)
    return point


def _store(job: Job, made: Made, *, version: ModelVersion | None = None, is_baseline: bool = False) -> LearningPoint:
    return LearningPoint.objects.create(
        project=job.project,
        version=version,
        is_baseline=is_baseline,
        is_kept=made.is_kept,
        n_trajectories=made.n_trajectories,
        n_steps=made.n_steps,
        effort_seconds=made.effort_seconds,
        metrics=made.metrics,
        facts={**made.facts, "job": job.pk},
        reason=made.reason,
    )


@transaction.atomic
def prelabel_rest(job: Job, config: ScorerConfig) -> PrelabelRun | None:
    """Has the new version score what it has not learnt from; None where there is nothing. The same job does it once.

    What it says of held-out tasks with gold tells the fusion, and the page of the raters, how far it can be believed.
    """
    if run := PrelabelRun.objects.filter(pk=job.params.get("prelabel_run")).first():
        return run
    selection = actions.Selection(gold="not_learnt")
    estimate = reading.estimate(job.project, config, selection)
    if not estimate["n_steps"]:
        return None
    run = actions.under_way(job.project, config) or actions.start(
        job.project, config, selection, estimate=estimate, user=job.created_by
    )
    jobs.remember(job, prelabel_run=run.pk)
    return run
