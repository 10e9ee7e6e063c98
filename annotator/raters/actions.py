"""Models against gold: reading what both say, calibrating what models say on what gold says."""

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from django.db import transaction
from django.db.models import OuterRef, Subquery

from annotator import audit
from annotator.agreement.coefficients import FloatArray
from annotator.agreement.labels import DOMAIN
from annotator.errors import InvalidInput
from annotator.models import (
    Annotation,
    Calibration,
    GoldLabel,
    ModelVersion,
    Prediction,
    Project,
    ReferenceLabel,
    ReleaseRow,
    SelectionPick,
    Trajectory,
    User,
)
from annotator.prelabelling.learning_policy import is_held_out
from annotator.raters import blind
from annotator.raters.calibrated import calibrated, non_negative
from annotator.raters.calibration import CumulativeLink, TooLittleGoldError, calibrate
from annotator.raters.metrics import GoldTrajectory, RaterComparison, compare

# What raters are measured by: what people settled here, or the labels that the imported files brought along.
Against = Literal["gold", "reference"]


@dataclass(frozen=True)
class Gold:
    """What raters are measured by: `gold[i]` is that of trajectory `ids[i]`.

    n_half: trajectories that are half settled and do not count. chosen, drawn: those that people got because a strategy
    of a selection round chose them, and by chance; without gold, too.
    """

    ids: list[int]
    gold: list[GoldTrajectory]
    n_half: int = 0
    chosen: frozenset[int] = frozenset()
    drawn: frozenset[int] = frozenset()

    @property
    def n_steps(self) -> int:
        return int(sum(one.has_gold.sum() for one in self.gold))

    @property
    def n_tasks(self) -> int:
        return len({one.group for one in self.gold})

    @property
    def n_chosen(self) -> int:
        return len(self.chosen.intersection(self.ids))

    def at_random(self) -> "Gold":
        """Only what rounds drew by chance: the one part that is like the project, whatever strategies chose."""
        return self.without(set(self.ids) - self.drawn)

    def without(self, trajectories: Set[int]) -> "Gold":
        kept = [i for i, pk in enumerate(self.ids) if pk not in trajectories]
        return replace(self, ids=[self.ids[i] for i in kept], gold=[self.gold[i] for i in kept])


def read_gold(project: Project, against: Against) -> Gold:
    """The settled values of steps; a step without one (undecidable, discarded, not labelled) has no gold.

    Of trajectories that are half settled nothing counts, for it would be the easy half.
    """
    half: set[int] = set()
    chosen: set[int] = set()
    drawn: set[int] = set()
    if against == "gold":
        half = set(project.trajectories.half_settled().values_list("pk", flat=True))
        chosen, drawn = SelectionPick.objects.chosen_and_drawn(project)
    labels = GoldLabel.objects.by_people() if against == "gold" else ReferenceLabel.objects.all()
    rows = labels.filter(trajectory__project=project, step__isnull=False, value__isnull=False)
    values: dict[int, list[tuple[int, int]]] = {}
    for trajectory, index, value in rows.values_list("trajectory", "step__index", "value").iterator(chunk_size=10_000):
        assert index is not None
        assert value is not None
        if trajectory in half:
            continue
        values.setdefault(trajectory, []).append((index, value))
    facts = Trajectory.objects.filter(pk__in=values).annotate(about=DOMAIN).order_by("pk")
    ids, gold = [], []
    for pk, n_steps, group, domain in facts.values_list("pk", "n_steps", "group_key", "about"):
        array = np.zeros(n_steps, dtype=np.int64)
        has = np.zeros(n_steps, dtype=bool)
        for index, value in values[pk]:
            array[index], has[index] = value, True
        ids.append(pk)
        gold.append(GoldTrajectory(array, has, group, domain or ""))
    return Gold(ids, gold, n_half=len(half), chosen=frozenset(chosen), drawn=frozenset(drawn))


def latest_versions(project: Project) -> list[ModelVersion]:
    """The latest version of every model of a project that gives values of its own.

    Rules make findings only; a fusion hears the others, and what it says where it learnt would flatter it.
    """
    newest = ModelVersion.objects.filter(project=project, name=OuterRef("name")).order_by("-number")
    versions = project.model_versions.filter(pk=Subquery(newest.values("pk")[:1]))
    return list(versions.exclude(kind__in=[ModelVersion.Kind.RULES, ModelVersion.Kind.FUSION]))


