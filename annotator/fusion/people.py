"""What people's labels and settled values change about what the models say. Pure: numpy alone, milliseconds.

For every trajectory the database keeps `evidence`, what the models alone say of its steps. Where nothing else is known
that is what is believed. A person's label weighs by that person's habits, gold is certain, and both reach the
neighbouring steps through the chain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray
from annotator.fusion.chain import Chain, believe, first_error_of
from annotator.fusion.panel import MISSING, N_VALUES

# What a person says where the truth is -1, 0, +1. Two such people agree on about 89 % of steps.
PRIOR_PERSON = np.array([[0.93, 0.03, 0.04], [0.14, 0.72, 0.14], [0.03, 0.02, 0.95]])
_POOL_WEIGHT, _PERSON_WEIGHT = 30.0, 20.0  # pseudo-labels per true value
_MOST_ROUNDS, _STILL = 100, 1e-4


@dataclass(frozen=True)
class Beliefs:
    """probs: (m, 3) per step. first_error: (m + n,): for each trajectory in turn its n_steps numbers and P(none)."""

    probs: FloatArray
    first_error: FloatArray


@dataclass(frozen=True)
class People:
    """pooled (3 true, 3 said), and the same of everybody who is known well enough to differ from it."""

    pooled: FloatArray
    own: Mapping[int, FloatArray]

    def of(self, person: int) -> FloatArray:
        return self.own.get(person, self.pooled)


def learn_people(evidence: FloatArray, labels: Sequence[tuple[int, int, int]], decided: IntArray) -> People:
    """How people label, learnt from all their labels (step, person, value), each step weighed by what its value may be.

    evidence: (m, 3) the models alone; decided: (m,) what a reviewer has settled, or MISSING. What people settled by
    agreeing is no yardstick for them: whoever errs there has made the gold. So the values are guessed and the habits
    counted in turn, as in Dawid and Skene (Applied Statistics 28, 1979), with the evidence as the prior of each step.
    """
    steps, persons, values = np.array(labels, dtype=np.int64).reshape(-1, 3).T
    judged, at = np.unique(steps, return_inverse=True)
    names, who = np.unique(persons, return_inverse=True)
    n = len(names)
    said = who * N_VALUES + values + 1
    known = np.flatnonzero(decided[judged] != MISSING)
    prior = evidence[judged].copy()
    prior[known] = np.eye(N_VALUES)[decided[judged[known]].astype(np.int64) + 1]
    logs = np.log(prior.clip(1e-12))
    counts = np.zeros((n, N_VALUES, N_VALUES))
    before = np.full_like(counts, np.inf)
    for _ in range(_MOST_ROUNDS):
        people = fit_people(dict(zip(names.tolist(), counts, strict=True)))
        rows = np.array([people.of(name) for name in names.tolist()]).reshape(n, N_VALUES, N_VALUES)
        if np.abs(rows - before).max(initial=0.0) < _STILL:
            break
        habits = np.log(rows).transpose(1, 0, 2).reshape(N_VALUES, -1)  # (true, person and said)
        heard = np.stack([np.bincount(at, row[said], minlength=len(judged)) for row in habits], axis=1)
        truth = _rows(np.exp(logs + heard - (logs + heard).max(axis=1, keepdims=True)))
        counts = np.stack([np.bincount(said, p[at], minlength=n * N_VALUES).reshape(n, -1) for p in truth.T], axis=1)
        before = rows
    return people


def fit_people(counts: Mapping[int, FloatArray]) -> People:
    """counts: by person (3 true, 3 said) how often. Everybody shrinks towards all, and all towards PRIOR_PERSON."""
    total = np.sum([*counts.values(), np.zeros((N_VALUES, N_VALUES))], axis=0)
    pooled = _rows(PRIOR_PERSON * _POOL_WEIGHT + total)
    return People(pooled, {who: _rows(pooled * _PERSON_WEIGHT + n) for who, n in counts.items()})


def pair_potentials(chain: Chain, strength: float) -> Chain:
    """The chain as a correction of beliefs that know their neighbours already: (T / marginal) ** strength."""
    return Chain(np.ones(N_VALUES), (chain.transition / chain.marginal) ** strength)


def refresh(
    starts: IntArray,
    evidence: FloatArray,
    chain: Chain,
    links: Chain,
    begins_turn: BoolArray,
    labels: Sequence[tuple[int, int, int]] = (),
    people: People | None = None,
    gold: IntArray | None = None,
) -> Beliefs:
    """What is believed now.

    starts (n + 1,); evidence (m, 3); begins_turn (m,); labels: (step, person, value); gold (m,) or MISSING.

    chain: how neighbours depend on each other, for the first error; links: how what is known reaches them, see
    `pair_potentials`.

    p(y) ∝ evidence(y) · chain(y | everything) / chain(y | the models alone): what the models say stays what it is where
    nothing is known, and is certain where there is gold.
    """
    heard = evidence
    if labels:
        if people is None:
            raise ValueError("Labels of people need the people's habits.")
        logs = np.log(evidence.clip(1e-12))
        for step, person, value in labels:
            logs[step] += np.log(people.of(person)[:, value + 1])
        heard = np.exp(logs - logs.max(axis=1, keepdims=True))
    known = np.full(len(evidence), MISSING) if gold is None else gold
    probs = _rows(evidence)
    if labels or (known != MISSING).any():
        after = believe(starts, heard, links, begins_turn, known)
        before = believe(starts, evidence, links, begins_turn)
        probs = _rows(evidence.clip(1e-12) * after / before.clip(1e-12))
        given = np.flatnonzero(known != MISSING)
        probs[given] = np.eye(N_VALUES)[known[given].astype(np.int64) + 1]
    return Beliefs(probs, first_error_of(starts, probs, chain.transition, begins_turn))


def _rows(x: FloatArray) -> FloatArray:
    return np.asarray(x / x.sum(axis=1, keepdims=True), dtype=np.float64)
