"""How much of the work a person has to do until so many step labels are right.

.venv/bin/python -m benchmarks.effort [--quick] [--json OUT] [--data DIR] [--panel NAME …]

DIR is laid out as for benchmarks.fusion. A simulated person answers with gold, in rounds, starting without any; after
each round the fusion is fitted again on what was answered, and what is known reaches its neighbours through the chain.
An answered step is right. Steps are asked for one by one, the most doubtful first, or trajectory by trajectory; beside
them the same model with a random order, and the trivial orders by length. Effort is the share of steps answered, and of
the time by the cost model: 4 steps for opening a trajectory each time, 1 per step. The interval (95 %) of the ratio to
random resamples tasks: the labels that are right after each round are counted again over tasks drawn anew.
Before that: how many suggestions of 100 a person has to change who goes through each trajectory from step to step, if
every label changes the suggestions after it.
People answer over all sets at once; after what that needs for all of them, what each set alone has had and needed.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from annotator.fusion import chain as chains
from annotator.fusion import stacker, suggest
from annotator.fusion.crowd import majority
from annotator.fusion.fit import fit
from annotator.fusion.panel import MISSING, Panel, folds
from annotator.fusion.people import pair_potentials, refresh
from annotator.selection.acquisition import OPENING_COST, cost, doubt, expected_errors_per_cost
from benchmarks import panels
from benchmarks.bench import REAL_DATA, Figure, report, say

SEED = 0
TARGETS = (90, 95, 97, 99)
# The share of steps that have been answered after each round.
ROUNDS = [*np.arange(0.02, 0.5, 0.03), *np.arange(0.5, 1.0, 0.05), 1.0]
LEAST = 25  # trajectories with an answer, before anything is fitted
N_RESAMPLES = 500
PANELS = ("strong, 9", "cheap, 3", "open, 11")

# What is asked next: (panel, beliefs (m, 3), which steps are open (m,), random numbers) -> steps in order.
Order = Callable[[Panel, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Course:
    """After each round which steps are answered and which are right (rounds, m), and how often each trajectory has been
    opened (rounds, n)."""

    answered: np.ndarray
    right: np.ndarray
    opened: np.ndarray

    def of(self, panel: Panel, part: np.ndarray) -> "Course":
        """Only of these trajectories of the panel."""
        steps = np.isin(panel.owner, part)
        return Course(self.answered[:, steps], self.right[:, steps], self.opened[:, part])

    @property
    def steps(self) -> np.ndarray:
        """(rounds,) the share of the steps that are answered."""
        return np.asarray(self.answered.mean(axis=1))

    @property
    def costs(self) -> np.ndarray:
        """(rounds,) what that took, in the time of one step."""
        return np.asarray(self.answered.sum(axis=1) + OPENING_COST * self.opened.sum(axis=1))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds over a part: only shows that it runs")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file, too")
    parser.add_argument("--data", type=Path, default=REAL_DATA, metavar="DIR")
    parser.add_argument("--panel", action="append", metavar="NAME", help=f"default: {'; '.join(PANELS)}")
    parser.add_argument("--suggestions", action="store_true", help="only how many of them a person has to change")
    opts = parser.parse_args(arguments)
    data = panels.read(opts.data)
    whole = data.panel()
    facts = [
        f"Sets: {', '.join(data.names)}; seed {SEED}.",
        f"{whole.n_trajectories} trajectories, {whole.n_steps} steps.",
        *data.notes,
    ]
    figures: list[Figure] = []
    try:
        usual = ("cheap, 3",) if opts.quick else PANELS
        for title, raters in panels.choose(panels.panels_of(whole), opts.panel, usual).items():
            panel, set_of = data.panel(raters), data.set_of
            if opts.quick:
                some = np.arange(panel.n_trajectories)[:: -(-panel.n_trajectories // 60)]
                panel, set_of = panel.of(some), set_of[some]
            parts = {"": np.arange(panel.n_trajectories)}
            if len(data.names) > 1:
                parts |= {f", {name}": np.flatnonzero(set_of == i) for i, name in enumerate(data.names)}
            figures += _corrections(title, panel, parts, quick=opts.quick)
            figures += [] if opts.suggestions else _measure(title, panel, parts, quick=opts.quick)
    finally:  # a long run that ends early keeps what it has
        report("Human effort", facts, figures, opts.json)


def _measure(title: str, panel: Panel, parts: Mapping[str, np.ndarray], *, quick: bool) -> list[Figure]:
    """parts: of the panel's trajectories, by what the title of their figures ends with; "" is all of them."""
    rounds = [0.2, 0.5, 1.0] if quick else ROUNDS
    courses = {}
    for name, order in ORDERS.items():
        say(f"{title}: {name} …")
        courses[name] = _run(panel, order, rounds)
    return [
        figure
        for ending, part in parts.items()
        for figure in _needs(
            title + ending,
            panel.of(part),
            {name: course.of(panel, part) for name, course in courses.items()},
            has_aim=not quick and not ending,
        )
    ]


