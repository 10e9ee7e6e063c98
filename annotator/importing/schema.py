"""The one schema behind every import format: a trajectory as the platform stores it.

Messages stay the chat dicts that came in, checked but never rewritten: they are exported again, and an export has to
reproduce them exactly. `annotator.importing.chat` reads them.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    SkipValidation,
    ValidationError,
    model_validator,
)

from annotator.errors import message_of
from annotator.importing.chat import role_of, tool_calls_of

MAX_DEPTH = 100
MAX_KEY = 500  # characters of an external id or a group key: both are indexed, and an index entry has to stay small

MessageIn = dict[str, JsonValue]
Value = Literal[-1, 0, 1]
Unit = Literal["line", "record"]

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_KNOWN_KEYS: dict[str, type] = {
    "name": str,
    "tool_call_id": str,
    "refusal": str,
    "reasoning": str,
    "reasoning_content": str,
    "thinking_blocks": list,
    "tool_calls": list,
    "function_call": dict,
    "is_error": bool,
}
_TYPE_NAMES = {str: "a string", list: "a list", dict: "an object", bool: "true or false"}
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_MESSAGE_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class FieldError(ValueError):
    """A refusal with its place inside the record, such as `messages[3].role` ("" for the whole record)."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


def place(path: Iterable[str | int]) -> str:
    """The path as text that can be stored and shown, whatever the keys are."""
    text = ""
    for part in path:
        shown = f"[{part}]" if isinstance(part, int) else part[:80] if part.isprintable() else ascii(part[:80])
        text += shown if isinstance(part, int) or not text else f".{shown}"
    return text if len(text) <= 300 else f"{text[:300]}…"


def first_error(error: ValidationError) -> FieldError:
    """The first thing that the schema refused, with its place."""
    found = error.errors(include_url=False)[0]
    inner = found.get("ctx", {}).get("error")
    return inner if isinstance(inner, FieldError) else FieldError(place(found["loc"]), message_of(found))


def check_messages(messages: object) -> list[MessageIn]:
    """The same list, after a check of every key that the platform reads. Other keys are kept as they are."""
    if not isinstance(messages, list) or not messages:
        raise FieldError("messages", "must be a list with at least one message.")
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    if not any(message["role"] == "assistant" for message in messages):
        raise FieldError("messages", "has no assistant message, so there is no step to judge.")
    return messages


# What a JSON decoder made is a JsonValue; to walk through all of it again costs more than all other checks.
Decoded = SkipValidation[JsonValue]


class TrajectoryIn(BaseModel):
    """One agent run from a file, ready to be stored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    external_id: str = Field(min_length=1, max_length=MAX_KEY)
    source_format: str
    instruction: str
    messages: Annotated[list[MessageIn], PlainValidator(check_messages)]
    tools: list[dict[str, Decoded]] = []
    reference: Decoded = None
    outcome: float | None = Field(default=None, allow_inf_nan=False)
    metadata: dict[str, Decoded] = {}
    group_key: str = Field(min_length=1, max_length=MAX_KEY)
    # Keyed by 0-based message index, as in AgentProcessBench. Both come from a key named like the places below.
    reference_labels: dict[int, Value] = {}
    reference_outcome: Value | None = None
    # Where it stood in the file, for a complaint about it that comes up later; not part of the run.
    line: int = 0
    unit: Unit = "record"

    @cached_property
    def messages_json(self) -> str:
        return canonical(self.messages)

    @cached_property
    def tools_json(self) -> str:
        return canonical(self.tools)

    @model_validator(mode="after")
    def _labels_name_assistant_messages(self) -> "TrajectoryIn":
        for index in self.reference_labels:
            role = self.messages[index]["role"] if 0 <= index < len(self.messages) else None
            if role != "assistant":
                found = f"has the role {role}" if role else "does not exist"
                raise FieldError(f"step_labels.{index}", f"message {index} {found}; only assistant messages are steps.")
        return self


class StepIn(BaseModel):
    """One step: one assistant message, whatever the number of its tool calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int
    message_index: int
    kind: Literal["tool_call", "message"]
    tool_names: list[str]


