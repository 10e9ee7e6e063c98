"""Who may ask for what: every endpoint, for nobody, an outsider and each role."""

import re
from typing import Any

import pytest
from django.db import transaction
from django.utils.timezone import now

from annotator import jobs
from annotator.models import Assignment, Dispute, Job, Release
from annotator.queue import actions as queue
from annotator.releases.policy import ReleasePolicy
from tests.api.client import client_of, openapi, operation
from tests.factories import World, judge, make_acceptance, make_trajectory

DECISION = {"value": 1, "reason_code": "misread"}
BAD_POLICY = {"policy": {"seed": "x"}}  # gets past the door, and no further: publishing has its own tests

# method, address, body, then what outsider, annotator (the holder of the assignment), reviewer and admin get.
TABLE: list[tuple[str, str, Any, int, int, int, int]] = [
    ("GET", "projects/", None, 200, 200, 200, 200),
    ("GET", "projects/demo/", None, 404, 200, 200, 200),
    ("GET", "projects/demo/trajectories/", None, 404, 403, 200, 200),
    ("POST", "projects/demo/imports/", None, 404, 403, 403, 400),
    ("POST", "projects/demo/assignments/claim/", None, 404, 200, 403, 403),
    ("GET", "projects/demo/agreement/", None, 404, 403, 200, 200),
    ("GET", "projects/demo/disputes/", None, 404, 403, 200, 200),
    ("GET", "projects/demo/releases/", None, 404, 403, 200, 200),
    ("POST", "projects/demo/releases/", BAD_POLICY, 404, 403, 403, 400),
    ("GET", "projects/demo/models/", None, 404, 403, 403, 200),
    ("GET", "projects/demo/prelabel-runs/", None, 404, 403, 403, 200),
    ("POST", "projects/demo/prelabel-runs/", {"model": ""}, 404, 403, 403, 400),
    ("GET", "projects/demo/raters/", None, 404, 403, 200, 200),
    ("GET", "projects/demo/reliability/", None, 404, 403, 200, 200),
    ("GET", "projects/demo/hints/", None, 404, 403, 403, 200),
    ("GET", "projects/demo/fusion/", None, 404, 403, 404, 404),
    ("POST", "projects/demo/fusion/", None, 404, 403, 403, 400),
    ("GET", "projects/demo/posteriors/", None, 404, 403, 200, 200),
    ("GET", "projects/demo/acceptances/", None, 404, 403, 403, 200),
    ("POST", "projects/demo/acceptances/", {"epsilon": 0.1}, 404, 403, 403, 400),
    ("POST", "projects/demo/acceptances/1/stop/", {"withdraw": True}, 404, 403, 403, 200),
    ("GET", "projects/demo/learning/", None, 404, 403, 403, 200),
    ("POST", "projects/demo/learning/", None, 404, 403, 403, 400),
    ("PATCH", "projects/demo/learning/", {"every": 0}, 404, 403, 403, 400),
    ("GET", "projects/demo/selection/", None, 404, 403, 403, 200),
    ("POST", "projects/demo/selection/", None, 404, 403, 403, 202),
    ("PATCH", "projects/demo/selection/", {"n_wanted": 0}, 404, 403, 403, 400),
    ("GET", "projects/demo/selection/9/", None, 404, 403, 403, 404),
    ("POST", "projects/demo/scorers/", {"release": 9, "name": "own"}, 404, 403, 403, 400),
    ("GET", "jobs/{job}/", None, 404, 403, 403, 200),
    ("POST", "jobs/{job}/cancel/", None, 404, 403, 403, 200),
    ("GET", "assignments/{assignment}/", None, 404, 200, 404, 404),
    ("PUT", "assignments/{assignment}/labels/", {}, 404, 200, 404, 404),
    ("POST", "assignments/{assignment}/submit/", None, 404, 422, 404, 404),
    ("POST", "assignments/{assignment}/hints/", None, 404, 409, 404, 404),
    ("POST", "assignments/{assignment}/skip/", {"reason": "x"}, 404, 200, 404, 404),
    ("POST", "assignments/{assignment}/release/", None, 404, 200, 404, 404),
    ("POST", "disputes/{dispute}/decisions/", DECISION, 404, 403, 201, 201),
    ("GET", "releases/{release}/", None, 404, 403, 200, 200),
    ("GET", "releases/{release}/export/?format=provenance", None, 404, 403, 200, 200),
]
EVERYBODY = (None, "outsider", "annotator", "reviewer", "admin")  # None: without a token


def make_rows(world: World) -> dict[str, int]:
    """A dispute, an assignment that the annotator holds, a queued job and an empty release."""
    disputed = make_trajectory(world.project, n_steps=1)
    judge(disputed, world.annotator, [1])
    judge(disputed, world.second, [-1])
    make_trajectory(world.project)
    make_trajectory(world.project)
    assignment = queue.claim_next(world.project, world.annotator)
    assert isinstance(assignment, Assignment)
    job = jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=1, user=world.admin)
    policy = ReleasePolicy().model_dump(mode="json")
    make_acceptance(world.project)
    release = Release.objects.create(project=world.project, number=1, policy=policy, published_at=now())
    return {
        "assignment": assignment.pk,
        "dispute": Dispute.objects.get().pk,
        "job": job.pk,
        "release": release.pk,
    }


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]}")
def test_access(world: World, row: tuple[Any, ...]) -> None:
    method, address, body, *statuses = row
    path, _, query = f"/api/v1/{address.format(**make_rows(world))}".partition("?")
    data = {} if body is None else {"data": body, "format": "json"}
    answers = {}
    for who in EVERYBODY:
        client = client_of(world.user(who) if who else None)
        with transaction.atomic():  # each finds the same rows
            answers[who] = getattr(client, method.lower())(path, QUERY_STRING=query, **data).status_code
            transaction.set_rollback(True)
    assert answers == dict(zip(EVERYBODY, [401, *statuses], strict=True))


def test_an_assignment_is_hidden_from_the_other_annotators(world: World) -> None:
    pk = make_rows(world)["assignment"]
    client = client_of(world.second)
    assert client.get(f"/api/v1/assignments/{pk}/").status_code == 404
    assert client.put(f"/api/v1/assignments/{pk}/labels/", {"outcome": 1}, format="json").status_code == 404
    for verb in ("submit", "release"):
        assert client.post(f"/api/v1/assignments/{pk}/{verb}/").status_code == 404
    assert client.post(f"/api/v1/assignments/{pk}/skip/", {"reason": "x"}, format="json").status_code == 404
    assert Assignment.objects.get(pk=pk).annotator == world.annotator


def test_the_table_has_every_operation_of_the_document() -> None:
    asked = [operation(row[0], "/api/v1/" + re.sub(r"{\w+}", "1", row[1].partition("?")[0])) for row in TABLE]
    every = [described for methods in openapi()["paths"].values() for described in methods.values()]
    assert sorted(each["operationId"] for each in asked) == sorted(each["operationId"] for each in every)
