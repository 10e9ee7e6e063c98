"""The project's own step scorer on real trajectories: how often it is right on tasks that it has never seen.

.venv/bin/python -m benchmarks.scorer [--quick] [--json OUT] [--data DIR] [--encoder NAME …] [--seeds N]

Five folds by question. The scorer of each fold is trained on the other four alone, its number of epochs and its
temperature included, so no figure has seen what it is measured on. Beside it: saying +1 always, and the best of the
judges whose verdicts lie in DIR/judges, chosen on the very steps it is measured on (which flatters it).
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.bench import REAL_DATA, Figure, report, say

if TYPE_CHECKING:
    from workers.prm.data import Example

SET = "hotpotqa"
FOLDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two epochs: only shows that it runs")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file, too")
    parser.add_argument("--data", type=Path, default=REAL_DATA, metavar="DIR", help=f"with {SET}.jsonl and judges/")
    parser.add_argument(
        "--encoder", action="append", metavar="NAME", help="hashed (default) or minilm; may be repeated"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings per variant (default: 1)")
    chosen = parser.parse_args(arguments)
    if not (chosen.data / f"{SET}.jsonl").is_file():
        say(f"There is no {SET}.jsonl in {chosen.data}; name its folder with --data.")
        return 1
    facts, figures = measure(chosen.data, chosen.encoder or ["hashed"], n_seeds=chosen.seeds, is_quick=chosen.quick)
    report("Step scorer", facts, figures, chosen.json)
    return 0


def measure(folder: Path, encoders: Sequence[str], *, n_seeds: int, is_quick: bool) -> tuple[list[str], list[Figure]]:
    from annotator.raters.metrics import compare

    ids, examples = _examples(folder)
    gold = [one.gold for one in examples]
    said = {"always +1": [np.tile([0.0, 0.0, 1.0], (one.n_steps, 1)) for one in examples]}
    judges = _judges(folder, ids, examples)
    if judges:
        right = compare(gold, judges, resamples=0)
        best = max(judges, key=lambda name: right[name].overall.step_acc.value or 0)
        said[f"best judge of {len(judges)}: {best}"] = judges[best]
    variants = [
        (encoder, mask, mode)
        for encoder in encoders
        for mask, mode in (("full", "blind"), ("prefix", "blind"), ("full", "with_reference"))
    ]
    facts = [
        f"{len(gold)} trajectories, {sum(one.n_steps for one in examples)} steps, "
        f"{len({one.group for one in gold})} questions; {FOLDS} folds by question, {n_seeds} seed(s)."
    ]
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


def _examples(folder: Path) -> "tuple[list[str], list[Example]]":
    from annotator.importing.formats.agentprocessbench import to_trajectory
    from annotator.importing.schema import steps_of
    from annotator.prelabelling.scores import TrajectoryText
    from annotator.raters.metrics import GoldTrajectory
    from workers.prm.data import Example

    ids, examples = [], []
    for line in (folder / f"{SET}.jsonl").read_text(encoding="utf-8").splitlines():
        found = to_trajectory(json.loads(line))
        labels = [found.reference_labels.get(step.message_index) for step in steps_of(found.messages)]
        gold = GoldTrajectory(
            np.array([value or 0 for value in labels]),
            np.array([value is not None for value in labels]),
            found.group_key,
        )
        text = TrajectoryText(found.instruction, found.messages, found.tools, found.reference, found.outcome)
        ids.append(found.external_id)
        examples.append(Example(text, gold, content_sha256=found.external_id, is_test=False))
    return ids, examples


def _judges(folder: Path, ids: Sequence[str], examples: "Sequence[Example]") -> dict[str, list[np.ndarray]]:
    """Judge -> its verdicts as one-hot rows; what it did not answer abstains, which counts as wrong."""
    from annotator.importing.schema import steps_of
    from annotator.prelabelling.imported import latest, read_judgements, scores_of

    found = {}
    for path in sorted((folder / "judges").glob(f"*/{SET}.jsonl")):
        with path.open("rb") as file:
            judgements, _ = latest(read_judgements(file))
        of = {":".join(map(str, one.sample)): one for one in judgements if one.sample is not None}
        rows = []
        for external_id, example in zip(ids, examples, strict=True):
            places = [step.message_index for step in steps_of(example.text.messages)]
            one = of.get(external_id)
            rows.append(np.full((len(places), 3), np.nan) if one is None else scores_of(one, places).probs)
        found[path.parent.name] = rows
    return found


def _cross_validated(
    examples: "Sequence[Example]", encoder_name: str, mask: str, mode: str, seed: int, *, is_quick: bool
) -> list[np.ndarray]:
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
    groups = list(dict.fromkeys(one.gold.group for one in examples))
    order = np.random.default_rng(1000 + seed).permutation(len(groups))
    fold_of = {groups[g]: place % FOLDS for place, g in enumerate(order)}
    said: dict[int, np.ndarray] = {}
    encoder = find_encoder(options.encoder, Path("encoders"))  # a sentence encoder remembers texts over all folds
    for fold in range(FOLDS):
        held = [i for i, one in enumerate(examples) if fold_of[one.gold.group] == fold]
        learnt = learn([one for i, one in enumerate(examples) if i not in set(held)], options, encoder)
        scorer = Scorer(learnt.model_file(None), learnt.checkpoint, encoder)
        for i, scores in scorer.score((i, examples[i].text) for i in held):
            if not isinstance(scores, TrajectoryScores):
                raise scores
            said[i] = scores.probs
    return [said[i] for i in range(len(examples))]


if __name__ == "__main__":
    sys.exit(main())
