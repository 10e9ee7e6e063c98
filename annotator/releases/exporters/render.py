"""How a trajectory becomes text for the formats that know only text.

A message is a block: its heading in brackets, then its text; a blank line lies between blocks.

    [tools]              one JSON object per line, when the trajectory has tools
    [system], [user]     the content
    [assistant]          reasoning in <think>…</think>, content, then <tool_call>name(arguments)</tool_call> per call
    [tool:search]        what came back; [tool] when neither the message nor its call gives a name

A step's text is its assistant message alone. What the tools or the user say between two steps is context of the later
one and never part of a completion. Text, reasoning and calls are read by `importing.chat`: an image or a file is named
in brackets, and arguments are one line of JSON, or stay as they came where they are no JSON.

Imported text may look like a heading, so nothing should parse this form; the `provenance` export has the messages.
"""

import json
from collections.abc import Iterator

from pydantic import JsonValue

from annotator.importing.chat import Message, ToolCall, message_text, reasoning_of, role_of, tool_calls_of
from annotator.releases.exporters.record import GoldStep, ReleaseRecord, ordered_steps

_HEADING = "[assistant]\n"


def prompts(record: ReleaseRecord) -> Iterator[tuple[GoldStep, str, str]]:
    """Every step in order, with the prompt that leads to it (it ends in a line break) and the step's text."""
    blocks = _tool_block(record["tools"])
    names: dict[str, str] = {}
    done = 0
    for step in ordered_steps(record):
        blocks += [_block(message, names) for message in record["messages"][done : step["message_index"]]]
        done = step["message_index"]
        yield step, "\n\n".join([*blocks, _HEADING]), step_text(record["messages"][done])


def opening(record: ReleaseRecord) -> str:
    """What the agent had before its first step: tools and messages."""
    before = record["messages"][: ordered_steps(record)[0]["message_index"]]
    return "\n\n".join([*_tool_block(record["tools"]), *(_block(message, {}) for message in before)])


def step_texts(record: ReleaseRecord) -> list[str]:
    return [step_text(record["messages"][step["message_index"]]) for step in ordered_steps(record)]


def step_text(message: Message) -> str:
    """What the agent thought, said and called in one message."""
    thought = reasoning_of(message)
    calls = [f"<tool_call>{call.name}({_arguments(call)})</tool_call>" for call in tool_calls_of(message)]
    return "\n".join(filter(None, [f"<think>\n{thought}\n</think>" if thought else "", message_text(message), *calls]))


def _block(message: Message, names: dict[str, str]) -> str:
    """One message under its heading. `names` maps the ids of the calls seen so far to their tools, and grows."""
    role = role_of(message)
    if role == "assistant":
        names |= {call.id: call.name for call in tool_calls_of(message) if call.id}
        return _HEADING + step_text(message)
    if role == "tool":
        name = message.get("name") or names.get(str(message.get("tool_call_id")))
        role = f"tool:{name}" if name else "tool"
    return f"[{role}]\n{message_text(message)}"


def _tool_block(tools: list[JsonValue]) -> list[str]:
    return ["\n".join(["[tools]", *(json.dumps(tool, ensure_ascii=False) for tool in tools)])] if tools else []


def _arguments(call: ToolCall) -> str:
    try:
        line = json.dumps(json.loads(call.arguments), ensure_ascii=False, allow_nan=False)
        line.encode()  # half of a surrogate pair, escaped in the arguments, has no UTF-8
    except (ValueError, RecursionError):
        return call.arguments
    return line
