"""What a scorer sees of a step, by hand-worked cases; and that `prefix` sees no later message."""

import numpy as np
import pytest

from annotator.prelabelling.scorer_config import FEATURES, Mode
from annotator.prelabelling.scores import TrajectoryText
from tests.prelabelling.runs import TOOLS, calls, result, says, user
from tests.workers.prm import toy
from workers.prm.features import WIDTHS, describe

SEARCH = [
    user("Who built the tower of Pisa?"),
    calls(("search", {"query": "tower Pisa builder"}, "a"), text="I look it up."),
    result({"error": "timed out"}, tool_call_id="a"),
    calls(("search", {"query": "tower Pisa builder"}, "b")),
    result("Bonanno Pisano built the tower.", tool_call_id="b"),
    says("It was Bonanno Pisano."),
]


def trajectory(messages=SEARCH, **fields):
    return TrajectoryText("Who built the tower of Pisa?", messages, TOOLS, **fields)


def row(described, name, t):
    return [round(float(x), 4) for x in described.numbers[name][t]]


def test_the_texts_are_what_the_agent_says_and_what_it_was_told_before() -> None:
    seen = describe(trajectory(), mask="full", mode="blind")
    assert seen.step_texts[0] == 'I look it up.\nsearch {"query": "tower Pisa builder"}'
    assert seen.step_texts[2] == "It was Bonanno Pisano."
    assert seen.context_texts == [
        "Who built the tower of Pisa?",
        '{"error": "timed out"}',
        "Bonanno Pisano built the tower.",
    ]


def test_place_errors_and_repeats_are_counted() -> None:
    seen = describe(trajectory(), mask="full", mode="blind")
    log = np.log1p
    assert row(seen, "place", 1) == [round(log(1), 4), 0.6667, round(log(3), 4), 0, 0, 0, 1, 0, 1]
    # Causes are external, caused, unclear; of the results before the step, its own and all earlier ones.
    assert row(seen, "errors", 0) == [0, 0, 0, round(log(1), 4), 0, 0, 0, 0, 0]
    assert row(seen, "errors", 1) == [round(log(1), 4), 0, 0, 0, 0, 0, round(log(1), 4), 0, 0]
    assert row(seen, "calls", 1)[4:] == [1, 1, 0, 0]  # the same call again, of a tool on offer, with good arguments
    assert row(seen, "calls", 0)[4:] == [0, 0, 0, 0]


def test_a_rule_that_speaks_is_seen_with_its_leaning() -> None:
    seen = describe(trajectory(), mask="full", mode="blind")
    at = ["R1", "R2", "R3", "R4", "R5", "R6"].index("R6") * 4  # leanings: none, -1, 0, +1
    assert [x > 0 for x in row(seen, "rules", 1)[at : at + 4]] == [False, False, True, False]  # unchanged, external


def test_the_reference_is_seen_only_where_it_may_be() -> None:
    right, wrong = trajectory(reference="Bonanno Pisano"), trajectory(reference="Nobody at all")
    blind = [describe(one, mask="full", mode="blind").numbers["rules"] for one in (right, wrong)]
    np.testing.assert_array_equal(blind[0], blind[1])
    seeing = [describe(one, mask="full", mode="with_reference").numbers["rules"] for one in (right, wrong)]
    assert (seeing[0][2] != seeing[1][2]).any()


@pytest.mark.parametrize("mode", ["blind", "with_reference"])
def test_prefix_describes_a_step_as_if_nothing_had_come_after_it(mode: Mode) -> None:
    messages = SEARCH
    whole = describe(trajectory(messages, reference="Bonanno Pisano"), mask="prefix", mode=mode)
    for t, end in enumerate((2, 4, 6)):
        cut = describe(trajectory(messages[:end], reference="Bonanno Pisano"), mask="full", mode=mode)
        assert (whole.step_texts[t], whole.context_texts[t]) == (cut.step_texts[t], cut.context_texts[t])
        for name in WIDTHS:
            np.testing.assert_array_equal(whole.numbers[name][t], cut.numbers[name][t])


def test_every_feature_has_its_width_for_any_number_of_steps() -> None:
    for values in ([1], [1, -1, 0, 1]):
        seen = describe(TrajectoryText("x", toy.messages_of(values), []), mask="full", mode="blind")
        assert {name: found.shape for name, found in seen.numbers.items()} == {
            name: (len(values), width) for name, width in WIDTHS.items()
        }
        assert all(np.isfinite(found).all() for found in seen.numbers.values())
    assert set(WIDTHS) | {"step_text", "context_text"} == set(FEATURES)
