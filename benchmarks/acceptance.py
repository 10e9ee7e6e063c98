"""Accepting labels of models under a promise: how much is accepted, and how often the promise is broken.

.venv/bin/python -m benchmarks.acceptance [--quick] [--json OUT] [--data DIR] [--panel NAME …]

DIR is laid out as for benchmarks.fusion. The fusion learns from 60 trajectories; the others stand for a large pool,
from which samples are drawn that test the promise (delta 10 %). A promise is broken where more of the accepted labels
are wrong than it says: that may happen in 10 % of the samples. Beside it, on the same samples, what people do without a
test: the rule that takes most while the sample itself has few enough errors (counted), and the one by which the models
say so (believed).
Last, how many trajectories an audit takes to find out that twice and three times as much is wrong as promised.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from annotator.acceptance.guarantee import RULES, Rule, Trial, audit_evidence, best, in_order, try_rules
from annotator.fusion.fit import fit
from annotator.fusion.panel import MISSING, Panel
from benchmarks import panels
from benchmarks.bench import REAL_DATA, Figure, report

SEED = 0
DELTA = 0.1
EPSILONS = (0.05, 0.08, 0.1, 0.15)
SAMPLES = (100, 200, 400)
N_LEARN = 60
N_FITS, N_DRAWS = 5, 40
PANELS = ("strong, 9", "cheap, 3", "open, 11")


class Pool:
    """The trajectories that a fusion has not learnt from, and by rule what it takes of each and how much is wrong."""

    def __init__(self, panel: Panel, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(panel.n_trajectories)
        n_learn = min(N_LEARN, panel.n_trajectories // 2)
        learnt = np.isin(panel.owner, order[:n_learn])
        fitted = fit(panel.with_gold(np.where(learnt, panel.gold, MISSING).astype(np.int8)), seed)
        rest = panel.of(np.sort(order[n_learn:]))
        self.starts, self.probs, self.n = rest.starts, fitted.evidence(rest), rest.n_trajectories
        self.n_steps = rest.n_steps
        wrong = self.probs.argmax(axis=1) - 1 != rest.gold
        self.taken: dict[Rule, np.ndarray] = {}
        self.wrong: dict[Rule, np.ndarray] = {}
        self.doubt: dict[Rule, float] = {}
        self.order: dict[float, list[Rule]] = {}
        for rule in RULES:
            takes = rule.takes(self.starts, self.probs)
            self.taken[rule] = np.bincount(rest.owner, weights=takes, minlength=self.n)
            self.wrong[rule] = np.bincount(rest.owner, weights=takes & wrong, minlength=self.n)
            self.doubt[rule] = float((takes * (1 - self.probs.max(axis=1))).sum())

    def coverage(self, rule: Rule) -> float:
        return float(self.taken[rule].sum()) / self.n_steps

    def is_broken(self, rule: Rule, epsilon: float) -> bool:
        return bool(self.wrong[rule].sum() > epsilon * self.taken[rule].sum())

    def proved(self, sample: np.ndarray, epsilon: float) -> Rule | None:
        ones = np.ones(len(sample))
        if epsilon not in self.order:
            self.order[epsilon] = in_order(self.starts, self.probs, epsilon)
        trials = (
            Trial(rule, self.taken[rule][sample], self.wrong[rule][sample], int(self.taken[rule].max()), ones, ones,
                  int(self.taken[rule].sum()))
            for rule in self.order[epsilon]
        )  # fmt: skip
        found = best(try_rules(trials, epsilon, DELTA))
        return None if found is None else found.rule

    def counted(self, sample: np.ndarray, epsilon: float) -> Rule | None:
        """The rule that takes most of those under which the sample has at most so many errors."""
        sums = {rule: (self.taken[rule][sample].sum(), self.wrong[rule][sample].sum()) for rule in RULES}
        fits = [rule for rule, (taken, wrong) in sums.items() if taken and wrong <= epsilon * taken]
        return max(fits, key=self.coverage, default=None)

    def believed(self, epsilon: float) -> Rule | None:
        """The rule that takes most of those that are wrong seldom enough by the models' own word."""
        fits = [rule for rule in RULES if 0 < self.doubt[rule] <= epsilon * self.taken[rule].sum()]
        return max(fits, key=self.coverage, default=None)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one fit and few samples: only shows that it runs")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file, too")
    parser.add_argument("--data", type=Path, default=REAL_DATA, metavar="DIR")
    parser.add_argument("--panel", action="append", metavar="NAME", help=f"default: {'; '.join(PANELS)}")
    opts = parser.parse_args(arguments)
    data = panels.read(opts.data)
    whole = data.panel()
    facts = [
        f"Sets: {', '.join(data.names)}; seed {SEED}; delta {100 * DELTA:g} %.",
        f"{whole.n_trajectories} trajectories, {whole.n_steps} steps; {N_LEARN} are learnt from, or half.",
        *data.notes,
    ]
    figures: list[Figure] = []
    chosen = panels.choose(panels.panels_of(whole), opts.panel, PANELS)
    for title, raters in list(chosen.items())[: 1 if opts.quick else None]:
        figures += _measure(title, data.panel(raters), quick=opts.quick)
    figures += _audits(quick=opts.quick)
    report("Acceptance", facts, figures, opts.json)


