"""A trained scorer at work: trajectories in, scores out."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from annotator.prelabelling.rules_config import RULES_VERSION
from annotator.prelabelling.scorer_config import FEATURES_VERSION, ScorerConfig
from annotator.prelabelling.scores import ScoringError, TrajectoryScores, TrajectoryText
from annotator.raters.calibration import Temperature
from workers.prm import checkpoint
from workers.prm.checkpoint import Checkpoint
from workers.prm.encoder import Encoder, load_encoder
from workers.prm.errors import ScorerError
from workers.prm.features import Described, Inputs, describe, inputs_of
from workers.prm.train import predict

_AT_ONCE = 32

Key = TypeVar("Key")


class Scorer:
    """Keeps what it has encoded only for as long as it lives: one run."""

    def __init__(self, config: ScorerConfig, made: Checkpoint, encoder: Encoder | None) -> None:
        self.config, self._made, self._encoder = config, made, encoder

    def score(
        self, trajectories: Iterable[tuple[Key, TrajectoryText]]
    ) -> Iterator[tuple[Key, TrajectoryScores | ScoringError]]:
        """In the order in which they come; one that cannot be scored says why and stops no other."""
        waiting = iter(trajectories)
        while batch := list(islice(waiting, _AT_ONCE)):
            looked_at = [self._described(trajectory) for _, trajectory in batch]
            good = [one for one in looked_at if isinstance(one, Described)]
            inputs = inputs_of(good, self._encoder, self.config.features)
            scored = iter(self._scores(inputs))
            for (key, _), one in zip(batch, looked_at, strict=True):
                yield key, one if isinstance(one, ScoringError) else next(scored)

    def _described(self, trajectory: TrajectoryText) -> Described | ScoringError:
        most = self._made.model.shape.max_steps
        if not 0 < trajectory.n_steps <= most:
            return ScoringError(f"It has {trajectory.n_steps} steps; the scorer reads 1 to {most}.")
        try:
            return describe(trajectory, mask=self.config.mask, mode=self.config.mode)
        except RecursionError:
            return ScoringError("The trajectory is nested too deep for the rules that the scorer looks at.")

    def _scores(self, inputs: list[Inputs]) -> list[TrajectoryScores]:
        calibrator = Temperature(self._made.temperature)
        said = zip(inputs, *predict(self._made.model, [one.values for one in inputs]), strict=True)
        return [
            TrajectoryScores(
                probs=calibrator.probabilities(probs),
                raw=1 - probs[:, 0],
                rationales=[None] * len(probs),
                n_tokens=one.n_tokens,
                n_dropped_tokens=sum(one.dropped),
                first_truncated_step=next((t for t, dropped in enumerate(one.dropped) if dropped), None),
                spread=spread,
            )
            for one, probs, spread in said
        ]


def load(config: ScorerConfig, folder: Path, encoders: Path) -> Scorer:
    """The scorer of a model file, its weights from `folder`. Raises ScorerError, saying what to do."""
    if (config.features_version, config.rules_version) != (FEATURES_VERSION, RULES_VERSION):
        raise ScorerError(
            f"The scorer {config.name} was trained on features of version {config.features_version} and rules of "
            f"version {config.rules_version}; this worker computes versions {FEATURES_VERSION} and {RULES_VERSION}, "
            "which would mean something else to it. Train it again."
        )
    made = checkpoint.read(folder, config.weights_sha256)
    encoder = load_encoder(config.encoder, encoders, made.rarity) if config.encoder else None
    return Scorer(config, made, encoder)
