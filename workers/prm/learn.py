"""From examples to a checkpoint with its story: describe, encode, train, calibrate, measure."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from pydantic import JsonValue

from annotator.agreement.coefficients import FloatArray
from annotator.agreement.metrics import Figure
from annotator.prelabelling.rules_config import RULES_VERSION
from annotator.prelabelling.scorer_config import (
    FEATURES,
    FEATURES_VERSION,
    MAX_STEPS,
    TEXTS,
    Feature,
    ScorerConfig,
    ScorerOptions,
)
from annotator.raters.calibration import TooLittleGoldError, calibrate
from annotator.raters.metrics import GoldTrajectory, compare
from workers.prm.checkpoint import Checkpoint, sha256_of
from workers.prm.data import Example, data_sha256
from workers.prm.encoder import Encoder, HashedEncoder
from workers.prm.features import Described, Inputs, describe, inputs_of, vectors
from workers.prm.train import Data, Progress, Trained, predict, train

_AT_ONCE = 32  # trajectories encoded between two signs of life
_CANDIDATES = (FEATURES, tuple(name for name in FEATURES if name not in TEXTS))
_REPORTED = ("step_acc", "macro_f1", "first_err_acc")


@dataclass(frozen=True)
class Learnt:
    """A trained scorer and its story: `story` goes into scorer.json and says how it came about and how good it is."""

    checkpoint: Checkpoint
    encoder: Encoder | None  # None: the texts did not help
    features: tuple[Feature, ...]
    options: ScorerOptions
    story: dict[str, JsonValue]

    def model_file(self, project: str | None) -> ScorerConfig:
        options, of_story = self.options, ("features_version", "rules_version", "data_sha256")
        source = f"from release {options.release}" if options.release else "that learns in the loop"
        return ScorerConfig.model_validate(
            {
                "kind": "scorer",
                "name": options.name,
                "title": f"{options.name}: step scorer {source}",
                "project": project,
                "release": options.release,
                "mask": options.mask,
                "mode": options.mode,
                "encoder": self.encoder and self.encoder.config,
                "features": self.features,
                "is_calibrated": self.story["calibration"] is not None,
                **{key: self.story[key] for key in of_story},
                "weights_sha256": sha256_of(self.checkpoint.weights()),
            }
        )


def learn(
    examples: Sequence[Example],
    options: ScorerOptions,
    encoder: Encoder,
    progress: Progress = lambda done, total: None,
) -> Learnt:
    """Trains with the encoded texts and without them, and keeps what is likelier on tasks that it had not seen.

    Raises ScorerError where there is too little to learn from. A hashed encoder learns which texts are rare.
    """
    span = 2 * options.max_epochs  # of one training, at most
    alive = partial(progress, 0, len(_CANDIDATES) * span)
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

    def data_of(features: Sequence[Feature], chosen: Sequence[int]) -> Data:
        first = 0 if features == FEATURES else len(TEXTS) * encoder.width  # the texts' columns come first
        values = [inputs[i].values[:, first:] for i in chosen]
        return Data(values, [examples[i].gold for i in chosen], vectors(features, encoder))

    tried: dict[tuple[Feature, ...], Trained] = {}
    for place, features in enumerate(_CANDIDATES):

        def shifted(done: int, total: int, before: int = place * span) -> None:
            progress(before + done, (len(_CANDIDATES) - 1) * span + total)

        causal = options.mask == "prefix"
        tried[features] = train(data_of(features, learning), causal=causal, options=options, progress=shifted)
    features = min(tried, key=lambda names: min(tried[names].losses))
    trained, used = tried[features], encoder if features == FEATURES else None
    gold = [examples[i].gold for i in learning]
    temperature, calibration = _calibration(gold, trained.held_out)
    said, _ = predict(trained.model, data_of(features, testing).inputs)
    rows = [examples[i] for i in looked_at]
    story: dict[str, JsonValue] = {
        "data_sha256": data_sha256(rows, with_reference=options.mode == "with_reference"),
        "n_trajectories": len(learning),
        "n_steps": int(sum(one.has_gold.sum() for one in gold)),
        "n_tasks": len({one.group for one in gold}),
        "n_left_out": len(examples) - len(looked_at),
        "calibration": calibration,
        "held_out": figures(gold, trained.held_out),
        "test": figures([examples[i].gold for i in testing], said) if testing else None,
        **_how(options, tried, features, used),
    }
    rarity = used.rarity if isinstance(used, HashedEncoder) else np.zeros(0, np.float32)
    return Learnt(Checkpoint(trained.model, rarity, temperature), used, features, options, story)


def _how(
    options: ScorerOptions,
    tried: dict[tuple[Feature, ...], Trained],
    features: tuple[Feature, ...],
    encoder: Encoder | None,
) -> dict[str, JsonValue]:
    """What the story says of the way in which the scorer was trained."""
    losses: dict[str, JsonValue] = {
        "with_texts" if names == FEATURES else "without_texts": [round(loss, 6) for loss in trained.losses]
        for names, trained in tried.items()
    }
    return {
        "options": options.model_dump(mode="json"),
        "encoder": encoder.config.model_dump(mode="json") if encoder else None,
        "features": list(features),
        "features_version": FEATURES_VERSION,
        "rules_version": RULES_VERSION,
        "n_epochs": tried[features].n_epochs,
        "held_out_losses": losses,
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
    }


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


def _describe(examples: Sequence[Example], options: ScorerOptions, alive: Callable[[], None]) -> dict[int, Described]:
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
    gold: Sequence[GoldTrajectory], held_out: Sequence[FloatArray]
) -> tuple[float, dict[str, JsonValue] | None]:
    """The temperature fitted on the held-out scores, and what it does on tasks that it was not fitted on."""
    try:
        found = calibrate(gold, list(held_out))
    except TooLittleGoldError:
        return 1.0, None
    temperature = float(asdict(found.calibrator)["temperature"])
    return temperature, {
        "n_trajectories": found.n_trajectories,
        "before": {"nll": found.before.nll, "ece": found.before.ece},
        "after": {"nll": found.after.nll, "ece": found.after.ece},
    }
