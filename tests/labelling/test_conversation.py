"""Messages as the page shows them."""

import json
from typing import Any

import pytest

from annotator.labelling.conversation import DEFER_AFTER, FOLD_AFTER, blocks_of, deferred_with
from annotator.templatetags.stepmark import marked


def test_assistant_messages_are_the_steps_and_the_rest_stands_between_them() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q":1}'}}
    blocks = blocks_of(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Look it up."},
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
            {"role": "assistant", "content": ""},
        ]
    )
    assert [(b.role, b.title, b.step) for b in blocks] == [
        ("system", "System", None),
        ("user", "User", None),
        ("assistant", "Assistant", 0),
        ("tool", "Result of search", None),
        ("assistant", "Assistant", 1),
    ]
    assert blocks[2].calls[0].arguments.full == '{\n  "q": 1\n}'
    assert blocks[2].reasoning is not None
    assert blocks[2].reasoning.full == "Look it up."
    assert [b.is_empty for b in blocks] == [False, False, False, False, True]


def test_long_text_is_folded_behind_a_preview_and_short_text_is_not() -> None:
    long = "word " * 1000
    folded, whole = blocks_of([{"role": "tool", "content": long}, {"role": "tool", "content": "word"}])
    assert folded.text.full == long
    assert folded.text.preview == ("word " * 80).strip()
    assert whole.text.preview is None
    exact = "x" * FOLD_AFTER["tool"]
    assert blocks_of([{"role": "tool", "content": exact}])[0].text.preview is None


def test_only_inline_pixel_images_are_shown() -> None:
    parts = [
        {"type": "text", "text": "See:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,PHN2Zz4="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/track.png"}},
        {"type": "image_url", "image_url": {"url": 'data:image/png;base64,AA" onerror="x'}},
    ]
    assert blocks_of([{"role": "user", "content": parts}])[0].images == ["data:image/png;base64,iVBORw0KGgo="]


def test_words_are_looked_up_in_the_texts_that_are_not_in_the_page() -> None:
    long = "x" * DEFER_AFTER
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "read", "arguments": json.dumps({"q": f"{long} Oslo"})},
    }
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Oslo"},  # in the page
        {"role": "assistant", "content": "", "tool_calls": [call], "reasoning_content": f"{long} OSLO"},
        {"role": "tool", "tool_call_id": "c1", "content": f"{long} oslo"},
        {"role": "tool", "tool_call_id": "c1", "content": f"{long} Bergen"},
    ]
    assert deferred_with(messages, "oSLO") == [(1, "reasoning"), (1, "call-0"), (2, "text")]
    assert deferred_with(messages, "") == []


@pytest.mark.parametrize(
    ("_case", "text", "shown"),
    [
        ("plain text", "a < b & ‘c’", "a &lt; b &amp; ‘c’"),
        ("colours of a terminal", "\x1b[31mred", '<span class="mark">U+001B</span>[31mred'),
        ("a turn of direction", "a\u202egnp.exe", 'a<span class="mark">U+202E</span>gnp.exe'),
        ("zero width", "pass\u200bword", 'pass<span class="mark">U+200B</span>word'),
        ("tags that carry a second text", "\U000e0041", '<span class="mark">U+E0041</span>'),
        ("line ends and tabs stay", "a\n\tb\r\n", "a\n\tb\r\n"),
        ("joiners that scripts need stay", "می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀"),
        ("markup stays text", "<b>\u200e</b>", '&lt;b&gt;<span class="mark">U+200E</span>&lt;/b&gt;'),
    ],
)
def test_what_cannot_be_seen_is_shown_by_its_code(_case: str, text: str, shown: str) -> None:
    assert marked(text) == shown
