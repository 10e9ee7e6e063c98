"""Each rule on trajectories worked out by hand: what it finds, where, what it says, and what it lets pass."""

import json
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from annotator.prelabelling.rules import RULES, Finding, find, scores_of
from annotator.prelabelling.rules.answers import Answer, matched, names_of, references_of
from annotator.prelabelling.rules.reading import without_thinking
from annotator.prelabelling.rules.repeats import changes_state
from annotator.prelabelling.rules_config import RULES_VERSION, RulesConfig
from tests.prelabelling.runs import BOOK, SEARCH, TOOLS, calls, found, result, says, user

ASK = user("Find it.")


# R1


@pytest.mark.parametrize(
    ("arguments", "problem", "sentence"),
    [
        ('{"query": ', "not_json", "The arguments of “search” are not valid JSON."),
        ("query=x", "not_json", "The arguments of “search” are not valid JSON."),
        ('["x"]', "not_an_object", "The arguments of “search” are an array, but must be an object."),
        ('"{}"', "not_an_object", "The arguments of “search” are a string, but must be an object."),
        ("null", "not_an_object", "The arguments of “search” are null, but must be an object."),
    ],
)
def test_r1_arguments_that_are_no_json_or_no_object(arguments, problem, sentence):
    expected = Finding(1, "R1", None, sentence, {"tool": "search", "problem": problem})
    assert found("R1", [ASK, says("I search."), calls(("search", arguments))]) == [expected]


@pytest.mark.parametrize("arguments", ["{}", "", "  ", '{"query": "x"}'])
def test_r1_lets_objects_pass_and_nothing_at_all_which_some_servers_write_for_no_arguments(arguments):
    assert found("R1", [ASK, calls(("search", arguments))]) == []


def test_r1_to_r3_leave_custom_calls_alone_which_take_free_text():
    message = {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "search", "input": "SELECT"}}]}
    assert [f.code for f in find([ASK, message], TOOLS) if f.code in ("R1", "R2", "R3")] == []


# R2


def test_r2_a_tool_that_is_not_on_offer():
    findings = found("R2", [ASK, calls(("search", {}), ("serach", {}))])
    sentence = "The call goes to “serach”, which is none of the 2 tools on offer."
    assert findings == [Finding(0, "R2", None, sentence, {"tool": "serach", "n_tools": 2})]


def test_r2_is_silent_where_the_trajectory_names_no_tools():
    assert found("R2", [ASK, calls(("anything", {}))], tools=[]) == []


# R3


@pytest.mark.parametrize(
    ("arguments", "argument", "keyword", "sentence"),
    [
        ({}, "", "required", "In the call of “search”, the required argument “query” is missing."),
        (
            {"query": 5},
            "query",
            "type",
            "In the call of “search”, the argument “query” is a number, but must be of type string.",
        ),
        (
            {"query": "x", "filters": {"years": [1999, "2000"]}},
            "filters.years[1]",
            "type",
            "In the call of “search”, the argument “filters.years[1]” is a string, but must be of type integer.",
        ),
        (
            {"query": "x", "sort": "size"},
            "sort",
            "enum",
            "In the call of “search”, the argument “sort” is not one of the 2 values allowed.",
        ),
        (
            {"query": "x", "top": 3, "k": 1},
            "",
            "additionalProperties",
            "In the call of “search”, the tool knows no argument “top” and “k”.",
        ),
        (
            {"query": "x", "limit": 0},
            "limit",
            "minimum",
            "In the call of “search”, the argument “limit” does not fulfil “minimum” of the tool's schema.",
        ),
    ],
)
def test_r3_names_the_argument_and_what_is_wrong_with_it(arguments, argument, keyword, sentence):
    expected = Finding(0, "R3", None, sentence, {"tool": "search", "argument": argument, "keyword": keyword})
    assert found("R3", [ASK, calls(("search", arguments))]) == [expected]


