"""What an answer of the endpoint becomes: labels, or an abstention with its reason. Through a real HTTP server."""

import json

import numpy as np
import pytest

from annotator.prelabelling.scores import ScoringError
from tests.workers.judge.conftest import judge_all, judge_one, make_config, make_trajectory
from tests.workers.judge.server import event_stream, labels, raw, said

NEG, NEU, POS = [1, 0, 0], [0, 1, 0], [0, 0, 1]
NAN = [None, None, None]


def rows(scores):
    return [None if np.isnan(row).all() else row.tolist() for row in scores.probs]


def test_a_good_answer_becomes_labels_with_their_reasons(endpoint):
    server = endpoint([said(labels("pos", "neg"))])
    scores = judge_one(server)
    assert rows(scores) == [POS, NEG]
    assert scores.rationales == ["Because of 0.", "Because of 1."]
    assert (scores.n_tokens, scores.n_dropped_tokens, scores.first_truncated_step, scores.note) == (1000, 0, None, "")
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "text",
    [
        "<think>Let me see {step 0}. A first draft: " + labels("neg", "neg") + "</think>\n" + labels("pos", "neu"),
        "Sure! Here it is:\n```json\n" + labels("pos", "neu") + "\n```\nI hope that helps {really}.",
        "{" * 500 + labels("pos", "neu"),
        labels("pos", "neu") + ' {"note": "nothing about steps"}',
        labels("pos", "neu") + " " * 1000,
    ],
)
def test_text_around_the_last_object_does_not_matter(endpoint, text):
    assert rows(judge_one(endpoint([said(text)]))) == [POS, NEU]


@pytest.mark.parametrize(
    ("_case", "reply", "note"),
    [
        ("prose", said("I cannot tell."), "The answer held no JSON object with labels."),
        ("a cut object", said(labels("pos", "neu")[:-5]), "The answer held no JSON object with labels."),
        ("a list", said("[" + labels("pos", "pos")[1:]), "The answer held no JSON object with labels."),
        ("an empty object", said("{}"), "The answer held no JSON object with labels."),
        ("labels without an object", said('{"0": "pos", "1": "neg"}'), "The answer held no JSON object with labels."),
        ("steps named otherwise", said('{"step_0": {"label": "pos"}}'), "The answer held no JSON object with labels."),
        ("nested beyond reading", said('{"0":' * 50_000), "The answer held no JSON object with labels."),
        ("an empty text", said(""), "The answer was empty."),
        ("no text", said(None), "The answer was empty."),
        ("a refusal", said(None, refusal="I am sorry."), "The model refused to answer."),
        ("filtered", said(labels("pos", "pos"), finish_reason="content_filter"), "The model refused to answer."),
        ("cut off", said(labels("pos", "pos"), finish_reason="length"), "The answer was cut off at output.max_tokens."),
    ],
)
def test_what_cannot_be_read_is_an_abstention_and_never_a_0(endpoint, _case, reply, note):
    scores = judge_one(endpoint([reply]))
    assert rows(scores) == [None, None]
    assert scores.rationales == [None, None]
    assert scores.note == note


@pytest.mark.parametrize("label", [0, -1, "+1", "POS", "neutral", "", None, ["pos"], {"pos": 1}, True])
def test_a_label_that_is_none_of_the_three_words_abstains_on_its_step_only(endpoint, label):
    answer = json.loads(labels("pos", "neg"))
    answer["0"]["label"] = label
    scores = judge_one(endpoint([said(json.dumps(answer))]))
    assert rows(scores) == [None, NEG]
    assert scores.note == "The answer left out 1 of 2 steps."


def test_steps_that_are_missing_abstain_and_steps_that_do_not_exist_are_ignored(endpoint):
    answer = json.loads(labels("pos", "neg", "neu", "pos"))
    del answer["1"]
    answer |= {"4": answer["0"], "-1": answer["0"], "01": answer["0"], "x": 5}
    scores = judge_one(endpoint([said(json.dumps(answer))]), trajectory=make_trajectory(4))
    assert rows(scores) == [POS, None, NEU, POS]
    assert scores.note == "The answer left out 1 of 4 steps."


def test_a_reason_is_kept_short_and_says_where_the_error_began(endpoint):
    answer = {
        "0": {"reason": "x" * 500, "label": "neg", "root": None, "fix": False},
        "1": {"reason": " Builds \n on it. ", "label": "neg", "root": 0, "fix": False},
        "2": {"reason": "Puts it right.", "label": "pos", "root": None, "fix": True},
        "3": {"reason": "No such root.", "label": "neg", "root": 3, "fix": "yes"},
        "4": {"label": "neu", "root": True},
        "5": {"reason": "NUL \0 and half \ud83d of a pair.", "label": "pos", "root": 1, "fix": False},
    }
    scores = judge_one(endpoint([said(json.dumps(answer))]), trajectory=make_trajectory(6))
    assert rows(scores) == [NEG, NEG, POS, NEG, NEU, POS]
    assert scores.rationales == [
        "x" * 240,
        "Builds on it. (The error began in step 1.)",
        "Puts it right. (Corrects an earlier error.)",
        "No such root.",
        None,
        "NUL and half ? of a pair.",
    ]


