import pytest
from pydantic import ValidationError

from annotator.importing.schema import (
    FieldError,
    StepIn,
    TrajectoryIn,
    check_messages,
    check_storable,
    content_sha256,
    first_error,
    labels_by_message,
    place,
    short_key,
    steps_of,
    ternary,
)

ASKED = {"role": "user", "content": "What is 6*7?"}
ANSWERED = {"role": "assistant", "content": "42"}


def calling(*ids):
    calls = [{"id": i, "type": "function", "function": {"name": f"tool_{i}", "arguments": "{}"}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def trajectory(**changes):
    fields = {"external_id": "a", "source_format": "openai_chat", "instruction": "What is 6*7?", "group_key": "a"}
    return TrajectoryIn.model_validate({**fields, "messages": [ASKED, ANSWERED], **changes})


def refused(**changes):
    with pytest.raises(ValidationError) as caught:
        trajectory(**changes)
    return first_error(caught.value)


def test_a_step_is_an_assistant_message_whatever_the_number_of_its_calls():
    messages = [{"role": "system", "content": "Be brief."}, ASKED, calling("a", "b"), ASKED, ANSWERED]
    assert steps_of(messages) == [
        StepIn(index=0, message_index=2, kind="tool_call", tool_names=["tool_a", "tool_b"]),
        StepIn(index=1, message_index=4, kind="message", tool_names=[]),
    ]


def test_messages_are_kept_as_they_came_with_keys_nobody_knows():
    messages = [{**ASKED, "logprobs": [0.5, {"x": None}]}, {"provider": {"a": 1}, **ANSWERED, "name": None}]
    assert trajectory(messages=messages).messages is messages


def test_the_content_hash_sees_what_is_judged_and_nothing_else():
    one = content_sha256(trajectory())
    assert one == content_sha256(
        trajectory(
            external_id="b",
            source_format="x",
            instruction="y",
            metadata={"z": 1},
            reference_labels={1: 1},
            group_key="other",
            messages=[dict(reversed(ASKED.items())), ANSWERED],
        )
    )
    assert one != content_sha256(trajectory(messages=[ASKED, {**ANSWERED, "content": "43"}]))
    assert one != content_sha256(trajectory(tools=[{"type": "function"}]))
    assert len(one) == 64


def test_an_unknown_field_of_a_trajectory_is_refused_by_name():
    assert refused(reward=1.0).field == "reward"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"external_id": ""}, "external_id"),
        ({"external_id": "x" * 501}, "external_id"),
        ({"tools": [{}, "search"]}, "tools[1]"),
        ({"outcome": float("nan")}, "outcome"),
        ({"reference_labels": {1: 2}}, "reference_labels[1]"),
        ({"reference_labels": {0: 1}}, "step_labels.0"),
        ({"reference_labels": {2: 1}}, "step_labels.2"),
        ({"reference_outcome": 2}, "reference_outcome"),
        ({"messages": [ASKED]}, "messages"),
    ],
)
def test_a_wrong_field_is_refused_with_its_place(changes, field):
    assert refused(**changes).field == field


def test_labels_may_only_name_assistant_messages_and_the_refusal_says_what_was_named():
    assert refused(reference_labels={0: 1}).reason == (
        "message 0 has the role user; only assistant messages are steps."
    )
    assert refused(reference_labels={7: 1}).reason == "message 7 does not exist; only assistant messages are steps."


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("hello", "messages[1]"),
        ({"content": "no role"}, "messages[1].role"),
        ({"role": "bot", "content": ""}, "messages[1].role"),
        ({"role": ["user"], "content": ""}, "messages[1].role"),
        ({"role": "user"}, "messages[1].content"),
        ({"role": "user", "content": None}, "messages[1].content"),
        ({"role": "assistant", "content": 5}, "messages[1].content"),
        ({"role": "user", "content": ["text"]}, "messages[1].content[0]"),
        ({"role": "user", "content": [{"text": "no type"}]}, "messages[1].content[0]"),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, "messages[1].content[0].text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "messages[1].content[0].image_url.url"),
        ({"role": "user", "content": [{"type": "file"}]}, "messages[1].content[0].file"),
        (
            {"role": "user", "content": [{"type": "input_audio"}]},
            "messages[1].content[0].input_audio",
        ),
        ({"role": "assistant", "content": [{"type": "tool_use", "name": "x"}]}, "messages[1].content[0].type"),
        ({"role": "tool", "content": "x", "tool_call_id": 3}, "messages[1].tool_call_id"),
        ({"role": "tool", "content": "x", "is_error": "no"}, "messages[1].is_error"),
        ({"role": "assistant", "reasoning": {}}, "messages[1].reasoning"),
        ({"role": "assistant", "reasoning_content": []}, "messages[1].reasoning_content"),
        ({"role": "assistant", "tool_calls": {}}, "messages[1].tool_calls"),
        ({"role": "assistant", "tool_calls": ["x"]}, "messages[1].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{"id": 1, "name": "x"}]}, "messages[1].tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[1].tool_calls[0].name"),
        ({"role": "assistant", "tool_calls": [{"function": "x"}]}, "messages[1].tool_calls[0].function"),
        ({"role": "assistant", "tool_calls": [{"custom": {}}]}, "messages[1].tool_calls[0].custom.name"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": []}}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        ({"role": "assistant", "function_call": {"name": 1}}, "messages[1].function_call.name"),
        (calling("a", "b", "a"), "messages[1].tool_calls[2].id"),
    ],
)
def test_a_wrong_message_is_refused_with_its_place(message, field):
    with pytest.raises(FieldError) as caught:
        check_messages([ASKED, message, ANSWERED])
    assert caught.value.field == field
    assert caught.value.reason.endswith(".")


