"""What a round may choose from, and what each strategy makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.labelling.effort import judgements
from annotator.models import Fusion, Label, Posterior, Project
from annotator.models.importing import TrajectoryQuerySet
from annotator.queue.rest import rest_of
from annotator.selection.acquisition import OPENING_COST, cost, doubt, entropy, fitted_opening, most_doubtful
from annotator.selection.batch import spread
from annotator.selection.policy import SelectionPolicy

# Candidates per trajectory wanted, of which `spread` takes those that are far from each other.
_CANDIDATES = 5
# The latest judgements from whose times costs are fitted.
_TIMED = 5_000


@dataclass(frozen=True)
class Pool:
    """What a round may choose from: n trajectories and, where a fusion has spoken of them, what is believed.

    beliefs: the figures of Posterior by name, expected errors and mean entropy without accepted steps; of single steps
    only the expected errors of those that would be asked.
    """

    ids: list[int]
    n_asked: IntArray  # (n,) the steps that a strategy would ask
    groups: IntArray  # (n,) the task
    strata: IntArray  # (n,) where it comes from and how long it is
    beliefs: dict[str, FloatArray]  # (n,) each; NaN where nothing is believed
    profiles: FloatArray  # (n, 3) how likely the values and the first error are, to tell trajectories apart
    fusion: Fusion | None
    opening: float  # what opening a trajectory costs, in steps


def asked(
    probs: Sequence[Sequence[float]] | None, rest: Sequence[int] | None, policy: SelectionPolicy
) -> list[int] | None:
    """Which steps of a trajectory a strategy asks, None for all.

    probs: what is believed of its steps, if anything; rest: those that are not accepted, where some are.
    """
    if policy.unit != "steps" or probs is None:
        return None if rest is None else list(rest)
    candidates = np.arange(len(probs)) if rest is None else np.array(rest, dtype=np.int64)
    return most_doubtful(np.array(probs), candidates, policy.steps_each)


def read_pool(project: Project, policy: SelectionPolicy, untouched: TrajectoryQuerySet) -> Pool:
    rows = list(untouched.order_by("pk").values_list("pk", "n_steps", "group_key", "outcome", "metadata__data_source"))
    ids = [row[0] for row in rows]
    lengths = np.array([row[1] for row in rows], dtype=np.int64)
    groups = np.unique([row[2] or f"\0{row[0]}" for row in rows], return_inverse=True)[1].astype(np.int64)
    sources = np.unique([str(row[4] or "") for row in rows], return_inverse=True)[1]
    thirds = np.searchsorted(np.quantile(lengths, [1 / 3, 2 / 3]), lengths) if len(rows) else lengths
    latest = project.fusions.defer("parameters", "report").last()
    names = ("expected_errors", "mean_entropy", "first_error_entropy", "disagreement")
    beliefs = {name: np.full(len(ids), np.nan) for name in (*names, "clean")}
    profiles = np.zeros((len(ids), 3))
    place = {pk: i for i, pk in enumerate(ids)}
    rest = rest_of(untouched)
    n_asked = np.array([len(rest.get(pk, range(n))) for pk, n in zip(ids, lengths, strict=True)], dtype=np.int64)
    # Where only some steps would be asked, only those count; the sum over all of them needs no arrays.
    probs = "probs" if policy.unit == "steps" or rest else "pk"
    found = Posterior.objects.filter(project=project).values_list("trajectory", "first_error", probs, *names)
    for pk, first_error, believed, *values in found.iterator(chunk_size=5_000):
        i = place.get(pk)
        if i is None:
            continue
        for name, value in zip(names, values, strict=True):
            beliefs[name][i] = value
        steps = asked(believed, rest.get(pk), policy) if probs == "probs" else None
        if steps is not None:
            n_asked[i] = len(steps)
            beliefs["expected_errors"][i] = doubt(np.array(believed)[steps]).sum()
        if left := rest.get(pk):
            beliefs["mean_entropy"][i] = entropy(np.array(believed)[left]).mean()
        elif pk in rest:
            beliefs["mean_entropy"][i] = 0.0
        beliefs["clean"][i] = first_error[-1]
        where = np.arange(1, len(first_error)) / max(len(first_error) - 1, 1)
        profiles[i] = (first_error[-1], float(np.dot(where, first_error[:-1])), values[0] / max(lengths[i], 1))
    outcome = np.array([np.nan if row[3] is None else min(max(row[3], 0.0), 1.0) for row in rows], dtype=np.float64)
    beliefs["contradiction"] = np.abs(outcome - beliefs["clean"])
    return Pool(ids, n_asked, groups, sources * 3 + thirds, beliefs, profiles, latest, _opening(project))


def _opening(project: Project) -> float:
    """From the project's own timing log, once there is one."""
    labels = Label.objects.filter(annotation__assignment__project=project, step__isnull=False)
    latest = list(judgements(labels, timed=True)[:_TIMED])
    _, n_steps, active_ms = zip(*latest, strict=True) if latest else ((), (), ())
    fitted = fitted_opening(np.array(n_steps, dtype=np.int64), np.array(active_ms, dtype=np.float64))
    return OPENING_COST if fitted is None else fitted


def scores_of(pool: Pool, policy: SelectionPolicy) -> dict[str, FloatArray]:
    """By strategy, (n,): the higher the sooner; -inf where the strategy knows nothing."""
    raw = {
        "expected_errors": pool.beliefs["expected_errors"] / cost(np.maximum(pool.n_asked, 1), pool.opening),
        "contradiction": pool.beliefs["contradiction"],
        "first_error_entropy": pool.beliefs["first_error_entropy"],
        "disagreement": pool.beliefs["disagreement"],
        "mean_entropy": pool.beliefs["mean_entropy"],
        "oldest": -np.arange(len(pool.ids), dtype=np.float64),
    }
    return {name: np.where(np.isnan(raw[name]), -np.inf, raw[name]) for name in raw if policy.shares.get(name)}  # type: ignore[call-overload]


def spread_out(scores: dict[str, FloatArray], pool: Pool, policy: SelectionPolicy) -> dict[str, FloatArray]:
    """What to choose by: the scores, but for mean entropy the order in which what is unsure lies far apart.

    As many as the whole round has places, because other strategies and chance may take some of them first.
    """
    if "mean_entropy" not in scores:
        return scores
    entropies = scores["mean_entropy"]
    n = max(1, round(policy.n_wanted * policy.shares["mean_entropy"] / 100))
    known = np.flatnonzero(np.isfinite(entropies))
    best = known[np.argsort(-entropies[known], kind="stable")][: max(_CANDIDATES * n, policy.n_wanted)]
    order = spread(pool.profiles, best, policy.n_wanted)
    keys = entropies.copy()
    keys[order] = 2.0 + np.arange(len(order), 0, -1)  # before all others: entropy is below 2
    return {**scores, "mean_entropy": keys}
