"""The rules on hostile trajectories: they answer, soon, in storable text, and no other machine hears of it."""

import json
import socket
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.importing.schema import check_storable
from annotator.prelabelling.rules import find
from annotator.prelabelling.rules.schema_check import SchemaChecker
from annotator.prelabelling.rules_config import RulesConfig
from tests.prelabelling.runs import calls, found, result, says, user

EVERYTHING = RulesConfig(answer_tag="answer", tools_to_confirm=["*"], max_steps=1)

NAMES = st.sampled_from(["search", "book", "", "search\0", "é", "x" * 300])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.text(max_size=60) | st.sampled_from(
    [
        "<answer>",
        "<answer>5 km</answer>",
        "\\boxed{{}",
        "<think><tool_call>",
        '{"error": {"code": 404}}',
        '{"status": 1e999}',
        "Error: \ud800",
        "A. B. C",
    ]
)
KEYWORDS = [
    *("$ref", "$schema", "$id", "$defs", "type", "enum", "const", "required", "properties", "additionalProperties"),
    *(
        "patternProperties",
        "items",
        "prefixItems",
        "minItems",
        "minimum",
        "maxLength",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
    ),
    *("pattern", "if", "then", "uniqueItems", "a", "b"),
]
# Keywords with values of any kind, nested where schemas nest.
SCHEMAS = st.recursive(
    st.booleans() | JSON,
    lambda inner: st.dictionaries(
        st.sampled_from(KEYWORDS),
        inner
        | st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("ab("), inner, max_size=3)
        | st.sampled_from(["#", "#/properties/a", "http://192.0.2.1/s", "object", "dict", "(a+)+$", 1, "", ["a", 1]]),
        max_size=4,
    ),
    max_leaves=15,
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON | st.sampled_from(["1", "2"]),
        "name": NAMES | JSON,
        "arguments": JSON | JSON.map(json.dumps) | TEXTS,
        "function": JSON | st.fixed_dictionaries({"name": NAMES, "arguments": JSON.map(json.dumps) | TEXTS}),
        "custom": JSON,
    },
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "function", "developer"])},
        optional={
            "content": TEXTS | JSON,
            "tool_calls": st.lists(CALLS, max_size=3) | JSON,
            "function_call": CALLS,
            "tool_call_id": st.sampled_from(["1", "2"]) | JSON,
            "is_error": st.booleans(),
            "finish_reason": JSON | st.just("length"),
        },
    ),
    max_size=8,
)
TOOLS = st.lists(
    JSON
    | st.fixed_dictionaries({"name": NAMES, "parameters": SCHEMAS})
    | st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": NAMES, "parameters": SCHEMAS})}),
    max_size=3,
)


@given(MESSAGES, TOOLS, JSON | TEXTS | st.lists(TEXTS))
@settings(max_examples=200, deadline=None)
def test_whatever_a_trajectory_holds_the_rules_answer_for_its_steps_in_storable_text(messages, tools, reference):
    n_steps = sum(message["role"] == "assistant" for message in messages)
    for finding in find(messages, tools, reference, EVERYTHING):
        assert 0 <= finding.step < n_steps
        assert finding.leaning in (-1, 0, 1, None)
        assert len(finding.sentence) < 2000
        assert "\n" not in finding.sentence
        check_storable([finding.sentence, finding.evidence])


@given(SCHEMAS, st.dictionaries(st.sampled_from("ab"), JSON, max_size=3))
@settings(max_examples=200, deadline=None)
def test_whatever_a_schema_holds_the_check_answers(schema, arguments):
    for problem in SchemaChecker().problems(schema, arguments):
        check_storable([problem.where, problem.keyword, problem.sentence])


def bomb(depth):
    """Definitions that each mention the next one twice: 2^depth visits."""
    twice = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": {**twice, f"d{depth}": {"type": "object"}}}


