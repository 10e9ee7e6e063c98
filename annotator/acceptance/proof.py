"""Testing a promise on the random sample, and which labels the rule that holds takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from annotator import jobs
from annotator.acceptance import guarantee, sample
from annotator.acceptance.guarantee import Rule, Trial
from annotator.acceptance.sample import Drawn
from annotator.acceptance.terms import to_learn_from, why_not
from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray
from annotator.errors import JobFailed
from annotator.fusion import reading
from annotator.fusion.panel import MISSING, Panel
from annotator.models import Acceptance, Job, Project


@dataclass(frozen=True)
class Found:
    """What the rule takes of each trajectory that may be accepted: a value, or MISSING, by step."""

    ids: list[int]
    values: list[IntArray]


def find_rule(job: Job, acceptance: Acceptance) -> Found | None:
    """Learns without the part of the sample that tests, tests one rule after the other, stores the best that holds."""
    from annotator.fusion.fit import fit  # scikit-learn, which the web side has no use for

    project = acceptance.project
    drawn = sample.drawn(project)
    versions = sample.heard(project, drawn)
    read = reading.read(project, versions, as_said=True)
    panel = read.panel
    place = {pk: i for i, pk in enumerate(read.ids)}
    jobs.report(job, 0, len(read.ids))
    half = set(project.trajectories.half_settled().values_list("pk", flat=True))  # measured by, but not learnt from
    with_gold = {read.ids[i] for i in np.flatnonzero(panel.has_gold)} - half
    n_elsewhere = len(with_gold - set(drawn.ids))
    learnt = to_learn_from(drawn.chances, n_elsewhere)
    tests = drawn.some(np.setdiff1d(np.arange(len(drawn.ids)), learnt))
    if missing := sample.counts(project).missing:  # it may be another one by now
        raise JobFailed(missing)
    pool = _Pool.of(project, read, tests, learnt=set(drawn.ids) - set(tests.ids))
    if not pool.is_left.any():
        raise JobFailed(why_not(len(drawn.ids), len(learnt), n_elsewhere, 0))
    masked = panel.gold.copy()
    for pk in half.union(tests.ids):
        if pk in place:
            masked[panel.starts[place[pk]] : panel.starts[place[pk] + 1]] = MISSING
    fitted = fit(panel.with_gold(masked))
    jobs.report(job, 0)
    probs = fitted.evidence(panel)
    chosen = np.flatnonzero(pool.is_left)
    left = panel.of(chosen)
    rules = guarantee.in_order(left.starts, probs[pool.is_left[panel.owner]], acceptance.epsilon)
    trials = _trials(rules, panel, probs, pool, tests, place)
    tried = guarantee.try_rules(trials, acceptance.epsilon, acceptance.delta)
    best = guarantee.best(tried)
    acceptance.report = {
        "sample": {
            "since": drawn.since,
            "n_drawn": len(drawn.ids),
            "n_learnt": len(learnt),
            "n_tested": len(tests.ids),
            "n_unknown": int((~tests.is_known).sum()),
            "n_gold": len(with_gold - set(tests.ids)),
        },
        "pool": {"n_trajectories": len(chosen), "n_steps": left.n_steps, "before": min(tests.begun).isoformat()},
        "rules": len(rules),
        "tried": [
            {
                "threshold": one.trial.rule.threshold,
                "most_each": one.trial.rule.most_each,
                "n_taken": int(one.trial.taken.sum()),
                "n_wrong": int(one.trial.wrong.sum()),
                "n_labels": one.trial.n_labels,
                "evidence": round(one.evidence, 4),
                "holds": one.holds,
            }
            for one in tried
        ],
        "method": fitted.method,
    }
    acceptance.data_sha256, acceptance.parameters = read.sha256, fitted.to_bytes()
    if best is not None:
        acceptance.threshold, acceptance.most_each = best.rule.threshold, best.rule.most_each
    acceptance.versions.set(versions)
    acceptance.save(update_fields=["report", "data_sha256", "parameters", "threshold", "most_each"])
    return None if best is None else _taken(best.rule, read, probs, pool.is_left)


@dataclass(frozen=True)
class _Pool:
    """Which trajectories of a panel may be accepted, and from which ones each round drew.

    is_left (n,): heard of by every model, in every round's pool, and begun by nobody since. could_be (rounds, n): those
    that the round could have drawn to be tested on, and perhaps a few more: too many only make a promise harder to
    prove, too few would make it too easy.
    """

    is_left: BoolArray
    could_be: BoolArray

    @staticmethod
    def of(project: Project, read: reading.Read, tests: Drawn, learnt: set[int]) -> "_Pool":
        made, judged = sample.made_at(read.ids), sample.first_judged(project)
        left = set(sample.drawable_since(project, min(tests.begun)).values_list("pk", flat=True))
        complete = _complete(read.panel)
        is_left = [pk in left for pk in read.ids]
        could_be = [
            [made[pk] <= ended and not (pk in judged and judged[pk] < begun) and pk not in learnt for pk in read.ids]
            for begun, ended in zip(tests.begun, tests.ended, strict=True)
        ]
        return _Pool(np.array(is_left, dtype=np.bool_) & complete, np.array(could_be, dtype=np.bool_) & complete)


def _complete(panel: Panel) -> BoolArray:
    """(n,) whether every rater has said something of the trajectory: only then is it like those of the sample."""
    speaks = ~np.isnan(panel.probs[:, :, 0])
    found = np.ones(panel.n_trajectories, dtype=np.bool_)
    for rater in range(len(panel.raters)):
        found &= np.bincount(panel.owner, weights=speaks[:, rater], minlength=panel.n_trajectories) > 0
    return found


def _trials(
    rules: Sequence[Rule], panel: Panel, probs: FloatArray, pool: _Pool, tests: Drawn, place: dict[int, int]
) -> Iterator[Trial]:
    values = probs.argmax(axis=1) - 1
    at = np.array([place.get(pk, -1) for pk in tests.ids], dtype=np.int64)
    known = np.where(tests.is_known & (at >= 0), at, -1)
    is_known = np.zeros(panel.n_trajectories + 1, dtype=np.bool_)
    is_known[known] = True
    # What is not settled, or was called undecidable, counts as wrong.
    right = (panel.gold == values) & is_known[panel.owner]
    complete = _complete(panel)[panel.owner]
    for rule in rules:
        takes = rule.takes(panel.starts, probs) & complete
        taken = np.bincount(panel.owner[takes], minlength=panel.n_trajectories)
        wrong = np.bincount(panel.owner[takes & ~right], minlength=panel.n_trajectories)
        n_left = int(taken[pool.is_left].sum())
        in_pool = pool.could_be @ taken
        here = np.where(at >= 0, taken[at], 0)
        drawable = taken[pool.could_be.any(axis=0)]
        yield Trial(
            rule,
            taken=here,
            wrong=np.where(at >= 0, wrong[at], 0),
            most=max(int(drawable.max(initial=0)), int(here.max(initial=0))),
            left=(n_left / np.maximum(in_pool, 1))[tests.rounds],
            weights=tests.weights,
            n_labels=n_left,
        )


def look_again(acceptance: Acceptance) -> Found:
    """The same for a worker that takes over after a crash: what was written meanwhile is no candidate any more."""
    from annotator.fusion.fit import Fusion as Fitted

    fitted: Fitted = Fitted.from_bytes(bytes(acceptance.parameters))
    assert acceptance.threshold is not None
    read = reading.read(acceptance.project, list(acceptance.versions.order_by("name")), as_said=True)
    before = datetime.fromisoformat(acceptance.report["pool"]["before"])
    left = set(sample.drawable_since(acceptance.project, before).values_list("pk", flat=True))
    is_left = np.array([pk in left for pk in read.ids], dtype=np.bool_) & _complete(read.panel)
    rule = Rule(acceptance.threshold, acceptance.most_each)
    return _taken(rule, read, fitted.evidence(read.panel.by(fitted.raters)), is_left)


def _taken(rule: Rule, read: reading.Read, probs: FloatArray, is_left: BoolArray) -> Found:
    takes = rule.takes(read.panel.starts, probs)
    values = np.where(takes, probs.argmax(axis=1) - 1, MISSING)
    ids, rows = [], []
    for i in np.flatnonzero(is_left):
        steps = slice(read.panel.starts[i], read.panel.starts[i + 1])
        if takes[steps].any():
            ids.append(read.ids[i])
            rows.append(values[steps])
    return Found(ids, rows)
