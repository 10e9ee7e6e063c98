"""Where a turn begins, and that what is known does not carry on past it where errors do not."""

from typing import Any

import numpy as np
import pytest

from annotator.fusion import actions, reading
from annotator.fusion.chain import PRIOR_CHAIN, PRIOR_TRANSITION
from annotator.models import Posterior
from tests.factories import World, judge, make_messages, make_trajectory
from tests.selection.test_rounds import believe, make_fusion

pytestmark = pytest.mark.django_db


def turns(world: World, chat: list[dict[str, Any]]) -> list[bool]:
    trajectory = make_trajectory(world.project, messages=chat)
    return list(reading.turns_of({trajectory.pk: 0}, np.array([0, trajectory.n_steps])))


def test_a_turn_begins_after_a_message_that_somebody_has_answered(world: World) -> None:
    chat = make_messages(6, answered=[1, 3])
    assert turns(world, chat) == [False, False, True, False, True, False]
    assert turns(world, make_messages(4)) == [False] * 4


def test_without_an_answer_or_any_tool_no_turn_begins(world: World) -> None:
    """A thought before the call that it is about; and an agent that writes its calls as text."""
    chat = make_messages(4, answered=[1])
    thought = [message for message in chat if message["role"] != "user" or "tallest" not in message["content"]]
    assert turns(world, thought) == [False] * 4
    texts = make_messages(4, answered=[0, 1, 2])
    assert turns(world, texts) == [False] * 4


def test_each_trajectory_is_looked_at_alone(world: World) -> None:
    made = [
        make_trajectory(world.project, messages=make_messages(n, unique=str(i), answered=[0]))
        for i, n in enumerate((3, 4, 3))
    ]
    starts = np.array([0, 3, 7, 10])
    found = reading.turns_of({trajectory.pk: i for i, trajectory in enumerate(made)}, starts)
    assert found.tolist() == [False, True, False, False, True, False, False, False, True, False]
    assert reading.turns_of({made[2].pk: 0}, np.array([0, 3])).tolist() == [False, True, False]


def test_a_label_reaches_the_next_step_as_its_turn_lets_it(world: World) -> None:
    within, apart = (make_trajectory(world.project, messages=make_messages(3, answered=a)) for a in ([], [0]))
    nothing = np.tile(PRIOR_CHAIN.marginal, (3, 1))  # whatever was before, the next step is as any
    transition = [PRIOR_TRANSITION.tolist(), nothing.tolist()]
    fusion = make_fusion(world.project, start=PRIOR_CHAIN.start.tolist(), transition=transition, strength=0.5)
    for trajectory in (within, apart):
        believe(fusion, trajectory, [0.2, 0.2, 0.2])
        judge(trajectory, world.annotator, [-1, 1, 1])
        judge(trajectory, world.reviewer, [-1, -1, 1])
        assert actions.refresh(trajectory.pk)
    carried, kept = (np.array(Posterior.objects.get(trajectory=one).probs) for one in (within, apart))
    assert carried[0].tolist() == kept[0].tolist() == [1, 0, 0]
    # Both people weigh alike, so their two labels of the second step say nothing; what is left comes from the first.
    assert kept[1, 0] < carried[1, 0]
