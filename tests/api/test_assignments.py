"""An annotator's work over the API: claim, read, label, submit, skip, give back."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from annotator.labelling import revisions
from annotator.models import Annotation, Assignment, GoldLabel, Label, LabelEvent, Trajectory
from annotator.queue import actions as queue
from tests.api.client import ApiClient, client_of, post, put, refused
from tests.factories import World, judge, make_trajectory, make_world

CLAIM = "/api/v1/projects/demo/assignments/claim/"


@pytest.fixture
def trajectory(world: World) -> Trajectory:
    return make_trajectory(world.project, tools=[{"type": "function", "function": {"name": "search"}}])


@pytest.fixture
def client(world: World) -> ApiClient:
    return client_of(world.annotator)


def claim(client: ApiClient) -> dict[str, Any]:
    response = post(client, CLAIM)
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


def test_a_claim_brings_all_that_labelling_needs(world: World, trajectory: Trajectory, client: ApiClient) -> None:
    body = claim(client)
    assignment = Assignment.objects.get(annotator=world.annotator)
    assert assignment.lease_expires_at is not None
    assert body == {
        "id": assignment.pk,
        "status": "claimed",
        "lease_expires_at": assignment.lease_expires_at.isoformat().replace("+00:00", "Z"),
        "submitted_at": None,
        "labels": [],
        "outcome": None,
        "missing": ["step 0", "step 1", "step 2", "outcome"],
        "project": "demo",
        "hint_arm": "blind",
        "hints": None,
        "wanted_steps": None,
        "wants_outcome": True,
        "guideline": {"version": 1, "text": "# Guideline\n\nJudge **every** step."},
        "trajectory": {"id": trajectory.pk, "external_id": trajectory.external_id, "n_steps": 3},
        "external_id": trajectory.external_id,
        "instruction": trajectory.instruction,
        "messages": trajectory.messages,
        "tools": trajectory.tools,
        "steps": [
            {"index": 0, "message_index": 2, "kind": "tool_call", "tool_names": ["search"], "is_wanted": True},
            {"index": 1, "message_index": 4, "kind": "tool_call", "tool_names": ["search"], "is_wanted": True},
            {"index": 2, "message_index": 6, "kind": "message", "tool_names": [], "is_wanted": True},
        ],
    }
    assert client.get(f"/api/v1/assignments/{assignment.pk}/").json() == body


def test_each_claim_takes_a_new_slot_and_204_says_that_none_is_left(world: World, client: ApiClient) -> None:
    ids = [make_trajectory(world.project).pk for _ in range(2)]
    assert [claim(client)["trajectory"]["id"] for _ in ids] == ids
    response = post(client, CLAIM)
    assert response.status_code == 204
    assert response.content == b""
    assert Assignment.objects.filter(annotator=world.annotator).count() == 2


def test_reading_an_assignment_takes_few_queries(
    trajectory: Trajectory, client: ApiClient, django_assert_num_queries: Any
) -> None:
    pk = claim(client)["id"]
    put(client, f"/api/v1/assignments/{pk}/labels/", {"labels": [{"step": 0, "value": 1}]})
    # The token, assignment, trajectory, draft, its labels, what is missing (2), steps, guideline.
    with django_assert_num_queries(9):
        client.get(f"/api/v1/assignments/{pk}/")


def test_a_save_takes_three_statements(
    trajectory: Trajectory, client: ApiClient, django_assert_num_queries: Any
) -> None:
    path = f"/api/v1/assignments/{claim(client)['id']}/labels/"
    for value in (1, -1):  # the first one begins the draft
        with django_assert_num_queries(3):  # the token with its owner, all that the save must know, all that it writes
            put(client, path, {"labels": [{"step": 0, "value": value}], "outcome": value})


def test_labels_are_saved_and_answered_with_what_is_missing(
    world: World, trajectory: Trajectory, client: ApiClient
) -> None:
    pk = claim(client)["id"]
    labels = [{"step": 2, "value": -1}, {"step": 0, "value": 1}]
    response = put(client, f"/api/v1/assignments/{pk}/labels/", {"labels": labels, "outcome": -1})
    assert response.status_code == 200
    body = response.json()
    assert (body["id"], body["status"], body["submitted_at"]) == (pk, "claimed", None)
    assert body["labels"] == [{"step": 0, "value": 1}, {"step": 2, "value": -1}]
    assert body["outcome"] == -1
    assert body["missing"] == ["step 1"]
    assert set(body) == {"id", "status", "lease_expires_at", "submitted_at", "labels", "outcome", "missing"}


def test_saving_again_changes_nothing_and_what_is_not_named_stays(trajectory: Trajectory, client: ApiClient) -> None:
    path = f"/api/v1/assignments/{claim(client)['id']}/labels/"
    first = put(client, path, {"labels": [{"step": 0, "value": 1}], "outcome": 0}).json()
    assert put(client, path, {"labels": [{"step": 0, "value": 1}], "outcome": 0}).json() == first
    assert put(client, path, {}).json() == first
    assert LabelEvent.objects.count() == 2
    cleared = put(client, path, {"cleared": [0], "outcome": None}).json()
    assert (cleared["labels"], cleared["outcome"]) == ([], None)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"labels": [{"step": 0, "value": 2}]}, "labels[0].value"),
        ({"labels": [{"step": 0, "value": "1"}]}, "labels[0].value"),
        ({"labels": [{"step": 0, "value": True}]}, "labels[0].value"),
        ({"labels": [{"step": 0, "value": 1.0}]}, "labels[0].value"),
        ({"labels": [{"step": 0, "value": None}]}, "labels[0].value"),
        ({"labels": [{"step": 0}]}, "labels[0].value"),
        ({"labels": [{"step": 0, "value": 1, "why": "x"}]}, "labels[0].why"),
        ({"labels": [{"step": 0, "value": 1}, {"step": 3, "value": 1}]}, "labels[1].step"),
        ({"labels": [{"step": -1, "value": 1}]}, "labels[0].step"),
        ({"labels": [{"step": 0, "value": 1}, {"step": 0, "value": 0}]}, "labels[1].step"),
        ({"labels": {"0": 1}}, "labels"),
        ({"cleared": [7]}, "cleared[0]"),
        ({"outcome": 5}, "outcome"),
        ({"steps": []}, "steps"),
        ([], "body"),
    ],
)
def test_a_wrong_save_is_refused_with_the_place_and_stores_nothing(
    trajectory: Trajectory, client: ApiClient, body: object, place: str
) -> None:
    pk = claim(client)["id"]
    error = refused(put(client, f"/api/v1/assignments/{pk}/labels/", body), 400, "input.invalid")
    assert list(error["fields"]) == [place]
    assert error["message"].startswith("The labels were not saved.")
    assert Label.objects.count() == 0


def test_submitting_settles_and_can_be_repeated(world: World, client: ApiClient) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.second, [1], outcome=1)
    pk = claim(client)["id"]
    put(client, f"/api/v1/assignments/{pk}/labels/", {"labels": [{"step": 0, "value": 1}], "outcome": 1})
    first = post(client, f"/api/v1/assignments/{pk}/submit/")
    assert first.status_code == 200
    body = first.json()
    assert (body["status"], body["missing"], body["lease_expires_at"]) == ("submitted", [], None)
    assert body["submitted_at"] is not None
    assert GoldLabel.objects.filter(provenance="unanimous").count() == 2
    again = post(client, f"/api/v1/assignments/{pk}/submit/")
    assert (again.status_code, again.json()) == (200, body)
    assert Annotation.objects.submitted().count() == 2


def test_an_incomplete_annotation_is_refused_with_all_that_is_missing(
    trajectory: Trajectory, client: ApiClient
) -> None:
    pk = claim(client)["id"]
    put(client, f"/api/v1/assignments/{pk}/labels/", {"labels": [{"step": 1, "value": 0}]})
    error = refused(post(client, f"/api/v1/assignments/{pk}/submit/"), 422, "annotation.incomplete")
    assert error["message"] == "Label steps 1, 3 and the outcome before submitting."
    assert list(error["fields"]) == ["step 0", "step 2", "outcome"]
    assert Annotation.objects.submitted().count() == 0


def test_what_was_submitted_cannot_be_changed(world: World, trajectory: Trajectory, client: ApiClient) -> None:
    annotation = judge(trajectory, world.annotator, [1, 1, 1])
    path = f"/api/v1/assignments/{annotation.assignment_id}"
    refused(put(client, f"{path}/labels/", {"labels": [{"step": 0, "value": -1}]}), 409, "assignment.not_yours")
    refused(post(client, f"{path}/skip/", {"reason": "x"}), 409, "assignment.not_yours")
    refused(post(client, f"{path}/release/"), 409, "assignment.not_yours")
    assert list(annotation.labels.filter(step__isnull=False).values_list("value", flat=True)) == [1, 1, 1]


def test_skipping_asks_for_a_reason_and_offers_the_next_trajectory(world: World, client: ApiClient) -> None:
    first, second = make_trajectory(world.project), make_trajectory(world.project)
    body = claim(client)
    assert body["trajectory"]["id"] == first.pk
    path = f"/api/v1/assignments/{body['id']}/skip/"
    error = refused(post(client, path, {"reason": "  "}), 400, "input.invalid")
    assert error["fields"] == {"reason": "Say in a few words why you skip this trajectory."}
    assert refused(post(client, path), 400, "input.invalid")["fields"] == {"reason": "Field required"}
    assert post(client, path, {"reason": "Not my language."}).json()["status"] == "skipped"
    assert Assignment.objects.get(pk=body["id"]).skip_reason == "Not my language."
    assert claim(client)["trajectory"]["id"] == second.pk


def test_a_claim_given_back_keeps_its_draft(world: World, trajectory: Trajectory, client: ApiClient) -> None:
    pk = claim(client)["id"]
    put(client, f"/api/v1/assignments/{pk}/labels/", {"labels": [{"step": 1, "value": 1}]})
    body = post(client, f"/api/v1/assignments/{pk}/release/").json()
    assert (body["status"], body["lease_expires_at"]) == ("open", None)
    assert body["labels"] == [{"step": 1, "value": 1}]
    assert claim(client)["labels"] == [{"step": 1, "value": 1}]


def test_a_returned_assignment_shows_its_newest_revision(
    world: World, trajectory: Trajectory, client: ApiClient
) -> None:
    annotation = judge(trajectory, world.annotator, [1, 1, 1])
    revisions.return_annotation(annotation.pk, world.reviewer, "Look at step 3.")
    path = f"/api/v1/assignments/{annotation.assignment_id}"
    saved = put(client, f"{path}/labels/", {"labels": [{"step": 2, "value": -1}]}).json()
    assert (saved["status"], saved["submitted_at"], saved["lease_expires_at"]) == ("returned", None, None)
    assert [label["value"] for label in saved["labels"]] == [1, 1, -1]
    seen = client.get(f"{path}/").json()
    assert {name: seen[name] for name in saved} == saved
    first = annotation.submitted_at
    assert first is not None
    submitted = post(client, f"{path}/submit/").json()
    assert [label["value"] for label in submitted["labels"]] == [1, 1, -1]
    assert datetime.fromisoformat(submitted["submitted_at"]) > first


def test_of_a_return_that_was_taken_back_the_submitted_labels_are_shown(
    world: World, trajectory: Trajectory, client: ApiClient
) -> None:
    annotation = judge(trajectory, world.annotator, [1, 1, 1])
    path = f"/api/v1/assignments/{annotation.assignment_id}"
    before = client.get(f"{path}/").json()
    revisions.return_annotation(annotation.pk, world.reviewer, "Look at step 3.")
    put(client, f"{path}/labels/", {"labels": [{"step": 2, "value": -1}]})
    revisions.take_back(annotation.pk, world.reviewer)
    assert client.get(f"{path}/").json() == before
    again = post(client, f"{path}/submit/").json()
    assert (again["labels"], again["submitted_at"]) == (before["labels"], before["submitted_at"])


def test_whoever_lost_a_claim_is_told_and_does_not_see_the_other_persons_lease(
    world: World, trajectory: Trajectory, client: ApiClient
) -> None:
    pk = claim(client)["id"]
    put(client, f"/api/v1/assignments/{pk}/labels/", {"labels": [{"step": 0, "value": 1}]})
    Assignment.objects.filter(pk=pk).update(lease_expires_at=now() - timedelta(seconds=1))
    taken = queue.claim_next(world.project, world.second)
    assert taken is not None
    assert taken.pk == pk
    refused(put(client, f"/api/v1/assignments/{pk}/labels/", {"outcome": 1}), 409, "assignment.not_yours")
    body = client.get(f"/api/v1/assignments/{pk}/").json()
    assert (body["lease_expires_at"], body["labels"]) == (None, [{"step": 0, "value": 1}])


@pytest.mark.django_db
def test_a_spot_question_says_which_steps_it_wants() -> None:
    world = make_world(max_overlap=3, required_agreement=2)
    trajectory = make_trajectory(world.project)
    judge(trajectory, world.annotator, [1, 1, 1])
    judge(trajectory, world.second, [1, -1, 1])
    third = make_world("elsewhere").annotator
    world.project.memberships.create(user=third, role="annotator")
    client = client_of(third)
    body = claim(client)
    assert (body["wanted_steps"], body["wants_outcome"], body["missing"]) == ([1], False, ["step 1"])
    assert [step["is_wanted"] for step in body["steps"]] == [False, True, False]
    path = f"/api/v1/assignments/{body['id']}/labels/"
    error = refused(put(client, path, {"labels": [{"step": 0, "value": 1}], "outcome": 1}), 400, "input.invalid")
    assert error["fields"] == {
        "labels[0].step": "This assignment does not ask for this step.",
        "outcome": "This assignment does not ask for the outcome.",
    }
