"""What all raters of a project say, as a panel; what people said and what is settled, as numbers."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray
from annotator.fusion.panel import LEANINGS, MISSING, N_VALUES, Panel, leanings, relative_lengths
from annotator.models import Adjudication, GoldLabel, ModelVersion, Prediction, Project, Step, Trajectory
from annotator.raters import blind
from annotator.raters.actions import latest_versions, learnt
from annotator.raters.calibrated import calibrated

_LABELS = 20_000  # ids in one query


@dataclass(frozen=True)
class Read:
    """The panel, the trajectory that each row of it is, and the model versions that are its raters.

    rules: the version whose findings are the panel's context, or None. said_outcome (n,): how each trajectory ended by
    the models' word alone; NaN where none says so. sources (n,): what each comes from, as its `data_source` says; empty
    where it says nothing.
    """

    ids: list[int]
    panel: Panel
    versions: list[ModelVersion]
    rules: ModelVersion | None
    said_outcome: FloatArray
    sources: list[str]

    @property
    def sha256(self) -> str:
        """Of everything that a fusion learns from."""
        digest = hashlib.sha256()
        panel = self.panel
        seen = np.zeros(0, dtype=np.bool_) if panel.seen is None else panel.seen
        for array in (
            np.array(self.ids),
            panel.starts,
            panel.probs,
            panel.gold,
            panel.outcome,
            panel.begins_turn,
            panel.context,
            seen,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        for version in self.versions:
            digest.update(f"{version.pk} ".encode())
        for text in panel.texts:
            digest.update(text.encode())
        return digest.hexdigest()


def read(project: Project, versions: Sequence[ModelVersion] | None = None, *, as_said: bool = False) -> Read:
    """Trajectories about which a model has said something, in the order of their ids, with people's gold.

    versions: those to hear, by default the latest of every model. as_said: without the calibration that was fitted on
    gold, without the findings of rules, which may be there of some trajectories only, and with lengths as they are and
    not among those of the source, which every import changes; and with the gold of those that are half settled.
    """
    versions = latest_versions(project) if versions is None else list(versions)
    spoken_of = Prediction.objects.filter(version__in=versions).values("trajectory")
    facts = project.trajectories.filter(pk__in=spoken_of).order_by("pk")
    rows = list(facts.values_list("pk", "n_steps", "group_key", "outcome", "metadata__data_source"))
    ids = [pk for pk, *_ in rows]
    starts = np.concatenate([[0], np.cumsum([n for _, n, *_ in rows])]).astype(np.int64)
    place = {pk: i for i, pk in enumerate(ids)}
    n_steps = int(starts[-1])
    probs = np.full((n_steps, len(versions), N_VALUES), np.nan, dtype=np.float32)
    texts: list[list[str]] = [[] for _ in range(n_steps)]
    outcomes: list[list[int]] = [[] for _ in ids]
    in_sight, seen = blind.in_sight(project), np.zeros((len(ids), len(versions)), dtype=np.bool_)
    for rater, version in enumerate(versions):
        calibration = None if as_said else version.calibrations.last()
        # On what it learnt from a scorer would look better than it is, and be believed too much everywhere else.
        by_heart = learnt(version)
        seen[[place[pk] for pk in in_sight.get(version.name, ()) if pk in place], rater] = True
        predictions = Prediction.objects.filter(version=version).values_list(
            "trajectory", "probs", "rationales", "outcome"
        )
        for pk, stored, rationales, outcome in predictions.iterator(chunk_size=2_000):
            if pk in by_heart:
                continue
            i = place[pk]
            probs[starts[i] : starts[i + 1], rater] = calibrated(stored, calibration)
            for t, rationale in enumerate(rationales[: starts[i + 1] - starts[i]]):
                if rationale:
                    texts[starts[i] + t].append(rationale)
            if outcome is not None:
                outcomes[i].append(outcome)
    said = [float(np.mean(models)) if models else float("nan") for models in outcomes]
    ended = [one if reward is None else reward for (_, _, _, reward, _), one in zip(rows, said, strict=True)]
    sources = [str(source or "") for *_, source in rows]
    half = set() if as_said else set(project.trajectories.half_settled().values_list("pk", flat=True))
    rules = None if as_said else latest_rules(project)
    lengths = np.diff(starts)
    tasks: dict[str, int] = {}
    panel = Panel(
        raters=tuple(str(version) for version in versions),
        starts=starts,
        probs=probs,
        gold=gold_of({pk: i for pk, i in place.items() if pk not in half}, starts),
        groups=np.array([tasks.setdefault(group, len(tasks)) for _, _, group, *_ in rows], dtype=np.int64),
        relative_length=lengths / (lengths + 1.0) if as_said else relative_lengths(lengths, sources),
        texts=[" ".join(one) for one in texts],
        outcome=np.array(ended, dtype=np.float64),
        begins_turn=turns_of(place, starts),
        context=np.zeros((n_steps, 0), dtype=np.float32) if as_said else _findings(rules, place, starts),
    )
    panel = replace(panel, seen=seen & panel.has_gold[:, None])  # of what nobody has settled there is nothing to learn
    return Read(ids, panel, versions, rules, np.array(said, dtype=np.float64), sources)


def gold_of(
    place: dict[int, int], starts: IntArray, *, decided_only: bool = False
) -> "np.ndarray[tuple[int], np.dtype[np.int8]]":
    """(m,) what people have settled, or MISSING; labels of models that were accepted are no gold to learn from.

    decided_only: what reviewers have decided, and not what annotators settled by agreeing.
    """
    gold = np.full(int(starts[-1]), MISSING, dtype=np.int8)
    settled = GoldLabel.objects.by_people().filter(step__isnull=False, value__isnull=False)
    if decided_only:
        settled = settled.filter(provenance=GoldLabel.Provenance.ADJUDICATED)
    for some in _in_parts(list(place)):
        rows = settled.filter(trajectory__in=some).values_list("trajectory", "step__index", "value")
        for pk, index, value in rows.iterator(chunk_size=10_000):
            assert index is not None
            assert value is not None
            gold[starts[place[pk]] + index] = value
    return gold


def turns_of(place: dict[int, int], starts: IntArray) -> BoolArray:
    """(m,) whether a step begins a turn. place: the number of each trajectory among starts (n + 1,)."""
    found = np.zeros(int(starts[-1]), dtype=np.bool_)
    for some in _in_parts(list(place)):
        rows = Step.objects.filter(trajectory__in=some).beginning_turns().values_list("trajectory", "index")
        for pk, index in rows.iterator(chunk_size=10_000):
            found[starts[place[pk]] + index] = True
    return found


def labels_of(place: dict[int, int], starts: IntArray) -> list[tuple[int, int, int]]:
    """(step, person, value) of every submitted label that its author gave without having seen a model's word."""
    found: list[tuple[int, int, int]] = []
    for some in _in_parts(list(place)):
        given = blind.labels(Trajectory.objects.filter(pk__in=some))
        rows = zip(*(given[name].tolist() for name in ("trajectory", "step", "rater", "value")), strict=True)
        found += [(int(starts[place[pk]]) + index, person, value) for pk, index, person, value in rows]
    return found


