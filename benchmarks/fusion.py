"""Fusing raters: how often what is believed is right, with 0 to all trajectories of gold, for several panels of judges.

.venv/bin/python -m benchmarks.fusion [--quick] [--json OUT] [--data DIR] [--no-scale]

DIR holds gold_<set>.jsonl and judges/<model>/<set>.jsonl for any number of sets, and of some also <set>.jsonl, the
trajectories. Every figure is of tasks whose gold the fit has not seen: five folds by task; with less gold, so many
trajectories drawn from the other folds. Intervals (95 %) resample tasks. Beside ours: the majority, Dawid-Skene in
three forms (all of them without gold), and the best single rater, chosen on the very gold that ours learnt from. An
abstention is wrong. "Ours with rules" also hears what rules find in the trajectories, where they are there; one of them
reads the reference answer. All sets are learnt from together; after what is true of all, every figure again for each
set alone.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from annotator.fusion import crowd
from annotator.fusion.chain import Chain, first_error_of, first_errors, fit_chain
from annotator.fusion.fit import best_single, fit
from annotator.fusion.panel import MISSING, Panel, folds
from annotator.fusion.scoring import ece, gold_first_errors
from benchmarks import panels
from benchmarks.bench import REAL_DATA, Figure, peak_memory_mb, report, say, stopwatch

FOLDS = 5
AMOUNTS = (0, 25, 50, 100, None)  # trajectories with gold; None: all of the other folds
ALL = "all gold of the other folds"
N_RESAMPLES = 1000
SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one panel, two amounts of gold, a small scale")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file, too")
    parser.add_argument("--data", type=Path, default=REAL_DATA, metavar="DIR")
    parser.add_argument("--no-scale", action="store_true", help="leave out the million steps")
    parser.add_argument("--panel", action="append", metavar="NAME", help="only these, say 'cheap, 3'; default: all")
    chosen = parser.parse_args(arguments)
    # Arrays this small are multiplied faster by one thread than by two.
    threadpool_limits(1)
    data = panels.read(chosen.data)
    whole = data.panel()
    facts = [
        f"Sets: {', '.join(data.names)}; {FOLDS} folds by task, seed {SEED}.",
        f"{whole.n_trajectories} trajectories, {whole.n_steps} steps, {len(whole.raters)} judges.",
        *data.notes,
    ]
    there = panels.panels_of(whole)
    usual = [name for name in there if name == "cheap, 3"] or sorted(there)[:1] if chosen.quick else list(there)
    figures: list[Figure] = []
    try:
        for title, raters in panels.choose(there, chosen.panel, usual).items():
            say(f"{title} …")
            found = _measure(title, data, raters, quick=chosen.quick)
            figures += found
            for figure in found:
                say(f"  {figure.name}: {figure.value:.1f} {figure.unit}; {figure.bound}")
        if not chosen.no_scale:
            figures += _scale(20_000 if chosen.quick else 1_000_000)
    finally:  # a long run that ends early keeps what it has
        report("Fusion of raters", facts, figures, chosen.json)


@dataclass(frozen=True)
class Told:
    """Beliefs about every step (m, 3), and its value (m,), MISSING where nothing was said, which is never right.

    Of every trajectory (n,) its first error, and P(F) of the true one.
    """

    probs: np.ndarray
    said: np.ndarray
    first: np.ndarray
    first_probs: np.ndarray

    def of(self, panel: Panel, part: np.ndarray) -> "Told":
        """Only of these trajectories of the panel."""
        steps = np.isin(panel.owner, part)
        return Told(self.probs[steps], self.said[steps], self.first[part], self.first_probs[part])


def _measure(title: str, data: panels.Data, raters: Sequence[str], *, quick: bool) -> list[Figure]:
    panel, set_of, names = data.panel(raters), data.set_of, data.names
    heard = {"ours": panel} | ({"ours with rules": data.panel(raters, rules=True)} if data.has_rules else {})
    chain = fit_chain(panel.with_gold(np.full_like(panel.gold, MISSING)))
    is_silent = (panel.votes == MISSING).all(axis=1)
    told = {
        "majority": _tell(panel, crowd.majority(panel), chain, is_silent),
        "Dawid-Skene": _tell(panel, crowd.dawid_skene(panel), chain),
        "Dawid-Skene, one coin": _tell(panel, crowd.one_coin(panel), chain),
        "Dawid-Skene, chain": _tell(panel, crowd.chain_dawid_skene(panel), chain),
    }
    singles = {}
    for amount in (25, None) if quick else AMOUNTS:
        words = ALL if amount is None else f"{amount} gold"
        told[f"ours, {words}"], single = _folded(panel, amount)
        if single is not None:
            told[f"best single, {words}"] = singles[f"ours, {words}"] = single
    if "ours with rules" in heard:
        told[f"ours with rules, {ALL}"], _ = _folded(heard["ours with rules"], None)
        singles[f"ours with rules, {ALL}"] = told[f"best single, {ALL}"]
    figures = [_figure(title, name, panel, one, singles.get(name), has_aim=True) for name, one in told.items()]
    for who in heard:
        ours = told[f"{who}, {ALL}"]
        by_chance = _ece_by_chance(ours.probs)
        figures.append(
            Figure(
                f"{title}: {who}, all gold, ECE",
                100 * _ece(panel, ours),
                "%",
                at_most=2.0,
                bound=f"in folds by task; beliefs that are right in truth show {by_chance} % by chance",
            )
        )
    for i, of_set in enumerate(names if len(names) > 1 else []):
        part = np.flatnonzero(set_of == i)
        some = panel.of(part)
        for name, one in told.items():
            against = singles[name].of(panel, part) if name in singles else None
            figures.append(_figure(f"{title}, {of_set}", name, some, one.of(panel, part), against, has_aim=False))
        for who, of_all in heard.items():
            there = _unseen(of_all, part)
            numbers = _numbers(some, there)
            figures.append(
                Figure(
                    f"{title}, {of_set}: {who}, learnt on the other sets, ECE",
                    100 * _ece(some, there),
                    "%",
                    at_most=5.0,
                    bound=f"steps right {_step_acc(some, there):.1f} % {_words(numbers)}",
                    also={"step_acc": _step_acc(some, there), **numbers},
                )
            )
    return figures


def _unseen(panel: Panel, part: np.ndarray) -> Told:
    """What is believed of these trajectories by what the others have taught."""
    some, is_other = panel.of(part), ~np.isin(np.arange(panel.n_trajectories), part)
    fusion = fit(panel.of(is_other), SEED)
    return _tell(some, fusion.evidence(some), fusion.chain)


def _figure(title: str, name: str, panel: Panel, one: Told, against: Told | None, *, has_aim: bool) -> Figure:
    """against: the best single rater on the same gold."""
    numbers, gain, aim = _numbers(panel, one), "", None
    if against is not None:
        mean, low, high = _gain(panel, one, against)
        gain = f"; {mean:+.1f} [{low:+.1f}, {high:+.1f}] over the best single on the same gold"
        numbers |= {"gain": mean, "gain_low": low, "gain_high": high}
        base = _step_acc(panel, against)
        if has_aim and name.endswith("folds"):
            aim = base + (4.0 if title.startswith("strong") else 10.0 if title.startswith("open") else 0.0)
        elif has_aim and name == "ours, 25 gold":
            aim = base
    return Figure(
        f"{title}: {name}", _step_acc(panel, one), "%", at_least=aim, bound=_words(numbers) + gain, also=numbers
    )


def _tell(panel: Panel, probs: np.ndarray, chain: Chain, is_silent: np.ndarray | None = None) -> Told:
    found = first_error_of(panel.starts, probs, chain.transition, panel.begins_turn)
    true = panel.starts[:-1] + np.arange(panel.n_trajectories) + gold_first_errors(panel)
    said = (probs.argmax(axis=1) - 1).astype(np.int8)
    if is_silent is not None:
        said[is_silent] = MISSING
    return Told(probs, said, first_errors(panel.starts, found), found[true])


def _folded(panel: Panel, amount: int | None) -> tuple[Told, Told | None]:
    """Ours, and the best single rater on the same gold; without any there is none."""
    which = folds(panel.groups, FOLDS, SEED)
    ours, single = _nothing(panel), _nothing(panel)
    for fold in range(FOLDS):
        rest = np.flatnonzero(which != fold)
        if amount is not None:
            rest = np.sort(np.random.default_rng(SEED + fold).permutation(rest)[:amount])
        held = np.flatnonzero(which == fold)
        learnt, asked = panel.of(rest), panel.of(held)
        fusion = fit(learnt if amount != 0 else asked.with_gold(np.full_like(asked.gold, MISSING)), SEED)
        _fill(ours, panel, held, _tell(asked, fusion.evidence(asked), fusion.chain))
        if amount != 0:
            best = best_single(learnt)
            votes = asked.votes[:, best]
            verdicts = np.where(np.isnan(asked.probs[:, best]), 1 / 3, asked.probs[:, best] * 0.97 + 0.01)
            alone = _tell(asked, verdicts.astype(np.float64), fusion.chain, votes == MISSING)
            # Its first error is the first -1 that it names itself, whatever is likely.
            _fill(single, panel, held, replace(alone, first=gold_first_errors(asked.with_gold(votes))))
    return ours, None if amount == 0 else single


def _nothing(panel: Panel) -> Told:
    m, n = panel.n_steps, panel.n_trajectories
    return Told(np.empty((m, 3)), np.empty(m, np.int8), np.empty(n, np.int64), np.empty(n))


def _fill(whole: Told, panel: Panel, part: np.ndarray, told: Told) -> None:
    steps = np.isin(panel.owner, part)
    whole.probs[steps], whole.said[steps] = told.probs, told.said
    whole.first[part], whole.first_probs[part] = told.first, told.first_probs


def _right(panel: Panel, told: Told) -> np.ndarray:
    return np.asarray(told.said == panel.gold)


def _step_acc(panel: Panel, told: Told) -> float:
    return 100 * float(_right(panel, told).mean())


def _ece(panel: Panel, told: Told) -> float:
    """Of the steps about which something was said."""
    known = told.said != MISSING
    return ece(panel.gold[known].astype(np.int64) + 1, told.probs[known])


def _ece_by_chance(probs: np.ndarray) -> str:
    """95 % interval of the ECE where every belief is exactly right and steps do not depend on each other, in %."""
    rng = np.random.default_rng(SEED)
    up_to = probs.cumsum(axis=1)
    found = []
    for _ in range(N_RESAMPLES // 5):
        y = (rng.random((len(probs), 1)) > up_to[:, :2]).sum(axis=1)
        found.append(100 * ece(y, probs))
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{low:.1f} to {high:.1f}"


def _macro_f1(gold: np.ndarray, said: np.ndarray) -> float:
    f1 = []
    for value in (-1, 0, 1):
        both = (gold == value).sum() + (said == value).sum()
        if both:
            f1.append(2 * ((gold == value) & (said == value)).sum() / both)
    return 100 * float(np.mean(f1))


def _resampled(panel: Panel, sums: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """95 % interval of sums / sizes, both per trajectory, over resampled tasks; in %."""
    tasks, which = np.unique(panel.groups, return_inverse=True)
    total, size = np.bincount(which, weights=sums), np.bincount(which, weights=sizes)
    draws = np.random.default_rng(SEED).integers(0, len(tasks), (N_RESAMPLES, len(tasks)))
    low, high = np.percentile(total[draws].sum(axis=1) / size[draws].sum(axis=1), [2.5, 97.5])
    return 100 * float(low), 100 * float(high)


def _numbers(panel: Panel, told: Told) -> dict[str, float]:
    """In %, but for the nats."""
    right = np.bincount(panel.owner, weights=_right(panel, told), minlength=panel.n_trajectories)
    low, high = _resampled(panel, right, panel.lengths)
    first = (told.first == gold_first_errors(panel)).astype(float)
    first_low, first_high = _resampled(panel, first, np.ones(panel.n_trajectories))
    return {
        "low": low,
        "high": high,
        "first_error": 100 * float(first.mean()),
        "first_error_low": first_low,
        "first_error_high": first_high,
        "first_error_nats": float(-np.log(told.first_probs.clip(1e-6)).mean()),
        "macro_f1": _macro_f1(panel.gold, told.said),
        "ece": 100 * _ece(panel, told),
    }


def _words(n: Mapping[str, float]) -> str:
    return (
        f"[{n['low']:.1f}, {n['high']:.1f}]; first error {n['first_error']:.1f} [{n['first_error_low']:.1f}, "
        f"{n['first_error_high']:.1f}] ({n['first_error_nats']:.2f} nats); macro-F1 {n['macro_f1']:.1f}; "
        f"ECE {n['ece']:.1f}"
    )


def _gain(panel: Panel, told: Told, single: Told) -> tuple[float, float, float]:
    """With its 95 % interval."""
    gain = _right(panel, told).astype(float) - _right(panel, single)
    low, high = _resampled(panel, np.bincount(panel.owner, weights=gain, minlength=panel.n_trajectories), panel.lengths)
    return 100 * float(gain.mean()), low, high


def _scale(n_steps: int) -> list[Figure]:
    """20 raters over so many steps of made-up trajectories, gold on 1,000 of them: memory and time on this machine."""
    rng = np.random.default_rng(SEED)
    n = n_steps // 10
    starts = np.arange(n + 1) * 10
    truth = rng.choice([-1, 0, 1], size=n_steps, p=[0.3, 0.05, 0.65]).astype(np.int8)
    probs = np.zeros((n_steps, 20, 3), dtype=np.float32)
    for rater in range(20):
        said = np.where(rng.random(n_steps) < 0.6 + rater / 100, truth, rng.choice([-1, 1, 1], size=n_steps))
        probs[np.arange(n_steps), rater, said.astype(np.int64) + 1] = 1.0
    words = np.array(["wrong call", "nothing new", "fits the task"])
    panel = Panel(
        raters=tuple(f"r{i}" for i in range(20)),
        starts=starts,
        probs=probs,
        gold=np.where(np.arange(n_steps) < 10 * min(1000, n // 2), truth, MISSING).astype(np.int8),
        groups=np.arange(n) // 5,
        relative_length=np.full(n, 0.5),
        texts=words[truth.astype(np.int64) + 1].tolist(),
        outcome=np.full(n, np.nan),
        begins_turn=np.arange(n_steps) % 10 == 5,
        context=np.zeros((n_steps, 0), dtype=np.float32),
    )
    with stopwatch() as fitting:
        fusion = fit(panel, SEED)
    with stopwatch() as telling:
        fusion.posterior(panel)
    with stopwatch() as one:
        for _ in range(100):
            few = panel.of(np.arange(1))
            fusion.posterior(few)
    return [
        Figure(
            f"scale: fit, 20 raters, {n_steps:,} steps",
            fitting(),
            "s",
            bound=f"{fusion.method}; gold of {fusion.n_trajectories:,} trajectories",
        ),
        Figure(
            "scale: beliefs about all of them", telling(), "s", at_most=600, bound=f"{n_steps / telling():,.0f} steps/s"
        ),
        Figure("scale: beliefs about one trajectory, models heard anew", 10 * one(), "ms"),
        Figure("scale: peak memory", peak_memory_mb() / 1024, "GiB", at_most=4.0, bound="the made-up panel included"),
    ]


if __name__ == "__main__":
    begun = time.perf_counter()
    main()
    say(f"{time.perf_counter() - begun:.0f} s in all.")
