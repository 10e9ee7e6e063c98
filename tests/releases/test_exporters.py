"""Every target format on one small record, and what `write` promises."""

import copy
import hashlib
import io
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import pytest
from pydantic import JsonValue

from annotator.releases.exporters import EXPORTERS, ExportOptions, ReleaseRecord, WriteResult, write
from annotator.releases.exporters.prm800k import LABELER
from annotator.releases.exporters.record import (
    NEUTRAL_DROPPED,
    NO_FIRST_ERROR,
    NO_TEXT,
    NOT_COUNTED,
    NOT_SETTLED,
    GoldOutcome,
    GoldStep,
    Message,
    RawLabel,
    Row,
)

Neutral: TypeAlias = Literal["positive", "negative", "drop"]

SEARCH: Message = {
    "role": "assistant",
    "content": "I look it up.",
    "reasoning_content": "Which city? Not Zürich.",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q":"Bern"}'}}],
}
MESSAGES: list[Message] = [
    {"role": "system", "content": "You search."},
    {"role": "user", "content": "Capital of Switzerland?"},
    SEARCH,
    {"role": "tool", "tool_call_id": "c1", "content": "Bern is the federal city."},
    {"role": "assistant", "content": "Hm."},
    {"role": "user", "content": "And?"},
    {"role": "assistant", "content": "Geneva."},
]
TOOL: JsonValue = {"type": "function", "function": {"name": "search"}}
OPENING = """\
[tools]
{"type": "function", "function": {"name": "search"}}

[system]
You search.

[user]
Capital of Switzerland?"""
FIRST = """\
<think>
Which city? Not Zürich.
</think>
I look it up.
<tool_call>search({"q": "Bern"})</tool_call>"""
PROMPTS = [
    f"{OPENING}\n\n[assistant]\n",
    f"{OPENING}\n\n[assistant]\n{FIRST}\n\n[tool:search]\nBern is the federal city.\n\n[assistant]\n",
    f"{OPENING}\n\n[assistant]\n{FIRST}\n\n[tool:search]\nBern is the federal city.\n\n[assistant]\nHm.\n\n"
    "[user]\nAnd?\n\n[assistant]\n",
]


def make_label(value: int, at: str = "2026-03-01T10:00:00+00:00") -> RawLabel:
    return {
        "rater": "r-1f00aa11",
        "value": value,
        "guideline_version": 2,
        "annotation": 12,
        "labelled_at": at,
        "submitted_at": "2026-03-01T12:00:00+00:00",
    }


def make_step(index: int, message_index: int, value: int | None, *, counts: bool = True) -> GoldStep:
    return {
        "index": index,
        "message_index": message_index,
        "value": value,
        "provenance": "adjudicated" if value is None else "unanimous",
        "counts": counts,
        "labels": [make_label(1), make_label(-1)] if value is None else [make_label(value)],
        "decisions": [],
    }


def make_outcome(value: int | None, *, counts: bool = True) -> GoldOutcome:
    provenance = "unanimous" if value is not None else "adjudicated"
    return {"value": value, "provenance": provenance, "counts": counts, "labels": [], "decisions": []}


def make_record(*values: int | None, uncounted: tuple[int, ...] = (), outcome: int | None = -1) -> ReleaseRecord:
    """MESSAGES with these values on their three steps."""
    places = zip((2, 4, 6), values, strict=True)
    return {
        "trajectory_id": 7,
        "external_id": "runs:7",
        "group_key": "capital",
        "split": "train",
        "content_sha256": "ab" * 32,
        "source_format": "chat",
        "instruction": "Capital of Switzerland?",
        "reference": {"answer": "Bern"},
        "environment_outcome": None,
        "metadata": {},
        "tools": [copy.deepcopy(TOOL)],
        "messages": copy.deepcopy(MESSAGES),
        "steps": [make_step(i, at, value, counts=i not in uncounted) for i, (at, value) in enumerate(places)],
        "outcome": make_outcome(outcome),
        "reference_labels": {},
        "reference_outcome": None,
    }


