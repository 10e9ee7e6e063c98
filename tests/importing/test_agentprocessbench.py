import io
import json
from collections import Counter
from pathlib import Path

import pytest

from annotator.importing.formats import BadRecord, detect, read
from annotator.importing.formats.agentprocessbench import to_trajectory
from annotator.importing.schema import steps_of

HOTPOTQA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "agentprocessbench" / "hotpotqa.jsonl"

MESSAGES = [
    {"role": "system", "content": "Be careful."},
    {"role": "user", "content": "Answer the question: what is 6*7?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "calc", "arguments": '{"x": "6*7"}'}}],
    },
    {"role": "tool", "name": "calc", "content": "42", "tool_call_id": "c1"},
    {"role": "assistant", "content": "42"},
]


def record(**changes):
    return {
        "total_index": 13,
        "query_index": 2,
        "sample_index": 3,
        "question": "What is 6*7?",
        "data_source": "bfcl",
        "ground_truth": [["calc"]],
        "answer_text": None,
        "messages": MESSAGES,
        "tools": [{"type": "function"}],
        "tool_metrics": {"calc": [{"host": "10.0.0.1"}]},
        "step_labels": {"2": 1, "4": None},
        "final_label": -1,
        **changes,
    }


def read_one(value):
    (found,) = read(io.BytesIO(json.dumps(value).encode()), format="agentprocessbench", name="x.jsonl")
    return found


def test_a_record_is_taken_apart_so_that_it_can_be_put_together_again():
    found = to_trajectory(record())
    assert found.external_id == "bfcl:2:3"
    assert found.instruction == found.group_key == "What is 6*7?"
    assert found.messages == MESSAGES
    assert found.reference == [["calc"]]
    assert (found.reference_labels, found.reference_outcome) == ({2: 1}, -1)
    assert found.metadata == {
        "total_index": 13,
        "query_index": 2,
        "sample_index": 3,
        "question": "What is 6*7?",
        "data_source": "bfcl",
        "answer_text": None,
    }


def test_internal_addresses_in_the_tool_metrics_are_dropped():
    assert "10.0.0.1" not in to_trajectory(record()).model_dump_json()


def test_a_long_question_is_shortened_in_the_group_only():
    question = "Why? " * 200
    found = to_trajectory(record(question=question))
    assert found.instruction == question
    assert len(found.group_key) == 464


def test_without_a_question_the_samples_of_a_query_stay_together():
    found = to_trajectory(record(question=None))
    assert found.instruction == "Answer the question: what is 6*7?"
    assert found.group_key == "bfcl:2"


def test_an_unlabelled_record_is_still_of_this_format():
    bare = record()
    del bare["step_labels"], bare["final_label"]
    assert detect(bare) == "agentprocessbench"
    assert to_trajectory(bare).reference_labels == {}
    assert to_trajectory(bare).reference_outcome is None


def test_a_labelled_chat_that_is_not_of_the_benchmark_is_a_chat():
    assert detect({"messages": MESSAGES, "step_labels": {"2": 1}}) == "openai_chat"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"data_source": ""}, "data_source"),
        ({"data_source": 5}, "data_source"),
        ({"query_index": "2"}, "query_index"),
        ({"query_index": -1}, "query_index"),
        ({"sample_index": True}, "sample_index"),
        ({"sample_index": None}, "sample_index"),
        ({"question": ["x"]}, "question"),
        ({"tools": {"type": "function"}}, "tools"),
        ({"step_labels": {"3": 1}}, "step_labels.3"),
        ({"step_labels": {"5": 1}}, "step_labels.5"),
        ({"step_labels": {"02": 1}}, "step_labels.02"),
        ({"step_labels": {"2": "1"}}, "step_labels.2"),
        ({"step_labels": [1]}, "step_labels"),
        ({"final_label": 2}, "final_label"),
        ({"messages": None}, "messages"),
        ({"messages": [*MESSAGES, {"role": "narrator"}]}, "messages[5].role"),
    ],
)
def test_a_wrong_field_is_a_bad_record_with_its_place(changes, field):
    found = read_one(record(**changes))
    assert isinstance(found, BadRecord)
    assert (found.line, found.unit, found.field) == (1, "line", field)


def test_a_list_is_not_a_record_of_the_benchmark():
    assert isinstance(read_one([MESSAGES[0]]), BadRecord)


@pytest.mark.skipif(not HOTPOTQA.exists(), reason="the data of AgentProcessBench are not in this repository")
def test_the_published_hotpotqa_split_is_read_whole_and_unchanged():
    with HOTPOTQA.open("rb") as file:
        found = list(read(file, format=None, name=HOTPOTQA.name))
    originals = [json.loads(line) for line in HOTPOTQA.read_text("utf-8").splitlines()]
    assert [each.messages for each in found] == [each["messages"] for each in originals]
    assert [each.tools for each in found] == [each["tools"] for each in originals]
    assert [each.reference for each in found] == [each["ground_truth"] for each in originals]
    assert len({each.external_id for each in found}) == 250
    assert len({each.group_key for each in found}) == 50
    assert sum(len(steps_of(each.messages)) for each in found) == 734
    assert Counter(v for each in found for v in each.reference_labels.values()) == {1: 499, 0: 56, -1: 179}
    assert [each.line for each in found] == list(range(1, 251))
