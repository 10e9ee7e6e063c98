"""How sure a model was: read from the alternatives of the label's tokens, as the endpoint lists them."""

import math

import numpy as np
import pytest

from tests.workers.judge.conftest import judge_one, make_config, make_trajectory
from tests.workers.judge.server import said

CONFIG = make_config(output={"top_logprobs": 20})


def token(text, p=1.0, others=(), **changes):
    """One token of an answer: its probability and the other tokens that were on the list."""
    listed = [(text, p), *others]
    top = [
        {"token": name, "logprob": math.log(q) if q else -9999.0, "bytes": list(name.encode())} for name, q in listed
    ]
    return {**top[0], "top_logprobs": top, **changes}


def answer(*label_tokens, before='{"0": {"reason": "So.", "label": ', after=', "root": null, "fix": false}}'):
    tokens = [token(before), *label_tokens, token(after)]
    return said("".join(one["token"] for one in tokens), logprobs=tokens)


def probs_of(endpoint, reply, config=CONFIG):
    return judge_one(endpoint([reply]), config, make_trajectory(1)).probs[0]


def test_a_label_of_one_token_gives_the_softmax_over_the_three(endpoint):
    label = token("pos", 0.6, [("neu", 0.15), ("neg", 0.05), ("good", 0.2)])
    assert np.allclose(probs_of(endpoint, answer(token('"'), label, token('"'))), [0.0625, 0.1875, 0.75])


def test_a_quote_may_share_the_token_with_the_label(endpoint):
    label = token('"pos', 0.7, [('"neu', 0.2), ('"neg', 0.1), ("pos", 0.0), (" null", 0.0)])
    assert np.allclose(probs_of(endpoint, answer(label, token('"'))), [0.1, 0.2, 0.7])


def test_a_label_may_share_the_token_with_the_closing_quote(endpoint):
    label = token('pos"', 0.7, [('neu"', 0.2), ('neg",', 0.1)])
    assert np.allclose(probs_of(endpoint, answer(token(' "'), label)), [0.1, 0.2, 0.7])


def test_a_beginning_that_two_labels_share_is_followed_to_where_they_part(endpoint):
    first = token("ne", 0.6, [("pos", 0.4)])
    second = token("g", 0.75, [("u", 0.25)])
    assert np.allclose(probs_of(endpoint, answer(token('"'), first, second, token('"'))), [0.45, 0.15, 0.4])


def test_a_label_spelled_letter_by_letter(endpoint):
    letters = [token("n", 0.5, [("p", 0.5)]), token("e"), token("u", 0.8, [("g", 0.2)])]
    assert np.allclose(probs_of(endpoint, answer(token('"'), *letters, token('"'))), [0.1, 0.4, 0.5])


def test_a_label_off_the_list_gets_at_most_what_the_list_leaves_over(endpoint):
    label = token("pos", 0.9, [("junk", 0.06), ("neg", 0.03)])
    assert np.allclose(probs_of(endpoint, answer(token('"'), label, token('"'))), np.array([0.03, 0.01, 0.9]) / 0.94)


def test_a_list_of_the_written_token_alone_leaves_the_rest_to_the_two_others(endpoint):
    assert np.allclose(probs_of(endpoint, answer(token('"'), token("neu", 0.8), token('"'))), [0.1, 0.8, 0.1])


def test_the_written_label_need_not_be_the_likeliest(endpoint):
    label = token("neg", 0.3, [("pos", 0.6), ("neu", 0.1)])
    assert np.allclose(probs_of(endpoint, answer(token('"'), label, token('"'))), [0.3, 0.1, 0.6])


def test_tokens_of_the_thinking_before_the_answer_are_passed_over(endpoint):
    draft = [token('{"0": {"label": "'), token("pos", 0.5, [("neg", 0.5)]), token('"}}')]  # the same words, less sure
    thinking = [token("<think>"), *draft, token("</think>\n\n")]
    content = '{"0": {"label": "pos"}}'
    tokens = [token('{"0": {"label": "'), token("pos", 0.7, [("neu", 0.2), ("neg", 0.1)]), token('"}}'), token("<end>")]
    found = probs_of(endpoint, said(content, logprobs=thinking + tokens))
    assert np.allclose(found, [0.1, 0.2, 0.7])


