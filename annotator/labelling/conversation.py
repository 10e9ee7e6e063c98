"""A trajectory's messages as the pages show them: steps, and what stands between them. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from annotator.importing.chat import message_text, reasoning_of, role_of, tool_calls_of

# Text beyond so many characters is folded; its first lines stay visible. System prompts are read once, so they fold
# early; what the agent wrote is what is being judged, so it folds late.
FOLD_AFTER = {"system": 300, "tool": 1200, "user": 2500, "assistant": 6000}
CALL_FOLD = 3000
PREVIEW = 400
# A folded text beyond so many characters is not in the page at all: it is fetched when the reader unfolds it.
DEFER_AFTER = 20_000

# Only pixel formats that carry no script, and only inline: a remote image would tell its host who reads what.
_INLINE_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+\Z")


@dataclass(frozen=True)
class Text:
    """A text to show; when it is long, `preview` stands for it until the reader unfolds it.

    `part` names it within its message: text, reasoning, call-0, call-1, …
    """

    full: str
    preview: str | None
    part: str = "text"

    @property
    def is_deferred(self) -> bool:
        return self.preview is not None and len(self.full) > DEFER_AFTER

    @property
    def size(self) -> int:
        return len(self.full)

    def __bool__(self) -> bool:
        return bool(self.full.strip())


@dataclass(frozen=True)
class Call:
    """One tool call as the page shows it."""

    name: str
    arguments: Text
    is_broken: bool  # the arguments should be JSON and are not


@dataclass(frozen=True)
class Block:
    """One message; `step` is its step index if it is one."""

    message_index: int
    role: str
    title: str
    text: Text
    step: int | None = None
    reasoning: Text | None = None
    calls: list[Call] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """An assistant message that says and does nothing still is a step, and the page must say so."""
        return not (self.text or self.calls or self.images or self.reasoning)


def blocks_of(messages: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Every message in order; assistant messages carry their step index from 0."""
    blocks: list[Block] = []
    tool_of_call: dict[str, str] = {}
    n_steps = 0
    for index, message in enumerate(messages):
        role = role_of(message)
        calls = tool_calls_of(message) if role == "assistant" else []
        tool_of_call.update({call.id: call.name for call in calls if call.id})
        reasoning = reasoning_of(message)
        blocks.append(
            Block(
                message_index=index,
                role=role,
                title=_title(message, role, tool_of_call),
                text=_folded(message_text(message), FOLD_AFTER.get(role, FOLD_AFTER["user"])),
                step=n_steps if role == "assistant" else None,
                reasoning=_folded(reasoning, 0, part="reasoning") if reasoning else None,
                calls=[
                    Call(
                        call.name,
                        _folded(call.arguments_pretty, CALL_FOLD, part=f"call-{number}"),
                        call.kind == "function" and not call.is_valid_json,
                    )
                    for number, call in enumerate(calls)
                ],
                images=_images(message.get("content")),
            )
        )
        n_steps += role == "assistant"
    return blocks


def _title(message: Mapping[str, Any], role: str, tool_of_call: Mapping[str, str]) -> str:
    if role == "tool":
        name = message.get("name") or tool_of_call.get(str(message.get("tool_call_id") or ""), "")
        return f"Result of {name}" if name else "Tool result"
    name = message.get("name")
    title = {"system": "System", "user": "User", "assistant": "Assistant"}.get(role, role.capitalize())
    return f"{title} {name}" if name else title


def _folded(text: str, limit: int, part: str = "text") -> Text:
    if len(text) <= limit:
        return Text(text, None, part)
    preview = text[:PREVIEW]
    return Text(text, preview[: preview.rfind(" ")] if " " in preview[PREVIEW // 2 :] else preview, part)


def text_of_part(message: Mapping[str, Any], part: str) -> str | None:
    """The whole of one text of a message; None if it has no such part."""
    if part == "text":
        return message_text(message)
    if part == "reasoning":
        return reasoning_of(message)
    calls = tool_calls_of(message)
    number = part.removeprefix("call-")
    is_number = number.isdecimal() and len(number) < 6
    return calls[int(number)].arguments_pretty if is_number and int(number) < len(calls) else None


def deferred_with(messages: Sequence[Mapping[str, Any]], words: str) -> list[tuple[int, str]]:
    """Message index and part of every text that is not in the page and holds the words, whatever their case."""
    wanted = words.lower()
    if not wanted:
        return []
    return [
        (block.message_index, text.part)
        for block in blocks_of(messages)
        for text in (block.reasoning, block.text, *(call.arguments for call in block.calls))
        if text is not None and text.is_deferred and wanted in text.full.lower()
    ]


def _images(content: object) -> list[str]:
    images = []
    for part in content if isinstance(content, list) else []:
        image = part.get("image_url") if isinstance(part, dict) else None
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str) and _INLINE_IMAGE.match(url):
            images.append(url)
    return images