def exported(target: str, *records: ReleaseRecord, options: ExportOptions | None = None) -> tuple[bytes, WriteResult]:
    out = io.BytesIO()
    result = write(target, records, out, options or ExportOptions())
    return out.getvalue(), result


def rows_of(target: str, record: ReleaseRecord, options: ExportOptions | None = None) -> list[dict[str, Any]]:
    return list(EXPORTERS[target].to_rows(record, options or ExportOptions()))


def left_out(target: str, record: ReleaseRecord, options: ExportOptions | None = None) -> dict[str, int]:
    return exported(target, record, options=options)[1].left_out


# --- AgentProcessBench


def test_agentprocessbench_from_another_source_names_the_record() -> None:
    (row,) = rows_of("agentprocessbench", make_record(1, 0, -1))
    assert row == {
        "record_id": "runs:7",
        "question": "Capital of Switzerland?",
        "data_source": "chat",
        "ground_truth": {"answer": "Bern"},
        "answer_text": None,
        "messages": MESSAGES,
        "tools": [TOOL],
        "step_labels": {"2": 1, "4": 0, "6": -1},
        "final_label": -1,
    }


def test_agentprocessbench_record_of_the_benchmark_keeps_its_keys_and_their_order() -> None:
    record = make_record(1, 0, -1)
    record["metadata"] = {
        "tool_metrics": {"search": [{"host": "10.0.0.1"}]},
        "sample_index": 3,
        "answer_text": "Geneva",
        "data_source": "gaia_dev",
        "question": "Which capital?",
        "query_index": 1,
        "total_index": 258,
    }
    (row,) = rows_of("agentprocessbench", record)
    assert list(row.items())[:7] == [
        ("total_index", 258),
        ("query_index", 1),
        ("sample_index", 3),
        ("question", "Which capital?"),
        ("data_source", "gaia_dev"),
        ("ground_truth", {"answer": "Bern"}),
        ("answer_text", "Geneva"),
    ]
    assert list(row)[7:] == ["messages", "tools", "step_labels", "final_label"]


def test_agentprocessbench_masked_steps_have_no_label_and_are_counted() -> None:
    record = make_record(1, None, -1, uncounted=(2,), outcome=None)
    (row,) = rows_of("agentprocessbench", record)
    assert row["step_labels"] == {"2": 1}
    assert row["final_label"] is None
    assert left_out("agentprocessbench", record) == {NOT_COUNTED: 1, NOT_SETTLED: 1}


def test_an_outcome_that_the_policy_does_not_count_is_not_exported() -> None:
    record = make_record(1, 1, 1)
    record["outcome"] = make_outcome(1, counts=False)
    assert rows_of("agentprocessbench", record)[0]["final_label"] is None


def test_agentprocessbench_step_labels_ascend_whatever_the_stored_order() -> None:
    record = make_record(1, 0, -1)
    record["steps"].reverse()
    line, _ = exported("agentprocessbench", record)
    assert b'"step_labels":{"2":1,"4":0,"6":-1}' in line


# --- PRM800K


def test_prm800k_keeps_the_ternary_rating_of_every_step() -> None:
    (row,) = rows_of("prm800k", make_record(1, 0, -1))
    assert row == {
        "labeler": LABELER,
        "timestamp": "2026-03-01T10:00:00.000000",
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": OPENING, "ground_truth_answer": "Bern"},
        "label": {
            "steps": [
                {
                    "completions": [{"text": FIRST, "rating": 1, "flagged": False}],
                    "human_completion": None,
                    "chosen_completion": 0,
                },
                {
                    "completions": [{"text": "Hm.", "rating": 0, "flagged": False}],
                    "human_completion": None,
                    "chosen_completion": 0,
                },
                {
                    "completions": [{"text": "Geneva.", "rating": -1, "flagged": False}],
                    "human_completion": None,
                    "chosen_completion": None,
                },
            ],
            "total_time": None,
            "finish_reason": "found_error",
        },
        "external_id": "runs:7",
    }


def test_prm800k_labeler_is_the_same_in_every_release() -> None:
    assert LABELER == "a2ec7158-38fb-5364-a414-d0d3655cd279"


