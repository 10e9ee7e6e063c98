"""The report on suggestions through the database: what is read, who may see it, and the same over the API."""

import pytest
from django.test import Client

from annotator import flow
from annotator.labelling import actions
from annotator.labelling.intake import Changes
from annotator.models import Assignment, ReferenceLabel
from annotator.queue import actions as queue
from annotator.raters import hint_reading
from annotator.raters.hint_figures import NONE
from tests.api.client import client_of
from tests.factories import World, judge, make_trajectory, make_world, predict

pytestmark = pytest.mark.django_db

SAID: list[int | None] = [1, -1, None]


def drawn(world: World, arm: str) -> Assignment:
    """A claim of the annotator's on a new trajectory whose slot is in this arm."""
    world.project.hint_policy = {"hinted": 100, "model": "judge"}
    trajectory = make_trajectory(world.project)
    prediction = predict(trajectory, SAID)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    assert slot.hint_version == prediction.version
    Assignment.objects.filter(pk=slot.pk).update(hint_arm=arm)
    slot.refresh_from_db()
    return slot


def save(slot: Assignment, world: World, values: dict[int, int | None], **details: int) -> None:
    """With the time on the first step."""
    actions.save_labels(slot.pk, world.annotator, Changes(values, {"outcome": 1}, {0: details} if details else {}))


@pytest.fixture
def labelled() -> World:
    """One judgement in each arm; that of the reveal changes its mind on step 2 after it."""
    world = make_world(overlap=1)
    for arm in ("blind", "reveal_after", "hinted"):
        slot = drawn(world, arm)
        save(slot, world, {0: -1, 1: 0, 2: 1})
        save(slot, world, {0: 1}, active_ms=2500)
        if arm == "reveal_after":
            actions.show_hints(slot.pk, world.annotator)
            save(slot, world, {1: -1})
        flow.submit(slot.pk, world.annotator)
    judge(make_trajectory(world.project), world.second, [1, 1, 1])  # of which the model says nothing
    return world


def test_what_was_labelled_before_and_after_is_read_back(labelled: World) -> None:
    blind, reveal, hinted = hint_reading.read(labelled.project, "gold")
    assert [one.arm for one in (blind, reveal, hinted)] == ["blind", "reveal_after", "hinted"]
    assert [one.final.tolist() for one in (blind, reveal, hinted)] == [[1, 0, 1], [1, -1, 1], [1, 0, 1]]
    assert [one.before.tolist() for one in (blind, reveal, hinted)] == [[1, 0, 1], [1, 0, 1], [NONE] * 3]
    for one in (blind, reveal, hinted):
        assert one.model.tolist() == [1, -1, NONE]
        assert one.gold.tolist() == one.final.tolist()
        assert one.seconds[0] == 2.5
        assert one.was_revealed == (one is reveal)


def test_against_the_reference_the_gold_is_that_of_the_file(labelled: World) -> None:
    trajectory = labelled.project.trajectories.order_by("id")[0]
    ReferenceLabel.objects.create(trajectory=trajectory, step=trajectory.steps.get(index=1), value=-1)
    blind, *others = hint_reading.read(labelled.project, "reference")
    assert blind.gold.tolist() == [NONE, -1, NONE]
    assert all(one.gold.tolist() == [NONE] * 3 for one in others)


def test_a_revision_is_read_with_what_stood_before_the_first_reveal(labelled: World) -> None:
    from annotator.labelling import revisions

    annotation = labelled.annotator.annotations.get(assignment__hint_arm="reveal_after")
    revisions.return_annotation(annotation.pk, labelled.reviewer, "Once more.")
    slot = annotation.assignment
    save(slot, labelled, {1: 1})
    flow.submit(slot.pk, labelled.annotator)
    reveal = [one for one in hint_reading.read(labelled.project, "gold") if one.arm == "reveal_after"]
    assert [(one.before.tolist(), one.final.tolist()) for one in reveal] == [([1, 0, 1], [1, 1, 1])]


def test_the_page_says_what_there_is_and_what_it_is_not_enough_for(labelled: World, client: Client) -> None:
    client.force_login(labelled.admin)
    page = client.get("/projects/demo/hints/").content.decode()
    assert "Too few in hinted: 1 trajectory of 1 task; at least 25 of at least 10 are needed." in page
    assert "gold is settled from these very labels" in page
    assert "Nothing yet." in page
    assert "1 label with a measured time" in page
    assert "1 labels" not in page
    reference = client.get("/projects/demo/hints/?against=reference").content.decode()
    assert "gold is settled from these very labels" not in reference


def test_without_any_suggestion_the_page_says_so(world: World, client: Client) -> None:
    client.force_login(world.admin)
    page = client.get("/projects/demo/hints/").content.decode()
    assert "Nobody has submitted a trajectory with suggestions yet" in page
    assert "Arm by arm" not in page


@pytest.mark.parametrize(("who", "status"), [("annotator", 403), ("reviewer", 403), ("outsider", 404), ("admin", 200)])
def test_only_admins_see_the_report(world: World, client: Client, who: str, status: int) -> None:
    client.force_login(world.user(who))
    assert client.get("/projects/demo/hints/").status_code == status
    assert client_of(world.user(who)).get("/api/v1/projects/demo/hints/").status_code == status


def test_the_api_gives_the_same_figures(labelled: World) -> None:
    body = client_of(labelled.admin).get("/api/v1/projects/demo/hints/").json()
    arms = body["arms"]
    assert [arms[arm]["figures"]["agrees_with_model"]["value"] for arm in ("blind", "reveal_after", "hinted")] == [
        0.5,
        1.0,
        0.5,
    ]
    reveal = arms["reveal_after"]["figures"]
    assert (reveal["agreed_before"]["value"], reveal["changed_after_reveal"]["value"]) == (0.5, 0.5)
    assert reveal["moved_to_model"]["value"] == 1.0
    assert (reveal["corrected"]["value"], arms["hinted"]["figures"]["corrected"]["value"]) == (None, 0.5)
    assert reveal["active_seconds"] == {
        "value": 2.5, "low": None, "high": None, "n": 1, "unit": "labels with a measured time", "reason": "",
    }  # fmt: skip
    assert arms["hinted"]["differences"]["agrees_with_model"]["value"] == 0.0
    assert arms["blind"]["differences"] == {}
    assert body["concluded"] == []
    assert len(body["not_concluded"]) == 4
