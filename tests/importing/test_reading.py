import io
import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotator.importing import records
from annotator.importing.formats import FORMATS, BadRecord, read
from annotator.importing.schema import TrajectoryIn, content_sha256, steps_of

MESSAGES = [{"role": "user", "content": "6*7? — ½"}, {"role": "assistant", "content": "42"}]


def record(name="a", **changes):
    return {"id": name, "messages": MESSAGES, **changes}


def read_bytes(data, *, format_name=None):
    return list(read(io.BytesIO(data), format=format_name, name="runs.jsonl"))


def as_text(*values):
    return [json.dumps(value, ensure_ascii=False).encode() for value in values]


def summary(found):
    """Ids of what is good, places of what is bad."""
    return [each.external_id if isinstance(each, TrajectoryIn) else (each.unit, each.line) for each in found]


@pytest.mark.parametrize(
    ("case", "data"),
    [
        ("lines", b"\n".join(as_text(record("a"), record("b")))),
        ("lines that end with CRLF", b"\r\n".join(as_text(record("a"), record("b"))) + b"\r\n"),
        ("a byte order mark", b"\xef\xbb\xbf" + b"\n".join(as_text(record("a"), record("b")))),
        ("an array on one line", json.dumps([record("a"), record("b")]).encode()),
        ("a pretty-printed array", b"\n " + json.dumps([record("a"), record("b")], indent=2).encode() + b"\n"),
        ("an array of lines", b"[\n" + b",\n".join(as_text(record("a"), record("b"))) + b"\n]"),
        ("pretty-printed objects", b"\n".join(json.dumps(record(name), indent=1).encode() for name in "ab")),
        ("objects without indentation", b"".join(json.dumps(record(name), indent=0).encode() for name in "ab")),
    ],
)
def test_every_container_gives_the_same_records(case, data):
    assert summary(read_bytes(data)) == ["a", "b"]
    assert [each.messages for each in read_bytes(data)] == [MESSAGES, MESSAGES]


@pytest.mark.parametrize(
    ("case", "data", "n_found"),
    [
        ("one line", json.dumps(MESSAGES).encode(), 1),
        ("pretty-printed", json.dumps(MESSAGES, indent=2).encode(), 1),
        ("its second line is an object", b'[\n{"role": "assistant", "content": "x"}\n]', 1),
        ("one list per line", b"\n".join(as_text(MESSAGES, MESSAGES)), 2),
        ("an array of lists", json.dumps([MESSAGES, MESSAGES]).encode(), 2),
    ],
)
def test_a_bare_list_of_messages_is_one_record(case, data, n_found):
    found = read_bytes(data)
    assert len(found) == n_found
    assert all(isinstance(each, TrajectoryIn) for each in found)


def test_a_good_record_knows_its_line():
    found = read_bytes(b"\n\n" + b"\n\n".join(as_text(record("a"), record("b"))))
    assert [(each.line, each.unit) for each in found] == [(3, "line"), (5, "line")]
    found = read_bytes(json.dumps([record("a"), record("b")]).encode())
    assert [(each.line, each.unit) for each in found] == [(1, "record"), (2, "record")]


@pytest.mark.parametrize(
    "broken",
    [
        b'{"messages": [',
        b'{"messages": [}',
        b'{"messages": "cut off',
        b"not json",
        b"null",
        b'{"messages": [{"role": "user"}]}',
        b'{"id": "\xff", "messages": []}',
        b"[" * 100_000,
        b"[[[",
        b"9" * 10_000,
    ],
)
def test_a_broken_line_is_reported_and_the_good_ones_go_in(broken):
    good, other = as_text(record("a"), record("b"))
    assert summary(read_bytes(b"\n".join([good, broken, other]))) == ["a", ("line", 2), "b"]
    assert summary(read_bytes(b"\n".join([broken, good, other]))) == [("line", 1), "a", "b"]
    assert summary(read_bytes(b"\n".join([good, other, broken]))) == ["a", "b", ("line", 3)]