def labels_of(row: dict[str, Any]) -> tuple[list[int | None], list[int | None], str]:
    label = row["label"]
    ratings = [step["completions"][0]["rating"] for step in label["steps"]]
    return ratings, [step["chosen_completion"] for step in label["steps"]], label["finish_reason"]


def test_prm800k_goes_on_after_an_error_and_leaves_masked_ratings_null() -> None:
    record = make_record(-1, None, 1, uncounted=(2,))
    assert labels_of(rows_of("prm800k", record)[0]) == ([-1, None, None], [0, 0, 0], "found_error")
    assert left_out("prm800k", record) == {NOT_COUNTED: 1, NOT_SETTLED: 1}


def test_prm800k_without_an_error_is_a_solution() -> None:
    assert labels_of(rows_of("prm800k", make_record(1, 0, 1))[0]) == ([1, 0, 1], [0, 0, 0], "solution")


def test_an_error_that_the_policy_does_not_count_is_none() -> None:
    record = make_record(1, 0, -1, uncounted=(2,))
    assert labels_of(rows_of("prm800k", record)[0]) == ([1, 0, None], [0, 0, 0], "solution")


def test_prm800k_timestamp_is_the_latest_label_or_decision_in_utc() -> None:
    record = make_record(1, 1, 1)
    record["steps"][1]["labels"].append(make_label(1, at="2026-03-01T10:30:00.25+02:00"))  # 08:30 in UTC
    record["steps"][2]["labels"].append(make_label(1, at="2026-03-01T10:00:00.5Z"))
    assert rows_of("prm800k", record)[0]["timestamp"] == "2026-03-01T10:00:00.500000"
    record["steps"][0]["decisions"] = [
        {
            "id": 1,
            "reviewer": "r-2",
            "value": 1,
            "reason_code": "slip",
            "note": "",
            "decided_at": "2026-03-02T09:00:00Z",
        }
    ]
    assert rows_of("prm800k", record)[0]["timestamp"] == "2026-03-02T09:00:00.000000"


def test_prm800k_gold_without_labels_has_no_timestamp() -> None:
    record = make_record(1, 1, 1)
    for step in record["steps"]:
        step["labels"] = []
    assert rows_of("prm800k", record)[0]["timestamp"] is None


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("Bern", "Bern"),
        ({"target": ["Bern", "Berne"]}, "Bern"),
        ({"Steps": "1. think", "answer": "Bern"}, "Bern"),
        ({"actions": [{"name": "book"}]}, None),
        ([["cd(folder='a')"], ["ls()"]], None),
        ([], None),
        (None, None),
    ],
)
def test_prm800k_answer_is_the_reference_where_that_is_simple(reference: JsonValue, answer: str | None) -> None:
    record = make_record(1, 1, 1)
    record["reference"] = reference
    assert rows_of("prm800k", record)[0]["question"] == {"problem": OPENING, "ground_truth_answer": answer}


# --- ProcessBench


def test_processbench_says_where_the_first_error_is() -> None:
    assert rows_of("processbench", make_record(1, 0, -1)) == [
        {
            "id": "runs:7",
            "generator": "chat",
            "problem": OPENING,
            "steps": [FIRST, "Hm.", "Geneva."],
            "final_answer_correct": False,
            "label": 2,
        }
    ]


@pytest.mark.parametrize(
    ("_case", "values", "label"),
    [
        ("neutral steps are no errors", (1, 0, 1), -1),
        ("later errors do not matter", (-1, 1, -1), 0),
        ("a mask after the first error does not matter", (0, -1, None), 1),
    ],
)
def test_processbench_label(_case: str, values: tuple[int | None, ...], label: int) -> None:
    record = make_record(*values)
    assert rows_of("processbench", record)[0]["label"] == label
    assert left_out("processbench", record) == {}