def _needs(title: str, panel: Panel, courses: Mapping[str, Course], *, has_aim: bool) -> list[Figure]:
    figures = []
    random = courses["random"]
    whole = float(cost(panel.lengths).sum())
    for name, course in courses.items():
        right = course.right.mean(axis=1)
        for target in TARGETS:
            spent = 100 * _needed(course.costs / whole, right, target)
            is_aimed = has_aim and target == 95 and name == BEST and title.startswith("strong")
            figures.append(
                Figure(
                    f"{title}: {name}, {target} % right",
                    100 * _needed(course.steps, right, target),
                    "% of steps",
                    at_most=30.0 if is_aimed else None,
                    bound=f"{spent:.0f} % of the time",
                    also={"time": spent},
                )
            )
        if name != "random":
            low, high = _ratio_interval(panel, course, random)
            mine = _needed(course.steps, right, 95)
            figures.append(
                Figure(
                    f"{title}: random over {name}, 95 % right",
                    _needed(random.steps, random.right.mean(axis=1), 95) / max(mine, 1e-9),
                    "times",
                    at_least=2.0 if has_aim and name == BEST else None,
                    bound=f"[{low:.2f}, {high:.2f}]",
                    also={"low": low, "high": high},
                )
            )
    return figures


def _run(panel: Panel, order: Order, rounds: Sequence[float]) -> Course:
    rng = np.random.default_rng(SEED)
    answers = np.full(panel.n_steps, MISSING, dtype=np.int8)
    beliefs = _beliefs(panel, answers)
    opens = np.zeros(panel.n_trajectories, dtype=np.int64)
    answered, right, opened = [answers != MISSING], [beliefs.argmax(axis=1) - 1 == panel.gold], [opens]
    for share in rounds:
        is_open = answers == MISSING
        n = round(share * panel.n_steps) - int((~is_open).sum())
        asked = order(panel, beliefs, is_open, rng)[: max(n, 0)]
        answers[asked] = panel.gold[asked]
        opens = opens + np.isin(np.arange(panel.n_trajectories), panel.owner[asked])
        beliefs = _beliefs(panel, answers)
        answered.append(answers != MISSING)
        right.append(beliefs.argmax(axis=1) - 1 == panel.gold)
        opened.append(opens)
    return Course(np.stack(answered), np.stack(right), np.stack(opened))


def _beliefs(panel: Panel, answered: np.ndarray) -> np.ndarray:
    """The blend of stacker and chain fitted on what was answered, conditioned on it; the majority before that."""
    known = panel.with_gold(answered)
    if known.has_gold.sum() < LEAST or len(np.unique(answered[answered != MISSING])) < 2:
        probs = majority(panel)
        probs[answered != MISSING] = np.eye(3)[answered[answered != MISSING].astype(np.int64) + 1]
        return probs
    learnt = known.of(np.flatnonzero(known.has_gold))
    chain, confusions = chains.fit_chain(learnt), chains.fit_confusions(learnt)
    logs = chains.log_evidence(panel, confusions) * 0.25
    by_chain = chains.believe(panel.starts, np.exp(logs - logs.max(axis=1, keepdims=True)), chain, panel.begins_turn)
    by_stacker = stacker.fit(learnt, SEED).members(panel).mean(axis=0)
    links = pair_potentials(chain, 0.5)
    evidence, gold = (by_chain + by_stacker) / 2, answered.astype(np.int64)
    return refresh(panel.starts, evidence, chain, links, panel.begins_turn, gold=gold).probs


def _corrections(title: str, panel: Panel, parts: Mapping[str, np.ndarray], *, quick: bool) -> list[Figure]:
    """How many suggestions of 100 a person has to change, in five folds by task.

    The person goes from step to step; conditioned suggestions know the gold of the steps before, as on the labelling
    page, which shows those of one model (here the best on the other folds) or of all together.
    """
    say(f"{title}: suggestions …")
    plain, conditioned, alone, alone_conditioned = (np.zeros(panel.n_steps, np.int64) for _ in range(4))
    for fold in np.unique(which := folds(panel.groups, 5, SEED)):
        out = np.flatnonzero(which == fold)
        held, fitted = panel.of(out), fit(panel.of(np.flatnonzero(which != fold)), SEED)
        evidence = fitted.evidence(held)
        mine = np.isin(panel.owner, out)
        plain[mine] = evidence.argmax(axis=1) - 1
        single = _best_alone(panel.of(np.flatnonzero(which != fold)), held)
        alone[mine] = single.argmax(axis=1) - 1
        for first, last in pairwise(held.starts):
            gold = dict(enumerate(held.gold[first:last].tolist()))
            steps = np.flatnonzero(mine)[first:last]
            for rows, found in ((evidence, conditioned), (single, alone_conditioned)):
                found[steps] = (
                    suggest.conditioned(rows[first:last], held.begins_turn[first:last], gold).argmax(axis=1) - 1
                )
    figures = []
    for ending, part in parts.items():
        some, of_part = panel.of(part), np.isin(panel.owner, part)
        for name, said, aim in (
            ("of all judges together, conditioned on the labels before", conditioned, 12.0),
            ("of all judges together", plain, None),
            ("of the best judge, conditioned on the labels before", alone_conditioned, None),
            ("of the best judge", alone, None),
        ):
            wrong = said[of_part] != some.gold
            low, high = _interval(some, wrong)
            figures.append(
                Figure(
                    f"{title}{ending}: suggestions {name}",
                    100 * float(wrong.mean()),
                    "corrections/100 steps",
                    at_most=None if quick or ending else aim,
                    bound=f"[{low:.1f}, {high:.1f}]",
                    also={"low": low, "high": high},
                )
            )
    return figures


