"""A trajectory as the rules read it: steps with their calls, and what came back from each. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from annotator.importing.chat import Message, ToolCall, message_text, role_of, tool_calls_of
from annotator.importing.schema import MessageIn, steps_of
from annotator.prelabelling.rules_config import RuleCode

_SHOWN = 80
_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


@dataclass(frozen=True)
class Finding:
    """What a rule noticed at a step. Not a label: `leaning` is only the value that it speaks for, None for no value."""

    step: int
    code: RuleCode
    leaning: int | None
    sentence: str
    evidence: dict[str, JsonValue]


@dataclass(frozen=True)
class Result:
    """What came back from a call. `says_error`: the message is marked as an error, whatever its text is."""

    text: str
    says_error: bool


@dataclass(frozen=True)
class Call:
    """One tool call. `arguments` is None and `canonical` the raw text where the arguments are no JSON."""

    name: str
    is_custom: bool  # takes free text: its arguments are no JSON on purpose
    raw: str
    arguments: JsonValue
    is_json: bool
    canonical: str
    result: Result | None


@dataclass(frozen=True)
class Step:
    """One assistant message: its visible text without the thinking, its calls, and the user's last words before it."""

    index: int
    message: Message
    text: str
    calls: list[Call]
    results: list[Result]  # all that came back, those that belong to no call included
    user_before: str
    has_spoken: bool  # the agent has said something before this step


@dataclass(frozen=True)
class Run:
    steps: list[Step]
    tools: dict[str, JsonValue]  # name -> the schema of its arguments, None where there is none
    seen: list[str]  # what the agent was given to read: system, user and tool text
    reference: JsonValue


def read_run(messages: Sequence[MessageIn], tools: Sequence[JsonValue], reference: JsonValue) -> Run:
    roles = [role_of(message) for message in messages]
    steps: list[Step] = []
    starts = [step.message_index for step in steps_of(list(messages))]
    user_before, has_spoken = "", False
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else len(messages)
        before = range(starts[index - 1] + 1 if index else 0, start)
        user_before = next((message_text(messages[i]) for i in reversed(before) if roles[i] == "user"), user_before)
        came_back = [messages[i] for i in range(start + 1, end) if roles[i] == "tool"]
        text = without_thinking(message_text(messages[start]))
        calls = _calls(messages[start], came_back)
        results = [_result(message) for message in came_back]
        steps.append(Step(index, messages[start], text, calls, results, user_before, has_spoken))
        has_spoken = has_spoken or bool(text.strip())
    seen = [message_text(m) for m, role in zip(messages, roles, strict=True) if role in ("system", "user", "tool")]
    return Run(steps, _schemas(tools), seen, reference)


def without_thinking(text: str) -> str:
    """The text without its closed <think> blocks. One pass: a hostile text may open thousands that never close."""
    kept, position = [], 0
    while (start := text.find("<think>", position)) >= 0 and (end := text.find("</think>", start)) >= 0:
        kept.append(text[position:start])
        position = end + len("</think>")
    return "".join([*kept, text[position:]])


def plain(text: str, limit: int = _SHOWN) -> str:
    """Some of a text on one line, fit to be stored and shown whatever it holds."""
    short = re.sub(r"\s+", " ", text[: limit * 2]).strip()
    short = short if len(short) <= limit else f"{short[: limit - 1]}…"
    return short if short.isprintable() else ascii(short)[1:-1]


def quoted(name: str) -> str:
    return f"“{plain(name)}”"


def listed(names: Sequence[str]) -> str:
    """A few names for a sentence."""
    shown = [quoted(name) for name in names[:5]]
    if len(names) > len(shown):
        return f"{', '.join(shown)} and {len(names) - len(shown)} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def json_type(value: JsonValue) -> str:
    return _JSON_TYPES.get(type(value), "null")


def _calls(message: Message, came_back: Sequence[Message]) -> list[Call]:
    """The calls with their results: matched by id, and what has no matching id in the order in which it came."""
    found = tool_calls_of(message)
    by_id = {key: answer for answer in reversed(came_back) if isinstance(key := answer.get("tool_call_id"), str)}
    matched = {call.id: by_id[call.id] for call in found if call.id in by_id}
    taken = {id(answer) for answer in matched.values()}
    rest = iter([answer for answer in came_back if id(answer) not in taken])
    calls = []
    for call in found:
        answer = matched.pop(call.id) if call.id in matched else next(rest, None)
        arguments, is_json, canonical = _arguments(call)
        result = _result(answer) if answer is not None else None
        calls.append(
            Call(call.name, call.kind == "custom", call.arguments_pretty, arguments, is_json, canonical, result)
        )
    return calls


def _arguments(call: ToolCall) -> tuple[JsonValue, bool, str]:
    """The arguments, whether they are JSON, and a text that is equal where they are."""
    raw = call.arguments_pretty
    if not raw.strip():  # some servers write nothing where a tool takes no arguments
        return {}, True, "{}"
    if call.is_valid_json:
        try:
            arguments = json.loads(raw)
            return arguments, True, json.dumps(arguments, sort_keys=True)
        except RecursionError:
            pass
    return None, False, raw


def _result(message: Message) -> Result:
    return Result(message_text(message), message.get("is_error") is True)


def _schemas(tools: Sequence[JsonValue]) -> dict[str, JsonValue]:
    """Tools as {type: function, function: {name, parameters}} or flat; Anthropic says input_schema."""
    schemas: dict[str, JsonValue] = {}
    for tool in tools:
        inner = tool.get("function") if isinstance(tool, Mapping) else None
        described = inner if isinstance(inner, Mapping) else tool
        if isinstance(described, Mapping) and isinstance(name := described.get("name"), str) and name:
            schemas.setdefault(name, described.get("parameters", described.get("input_schema")))
    return schemas
