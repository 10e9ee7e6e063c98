"""Many people and many tabs at once, on real connections: nothing is given out twice or too often."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from django.db import connection, transaction

from annotator.models import Assignment, User
from annotator.queue import actions as queue
from tests.factories import make_member, make_project, make_trajectory


def run_at_once(work: Sequence[Callable[[], object]]) -> list[BaseException]:
    """Runs every function in its own thread, all starting together; returns what they raised."""
    start = threading.Barrier(len(work))
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            start.wait()
            function()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[function]) for function in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("_case", "n_people", "n_tabs", "overlap"),
    [("32 people", 32, 1, 2), ("4 tabs of one person", 1, 4, 1), ("4 people with 3 tabs each", 4, 3, 2)],
)
def test_claims_at_once_never_give_a_slot_twice(_case: str, n_people: int, n_tabs: int, overlap: int) -> None:
    project = make_project(overlap=overlap)
    people = [make_member(project) for _ in range(n_people)]
    for _ in range(30):
        make_trajectory(project, n_steps=1, enqueue=False)
    assert queue.enqueue(project) == 30 * overlap
    claimed: list[tuple[int, int, int]] = []

    def claim_all(user: User) -> None:
        while slot := queue.claim_next(project, user):
            claimed.append((slot.pk, slot.trajectory_id, user.pk))

    work = [lambda user=user: claim_all(user) for user in people for _ in range(n_tabs)]
    assert run_at_once(work) == []

    slots, holders = [pk for pk, _, _ in claimed], [(trajectory, user) for _, trajectory, user in claimed]
    assert len(set(slots)) == len(slots)
    assert len(set(holders)) == len(holders)
    per_trajectory = Counter(trajectory for _, trajectory, _ in claimed)
    wanted = min(overlap, n_people)
    assert set(per_trajectory.values()) == {wanted}
    assert len(claimed) == 30 * wanted
    assert Assignment.objects.filter(status="claimed").count() == 30 * wanted


@pytest.mark.django_db(transaction=True)
def test_two_imports_that_end_together_fill_the_queue_once() -> None:
    project = make_project(overlap=2)
    for _ in range(20):
        make_trajectory(project, n_steps=1, enqueue=False)
    assert run_at_once([lambda: queue.enqueue(project) and None] * 4) == []
    assert Assignment.objects.count() == 40


@pytest.mark.django_db(transaction=True)
def test_while_a_round_holds_every_slot_a_claim_waits_for_it() -> None:
    project = make_project(overlap=1)
    person = make_member(project)
    trajectory = make_trajectory(project, n_steps=1)
    claimed: list[Assignment | None] = []

    def claim() -> None:
        try:
            claimed.append(queue.claim_next(project, person))
        finally:
            connection.close()

    beside = threading.Thread(target=claim)
    with transaction.atomic():
        list(Assignment.objects.filter(project=project).select_for_update())
        beside.start()
        beside.join(0.5)
        assert beside.is_alive()
        Assignment.objects.filter(project=project).update(priority=0.5)
    beside.join(10)
    assert claimed[0] is not None
    assert (claimed[0].trajectory_id, claimed[0].priority) == (trajectory.pk, 0.5)
    assert queue.claim_next(project, person) is None
