"""Fitting the fusion: several methods, each judged on tasks that it has not seen; the best one speaks. Pure."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from annotator.agreement.coefficients import FloatArray, IntArray
from annotator.fusion import chain as chains
from annotator.fusion import features, reasons, scoring
from annotator.fusion import stacker as stackers
from annotator.fusion.chain import Chain
from annotator.fusion.crowd import chain_dawid_skene, dawid_skene, majority
from annotator.fusion.panel import LEAST_GOLD, LEAST_TASKS, MISSING, N_VALUES, Panel, folds
from annotator.fusion.people import Beliefs, pair_potentials, refresh
from annotator.fusion.scoring import Score
from annotator.raters.metrics import Bin

Method = Literal["majority", "best_single", "chain", "stacker", "blend"]

_FOLDS = LEAST_TASKS  # each holds one out at least
_TEMPERS = (0.15, 0.25, 0.35, 0.5, 0.7, 1.0)  # how far raters are taken as independent
_TEMPERATURES = np.geomspace(0.5, 3.0, 25)
# Exponents of regression, trees and chain in the blend before anything is known, and how many steps that is worth.
_PRIOR_WEIGHTS, _PRIOR_STEPS = np.array([0.3, 0.3, 0.4]), 60.0
_HALF_STEPS = 20.0  # that every rater is taken to have been right on half of, when they are compared
_CLEARLY = 2.0  # standard errors over tasks
_MOST_STEPS = 60_000  # of gold that the stacker learns from; more changes nothing any more
# Without gold, for comparison: shown as they are.
_UNSUPERVISED = {"majority": majority, "dawid_skene": dawid_skene, "chain_dawid_skene": chain_dawid_skene}
_STRENGTHS = (0.25, 0.5, 0.75, 1.0)
_CHUNK_STEPS = 50_000


@dataclass(frozen=True)
class Fusion:
    """What is needed to turn the judgements of the same raters into beliefs.

    confusions (r, 3, 3); best: the number of the best single rater, -1 without gold; weights: the exponents of the
    stacker's regression, its trees and the chain in the blend; scores: by method, held out. held_ids (k,), held_starts
    (k + 1,), held_probs (steps, 3): of the trajectories that it learnt from, what a fit says that has not seen the gold
    of their tasks. Of a fit alone, not in its bytes: intervals, by method the 95 % of step_acc over tasks; reliability,
    how sure and how often right the one that speaks was on held-out tasks.
    """

    raters: tuple[str, ...]
    method: Method
    reason: str
    chain: Chain
    confusions: FloatArray
    temper: float
    best: int
    stacker: stackers.Stacker | None
    temperature: float
    weights: tuple[float, float, float]
    strength: float
    n_trajectories: int
    n_steps: int
    scores: Mapping[str, Score] = field(default_factory=dict)
    held_ids: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    held_starts: IntArray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    held_probs: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, N_VALUES), dtype=np.float32))
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reliability: Sequence[Bin] = ()

    @property
    def links(self) -> Chain:
        """What carries a known label to its neighbours: all that a refresh needs beside the evidence."""
        return pair_potentials(self.chain, self.strength)

    def evidence(self, panel: Panel) -> FloatArray:
        """(m, 3) P(-1), P(0), P(+1) of each step by the models alone, calibrated."""
        return self.pooled(self.members(panel))

    def members(self, panel: Panel) -> FloatArray:
        """(members, m, 3) what each learner alone believes: how far they differ is what more gold could settle."""
        return _in_chunks(panel, lambda part: self._each(part).transpose(1, 0, 2)).transpose(1, 0, 2)

    def pooled(self, members: FloatArray) -> FloatArray:
        """(members, m, 3) -> (m, 3), the evidence, where what each learner believes is known already."""
        if self.method == "blend":
            return _cooled(_blend(members, self.weights), self.temperature)
        alone = members[:2].mean(axis=0) if self.method == "stacker" else members[0]
        return _cooled(np.asarray(alone, dtype=np.float64), self.temperature)

    def unlearnt(self, ids: Sequence[int], starts: IntArray, evidence: FloatArray) -> FloatArray:
        """(m, 3) the evidence about trajectories `ids`, of those that it learnt from by a fit that has not.

        It would agree too well with the very labels that have taught it.
        """
        place = {pk: i for i, pk in enumerate(ids)}
        found = evidence.copy()
        for pk, (a, b) in zip(self.held_ids.tolist(), pairwise(self.held_starts), strict=True):
            if (i := place.get(pk)) is not None:
                found[starts[i] : starts[i + 1]] = self.held_probs[a:b]
        return found

    def _each(self, panel: Panel) -> FloatArray:
        """(3, m, 3) regression, trees and chain; (1, m, 3) where one alone speaks."""
        if self.method == "majority":
            return majority(panel)[None]
        if self.method == "best_single":
            return _single_probs(panel, self.best, self.confusions[self.best], self.chain.marginal)[None]
        chained = _chain_probs(panel, self.chain, self.confusions, self.temper)[None]
        return chained if self.stacker is None else np.concatenate([self.stacker.members(panel), chained])

    def posterior(self, panel: Panel) -> Beliefs:
        """What is believed with the panel's gold as known."""
        gold, turns = panel.gold.astype(np.int64), panel.begins_turn
        return refresh(panel.starts, self.evidence(panel), self.chain, self.links, turns, gold=gold)

    def to_bytes(self) -> bytes:
        """A zip of plain arrays; nothing in it is code."""
        head = {
            name: getattr(self, name)
            for name in ("raters", "method", "reason", "temper", "best", "temperature", "weights", "strength")
        }
        head |= {"n_trajectories": self.n_trajectories, "n_steps": self.n_steps}
        head["scores"] = {name: asdict(score) for name, score in self.scores.items()}
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
            "start": self.chain.start,
            "transition": self.chain.transition,
            "confusions": self.confusions,
            **{name: getattr(self, name) for name in ("held_ids", "held_starts", "held_probs")},
        }
        if self.stacker is not None:
            arrays |= {f"stacker_{name}": array for name, array in self.stacker.arrays().items()}
        out = io.BytesIO()
        np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # its stubs take a keyword for `allow_pickle`
        return out.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> "Fusion":
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            a = {name: arrays[name] for name in arrays.files}
        head = json.loads(a.pop("head").tobytes())
        learnt = {name.removeprefix("stacker_"): x for name, x in a.items() if name.startswith("stacker_")}
        return Fusion(
            raters=tuple(head.pop("raters")),
            weights=tuple(head.pop("weights")),
            scores={name: Score(**score) for name, score in head.pop("scores").items()},
            chain=Chain(a["start"], a["transition"]),
            confusions=a["confusions"],
            stacker=stackers.Stacker.from_arrays(learnt) if learnt else None,
            **{name: a[name] for name in ("held_ids", "held_starts", "held_probs") if name in a},
            **head,
        )


