"""What people see of models and their runs: estimates before a run, how far one is, what there is."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, F, QuerySet, Sum, TextField
from django.db.models.functions import Cast, Length
from django.utils.timezone import now

from annotator.models import Guideline, Job, ModelVersion, Prediction, PrelabelRun, PrelabelTarget, Project, Trajectory
from annotator.prelabelling.actions import Selection, expected_version
from annotator.prelabelling.configs import ModelConfig
from annotator.prelabelling.judge_config import JudgeConfig
from annotator.prelabelling.judge_costs import PROMPT_BYTES, TOKENS_PER_BYTE
from annotator.prelabelling.judge_costs import estimate as estimate_judge
from annotator.prelabelling.rules_config import RulesConfig

# The size of a selection is estimated from so many of its trajectories.
SAMPLED = 200
# The pace of a run is that of its last minute.
PACE = timedelta(minutes=1)
MOST_FAILURES = 50
# A worker that scores is heard of every few seconds.
QUIET = timedelta(seconds=30)


def estimate(project: Project, config: ModelConfig, selection: Selection) -> dict[str, Any]:
    """What a run over the selection is expected to take: trajectories, steps, tokens, money and seconds.

    What the model has scored already is left out. Money is null without a price in the model file, seconds are null
    until a run of this model has been measured. n_unasked: those that give a judge with reference nothing to go by; it
    abstains there without a request.
    """
    missing = selection.of(project, unscored_by=expected_version(project, config))
    chosen = Trajectory.objects.filter(pk__in=missing.values("pk"))
    n_trajectories, n_steps = _size(chosen)
    asked = chosen
    if isinstance(config, JudgeConfig) and config.mode == "with_reference":
        asked = chosen.exclude(reference__isnull=True, outcome__isnull=True)
    n_asked, n_steps_asked = _size(asked)
    characters = Length(Cast("messages", TextField())) + Length(Cast("tools", TextField()))
    sample = list(asked.order_by("id").annotate(size=characters).values_list("size", flat=True)[:SAMPLED])
    n_characters = round(sum(sample) / len(sample) * n_asked) if sample else 0
    found: dict[str, Any] = {
        "n_trajectories": n_trajectories,
        "n_steps": n_steps,
        "n_unasked": n_trajectories - n_asked,
        "n_tokens": 0 if isinstance(config, RulesConfig) else round(n_characters * TOKENS_PER_BYTE),
        "money": None,
        "currency": None,
    }
    if isinstance(config, JudgeConfig):
        guideline = Guideline.objects.filter(project=project).first()
        around = PROMPT_BYTES + (len(guideline.text.encode()) if guideline else 0)
        costs = estimate_judge(
            config,
            n_trajectories=n_asked,
            n_steps=n_steps_asked,
            prompt_bytes=n_characters + around * n_asked,
        )
        found["n_tokens"] = costs.input_tokens + costs.output_tokens
        if costs.money is not None and config.price is not None:
            found["money"], found["currency"] = f"{costs.money:.2f}", config.price.currency
    pace = _measured_pace(project, config.name)
    return {**found, "seconds": round(n_steps / pace) if pace else None}


def _size(chosen: QuerySet[Trajectory]) -> tuple[int, int]:
    """How many trajectories, and how many steps they have together."""
    sums = chosen.aggregate(n=Count("pk"), n_steps=Sum("n_steps"))
    return sums["n"], sums["n_steps"] or 0


def _measured_pace(project: Project, name: str) -> float | None:
    """Steps per second of the latest run of the model that ended well, in any project of this installation."""
    ended = PrelabelRun.objects.filter(model_name=name, job__status=Job.Status.DONE, n_steps_done__gt=0)
    run = ended.select_related("job").order_by("-id").first()
    if run is None or run.job.started_at is None or run.job.finished_at is None:
        return None
    seconds = (run.job.finished_at - run.job.started_at).total_seconds()
    return run.n_steps_done / seconds if seconds > 0 else None


@dataclass(frozen=True)
class RunPage:
    """A run as its page shows it; paces are per second over the last minute, None when nothing came in."""

    run: PrelabelRun
    job: Job
    n_done: int
    n_failed: int
    n_waiting: int
    n_workers: int
    steps_per_second: float | None
    tokens_per_second: float | None
    failures: list[PrelabelTarget]
    currency: str

    @property
    def seconds_left(self) -> int | None:
        if not self.steps_per_second or self.job.n_total is None:
            return None
        return round((self.job.n_total - self.job.n_done) / self.steps_per_second)

    @property
    def silent_seconds(self) -> int | None:
        """Since the last sign of life, once that is longer ago than usual."""
        heard = self.job.heartbeat_at
        silence = now() - heard if heard and self.job.status == Job.Status.RUNNING else QUIET
        return round(silence.total_seconds()) if silence > QUIET else None


def run_page(run: PrelabelRun) -> RunPage:
    """Everything is read from rows that workers have committed; nothing is extrapolated but the time that is left."""
    status = PrelabelTarget.Status
    counts = dict(run.targets.order_by().values_list("status").annotate(Count("pk")))
    held = run.targets.filter(status=status.CLAIMED, lease_expires_at__gte=now())
    job = run.job
    since = max(now() - PACE, job.started_at or now())
    recent = Prediction.objects.filter(run=run, created_at__gte=since).aggregate(
        steps=Sum("trajectory__n_steps"), tokens=Sum("n_tokens")
    )
    seconds = (now() - since).total_seconds()
    runs_now = job.status == Job.Status.RUNNING and seconds > 1 and recent["steps"]
    price = run.config.get("price") or {}
    return RunPage(
        run=run,
        job=job,
        n_done=counts.get(status.DONE, 0),
        n_failed=counts.get(status.FAILED, 0),
        n_waiting=counts.get(status.WAITING, 0) + counts.get(status.CLAIMED, 0),
        n_workers=held.order_by().values("worker").distinct().count(),
        steps_per_second=recent["steps"] / seconds if runs_now else None,
        tokens_per_second=recent["tokens"] / seconds if runs_now else None,
        failures=list(
            run.targets.filter(status=status.FAILED)
            .select_related("trajectory")
            .only("error", "trajectory__external_id")
            .order_by("id")[:MOST_FAILURES]
        ),
        currency=price.get("currency", ""),
    )


@dataclass(frozen=True)
class VersionRow:
    version: ModelVersion
    n_trajectories: int
    n_truncated: int
    n_noted: int
    is_calibrated: bool


def versions_of(project: Project) -> list[VersionRow]:
    """The model versions that have spoken in a project, with how much they said."""
    predictions = Prediction.objects.filter(version__project=project).order_by()
    said = {
        pk: (n, n_truncated)
        for pk, n, n_truncated in predictions.values_list("version").annotate(
            n=Count("pk"), truncated=Count("first_truncated_step")
        )
    }
    noted = dict(predictions.exclude(note="").values_list("version").annotate(Count("pk")))
    own = project.model_versions.exclude(kind=ModelVersion.Kind.FUSION)  # the page Beliefs shows that
    versions = own.annotate(n_calibrations=Count("calibrations")).order_by("name", "-number")
    return [
        VersionRow(
            version,
            n_trajectories=said.get(version.pk, (0, 0))[0],
            n_truncated=said.get(version.pk, (0, 0))[1],
            n_noted=noted.get(version.pk, 0),
            is_calibrated=version.n_calibrations > 0 or version.config.get("is_calibrated", False),
        )
        for version in versions
    ]


def runs_of(project: Project, most: int) -> list[PrelabelRun]:
    runs = project.prelabel_runs.select_related("job", "job__created_by", "version").defer("config", "job__result")
    return list(runs.order_by(F("id").desc())[:most])
