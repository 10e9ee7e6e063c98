"""Reviewers and background work on the same trajectories at once, on real connections: nobody waits for ever."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from annotator import flow
from annotator.adjudication import actions
from annotator.adjudication.actions import DecisionIn
from annotator.fusion import actions as fusion
from annotator.models import Assignment, Dispute, Membership, Posterior, Review, Trajectory
from annotator.projects import actions as projects
from tests.factories import World, judge, make_member, make_trajectory, make_world, predict


class Beside:
    """Runs a function on a connection of its own; `error` is what it raised."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._thread.join(1.5)  # by then it waits for what this connection holds

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self.error = error
        finally:
            connection.close()

    @property
    def is_waiting(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        self._thread.join(20)
        assert not self.is_waiting


def disputed(world: World) -> Trajectory:
    trajectory = make_trajectory(world.project, n_steps=3)
    predict(trajectory, [1, 1, -1])
    judge(trajectory, world.annotator, [1, 1, 1])
    judge(trajectory, world.second, [-1, -1, -1])
    return trajectory


@pytest.mark.django_db(transaction=True)
def test_a_fusion_that_ends_while_a_reviewer_decides_waits_for_the_decision(world: World) -> None:
    trajectory = [disputed(world) for _ in range(2)][1]
    job = fusion.start(world.project, user=world.admin)
    flow.run_job(job.pk)
    last = Dispute.objects.filter(trajectory=trajectory).order_by("step__index")[2]
    with transaction.atomic():  # as flow.decide does it
        flow.decide(last, world.reviewer, DecisionIn(value=-1, reason_code="misread"))
        weighing = Beside(lambda: actions.weigh_all(world.project))
        assert weighing.is_waiting
        fusion.refresh(trajectory.pk)
        actions.weigh([trajectory.pk])
    weighing.end()
    assert weighing.error is None
    probs = Posterior.objects.get(trajectory=trajectory).probs
    undecided = list(Dispute.objects.undecided().filter(trajectory=trajectory).order_by("step__index"))
    assert [one.worth for one in undecided] == pytest.approx([1 - max(probs[0]), 1 - max(probs[1])], abs=1e-12)
    assert Review.objects.get(trajectory=trajectory).worth == pytest.approx(sum(one.worth for one in undecided))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("doing", "status"), [("take all back", "submitted"), ("send all back", "returned")])
def test_whatever_takes_several_trajectories_takes_them_in_one_order(doing: str, status: str, client: Client) -> None:
    """Somebody was asked about the later trajectory first, and about the earlier one when others differed."""
    world = make_world(overlap=2, max_overlap=3)
    earlier, later = (make_trajectory(world.project, n_steps=1) for _ in range(2))
    judge(earlier, world.second, [1])
    judge(earlier, make_member(world.project), [-1])
    given = [judge(one, world.annotator, [1]) for one in (later, earlier)]
    if doing == "take all back":
        for annotation in given:
            actions.return_to_author(annotation.pk, world.reviewer, "Look again.")
        projects.remove_member(Membership.objects.get(user=world.annotator), user=world.admin)
        path = "returns/take-back/"
        data: dict[str, Any] = {"annotator": world.annotator.username}
    else:
        projects.add_guideline(world.project, "Second", user=None)
        path = "guideline/older/"
        data = {"annotation": [annotation.pk for annotation in given], "message": "Look again."}
    client.force_login(world.admin)
    with transaction.atomic():
        Trajectory.objects.lock([earlier.pk])
        beside = Beside(lambda: client.post(f"/projects/demo/{path}", data))
        assert beside.is_waiting
        Trajectory.objects.lock([later.pk])
    beside.end()
    assert beside.error is None
    assert [Assignment.objects.get(pk=one.assignment_id).status for one in given] == [status, status]