def fit(panel: Panel, seed: int = 0, ids: Sequence[int] | None = None) -> Fusion:
    """The fusion of the panel's raters, learnt from its gold. ids: what its trajectories are called, for `unlearnt`.

    With gold of at least LEAST_GOLD trajectories the method that does best on held-out tasks; the best single rater
    alone if that one is clearly right more often there. With less gold, that rater; without any, the majority. Its
    `reason` says so.
    """
    places, gold = panel.fair()
    n, n_steps = gold.n_trajectories, int((gold.gold != MISSING).sum())
    chain, confusions = chains.fit_chain(gold), chains.fit_confusions(gold)
    base = {"raters": panel.raters, "chain": chain, "confusions": confusions, "n_trajectories": n, "n_steps": n_steps}
    plain = {"temper": 0.35, "stacker": None, "temperature": 1.0, "weights": (0.0, 0.0, 1.0), "strength": 0.5}
    best = best_single(gold) if n else -1
    name = panel.raters[best] if n else ""
    n_tasks, n_settled = len(np.unique(gold.groups)), int(panel.has_gold.sum())
    if n < LEAST_GOLD or n_tasks < LEAST_TASKS:
        method = "best_single" if n else "majority"
        reason = reasons.too_little(n, n_tasks, n_settled - n, name)
        return Fusion(method=method, reason=reason, best=best, **base, **plain)  # type: ignore[arg-type]
    temper = _fit_temper(gold, chain, confusions)
    some = _enough(gold, seed)
    learnt = gold.of(some)
    seen = features.look(learnt)
    held_out, learners = _held_out(learnt, seen, seed)
    weights = (0.0, 0.0, 1.0)
    if learners is not None:
        weights = _fit_weights(learnt, learners)
        held_out["stacker"], held_out["blend"] = learners[:2].mean(axis=0), _blend(learners, weights)
    # The blend's weights are its temperature.
    heats = {
        name: 1.0 if name in (*_UNSUPERVISED, "blend") else _fit_temperature(learnt, probs)
        for name, probs in held_out.items()
    }
    cooled = {name: _cooled(probs, heats[name]) for name, probs in held_out.items()}
    scores = {name: scoring.score(learnt, probs, chain) for name, probs in cooled.items()}
    method = _choose(learnt, cooled)
    return Fusion(
        method=method,
        reason=reasons.chosen(method, scores, n, name),
        best=best,
        temper=temper,
        stacker=stackers.fit_on(learnt, seen, seed) if method in ("stacker", "blend") else None,
        temperature=heats[method],
        weights=weights,
        strength=_fit_strength(learnt, cooled[method], chain),
        scores=scores,
        held_ids=(np.arange(panel.n_trajectories) if ids is None else np.array(ids, dtype=np.int64))[places[some]],
        held_starts=learnt.starts,
        held_probs=cooled[method].astype(np.float32),
        intervals={name: scoring.interval(learnt, probs) for name, probs in cooled.items()},
        reliability=scoring.sureness(learnt, cooled[method]),
        **base,  # type: ignore[arg-type]
    )