@pytest.mark.parametrize(
    ("_case", "reply", "what"),
    [
        ("a login page", raw(b"<html>Please log in</html>"), "something that is not JSON"),
        ("bytes", raw(b"\x00\xff\xfe" * 5000, content_type="application/octet-stream"), "something that is not JSON"),
        ("a stream of events", event_stream, "something that is not JSON"),
        ("nothing", raw(b"", content_type="application/json"), "something that is not JSON"),
        ("open brackets", raw(b"[" * 100_000, content_type="application/json"), "something that is not JSON"),
        (
            "a list of models",
            raw(b'{"object": "list", "data": []}', content_type="application/json"),
            "JSON of another form",
        ),
        ("no list of choices", raw(b'{"choices": 5}', content_type="application/json"), "JSON of another form"),
        (
            "content that is no text",
            raw(b'{"choices": [{"message": {"content": [1]}}]}', content_type="application/json"),
            "JSON of another form",
        ),
    ],
)
def test_what_is_no_answer_of_the_protocol_is_an_error_and_is_not_asked_again(endpoint, _case, reply, what):
    server = endpoint([reply])
    result = judge_one(server)
    assert isinstance(result, ScoringError)
    assert (
        str(result) == f"The endpoint answered with {what}; check that its address ends where /chat/completions begins."
    )
    assert len(server.bodies) == 1


def test_an_answer_without_a_choice_is_an_error(endpoint):
    result = judge_one(endpoint([raw(b'{"choices": []}')]))
    assert str(result) == "The endpoint answered without any choice."


def test_a_good_answer_with_a_wrong_content_type_is_a_good_answer(endpoint):
    assert rows(judge_one(endpoint([said(labels("pos", "neg"), content_type="text/plain")]))) == [POS, NEG]


def test_an_answer_without_usage_is_reckoned_from_its_bytes(endpoint):
    judge, results = judge_all(endpoint([said(labels("pos", "neg"), usage=None)]), [make_trajectory()])
    assert rows(results[0]) == [POS, NEG]
    assert judge.spent.output_tokens == round(len(labels("pos", "neg")) / 4)
    assert judge.spent.input_tokens == results[0].n_tokens > 500


def test_several_votes_are_averaged_and_an_unreadable_one_abstains(endpoint):
    config = make_config(votes={"variants": ["evidence", "first_error"], "per_variant": 2, "temperature": 0.8})
    answers = [labels("pos", "neg"), labels("pos", "neu"), "no idea", labels("neu", "neg")]
    server = endpoint([said(text) for text in answers])
    scores = judge_one(server, config)
    assert np.allclose(scores.probs, [[0, 1 / 3, 2 / 3], [2 / 3, 1 / 3, 0]])
    assert scores.note == "1 of 4 votes: The answer held no JSON object with labels."
    assert [body["temperature"] for body in server.bodies] == [0.8] * 4


def test_a_step_on_which_some_votes_say_nothing_is_decided_by_the_others(endpoint):
    config = make_config(votes={"variants": ["evidence", "both_sides"]})
    partial = json.dumps({"1": json.loads(labels("neg", "neg"))["1"]})
    scores = judge_one(endpoint([said(partial), said(labels("pos", "pos"))]), config)
    assert rows(scores) == [POS, [0.5, 0, 0.5]]
    assert scores.note == "1 of 2 votes: The answer left out 1 of 2 steps."


def test_when_every_vote_abstains_the_row_is_nan(endpoint):
    config = make_config(votes={"variants": ["evidence", "both_sides"]})
    scores = judge_one(endpoint([said("?"), said(labels("pos", "pos"), finish_reason="length")]), config)
    assert rows(scores) == [None, None]
    assert scores.note == (
        "1 of 2 votes: The answer held no JSON object with labels. "
        "1 of 2 votes: The answer was cut off at output.max_tokens."
    )


def test_the_reason_comes_from_a_vote_that_agrees_with_the_majority(endpoint):
    def reasoned(word, reason):
        return said(json.dumps({"0": {"reason": reason, "label": word, "root": None, "fix": False}}))

    config = make_config(votes={"variants": ["evidence", "first_error", "both_sides"]})
    server = endpoint([reasoned("neg", "Wrong."), reasoned("pos", "Fine."), reasoned("pos", "Good.")])
    scores = judge_one(server, config, make_trajectory(1))
    assert np.allclose(scores.probs, [[1 / 3, 0, 2 / 3]])
    assert scores.rationales == ["Fine."]


def test_a_trajectory_without_steps_and_one_without_reference_are_not_asked_about(endpoint):
    server = endpoint([said("?")])
    config = make_config(mode="with_reference")
    _, results = judge_all(server, [make_trajectory(0, reference="42"), make_trajectory(2)], config)
    assert results[0].probs.shape == (0, 3)
    assert rows(results[1]) == [None, None]
    assert results[1].note == "The trajectory has neither a reference nor an outcome."
    assert server.bodies == []
