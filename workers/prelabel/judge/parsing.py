"""From the text of an answer to the labels in it. What cannot be read is an abstention, never a 0."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from workers.prelabel.judge.prompts import MAX_REASON

COLUMNS = {"neg": 0, "neu": 1, "pos": 2}  # of the probabilities: P(-1), P(0), P(+1)

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


@dataclass(frozen=True)
class StepVote:
    """What one answer says about one step. `label_at` is where the label's word begins in the answer's text."""

    column: int
    reason: str
    label_at: int


def read_votes(text: str, n_steps: int) -> dict[int, StepVote]:
    """The readable steps of the last JSON object that speaks of any step; what surrounds it does not matter."""
    found: dict[int, StepVote] = {}
    for start in _objects(text):
        votes = dict(_votes(text, start, n_steps))
        found = votes or found
    return found


def _objects(text: str) -> Iterator[int]:
    """Where each whole JSON object begins that is not inside another one."""
    position = text.find("{")
    while position >= 0:
        try:
            _, end = _DECODER.raw_decode(text, position)
        except ValueError:
            end = position + 1  # a brace in prose, or an object that was cut off
        except RecursionError:
            return  # a model that went round in circles; trying each of its braces would take minutes
        else:
            yield position
        position = text.find("{", end)


def _votes(text: str, start: int, n_steps: int) -> Iterator[tuple[int, StepVote]]:
    steps = {str(step): step for step in range(n_steps)}
    for key, value, at in _members(text, start):
        if key in steps and isinstance(value, dict):
            places = {name: place for name, _, place in _members(text, at)}
            vote = _step_vote(steps[key], value, places)
            if vote is not None:
                yield steps[key], vote


def _step_vote(step: int, value: Mapping[str, JsonValue], places: Mapping[str, int]) -> StepVote | None:
    label, reason, root = value.get("label"), value.get("reason"), value.get("root")
    if not isinstance(label, str) or label not in COLUMNS:
        return None
    reason = _storable(reason)[:MAX_REASON] if isinstance(reason, str) else ""
    if label == "neg" and type(root) is int and 0 <= root < step:
        reason += f" (The error began in step {root + 1}.)"
    elif value.get("fix") is True:
        reason += " (Corrects an earlier error.)"
    return StepVote(COLUMNS[label], reason.strip(), places["label"] + 1)


def _storable(reason: str) -> str:
    """On one line, without what PostgreSQL cannot hold: NUL and halves of surrogate pairs."""
    return " ".join(reason.replace("\0", " ").encode("utf-8", "replace").decode().split())


def _members(text: str, start: int) -> Iterator[tuple[str, JsonValue, int]]:
    """Key, value and the value's place for each member of the object at `start`, which is known to be whole."""
    position = _skip(text, start + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, _skip(text, position) + 1)  # past the colon
        value, end = _DECODER.raw_decode(text, position)
        yield key, value, position
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)


def _skip(text: str, position: int) -> int:
    while text[position] in _SPACE:
        position += 1
    return position