def steps_of(messages: list[MessageIn]) -> list[StepIn]:
    """The steps in their order, exactly as AgentProcessBench counts them."""
    acting = [(i, message) for i, message in enumerate(messages) if role_of(message) == "assistant"]
    steps = []
    for index, (message_index, message) in enumerate(acting):
        names = [call.name for call in tool_calls_of(message)]
        kind: Literal["tool_call", "message"] = "tool_call" if names else "message"
        steps.append(StepIn(index=index, message_index=message_index, kind=kind, tool_names=names))
    return steps


def content_sha256(trajectory: TrajectoryIn) -> str:
    """The hash of what is judged: two runs with equal messages and tools have the same, whatever their names are."""
    return _judged_sha256(trajectory.messages_json, trajectory.tools_json)


def judged_sha256(messages: JsonValue | list[MessageIn], tools: JsonValue | list[dict[str, JsonValue]]) -> str:
    """SHA-256 of messages and tools as canonical JSON."""
    return _judged_sha256(canonical(messages), canonical(tools))


def _judged_sha256(messages_json: str, tools_json: str) -> str:
    return hashlib.sha256(f"[{messages_json},{tools_json}]".encode()).hexdigest()


def canonical(value: JsonValue | list[MessageIn] | list[dict[str, JsonValue]]) -> str:
    """JSON with its keys sorted, no spaces, ASCII. It is hashed, and it is what PostgreSQL gets to read."""
    return _CANONICAL.encode(value)


def short_key(text: str) -> str:
    """The text itself if it fits a key, else its start and its hash."""
    return text if len(text) <= MAX_KEY else text[:400] + hashlib.sha256(text.encode()).hexdigest()


def labels_by_message(step_labels: JsonValue) -> dict[int, Value]:
    """`step_labels` of a record with integer keys. A null is a step that nobody judged: it is left out."""
    if step_labels is None:
        return {}
    if not isinstance(step_labels, dict):
        raise FieldError("step_labels", "must be an object from message index to -1, 0 or 1.")
    labels: dict[int, Value] = {}
    for key, value in step_labels.items():
        where = place(["step_labels", key])
        if not _MESSAGE_INDEX.fullmatch(key):
            raise FieldError(where, 'the key must be the index of a message, counted from 0, such as "2".')
        if (label := ternary(value, where)) is not None:
            labels[int(key)] = label
    return labels


def ternary(value: JsonValue, where: str) -> Value | None:
    """A value as it stands in a record: -1, 0, 1, or null for not judged."""
    if value is None:
        return None
    for allowed in (-1, 0, 1):
        # `True == 1` and `1.0 == 1`, but neither is how a label is written.
        if type(value) is int and value == allowed:
            return allowed
    raise FieldError(where, "must be -1, 0, 1 or null.")


def check_storable(record: JsonValue) -> None:
    """Refuse what PostgreSQL or a later export could not hold: NUL, broken Unicode, NaN, huge numbers, deep nesting.

    Walks without recursion, so that nothing in a file can exhaust the stack.
    """
    stack: list[tuple[JsonValue, tuple[str | int, ...]]] = [(record, ())]
    while stack:
        value, path = stack.pop()
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, (dict, list)):
            if len(path) >= MAX_DEPTH:
                raise FieldError(place(path), f"is nested deeper than {MAX_DEPTH} levels.")
            children: Iterable[tuple[str | int, JsonValue]] = enumerate(value)
            if isinstance(value, dict):
                for key in value:
                    if not key.isascii() or "\0" in key:
                        _check_text(key, (*path, key))
                children = value.items()
            for at, child in children:
                # Most of a record is plain text, which needs no place.
                if type(child) is not str or not child.isascii() or "\0" in child:
                    stack.append((child, (*path, at)))
        elif isinstance(value, float) and not math.isfinite(value):
            found = "is NaN" if math.isnan(value) else "is infinite or beyond the range of a 64-bit number"
            raise FieldError(place(path), f"{found}; write null or a number.")


