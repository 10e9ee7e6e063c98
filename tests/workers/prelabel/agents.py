"""Trajectories of an agent with a search tool, and the tiny model most tests score them with."""

from pathlib import Path
from typing import Any

from annotator.importing.schema import MessageIn
from annotator.prelabelling.configs import read_file
from annotator.prelabelling.discriminative import DiscriminativeConfig
from annotator.prelabelling.scores import TrajectoryText

MODELS = Path(__file__).resolve().parents[3] / "workers/prelabel/models"
SEARCH: dict[str, Any] = {
    "type": "function",
    "function": {"name": "search", "parameters": {"properties": {"query": {}, "top": {}}}},
}


def model_file(name: str, **changes: dict[str, Any]) -> DiscriminativeConfig:
    """A ready model file, with some fields of its parts changed."""
    config = read_file(MODELS / f"{name}.yaml").model_dump()
    for part, fields in changes.items():
        config[part] = {**config[part], **fields}
    return DiscriminativeConfig.model_validate(config)


def call(query: str, number: int) -> dict[str, Any]:
    function = {"name": "search", "arguments": f'{{"query": "{query}"}}'}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": f"call-{number}", "function": function}]}


def result(text: str, number: int) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call-{number}", "content": text}


def run(*messages: dict[str, Any], system: str = "Be brief.", question: str = "Who?") -> TrajectoryText:
    start: list[MessageIn] = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return TrajectoryText(question, [*start, *messages], tools=[SEARCH])


def searches(*results: str) -> TrajectoryText:
    """One call and its result per text, and an answer."""
    messages = [m for i, text in enumerate(results) for m in (call(f"word {i}", i), result(text, i))]
    return run(*messages, {"role": "assistant", "content": "It is Ann."})