@pytest.mark.parametrize("values", [(None, -1, 1), (1, None, -1), (1, 1, None), (None, None, None)])
def test_processbench_leaves_out_a_trajectory_whose_first_error_is_open(values: tuple[int | None, ...]) -> None:
    assert rows_of("processbench", make_record(*values)) == []
    assert left_out("processbench", make_record(*values)) == {NO_FIRST_ERROR: 1}


def test_processbench_does_not_read_a_value_that_does_not_count() -> None:
    assert left_out("processbench", make_record(1, -1, 1, uncounted=(1,))) == {NO_FIRST_ERROR: 1}


@pytest.mark.parametrize(
    ("outcome", "reward", "expected"),
    [(1, 0.0, True), (0, 1.0, False), (-1, 1.0, False), (None, 1.0, True), (None, 0.5, False), (None, None, None)],
)
def test_processbench_final_answer_is_the_gold_outcome_then_the_reward_else_unknown(
    outcome: int | None, reward: float | None, expected: bool | None
) -> None:
    record = make_record(1, 1, 1, outcome=outcome)
    record["environment_outcome"] = reward
    assert rows_of("processbench", record)[0]["final_answer_correct"] is expected


def test_processbench_generator_is_the_model_where_the_source_names_it() -> None:
    record = make_record(1, 1, 1)
    record["metadata"] = {"model": "m-7b", "generator": None}
    assert rows_of("processbench", record)[0]["generator"] == "m-7b"


# --- TRL


def trl_rows(*labels: tuple[int, bool]) -> list[Row]:
    texts = [FIRST, "Hm.", "Geneva."]
    return [
        {
            "prompt": PROMPTS[index],
            "completions": [texts[index]],
            "labels": [label],
            "external_id": "runs:7",
            "step_index": index,
            "message_index": (2, 4, 6)[index],
        }
        for index, label in labels
    ]


@pytest.mark.parametrize(
    ("neutral", "expected"),
    [
        ("positive", trl_rows((0, True), (1, True), (2, False))),
        ("negative", trl_rows((0, True), (1, False), (2, False))),
        ("drop", trl_rows((0, True), (2, False))),
    ],
)
def test_trl_is_one_row_per_step_and_neutral_becomes_what_was_asked(neutral: Neutral, expected: list[Row]) -> None:
    options = ExportOptions(neutral=neutral)
    assert rows_of("trl_stepwise", make_record(1, 0, -1), options) == expected
    dropped = {NEUTRAL_DROPPED: 1} if neutral == "drop" else {}
    assert left_out("trl_stepwise", make_record(1, 0, -1), options) == dropped


def test_trl_masked_steps_are_no_rows_but_stay_in_later_prompts() -> None:
    record = make_record(1, None, -1, uncounted=(0,))
    assert rows_of("trl_stepwise", record) == trl_rows((2, False))
    assert left_out("trl_stepwise", record) == {NOT_COUNTED: 1, NOT_SETTLED: 1}


def test_trl_leaves_out_a_step_without_text() -> None:
    record = make_record(1, 1, -1)
    record["messages"][4]["content"] = " \n"
    assert [row["step_index"] for row in rows_of("trl_stepwise", record)] == [0, 2]
    assert left_out("trl_stepwise", record) == {NO_TEXT: 1}


# --- provenance


def test_provenance_has_everything_behind_every_value() -> None:
    record = make_record(1, None, -1, uncounted=(2,))
    record["reference_labels"] = {"10": 1, "2": -1}
    (row,) = rows_of("provenance", record)
    assert row == {"format": "stepmark-provenance", "format_version": 2, **record}
    assert list(row) == ["format", "format_version", *ReleaseRecord.__annotations__]
    assert left_out("provenance", record) == {}


def test_provenance_bytes_do_not_depend_on_the_order_in_which_the_database_keeps_keys() -> None:
    record = make_record(1, None, -1)
    record["reference_labels"] = {"10": 1, "2": -1}
    record["steps"][1]["decisions"] = [
        {
            "id": 1,
            "reviewer": "r-2",
            "value": None,
            "reason_code": "slip",
            "note": "ü",
            "decided_at": "2026-03-02T09:00Z",
        }
    ]
    shuffled = backwards(record)
    shuffled["messages"], shuffled["tools"] = record["messages"], record["tools"]  # the source's own, as stored
    assert exported("provenance", shuffled) == exported("provenance", record)


