import json

import pytest

from annotator.importing.chat import ToolCall, message_text, reasoning_of, role_of, text_of, tool_calls_of

PNG = "data:image/png;base64," + "A" * 16_000


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ("<think>hm</think>plain", "<think>hm</think>plain"),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "one"}, {"type": "refusal", "refusal": "two"}, "three"], "one\ntwo\nthree"),
        ([{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}], "[image: data URL image/png, 12 kB]"),
        ([{"type": "image_url", "image_url": "https://example.org/a.png"}], "[image: https://example.org/a.png]"),
        ([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}], "[audio: wav, 3 bytes]"),
        ([{"type": "file", "file": {"filename": "a.pdf", "file_data": PNG}}], "[file: a.pdf]"),
        ([{"type": "file", "file": {"file_id": "file-1"}}], "[file: file-1]"),
        ([{"type": "file", "file": {"file_data": PNG}}], "[file: data URL image/png, 12 kB]"),
        ([{"type": "file", "file": {}}], "[file: unnamed]"),
        ([{"type": "video_url", "video_url": {}}], "[part of type video_url]"),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "said"}], "said"),
    ],
)
def test_text_of_content(content, text):
    assert text_of(content) == text


def test_a_refusal_beside_the_content_is_shown():
    assert message_text({"role": "assistant", "content": None, "refusal": "I will not."}) == "I will not."
    assert message_text({"role": "assistant", "content": "No.", "refusal": "I will not."}) == "No.\nI will not."


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"content": "x"}, ""),
        ({"reasoning_content": "a"}, "a"),
        ({"reasoning": "b"}, "b"),
        ({"thinking_blocks": [{"type": "thinking", "thinking": "c", "signature": "s"}]}, "c"),
        ({"content": [{"type": "thinking", "thinking": "d"}]}, "d"),
        ({"reasoning_content": "same", "reasoning": "same", "thinking_blocks": []}, "same"),
        ({"reasoning_content": "a", "reasoning": "b"}, "a\n\nb"),
    ],
)
def test_reasoning_is_found_under_every_name_and_given_once(message, reasoning):
    assert reasoning_of(message) == reasoning


def test_parallel_calls_keep_their_order_and_their_arguments_are_indented():
    message = {
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "calc", "arguments": '{"x":1,"é":[]}'}},
            {"id": "c2", "type": "function", "function": {"name": "calc", "arguments": {"x": 2}}},
            {"id": "c3", "name": "flat", "arguments": "[1]"},
        ]
    }
    calls = tool_calls_of(message)
    assert calls == [
        ToolCall("c1", "calc", '{"x":1,"é":[]}'),
        ToolCall("c2", "calc", '{"x": 2}'),
        ToolCall("c3", "flat", "[1]"),
    ]
    assert [(call.arguments_pretty, call.is_valid_json) for call in calls] == [
        ('{\n  "x": 1,\n  "é": []\n}', True),
        ('{\n  "x": 2\n}', True),
        ("[\n  1\n]", True),
    ]


def test_a_custom_call_and_a_legacy_call_are_calls():
    custom = {"id": "c1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    assert tool_calls_of({"tool_calls": [custom]}) == [ToolCall("c1", "sql", "select 1", "custom")]
    legacy = {"function_call": {"name": "search", "arguments": '{"q": 1}'}}
    assert tool_calls_of(legacy) == [ToolCall("", "search", '{"q": 1}')]


@pytest.mark.parametrize(
    "arguments",
    ["", "{", "{'a': 1}", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "[" * 100_000, "9" * 5000],
)
def test_arguments_that_cannot_be_shown_as_json_are_shown_as_they_came(arguments):
    call = {"id": "c", "function": {"name": "x", "arguments": arguments}}
    (found,) = tool_calls_of({"tool_calls": [call]})
    assert (found.arguments_pretty, found.is_valid_json) == (arguments, False)


def test_indenting_never_multiplies_the_size_of_hostile_arguments():
    arguments = "[" * 200 + "0," * 100_000 + "0" + "]" * 200
    call = {"id": "c", "function": {"name": "x", "arguments": arguments}}
    (found,) = tool_calls_of({"tool_calls": [call]})
    assert (found.arguments_pretty, found.is_valid_json) == (arguments, True)


@pytest.mark.parametrize(
    ("given", "role"),
    [("developer", "system"), ("function", "tool"), ("assistant", "assistant"), ("user", "user"), (None, "")],
)
def test_old_and_new_role_names_are_one_of_four(given, role):
    assert role_of({"role": given}) == role


@pytest.mark.parametrize("odd", [None, True, 1.5, "x", [], [None, 1, {}], {}, {"type": 1}, {"url": []}])
def test_whatever_a_message_holds_it_can_be_shown(odd):
    for key in ("content", "tool_calls", "function_call", "reasoning", "thinking_blocks", "role", "refusal"):
        for value in (odd, [odd], {"function": odd}, [{"custom": odd}], [{"type": "file", "file": odd}]):
            message = {key: value}
            shown = [message_text(message), reasoning_of(message), role_of(message)]
            json.dumps(shown + [call.arguments_pretty for call in tool_calls_of(message)])
