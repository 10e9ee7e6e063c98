"""What is asked for changes while a page is open: its saves and its submission hear of it, and nothing is stuck."""

import json
from typing import Any

import pytest
from django.test import Client

from annotator.labelling import actions
from annotator.labelling.intake import Changes
from annotator.models import Assignment, Label
from annotator.queue import actions as queue
from tests.factories import World, label, make_trajectory, make_world

pytestmark = pytest.mark.django_db

ERROR = {"category": "wrong_tool", "rationale": "Wrong tower."}


@pytest.fixture
def world(client: Client) -> World:
    world = make_world(overlap=1, asks_outcome=False, label_scheme={"categories": "optional"})
    client.force_login(world.annotator)
    return world


@pytest.fixture
def slot(world: World) -> Assignment:
    make_trajectory(world.project, n_steps=2)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    return claimed


def set_scheme(world: World, **scheme: Any) -> str:
    """Changes it and returns what tells from before what is asked for now, of every step."""
    world.project.label_scheme = scheme
    world.project.save(update_fields=["label_scheme"])
    return f"{world.project.scheme.fingerprint} None False"


def put(client: Client, slot: Assignment, **body: Any) -> Any:
    kind = "application/json"
    return client.put(f"/assignments/{slot.pk}/labels/", json.dumps(body), content_type=kind, headers={"Accept": kind})


def submit(client: Client, slot: Assignment, labels: list[dict[str, Any]]) -> Any:
    body = {"labels": json.dumps({"labels": labels})}
    return client.post(f"/assignments/{slot.pk}/submit/", body, headers={"Accept": "application/json"})


def extras() -> list[dict[str, Any]]:
    return list(Label.objects.order_by("step__index").values_list("extras", flat=True))


def test_the_page_names_its_scheme_and_a_save_names_the_one_there_is_now(
    client: Client, world: World, slot: Assignment
) -> None:
    shown = f"{world.project.scheme.fingerprint} None False"
    assert f'"asked": "{shown}"' in client.get(f"/assignments/{slot.pk}/").content.decode()
    assert put(client, slot, labels=[{"step": 0, "value": 1}]).json()["asked"] == shown
    now = set_scheme(world, mode="stop_at_first_error")
    assert now != shown
    assert put(client, slot, labels=[{"step": 0, "value": -1}]).json()["asked"] == now
    # What the page does not show makes it no other one.
    assert set_scheme(world, mode="stop_at_first_error", shows_fate=True) == now


def test_a_refused_save_and_a_refused_submission_name_it_too(client: Client, world: World, slot: Assignment) -> None:
    now = set_scheme(world, categories="required_on_error", taxonomy="prmbench")
    answer = put(client, slot, labels=[{"step": 0, "value": -1, "extras": ERROR}])
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": {
                "code": "input.invalid",
                "message": "The labels were not saved. Step 1: category: Not one of the project's choices.",
                "fields": {"step 0": "category: Not one of the project's choices."},
            },
            "asked": now,
        },
    )
    assert Label.objects.count() == 0
    label(slot, world.annotator, {0: -1, 1: 1})
    answer = submit(client, slot, [{"step": 0, "value": -1}, {"step": 1, "value": 1}])
    assert (answer.status_code, answer.json()["error"]["message"], answer.json()["asked"]) == (
        422,
        "Step 1 needs a kind of error.",
        now,
    )


def test_a_save_and_a_refused_submission_say_that_other_steps_are_asked_for_now(
    client: Client, world: World, slot: Assignment
) -> None:
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[1])
    shown = f"{world.project.scheme.fingerprint} [1] False"
    assert f'"asked": "{shown}"' in client.get(f"/assignments/{slot.pk}/").content.decode()
    labels = [{"step": 1, "value": 1}]
    assert put(client, slot, labels=labels).json()["asked"] == shown
    # As it is when an acceptance is taken back.
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[0, 1], wants_outcome=True)
    now = f"{world.project.scheme.fingerprint} [0, 1] True"
    assert put(client, slot, labels=labels).json()["asked"] == now
    answer = submit(client, slot, labels)
    message = "Label step 1 and the outcome before submitting."
    assert (answer.status_code, answer.json()["error"]["message"], answer.json()["asked"]) == (422, message, now)
    slot.refresh_from_db()
    assert slot.status == "claimed"


def test_what_is_no_longer_asked_for_holds_up_neither_a_save_nor_the_submission(
    client: Client, world: World, slot: Assignment
) -> None:
    actions.save_labels(slot.pk, world.annotator, Changes({0: -1}, {}, {0: {"extras": ERROR}}))
    set_scheme(world)
    second = {"step": 1, "value": -1, "extras": ERROR}
    assert put(client, slot, labels=[second]).status_code == 200
    assert extras() == [ERROR, {"rationale": "Wrong tower."}]  # what nobody touches stays
    assert submit(client, slot, [{"step": 0, "value": -1, "extras": ERROR}, second]).status_code == 200
    slot.refresh_from_db()
    assert slot.status == "submitted"


def test_a_category_that_the_taxonomy_no_longer_has_is_missing_where_it_is_needed(
    client: Client, world: World, slot: Assignment
) -> None:
    """The page shows it as not chosen."""
    actions.save_labels(slot.pk, world.annotator, Changes({0: -1, 1: 1}, {}, {0: {"extras": ERROR}}))
    shown: list[dict[str, Any]] = [{"step": 0, "value": -1, "extras": ERROR}, {"step": 1, "value": 1}]
    set_scheme(world, categories="required_on_error", taxonomy="prmbench")
    answer = submit(client, slot, shown)
    error = answer.json()["error"]
    assert (answer.status_code, error["message"]) == (422, "Step 1 needs a kind of error.")
    assert error["fields"] == {"step 0: category": "A label is missing."}
    slot.refresh_from_db()
    assert (slot.status, extras()) == ("claimed", [ERROR, {}])
    # Where it need not be given, it stays as it was given.
    set_scheme(world, categories="optional", taxonomy="prmbench")
    assert submit(client, slot, shown).status_code == 200
    assert extras() == [ERROR, {}]


def test_what_is_still_asked_for_is_compared_as_ever(client: Client, world: World, slot: Assignment) -> None:
    actions.save_labels(slot.pk, world.annotator, Changes({0: -1, 1: 1}, {}, {0: {"extras": ERROR}}))
    set_scheme(world)
    other = {"category": "wrong_tool", "rationale": "Another note."}
    answer = submit(client, slot, [{"step": 0, "value": -1, "extras": other}, {"step": 1, "value": 1}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "annotation.changed")
    slot.refresh_from_db()
    assert slot.status == "claimed"
