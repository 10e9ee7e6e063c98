"""Trajectories whose labels can be read off their words: WRONG is -1, PERHAPS is 0, everything else +1."""

from typing import Any

import numpy as np

from annotator.prelabelling.scores import TrajectoryText
from annotator.raters.metrics import GoldTrajectory
from workers.prm.data import Example

SAYS = {-1: "That is WRONG, I turn back.", 0: "PERHAPS it was there.", 1: "I go on to the next room."}


def messages_of(values: list[int], number: int = 0) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"Find key {number} in the house."}]
    for t, value in enumerate(values):
        call = {"name": "walk", "arguments": f'{{"to": "room {t + number}"}}'}
        messages.append(
            {"role": "assistant", "content": SAYS[value], "tool_calls": [{"id": f"c{t}", "function": call}]}
        )
        messages.append({"role": "tool", "tool_call_id": f"c{t}", "content": f"You see door {t}."})
    return messages


def values_of(number: int) -> list[int]:
    """Two to five steps, as a seeded generator throws them."""
    dice = np.random.default_rng(number)
    return [int(value) for value in dice.choice([-1, 0, 1], size=dice.integers(2, 6), p=[0.35, 0.2, 0.45])]


def example(number: int, *, n_tasks: int = 12, is_test: bool = False) -> Example:
    values = values_of(number)
    text = TrajectoryText(f"Find key {number} in the house.", messages_of(values, number), tools=[])
    gold = GoldTrajectory(np.array(values), np.ones(len(values), bool), f"task {number % n_tasks}")
    return Example(text, gold, content_sha256=f"{number:064x}", is_test=is_test)
