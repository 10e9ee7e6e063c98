"""The project's own step scorer on real trajectories: how often it is right on tasks that it has never seen.

.venv/bin/python -m benchmarks.scorer [--quick] [--json OUT] [--data DIR] [--encoder NAME …] [--seeds N] [--only PART …]

DIR holds <set>.jsonl for every set with text, gold_<set>.jsonl and judges/<model>/<set>.jsonl. Each set is measured
alone, in five folds by question. The scorer of each fold is trained on the other four alone, its number of epochs and
its temperature included, so no figure has seen what it is measured on. Beside it: saying +1 always, and the best of the
judges, chosen on the very steps it is measured on (which flatters it).
fused: the scorer as one more rater in panels of judges. What it says of the trajectories that the fusion learns from
comes from scorers that had not seen their questions, nor those that the fusion is asked about.
curves: as if gold came in as 25, 50 and 100 trajectories and in the end all: the first at random, the others as a
strategy chooses by what the scorer of the step before says; steps right on the held-out questions.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.bench import REAL_DATA, Figure, report

if TYPE_CHECKING:
    from annotator.prelabelling.scores import TrajectoryScores
    from workers.prm.data import Example

FOLDS = 5
PARTS = ("alone", "fused", "curves")
INNER_FOLDS = 3  # of what the fusion learns from
AMOUNTS = (25, 50, 100)  # trajectories with gold, before all of them
N_RESAMPLES = 2_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two epochs: only shows that it runs")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file, too")
    parser.add_argument("--data", type=Path, default=REAL_DATA, metavar="DIR", help="with <set>.jsonl and judges/")
    parser.add_argument(
        "--encoder", action="append", metavar="NAME", help="hashed (default) or minilm; may be repeated"
    )
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help="alone, fused, curves")
    parser.add_argument("--set", action="append", metavar="NAME", help="default: every set with text; may be repeated")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings per variant (default: 1)")
    chosen = parser.parse_args(arguments)
    sets = sorted(path.stem for path in chosen.data.glob("*.jsonl") if not path.stem.startswith("gold_"))
    if missing := [name for name in chosen.set or [] if name not in sets]:
        sys.exit(f"There is no {missing[0]}.jsonl in {chosen.data}, but: {', '.join(sets) or 'none'}.")
    if not sets:
        sys.exit(f"There is no <set>.jsonl with trajectories in {chosen.data}; name its folder with --data.")
    parts, encoders = chosen.only or PARTS, chosen.encoder or ["hashed"]
    facts = [f"Sets with text: {', '.join(sets)}."]
    figures: list[Figure] = []
    try:
        for name in chosen.set or sets:
            ids, examples, n_bad = _examples(chosen.data / f"{name}.jsonl")
            facts.append(
                f"{name}: {len(examples)} trajectories, {sum(one.n_steps for one in examples)} steps, "
                f"{len({one.gold.group for one in examples})} questions; {FOLDS} folds by question, "
                f"{chosen.seeds} seed(s)." + (f" {n_bad} rows cannot be read and are left out." if n_bad else "")
            )
            if len({one.gold.group for one in examples}) < FOLDS:
                facts.append(f"{name}: questions with labels are too few for {FOLDS} folds, so it is left out.")
                continue
            found: list[Figure] = []
            if "alone" in parts:
                more, found = measure(
                    chosen.data, name, ids, examples, encoders, n_seeds=chosen.seeds, is_quick=chosen.quick
                )
                facts += more
            if "fused" in parts and (chosen.data / f"gold_{name}.jsonl").is_file():
                found += fused(chosen.data, name, ids, examples, encoders[0], is_quick=chosen.quick)
            if "curves" in parts:
                found += curves(examples, encoders[0], is_quick=chosen.quick)
            figures += [replace(one, name=f"{name}: {one.name}") for one in found]
    finally:  # a long run that ends early keeps what it has
        report("Step scorer", facts, figures, chosen.json)
    return 0


def measure(
    folder: Path,
    of_set: str,
    ids: Sequence[str],
    examples: "Sequence[Example]",
    encoders: Sequence[str],
    *,
    n_seeds: int,
    is_quick: bool,
) -> tuple[list[str], list[Figure]]:
    from annotator.raters.metrics import compare

    gold = [one.gold for one in examples]
    said = {"always +1": [np.tile([0.0, 0.0, 1.0], (one.n_steps, 1)) for one in examples]}
    judges = _judges(folder, of_set, ids, examples)
    if judges:
        right = compare(gold, judges, resamples=0)
        best = max(judges, key=lambda name: right[name].overall.step_acc.value or 0)
        said[f"best judge of {len(judges)}: {best}"] = judges[best]
    variants = [
        (encoder, mask, mode)
        for encoder in encoders
        for mask, mode in (("full", "blind"), ("prefix", "blind"), ("full", "with_reference"))
    ]
    facts = []
    for encoder, mask, mode in variants:
        name = f"scorer {mask} {mode} {encoder}"
        begun = time.perf_counter()
        for seed in range(n_seeds):
            said[f"{name} seed {seed}"] = _cross_validated(examples, encoder, mask, mode, seed, is_quick=is_quick)
        facts.append(f"{name}: {(time.perf_counter() - begun) / n_seeds / FOLDS:.0f} s per training.")
    figures = []
    for name, found in compare(gold, said).items():
        whole = found.overall
        bounds = [
            f"{title} {100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
            for title, figure in (
                ("95 % interval of", whole.step_acc),
                ("first error", whole.first_err_acc),
                ("macro-F1", whole.macro_f1),
                ("ECE", whole.ece),
            )
            if figure.value is not None and figure.low is not None and figure.high is not None
        ]
        figures.append(Figure(f"{name}: steps right", 100 * (whole.step_acc.value or 0), "%", bound="; ".join(bounds)))
    return facts, figures


def _examples(path: Path) -> "tuple[list[str], list[Example], int]":
    """The trajectories with a label, their ids, and how many rows cannot be read."""
    from annotator.importing.schema import steps_of
    from annotator.prelabelling.scores import TrajectoryText
    from annotator.raters.metrics import GoldTrajectory
    from benchmarks.panels import texts
    from workers.prm.data import Example

    ids, examples = [], []
    rows, n_bad = texts(path)
    for found in rows:
        labels = [found.reference_labels.get(step.message_index) for step in steps_of(found.messages)]
        gold = GoldTrajectory(
            np.array([value or 0 for value in labels]),
            np.array([value is not None for value in labels]),
            found.group_key,
        )
        text = TrajectoryText(found.instruction, found.messages, found.tools, found.reference, found.outcome)
        if gold.has_gold.any():
            ids.append(found.external_id)
            examples.append(Example(text, gold, content_sha256=found.external_id, is_test=False))
    return ids, examples, n_bad


def _judges(
    folder: Path, of_set: str, ids: Sequence[str], examples: "Sequence[Example]"
) -> dict[str, list[np.ndarray]]:
    """Judge -> its verdicts as one-hot rows; what it did not answer abstains, which counts as wrong."""
    from annotator.importing.schema import FieldError, steps_of
    from annotator.prelabelling.imported import latest, read_judgements, scores_of

    found = {}
    for path in sorted((folder / "judges").glob(f"*/{of_set}.jsonl")):
        with path.open("rb") as file:
            judgements, _ = latest(read_judgements(file))
        of = {":".join(map(str, one.sample)): one for one in judgements if one.sample is not None}
        rows = []
        for external_id, example in zip(ids, examples, strict=True):
            places = [step.message_index for step in steps_of(example.text.messages)]
            rows.append(np.full((len(places), 3), np.nan))
            if (one := of.get(external_id)) is not None:
                with suppress(FieldError):  # it speaks of another trajectory
                    rows[-1] = scores_of(one, places).probs
        found[path.parent.name] = rows
    return found


def _cross_validated(
    examples: "Sequence[Example]", encoder_name: str, mask: str, mode: str, seed: int, *, is_quick: bool
) -> list[np.ndarray]:
    make = _maker(encoder_name, mask, mode, seed, is_quick=is_quick)
    fold_of = _folds(examples, FOLDS, 1000 + seed)
    said: dict[int, np.ndarray] = {}
    for fold in range(FOLDS):
        held, rest = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        said |= {i: scores.probs for i, scores in make([examples[int(i)] for i in rest])(examples, held).items()}
    return [said[i] for i in range(len(examples))]


def _folds(examples: "Sequence[Example]", n: int, seed: int) -> np.ndarray:
    """(n_trajectories,) a fold for each, the same for all of a question."""
    groups = list(dict.fromkeys(one.gold.group for one in examples))
    order = np.random.default_rng(seed).permutation(len(groups))
    fold_of = {groups[g]: place % n for place, g in enumerate(order)}
    return np.array([fold_of[one.gold.group] for one in examples])


# Examples and which of them -> what a trained scorer says of these, by their number.
Score = Callable[["Sequence[Example]", np.ndarray], "dict[int, TrajectoryScores]"]


def _maker(
    encoder_name: str, mask: str, mode: str, seed: int, *, is_quick: bool
) -> "Callable[[Sequence[Example]], Score]":
    """Trains a scorer on examples. A sentence encoder remembers texts over all trainings."""
    from annotator.prelabelling.scorer_config import TrainingOptions
    from annotator.prelabelling.scores import TrajectoryScores
    from workers.prm.encoder import find_encoder
    from workers.prm.learn import learn
    from workers.prm.scoring import Scorer

    options = TrainingOptions.model_validate(
        {
            "name": "benchmark", "release": 1, "mask": mask, "mode": mode, "encoder": encoder_name, "seed": seed,
            "max_epochs": 2 if is_quick else 200,
        }
    )  # fmt: skip
    encoder = find_encoder(options.encoder, Path("encoders"))

    def make(learning: "Sequence[Example]") -> Score:
        learnt = learn(learning, options, encoder)
        scorer = Scorer(learnt.model_file(None), learnt.checkpoint, encoder)

        def score(examples: "Sequence[Example]", chosen: np.ndarray) -> dict[int, TrajectoryScores]:
            found: dict[int, TrajectoryScores] = {}
            for i, scores in scorer.score((int(i), examples[i].text) for i in chosen):
                if not isinstance(scores, TrajectoryScores):
                    raise scores
                found[i] = scores
            return found

        return score

    return make


def fused(
    folder: Path, of_set: str, ids: Sequence[str], examples: "Sequence[Example]", encoder_name: str, *, is_quick: bool
) -> list[Figure]:
    """Panels of judges with the scorer and without it, on the same held-out questions."""
    from annotator.fusion.fit import fit
    from annotator.fusion.panel import MISSING
    from annotator.importing.schema import steps_of
    from benchmarks import panels

    data = panels.read(folder, [of_set])
    number = {external_id: i for i, external_id in enumerate(ids)}
    place_of = [{step.message_index: k for k, step in enumerate(steps_of(one.text.messages))} for one in examples]
    kept, texts, labelled = [], [], []  # of the panel, of the examples, and which steps of these have a label
    for t, (key, gold_of) in enumerate(zip(data.keys, data.gold, strict=True)):
        i = number.get(":".join(map(str, key)))
        if i is not None and set(gold_of.values) <= set(place_of[i]):
            kept.append(t)
            texts.append(examples[i])
            labelled.append([place_of[i][message] for message in sorted(gold_of.values)])
    if not data.judges or len({one.gold.group for one in texts}) < FOLDS:
        return []
    examples = texts  # in the order of the panel
    whole = data.panel().of(kept)
    fold_of, make = _folds(examples, FOLDS, 1000), _maker(encoder_name, "full", "blind", 0, is_quick=is_quick)
    there = panels.panels_of(whole)
    right = (whole.votes == whole.gold[:, None]).sum(axis=0)
    by_skill = [whole.raters[i] for i in np.argsort(right, kind="stable")]
    titles = {f"weakest judge ({by_skill[0]})": by_skill[:1], **dict(list(there.items())[: 1 if is_quick else None])}
    heard = {title: data.panel(raters).of(kept) for title, raters in titles.items()}
    n_folds = 1 if is_quick else FOLDS
    known = fold_of[whole.owner] < n_folds
    is_right = {(title, kind): np.zeros(whole.n_steps, dtype=bool) for title in titles for kind in ("without", "with")}
    for fold in range(n_folds):
        held, rest = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        said = make([examples[int(i)] for i in rest])(examples, held)
        inner = _folds([examples[int(i)] for i in rest], INNER_FOLDS, 2000 + fold)
        for part in range(INNER_FOLDS):
            said |= make([examples[int(i)] for i in rest[inner != part]])(examples, rest[inner == part])
        scores = np.concatenate([said[i].probs[labelled[i]] for i in range(len(examples))])
        asked = np.isin(whole.owner, held)
        gold = np.where(asked, MISSING, whole.gold).astype(np.int8)
        for title, told in heard.items():
            panel = told.with_gold(gold)
            for kind, one in (("without", panel), ("with", panel.plus("scorer", scores))):
                values = fit(one, 0).evidence(one).argmax(axis=1) - 1
                is_right[title, kind][asked] = values[asked] == whole.gold[asked]
    figures = []
    owner = whole.owner[known]
    groups = whole.groups[owner]
    for title in titles:
        without, having = (is_right[title, kind][known].astype(float) for kind in ("without", "with"))
        gain = _interval(groups, having - without)
        figures.append(
            Figure(f"{title}, fused: steps right", 100 * without.mean(), "%", bound=_interval(groups, without))
        )
        bound = f"{_interval(groups, having)}; gain {100 * (having - without).mean():+.1f} {gain}"
        figures.append(Figure(f"{title} and scorer, fused: steps right", 100 * having.mean(), "%", bound=bound))
    return figures


def _interval(groups: np.ndarray, values: np.ndarray) -> str:
    """95 % of the mean over steps, in percent, questions drawn anew."""
    _, which = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(which, weights=values), np.bincount(which)
    drawn = np.random.default_rng(0).integers(0, len(sums), (N_RESAMPLES, len(sums)))
    low, high = np.percentile(100 * sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [2.5, 97.5])
    return f"[{low:.1f}, {high:.1f}]"


def _entropy(scores: "TrajectoryScores") -> float:
    p = scores.probs.clip(1e-9)
    return float(-(p * np.log(p)).sum(axis=1).mean())


def _doubts_per_cost(scores: "TrajectoryScores") -> float:
    from annotator.selection.acquisition import cost

    n = np.array([len(scores.probs)])
    return float((1 - scores.probs.max(axis=1)).sum() / cost(n)[0])


def _spread(scores: "TrajectoryScores") -> float:
    return float(np.mean(scores.spread)) if scores.spread is not None else 0.0


# By what the scorer of the step before says: what is looked at next is what has most of it. None: chance.
STRATEGIES: "dict[str, Callable[[TrajectoryScores], float] | None]" = {
    "random": None,
    "mean entropy": _entropy,
    "committee disagreement": _spread,
    "expected errors per cost": _doubts_per_cost,
}


def curves(examples: "Sequence[Example]", encoder_name: str, *, is_quick: bool) -> list[Figure]:
    """Steps right on held-out questions after so many trajectories of gold, by the strategy that chose them."""
    make = _maker(encoder_name, "full", "blind", 0, is_quick=is_quick)
    fold_of, everything = _folds(examples, FOLDS, 1000), np.arange(len(examples))
    right: dict[tuple[str, int], dict[int, np.ndarray]] = {}

    def learnt_from(chosen: Sequence[int], strategy: str, held: np.ndarray) -> "dict[int, TrajectoryScores]":
        """What a scorer learnt from these says of everything; how often it is right on what is held out is kept."""
        said = make([examples[i] for i in chosen])(examples, everything)
        for i in held:
            gold = examples[i].gold
            hits = (said[i].probs.argmax(axis=1) - 1 == gold.values)[gold.has_gold]
            right.setdefault((strategy, len(chosen)), {})[i] = hits.astype(float)
        return said

    for fold in range(1 if is_quick else FOLDS):
        held, pool = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        order = [int(i) for i in np.random.default_rng(fold).permutation(pool)]
        amounts = [n for n in AMOUNTS if n < len(order)]
        learnt_from(order, "all", held)
        if not amounts:
            continue
        first = learnt_from(order[: amounts[0]], "random", held)
        for strategy, wants in STRATEGIES.items():
            chosen, said = order[: amounts[0]], first
            for amount in amounts[1:]:
                left = [i for i in order if i not in set(chosen)]
                if wants is not None:
                    left.sort(key=lambda i: -wants(said[i]))
                chosen = chosen + left[: amount - len(chosen)]
                said = learnt_from(chosen, strategy, held)
    figures = []
    for (strategy, amount), rows in sorted(right.items(), key=lambda one: (one[0][1], one[0][0])):
        hits = np.concatenate([rows[i] for i in sorted(rows)])
        groups = np.concatenate([[examples[i].gold.group] * len(rows[i]) for i in sorted(rows)])
        name = "all of the other folds" if strategy == "all" else f"{amount} trajectories, {strategy}"
        figures.append(
            Figure(f"learnt from {name}: steps right", 100 * hits.mean(), "%", bound=_interval(groups, hits))
        )
    return figures


if __name__ == "__main__":
    sys.exit(main())
