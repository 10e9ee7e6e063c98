"""What builds a world cheaply leaves the same rows as what builds it as the platform does."""

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.hashers import check_password
from django.db.models import QuerySet

from annotator.models import AuditEvent, Membership, Trajectory, User
from tests.factories import (
    PASSWORD,
    judge,
    make_member,
    make_project,
    make_trajectory,
    make_user,
    make_world,
    predict,
    settle_all,
)

pytestmark = pytest.mark.django_db

# Every row has its own of these.
ITS_OWN = {"id", "trajectory_id", "assignment_id", "annotation_id", "step_id", "project_id", "user_id", "object_id"}


def rows(query: QuerySet[Any], *more: str, unlike: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Every column but those, in the order in which the rows were made; of a time only whether there is one."""
    return [
        {
            name: isinstance(value, datetime) or value
            for name, value in row.items()
            if name not in ITS_OWN and name not in unlike
        }
        for row in query.order_by("pk").values(*[field.attname for field in query.model._meta.concrete_fields], *more)
    ]


def judgements(trajectory: Trajectory) -> list[list[dict[str, Any]]]:
    annotations = trajectory.annotations.order_by("pk")
    of_each = [(annotation.labels.all(), annotation.label_events.all()) for annotation in annotations]
    labels = [rows(query, "step__index") for pair in of_each for query in pair]
    return [
        rows(trajectory.assignments.all()),
        rows(annotations),
        *labels,
        sorted(rows(trajectory.gold_labels.all(), "step__index"), key=str),
    ]


@pytest.mark.parametrize("about", [{}, {"asks_outcome": False}, {"hint_policy": {"hinted": 100, "model": "judge"}}])
def test_settle_all_leaves_what_judging_one_by_one_leaves(about: dict[str, Any]) -> None:
    world = make_world(**about)
    one_by_one, at_once, other = [make_trajectory(world.project) for _ in range(3)]
    people = [world.second, world.annotator]
    for person in people:
        judge(one_by_one, person, [1, -1, 0], outcome=-1)
    settle_all({at_once: [1, -1, 0], other: [0, 0, 1]}, people, outcome=-1)
    assert judgements(at_once) == judgements(one_by_one)
    assert len(judgements(other)[0]) == 2
    assert judgements(other)[-1] != judgements(at_once)[-1]


def test_settle_all_writes_nothing_that_judging_would_not_leave() -> None:
    """Where a suggestion is shown, and where not everybody who is asked has judged."""
    world = make_world(hint_policy={"hinted": 100, "model": "judge"})
    trajectory = make_trajectory(world.project)
    with pytest.raises(AssertionError, match="a slot for each judgement"):
        settle_all({trajectory: [1, 1, 1]}, [world.annotator])
    predict(trajectory, [1, 1, 1])
    with pytest.raises(AssertionError, match="drawn for itself"):
        settle_all({trajectory: [1, 1, 1]}, [world.annotator, world.second])
    assert not trajectory.annotations.exists()


def test_a_world_has_the_people_that_are_made_one_by_one() -> None:
    world = make_world("cheap")
    project = make_project("real", guideline="# Guideline\n\nJudge **every** step.")
    for name, role in (("ann", "annotator"), ("bob", "annotator"), ("rita", "reviewer"), ("ada", "admin")):
        make_member(project, role, f"real-{name}")
    make_user("real-otto")

    def of(slug: str) -> list[Any]:
        users = User.objects.filter(username__startswith=slug)
        assert all(check_password(PASSWORD, user.password) for user in users)
        return [
            rows(users, unlike=("username", "password")),
            rows(Membership.objects.filter(project__slug=slug), unlike=("rater_code",)),
            rows(AuditEvent.objects.filter(project__slug=slug), unlike=("data",)),
        ]

    assert of("cheap") == of("real")
    assert Membership.objects.values("rater_code").distinct().count() == 8
    assert [user.username for user in (world.annotator, world.second, world.reviewer, world.admin, world.outsider)] == [
        f"cheap-{name}" for name in ("ann", "bob", "rita", "ada", "otto")
    ]
    said = AuditEvent.objects.filter(action="membership.set").order_by("pk").values_list("data", flat=True)
    assert [(one["member"].split("-")[1], one["role"]) for one in said[:4]] == [
        (one["member"].split("-")[1], one["role"]) for one in said[4:]
    ]