def test_r3_lets_valid_arguments_pass_and_does_not_know_the_schema_of_an_unknown_tool():
    fine = {"query": "x", "limit": 2, "sort": "date", "filters": {"years": []}}
    assert found("R3", [ASK, calls(("search", fine), ("other", {}))]) == []


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["a"]}}},
        {"type": "function", "name": "f", "parameters": {"type": "object", "required": ["a"]}},
        {"name": "f", "input_schema": {"type": "object", "required": ["a"]}},
        {"name": "f", "parameters": {"type": "dict", "required": ["a"]}},
        {"name": "f", "parameters": {"$ref": "#/$defs/o", "$defs": {"o": {"required": ["a"]}}}},
    ],
)
def test_r3_reads_tools_in_every_spelling(tool):
    [finding] = found("R3", [ASK, calls(("f", {}))], tools=[tool])
    assert finding.sentence == "In the call of “f”, the required argument “a” is missing."


@pytest.mark.parametrize(("type_", "value"), [("float", 1.5), ("tuple", []), ("int", 3), ("any", {}), ("my_type", 1)])
def test_r3_knows_pythons_names_of_types_and_says_nothing_about_names_it_does_not_know(type_, value):
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": type_}}}}
    assert found("R3", [ASK, calls(("f", {"a": value}))], tools=[tool]) == []


def test_r3_tells_all_missing_arguments_in_one_sentence():
    tool = {"name": "f", "parameters": {"required": ["a", "b", "c"]}}
    [finding] = found("R3", [ASK, calls(("f", {"b": 1}))], tools=[tool])
    assert finding.sentence == "In the call of “f”, the required argument “a” and “c” is missing."


# R4


def test_r4_the_same_call_with_the_same_result_wherever_its_keys_stand():
    messages = [
        ASK,
        calls(("search", '{"query": "x", "limit": 2}')),
        result("nothing"),
        says("Hm."),
        calls(("search", '{"limit": 2, "query": "x"}')),
        result("nothing"),
    ]
    sentence = "“search” was called with the same arguments and the same result in step 1; nothing changed in between."
    evidence = {"tool": "search", "kind": "exact", "earlier_step": 0}
    assert found("R4", messages) == [Finding(2, "R4", 0, sentence, evidence)]


@pytest.mark.parametrize(
    ("between", "second"),
    [
        ([], "something"),  # another result: the world has changed
        ([calls(("book_flight", {"to": "Rome"})), result("booked")], "nothing"),  # a call that changes it
    ],
)
def test_r4_is_no_repeat_where_the_result_differs_or_the_state_changed_in_between(between, second):
    first, again = calls(("search", {"query": "x"})), calls(("search", {"query": "x"}))
    assert found("R4", [ASK, first, result("nothing"), *between, again, result(second)]) == []


def test_r4_follows_the_settings_about_what_changes_state():
    first, again = calls(("search", {"query": "x"})), calls(("search", {"query": "x"}))
    messages = [ASK, first, result("a"), calls(("book_flight", {})), result("b"), again, result("a")]
    assert found("R4", messages) == []
    assert len(found("R4", messages, state_changing_tools=[])) == 1
    assert found("R4", messages, state_changing_tools=["book_*"]) == []


def test_r4_a_call_that_changes_state_is_a_repeat_when_it_follows_itself():
    messages = [ASK, *[calls(("book_flight", {"to": "Rome"})), result("ok")] * 2]
    assert [finding.step for finding in found("R4", messages)] == [1]


def test_r4_leaves_a_call_that_failed_to_r6():
    messages = [ASK, *[calls(("search", {"query": "x"})), result({"error": "timeout"})] * 2]
    assert found("R4", messages) == []
    assert [finding.step for finding in found("R6", messages)] == [1]