def test_the_same_call_id_may_come_back_in_a_later_message():
    messages = [ASKED, calling("a"), calling("a")]
    assert check_messages(messages) is messages


@pytest.mark.parametrize("messages", [None, [], {}, "text"])
def test_without_messages_there_is_no_trajectory(messages):
    with pytest.raises(FieldError, match="messages: must be a list with at least one message"):
        check_messages(messages)


def test_without_an_assistant_there_is_nothing_to_judge():
    with pytest.raises(FieldError, match="has no assistant message, so there is no step to judge"):
        check_messages([ASKED])


@pytest.mark.parametrize(
    ("record", "field", "said"),
    [
        ({"a": ["x", "nul \0 here"]}, "a[1]", "NUL"),
        ({"a": {"k\0": 1}}, "a.'k\\x00'", "NUL"),
        ({"a": "half \ud83d"}, "a", "surrogate"),
        ({"\udc80": 1}, "'\\udc80'", "UTF-8"),
        ([{"a": float("nan")}], "[0].a", "NaN"),
        ({"a": {"b": [0.5, float("-inf")]}}, "a.b[1]", "infinite"),
    ],
)
def test_what_the_database_cannot_hold_is_refused_with_its_place(record, field, said):
    with pytest.raises(FieldError) as caught:
        check_storable(record)
    assert caught.value.field == field
    assert said in caught.value.reason


def nested(depth):
    value = "leaf"
    for _ in range(depth):
        value = [value]
    return value


def test_a_hundred_levels_are_stored_and_one_more_is_refused():
    check_storable(nested(100))
    with pytest.raises(FieldError, match="nested deeper than 100 levels"):
        check_storable(nested(101))


def test_a_very_deep_record_does_not_exhaust_the_stack():
    with pytest.raises(FieldError, match="nested deeper"):
        check_storable(nested(100_000))


def test_a_place_can_be_shown_whatever_the_keys_are():
    assert place(["messages", 3, "tool_calls", 0, "id"]) == "messages[3].tool_calls[0].id"
    assert place(["a", "\0\ud800"]) == "a.'\\x00\\ud800'"
    assert len(place(["x" * 1000] * 50)) <= 301


def test_labels_are_read_by_message_and_null_means_not_judged():
    assert labels_by_message({"2": 1, "10": -1, "4": 0, "6": None}) == {2: 1, 10: -1, 4: 0}
    assert labels_by_message(None) == {}


@pytest.mark.parametrize("key", ["", "two", "02", "-1", "1.0", " 2", "²", "٢", "9" * 30])
def test_a_label_key_is_a_decimal_message_index(key):
    with pytest.raises(FieldError, match="the key must be the index of a message"):
        labels_by_message({key: 1})


@pytest.mark.parametrize("value", [2, "1", True, 1.0, [1], {}])
def test_a_label_is_minus_one_zero_or_one(value):
    with pytest.raises(FieldError, match=r"step_labels\.2: must be -1, 0, 1 or null"):
        labels_by_message({"2": value})
    with pytest.raises(FieldError, match="final_label: must be"):
        ternary(value, "final_label")


def test_labels_that_are_no_object_are_refused():
    with pytest.raises(FieldError, match="step_labels: must be an object"):
        labels_by_message([1, 0])


def test_a_long_key_keeps_its_start_and_becomes_unique_by_its_hash():
    assert short_key("x" * 500) == "x" * 500
    long, other = short_key("x" * 501), short_key("x" * 501 + "y")
    assert long[:400] == other[:400] == "x" * 400
    assert len(long) == len(other) == 464
    assert long != other
