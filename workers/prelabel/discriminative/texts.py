"""From a trajectory to pieces of text: the question, and for every step what came before it and what the agent wrote.

A process reward model knows a question and steps. For an agent with tools the question is the system message, the
signatures of the tools and what the user asked first; a step is what the agent wrote, calls included. What came in
between (tool results, users) was not written by the agent: it stands before the step as context, so that the marker
after a step comes before the result of its call, and the score of a step sees only its past.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import JsonValue

from annotator.importing.chat import ToolCall, message_text, reasoning_of, role_of, tool_calls_of
from annotator.prelabelling.discriminative import Render
from annotator.prelabelling.scores import ScoringError, TrajectoryText

Kind = Literal["system", "tools", "question", "context", "tool_result", "step"]

_NUMBERING = re.compile(r"\s*step\s*\d+\s*[:.]\s*", re.IGNORECASE)
EMPTY_STEP = "(empty message)"


@dataclass(frozen=True)
class Piece:
    """Text that comes from the trajectory: never trusted to hold no marker."""

    text: str
    kind: Kind
    where: str  # for people: "messages[3]"


@dataclass(frozen=True)
class StepPieces:
    context: tuple[Piece, ...]  # between the last step and this one
    step: Piece


@dataclass(frozen=True)
class Pieces:
    question: tuple[Piece, ...]
    steps: tuple[StepPieces, ...]

    def changed(self, change: Callable[[Piece], Piece]) -> "Pieces":
        steps = tuple(StepPieces(tuple(map(change, step.context)), change(step.step)) for step in self.steps)
        return Pieces(tuple(map(change, self.question)), steps)


def pieces_of(trajectory: TrajectoryText, rule: Render) -> Pieces:
    """The pieces of a trajectory, texts already replaced as the rule says. Raises ScoringError without any step."""
    names = _names_of_calls(trajectory)
    before: list[Piece] = []  # the context of the next step
    question: list[Piece] = []
    steps: list[StepPieces] = []
    asked = False
    for number, message in enumerate(trajectory.messages):
        where, role = f"messages[{number}]", role_of(message)
        if role == "assistant":
            steps.append(StepPieces(tuple(before), Piece(_step_text(message, rule), "step", where)))
            before = []
        elif role == "system" and not steps:
            question.append(Piece(message_text(message).strip(), "system", where))
        elif role == "user" and not steps and not asked:
            question.append(Piece(message_text(message).strip(), "question", where))
            asked = True
        else:
            called = message.get("name") or names.get(str(message.get("tool_call_id"))) or "?"
            tag = f"tool:{called}" if role == "tool" else role
            text = f"[{tag}] {message_text(message).strip()}"
            before.append(Piece(text, "tool_result" if role == "tool" else "context", where))
    if not steps:
        raise ScoringError("The trajectory has no assistant message, so there is no step to score.")
    if not asked:
        question.append(Piece(trajectory.instruction.strip(), "question", "the instruction"))
    if trajectory.tools:
        at = sum(piece.kind == "system" for piece in question)
        question.insert(at, Piece(_signatures(trajectory.tools), "tools", "the tools"))
    found = Pieces(tuple(piece for piece in question if piece.text), tuple(steps))
    return found.changed(lambda piece: replace(piece, text=_replaced(piece.text, rule)))


def _step_text(message: dict[str, JsonValue], rule: Render) -> str:
    parts = [reasoning_of(message) if rule.reasoning else "", message_text(message)]
    parts += [f"<tool_call>{call.name}({_arguments(call)})</tool_call>" for call in tool_calls_of(message)]
    text = rule.join.join(part.strip() for part in parts if part.strip())
    if rule.strip_numbering and (numbered := _NUMBERING.match(text)):
        text = text[numbered.end() :].strip()
    return text or EMPTY_STEP


def _arguments(call: ToolCall) -> str:
    """The arguments on one line."""
    if call.is_valid_json:
        try:
            return json.dumps(json.loads(call.arguments_pretty), ensure_ascii=False)
        except (ValueError, RecursionError):
            pass
    return call.arguments_pretty


def _names_of_calls(trajectory: TrajectoryText) -> dict[str, str]:
    """The tool's name by the id of the call, for results that do not name their tool."""
    return {call.id: call.name for message in trajectory.messages for call in tool_calls_of(message) if call.id}


def _signatures(tools: list[dict[str, JsonValue]]) -> str:
    return "\n".join(["Tools:", *map(_signature, tools)])


def _signature(tool: dict[str, JsonValue]) -> str:
    """Name and names of the parameters, as OpenAI and Anthropic write them."""
    function = tool.get("function")
    described = function if isinstance(function, dict) else tool
    parameters = described.get("parameters", described.get("input_schema"))
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    return f"{described.get('name', '?')}({', '.join(properties if isinstance(properties, dict) else ())})"


def _replaced(text: str, rule: Render) -> str:
    for old, new in rule.replace.items():
        while old in text:
            text = text.replace(old, new)
    return text