def own_decisions(place: dict[int, int], starts: IntArray) -> set[tuple[int, int]]:
    """(step, person) where a reviewer has decided a step."""
    found: set[tuple[int, int]] = set()
    for some in _in_parts(list(place)):
        decided = Adjudication.objects.filter(dispute__trajectory__in=some, dispute__step__isnull=False)
        for pk, index, person in decided.values_list("dispute__trajectory", "dispute__step__index", "reviewer"):
            assert index is not None
            found.add((int(starts[place[pk]]) + index, person))
    return found


def latest_rules(project: Project) -> ModelVersion | None:
    """Their findings are heard beside what the models say."""
    return project.model_versions.filter(kind=ModelVersion.Kind.RULES).order_by("number").last()


def _findings(
    rules: ModelVersion | None, place: dict[int, int], starts: IntArray
) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """(m, 3) how many findings of the rules lean to each value."""
    counts = np.zeros((int(starts[-1]), len(LEANINGS)), dtype=np.float32)
    if rules is not None:
        rows = Prediction.objects.filter(version=rules).exclude(findings=[]).values_list("trajectory", "findings")
        for pk, findings in rows.iterator(chunk_size=2_000):
            if pk in place:
                steps = slice(*starts[place[pk] : place[pk] + 2])
                said = ((finding["step"], finding["leaning"]) for finding in findings)
                counts[steps] = leanings(said, steps.stop - steps.start)
    return counts


def _in_parts(ids: list[int]) -> Iterable[list[int]]:
    return (ids[at : at + _LABELS] for at in range(0, len(ids), _LABELS))


def starts_of(ids: Sequence[int]) -> tuple[list[int], IntArray]:
    """The trajectories in the order of their ids, and where their steps begin."""
    rows = list(Trajectory.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "n_steps"))
    return [pk for pk, _ in rows], np.concatenate([[0], np.cumsum([n for _, n in rows])]).astype(np.int64)
