"""Money: counted, capped, estimated. An answer here costs 0.002: 1000 tokens in at 1, 100 out at 10 per million."""

import time
from decimal import Decimal

import pytest

from annotator.prelabelling.judge_costs import PROMPT_BYTES, Estimate, estimate
from annotator.prelabelling.scores import ScoringError, TrajectoryScores
from tests.workers.judge import server as replies
from tests.workers.judge.conftest import judge_all, make_config, make_judge, make_trajectory
from tests.workers.judge.server import error, labels, late, said
from workers.prelabel.judge.rendering import render

GOOD = said(labels("pos", "neg"))


def config_with(cap, *, concurrency=1, **changes):
    # An answer may have 100 tokens, so that the worst case of a request is known: the prompt, and 0.001.
    return make_config(
        price={"input": 1, "output": 10, "currency": "EUR"},
        output={"max_tokens": 100},
        limits={"concurrency": concurrency, "spending_cap": cap},
        **changes,
    )


def test_tokens_and_money_are_counted_with_every_answer(endpoint):
    answers = [GOOD, said(labels("pos", "neg"), usage=(500, 10)), error(500), said("no JSON", usage=(7, 3))]
    judge, results = judge_all(endpoint(answers), [make_trajectory()] * 3, config_with(1))
    spent = judge.spent
    assert (spent.n_answers, spent.n_lost, spent.input_tokens, spent.output_tokens) == (3, 0, 1507, 113)
    assert spent.money == Decimal("0.002637")
    assert len(results) == 3
    assert judge.stopped_because == ""


def test_without_a_price_tokens_are_counted_and_money_is_not(endpoint):
    judge, _ = judge_all(endpoint([GOOD]), [make_trajectory()])
    assert (judge.spent.input_tokens, judge.spent.money) == (1000, None)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_at_the_cap_the_run_stops_cleanly_and_says_so(endpoint, concurrency):
    server = endpoint([late(0.05, GOOD)])
    judge, results = judge_all(server, [make_trajectory()] * 20, config_with("0.0105", concurrency=concurrency))
    assert judge.spent.money == Decimal("0.010")
    assert len(server.bodies) == len(results) == 5
    assert all(isinstance(result, TrajectoryScores) for result in results.values())
    assert judge.stopped_because == (
        "The spending cap of 0.0105 EUR left no room for 15 trajectories. Start again to ask about the rest; "
        "raise limits.spending_cap if that asks about none."
    )


def test_what_does_not_fit_keeps_nothing_else_from_being_asked(endpoint):
    long = make_trajectory(2, result="x" * 20_000)  # may cost 0.02
    server = endpoint([GOOD])
    judge, results = judge_all(server, [long, make_trajectory(), long, make_trajectory()], config_with("0.01"))
    assert (sorted(results), len(server.bodies), judge.spent.money) == ([1, 3], 2, Decimal("0.004"))
    assert judge.stopped_because.startswith("The spending cap of 0.01 EUR left no room for 2 trajectories. Start again")
    alone, results = judge_all(server, [long], config_with("0.01"))
    assert (results, len(server.bodies)) == ({}, 2)
    assert alone.stopped_because.startswith("The spending cap of 0.01 EUR left no room for 1 trajectory. Start again")


def test_a_trajectory_is_asked_with_all_its_votes_or_not_at_all(endpoint):
    server = endpoint([GOOD])
    config = config_with("0.0125", votes={"variants": ["evidence", "first_error", "both_sides"]})
    judge, results = judge_all(server, [make_trajectory()] * 5, config)
    assert len(results) == 1
    assert len(server.bodies) == 3
    assert judge.spent.money == Decimal("0.006")


def test_the_cap_holds_for_all_batches_together(endpoint):
    server = endpoint([GOOD])
    judge = make_judge(server, config_with("0.0065"))
    n_results = [len(list(judge.score(enumerate([make_trajectory()] * 2), should_stop=bool))) for _ in range(3)]
    assert n_results == [2, 1, 0]
    assert judge.spent.money == Decimal("0.006")


def test_what_an_earlier_part_of_the_run_spent_counts(endpoint):
    server = endpoint([GOOD])
    judge, results = judge_all(server, [make_trajectory()], config_with(1), spent_before=Decimal("0.9995"))
    assert (results, server.bodies) == ({}, [])
    assert judge.stopped_because.startswith("The spending cap of 1 EUR")


def test_attempts_that_may_have_been_billed_eat_the_cap(endpoint):
    server = endpoint([replies.dropped])
    judge, results = judge_all(server, [make_trajectory()], config_with("0.010"))
    assert (results, len(server.bodies)) == ({}, 2)
    assert judge.stopped_because.startswith("The spending cap of 0.010 EUR was eaten up by attempts without an answer.")


def test_a_failed_trajectory_gives_back_what_was_set_aside_for_it(endpoint):
    server = endpoint([error(400, "No.")] * 5 + [GOOD])
    judge, results = judge_all(server, [make_trajectory()] * 6, config_with("0.0045"))
    assert [isinstance(result, ScoringError) for result in results.values()] == [True] * 5 + [False]
    assert judge.spent.money == Decimal("0.002")


def test_the_estimate_is_a_sum_that_can_be_checked_by_hand():
    config = make_config(
        price={"input": 2, "output": 10}, votes={"variants": ["evidence", "both_sides"]}, output={"thinking_tokens": 50}
    )
    found = estimate(config, n_trajectories=10, n_steps=70, prompt_bytes=400_000)
    # Per vote: 400,000 bytes / 4 in; 10 answers of 150 + 50 tokens and 45 for each of 70 steps out.
    assert found == Estimate(10, 20, 200_000, 2 * (10 * 200 + 70 * 45), Decimal("0.4") + Decimal("0.103"))
    assert estimate(make_config(), n_trajectories=1, n_steps=1, prompt_bytes=4).money is None


def test_a_judge_estimates_from_its_own_prompts_and_the_ratio_it_has_measured(endpoint):
    trajectories = [make_trajectory(2), make_trajectory(5), make_trajectory(0)]
    judge = make_judge(endpoint([GOOD]), make_config(price={"input": 1, "output": 10}))
    before = judge.estimate(trajectories)
    assert (before.n_trajectories, before.n_requests) == (2, 2)
    assert before.output_tokens == 2 * 150 + 7 * 45
    rendered = sum(render(trajectory, with_reference=False).n_bytes for trajectory in trajectories[:2])
    assert abs(before.input_tokens - (rendered + 2 * PROMPT_BYTES) / 4) < 0.1 * before.input_tokens
    list(judge.score([(0, trajectories[0])], should_stop=lambda: False))
    one = judge.estimate([trajectories[0]])
    assert one.input_tokens == 1000


def test_the_set_aside_of_slow_answers_does_not_end_the_run_too_early(endpoint):
    # Two fit at a time, although eight threads are free; in the end five are paid for.
    server = endpoint([late(0.2, GOOD)])
    started = time.monotonic()
    _, results = judge_all(server, [make_trajectory()] * 20, config_with("0.0105", concurrency=8))
    assert len(results) == 5
    assert time.monotonic() - started < 5