@pytest.mark.parametrize(
    "end", [b"", b",", b", {", b', {"messages": [', b"} ]", b' {"messages": []}]', b", [[[[", b"] 5"]
)
def test_a_broken_array_gives_what_was_good_and_then_one_bad_record(end):
    good, other = as_text(record("a"), record("b"))
    assert summary(read_bytes(b"[" + good + b",\n" + other + end)) == ["a", "b", ("record", 3)]


def test_a_cut_off_pretty_printed_file_is_one_bad_record():
    assert summary(read_bytes(json.dumps(record(), indent=2).encode()[:-3])) == [("record", 1)]


def test_a_complaint_reads_as_a_sentence_with_its_place():
    (bad,) = read_bytes(json.dumps(record(messages=[{"role": "bot"}])).encode())
    assert bad == BadRecord(1, "messages[0].role", "must be one of system, developer, user, assistant, tool, function.")
    assert str(bad) == "line 1, messages[0].role: must be one of system, developer, user, assistant, tool, function."
    (bad,) = read_bytes(b"[1]")
    assert str(bad).startswith("record 1: is in no known format (agentprocessbench, openai_chat)")
    assert str(read_bytes(b'{"a" 1}')[0]) == "line 1: is not valid JSON: Expecting ':' delimiter at character 6."