def best_single(panel: Panel) -> int:
    """The rater that is right most often on the steps with gold; an abstention is wrong, unless people had seen it."""
    known = panel.gold != MISSING
    right = (panel.votes[known] == panel.gold[known][:, None]).sum(axis=0)
    n = np.full(len(panel.raters), known.sum())
    if panel.seen is not None:
        n = n - panel.seen[panel.owner[known]].sum(axis=0)
    # Shrunk towards one half, so that nobody is best by a few steps.
    return int(((right + _HALF_STEPS / 2) / (n + _HALF_STEPS)).argmax())


def _enough(panel: Panel, seed: int) -> IntArray:
    """Of very many trajectories a random part, one of every task first: what is held out are tasks."""
    order = np.random.default_rng(seed).permutation(panel.n_trajectories)
    is_first = np.zeros(len(order), dtype=np.bool_)
    is_first[np.unique(panel.groups[order], return_index=True)[1]] = True
    order = np.concatenate([order[is_first], order[~is_first]])
    return np.sort(order[: max(1, int((np.cumsum(panel.lengths[order]) <= _MOST_STEPS).sum()))])


def _held_out(panel: Panel, seen: features.Look, seed: int) -> tuple[dict[str, FloatArray], FloatArray | None]:
    """Every step by a fit that has not seen its task's gold: by method (m, 3), and the three learners (3, m, 3).

    The learners are None where the gold of some fold has a single value.
    """
    which = folds(panel.groups, _FOLDS, seed)
    best_alone, learners = np.empty((panel.n_steps, N_VALUES)), np.empty((3, panel.n_steps, N_VALUES))
    can_stack = True
    for fold in range(_FOLDS):
        rest, held = panel.of(np.flatnonzero(which != fold)), panel.of(np.flatnonzero(which == fold))
        is_held = which[panel.owner] == fold
        steps, others = np.flatnonzero(is_held), np.flatnonzero(~is_held)
        chain, confusions = chains.fit_chain(rest), chains.fit_confusions(rest)
        best = best_single(rest)
        best_alone[steps] = _single_probs(held, best, confusions[best], chain.marginal)
        learners[2, steps] = _chain_probs(held, chain, confusions, _fit_temper(rest, chain, confusions))
        can_stack = can_stack and len(np.unique(rest.gold[rest.gold != MISSING])) > 1
        if can_stack:
            learners[:2, steps] = stackers.fit_on(rest, seen.at(others), seed).members_of(seen.at(steps))
    found = {name: crowd(panel) for name, crowd in _UNSUPERVISED.items()}
    return found | {"best_single": best_alone, "chain": learners[2]}, learners if can_stack else None


def _blend(learners: FloatArray, weights: tuple[float, float, float]) -> FloatArray:
    """(3, m, 3) -> (m, 3), the product of the learners' beliefs, each raised to its weight: a logarithmic pool.

    The exponents say how far each is to be believed. Genest and Zidek, Statistical Science 1 (1986).
    """
    logs = np.tensordot(np.array(weights), np.log(learners.clip(1e-5)), axes=1)
    e = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float64)


def _fit_weights(panel: Panel, learners: FloatArray) -> tuple[float, float, float]:
    """Those under which the held-out gold is likeliest, drawn towards _PRIOR_WEIGHTS. learners: (3, m, 3)."""
    known = np.flatnonzero(panel.gold != MISSING)
    some = learners[:, known]
    logs = np.log(some.clip(1e-5))
    y = panel.gold[known].astype(np.int64) + 1
    truth = np.eye(N_VALUES)[y]

    def cost(weights: FloatArray) -> tuple[float, FloatArray]:
        probs = _blend(some, tuple(weights))
        away = weights - _PRIOR_WEIGHTS
        total = -np.log(probs[np.arange(len(y)), y].clip(1e-12)).sum() + _PRIOR_STEPS / 2 * (away**2).sum()
        slope = ((probs - truth)[None] * logs).sum(axis=(1, 2)) + _PRIOR_STEPS * away
        return float(total), slope

    found = minimize(cost, _PRIOR_WEIGHTS, jac=True, method="L-BFGS-B", bounds=[(0.0, 2.0)] * 3).x
    return float(found[0]), float(found[1]), float(found[2])


