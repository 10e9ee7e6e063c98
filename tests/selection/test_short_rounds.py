"""Rounds that find fewer than they want: every strategy has its part, and the page says what is missing and why."""

import re

import pytest
from django.test import Client

from annotator.models import SelectionRound
from annotator.selection.reading import bought, why_short
from tests.factories import World, make_trajectory
from tests.selection.test_rounds import believe, make_fusion, run

pytestmark = pytest.mark.django_db
SHARES = {"expected_errors": 60, "mean_entropy": 20, "random": 20}


@pytest.fixture
def short(world: World) -> SelectionRound:
    """Of two tasks with six trajectories each, of which strategies may choose two each."""
    fusion = make_fusion(world.project)
    for i in range(12):
        believe(fusion, make_trajectory(world.project, group_key=f"task {i % 2}"), [0.01 * i, 0.2, 0.1])
    return run(world, shares=SHARES, n_wanted=10, most_siblings=2)


def test_strategies_share_what_their_tasks_have(short: SelectionRound) -> None:
    found = {row.strategy: (row.n_wanted, row.n_picks) for row in bought(short)}
    assert found == {"expected_errors": (6, 3), "mean_entropy": (2, 1), "random": (2, 2)}
    assert short.report["n_siblings_left"] == 6


def test_the_page_says_what_is_missing_and_why(world: World, client: Client, short: SelectionRound) -> None:
    client.force_login(world.admin)
    text = client.get("/projects/demo/selection/1/").content.decode()
    assert "6 of 12 trajectories" in text
    why = "There are fewer: strategies choose 2 of one task at most, which left out 6</dd>"
    assert f"<dt>Wanted</dt><dd>10. {why}" in text
    rows = re.findall(r'<tr><th scope="row">([^<]+)</th><td class="num">(\d+)</td><td class="num">(\d+)</td>', text)
    assert rows == [
        ("Expected errors per cost", "6", "3"),
        ("Mean entropy, spread out", "2", "1"),
        ("At random", "2", "2"),
    ]


def test_a_strategy_that_found_nothing_is_on_the_page(world: World) -> None:
    fusion = make_fusion(world.project)
    for _ in range(5):
        believe(fusion, make_trajectory(world.project), [0.1, 0.2, 0.1])  # no outcome, so nothing contradicts it
    round_ = run(world, shares={"contradiction": 60, "oldest": 20, "random": 20}, n_wanted=5)
    found = {row.strategy: (row.n_wanted, row.n_picks) for row in bought(round_)}
    assert found == {"contradiction": (3, 0), "oldest": (1, 4), "random": (1, 1)}
    assert why_short(round_) == []


def test_every_reason_is_named(short: SelectionRound) -> None:
    assert short.picks.count() == 6
    report = {"n_siblings_left": 0, "n_taken_meanwhile": 0}
    for n_pool, changes, reasons in (
        (6, {}, ["only 6 could be chosen"]),
        (8, {"n_taken_meanwhile": 2}, ["only 8 could be chosen", "2 had been begun by somebody meanwhile"]),
        (1000, {"n_taken_meanwhile": 4}, ["4 had been begun by somebody meanwhile"]),
        (20, {}, ["no strategy knew anything of 14"]),
    ):
        short.n_pool, short.report = n_pool, {**report, **changes}
        assert why_short(short) == reasons
    short.n_pool, short.report = 20, {}  # from before this was kept
    assert why_short(short) == []
    assert {row.n_wanted for row in bought(short)} == {None}


def test_a_cold_round_wants_chance_only(world: World) -> None:
    for _ in range(4):
        make_trajectory(world.project)
    round_ = run(world, shares=SHARES, n_wanted=10)
    assert [(row.strategy, row.n_wanted, row.n_picks) for row in bought(round_)] == [("random", 4, 4)]
    assert why_short(round_) == ["only 4 could be chosen"]