def test_the_last_object_is_the_one_that_is_looked_up(endpoint):
    draft = [token('First: {"0": {"label": "'), token("neg", 0.9, [("pos", 0.1)]), token('"}}. Finally: ')]
    final = [token('{"0": {"label": "'), token("pos", 0.7, [("neu", 0.2), ("neg", 0.1)]), token('"}}')]
    content = "".join(one["token"] for one in draft + final)
    assert np.allclose(probs_of(endpoint, said(content, logprobs=draft + final)), [0.1, 0.2, 0.7])


def test_a_character_in_two_tokens_shifts_nothing(endpoint):
    halves = "é🙂".encode()
    tokens = [
        token('{"0": {"reason": "'),
        token("\ufffd", bytes=list(halves[:3])),
        token("\ufffd", bytes=list(halves[3:])),
        token('", "label": "'),
        token("pos", 0.7, [("neu", 0.2), ("neg", 0.1)]),
        token('"}}'),
    ]
    content = '{"0": {"reason": "é🙂", "label": "pos"}}'
    assert np.allclose(probs_of(endpoint, said(content, logprobs=tokens)), [0.1, 0.2, 0.7])


def test_every_step_has_its_own_tokens(endpoint):
    pieces = []
    for step, p in enumerate((0.5, 0.7)):
        pieces += [
            token(f'{"," if step else "{"}"{step}": {{"label": "'),
            token("pos", p, [("neg", 1 - p)]),
            token('"}'),
        ]
    pieces.append(token("}"))
    content = "".join(piece["token"] for piece in pieces)
    scores = judge_one(endpoint([said(content, logprobs=pieces)]), CONFIG, make_trajectory(2))
    assert np.allclose(scores.probs, [[0.5, 0, 0.5], [0.3, 0, 0.7]], atol=1e-9)


GOOD = '{"0": {"label": "pos"}}'


@pytest.mark.parametrize(
    ("_case", "logprobs"),
    [
        ("none", None),
        ("empty", []),
        ("of another text", [token("Hello"), token("pos", 0.5, [("neg", 0.5)])]),
        ("token ids for texts", [token("token_id:17"), token("token_id:4", 0.5)]),
        ("not a list", "many"),
        ("no number", [{"token": GOOD, "logprob": None, "top_logprobs": []}]),
        ("no bytes", [{"token": GOOD, "logprob": -1, "bytes": [900], "top_logprobs": []}]),
    ],
)
def test_without_usable_tokens_a_vote_counts_in_full(endpoint, _case, logprobs):
    assert probs_of(endpoint, said(GOOD, logprobs=logprobs)).tolist() == [0, 0, 1]


@pytest.mark.parametrize("impossible", [-9999.0, float("-inf"), float("nan")], ids=str)
def test_impossible_tokens_have_no_probability(endpoint, impossible):
    label = token("pos", 0.8, [("neu", 0.2)])
    label["top_logprobs"].append({"token": "neg", "logprob": impossible, "bytes": None})
    assert np.allclose(probs_of(endpoint, answer(token('"'), label, token('"'))), [0, 0.2, 0.8])


def test_distributions_of_several_votes_are_averaged(endpoint):
    def reply(word, p, other, reason):
        label = token(word, p, [(other, 1 - p)])
        return answer(token('"'), label, token('"'), before=f'{{"0": {{"reason": "{reason}", "label": ')

    config = make_config(output={"top_logprobs": 5}, votes={"variants": ["evidence", "first_error", "both_sides"]})
    server = endpoint([reply("pos", 0.6, "neg", "A"), reply("pos", 0.9, "neg", "B"), reply("neg", 0.6, "pos", "C")])
    scores = judge_one(server, config, make_trajectory(1))
    assert np.allclose(scores.probs, [[1.1 / 3, 0, 1.9 / 3]])
    assert scores.rationales == ["B"]
