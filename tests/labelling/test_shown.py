"""Submitting makes final what the page shows, and only if that is what is stored."""

import json
from typing import Any

import pytest
from django.test import Client

from annotator import flow
from annotator.labelling import revisions
from annotator.models import Annotation, Assignment, Label, LabelEvent
from annotator.queue import actions as queue
from tests.factories import World, label, make_trajectory, make_world

# A row's version tells transactions apart, so each save needs one of its own.
pytestmark = pytest.mark.django_db(transaction=True)

ALL = {0: 1, 1: 1, 2: -1}


def claimed(n_steps: int = 3, **settings: Any) -> tuple[World, Assignment]:
    world = make_world(**{"overlap": 1, "asks_outcome": False, **settings})
    make_trajectory(world.project, n_steps=n_steps)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return world, slot


def said(value: int, **more: Any) -> dict[str, Any]:
    """A label as the script sends it with the submission."""
    return {"value": value, "root": None, "exit_reason": "", "local_value": None, "extras": {}, **more}


def submit(client: Client, slot: Assignment, shown: dict[int, dict[str, Any]], **more: Any) -> Any:
    labels = [{"step": index, **label} for index, label in shown.items()]
    form = {"labels": json.dumps({"labels": labels, **more}), "confirmed": "1"}
    return client.post(f"/assignments/{slot.pk}/submit/", form, headers={"Accept": "application/json"})


def values(slot: Assignment) -> dict[int | None, int]:
    return dict(Label.objects.filter(annotation__assignment=slot).values_list("step__index", "value"))


def test_what_another_tab_has_stored_is_not_undone(client: Client) -> None:
    world, slot = claimed()
    label(slot, world.annotator, {0: 1, 1: 0, 2: 0})
    client.force_login(world.annotator)
    answer = submit(client, slot, {index: said(value) for index, value in ALL.items()})
    assert answer.status_code == 409
    assert answer.json()["error"] == {
        "code": "annotation.changed",
        "message": "Not submitted: what you saw is no longer what is stored (step 2, step 3). "
        "It was changed elsewhere, perhaps in another tab.",
        "fields": {},
    }
    assert values(slot) == {0: 1, 1: 0, 2: 0}
    assert LabelEvent.objects.count() == 3
    assert submit(client, slot, {0: said(1), 1: said(0), 2: said(0)}).status_code == 200
    slot.refresh_from_db()
    assert slot.status == "submitted"


@pytest.mark.parametrize("shown", [{0: said(1)}, {0: said(1), 1: said(1, extras={"rationale": "Seen."}), 2: said(-1)}])
def test_a_label_or_a_note_that_only_one_side_knows_differs(client: Client, shown: dict[int, dict[str, Any]]) -> None:
    world, slot = claimed()
    label(slot, world.annotator, ALL)
    client.force_login(world.annotator)
    assert submit(client, slot, shown).json()["error"]["code"] == "annotation.changed"
    assert Annotation.objects.get().submitted_at is None


def test_the_evidence_of_reading_comes_with_the_submission(client: Client) -> None:
    world, slot = claimed()
    label(slot, world.annotator, ALL)
    client.force_login(world.annotator)
    assert (
        submit(client, slot, {i: said(v, active_ms=900 + i, is_seen=True) for i, v in ALL.items()}).status_code == 200
    )
    read = Label.objects.order_by("step__index").values_list("active_ms", "is_seen", "has_opened")
    assert list(read) == [(900, True, False), (901, True, False), (902, True, False)]
    assert LabelEvent.objects.count() == 3  # nothing was said anew


def test_submitting_again_after_a_lost_answer_succeeds_and_with_other_labels_does_not(client: Client) -> None:
    world, slot = claimed()
    label(slot, world.annotator, ALL)
    client.force_login(world.annotator)
    shown = {index: said(value) for index, value in ALL.items()}
    for _ in range(2):
        assert submit(client, slot, shown).status_code == 200
    answer = submit(client, slot, {**shown, 1: said(0)})
    assert answer.status_code == 409
    assert answer.json()["error"] == {
        "code": "annotation.final",
        "message": "Not stored: you have submitted this trajectory already, with other labels (step 2).",
        "fields": {},
    }
    assert values(slot) == ALL
    # The same from a plain form.
    form = {f"step-{index}": value for index, value in ALL.items()}
    assert client.post(f"/assignments/{slot.pk}/submit/", form).status_code == 302
    again = client.post(f"/assignments/{slot.pk}/submit/", {**form, "step-1": 0})
    assert again.status_code == 409
    assert "with other labels (step 2)" in again.content.decode()
    assert values(slot) == ALL


def test_a_draft_of_a_return_that_was_taken_back_is_not_taken_for_submitted(client: Client) -> None:
    world, slot = claimed()
    label(slot, world.annotator, ALL)
    annotation = flow.submit(slot.pk, world.annotator)
    revisions.return_annotation(annotation.pk, world.reviewer, "Look again.")
    label(slot, world.annotator, {1: 0})
    flow.take_back(annotation.pk, world.reviewer)
    client.force_login(world.annotator)
    answer = submit(client, slot, {0: said(1), 1: said(0), 2: said(-1)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "annotation.final")
    assert Annotation.objects.submitted().get() == annotation


def test_beyond_the_first_error_nothing_is_compared(client: Client) -> None:
    world, slot = claimed(label_scheme={"mode": "stop_at_first_error"})
    label(slot, world.annotator, ALL)
    label(slot, world.annotator, {1: -1})
    client.force_login(world.annotator)
    for _ in range(2):  # the answer to the first one was lost
        assert submit(client, slot, {0: said(1), 1: said(-1)}).status_code == 200
    assert values(slot) == {0: 1, 1: -1}


def test_what_is_no_longer_asked_for_is_not_compared(client: Client) -> None:
    world, slot = claimed()
    label(slot, world.annotator, ALL)
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[0, 1])
    client.force_login(world.annotator)
    assert submit(client, slot, {0: said(1), 1: said(1)}).status_code == 200


def test_a_plain_form_stores_only_what_was_chosen_in_it(client: Client) -> None:
    world, slot = claimed()
    label(slot, world.annotator, ALL)
    client.force_login(world.annotator)
    page = client.get(f"/assignments/{slot.pk}/").content.decode()
    assert all(f'name="was-step-{index}" value="{value}"' in page for index, value in ALL.items())
    label(slot, world.annotator, {1: 0})  # another tab
    form = {f"step-{i}": v for i, v in ALL.items()} | {f"was-step-{i}": v for i, v in ALL.items()} | {"step-0": -1}
    answer = client.post(f"/assignments/{slot.pk}/submit/", form)
    assert answer.status_code == 409
    assert "(step 2). It was changed elsewhere, perhaps in another tab. This page now shows" in answer.content.decode()
    assert values(slot) == {0: -1, 1: 0, 2: -1}
    slot.refresh_from_db()
    assert slot.status == "claimed"