@pytest.mark.parametrize(
    ("second", "is_repeat"),
    [
        ("who wrote the song yellow river band of the year list top", True),  # 11 of 12 words
        ("who wrote the song yellow river band of", False),  # 8 of 11
        ("who wrote the song yellow river band of the year list 1971", False),  # another number
    ],
)
def test_r4_near_repeats_share_nine_words_in_ten_and_all_numbers(second, is_repeat):
    first = "who wrote the song yellow river band of the year list"
    messages = [
        ASK,
        calls(("search", {"query": first})),
        result("a"),
        calls(("search", {"query": second})),
        result("b"),
    ]
    assert [finding.evidence["kind"] for finding in found("R4", messages)] == ["near"] * is_repeat
    assert found("R4", messages, near_repeat=1) == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("search", False),
        ("get_user_details", False),
        ("getUserDetails", False),
        ("order_list", False),
        ("HTTPGet", False),
        ("cancel_order", True),
        ("budget", True),
        ("mv", True),
        ("", True),
    ],
)
def test_r4_by_default_a_word_of_the_name_says_that_a_tool_only_reads(name, changes):
    assert changes_state(name, None) is changes


# R5


@pytest.mark.parametrize(
    ("text", "cause", "leaning"),
    [
        ({"error": "404 page does not exist"}, "external", 0),
        ({"error": {"code": 429, "message": "slow down"}}, "external", 0),
        ("Error: request timed out after 30 s", "external", 0),
        ("HTTP 503", "external", 0),
        ({"status": 500, "detail": "boom"}, "external", 0),
        ({"message": "user not found", "success": False}, "external", 0),
        ({"error": "missing query_list/query"}, "caused", -1),
        ({"error": "Unknown tool: serach"}, "caused", -1),
        ({"status_code": 422, "detail": []}, "caused", -1),
        ("Traceback (most recent call last):\n  File \"a.py\"\nKeyError: 'x'", "caused", -1),
        ("ValueError: could not convert", "caused", -1),
        ({"isError": True, "content": "no"}, "unclear", None),
        ({"status": "failed"}, "unclear", None),
        ("Error executing tool", "unclear", None),
    ],
)
def test_r5_tells_errors_from_outside_and_errors_that_the_call_caused(text, cause, leaning):
    [finding] = found("R5", [ASK, says("ok"), calls(("search", {"query": "x"})), result(text), says("Done.")])
    assert (finding.step, finding.leaning, finding.evidence["cause"]) == (1, leaning, cause)
    assert finding.sentence.startswith("The result of “search” is an error, and ")


def test_r5_gives_the_sentence_in_full():
    messages = [ASK, calls(("search", {})), result({"error": "missing query"})]
    said = "The result of “search” is an error, and the call itself is at fault: “missing query”."
    evidence = {"tool": "search", "cause": "caused", "error": "missing query"}
    assert found("R5", messages) == [Finding(0, "R5", -1, said, evidence)]


@pytest.mark.parametrize(
    "text",
    [
        "Error analysis of neural networks. The error: a study.",
        {"result": "404 is the HTTP status for pages that are not found; Traceback"},
        {"error": None, "errors": [], "value": 1},
        {"error": "none"},
        {"status": 200},
        {"code": "4711"},
        {"success": True},
        "{not json} error",
        "",
    ],
)
def test_r5_is_silent_about_results_that_only_speak_of_errors(text):
    assert found("R5", [ASK, calls(("search", {"query": "x"})), result(text)]) == []


def test_r5_believes_the_mark_of_the_message_and_matches_results_by_id():
    messages = [
        ASK,
        calls(("search", {"query": "x"}, "one"), ("book_flight", {}, "two")),
        result("no seats", tool_call_id="two", is_error=True),
        result("fine", tool_call_id="one"),
    ]
    [finding] = found("R5", messages)
    assert (finding.evidence["tool"], finding.evidence["cause"]) == ("book_flight", "unclear")


def test_r5_reports_an_error_that_belongs_to_no_call():
    [finding] = found("R5", [ASK, says("<tool_call>search x</tool_call>"), result("Error: no call was made")])
    assert finding.sentence.startswith("What came back is an error")


