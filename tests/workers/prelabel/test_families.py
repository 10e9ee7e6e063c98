"""Every ready model file on a tiny checkpoint of its architecture, against the published rule read plainly."""

from pathlib import Path

import numpy as np
import pytest

from annotator.importing.schema import MessageIn
from annotator.prelabelling.configs import read_folder
from annotator.prelabelling.discriminative import DiscriminativeConfig
from annotator.prelabelling.scores import NEUTRAL_SHARE, TrajectoryScores, TrajectoryText
from tests.workers.prelabel import checkpoints
from tests.workers.prelabel.references import REFERENCES
from workers.prelabel.discriminative import load

SHIPPED = read_folder(Path(__file__).resolve().parents[3] / "workers/prelabel/models")
MODELS = {name: config for name, config in SHIPPED.items() if isinstance(config, DiscriminativeConfig)}

QUESTION = "Ann has 2 apples and buys 3 more. How many apples + pears does she have - none lost?"
STEPS = [
    ["Step 1: She starts with 2 apples.", "Step 2: She buys 3, so 2 + 3 = 5.", "Step 3: The answer is 5."],
    ["The answer is 7 - 2 = 5."],
    [f"Step {i}: sentence {i} ends here" for i in range(1, 7)],
]


def solution(steps: list[str]) -> TrajectoryText:
    messages: list[MessageIn] = [{"role": "user", "content": QUESTION}]
    messages += [{"role": "assistant", "content": step} for step in steps]
    return TrajectoryText(QUESTION, messages, tools=[])


def test_every_ready_model_has_a_reference():
    assert set(MODELS) == set(REFERENCES) == set(checkpoints.BUILDERS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_scores_equal_the_published_rule(name, tmp_path):
    model, tokenizer = checkpoints.save(name, tmp_path)
    config = MODELS[name]

    got = dict(load(config, tmp_path, "cpu").score((i, solution(steps)) for i, steps in enumerate(STEPS)))

    values = []
    for i, steps in enumerate(STEPS):
        expected = REFERENCES[name](model, tokenizer, QUESTION, steps)
        scores = got[i]
        assert isinstance(scores, TrajectoryScores)
        assert scores.probs.shape == (len(steps), 3)
        assert np.abs(scores.probs - three_columns(name, expected)).max() < 1e-5
        assert np.abs(scores.raw - own_number(name, expected)).max() < 1e-5
        assert (scores.n_dropped_tokens, scores.first_truncated_step, scores.note) == (0, None, "")
        if expected.ndim == 2 and expected.shape[1] == 32:
            assert np.abs(scores.spread - expected.std(axis=1)).max() < 1e-5
        else:
            assert scores.spread is None
        values.append(scores.raw)
    assert np.ptp(np.concatenate(values)) > 0.002  # equal scores everywhere would show nothing


def three_columns(name, expected):
    if name.startswith("reasoneval"):
        return expected
    if name.startswith("freeprm"):
        return expected[:, [1, 2, 0]]
    p = (expected + 1) / 2 if name.startswith("pure") else expected
    p = p.mean(axis=1) if p.ndim == 2 else p
    return np.stack([1 - p, NEUTRAL_SHARE * p, (1 - NEUTRAL_SHARE) * p], axis=1)


def own_number(name, expected):
    if name.startswith("reasoneval"):
        return expected[:, 1] + expected[:, 2]
    if name.startswith("freeprm"):
        return expected[:, 0] + expected[:, 2]
    return expected.mean(axis=1) if expected.ndim == 2 else expected