def _best_alone(learnt: Panel, held: Panel) -> np.ndarray:
    """(m, 3) the calibrated evidence of the judge that is right most often: what is true where it says so."""
    best = int((learnt.votes == learnt.gold[:, None]).sum(axis=0).argmax())
    counts = np.full((4, 3), 0.5)  # what it says, and last: nothing
    np.add.at(counts, (_said(learnt.votes[:, best]), learnt.gold + 1), 1.0)
    habits: np.ndarray = counts / counts.sum(axis=1, keepdims=True)
    return np.asarray(habits[_said(held.votes[:, best])])


def _said(votes: np.ndarray) -> np.ndarray:
    return np.where(votes == MISSING, 3, votes + 1).astype(np.int64)


def _interval(panel: Panel, wrong: np.ndarray) -> tuple[float, float]:
    """95 %, in percent, from drawing tasks anew."""
    _, which = np.unique(panel.groups, return_inverse=True)
    task = which[panel.owner]
    sums, sizes = np.bincount(task, weights=wrong), np.bincount(task)
    draws = np.random.default_rng(SEED).integers(0, len(sizes), (N_RESAMPLES, len(sizes)))
    low, high = np.percentile(100 * sums[draws].sum(axis=1) / sizes[draws].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _doubtful(panel: Panel, beliefs: np.ndarray, is_open: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = np.lexsort((rng.random(len(beliefs)), -doubt(beliefs)))
    return np.asarray(order[is_open[order]])


def _random(panel: Panel, beliefs: np.ndarray, is_open: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(len(beliefs))
    return np.asarray(order[is_open[order]])


def _by_trajectory(scores_of: Callable[[Panel, np.ndarray], np.ndarray]) -> Order:
    """Whole trajectories by falling score."""

    def order(panel: Panel, beliefs: np.ndarray, is_open: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        steps = np.lexsort(
            (panel.place, rng.permutation(panel.n_trajectories)[panel.owner], -scores_of(panel, beliefs)[panel.owner])
        )
        return np.asarray(steps[is_open[steps]])

    return order


BEST = "steps, most doubtful first"
ORDERS: dict[str, Order] = {
    BEST: _doubtful,
    "random": _random,
    "trajectories, expected errors per cost": _by_trajectory(
        lambda panel, beliefs: expected_errors_per_cost(beliefs, panel.starts, cost(panel.lengths))
    ),
    "trajectories, longest first": _by_trajectory(lambda panel, _: panel.lengths.astype(float)),
    "trajectories, shortest first": _by_trajectory(lambda panel, _: -panel.lengths.astype(float)),
}


def _needed(effort: np.ndarray, right: np.ndarray, target: float) -> float:
    """The effort at which so many percent are right for the first time, between rounds on a straight line."""
    reached = int(np.argmax(right >= target / 100))
    if right[reached] < target / 100:
        return 1.0
    if reached == 0:
        return float(effort[0])
    before, after = right[reached - 1], right[reached]
    part = (target / 100 - before) / (after - before)
    return float(effort[reached - 1] + part * (effort[reached] - effort[reached - 1]))


def _ratio_interval(panel: Panel, course: Course, random: Course) -> tuple[float, float]:
    tasks, which = np.unique(panel.groups, return_inverse=True)
    task = which[panel.owner]
    sizes = np.bincount(task)
    sums = [np.stack([np.bincount(task, weights=row) for row in one.right]) for one in (course, random)]
    rng = np.random.default_rng(SEED)
    ratios = []
    for _ in range(N_RESAMPLES):
        draw = rng.integers(0, len(tasks), len(tasks))
        mine, other = (each[:, draw].sum(axis=1) / sizes[draw].sum() for each in sums)
        ratios.append(_needed(random.steps, other, 95) / max(_needed(course.steps, mine, 95), 1e-9))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
