"""A label names the version of the guideline that its author had before them."""

import json
from typing import Any

import pytest
from django.test import Client

from annotator.models import Assignment, Label
from annotator.projects import actions as projects
from annotator.queue import actions as queue
from tests.factories import World, make_member, make_project, make_trajectory, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_world(overlap=1)


@pytest.fixture
def slot(world: World) -> Assignment:
    make_trajectory(world.project)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    projects.add_guideline(world.project, "# Another one", user=world.admin)
    return claimed


def put(client: Client, slot: Assignment, **body: Any) -> Any:
    kind = "application/json"
    url = f"/assignments/{slot.pk}/labels/"
    return client.put(url, json.dumps(body), content_type=kind, headers={"Accept": kind})


def versions() -> list[int | None]:
    return list(Label.objects.order_by("step__index").values_list("guideline__version", flat=True))


def test_labels_are_stored_under_what_the_page_shows_and_it_hears_of_the_newest(
    client: Client, world: World, slot: Assignment
) -> None:
    client.force_login(world.annotator)
    answer = put(client, slot, labels=[{"step": 0, "value": 1}], outcome=1, guideline=1)
    assert (answer.status_code, answer.json()["guideline"]) == (200, 2)
    put(client, slot, labels=[{"step": 1, "value": 1}], guideline=2)
    put(client, slot, labels=[{"step": 2, "value": 1}])  # who does not say, as over the API: the newest
    assert versions() == [1, 2, 2, 1]
    # The same said again is no new statement, another value is one.
    put(client, slot, labels=[{"step": 0, "value": 1}, {"step": 1, "value": 0}], guideline=1)
    put(client, slot, labels=[{"step": 0, "value": 1}], guideline=2)
    assert versions() == [1, 1, 2, 1]


def test_a_version_that_there_is_not_is_refused(client: Client, world: World, slot: Assignment) -> None:
    client.force_login(world.annotator)
    answer = put(client, slot, labels=[{"step": 0, "value": 1}], guideline=3)
    assert (answer.status_code, answer.json()["error"]["fields"]) == (
        400,
        {"guideline": "The project has no version 3 of its guideline."},
    )
    assert put(client, slot, labels=[], guideline=10**30).status_code == 400
    assert Label.objects.count() == 0


def test_before_there_was_any_is_a_version_too(client: Client) -> None:
    project = make_project(overlap=1)
    annotator = make_member(project)
    make_trajectory(project)
    slot = queue.claim_next(project, annotator)
    assert slot is not None
    client.force_login(annotator)
    assert '<input type="hidden" name="guideline" value="0">' in client.get(f"/assignments/{slot.pk}/").content.decode()
    projects.add_guideline(project, "# The first one", user=None)
    assert put(client, slot, labels=[{"step": 0, "value": 1}], guideline=0).json()["guideline"] == 1
    assert versions() == [None]


def test_the_plain_form_says_it_too(client: Client, world: World, slot: Assignment) -> None:
    client.force_login(world.annotator)
    assert 'name="guideline" value="2"' in client.get(f"/assignments/{slot.pk}/").content.decode()
    client.post(f"/assignments/{slot.pk}/", {"step-0": "1", "guideline": "1"})
    assert versions() == [1]
