import pytest

from annotator.prelabelling.judge_config import JudgeConfig
from annotator.prelabelling.scores import TrajectoryText
from tests.workers.judge.server import Endpoint
from workers.prelabel.judge import client
from workers.prelabel.judge.scoring import Judge


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(client, "_BACKOFF", (0.01, 0.05))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def endpoint():
    """Start an endpoint with `endpoint(answer)`; it stops with the test."""
    started = []

    def start(answer):
        started.append(Endpoint(answer if callable(answer) else lambda body, n: answer[min(n, len(answer) - 1)]))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


def make_config(**changes):
    return JudgeConfig.model_validate(
        {
            "kind": "judge",
            "name": "test-judge",
            "model": "some-model",
            "mode": "blind",
            "endpoint": {"base_url_env": "JUDGE_URL", "api_key_env": "JUDGE_KEY"},
            **changes,
            "limits": {"timeout_s": 5, "max_attempts": 3, **changes.get("limits", {})},
        }
    )


def make_trajectory(n_steps=2, *, result="42", **changes):
    messages = [{"role": "system", "content": "Be careful."}, {"role": "user", "content": "What is 6*7?"}]
    for step in range(n_steps - 1):
        call = {"id": f"c{step}", "type": "function", "function": {"name": "calc", "arguments": '{"x": "6*7"}'}}
        messages += [
            {"role": "assistant", "content": f"Attempt {step}.", "tool_calls": [call]},
            {"role": "tool", "name": "calc", "content": result, "tool_call_id": f"c{step}"},
        ]
    if n_steps:
        messages.append({"role": "assistant", "content": "The answer is 42."})
    tools = [{"type": "function", "function": {"name": "calc", "parameters": {"type": "object"}}}]
    return TrajectoryText("What is 6*7?", changes.pop("messages", messages), tools, **changes)


def make_judge(endpoint, config=None, **changes):
    return Judge(
        config or make_config(), **{"base_url": endpoint.base_url, "api_key": "secret", "guideline": "", **changes}
    )


def judge_all(endpoint, trajectories, config=None, *, should_stop=lambda: False, **changes):
    """The judge after its run, and what it said about each trajectory, by its place in the list."""
    judge = make_judge(endpoint, config, **changes)
    return judge, dict(judge.score(enumerate(trajectories), should_stop=should_stop))


def judge_one(endpoint, config=None, trajectory=None):
    _, results = judge_all(endpoint, [trajectory or make_trajectory()], config)
    return results[0]