def _choose(panel: Panel, held_out: Mapping[str, FloatArray]) -> Method:
    """The blend, unless held-out gold says clearly that another does better.

    A few tasks of gold tell methods apart by luck: what speaks instead has to be ahead by _CLEARLY standard errors over
    tasks. The stacker or the chain alone is ahead if it makes the gold likelier, the best single rater if it is right
    more often than the one that would speak.
    """
    known = np.flatnonzero(panel.gold != MISSING)
    y, task = panel.gold[known].astype(np.int64) + 1, panel.groups[panel.owner[known]]
    present, which = np.unique(task, return_inverse=True)

    def is_clear(gains: FloatArray) -> bool:
        by_task = np.bincount(which, weights=gains, minlength=len(present))
        return float(by_task.sum()) > _CLEARLY * float(np.sqrt(len(present)) * by_task.std(ddof=1))

    right = {name: (probs[known].argmax(axis=1) == y).astype(np.float64) for name, probs in held_out.items()}
    likely = {name: np.log(probs[known, y].clip(1e-6)) for name, probs in held_out.items()}
    method: Method = "blend" if "blend" in held_out else "chain"
    others: tuple[Method, ...] = ("stacker", "chain") if method == "blend" else ()
    for other in others:
        if is_clear(likely[other] - likely[method]):
            method = other
    return "best_single" if is_clear(right["best_single"] - right[method]) else method


def _single_probs(panel: Panel, rater: int, confusion: FloatArray, marginal: FloatArray) -> FloatArray:
    """P(value | what the rater said), by its habits; the marginal where it said nothing."""
    said = np.nan_to_num(panel.probs[:, rater]).astype(np.float64)
    # P(value | verdict), mixed by how likely it gives each verdict.
    given = confusion * marginal[:, None]
    given = np.maximum((given / given.sum(axis=0)).T, 1e-3)  # rows: said
    probs = said @ (given / given.sum(axis=1, keepdims=True))
    # A rater speaks for itself: its verdict is what it is, only how sure is learnt.
    verdict = said.argmax(axis=1)
    turned = np.flatnonzero(probs.argmax(axis=1) != verdict)
    probs[turned, verdict[turned]] = probs[turned].max(axis=1) + 1e-3
    probs[np.isnan(panel.probs[:, rater, 0])] = marginal
    return np.asarray(probs / probs.sum(axis=1, keepdims=True), dtype=np.float64)


def _chain_probs(panel: Panel, chain: Chain, confusions: FloatArray, temper: float) -> FloatArray:
    logs = chains.log_evidence(panel, confusions) * temper
    evidence = np.exp(logs - logs.max(axis=1, keepdims=True))
    return chains.believe(panel.starts, evidence, chain, panel.begins_turn).clip(1e-6)


def _fit_temper(panel: Panel, chain: Chain, confusions: FloatArray) -> float:
    return min(_TEMPERS, key=lambda temper: scoring.nll(panel, _chain_probs(panel, chain, confusions, temper)))


def _fit_temperature(panel: Panel, probs: FloatArray) -> float:
    return float(min(_TEMPERATURES, key=lambda t: scoring.nll(panel, _cooled(probs, float(t)))))


def _fit_strength(panel: Panel, probs: FloatArray, chain: Chain) -> float:
    """How far a known label reaches: the strength under which steps are likeliest, given the gold before them."""

    def cost(strength: float) -> float:
        links = pair_potentials(chain, strength)
        given = np.ones((panel.n_steps, N_VALUES))
        after = np.flatnonzero((panel.place > 0) & (np.roll(panel.gold, 1) != MISSING))
        is_new = panel.begins_turn[after].astype(np.int64)
        given[after] = links.transition[is_new, panel.gold[after - 1].astype(np.int64) + 1]
        both = probs * given
        return scoring.nll(panel, both / both.sum(axis=1, keepdims=True))

    return min(_STRENGTHS, key=cost)


def _cooled(probs: FloatArray, temperature: float) -> FloatArray:
    raised = probs.clip(1e-6) ** (1.0 / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float64)


def _in_chunks(panel: Panel, probs_of: Callable[[Panel], FloatArray]) -> FloatArray:
    """Whole trajectories at a time: the features of a million steps at once would not fit into memory."""
    if panel.n_steps <= _CHUNK_STEPS:
        return probs_of(panel)
    cuts = [
        0,
        *np.searchsorted(panel.starts, np.arange(_CHUNK_STEPS, panel.n_steps, _CHUNK_STEPS)),
        panel.n_trajectories,
    ]
    bounds = sorted(set(map(int, cuts)))
    parts = [probs_of(panel.of(np.arange(a, b))) for a, b in pairwise(bounds)]
    return np.concatenate(parts)