# R6


@pytest.mark.parametrize(
    ("error", "second", "outcome", "leaning", "sentence"),
    [
        ("invalid query", "x", "invalid query", -1, "called again with the same arguments and failed again."),
        ("timeout", "x", "found", 0, "called again with the same arguments and did not fail."),
        ("invalid query", "y", "found", 1, "called again with other arguments and did not fail."),
        ("invalid query", "y", {"error": "invalid"}, None, "called again with other arguments and failed again."),
    ],
)
def test_r6_a_retry_with_and_without_change(error, second, outcome, leaning, sentence):
    again = outcome if outcome != error else {"error": error}
    messages = [ASK, calls(("search", {"query": "x"})), result({"error": error}), says("Again.")]
    messages += [calls(("search", {"query": second})), result(again)]
    [finding] = found("R6", messages)
    assert (finding.step, finding.leaning) == (2, leaning)
    assert finding.sentence == f"After the error in step 1, “search” was {sentence}"
    assert finding.evidence["changed"] is (second != "x")


def test_r6_is_silent_without_an_error_for_another_tool_and_after_the_repair():
    failed = [calls(("search", {"query": "x"})), result({"error": "invalid"})]
    fine = [calls(("search", {"query": "y"})), result("found")]
    assert found("R6", [ASK, *fine, *fine]) == []
    assert found("R6", [ASK, *failed, calls(("book_flight", {})), result("ok")]) == []
    assert [finding.step for finding in found("R6", [ASK, *failed, *fine, *fine])] == [1]


# R7


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "search"}</tool_call>',
        "I will now search. <tool_call> the query </tool_call>",
        "<function=search>",
        '[TOOL_CALLS] [{"name": "search"}]',
        '{"name": "search", "arguments": {"query": "x"}}',
        '```json\n{"tool": "search", "parameters": {"query": "x"}}\n```',
    ],
)
def test_r7_a_call_that_stands_in_the_text(text):
    [finding] = found("R7", [ASK, says(text)])
    assert (finding.step, finding.leaning) == (0, -1)


@pytest.mark.parametrize(
    "message",
    [
        calls(("search", {"query": "x"}), text="<tool_call>search</tool_call>"),  # it did make a call
        says("<think>I could write <tool_call> now.</think>The answer is 5."),
        says('{"name": "Smith", "arguments": "none"}'),  # Smith is no tool
        says("The function search takes arguments."),
        {"role": "user", "content": "<tool_call>search</tool_call>"},
    ],
)
def test_r7_is_silent_where_the_step_calls_or_the_text_only_thinks(message):
    assert found("R7", [ASK, message, says("Done.")]) == []


# R8


@pytest.mark.parametrize(
    ("tag", "text", "is_missing"),
    [
        ("answer", "<answer>5</answer>", False),
        ("answer", "It is 5.", True),
        ("answer", "<answer>5", True),
        ("answer", "</answer>5<answer>", True),
        ("\\boxed", "so \\boxed{\\frac{1}{2}}", False),
        ("\\boxed", "so \\boxed{\\frac{1}{2}", True),
        (None, "It is 5.", False),
    ],
)
def test_r8_the_last_step_has_to_give_its_answer_in_the_form_asked_for(tag, text, is_missing):
    findings = found("R8", [ASK, says("<answer>no, later</answer> \\boxed{1}"), says(text)], answer_tag=tag)
    assert [(finding.step, finding.leaning) for finding in findings] == [(1, -1)] * is_missing


def test_r8_shows_the_form():
    [plain, boxed] = [found("R8", [says("5")], answer_tag=tag)[0].sentence for tag in ("final", "\\boxed")]
    assert plain == "The last step gives no final answer in <final>…</final>."
    assert boxed == "The last step gives no final answer in \\boxed{…}."


# R9


