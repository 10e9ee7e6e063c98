"""Pre-label runs: started by people, shared by workers, stored trajectory by trajectory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Literal

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum
from django.utils.timezone import now
from pydantic import BaseModel, ConfigDict, Field

from annotator import audit, jobs
from annotator.errors import InvalidInput, JobConflict, JobFailed, parsed
from annotator.models import (
    GoldLabel,
    Job,
    ModelVersion,
    Prediction,
    PrelabelRun,
    PrelabelTarget,
    Project,
    Trajectory,
    User,
)
from annotator.prelabelling import names
from annotator.prelabelling.configs import ModelConfig, from_data, known_by
from annotator.prelabelling.judge_config import JudgeConfig
from annotator.prelabelling.learning_policy import is_held_out
from annotator.prelabelling.rules_config import RulesConfig
from annotator.prelabelling.scorer_config import ScorerConfig
from annotator.prelabelling.scores import ScoringError, TrajectoryScores, TrajectoryText

Status = PrelabelTarget.Status

# A worker that was killed keeps its trajectories from the others for so long; everything it stores renews that.
LEASE = timedelta(minutes=10)
# How many trajectories a worker claims at a time: batches need many, and a killed worker should not hold all.
CLAIMED_AT_ONCE = 64
# A judge waits for its endpoint, often for hours: it would keep imports and housekeeping waiting.
_QUEUES = {
    "discriminative": Job.Queue.GPU,
    "scorer": Job.Queue.GPU,
    "judge": Job.Queue.JUDGES,
    "rules": Job.Queue.DEFAULT,
}


class Selection(BaseModel):
    """Which trajectories of the project a run is for, of those that the version has not scored yet.

    gold `not_learnt`: those without gold, and those of tasks that a scorer in the loop only measures itself on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gold: Literal["any", "with", "without", "not_learnt"] = "any"
    ids: str = Field(default="", max_length=200)  # part of the external id
    limit: int | None = Field(default=None, ge=1)  # the first so many that are left

    @classmethod
    def parse(cls, data: object) -> "Selection":
        """Raises InvalidInput that names each wrong field."""
        return parsed(cls, data, "The selection does not fit.", "filter", raises=InvalidInput)

    def of(self, project: Project, *, unscored_by: ModelVersion | None = None) -> QuerySet[Trajectory]:
        chosen = project.trajectories.filter(external_id__contains=self.ids) if self.ids else project.trajectories.all()
        if self.gold != "any":
            has_gold = Exists(GoldLabel.objects.by_people().filter(trajectory=OuterRef("pk"), step__isnull=False))
            wanted = Q(has_gold) if self.gold == "with" else ~Q(has_gold)
            if self.gold == "not_learnt":
                tasks = chosen.filter(has_gold).order_by().values_list("group_key", flat=True).distinct()
                wanted |= Q(group_key__in=[task for task in tasks if is_held_out(task)])
            chosen = chosen.filter(wanted)
        if unscored_by is not None:
            chosen = chosen.filter(~Exists(Prediction.objects.filter(version=unscored_by, trajectory=OuterRef("pk"))))
        chosen = chosen.order_by("id")
        return chosen[: self.limit] if self.limit else chosen


@dataclass(frozen=True)
class Identity:
    """What makes a model version: hashes of its config, its weights and its way to render a trajectory."""

    config_sha256: str
    weights_sha256: str = ""
    render_sha256: str = ""


def sees_reference(config: ModelConfig) -> bool:
    """Whether the model reads the reference answer or the outcome; what it says then is no blind judgement."""
    if isinstance(config, RulesConfig):
        return "R9" not in config.off
    return isinstance(config, (JudgeConfig, ScorerConfig)) and config.mode == "with_reference"


@transaction.atomic
def start(
    project: Project, config: ModelConfig, selection: Selection, *, estimate: dict[str, Any], user: User | None
) -> PrelabelRun:
    """Queues a run. Raises JobConflict while one of the same version is under way: both would score, and pay for, the
    same trajectories. Raises InvalidInput when the selection holds none, or the name is another model's.
    """
    Project.objects.select_for_update(no_key=True).only("pk").get(pk=project.pk)  # one at a time
    if busy := under_way(project, config):
        raise JobConflict(
            f"Nothing was started: {config.name} is under way already, as run {busy.pk}. Wait until that has ended, or "
            f"cancel it: its job is number {busy.job_id}."
        )
    if taken := names.why_taken(project.pk, config.name, config.kind):
        raise InvalidInput(f"Nothing was started: {taken}", {"model": taken})
    chosen = selection.of(project)
    sums = Trajectory.objects.filter(pk__in=chosen.values("pk")).aggregate(steps=Sum("n_steps"))
    if not sums["steps"]:
        raise InvalidInput(
            "Nothing was started: the selection holds no trajectory of this project.", {"filter": "Empty."}
        )
    queue = _QUEUES[config.kind]
    params = {"name": config.name}
    job = jobs.create(project, Job.Kind.PRELABEL, params, unit="steps", n_total=sums["steps"], user=user, queue=queue)
    run = PrelabelRun.objects.create(
        project=project,
        job=job,
        model_name=config.name,
        config=config.model_dump(mode="json"),
        selection=selection.model_dump(mode="json"),
        estimate=estimate,
    )
    audit.log("prelabel.started", run, user=user, project_id=project.pk, data={"model": config.name, "job": job.pk})
    # Several workers may share what needs a GPU. A judge's limits (requests at once, money) are those of one process.
    n_workers = settings.PRELABEL_WORKERS if queue == Job.Queue.GPU else 1
    transaction.on_commit(partial(jobs.send, job.pk, n_workers=n_workers))
    return run


