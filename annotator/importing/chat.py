"""Read one chat message: its text, its reasoning and its tool calls, in every spelling that is in use.

Pure, and safe on hostile input: whatever a message holds, these functions answer and never raise.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import JsonValue

Message = Mapping[str, JsonValue]

_CANONICAL_ROLES = {"developer": "system", "function": "tool"}
_MAX_URL = 200


@dataclass(frozen=True)
class ToolCall:
    """One call, with its arguments as they came: as text, which ought to be JSON."""

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"  # a custom call takes free text: no JSON is no fault there

    @property
    def arguments_pretty(self) -> str:
        """Indented JSON, or the text as it came where it cannot be indented."""
        return self._shown[0]

    @property
    def is_valid_json(self) -> bool:
        return self._shown[1]

    @cached_property
    def _shown(self) -> tuple[str, bool]:
        # Not before it is asked for: indenting takes longer than everything else that an import does with a call.
        return _pretty(self.arguments)


def role_of(message: Message) -> str:
    """The role as one of system, user, assistant, tool."""
    role = _text(message.get("role"))
    return _CANONICAL_ROLES.get(role, role)


def text_of(content: JsonValue) -> str:
    """The text of a message's content; an image, file or recording is named in brackets, never embedded.

    Reasoning parts are left to `reasoning_of`. A `<think>` block inside the text stays where it is.
    """
    if isinstance(content, list):
        return "\n".join(shown for part in content if (shown := _part_text(part)) is not None)
    return _text(content)


def message_text(message: Message) -> str:
    """`text_of` the content, followed by the refusal where the model put one beside the content."""
    return "\n".join(filter(None, [text_of(message.get("content")), _text(message.get("refusal"))]))


def reasoning_of(message: Message) -> str:
    """What the model thought before it answered, or "". Servers repeat it under several names; it is given once."""
    found = [_text(message.get("reasoning_content")), _text(message.get("reasoning"))]
    found.append("\n".join(_thinking(message.get("thinking_blocks"))))
    found.append("\n".join(_thinking(message.get("content"))))
    return "\n\n".join(dict.fromkeys(filter(None, found)))


def tool_calls_of(message: Message) -> list[ToolCall]:
    """The calls of one message in their order, the legacy `function_call` last."""
    calls = message.get("tool_calls")
    found = [_tool_call(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        found.append(_tool_call(legacy))
    return found


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _thinking(parts: JsonValue) -> Iterator[str]:
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict) and part.get("type") == "thinking":
            yield _text(part.get("thinking"))


def _part_text(part: JsonValue) -> str | None:
    """What a reader sees of one content part; None for a part that is not content."""
    if not isinstance(part, dict):
        return _text(part)
    kind = _text(part.get("type"))
    detail = part.get(kind)
    match kind:
        case "text" | "refusal":
            return _text(detail)
        case "thinking" | "redacted_thinking":
            return None
        case "image_url":
            return f"[image: {_reference(_text(detail.get('url') if isinstance(detail, dict) else detail))}]"
        case "input_audio" if isinstance(detail, dict):
            return f"[audio: {_text(detail.get('format'))[:40]}, {_size(_text(detail.get('data')))}]"
        case "file" if isinstance(detail, dict):
            data = _reference(_text(detail.get("file_data")))
            names = (_text(detail.get("filename")), _text(detail.get("file_id")), data)
            return f"[file: {next(filter(None, names), 'unnamed')[:_MAX_URL]}]"
    return f"[part of type {kind[:40]}]"


def _reference(url: str) -> str:
    if not url.startswith("data:"):
        return url[:_MAX_URL]
    head, _, data = url.partition(",")
    return f"data URL {head[5:].split(';')[0][:40]}, {_size(data)}"


def _size(base64_text: str) -> str:
    size = len(base64_text) * 3 // 4
    return f"{size} bytes" if size < 1000 else f"{size // 1000} kB"


def _tool_call(call: Message) -> ToolCall:
    custom, function = call.get("custom"), call.get("function")
    inner = custom if isinstance(custom, dict) else function if isinstance(function, dict) else call
    given = inner.get("input") if inner is custom else inner.get("arguments")
    arguments = given if isinstance(given, str) else "" if given is None else json.dumps(given)
    kind: Literal["function", "custom"] = "custom" if inner is custom else "function"
    return ToolCall(_text(call.get("id")), _text(inner.get("name")), arguments, kind)


def _pretty(raw: str) -> tuple[str, bool]:
    """The arguments as indented JSON and True, or as they came and whether they are valid JSON."""
    pieces: list[str] = []
    size, allowed = 0, 4 * len(raw) + 1000
    try:
        value = json.loads(raw)
        for piece in json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False).iterencode(value):
            size += len(piece)
            if size > allowed:  # deep nesting multiplies the indentation: 100 kB could become 90 MB
                return raw, True
            pieces.append(piece)
        pretty = "".join(pieces)
        pretty.encode()  # half of a surrogate pair, escaped in the arguments, could not be sent to a browser
    except (ValueError, RecursionError):
        return raw, False
    return pretty, True