@pytest.mark.parametrize(
    ("answer", "reference", "match"),
    [
        ("The Beatles.", "beatles", "exact"),
        ("Zürich", "zurich", "exact"),
        ("1,200", "1200", "exact"),
        ("C++", "C++", "exact"),
        ("+", "+", "exact"),
        ("5 km", "5.0 km", "number"),
        ("$1,200.00", "1200", "number"),
        ("12.50%", "12.5 %", "number"),
        ("5 km", "5", "number"),
        ("5 km", "5 miles", "mismatch"),
        ("-5", "5", "mismatch"),
        ("1.5", "15", "mismatch"),
        ("No, they are not.", "no", "contains"),
        ("Marion", "Marion, South Australia", "contains"),
        ("None of them", "no", "mismatch"),  # whole words only
        ("Paris", "London", "mismatch"),
        ("", "London", "mismatch"),
        ("!", "?", "mismatch"),
    ],
)
def test_r9_how_an_answer_fits_the_reference(answer, reference, match):
    assert matched(answer, reference) == match


@pytest.mark.parametrize(
    ("reference", "accepted"),
    [
        ("x", ["x"]),
        (["x", "y"], ["x", "y"]),
        (4, ["4"]),
        ({"ground_truth": "x"}, ["x"]),
        ({"ground_truth": {"target": ["x"]}}, ["x"]),
        ({"answer": "x", "Steps": "many"}, ["x"]),
        ({"answers": ["x", 2.5]}, ["x", "2.5"]),
        ({"target": ["x", ""]}, ["x"]),
        ([["book()"], ["pay()"]], []),  # expected calls are no answer
        ({"actions": []}, []),
        (None, []),
        (True, []),
        ("", []),
        ({"answer": {"answer": {"answer": {"answer": "x"}}}}, []),
    ],
)
def test_r9_reads_imported_references(reference, accepted):
    assert references_of(reference) == accepted


@pytest.mark.parametrize(
    ("text", "match", "leaning"),
    [
        ("I think so. <answer>Paris</answer>", "exact", 1),
        ("It is \\boxed{paris}", "exact", 1),
        ("It is Paris.", "contains", 1),
        ("<answer>Paris, France</answer>", "contains", 1),
        ("Paris? No: <answer>London</answer>", "mismatch", -1),
        ("<think>Paris</think>London", "mismatch", -1),
    ],
)
def test_r9_compares_the_final_answer_only(text, match, leaning):
    [finding] = found("R9", [ASK, says("<answer>Rome</answer>"), says(text)], reference=["Paris", "Lutetia"])
    assert (finding.step, finding.leaning, finding.evidence["match"]) == (1, leaning, match)


def test_r9_the_best_of_several_references_counts_and_the_sentence_names_it():
    [finding] = found("R9", [says("<answer>two</answer>")], reference=["three", "number two", "two"])
    assert finding.sentence == "The final answer “two” is the reference “two”."
    assert finding.evidence == {"match": "exact", "answer": "two", "reference": "two"}


def test_r9_without_an_answer_nothing_fits():
    [finding] = found("R9", [ASK, calls(("search", {"query": "Paris"}), text="Paris")], reference="Paris")
    assert finding.sentence == "There is no final answer; the reference is “Paris”."
    assert finding.leaning == -1
    [finding] = found("R9", [ASK, says("Paris")], reference="Paris", answer_tag="answer")
    assert finding.leaning == -1


def test_r9_is_silent_without_a_reference():
    assert found("R9", [ASK, says("Paris")]) == []


# R10


@pytest.mark.parametrize(
    ("reply", "is_consent"),
    [("Yes, please.", True), ("ok", True), ("Go ahead!", True), ("Rome, not Paris.", False), ("Yesterday", False)],
)
def test_r10_a_write_needs_the_users_consent_just_before(reply, is_consent):
    messages = [user("Book Rome."), says("Shall I book Rome?"), user(reply), calls(("book_flight", {"to": "Rome"}))]
    findings = found("R10", messages, tools_to_confirm=["book_*"])
    assert [(finding.step, finding.leaning) for finding in findings] == [(1, -1)] * (not is_consent)
    assert found("R10", messages) == []  # no tool needs consent unless the settings say so