def under_way(project: Project, config: ModelConfig) -> PrelabelRun | None:
    """The run of this model, with this content of its file, that has not ended yet."""
    runs = PrelabelRun.objects.filter(project=project, model_name=config.name, job__finished_at=None)
    known = known_by(config)
    return next((run for run in runs if known_by(from_data(run.config, "the model file of the run")) == known), None)


def expected_version(project: Project, config: ModelConfig) -> ModelVersion | None:
    """The version that a run of now would belong to, if one like it has run: a worker that loads the model knows.

    It is that of the latest run of the same model file; for a judge, of those since its guideline was saved.
    """
    runs = PrelabelRun.objects.filter(project=project, model_name=config.name)
    runs = runs.filter(**{f"version__{name}": sha256 for name, sha256 in known_by(config).items()})
    guideline = project.guidelines.first()
    if isinstance(config, JudgeConfig) and guideline is not None:
        runs = runs.filter(job__queued_at__gte=guideline.created_at)
    latest = runs.select_related("version").order_by("-id").first()
    return latest.version if latest else None


def version_of(
    project_id: int, kind: str, name: str, config: dict[str, Any], identity: Identity, *, sees_reference: bool
) -> ModelVersion:
    """The version of a model with this content, made if it is new; call it in a transaction.

    Raises JobFailed when another model has taken the name meanwhile.
    """
    Project.objects.select_for_update(no_key=True).only("pk").get(pk=project_id)  # numbers count one by one
    versions = ModelVersion.objects.filter(project=project_id, name=name)
    if version := versions.filter(**vars(identity)).first():
        return version
    if taken := names.why_taken(project_id, name, kind):
        raise JobFailed(taken)
    return ModelVersion.objects.create(
        project_id=project_id,
        kind=kind,
        name=name,
        number=versions.count() + 1,
        config=config,
        sees_reference=sees_reference,
        **vars(identity),
    )


@transaction.atomic
def attach_version(run: PrelabelRun, config: ModelConfig, identity: Identity) -> ModelVersion:
    """The version that this run's predictions belong to, made if it is new.

    Raises JobFailed when this worker's model is not the one that the run began with.
    """
    data, sees = config.model_dump(mode="json"), sees_reference(config)
    version = version_of(run.project_id, config.kind, config.name, data, identity, sees_reference=sees)
    current = PrelabelRun.objects.values_list("version", flat=True).get(pk=run.pk)
    if current not in (None, version.pk):
        raise JobFailed(
            f"The {config.name} of this worker is not the one that the run began with: its weights, or how it reads a "
            "trajectory, differ. Give all workers the same checkpoint and the same version of Stepmark, then start the "
            "model again."
        )
    PrelabelRun.objects.filter(pk=run.pk).update(version=version)
    run.version = version
    return version


@transaction.atomic
def plan(run: PrelabelRun) -> None:
    """Makes a target of every selected trajectory that the version has not scored; doing it again changes nothing."""
    PrelabelRun.objects.select_for_update().only("pk").get(pk=run.pk)
    if not run.targets.exists():
        missing = Selection.parse(run.selection).of(run.project, unscored_by=run.version)
        ids = missing.values_list("pk", flat=True).iterator(chunk_size=5_000)
        targets = (PrelabelTarget(run=run, trajectory_id=pk) for pk in ids)
        PrelabelTarget.objects.bulk_create(targets, batch_size=5_000)
    n_done, n_total = progress(run)
    Job.objects.filter(pk=run.job_id).update(n_total=n_total or 0, n_done=n_done)


def progress(run: PrelabelRun) -> tuple[int, int | None]:
    """Steps of the trajectories that have ended, and of all; of all is not known before the run is planned."""
    steps = "trajectory__n_steps"
    sums = run.targets.aggregate(done=Sum(steps, filter=_ended), total=Sum(steps))
    return sums["done"] or 0, sums["total"]


_ended = Q(status__in=[Status.DONE, Status.FAILED])


def claimed(run: PrelabelRun, worker: str, *, with_reference: bool) -> Iterator[tuple[int, TrajectoryText]]:
    """Claims what is left of a run bit by bit and hands it out by trajectory id; nothing is handed out twice.

    Not to the same worker either, however long it leaves something unscored.
    """
    while ids := _claim(run, worker):
        rows = Trajectory.objects.filter(pk__in=ids).order_by("id")
        for row in rows.only("instruction", "messages", "tools", *(["reference", "outcome"] if with_reference else [])):
            yield (
                row.pk,
                TrajectoryText(
                    instruction=row.instruction,
                    messages=row.messages,
                    tools=row.tools,
                    reference=row.reference if with_reference else None,
                    outcome=row.outcome if with_reference else None,
                ),
            )