def learnt(version: ModelVersion) -> set[int]:
    """Trajectories that a scorer trained here may have learnt from, where its word would flatter it.

    All that was judged, in part or whole, before there was it; of one in the loop without the tasks that it holds out.
    And the rows of its release, for accepted labels teach, too, and need nobody's judgement.
    """
    if version.kind != ModelVersion.Kind.SCORER:
        return set()
    in_loop = "release" in version.config and version.config["release"] is None
    before = Annotation.objects.filter(trajectory__project=version.project_id, submitted_at__lt=version.created_at)
    rows = before.order_by().values_list("trajectory", "trajectory__group_key").distinct()
    released = ReleaseRow.objects.filter(
        release__project=version.project_id, release__number=version.config.get("release")
    )
    return {pk for pk, task in rows if not (in_loop and is_held_out(task))}.union(
        released.values_list("trajectory", flat=True)
    )


def unfair(versions: Sequence[ModelVersion], against: Against) -> list[set[int]]:
    """Of each version of one project: the trajectories by which it is not measured.

    Those that it may have learnt from and, against gold, those that people judged with its word in sight.
    """
    seen = blind.in_sight(versions[0].project) if versions and against == "gold" else {}
    return [learnt(version) | seen.get(version.name, set()) for version in versions]


def fair_gold(version: ModelVersion, against: Against) -> Gold:
    """What a version is measured by."""
    return read_gold(version.project, against).without(unfair([version], against)[0])


def probabilities(version: ModelVersion, gold: Gold) -> list[FloatArray | None]:
    """(n_steps, 3) for each trajectory, to be measured by its gold; None where the version has said nothing.

    If it is calibrated, by what has not seen the gold of the same task: otherwise it would look surer than it may be.
    """
    task = {pk: str(one.group) for pk, one in zip(gold.ids, gold.gold, strict=True)}
    calibration = version.calibrations.last()
    rows = Prediction.objects.filter(version=version, trajectory__in=gold.ids).values_list("trajectory", "probs")
    said = {pk: calibrated(probs, calibration, task[pk]) for pk, probs in rows.iterator(chunk_size=2_000)}
    return [said.get(pk) for pk in gold.ids]


def compare_models(
    project: Project, against: Against, *, only_drawn: bool = False
) -> tuple[Gold, dict[str, RaterComparison], list[ModelVersion]]:
    """The gold; every model's latest version against its fair part of it, by the version's name and number.

    only_drawn: the gold of trajectories that rounds drew by chance.
    """
    gold = read_gold(project, against)
    if only_drawn:
        gold = gold.at_random()
    versions = latest_versions(project)
    together: dict[frozenset[int], list[ModelVersion]] = {}  # on the same trajectories, with the same resamples
    for version, without in zip(versions, unfair(versions, against), strict=True):
        together.setdefault(frozenset(without.intersection(gold.ids)), []).append(version)
    compared: dict[str, RaterComparison] = {}
    for left_out, some in together.items():
        fair = gold.without(left_out)
        compared |= compare(fair.gold, {str(version): probabilities(version, fair) for version in some})
    return gold, compared, versions


@transaction.atomic
def fit(version: ModelVersion, against: Against, *, user: User | None) -> Calibration:
    """Fits and stores how this version's numbers become probabilities, on the gold that there is now.

    Raises InvalidInput with less than 25 trajectories that have both gold and an answer, or for rules.
    """
    if version.kind == ModelVersion.Kind.RULES:
        raise InvalidInput("Rules make findings, no probabilities: there is nothing to calibrate.")
    if version.kind == ModelVersion.Kind.FUSION:
        raise InvalidInput("A fusion is calibrated on gold already: fuse again to take in new gold.")
    gold = fair_gold(version, against)
    rows = Prediction.objects.filter(version=version, trajectory__in=gold.ids).values_list("trajectory", "probs")
    said = {pk: np.array(probs, dtype=np.float64) for pk, probs in rows}
    if version.kind == ModelVersion.Kind.DISCRIMINATIVE and _is_scalar(version):
        said = {pk: non_negative(probs) for pk, probs in said.items()}
    try:
        found = calibrate(gold.gold, [said.get(pk) for pk in gold.ids])
    except TooLittleGoldError as error:
        raise InvalidInput(str(error)) from None
    scalar = isinstance(found.calibrator, CumulativeLink)
    calibration = Calibration.objects.create(
        version=version,
        method=Calibration.Method.CUMULATIVE_LINK if scalar else Calibration.Method.TEMPERATURE,
        parameters=asdict(found.calibrator),
        n_trajectories=found.n_trajectories,
        n_steps=found.n_steps,
        report={
            "against": against,
            "before": asdict(found.before),
            "after": asdict(found.after),
            "folds": [asdict(one) for one in found.folds],
        },
    )
    data = {"version": str(version), "against": against, "n_trajectories": found.n_trajectories}
    audit.log("model.calibrated", calibration, user=user, project_id=version.project_id, data=data)
    return calibration


def _is_scalar(version: ModelVersion) -> bool:
    """Whether the model gives one number per step, P(not wrong), and the split of the rest is a guess."""
    return "neutral" not in version.config["map"]["outputs"]