SLOW = "a" * 60 + "!"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    ("_case", "schema"),
    [
        ("a pattern that backtracks forever", {"properties": {"a": {"pattern": "^(a+)+$"}}}),
        ("the same for names", {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}),
        ("the same, of another draft", {"properties": {"a": {"$schema": DRAFT_7, "pattern": "^(a+)+$"}}}),
        ("the same as names of names", {"propertyNames": {"pattern": "^(a+)+$"}}),
        ("a definition of itself", {"$ref": "#"}),
        ("one within itself", {"properties": {"a": {"$ref": "#"}}, "anyOf": [{"$ref": "#"}]}),
        ("definitions that double", bomb(60)),
        ("one that is missing", {"$ref": "#/$defs/none"}),
        ("one elsewhere", {"$ref": "http://192.0.2.1/schema.json"}),
        ("one in a file", {"properties": {"a": {"$ref": "file:///etc/passwd"}}}),
        ("a base elsewhere", {"$id": "http://192.0.2.1/", "$ref": "schema.json"}),
        ("a draft elsewhere", {"$schema": "http://192.0.2.1/draft", "$dynamicRef": "#x"}),
        ("no schema", ["object"]),
        ("types that are none", {"type": {"a": 1}, "required": True, "properties": [1], "items": "x", "enum": 5}),
        ("a schema too large", {"properties": {f"p{i}": {"type": "object"} for i in range(20_000)}}),
        ("one too deep", json.loads('{"not":' * 900 + "{}" + "}" * 900)),
    ],
)
def test_a_hostile_schema_neither_hangs_nor_fetches_nor_raises(_case, schema, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a schema made the check open a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    tool = {"name": "f", "parameters": schema}
    started = process_time()
    assert found("R3", [user("go"), calls(("f", {"a": SLOW, SLOW: 1}))], tools=[tool]) == []
    assert process_time() - started < 5


def test_a_hostile_schema_does_not_hide_the_fault_beside_it():
    schema = {"properties": {"a": {"pattern": "^(a+)+$", "type": "integer", "format": "regex"}}}
    [finding] = found("R3", [calls(("f", {"a": SLOW}))], tools=[{"name": "f", "parameters": schema}])
    assert finding.evidence == {"tool": "f", "argument": "a", "keyword": "type"}


def test_all_calls_of_a_trajectory_share_one_budget_and_nothing_wrong_is_said_when_it_is_spent():
    tools = [{"name": "bomb", "parameters": bomb(60)}, {"name": "f", "parameters": {"required": ["a"]}}]
    assert len(found("R3", [calls(("f", {}), ("bomb", {}))], tools=tools)) == 1
    started = process_time()
    assert found("R3", [calls(*[("bomb", {})] * 500, ("f", {}))], tools=tools) == []
    assert process_time() - started < 5


def test_large_arguments_and_schemas_are_left_unchecked():
    schema = {"properties": {"a": {"type": "integer"}}}
    assert len(SchemaChecker().problems(schema, {"a": "x" * 40_000})) == 1
    assert SchemaChecker().problems(schema, {"a": "x" * 60_000}) == []


@pytest.mark.parametrize(
    ("_case", "text"),
    [
        ("thinking that never ends", "<think>" * 100_000),
        ("thinking that ends before it starts", "</think>" * 50_000 + "<think>" * 50_000),
        ("tags that never end", "<answer>" * 100_000),
        ("tags that only end", "</answer>" * 100_000),
        ("boxes that never end", "\\boxed{" * 100_000),
        ("names without end", "Aa " * 200_000),
        ("one long word", "A" * 500_000),
        ("dots", "A." * 200_000),
        ("numbers", "1," * 200_000),
        ("spaces", " " * 500_000),
        ("quotes", '"name": "' * 50_000),
        ("colons after many spaces", ('"name"' + " " * 2_000) * 200),
        ("nested lists", "[" * 200_000),
        ("nested objects", '{"error":' * 100_000),
        ("an error that nests", '{"error":' + "[" * 900 + "]" * 900 + "}"),
        ("marks on one letter", "a" + "\u0301" * 300_000),
        ("modules", "a." * 200_000 + "Error:"),
    ],
)
def test_a_text_of_half_a_megabyte_takes_no_rule_long(_case, text):
    messages = [
        user(text),
        calls(("f", text), ("f", {"query": text}), (text, "{}"), text=text),
        result(text),
        calls(("f", {"query": text + " again"})),
        result(text),
        says(text),
    ]
    tools = [{"name": "f", "parameters": {"properties": {"query": {"type": "string"}}}}]
    started = process_time()
    for reference in (text, [text] * 500):
        find(messages, tools, reference, EVERYTHING)
    find(messages, tools, text, RulesConfig())
    assert process_time() - started < 20


def test_a_run_of_many_steps_and_calls_takes_time_in_proportion_to_its_length():
    def took(n):
        step = [calls(("f", {"query": "one two three four five six seven eight nine ten"})), result({"error": "x"})]
        other = [calls(("f", {"query": "one two three four five six seven eight nine ten eleven"})), result("y")]
        started = process_time()
        find([user("go"), *(step + other) * n], [], None, EVERYTHING)
        return process_time() - started

    took(10)
    assert took(800) < 16 * max(took(200), 0.02)
