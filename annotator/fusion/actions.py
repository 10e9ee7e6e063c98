"""Fusing all raters of a project, and keeping what is believed about a trajectory up to date with every label."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import transaction
from django.db.models import Exists, Max, OuterRef
from django.utils.timezone import now

from annotator import audit, jobs
from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.errors import InvalidInput, JobConflict, JobFailed
from annotator.fusion import reading, suggestions
from annotator.fusion.chain import Chain
from annotator.fusion.panel import LEAST_GOLD, MISSING, N_VALUES
from annotator.fusion.people import People, learn_people, pair_potentials
from annotator.fusion.people import refresh as refreshed
from annotator.models import (
    Fusion,
    GoldLabel,
    Job,
    ModelVersion,
    Posterior,
    Prediction,
    Project,
    SelectionPick,
    Trajectory,
    User,
)
from annotator.models.importing import TrajectoryQuerySet
from annotator.raters.actions import latest_versions
from annotator.selection.acquisition import disagreement, doubt, entropy
from annotator.version import app_version

if TYPE_CHECKING:
    from annotator.fusion.fit import Fusion as Fitted
    from annotator.fusion.scoring import Score

SEED = 0
# Trajectories that are written in one transaction: people who label them wait for so long.
WRITTEN_AT_ONCE = 500
_BINS = 10  # of the histogram of certainty
_MOST_SOURCES = 50  # that a report names
# Raise it when the same data would come out differently: what was learnt before is not used again then.
_METHOD = 8


def start(project: Project, *, user: User | None) -> Job:
    """Queues a fusion. Raises InvalidInput where no model has spoken, JobConflict while one is under way."""
    spoke = Prediction.objects.filter(version__project=project).exclude(version__kind=ModelVersion.Kind.RULES)
    if not spoke.exists():
        raise InvalidInput(
            "Nothing was started: no model has given a value to any step yet. Run a model, or import what another "
            "tool's judge said."
        )
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).only("pk").get(pk=project.pk)
        if is_under_way(project):
            raise JobConflict("A fusion of this project is under way. Wait until it has ended, or cancel it.")
        if project.jobs.filter(kind=Job.Kind.SELECT, finished_at=None).exists():
            raise JobConflict(
                "A selection round of this project is under way, which fuses first if there is something to learn. "
                "Wait until it has ended, or cancel it."
            )
        return jobs.enqueue(project, Job.Kind.FUSE, {}, unit="trajectories", n_total=None, user=user)


def is_under_way(project: Project) -> bool:
    return project.jobs.filter(kind=Job.Kind.FUSE, finished_at=None).exists()


def n_settled_since(project: Project, fusion: Fusion) -> int:
    """Trajectories whose gold is newer than the fusion: what the next one would learn from."""
    # Also where what was disputed turned out to be undecidable: then the rest of it counts from now on.
    newer = GoldLabel.objects.by_people().filter(
        trajectory=OuterRef("pk"), step__isnull=False, settled_at__gt=fusion.created_at
    )
    return _learnable(project).filter(Exists(newer)).count()


def spoken_since(project: Project, fusion: Fusion) -> list[ModelVersion]:
    """Models that have said something since the fusion, by name: the next one would hear it."""
    heard = [version.pk for version in [*latest_versions(project), reading.latest_rules(project)] if version]
    said = Prediction.objects.filter(created_at__gt=fusion.created_at, version__in=heard)
    return list(ModelVersion.objects.filter(pk__in=said.values("version")).order_by("name"))


def is_worth_it(project: Project) -> bool:
    """Whether there is gold enough for a fusion, and the latest one does not know all that there is or was not written
    out.
    """
    if _learnable(project)[:LEAST_GOLD].count() < LEAST_GOLD:
        return False
    latest = project.fusions.defer("parameters").last()
    if latest is None:
        return True
    is_cut_short = latest.posteriors.count() < latest.report.get("n_trajectories", 0)  # cancelled while it was written
    return is_cut_short or n_settled_since(project, latest) > 0 or bool(spoken_since(project, latest))


def _learnable(project: Project) -> TrajectoryQuerySet:
    """Trajectories from which a fusion can learn: settled by people, not half of it, and a model has spoken of it."""
    spoken_of = Prediction.objects.filter(trajectory=OuterRef("pk"), version__in=latest_versions(project))
    return project.trajectories.to_learn_from().filter(Exists(spoken_of))


def fuse(job: Job) -> dict[str, Any]:
    """Learns from the gold that there is now, and writes down what is believed about every trajectory.

    It may be stopped anywhere: what is written is consistent trajectory by trajectory, and another run goes on.
    """
    from annotator.fusion.fit import Fusion as Fitted  # scikit-learn, which the web side has no use for
    from annotator.fusion.fit import fit

    begun = now()
    own = Fusion.objects.filter(job=job).first()  # of a worker that died while it wrote: this one goes on with it
    found = reading.read(job.project, None if own is None else list(own.versions.all()))
    if not found.ids:
        raise JobFailed("No model has given a value to any step of this project.")
    jobs.report(job, 0, len(found.ids))
    latest = own or job.project.fusions.last()
    of_now = (found.sha256, _code_version())
    if own is None and latest is not None and (latest.data_sha256, latest.code_version) != of_now:
        latest = None
    fitted = Fitted.from_bytes(bytes(latest.parameters)) if latest else fit(found.panel, SEED, found.ids)
    members = fitted.members(found.panel)
    evidence = fitted.unlearnt(found.ids, found.panel.starts, fitted.pooled(members))
    fusion = latest or _store(job, found, fitted, evidence, begun)
    if suggestions.are_wanted(job.project):
        suggestions.write(fusion, found, fitted)
        jobs.report(job, 0)
    apart = disagreement(members)
    n_done = 0
    starts = found.panel.starts
    for at in range(0, len(found.ids), WRITTEN_AT_ONCE):
        some = range(at, min(at + WRITTEN_AT_ONCE, len(found.ids)))
        steps = slice(starts[some[0]], starts[some[-1] + 1])
        _write(fusion, [found.ids[i] for i in some], evidence[steps], apart[steps])
        n_done += len(some)
        jobs.report(job, n_done)
    # A model whose version has gone, or a trajectory about which nobody speaks any more: nothing is believed there.
    Posterior.objects.filter(project=job.project).exclude(trajectory__in=found.ids).delete()
    return {
        "fusion": fusion.pk,
        "number": fusion.number,
        "method": fusion.method,
        "is_new": fusion.job_id == job.pk,
        "n": n_done,
    }


def refresh(trajectory_id: int) -> bool:
    """Takes in what people have said and settled of a trajectory; False where no fusion speaks of it yet.

    Call it in the transaction that holds the trajectory's row: a fusion that is being written waits for the same row.
    """
    posterior = Posterior.objects.select_related("fusion").defer("fusion__parameters", "fusion__report").filter(
        trajectory=trajectory_id
    ).first()  # fmt: skip
    if posterior is None:
        return False
    evidence = np.array(posterior.evidence)
    place, starts = {trajectory_id: 0}, np.array([0, len(evidence)])
    chain, links, people = _habits(posterior.fusion)
    turns, labels = reading.turns_of(place, starts), reading.labels_of(place, starts)
    gold = reading.gold_of(place, starts).astype(np.int64)
    beliefs = refreshed(starts, evidence, chain, links, turns, labels, people, gold)
    _fill(posterior, beliefs.probs, beliefs.first_error)
    posterior.save(update_fields=[*_FIELDS, "updated_at"])
    return True


@transaction.atomic
def _store(job: Job, found: reading.Read, fitted: "Fitted", evidence: FloatArray, at: datetime) -> Fusion:
    """at: before what it learns from was read, so that what people settle while it learns counts as newer."""
    place = {pk: i for i, pk in enumerate(found.ids)}
    starts = found.panel.starts
    # A bare majority is no measure of anybody.
    labels = [] if fitted.method == "majority" else reading.labels_of(place, starts)
    # Nor is anybody known by what they decided themselves.
    own = reading.own_decisions(place, starts)
    labels = [label for label in labels if label[:2] not in own]
    people = learn_people(evidence, labels, reading.gold_of(place, starts, decided_only=True).astype(np.int64))
    learnt = {found.ids[i] for i in found.panel.fair()[0]}
    chosen, _ = SelectionPick.objects.chosen_and_drawn(job.project)
    number = (job.project.fusions.aggregate(n=Max("number"))["n"] or 0) + 1
    fusion = Fusion.objects.create(
        project=job.project,
        job=job,
        number=number,
        method=fitted.method,
        reason=fitted.reason,
        parameters=fitted.to_bytes(),
        refresh={
            "start": fitted.chain.start.tolist(),
            "transition": fitted.chain.transition.tolist(),
            "strength": fitted.strength,
            "pooled": people.pooled.tolist(),
            "own": {str(who): rows.tolist() for who, rows in people.own.items()},
        },
        report={
            "scores": {name: _plain(score) for name, score in fitted.scores.items()},
            "intervals": fitted.intervals,
            "reliability": [asdict(one) for one in fitted.reliability],
            "certainty": np.histogram(evidence.max(axis=1), bins=_BINS, range=(0.0, 1.0))[0].tolist(),
            "sources": _sources(found),
            "n_trajectories": len(found.ids),
            "n_steps": found.panel.n_steps,
            "n_seen": found.panel.n_seen,
            "n_chosen": len(learnt & chosen),
            "rules": "" if found.rules is None else str(found.rules),
        },
        n_trajectories=fitted.n_trajectories,
        n_steps=fitted.n_steps,
        data_sha256=found.sha256,
        seed=SEED,
        code_version=_code_version(),
        created_at=at,
    )
    fusion.versions.set(found.versions)
    data = {"number": number, "method": fitted.method, "n_trajectories": fitted.n_trajectories}
    audit.log("fusion.fitted", fusion, user=job.created_by, project_id=job.project_id, data=data)
    return fusion


def _sources(found: reading.Read) -> list[dict[str, Any]]:
    """How many trajectories come from where, the most first, and of how many of them there is gold."""
    n, n_gold = Counter(found.sources), Counter[str]()
    for source, has_gold in zip(found.sources, found.panel.has_gold, strict=True):
        n_gold[source] += int(has_gold)
    return [
        {"name": name, "n_trajectories": count, "n_gold": n_gold[name]} for name, count in n.most_common(_MOST_SOURCES)
    ]


def _code_version() -> str:
    return f"{app_version()}+{_METHOD}"


def _plain(score: "Score") -> dict[str, float | None]:
    """As JSON: no number is null."""
    return {name: None if math.isnan(value) else value for name, value in asdict(score).items()}


@transaction.atomic
def _write(fusion: Fusion, ids: Sequence[int], evidence: FloatArray, apart: FloatArray) -> None:
    """Everything about these trajectories, with what people have said by now.

    Their rows are locked first, as whoever submits or decides does: a label is either seen here, or its own refresh
    comes after this.
    """
    Trajectory.objects.lock(ids)
    ordered, starts = reading.starts_of(ids)
    place = {pk: i for i, pk in enumerate(ordered)}
    chain, links, people = _habits(fusion)
    turns, labels = reading.turns_of(place, starts), reading.labels_of(place, starts)
    gold = reading.gold_of(place, starts).astype(np.int64)
    beliefs = refreshed(starts, evidence, chain, links, turns, labels, people, gold)
    probs = beliefs.probs.copy()
    quiet = _untouched(starts, labels, gold)
    probs[quiet] = evidence[quiet]
    rows = []
    for i, pk in enumerate(ordered):
        steps = slice(starts[i], starts[i + 1])
        row = Posterior(trajectory_id=pk, project_id=fusion.project_id, fusion=fusion)
        row.evidence = evidence[steps].tolist()
        row.disagreement = float(apart[steps].mean()) if steps.stop > steps.start else 0.0
        _fill(row, probs[steps], beliefs.first_error[starts[i] + i : starts[i + 1] + i + 1])
        rows.append(row)
    Posterior.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["trajectory"],
        update_fields=["project", "fusion", "evidence", "disagreement", *_FIELDS, "updated_at"],
    )


_FIELDS = ["probs", "first_error", "expected_errors", "mean_entropy", "first_error_entropy"]


def _fill(row: Posterior, probs: FloatArray, first_error: FloatArray) -> None:
    row.probs, row.first_error = probs.tolist(), first_error.tolist()
    row.expected_errors = float(doubt(probs).sum()) if len(probs) else 0.0
    row.mean_entropy = float(entropy(probs).mean()) if len(probs) else 0.0
    row.first_error_entropy = float(entropy(first_error) / np.log(len(first_error))) if len(probs) else 0.0
    row.updated_at = now()


def _untouched(starts: IntArray, labels: Sequence[tuple[int, int, int]], gold: IntArray) -> IntArray:
    """Steps of trajectories of which nothing is known: there the models' word stands to the last digit."""
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    touched = np.zeros(len(starts) - 1, dtype=bool)
    touched[owner[gold != MISSING]] = True
    touched[owner[[step for step, _, _ in labels]]] = True
    return np.flatnonzero(~touched[owner])


def _habits(fusion: Fusion) -> tuple[Chain, Chain, People]:
    """The chain, what carries known labels along it, and people's habits."""
    kept = fusion.refresh
    # Those before them made no difference where a turn begins.
    transition = np.array(kept["transition"]).reshape(-1, N_VALUES, N_VALUES)
    chain = Chain(np.array(kept["start"]), np.broadcast_to(transition, (2, N_VALUES, N_VALUES)))
    # Fusions of earlier versions kept what carries labels in place of the chain.
    links = pair_potentials(chain, kept["strength"]) if "strength" in kept else chain
    return (
        chain,
        links,
        People(np.array(kept["pooled"]), {int(who): np.array(rows) for who, rows in kept["own"].items()}),
    )