def test_r10_a_first_request_is_no_consent_to_what_the_agent_has_not_said_yet():
    [finding] = found("R10", [user("Yes, book it."), calls(("book_flight", {}))], tools_to_confirm=["book_flight"])
    assert finding.sentence == "“book_flight” was called without the user's consent just before."
    assert finding.evidence == {"tools": ["book_flight"], "user": "Yes, book it."}


def test_r10_leaves_other_tools_alone():
    assert found("R10", [ASK, calls(("search", {"query": "x"}))], tools_to_confirm=["book_*"]) == []


# R11


def test_r11_names_and_numbers_that_the_agent_was_never_given():
    messages = [
        user("Who wrote Yellow River?"),
        calls(("search", {"query": "Jeff Christie"})),
        result("Yellow River is a song by the band Christie of 1970."),
        says("The song was written by Jeff Christie in 1971. Nobody disputes it."),
    ]
    sentence = "“Jeff Christie” and “1971” of the final answer are in no result and nothing the user said."
    assert found("R11", messages) == [Finding(1, "R11", None, sentence, {"names": ["Jeff Christie", "1971"]})]


def test_r11_is_silent_where_all_was_seen_in_whatever_case_and_where_the_last_step_acts():
    seen = [user("who is JOSÉ MARTÍ, born 1,853?"), says("Jose Marti was born in 1853.")]
    assert found("R11", seen) == []
    parts = [user("Leave on 2024-05-20 at 07:15 from Newark-Liberty."), says("So on 20/05, 2024 at 07:15, Newark.")]
    assert found("R11", parts) == []
    assert found("R11", [user("go"), calls(("search", {}), text="I ask Jeff Christie.")]) == []


@pytest.mark.parametrize(
    ("text", "is_marked", "names"),
    [
        ("Paris", True, ["Paris"]),
        ("Paris is it.", False, []),  # the first word of a sentence always has a capital
        ("It is Paris. It is.", False, ["Paris"]),
        ("Yes", True, []),
        ("Yes. Westminster School", True, ["Westminster School"]),
        ("in 7 or 1987 or 3.5 at 07:30", False, ["1987", "3.5", "07:30"]),
        ("the U.S. Navy, Smith-Jones and O'Neil", False, ["U.S", "Smith-Jones", "O'Neil"]),
    ],
)
def test_r11_what_counts_as_a_name(text, is_marked, names):
    assert names_of(Answer(text, is_marked)) == names


# R12


def test_r12_a_run_that_was_stopped():
    [finding] = found("R12", [ASK, says("a"), says("b")], max_steps=2)
    assert finding == Finding(
        1, "R12", None, "The run has 2 steps, and 2 were allowed.", {"limit": "steps", "n_steps": 2}
    )
    assert found("R12", [ASK, says("a"), says("b")], max_steps=3) == []


def test_r12_a_run_that_ends_without_an_answer():
    [finding] = found("R12", [ASK, calls(("search", {"query": "x"})), result("y")])
    assert finding.sentence == "The run ends after the call of “search”, without an answer."
    assert found("R12", [ASK, calls(("search", {"query": "x"})), result("y"), says("y")]) == []


@pytest.mark.parametrize(("key", "reason", "n"), [("finish_reason", "length", 1), ("stop_reason", "end_turn", 0)])
def test_r12_a_text_that_was_cut_off(key, reason, n):
    assert len(found("R12", [ASK, says("a", **{key: reason}), says("b")])) == n


# All rules