@pytest.mark.parametrize(
    ("value", "field", "said"),
    [
        (b'"\\u0000"', "x", "NUL"),
        (b'"\\ud83d"', "x", "surrogate"),
        (b'"\xff"', "x", "UTF-8"),
        (b'"\xed\xa0\x80"', "x", "UTF-8"),
        (b"NaN", "x", "NaN"),
        (b"[-Infinity]", "x[0]", "infinite"),
        (b"1e999", "x", "range"),
        (b"1" + b"0" * 400, "x", "range"),
        (b"9" * 5000, "x", "range"),
        (b"[" * 100 + b"]" * 100, "x" + "[0]" * 99, "nested deeper than 100"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_field_in_every_container(value, field, said):
    data = b'{"id": "a", "messages": [{"role": "assistant", "content": ""}], "x": ' + value + b"}"
    for whole in (data, b"[" + data + b"]", data.replace(b", ", b",\n")):
        (bad,) = read_bytes(whole)
        assert isinstance(bad, BadRecord)
        assert bad.field in (field, field[:300] + "…")
        assert said in bad.reason


def test_an_emoji_written_as_two_escapes_is_one_character():
    (found,) = read_bytes(b'{"messages": [{"role": "assistant", "content": "\\ud83d\\ude00"}]}')
    assert found.messages[0]["content"] == "😀"


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf", b"[\n]"])
def test_an_empty_file_is_said_to_be_empty(data):
    assert read_bytes(data) == [BadRecord(1, "", "the file runs.jsonl holds no records.")]


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"PAR1", "Parquet"),
        (b"\xff\xfe{\0", "UTF-16"),
        (b"\xfe\xff\0{", "UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_named_once(start, said):
    (bad,) = read_bytes(start + b"\n\xff\n" * 100)
    assert said in bad.reason


def test_the_first_record_that_fits_decides_for_all():
    labelled = record("b", data_source="x", query_index=0, sample_index=0)
    found = read_bytes(b"\n".join(as_text({"other": 1}, labelled, record("c"))))
    assert summary(found) == [("line", 1), "x:0:0", ("line", 3)]
    assert found[2].field == "data_source"


def test_a_given_format_is_used_whatever_the_records_look_like():
    labelled = record("b", data_source="x", query_index=0, sample_index=0)
    assert summary(read_bytes(*as_text(labelled), format_name="openai_chat")) == ["b"]


def test_an_unknown_format_is_refused_at_once():
    with pytest.raises(ValueError, match="no format 'csv'; there are agentprocessbench, openai_chat"):
        read(io.BytesIO(b""), format="csv", name="x.csv")


def test_a_record_that_is_too_long_is_skipped_in_lines_and_ends_an_array(monkeypatch):
    monkeypatch.setattr(records, "RECORD_LIMIT", 1000)
    good, long, other = as_text(record("a"), record("long", x="x" * 700_000), record("b"))
    for lines, expected in [
        ([good, long, other], ["a", ("line", 2), "b"]),
        ([long, good], [("line", 1), "a"]),
        ([good, long], ["a", ("line", 2)]),
        ([good, other + b" " * 2000, good], ["a", ("line", 2), "a"]),
    ]:
        assert summary(read_bytes(b"\n".join(lines))) == expected
    assert summary(read_bytes(b"[" + b",".join([good, long, other]) + b"]")) == ["a", ("record", 2)]


def test_the_position_in_the_file_moves_on_with_the_records():
    data = b"\n".join(as_text(*[record(str(i), x="x" * 10_000) for i in range(200)]))
    for whole in (data, b"[" + data.replace(b"\n", b",") + b"]"):
        file = io.BytesIO(whole)
        positions = [file.tell() for _ in read(file, format=None, name="x")]
        assert positions == sorted(positions)
        assert positions[0] < len(whole) / 2
        assert positions[-1] == len(whole)


class Generated(io.RawIOBase):
    """A file that exists only while it is read."""

    def __init__(self, first, again, last, *, n):
        self.parts = iter([first + again, *[again] * (n - 1), last])
        self.rest = b""

    def read(self, size=-1):
        while len(self.rest) < size and (part := next(self.parts, b"")):
            self.rest += part
        given, self.rest = self.rest[:size], self.rest[size:]
        return given


@pytest.mark.parametrize(
    ("case", "first", "separator", "last"),
    [("lines", b"", b"\n", b""), ("an array on one line", b"[", b", ", b"]"), ("documents", b"\n", b"\n\n", b"")],
)
def test_memory_does_not_grow_with_the_file(case, first, separator, last):
    one = json.dumps(record(x="x" * 40_000), indent=1 if case == "documents" else None).encode()
    end = one + last
    file = Generated(first, one + separator, end, n=1000)
    tracemalloc.start()
    try:
        n_good = sum(isinstance(each, TrajectoryIn) for each in read(file, format=None, name="x"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_good == 1001
    assert peak < 4_000_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["user", "assistant", "2"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)
FULL = {
    "id": "a",
    "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning": "hm",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "x", "tool_call_id": "c"},
    ],
    "tools": [{"type": "function"}],
    "reward": 1,
    "data_source": "x",
    "query_index": 0,
    "sample_index": 0,
    "step_labels": {"1": 1},
    "final_label": 0,
    "choices": None,
}


@st.composite
def mutated(draw):
    """A good record with one value, at any depth, replaced or left out."""
    whole = json.loads(json.dumps(FULL))
    target, key = whole, draw(st.sampled_from(sorted(whole)))
    while isinstance(target[key], (dict, list)) and target[key] and draw(st.integers(0, 3)):
        target = target[key]
        key = draw(st.sampled_from(sorted(target) if isinstance(target, dict) else range(len(target))))
    if draw(st.booleans()):
        target[key] = draw(json_values)
    else:
        del target[key]
    return whole


def assert_only_good_or_bad(data, format_name):
    found = read_bytes(data, format_name=format_name)
    assert found
    for each in found:
        if isinstance(each, TrajectoryIn):
            assert steps_of(each.messages)
            assert len(content_sha256(each)) == 64
            text = each.model_dump_json()
        else:
            assert isinstance(each, BadRecord)
            text = str(each)
        # PostgreSQL could store it: no NUL, and no half of a surrogate pair, which would not encode.
        assert b"\0" not in text.encode()


formats = st.sampled_from([None, *FORMATS])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary() | st.text(alphabet='[]{}",:\\ntrue1e9-. \n').map(str.encode), format_name=formats)
def test_any_bytes_give_only_trajectories_and_bad_records(data, format_name):
    assert_only_good_or_bad(data, format_name)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(whole=mutated(), format_name=formats, indent=st.sampled_from([None, 0, 2]), cut=st.integers(0, 30))
def test_any_change_to_a_record_gives_only_trajectories_and_bad_records(whole, format_name, indent, cut):
    data = json.dumps(whole, indent=indent).encode()
    assert_only_good_or_bad(data, format_name)
    assert_only_good_or_bad(data[: len(data) - cut], format_name)
    assert_only_good_or_bad(data + b"\n" + data[cut:], format_name)
