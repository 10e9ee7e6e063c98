"""What the endpoint may do to us, and what is asked again. Through a real HTTP server."""

import time
from decimal import Decimal
from email.utils import formatdate

import pytest

from annotator.prelabelling.scores import ScoringError, TrajectoryScores
from tests.workers.judge import server as replies
from tests.workers.judge.conftest import judge_all, judge_one, make_config, make_judge, make_trajectory
from tests.workers.judge.server import error, labels, late, n_steps_of, raw, said
from workers.prelabel.judge import client
from workers.prelabel.judge.client import EndpointClosed
from workers.prelabel.judge.scoring import Judge

GOOD = said(labels("pos", "neg"))
PRICE = {"input": 1, "output": 10}  # 1000 tokens in and 100 out cost 0.002


def test_the_request_is_authorised_and_goes_to_the_chat_completions_of_the_base_url(endpoint):
    server = endpoint([GOOD])
    judge_one(server)
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert server.headers[0]["Content-Type"] == "application/json"


def test_without_a_key_no_authorisation_is_sent(endpoint):
    server = endpoint([GOOD])
    judge_all(server, [make_trajectory()], api_key=None)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("_case", "failure"),
    [
        ("429", error(429, "Slow down.")),
        ("500", error(500, "Oops.")),
        ("503 without a body", raw(b"", status=503)),
        ("502 in HTML", raw(b"<html>Bad gateway</html>", status=502)),
        ("408", error(408)),
        ("dropped", replies.dropped),
        ("broken off", replies.broken_off),
        ("broken off in a chunk", replies.broken_off_chunked),
    ],
)
def test_what_may_pass_by_itself_is_asked_again(endpoint, _case, failure):
    server = endpoint([failure, failure, GOOD])
    scores = judge_one(server)
    assert isinstance(scores, TrajectoryScores)
    assert scores.probs.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (error(429, "Slow down."), 'The endpoint answered 429: "Slow down." Asked 3 times.'),
        (error(500), "The endpoint answered 500. Asked 3 times."),
        (replies.dropped, "The connection broke off (ProtocolError). Asked 3 times."),
    ],
    ids=["429", "500", "dropped"],
)
def test_what_does_not_pass_is_an_error_of_this_trajectory_and_not_an_abstention(endpoint, failure, sentence):
    server = endpoint([failure])
    result = judge_one(server)
    assert isinstance(result, ScoringError)
    assert str(result) == sentence
    assert len(server.bodies) == 3


def test_one_bad_trajectory_does_not_stop_the_others(endpoint):
    server = endpoint(
        lambda body, n: error(500) if n_steps_of(body) == 3 else said(labels(*["pos"] * n_steps_of(body)))
    )
    _, results = judge_all(server, [make_trajectory(n) for n in (1, 3, 2)])
    assert [type(results[i]) for i in range(3)][0::2] == [TrajectoryScores, TrajectoryScores]
    assert isinstance(results[1], ScoringError)


@pytest.mark.parametrize("reply", [late(3, GOOD), replies.trickle], ids=["late", "a byte now and then"])
def test_an_answer_beyond_the_time_out_is_given_up(endpoint, reply):
    server = endpoint([reply, GOOD])
    started = time.monotonic()
    config = make_config(limits={"timeout_s": 0.3}, price=PRICE)
    judge, results = judge_all(server, [make_trajectory()], config)
    assert time.monotonic() - started < 2
    assert isinstance(results[0], TrajectoryScores)
    assert len(server.bodies) == 2
    # It may have been billed: 8192 tokens of output, and the prompt.
    assert judge.spent.n_lost == 1
    assert judge.spent.money > Decimal("0.08192") + Decimal("0.002")


def test_an_endpoint_that_is_not_there_is_an_error_and_costs_nothing(endpoint):
    server = endpoint([GOOD])
    server.__exit__()
    judge, results = judge_all(server, [make_trajectory()], make_config(price=PRICE))
    assert str(results[0]) == "The endpoint cannot be reached (NewConnectionError). Asked 3 times."
    assert (judge.spent.money, judge.spent.n_lost) == (0, 0)


@pytest.mark.parametrize(
    "value", [lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)], ids=["1 s", "a date"]
)
def test_retry_after_is_honoured(endpoint, value):
    server = endpoint(lambda body, n: GOOD if n else error(429, headers=[("Retry-After", value())]))
    judge_one(server)
    assert 0.9 < server.times[1] - server.times[0] < 2.5


