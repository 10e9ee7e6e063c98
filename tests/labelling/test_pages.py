"""The labelling views: who may open them, what they cost, what they never show."""

import json
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator.models import Assignment, Job, Label, Project, ReferenceLabel, SelectionPick, SelectionRound
from annotator.queue import actions as queue
from tests.api.client import client_of
from tests.factories import World, judge, label, make_trajectory

pytestmark = pytest.mark.django_db


@pytest.fixture
def slot(world: World) -> Assignment:
    make_trajectory(world.project, n_steps=3)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    return claimed


def sign_in(client: Client, world: World, who: str | None) -> None:
    if who:
        client.force_login(world.user(who))


HOLDER_ONLY = [
    ("anonymous is sent to sign in", None, 302),
    ("outsiders learn nothing", "outsider", 404),
    ("a colleague learns nothing", "second", 404),
    ("not even a reviewer", "reviewer", 404),
    ("not even an admin", "admin", 404),
]


@pytest.mark.parametrize(("_case", "who", "status"), [*HOLDER_ONLY, ("the annotator may", "annotator", 200)])
def test_access_to_the_page(
    _case: str, who: str | None, status: int, client: Client, slot: Assignment, world: World
) -> None:
    sign_in(client, world, who)
    assert client.get(f"/assignments/{slot.pk}/").status_code == status


@pytest.mark.parametrize(("_case", "who", "status"), HOLDER_ONLY)
@pytest.mark.parametrize("action", ["submit", "skip", "release", "labels"])
def test_nobody_else_can_change_an_assignment(
    _case: str, who: str | None, status: int, action: str, client: Client, slot: Assignment, world: World
) -> None:
    sign_in(client, world, who)
    send = client.put if action == "labels" else client.post
    assert send(f"/assignments/{slot.pk}/{action}/").status_code == status
    slot.refresh_from_db()
    assert (slot.status, slot.annotator) == ("claimed", world.annotator)
    assert Label.objects.count() == 0


@pytest.mark.parametrize(
    ("_case", "who", "status"),
    [
        ("anonymous is sent to sign in", None, 302),
        ("outsiders learn nothing", "outsider", 404),
        ("reviewers do not label", "reviewer", 403),
        ("admins do not label", "admin", 403),
    ],
)
def test_who_may_not_claim(_case: str, who: str | None, status: int, client: Client, world: World) -> None:
    make_trajectory(world.project)
    sign_in(client, world, who)
    assert client.post("/projects/demo/claim/").status_code == status
    assert Assignment.objects.filter(status="claimed").count() == 0


def test_claiming_is_a_post_and_leads_to_the_page(client: Client, world: World) -> None:
    make_trajectory(world.project)
    client.force_login(world.annotator)
    assert client.get("/projects/demo/claim/").status_code == 405
    response = client.post("/projects/demo/claim/")
    slot = Assignment.objects.get(status="claimed")
    assert (response.status_code, response["Location"]) == (302, f"/assignments/{slot.pk}/")


