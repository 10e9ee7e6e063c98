"""The model files that ship with the project work as they are."""

from pathlib import Path

import pytest
import yaml

from annotator.prelabelling.judge_config import JudgeConfig
from annotator.prelabelling.scores import TrajectoryScores
from tests.workers.judge.conftest import make_trajectory
from tests.workers.judge.server import labels, said
from workers.prelabel.judge.scoring import Judge

FILES = sorted((Path(__file__).resolve().parents[3] / "workers" / "prelabel" / "models").glob("judge-*.yaml"))


def read(path):
    return JudgeConfig.model_validate(yaml.safe_load(path.read_text()))


def test_there_is_one_of_each_sort():
    configs = {path.stem: read(path) for path in FILES}
    assert {name: config.mode for name, config in configs.items()} == {
        "judge-blind": "blind",
        "judge-vllm": "blind",
        "judge-with-reference": "with_reference",
    }
    assert all(config.name == stem for stem, config in configs.items())
    assert len({str(config.identity()) for config in configs.values()}) == 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_ready_file_scores_a_trajectory(endpoint, path):
    config = read(path)
    server = endpoint([said(labels("pos", "neg"))])
    environ = {"JUDGE_BASE_URL": server.base_url, "JUDGE_API_KEY": "k", "VLLM_BASE_URL": server.base_url}
    judge = Judge.from_environment(config, guideline="", environ=environ)
    ((_, scores),) = judge.score([("a", make_trajectory(reference="42"))], should_stop=lambda: False)
    assert isinstance(scores, TrajectoryScores)
    assert scores.probs.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert len(server.bodies) == config.votes.n