@pytest.mark.parametrize("value", ["soon", "-5", "0", ""])
def test_a_retry_after_of_nonsense_falls_back_to_the_usual_pause(endpoint, value):
    server = endpoint([error(503, headers=[("Retry-After", value)]), GOOD])
    assert isinstance(judge_one(server), TrajectoryScores)
    assert server.times[1] - server.times[0] < 0.5


def test_an_endpoint_that_asks_to_wait_for_an_hour_ends_the_run(endpoint):
    server = endpoint([error(429, "Daily limit.", headers=[("Retry-After", "3600")])])
    with pytest.raises(EndpointClosed) as closed:
        judge_one(server)
    assert str(closed.value) == (
        'The endpoint answered 429: "Daily limit." It asks to wait 3600 seconds; start the run again later.'
    )
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (error(401, "Incorrect API key provided: secret."), ': "Incorrect API key provided: …." Check the API key.'),
        (error(403, "Not for you."), ': "Not for you."'),
        (error(402), "."),
        (error(404, "No such model."), ': "No such model." Check the address and the model\'s name.'),
        (error(429, "You exceeded your quota.", code="insufficient_quota"), ': "You exceeded your quota."'),
    ],
    ids=["401", "403", "402", "404", "quota"],
)
def test_what_concerns_every_request_ends_the_run_with_a_sentence(endpoint, reply, sentence):
    server = endpoint(lambda body, n: GOOD if n == 0 else reply)
    judge = make_judge(server, make_config(limits={"concurrency": 1}))
    results = []
    with pytest.raises(EndpointClosed) as closed:
        for key, result in judge.score(((i, make_trajectory()) for i in range(5)), should_stop=lambda: False):
            results.append((key, type(result)))
    assert results == [(0, TrajectoryScores)]
    status = str(closed.value).split()[3].rstrip(":.")
    assert str(closed.value) == f"The endpoint answered {status}{sentence}"
    assert judge.stopped_because == str(closed.value)
    assert len(server.bodies) == 2


def test_a_proxy_of_the_environment_is_used(endpoint, monkeypatch):
    proxy = endpoint([GOOD])
    monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
    _, results = judge_all(proxy, [make_trajectory()], base_url="http://judge.invalid/v1")
    assert isinstance(results[0], TrajectoryScores)
    assert proxy.paths == ["http://judge.invalid/v1/chat/completions"]


def test_a_refused_request_is_an_error_that_is_not_asked_again(endpoint):
    server = endpoint([error(400, "response_format is not supported \n by this\x07 model" + "!" * 1000)])
    result = judge_one(server)
    assert str(result).startswith('The endpoint answered 400: "response_format is not supported by this model!!!')
    assert len(str(result)) == 300 + len('The endpoint answered 400: ""')
    assert len(server.bodies) == 1


def test_a_stream_without_end_is_cut_off(endpoint, monkeypatch):
    monkeypatch.setattr(client, "_MAX_ANSWER", 2**20)
    server = endpoint([replies.endless])
    assert str(judge_one(server)) == "The endpoint sent more than 1 MB for one answer."
    assert len(server.bodies) == 1


def test_a_redirect_is_not_followed(endpoint):
    other = endpoint([GOOD])
    server = endpoint([lambda handler: replies.send(handler, 307, b"", headers=[("Location", other.base_url)])])
    assert str(judge_one(server)) == "The endpoint answered 307."
    assert other.bodies == []


def test_ten_trajectories_in_a_row_without_an_answer_end_the_run(endpoint):
    server = endpoint(lambda body, n: GOOD if n == 5 else error(400, "No."))
    judge = make_judge(server, make_config(limits={"concurrency": 1}))
    results = []
    with pytest.raises(EndpointClosed) as closed:
        for _, result in judge.score(((i, make_trajectory()) for i in range(100)), should_stop=lambda: False):
            results.append(isinstance(result, ScoringError))
    assert str(closed.value) == (
        '10 trajectories in a row had no answer. The last time: The endpoint answered 400: "No."'
    )
    assert results == [True] * 5 + [False] + [True] * 10
    assert len(server.bodies) == 16


def test_no_more_requests_at_once_than_allowed_and_not_fewer(endpoint):
    server = endpoint([late(0.1, GOOD)])
    _, results = judge_all(server, [make_trajectory()] * 12, make_config(limits={"concurrency": 3}))
    assert len(results) == 12
    assert server.most_at_once == 3