def _check_text(text: str, path: tuple[str | int, ...]) -> None:
    if "\0" in text:
        raise FieldError(place(path), "contains a NUL character, which PostgreSQL cannot store; remove it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        # Bytes that are not UTF-8 arrive here too: the reader turns them into lone surrogates to keep their place.
        reason = "contains bytes that are not UTF-8 or half of a surrogate pair; save the file as UTF-8."
        raise FieldError(place(path), reason) from None


def _check_message(message: object, where: str) -> None:
    if not isinstance(message, dict):
        raise FieldError(where, "must be an object with a role.")
    role = message.get("role")
    if role not in _ROLES:
        raise FieldError(f"{where}.role", f"must be one of {', '.join(_ROLES)}.")
    for key, expected in _KNOWN_KEYS.items():
        if message.get(key) is not None:
            _check_type(message[key], expected, f"{where}.{key}")
    content = message.get("content")
    if isinstance(content, list):
        for index, part in enumerate(content):
            _check_part(part, f"{where}.content[{index}]")
    elif not isinstance(content, str) and (content is not None or role not in ("assistant", "tool", "function")):
        raise FieldError(f"{where}.content", "must be a string or a list of content parts.")
    _check_tool_calls(message.get("tool_calls") or [], where)
    if message.get("function_call") is not None:
        _check_call(message["function_call"], f"{where}.function_call", takes="arguments")


def _check_type(value: object, expected: type, where: str) -> None:
    if not isinstance(value, expected):
        raise FieldError(where, f"must be {_TYPE_NAMES[expected]}.")


def _check_part(part: object, where: str) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise FieldError(where, 'must be an object with a "type", such as {"type": "text", "text": "…"}.')
    kind = part["type"]
    if kind in ("tool_use", "tool_result"):
        # Kept as an unknown part it would hide what the agent did from the people who judge it.
        raise FieldError(f"{where}.type", f"{kind} is Anthropic's form of a tool call; convert it to tool_calls first.")
    if kind in ("text", "refusal"):
        _check_type(part.get(kind), str, f"{where}.{kind}")
    elif kind == "image_url" and not isinstance(part.get(kind), str):
        _check_type(part.get(kind), dict, f"{where}.{kind}")
        _check_type(part[kind].get("url"), str, f"{where}.{kind}.url")
    elif kind in ("input_audio", "file"):
        _check_type(part.get(kind), dict, f"{where}.{kind}")


def _check_tool_calls(calls: list[object], where: str) -> None:
    seen: set[str] = set()
    for index, call in enumerate(calls):
        at = f"{where}.tool_calls[{index}]"
        if not isinstance(call, dict):
            raise FieldError(at, "must be an object.")
        if (call_id := call.get("id")) is not None:
            _check_type(call_id, str, f"{at}.id")
            if call_id in seen:
                raise FieldError(f"{at}.id", "is used twice in this message, so its result could not be told apart.")
            seen.add(call_id)
        if "custom" in call:
            _check_call(call["custom"], f"{at}.custom", takes="input")
        elif "function" in call:
            _check_call(call["function"], f"{at}.function", takes="arguments")
        else:  # some frameworks leave the inner object out: {"id", "name", "arguments"}
            _check_call(call, at, takes="arguments")


def _check_call(call: object, where: str, *, takes: str) -> None:
    if not isinstance(call, dict):
        raise FieldError(where, "must be an object with a name.")
    _check_type(call.get("name"), str, f"{where}.name")
    given = call.get(takes)
    if given is not None and not isinstance(given, (str, dict)):
        raise FieldError(f"{where}.{takes}", "must be a string or an object.")
