"""Which labels of models may be accepted so that few of them are wrong, as a test on a random sample says. Pure.

Whole trajectories are drawn, so a trajectory is the unit of every test: errors in one come together. A test bets on the
promise with every sampled trajectory; had it been false, the stake could hardly have grown: it is a fair game at best,
so that it reaches 1 / delta with probability delta at most (Ville's inequality). That holds for every sample size and
needs no bell curve. Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of the
Royal Statistical Society B 86 (2024). Without replacement it holds as well, because draws without replacement are
negatively associated: Joag-Dev and Proschan, Annals of Statistics 11 (1983). So it does for the strata of a cold round:
such a sample is strongly Rayleigh (selection.batch), the root of its generating polynomial is concave, and the mean
stake is at most that of independent draws.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from annotator.agreement.coefficients import BoolArray, FloatArray, IntArray

_THRESHOLDS = (0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)
_MOST_EACH = (3, 5, 8, 12, None)
# Shares of the largest stake that cannot ruin the one who bets; the wealth is the mean over all of them, so that it
# does not depend on the order of the sample.
_STAKES = np.geomspace(0.03, 0.99, 20)


@dataclass(frozen=True)
class Rule:
    """A value other than 0 is taken from this probability on; of one trajectory only so many, the surest.

    The fewer one trajectory may bring, the less a single one can spoil, and the smaller a sample proves the rule.
    """

    threshold: float
    most_each: int | None

    def takes(self, starts: IntArray, probs: FloatArray) -> BoolArray:
        """(m,) which steps of the trajectories starts[i]:starts[i + 1]; probs (m, 3) of -1, 0, +1.

        The value 0 is never taken: no rater is right about it often enough.
        """
        sure = probs.max(axis=1, initial=0.0)
        takes = (sure >= self.threshold) & (probs.argmax(axis=1) != 1)
        if self.most_each is None:
            return np.asarray(takes, dtype=np.bool_)
        owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        order = np.lexsort((-sure, ~takes, owner))  # of each trajectory the surest first, what is not taken last
        rank = np.empty(len(sure), dtype=np.int64)
        rank[order] = np.arange(len(sure)) - starts[owner[order]]
        return np.asarray(takes & (rank < self.most_each), dtype=np.bool_)


RULES = tuple(Rule(threshold, most) for threshold in _THRESHOLDS for most in _MOST_EACH)


@dataclass(frozen=True)
class Trial:
    """What a rule would take, and what the sample says of it.

    taken, wrong: (n,) labels in each sampled trajectory. most: that it takes of any trajectory that could be drawn.
    left: (n,) how much of what it takes in the pool that the trajectory was drawn from is still to be accepted; what
    people have judged since is not, and nothing is known of how it was chosen, so all errors may be in the rest.
    weights: (n,) the inverse probability of being drawn, divided by the largest.
    n_labels: that it would accept.
    """

    rule: Rule
    taken: IntArray
    wrong: IntArray
    most: int
    left: FloatArray
    weights: FloatArray
    n_labels: int

    def evidence(self, epsilon: float) -> float:
        """The logarithm of what a stake of 1 becomes that bets on at most epsilon of the labels being wrong."""
        return log_wealth(self.weights * (epsilon * self.left * self.taken - self.wrong), float(self.most))


@dataclass(frozen=True)
class Tried:
    trial: Trial
    evidence: float
    holds: bool


def log_wealth(gains: FloatArray, most: float) -> float:
    """gains (n,): of a stake of 1, none below -most. If they are 0 or less on average, exp of this seldom grows.

    With probability delta at most it ever reaches 1 / delta.
    """
    return float(_log_wealth_after_each(gains, most)[-1])


def _log_wealth_after_each(gains: FloatArray, most: float) -> FloatArray:
    """(n + 1,) before the first gain, after it, and so on."""
    if most <= 0:
        return np.zeros(1)
    grown = np.zeros((len(_STAKES), len(gains) + 1))
    np.log1p(np.outer(_STAKES / most, gains)).cumsum(axis=1, out=grown[:, 1:])
    top = grown.max(axis=0)
    return np.asarray(top + np.log(np.exp(grown - top).mean(axis=0)), dtype=np.float64)


def prospect(starts: IntArray, probs: FloatArray, rule: Rule, epsilon: float) -> float:
    """How fast the bet on a rule would grow per trajectory, if what is believed were true; 0 or less: not at all.

    Uses no gold, so that rules may be put in this order before the sample is looked at.
    """
    takes = rule.takes(starts, probs)
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    n = max(len(starts) - 1, 1)
    taken = np.bincount(owner, weights=takes, minlength=n)
    doubts = np.bincount(owner, weights=takes * (1 - probs.max(axis=1, initial=0.0)), minlength=n)
    gain = float((epsilon * taken - doubts).mean())
    spread = float((doubts + doubts**2).mean())
    if gain <= 0 or spread == 0:
        return 0.0
    stake = min(gain / spread, 1 / float(taken.max()))
    return stake * gain - stake**2 * spread / 2


def in_order(starts: IntArray, probs: FloatArray, epsilon: float, rules: Sequence[Rule] = RULES) -> list[Rule]:
    """The rules that have a prospect, the best first; of those that take the same only one."""
    different = {rule.takes(starts, probs).tobytes(): rule for rule in reversed(rules)}.values()
    prospects = {rule: prospect(starts, probs, rule, epsilon) for rule in different}
    return sorted((rule for rule in different if prospects[rule] > 0), key=lambda rule: -prospects[rule])


def try_rules(trials: Iterator[Trial], epsilon: float, delta: float) -> list[Tried]:
    """Tests one rule after the other until one fails; all that hold do so at once with probability 1 - delta.

    The order must not depend on the sample. Fixed-sequence testing, as in Angelopoulos and others, "Learn then Test"
    (2021): no correction for the number of rules is needed, because a false one is reached only if none came before.
    """
    tried = []
    for trial in trials:
        evidence = trial.evidence(epsilon)
        tried.append(Tried(trial, evidence, evidence >= math.log(1 / delta)))
        if not tried[-1].holds:
            break
    return tried


def best(tried: Sequence[Tried]) -> Trial | None:
    """Of the rules that hold the one that accepts most labels."""
    holding = [one.trial for one in tried if one.holds]
    return max(holding, key=lambda trial: trial.n_labels, default=None)


def audit_evidence(taken: IntArray, wrong: IntArray, epsilon: float, most: int) -> float:
    """The logarithm of the most that a stake of 1 has been that bets on more than epsilon of the labels being wrong.

    taken, wrong: (n,) labels in each audited trajectory, in a random order that says nothing of when each was settled.
    Those that are not settled yet have 0 wrong: that only lowers the stake, whatever was settled first. So it may be
    looked at at any time: while the promise holds it reaches log(1 / delta) with probability delta at most, however
    long the audit goes on.
    """
    return float(_log_wealth_after_each(wrong - epsilon * taken, epsilon * most).max())