def _measure(title: str, panel: Panel, *, quick: bool) -> list[Figure]:
    n_fits, n_draws = (1, 3) if quick else (N_FITS, N_DRAWS)
    pools = [Pool(panel, SEED + i) for i in range(n_fits)]
    figures = []
    for epsilon in EPSILONS[-1:] if quick else EPSILONS:
        for n in SAMPLES[:1] if quick else SAMPLES:
            rng = np.random.default_rng([SEED, n])
            rules: dict[str, list[tuple[Pool, Rule | None]]] = {"proved": [], "counted": [], "believed": []}
            for pool in pools:
                for _ in range(n_draws):
                    sample = rng.integers(0, pool.n, n)  # from a pool so large that the sample is a drop in it
                    rules["proved"].append((pool, pool.proved(sample, epsilon)))
                    rules["counted"].append((pool, pool.counted(sample, epsilon)))
                    rules["believed"].append((pool, pool.believed(epsilon)))
            what = f"{title}, at most {100 * epsilon:g} % wrong, {n} sampled"
            for name, found in rules.items():
                covers = 100 * float(np.mean([0.0 if rule is None else pool.coverage(rule) for pool, rule in found]))
                broken = 100 * float(
                    np.mean([rule is not None and pool.is_broken(rule, epsilon) for pool, rule in found])
                )
                is_ours = name == "proved"
                figures.append(Figure(f"{what}: steps accepted, {name}", covers, "%"))
                most = 100 * DELTA if is_ours else None
                figures.append(Figure(f"{what}: promise broken, {name}", broken, "%", at_most=most))
    return figures


def _audits(*, quick: bool) -> list[Figure]:
    """Trajectories of 1 to 8 accepted labels, errors in clumps; the median number until the alarm, out of 2,000."""
    rng = np.random.default_rng(SEED)
    n_runs, epsilon, most = (5, 0.05, 8) if quick else (200, 0.05, 8)
    figures = []
    for times in (1, 2, 3):
        ends = []
        for _ in range(n_runs):
            taken = rng.integers(1, most + 1, 2_000)
            wrong = rng.binomial(taken, rng.beta(epsilon * times * 2, (1 - epsilon * times) * 2, 2_000))
            looks = np.unique(np.geomspace(5, 2_000, 60).astype(int))
            alarms = [n for n in looks if audit_evidence(taken[:n], wrong[:n], epsilon, most) >= math.log(1 / DELTA)]
            ends.append(alarms[0] if alarms else math.inf)
        if times == 1:
            share = 100 * float(np.mean(np.isfinite(ends)))
            figures.append(
                Figure("audit of a promise that is just kept: false alarms", share, "%", at_most=100 * DELTA)
            )
        else:
            figures.append(
                Figure(f"audit, {times} times as much wrong as promised: trajectories", float(np.median(ends)), "n")
            )
    return figures


if __name__ == "__main__":
    main()