def backwards(value: Any) -> Any:
    """The same JSON value with every object's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(item) for item in value] if isinstance(value, list) else value


def test_provenance_keeps_unknown_fields_and_drops_internal_addresses() -> None:
    record = make_record(1, 1, 1)
    record["metadata"] = {"tool_metrics": {"host": "10.0.0.1"}, "meta": {"source": "x"}}
    cast("dict[str, object]", record["steps"][0])["added_later"] = 1
    line, _ = exported("provenance", record)
    assert b"10.0.0.1" not in line
    row = json.loads(line)
    assert row["metadata"] == {"meta": {"source": "x"}}
    assert row["steps"][0]["added_later"] == 1


# --- write


@pytest.mark.parametrize("target", EXPORTERS)
def test_two_writes_are_equal_byte_for_byte_and_the_result_describes_them(target: str) -> None:
    records = [make_record(1, 0, -1), make_record(None, 1, 1), make_record(0, 0, 0)]
    data, result = exported(target, *records)
    again, same = exported(target, *copy.deepcopy(records))
    assert (again, same) == (data, result)
    assert result.n_bytes == len(data)
    assert result.sha256 == hashlib.sha256(data).hexdigest()
    rows = json.loads(data) if EXPORTERS[target].extension == "json" else [*map(json.loads, data.splitlines())]
    assert len(rows) == result.n_rows > 0
    assert rows == [row for record in records for row in rows_of(target, record)]


@pytest.mark.parametrize("target", EXPORTERS)
def test_an_exporter_leaves_the_record_as_it_was(target: str) -> None:
    record = make_record(1, None, -1)
    before = copy.deepcopy(record)
    exported(target, record)
    assert record == before


@pytest.mark.parametrize(("target", "empty"), [("processbench", b"[\n\n]\n"), ("provenance", b"")])
def test_a_release_without_rows_is_still_a_valid_file(target: str, empty: bytes) -> None:
    data, result = exported(target)
    assert (data, result.n_rows, result.n_bytes, result.left_out) == (empty, 0, len(empty), {})


def test_a_json_file_has_one_row_per_line() -> None:
    data, _ = exported("processbench", make_record(1, 1, 1), make_record(1, 1, -1))
    first, *rows, last, end = data.decode().split("\n")
    assert (first, last, end) == ("[", "]", "")
    assert [json.loads(row.removesuffix(","))["label"] for row in rows] == [-1, 2]


@pytest.mark.parametrize("target", EXPORTERS)
def test_every_record_is_written_before_the_next_one_is_read(target: str) -> None:
    out = io.BytesIO()
    sizes = []

    def records() -> Iterator[ReleaseRecord]:
        for _ in range(5):
            sizes.append(out.tell())
            yield make_record(1, 0, -1)

    write(target, records(), out, ExportOptions())
    assert all(later > earlier for earlier, later in pairwise(sizes))


def test_text_is_readable_utf8_and_half_a_surrogate_pair_survives() -> None:
    record = make_record(1, 1, 1)
    record["messages"][6]["content"] = "Zürich \u2028 \ud83d"
    data, _ = exported("agentprocessbench", record)
    assert "Zürich \u2028 \\ud83d".encode() in data
    assert data.count(b"\n") == 1
    assert json.loads(data)["messages"] == record["messages"]


def test_numbers_that_json_has_not_are_refused() -> None:
    record = make_record(1, 1, 1)
    record["environment_outcome"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        exported("provenance", record)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(KeyError):
        exported("parquet")


def test_names_and_modules_agree_and_no_exporter_knows_django() -> None:
    folder = Path(__file__).resolve().parents[2] / "annotator" / "releases" / "exporters"
    modules = {path.stem: path.read_text() for path in folder.glob("*.py")}
    assert modules.keys() - EXPORTERS.keys() == {"__init__", "record", "render", "views"}
    assert not [name for name, source in modules.items() if "import django" in source or "from django" in source]
