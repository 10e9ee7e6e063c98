"""The trajectory as JSON, the only form in which a judge sees it: data with indices, whatever the texts say.

Shortening rule: tool results first, the longest first, each keeping its head and its tail; then the definitions of
tools, down to their names; then system messages as tool results. What users and the agent itself wrote is never cut.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

from pydantic import JsonValue

from annotator.importing.chat import message_text, reasoning_of, role_of, tool_calls_of
from annotator.importing.schema import MessageIn
from annotator.prelabelling.scores import TrajectoryText

_MIN_KEPT = 400  # characters of a text that was cut
_MARK = "\n[… {n} characters left out here …]\n"
_STAGES: tuple[tuple[frozenset[str], bool], ...] = (  # the roles whose texts are cut; whether tools keep only names
    (frozenset({"tool"}), False),
    (frozenset({"tool"}), True),
    (frozenset({"tool", "system"}), True),
)


@dataclass(frozen=True)
class Rendered:
    """A trajectory as text, and what had to go."""

    text: str
    n_bytes: int
    n_dropped_bytes: int = 0
    first_truncated_step: int | None = None


class _Shown(TypedDict):
    index: int
    role: str
    step: NotRequired[int]
    name: NotRequired[str]
    reasoning: NotRequired[str]
    text: str
    tool_calls: NotRequired[list[dict[str, JsonValue]]]


@dataclass(frozen=True)
class _Payload:
    instruction: str
    tools: list[JsonValue]
    messages: list[_Shown]
    reference: dict[str, JsonValue]

    def text(self) -> str:
        fields = {"instruction": self.instruction, "tools": self.tools, "messages": self.messages, **self.reference}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))

    def shortened(self, limit: int, roles: frozenset[str], *, names_only: bool) -> "_Payload":
        return replace(
            self,
            tools=[_tool_name(tool) for tool in self.tools] if names_only else self.tools,
            messages=[_cut(message, limit) if message["role"] in roles else message for message in self.messages],
        )


def n_bytes(text: str) -> int:
    # Half of a surrogate pair, which no import lets in, must not stop a judge all the same.
    return len(text.encode("utf-8", "surrogatepass"))


def render(trajectory: TrajectoryText, *, with_reference: bool, max_bytes: int | None = None) -> Rendered | None:
    """The trajectory within `max_bytes`, or None if it is still longer when everything that may go is gone."""
    known: dict[str, JsonValue] = {"reference": trajectory.reference, "outcome": trajectory.outcome}
    whole = _Payload(
        trajectory.instruction,
        list(trajectory.tools),
        list(_shown(trajectory.messages)),
        known if with_reference else {},
    )
    text = whole.text()
    size = n_bytes(text)
    if max_bytes is None or size <= max_bytes:
        return Rendered(text, size)
    for roles, names_only in _STAGES:
        best = whole.shortened(_MIN_KEPT, roles, names_only=names_only)
        if n_bytes(best.text()) > max_bytes:
            continue
        fits, too_much = _MIN_KEPT, size
        while too_much - fits > 1:  # the most that every cut text may keep
            limit = (fits + too_much) // 2
            longer = whole.shortened(limit, roles, names_only=names_only)
            if n_bytes(longer.text()) <= max_bytes:
                fits, best = limit, longer
            else:
                too_much = limit
        text = best.text()
        return Rendered(text, n_bytes(text), size - n_bytes(text), _first_truncated(whole, best))
    return None


def _shown(messages: list[MessageIn]) -> Iterator[_Shown]:
    step = 0
    for index, message in enumerate(messages):
        shown: _Shown = {"index": index, "role": role_of(message), "text": message_text(message)}
        if shown["role"] == "assistant":
            shown["step"] = step
            step += 1
        name = message.get("name")
        if isinstance(name, str) and name:
            shown["name"] = name
        if reasoning := reasoning_of(message):
            shown["reasoning"] = reasoning
        if calls := tool_calls_of(message):
            shown["tool_calls"] = [
                {"name": call.name, "arguments": _arguments(call.arguments_pretty, is_json=call.is_valid_json)}
                for call in calls
            ]
        yield shown


def _arguments(pretty: str, *, is_json: bool) -> JsonValue:
    arguments: JsonValue = json.loads(pretty) if is_json else pretty
    return arguments


def _cut(message: _Shown, limit: int) -> _Shown:
    text = message["text"]
    if len(text) <= limit + len(_MARK):
        return message
    head, tail = limit * 3 // 4, limit - limit * 3 // 4
    return {**message, "text": text[:head] + _MARK.format(n=len(text) - limit) + text[-tail:]}


def _tool_name(tool: JsonValue) -> JsonValue:
    function = tool.get("function", tool) if isinstance(tool, dict) else tool
    return function.get("name") if isinstance(function, dict) else function


def _first_truncated(whole: _Payload, shortened: _Payload) -> int | None:
    """The first step judged on less than there was: the one whose result was cut, or 0 for what comes before it."""
    if shortened.tools != whole.tools:
        return 0
    step = 0
    for old, new in zip(whole.messages, shortened.messages, strict=True):
        if old["text"] != new["text"]:
            return step
        step = old.get("step", step)
    return None