def all_findings(**settings):
    """A trajectory on which every rule finds something."""
    messages = [
        user("Find Rome."),
        says("I search.", finish_reason="length"),
        calls(("search", {"query": "a b c d e"}), ("search", {"query": "a b c d e"})),
        result("x"),
        result("x"),
        calls(("search", {"limit": 0}), ("nosuch", "[]")),
        result({"error": "missing query"}),
        calls(("search", {"query": "z"}), ("book_flight", {"to": "Rome"})),
        result("found"),
        says("<tool_call>search</tool_call> It is Atlantis Bay."),
    ]
    chosen = RulesConfig(answer_tag="answer", tools_to_confirm=["book_*"], max_steps=5, **settings)
    return find(messages, TOOLS, "Rome", chosen)


def test_every_rule_finds_something_on_one_trajectory_in_the_order_of_its_steps():
    findings = all_findings()
    assert {finding.code for finding in findings} == set(RULES) - {"R11"}  # a required answer is missing, so no names
    assert all(a.step <= b.step for a, b in pairwise(findings))


@pytest.mark.parametrize("code", RULES)
def test_each_rule_can_be_switched_off_alone(code):
    left = [finding for finding in all_findings() if finding.code != code]
    assert all_findings(off=[code]) == left


def test_a_rule_tells_at_most_five_findings_of_a_step():
    assert len(found("R1", [ASK, calls(*[("search", "broken")] * 50)])) == 5


def test_long_names_are_cut_and_unprintable_ones_escaped():
    [long] = found("R2", [ASK, calls(("n" * 500, {}))])
    assert long.evidence["tool"] == "n" * 79 + "…"
    [odd] = found(
        "R3",
        [ASK, calls(("f", '{"a\\u0000b": 1}'))],
        tools=[{"name": "f", "parameters": {"additionalProperties": False}}],
    )
    assert odd.sentence == "In the call of “f”, the tool knows no argument “a\\x00b”."


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>a</think>b", "b"),
        ("a<think>b</think>c<think>d</think>e", "ace"),
        ("a<think>b", "a<think>b"),
        ("a</think>b", "a</think>b"),
    ],
)
def test_closed_blocks_of_thinking_are_no_text(text, left):
    assert without_thinking(text) == left


# Settings and scores


def test_the_settings_refuse_what_they_do_not_know_and_are_known_by_version_and_content():
    with pytest.raises(ValidationError, match="of_f"):
        RulesConfig(of_f=["R1"])
    with pytest.raises(ValidationError, match="R13"):
        RulesConfig(off=["R13"])
    with pytest.raises(ValidationError, match="answer_tag"):
        RulesConfig(answer_tag="<answer>")
    config = RulesConfig(title="for people")
    assert config.identity() == {"rules_version": RULES_VERSION, **RulesConfig().model_dump(exclude={"title"})}
    assert json.loads(json.dumps(config.identity())) == config.identity()
    assert config.kind == "rules"


def test_as_scores_the_rules_abstain_and_give_their_sentences():
    findings = found("R2", [ASK, says("a"), calls(("x", {}), ("y", {}))])
    scores = scores_of(findings, 3)
    assert scores.probs.shape == (3, 3)
    assert scores.probs.dtype == np.float64
    assert np.isnan(scores.probs).all()
    assert scores.raw is None
    lines = [f"R2: The call goes to “{name}”, which is none of the 2 tools on offer." for name in "xy"]
    assert scores.rationales == [None, "\n".join(lines), None]
    assert (scores.n_tokens, scores.n_dropped_tokens, scores.first_truncated_step) == (0, 0, None)


def test_scores_of_a_finding_beyond_the_last_step_are_refused():
    with pytest.raises(ValueError, match="step 2, but the trajectory has 1 steps"):
        scores_of([Finding(1, "R2", None, "", {})], 1)


def test_without_a_step_there_is_nothing_to_find():
    assert find([user("hi")], [SEARCH, BOOK], "x", RulesConfig(answer_tag="answer", max_steps=1)) == []