def test_the_page_costs_the_same_for_3_and_for_100_steps(
    client: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(world.annotator)
    for n_steps in (3, 100):
        make_trajectory(world.project, n_steps=n_steps)
        slot = queue.claim_next(world.project, world.annotator)
        assert slot is not None
        label(slot, world.annotator, {0: 1})
        # session, user, assignment, annotation, trajectory, its labels, membership, guideline
        with django_assert_num_queries(8):
            assert client.get(f"/assignments/{slot.pk}/").status_code == 200


def test_a_save_takes_four_statements_for_3_and_for_100_steps(
    client: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(world.annotator)
    for n_steps in (3, 100):
        make_trajectory(world.project, n_steps=n_steps)
        slot = queue.claim_next(world.project, world.annotator)
        assert slot is not None
        for value in (1, -1):  # the first one begins the draft
            body = {"labels": [{"step": index, "value": value} for index in range(n_steps)], "outcome": value}
            with django_assert_num_queries(4):  # session, user, all that the save must know, all that it writes
                saved = client.put(f"/assignments/{slot.pk}/labels/", body, "application/json")
            assert saved.status_code == 200
    assert Label.objects.filter(value=-1).count() == 105


def test_whoever_was_removed_from_the_project_saves_nothing(client: Client, slot: Assignment, world: World) -> None:
    client.force_login(world.annotator)
    world.project.memberships.filter(user=world.annotator).delete()
    body = {"labels": [{"step": 0, "value": 1}]}
    assert client.put(f"/assignments/{slot.pk}/labels/", body, "application/json").status_code == 404
    assert Label.objects.count() == 0


@pytest.mark.parametrize("pk", [2**31, 2**63 - 1, 2**63, 10**30])
def test_a_number_that_no_assignment_has_is_not_found(client: Client, world: World, pk: int) -> None:
    client.force_login(world.annotator)
    assert client.put(f"/assignments/{pk}/labels/", {"labels": []}, "application/json").status_code == 404
    assert client_of(world.annotator).put(f"/api/v1/assignments/{pk}/labels/", {}, format="json").status_code == 404


def test_opening_the_page_writes_nothing(client: Client, slot: Assignment, world: World) -> None:
    client.force_login(world.annotator)
    before = Assignment.objects.values().get(pk=slot.pk)
    client.get(f"/assignments/{slot.pk}/")
    assert Assignment.objects.values().get(pk=slot.pk) == before
    assert slot.annotations.count() == 0


def test_the_page_shows_nothing_that_could_steer_the_annotator(client: Client, world: World) -> None:
    trajectory = make_trajectory(
        world.project, reference={"target": ["SECRET-REFERENCE"]}, outcome=0.123456, metadata={"note": "SECRET-NOTE"}
    )
    ReferenceLabel.objects.create(trajectory=trajectory, step=trajectory.steps.get(index=0), value=-1)
    judge(trajectory, world.second, [-1, -1, -1], outcome=-1)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    client.force_login(world.annotator)
    page = client.get(f"/assignments/{slot.pk}/").content.decode()
    for secret in ("SECRET", "0.123456", world.second.username, " checked"):
        assert secret not in page


def test_the_outbox_is_told_exactly_what_is_wrong(client: Client, slot: Assignment, world: World) -> None:
    client.force_login(world.annotator)
    url, kind = f"/assignments/{slot.pk}/labels/", "application/json"
    response = client.put(url, {"labels": [{"step": 9, "value": 1}]}, content_type=kind, headers={"Accept": kind})
    assert (response.status_code, response["Content-Type"]) == (400, kind)
    assert response.json()["error"] == {
        "code": "input.invalid",
        "message": "The labels were not saved. Step 10: The trajectory has no step with the index 9.",
        "fields": {"step 9": "The trajectory has no step with the index 9."},
    }
    broken = client.put(url, "{", content_type=kind, headers={"Accept": kind})
    assert broken.json()["error"]["fields"] == {"body": "Not JSON."}
    assert Label.objects.count() == 0
    assert client.put(url, json.dumps({"labels": [{"step": 0, "value": 1}]}), content_type=kind).status_code == 200
    assert Label.objects.get().value == 1


def test_whoever_labels_for_the_first_time_after_the_lease_ran_out_gets_the_slot_back(
    client: Client, slot: Assignment, world: World
) -> None:
    Assignment.objects.filter(pk=slot.pk).update(lease_expires_at=now() - timedelta(seconds=1))
    assert queue.expire() == 1
    client.force_login(world.annotator)
    body = {"labels": [{"step": 0, "value": 1}]}
    url = f"/assignments/{slot.pk}/labels/"
    assert client.put(url, body, content_type="application/json").status_code == 200
    slot.refresh_from_db()
    assert (slot.status, slot.annotator) == ("claimed", world.annotator)
    client.force_login(world.second)
    assert client.put(url, body, content_type="application/json").status_code == 404


def test_whoever_has_the_trajectory_anew_is_told_where(client: Client, world: World) -> None:
    make_trajectory(world.project, n_steps=3)  # two slots
    left = queue.claim_next(world.project, world.annotator)
    assert left is not None
    label(left, world.annotator, {0: -1})
    Assignment.objects.filter(pk=left.pk).update(lease_expires_at=now() - timedelta(seconds=1))
    assert queue.claim_next(world.project, world.second) == left
    anew = queue.claim_next(world.project, world.annotator)
    assert anew is not None
    assert (anew.trajectory_id, anew.pk != left.pk) == (left.trajectory_id, True)
    client.force_login(world.annotator)
    for is_free in (False, True):
        if is_free:
            queue.release_claim(left.pk, world.second)
        page = client.get(f"/assignments/{left.pk}/").content.decode()
        assert f'<a href="/assignments/{anew.pk}/">what you label there</a> counts' in page
        assert "data-final" in page
        kind = "application/json"
        body, accept = {"labels": [{"step": 0, "value": 1}]}, {"Accept": kind}
        answer = client.put(f"/assignments/{left.pk}/labels/", body, content_type=kind, headers=accept)
        assert answer.status_code == 409
        assert f"given the same trajectory anew (assignment {anew.pk})" in answer.json()["error"]["message"]
        assert "somebody else" not in answer.json()["error"]["message"]
    assert Label.objects.get().value == -1


def test_a_form_with_a_value_outside_the_scale_changes_nothing(client: Client, slot: Assignment, world: World) -> None:
    client.force_login(world.annotator)
    response = client.post(
        f"/assignments/{slot.pk}/submit/", {"step-0": "2", "step-1": "1", "step-2": "1", "outcome": "1"}
    )
    assert response.status_code == 400
    assert "step-0: choose +1, 0 or −1." in response.content.decode()
    assert Label.objects.count() == 0


def test_submitting_over_http_stores_the_form_and_claims_the_next(
    client: Client, slot: Assignment, world: World
) -> None:
    make_trajectory(world.project)
    client.force_login(world.annotator)
    form = {"step-0": "1", "step-1": "0", "step-2": "-1", "outcome": "-1"}
    response = client.post(f"/assignments/{slot.pk}/submit/", form)
    following = Assignment.objects.get(status="claimed", annotator=world.annotator)
    assert (response.status_code, response["Location"]) == (302, f"/assignments/{following.pk}/")
    slot.refresh_from_db()
    assert slot.status == "submitted"
    # The answer got lost and the browser sends the form again: nothing happens twice.
    again = client.post(f"/assignments/{slot.pk}/submit/", form)
    assert again.status_code == 302
    assert Label.objects.submitted().count() == 4


@pytest.mark.parametrize(("wanted", "has_context"), [(None, False), ([0, 1, 2], False), ([0, 2], True)])
def test_context_is_spoken_of_only_where_there_is_some(
    client: Client, slot: Assignment, world: World, wanted: list[int] | None, has_context: bool
) -> None:
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=wanted)
    client.force_login(world.annotator)
    page = client.get(f"/assignments/{slot.pk}/").content.decode()
    assert ("only the marked steps are asked for; the rest is context" in page) == has_context


@pytest.mark.parametrize(
    ("strategy", "probability", "why"),
    [
        ("random", 0.2, "chosen at random, so that estimates stay fair"),
        ("oldest", None, "chosen in the order of import"),
        ("expected_errors", None, "chosen because judging it is expected to be worth most"),
    ],
)
def test_the_page_says_why_a_trajectory_was_chosen(
    client: Client, slot: Assignment, world: World, strategy: str, probability: float | None, why: str
) -> None:
    Project.objects.update(shows_why=True)
    job = Job.objects.create(project=world.project, kind=Job.Kind.SELECT, unit="trajectories")
    round_ = SelectionRound.objects.create(project=world.project, job=job, number=1, settings={}, seed=1)
    pick = SelectionPick.objects.create(
        round=round_, trajectory_id=slot.trajectory_id, rank=0, strategy=strategy, probability=probability, reason="."
    )
    Assignment.objects.filter(pk=slot.pk).update(pick=pick)
    client.force_login(world.annotator)
    page = client.get(f"/assignments/{slot.pk}/").content.decode()
    assert re.findall(r"chosen [a-z ,]+", page) == [why]


def test_the_search_names_texts_that_are_not_in_the_page(world: World, client: Client) -> None:
    messages = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "I look."},
        {"role": "tool", "content": "y" * 30_000 + " Reykjavík"},
        {"role": "assistant", "content": "There."},
    ]
    make_trajectory(world.project, messages=messages)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    client.force_login(world.annotator)
    found = client.get(f"/assignments/{slot.pk}/search/", {"q": "reykjavík "}).json()
    assert found == {"texts": [f"/assignments/{slot.pk}/texts/2/text/"]}
    assert client.get(found["texts"][0]).content.decode().endswith("Reykjavík")
    assert client.get(f"/assignments/{slot.pk}/search/", {"q": "Where"}).json() == {"texts": []}
    client.force_login(world.second)
    assert client.get(f"/assignments/{slot.pk}/search/", {"q": "reykjavík"}).status_code == 404
