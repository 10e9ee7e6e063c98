"""Trajectories as text."""

import pytest
from pydantic import JsonValue

from annotator.releases.exporters.record import Message, ReleaseRecord
from annotator.releases.exporters.render import opening, prompts, step_text
from tests.releases.test_exporters import make_record


def with_messages(*messages: Message) -> ReleaseRecord:
    """One step: the last assistant message."""
    record = make_record(1, 1, 1)
    record["tools"] = []
    record["messages"] = list(messages)
    last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
    record["steps"] = [{**record["steps"][0], "message_index": last}]
    return record


def call(name: str, arguments: JsonValue, call_id: str = "c1") -> JsonValue:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("_case", "message", "text"),
    [
        ("content alone", {"content": "Bern."}, "Bern."),
        ("no content", {"content": None}, ""),
        (
            "a call alone",
            {"content": "", "tool_calls": [call("ls", '{"a": 1}')]},
            '<tool_call>ls({"a": 1})</tool_call>',
        ),
        (
            "an object",
            {"content": None, "tool_calls": [call("ls", {"ü": [1]})]},
            '<tool_call>ls({"ü": [1]})</tool_call>',
        ),
        ("arguments that are no JSON", {"tool_calls": [call("ls", "{a")]}, "<tool_call>ls({a)</tool_call>"),
        (
            "calls stand in their order, after the content",
            {"content": "Both.", "tool_calls": [call("b", "{}"), call("a", "{}", "c2")]},
            "Both.\n<tool_call>b({})</tool_call>\n<tool_call>a({})</tool_call>",
        ),
        ("reasoning comes first", {"content": "x", "reasoning": "why"}, "<think>\nwhy\n</think>\nx"),
        ("a thought in the content stays", {"content": "<think>why</think>x"}, "<think>why</think>x"),
        ("parts", {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
    ],
)
def test_step_text(_case: str, message: Message, text: str) -> None:
    assert step_text({"role": "assistant", **message}) == text


def test_an_image_is_named_and_not_embedded() -> None:
    image: JsonValue = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    user: Message = {"role": "user", "content": [{"type": "text", "text": "See:"}, image]}
    text = opening(with_messages(user, {"role": "assistant", "content": "ok"}))
    assert text.startswith("[user]\nSee:\n[image")
    assert "iVBOR" not in text


def test_a_tool_result_is_headed_by_its_name_or_that_of_its_call() -> None:
    record = with_messages(
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": "", "tool_calls": [call("ls", "{}", "a"), call("cat", "{}", "b")]},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "name": "own", "content": "3"},
        {"role": "tool", "tool_call_id": "z", "content": "4"},
        {"role": "assistant", "content": "done"},
    )
    ((_, prompt, text),) = prompts(record)
    assert text == "done"
    assert prompt == (
        "[system]\nBe brief.\n\n"
        "[assistant]\n<tool_call>ls({})</tool_call>\n<tool_call>cat({})</tool_call>\n\n"
        "[tool:cat]\n2\n\n[tool:ls]\n1\n\n[tool:own]\n3\n\n[tool]\n4\n\n[assistant]\n"
    )


def test_an_id_used_again_names_the_latest_call() -> None:
    record = with_messages(
        {"role": "assistant", "content": "", "tool_calls": [call("ls", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "assistant", "content": "", "tool_calls": [call("cat", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "assistant", "content": "done"},
    )
    ((_, prompt, _text),) = prompts(record)
    assert "[tool:ls]\n1" in prompt
    assert "[tool:cat]\n2" in prompt


def test_a_trajectory_that_begins_with_a_step_has_only_a_heading_as_prompt() -> None:
    record = with_messages({"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Hi."})
    assert [prompt for _, prompt, _ in prompts(record)] == ["[assistant]\n"]
    assert opening(record) == ""
