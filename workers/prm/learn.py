"""From examples to a checkpoint with its story: describe, encode, train, calibrate, measure."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue

from annotator.agreement.coefficients import FloatArray
from annotator.agreement.metrics import Figure
from annotator.prelabelling.rules_config import RULES_VERSION
from annotator.prelabelling.scorer_config import FEATURES, FEATURES_VERSION, MAX_STEPS, TrainingOptions
from annotator.raters.calibration import TooLittleGoldError, calibrate
from annotator.raters.metrics import GoldTrajectory, compare
from workers.prm.checkpoint import Checkpoint
from workers.prm.data import Example, data_sha256
from workers.prm.encoder import Encoder, HashedEncoder, find_encoder
from workers.prm.features import Described, Inputs, describe, inputs_of, vectors
from workers.prm.model import Shape
from workers.prm.train import Data, Progress, predict, train

_AT_ONCE = 32  # trajectories encoded between two signs of life
_REPORTED = ("step_acc", "macro_f1", "first_err_acc")


@dataclass(frozen=True)
class Learnt:
    """A trained scorer and its story: `story` goes into scorer.json and says how it came about and how good it is."""

    checkpoint: Checkpoint
    encoder: Encoder
    data_sha256: str
    story: dict[str, JsonValue]


def learn(
    examples: Sequence[Example], options: TrainingOptions, encoders: Path, progress: Progress = lambda done, total: None
) -> Learnt:
    """Raises ScorerError where there is too little to learn from, or no such encoder on this machine."""
    encoder = find_encoder(options.encoder, encoders)
    alive = partial(progress, 0, 2 * options.max_epochs)
    looked_at = _describe(examples, options, alive)
    learning = [i for i in looked_at if not examples[i].is_test]
    testing = [i for i in looked_at if examples[i].is_test]
    if isinstance(encoder, HashedEncoder):
        encoder.learn_rarity([text for i in learning for text in looked_at[i].step_texts + looked_at[i].context_texts])
    inputs: dict[int, Inputs] = {}
    for chosen in _chunks(list(looked_at)):
        alive()
        encoded = inputs_of([looked_at[i] for i in chosen], encoder, FEATURES)
        inputs.update(zip(chosen, encoded, strict=True))
    columns = vectors(FEATURES, encoder)

    def data_of(chosen: Sequence[int]) -> Data:
        return Data([inputs[i].values for i in chosen], [examples[i].gold for i in chosen], columns)

    data = data_of(learning)
    n_inputs = data.inputs[0].shape[1] if learning else 0
    shape = Shape(n_inputs, MAX_STEPS, causal=options.mask == "prefix")
    trained = train(data, shape, options, progress)
    temperature, calibration = _calibration(data.gold, trained.held_out, options.seed)
    said, _ = predict(trained.model, data_of(testing).inputs)
    used = [examples[i] for i in looked_at]
    sha256 = data_sha256(used, with_reference=options.mode == "with_reference")
    story: dict[str, JsonValue] = {
        "options": options.model_dump(mode="json"),
        "encoder": encoder.config.model_dump(mode="json"),
        "features": list(FEATURES),
        "features_version": FEATURES_VERSION,
        "rules_version": RULES_VERSION,
        "data_sha256": sha256,
        "n_trajectories": len(learning),
        "n_steps": int(sum(one.has_gold.sum() for one in data.gold)),
        "n_tasks": len({one.group for one in data.gold}),
        "n_left_out": len(examples) - len(looked_at),
        "n_epochs": trained.n_epochs,
        "held_out_losses": [round(loss, 6) for loss in trained.losses],
        "temperature": temperature,
        "calibration": calibration,
        "held_out": figures(data.gold, trained.held_out),
        "test": figures([examples[i].gold for i in testing], said) if testing else None,
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    rarity = encoder.rarity if isinstance(encoder, HashedEncoder) else np.zeros(0, np.float32)
    return Learnt(Checkpoint(trained.model, rarity, temperature), encoder, sha256, story)


def _chunks(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]


def figures(gold: Sequence[GoldTrajectory], said: Sequence[FloatArray]) -> dict[str, JsonValue]:
    """The main figures against gold, each with its interval, beside those of always saying +1."""
    always = [np.tile([0.0, 0.0, 1.0], (len(one.values), 1)) for one in gold]
    found = compare(gold, {"scorer": list(said), "always_positive": always})
    return {
        name: {figure: _plain(getattr(report.overall, figure)) for figure in _REPORTED}
        for name, report in found.items()
    }


def _plain(figure: Figure) -> dict[str, JsonValue]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


def _describe(examples: Sequence[Example], options: TrainingOptions, alive: Callable[[], None]) -> dict[int, Described]:
    """By position, what can be learnt from: trajectories with gold that are neither too long nor nested too deep."""
    found = {}
    for i, example in enumerate(examples):
        alive()
        if example.n_steps <= MAX_STEPS and example.gold.has_gold.any():
            try:
                found[i] = describe(example.text, mask=options.mask, mode=options.mode)
            except RecursionError:
                continue
    return found


def _calibration(
    gold: Sequence[GoldTrajectory], held_out: Sequence[FloatArray], seed: int
) -> tuple[float, dict[str, JsonValue] | None]:
    """The temperature fitted on the held-out scores, and what it does on tasks that it was not fitted on."""
    try:
        found = calibrate(gold, list(held_out), seed=seed)
    except TooLittleGoldError:
        return 1.0, None
    temperature = float(asdict(found.calibrator)["temperature"])
    return temperature, {
        "n_trajectories": found.n_trajectories,
        "before": {"nll": found.before.nll, "ece": found.before.ece},
        "after": {"nll": found.after.nll, "ece": found.after.ece},
    }