@transaction.atomic
def _claim(run: PrelabelRun, worker: str) -> list[int]:
    lapsed = Q(status=Status.CLAIMED, lease_expires_at__lt=now()) & ~Q(worker=worker)
    free = run.targets.filter(Q(status=Status.WAITING) | lapsed)
    locked = free.select_for_update(skip_locked=True, of=("self",)).order_by("id")
    targets = list(locked.values_list("pk", "trajectory_id")[:CLAIMED_AT_ONCE])
    PrelabelTarget.objects.filter(pk__in=[pk for pk, _ in targets]).update(
        status=Status.CLAIMED, worker=worker, lease_expires_at=now() + LEASE
    )
    return [trajectory_id for _, trajectory_id in targets]


Result = tuple[int, TrajectoryScores | ScoringError]


@transaction.atomic
def store(run: PrelabelRun, worker: str, results: Sequence[Result], *, cost: Decimal = Decimal(0)) -> None:
    """Stores what a worker has scored, with the run's counts, and renews its claims.

    What is no longer its own (its lease ran out, and another has claimed it) is left to the other. A result whose
    steps are not those of the trajectory fails that trajectory; it is never stored shifted.
    Raises jobs.JobCancelled when somebody has cancelled the job: then nothing of this is stored.
    """
    version_id = run.version_id
    assert version_id is not None, "a run is scored only after attach_version"
    mine = run.targets.filter(worker=worker, status=Status.CLAIMED)
    locked = mine.select_for_update(of=("self",)).filter(trajectory__in=[key for key, _ in results])
    targets = {
        target.trajectory_id: target
        for target in locked.select_related("trajectory").only(
            "run", "status", "error", "worker", "lease_expires_at", "trajectory__n_steps"
        )
    }
    predictions = []
    for key, result in results:
        target = targets.get(key)
        if target is None:
            continue
        target.status, target.lease_expires_at = Status.DONE, None
        n_steps = target.trajectory.n_steps
        if isinstance(result, ScoringError):
            target.status, target.error = Status.FAILED, str(result)
        elif len(result.rationales) != n_steps:
            target.status = Status.FAILED
            target.error = f"The model gave {len(result.rationales)} scores for {n_steps} steps; none was stored."
        else:
            predictions.append(prediction_of(version_id, key, result, run=run))
    PrelabelTarget.objects.bulk_update(targets.values(), ["status", "error", "lease_expires_at"])
    Prediction.objects.bulk_create(predictions, ignore_conflicts=True)  # another run of the same version was faster
    mine.update(lease_expires_at=now() + LEASE)
    PrelabelRun.objects.filter(pk=run.pk).update(
        n_steps_done=F("n_steps_done") + sum(len(each.probs) for each in predictions),
        n_tokens=F("n_tokens") + sum(each.n_tokens for each in predictions),
        n_dropped_tokens=F("n_dropped_tokens") + sum(each.n_dropped_tokens for each in predictions),
        cost=F("cost") + cost,
    )
    jobs.advance(run.job_id, sum(target.trajectory.n_steps for target in targets.values()))


def prediction_of(
    version_id: int,
    trajectory_id: int,
    scores: TrajectoryScores,
    *,
    run: PrelabelRun | None = None,
    outcome: int | None = None,
) -> Prediction:
    """Scores as a row that is not stored yet."""
    return Prediction(
        version_id=version_id,
        trajectory_id=trajectory_id,
        run=run,
        probs=[_storable(row) for row in scores.probs],
        raw=None if scores.raw is None else _storable(scores.raw),
        spread=None if scores.spread is None else _storable(scores.spread),
        rationales=scores.rationales,
        outcome=outcome,
        findings=list(scores.findings),
        n_tokens=scores.n_tokens,
        n_dropped_tokens=scores.n_dropped_tokens,
        first_truncated_step=scores.first_truncated_step,
        first_extrapolated_step=scores.first_extrapolated_step,
        note=scores.note,
    )


def _storable(numbers: np.ndarray) -> list[float | None]:
    """NaN as null: JSON knows no NaN."""
    return [None if np.isnan(number) else float(number) for number in numbers]


def release(run: PrelabelRun, worker: str) -> None:
    """Gives back what a worker has claimed and will not score."""
    run.targets.filter(worker=worker, status=Status.CLAIMED).update(
        status=Status.WAITING, worker="", lease_expires_at=None
    )


def is_complete(run: PrelabelRun) -> bool:
    return not run.targets.exclude(_ended).exists()


def summary(run: PrelabelRun) -> dict[str, Any]:
    """What a finished run can show: counts of trajectories, steps and tokens, and what it cost."""
    run.refresh_from_db()
    return {
        "version": str(run.version),
        "n_trajectories": run.targets.filter(status=Status.DONE).count(),
        "n_failed": run.targets.filter(status=Status.FAILED).count(),
        "n_steps": run.n_steps_done,
        "n_tokens": run.n_tokens,
        "n_dropped_tokens": run.n_dropped_tokens,
        "cost": str(run.cost),
    }
