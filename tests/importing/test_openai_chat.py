import copy
import io
import json
from pathlib import Path

import pytest

from annotator.importing.formats import BadRecord, detect, read
from annotator.importing.formats.openai_chat import matches, to_trajectory
from annotator.importing.schema import FieldError, content_sha256, steps_of

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "formats"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the samples of other people's formats are not in this repo")

ASKED = {"role": "user", "content": "What is 6*7?"}
ANSWERED = {"role": "assistant", "content": "42"}
MESSAGES = [{"role": "developer", "content": "Be brief."}, ASKED, ANSWERED]
TOOLS = [{"type": "function", "function": {"name": "calc"}}]


def read_one(record):
    (found,) = read(io.BytesIO(json.dumps(record).encode()), format=None, name="x.json")
    return found


@pytest.mark.parametrize(
    "record",
    [
        MESSAGES,
        {"messages": MESSAGES},
        {"messages": MESSAGES[:-1], "choices": [{"message": ANSWERED}]},
        {"request": {"messages": MESSAGES[:-1]}, "response": {"choices": [{"message": ANSWERED}]}},
        {"request": {"messages": MESSAGES}},
    ],
)
def test_every_container_gives_the_same_messages(record):
    before = copy.deepcopy(record)
    found = read_one(record)
    assert found.messages == MESSAGES
    assert found.source_format == "openai_chat"
    assert found.instruction == found.group_key == "What is 6*7?"
    assert to_trajectory(record).messages == MESSAGES
    assert record == before


def test_siblings_with_a_meaning_find_their_place_and_the_rest_is_metadata():
    found = to_trajectory(
        {
            "id": "run-7",
            "task_id": 12,
            "messages": MESSAGES,
            "tools": TOOLS,
            "reward": 1,
            "ground_truth": {"answer": 42},
            "step_labels": {"2": 1},
            "final_label": -1,
            "model": "m",
            "usage": {"total": 3},
        }
    )
    assert (found.external_id, found.group_key, found.tools) == ("run-7", "12", TOOLS)
    assert (found.outcome, found.reference) == (1.0, {"answer": 42})
    assert (found.reference_labels, found.reference_outcome) == ({2: 1}, -1)
    assert found.metadata == {"model": "m", "usage": {"total": 3}}


def test_a_second_name_for_the_same_thing_is_kept_as_metadata():
    found = to_trajectory({"external_id": "a", "id": "b", "outcome": 0.5, "reward": 1, "messages": MESSAGES})
    assert (found.external_id, found.outcome) == ("a", 0.5)
    assert found.metadata == {"id": "b", "reward": 1}


def test_without_an_id_the_content_names_the_trajectory():
    found = to_trajectory({"messages": MESSAGES, "tools": TOOLS})
    assert found.external_id == f"sha256:{content_sha256(found)[:16]}"


def test_the_group_is_the_question_and_a_long_one_is_shortened():
    question = "Why? " * 200
    found = to_trajectory({"messages": MESSAGES, "question": question})
    assert found.instruction == question
    assert len(found.group_key) == 464
    assert found.metadata == {"question": question}


def test_a_run_that_nobody_asked_for_is_its_own_group():
    found = to_trajectory({"id": "a", "messages": [ANSWERED]})
    assert (found.instruction, found.group_key) == ("", "a")


def test_the_rest_of_a_choice_is_kept():
    found = to_trajectory(
        {"messages": [ASKED], "choices": [{"index": 0, "finish_reason": "stop", "message": ANSWERED}]}
    )
    assert found.metadata == {"choices": [{"index": 0, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "choices", [[], {}, "x", [ANSWERED], [{"message": None}], [{"message": ANSWERED}, {"message": ANSWERED}]]
)
def test_a_response_has_exactly_one_choice(choices):
    assert read_one({"messages": [ASKED], "choices": choices}).field == "choices"


def test_legacy_calls_custom_calls_and_parts_are_kept_unchanged():
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{broken"}},
        {"role": "function", "name": "f", "content": None},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "sql", "input": "?"}}]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "1"}], "is_error": True},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "reasoning_content": "hm"},
    ]
    found = read_one({"messages": messages})
    assert found.messages == messages
    assert [(s.kind, s.tool_names) for s in steps_of(messages)] == [
        ("tool_call", ["f"]),
        ("tool_call", ["sql"]),
        ("message", []),
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"messages": [ASKED]}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"tools": "calc"}, "tools"),
        ({"tools": ["calc"]}, "tools[0]"),
        ({"id": ["a"]}, "id"),
        ({"id": True}, "id"),
        ({"group_key": 1.5}, "group_key"),
        ({"id": "x" * 501}, "external_id"),
        ({"reward": "high"}, "reward"),
        ({"outcome": {"reward": 1}}, "outcome"),
        ({"step_labels": {"1": 1}}, "step_labels.1"),
        ({"step_labels": {"2": 3}}, "step_labels.2"),
        ({"final_label": 3}, "final_label"),
    ],
)
def test_a_wrong_field_is_a_bad_record_with_its_place(changes, field):
    found = read_one({"messages": MESSAGES, **changes})
    assert isinstance(found, BadRecord)
    assert (found.line, found.field) == (1, field)


def test_a_boolean_reward_counts_as_one_or_zero():
    assert to_trajectory({"messages": MESSAGES, "reward": True}).outcome == 1.0


@pytest.mark.parametrize("record", [None, 1, "x", [], [1], {}, {"request": []}, [{"content": "no role"}]])
def test_other_values_are_not_recognised(record):
    assert not matches(record)
    with pytest.raises(FieldError, match="is in no known format"):
        detect(record)


@needs_data
def test_the_minimal_sample_is_read_unchanged():
    path = DATA / "own_minimal" / "openai_chat.json"
    with path.open("rb") as file:
        (found,) = read(file, format=None, name=path.name)
    assert found.messages == json.loads(path.read_bytes())["messages"]
    assert [(s.message_index, s.tool_names) for s in steps_of(found.messages)] == [(2, ["calc", "calc"]), (5, [])]


@needs_data
def test_a_log_of_openhands_is_read_unchanged():
    path = DATA / "openai_chat" / "fncall-llm-message.json"
    with path.open("rb") as file:
        (found,) = read(file, format=None, name=path.name)
    assert found.messages == json.loads(path.read_bytes())