def test_connections_are_used_again(endpoint):
    server = endpoint([GOOD])
    judge_all(server, [make_trajectory()] * 12, make_config(limits={"concurrency": 2}))
    assert len(server.connections) <= 2


def test_scores_come_as_they_come_in(endpoint):
    server = endpoint(
        lambda body, n: late(0.8 if n_steps_of(body) == 1 else 0, said(labels(*["pos"] * n_steps_of(body))))
    )
    judge = make_judge(server)
    order = [key for key, _ in judge.score(enumerate([make_trajectory(1), make_trajectory(2)]), should_stop=bool)]
    assert order == [1, 0]


def test_after_cancellation_what_is_done_is_yielded_and_nothing_more_is_asked(endpoint):
    server = endpoint([late(0.05, GOOD)])
    judge = make_judge(server, make_config(limits={"concurrency": 2}))
    done = []
    for key, result in judge.score(((i, make_trajectory()) for i in range(100)), should_stop=lambda: len(done) >= 3):
        done.append(key)
        assert isinstance(result, TrajectoryScores)
    assert 3 <= len(done) <= 6
    assert len(server.bodies) == len(done)
    assert judge.stopped_because == "The run was cancelled."


def test_a_judge_goes_on_with_the_next_batch_after_a_cancelled_one(endpoint):
    judge = make_judge(endpoint([GOOD]))
    assert dict(judge.score([("a", make_trajectory())], should_stop=lambda: True)) == {}
    assert judge.stopped_because == "The run was cancelled."
    assert list(dict(judge.score([("b", make_trajectory())], should_stop=lambda: False))) == ["b"]
    assert (judge.stopped_because, judge.spent.n_answers) == ("", 1)


def test_cancellation_between_two_votes_yields_no_half_trajectory(endpoint):
    server = endpoint([late(0.7, GOOD)])
    config = make_config(votes={"variants": ["evidence", "first_error", "both_sides"]})
    judge, results = judge_all(server, [make_trajectory()], config, should_stop=lambda: len(server.bodies) == 1)
    assert results == {}
    assert len(server.bodies) == 1
    assert judge.spent.n_answers == 1


def test_cancellation_ends_a_pause_between_two_attempts(endpoint):
    server = endpoint([error(429, headers=[("Retry-After", "60")])])
    started = time.monotonic()
    _, results = judge_all(server, [make_trajectory()], should_stop=lambda: bool(server.bodies))
    assert (results, len(server.bodies)) == ({}, 1)
    assert time.monotonic() - started < 3


def test_a_caller_that_stops_reading_stops_the_run(endpoint):
    server = endpoint([late(0.05, GOOD)])
    judge = make_judge(server, make_config(limits={"concurrency": 1}))
    scores = judge.score(((i, make_trajectory()) for i in range(100)), should_stop=lambda: False)
    next(scores)
    scores.close()
    n_asked = len(server.bodies)
    time.sleep(0.3)
    assert len(server.bodies) == n_asked <= 2


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "Set JUDGE_URL on the worker to the address of the endpoint, such as http://127.0.0.1:8000/v1."),
        ({"JUDGE_URL": "file:///etc/passwd", "JUDGE_KEY": "k"}, "Set JUDGE_URL on the worker to the address of"),
        ({"JUDGE_URL": "http://[::1", "JUDGE_KEY": "k"}, "The address of the endpoint is no web address."),
        ({"JUDGE_URL": "http://127.0.0.1:1"}, "Set JUDGE_KEY on the worker to the API key of the endpoint."),
        ({"JUDGE_URL": "http://127.0.0.1:1", "JUDGE_KEY": "k\r\nX: y"}, "Set JUDGE_KEY on the worker to the API key"),
    ],
    ids=["nothing", "a file", "no web address", "no key", "a key of two lines"],
)
def test_a_worker_without_address_or_key_is_told_what_to_set(environ, sentence):
    with pytest.raises(EndpointClosed) as closed:
        Judge.from_environment(make_config(), guideline="", environ=environ)
    assert str(closed.value).startswith(sentence)


def test_address_and_key_come_from_the_environment(endpoint):
    server = endpoint([GOOD])
    environ = {"JUDGE_URL": server.base_url + "/", "JUDGE_KEY": "from-env\n"}
    judge = Judge.from_environment(make_config(), guideline="", environ=environ)
    list(judge.score([("a", make_trajectory())], should_stop=lambda: False))
    assert (server.paths, server.headers[0]["Authorization"]) == (["/v1/chat/completions"], "Bearer from-env")
