"""What a model says, shown from the start or after one's own labels; and that every label says what came before it."""

import json
import re
import time
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from annotator import access, flow
from annotator.errors import AssignmentNotYours, HintsNotShown, UnconfirmedWarnings
from annotator.labelling import actions, revisions
from annotator.labelling.evidence import reading_of
from annotator.labelling.intake import Changes
from annotator.models import (
    Annotation,
    Assignment,
    AuditEvent,
    Calibration,
    Label,
    LabelEvent,
    ModelVersion,
    Prediction,
    Trajectory,
)
from annotator.queue import actions as queue
from tests.api.client import client_of, post, put, refused
from tests.factories import World, label, make_trajectory, make_world, predict
from tests.queue.test_concurrency import run_at_once

# A row's version tells transactions apart, so each save needs one of its own.
pytestmark = pytest.mark.django_db(transaction=True)


def claimed(arm: str, said: list[int | None] = [1, -1, None], **fields: Any) -> tuple[World, Assignment]:  # noqa: B006
    """A project with one arm, and a claim on a trajectory of which the model says this."""
    shares = {} if arm == "blind" else {arm: 100}
    settings = {"overlap": 1, "hint_policy": {**shares, "model": "judge"}, **fields.pop("settings", {})}
    world = make_world(**settings)
    predict(make_trajectory(world.project, n_steps=len(said)), said, **fields)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return world, slot


def marks() -> dict[int | None, tuple[int, bool, int | None]]:
    """By step: value, whether it was said after a hint, and what was hinted."""
    rows = Label.objects.values_list("step__index", "value", "is_after_hint", "hint_value")
    return {index: (value, after, hint) for index, value, after, hint in rows}


def events() -> list[tuple[int | None, int | None, bool]]:
    return list(LabelEvent.objects.order_by("id").values_list("step__index", "value", "is_after_hint"))


def test_own_labels_come_first_and_what_changes_afterwards_is_marked() -> None:
    world, slot = claimed("reveal_after", outcome=-1)
    label(slot, world.annotator, {0: 1, 1: 1, 2: 0}, outcome=1)
    assert set(marks().values()) == {(1, False, None), (0, False, None)}
    shown = actions.show_hints(slot.pk, world.annotator)
    assert {index: (hint.value, hint.rationale) for index, hint in shown.items()} == {
        0: (1, "why 1"),
        1: (-1, "why -1"),
        None: (-1, ""),
    }
    assert shown[1].percent == 80
    label(slot, world.annotator, {1: -1, 2: 1})
    assert marks() == {
        0: (1, False, 1),  # kept, in sight of the suggestion
        1: (-1, True, -1),
        2: (1, False, None),  # the model said nothing of it
        None: (1, False, -1),
    }
    assert events()[-2:] == [(1, -1, True), (2, 1, False)]
    assert events()[:4] == [(0, 1, False), (1, 1, False), (2, 0, False), (None, 1, False)]
    annotation = flow.submit(slot.pk, world.annotator)
    assert annotation.hints_shown_at is not None
    event = AuditEvent.objects.get(action="annotation.hints_shown")
    assert (event.object_id, event.user, event.data) == (annotation.pk, world.annotator, {"version": "judge v1"})


def test_nothing_is_shown_while_a_wanted_label_is_missing(client: Client) -> None:
    world, slot = claimed("reveal_after")
    label(slot, world.annotator, {0: 1, 2: 1})
    client.force_login(world.annotator)
    answer = client.post(f"/assignments/{slot.pk}/hints/", headers={"Accept": "application/json"})
    assert answer.status_code == 409
    assert answer.json()["error"] == {
        "code": "hints.not_shown",
        "message": "Label step 2 and the outcome before looking at the suggestions.",
        "fields": {},
    }
    assert Annotation.objects.get().hints_shown_at is None
    assert not AuditEvent.objects.filter(action="annotation.hints_shown").exists()


@pytest.mark.parametrize("arm", ["blind", "reveal_after", "hinted"])
def test_the_page_shows_what_its_arm_allows_and_chooses_nothing(client: Client, arm: str) -> None:
    world, slot = claimed(arm)
    client.force_login(world.annotator)
    page = client.get(f"/assignments/{slot.pk}/").content.decode()
    assert page.count('class="hint"') == (2 if arm == "hinted" else 0)
    assert ("What a model says" in page) == (arm != "blind")
    assert " checked" not in page
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    answer = client.post(f"/assignments/{slot.pk}/hints/", follow=True)
    assert answer.status_code == (409 if arm == "blind" else 200)
    assert ("why -1" in answer.content.decode()) == (arm != "blind")
    assert ("uncalibrated" in answer.content.decode()) == (arm != "blind")
    assert ("why -1" in client.get(f"/assignments/{slot.pk}/").content.decode()) == (arm != "blind")


def test_with_suggestions_from_the_start_every_label_of_a_step_with_one_is_marked() -> None:
    world, slot = claimed("hinted")
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    label(slot, world.annotator, {1: None})
    assert marks() == {0: (1, True, 1), 2: (1, False, None), None: (1, False, None)}
    assert events()[-1] == (1, None, True)
    assert Annotation.objects.get().hints_shown_at == Annotation.objects.get().created_at
    assert set(actions.show_hints(slot.pk, world.annotator)) == {0, 1}


def test_a_blind_label_says_so() -> None:
    world, slot = claimed("blind")
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    with pytest.raises(HintsNotShown, match="without suggestions"):
        actions.show_hints(slot.pk, world.annotator)
    assert set(marks().values()) == {(1, False, None)}
    assert Annotation.objects.get().hints_shown_at is None


@pytest.mark.parametrize("arm", ["blind", "reveal_after", "hinted"])
def test_the_client_has_no_say_in_what_was_suggested(arm: str) -> None:
    world, slot = claimed(arm)
    client = client_of(world.annotator)
    wrong: list[dict[str, Any]] = [{"is_after_hint": False}, {"hint_value": 2}]
    if arm == "hinted":
        wrong += [{"step": 2, "hint_value": 1}]  # the model said nothing of it
    else:
        wrong += [{"hint_value": 1}]
    for extra in wrong:
        body = {"labels": [{"step": 1, "value": 1, **extra}]}
        refused(put(client, f"/api/v1/assignments/{slot.pk}/labels/", body), 400, "input.invalid")
    assert marks() == {}


# The model is so unsure that one label which differs from it turns what it says of the steps after.
FOLLOWING: dict[str, Any] = {"said": [1, 1, 1, 1], "sure": 0.5}


def test_a_label_changes_what_is_suggested_for_the_steps_after_it() -> None:
    world, slot = claimed("hinted", **FOLLOWING)
    shown = actions.show_hints(slot.pk, world.annotator)
    assert [shown[index].value for index in range(4)] == [1, 1, 1, 1]
    label(slot, world.annotator, {0: -1})
    shown = actions.show_hints(slot.pk, world.annotator)
    assert [shown[index].value for index in range(4)] == [1, -1, -1, -1]
    assert [shown[index].own_value for index in range(4)] == [1, 1, 1, 1]
    label(slot, world.annotator, {1: 1})
    label(slot, world.annotator, {2: -1})
    assert marks() == {0: (-1, True, 1), 1: (1, True, -1), 2: (-1, True, 1)}
    label(slot, world.annotator, {0: 1})
    # What was in sight when they were given stays.
    assert marks() == {0: (1, True, 1), 1: (1, True, -1), 2: (-1, True, 1)}
    whole = client_of(world.annotator).get(f"/api/v1/assignments/{slot.pk}/").json()
    assert [(hint["value"], hint["own_value"]) for hint in whole["hints"]] == [(1, 1), (1, 1), (1, 1), (-1, 1)]


def test_the_page_says_what_it_showed_when_the_label_was_given() -> None:
    world, slot = claimed("hinted", **FOLLOWING)
    client, path = client_of(world.annotator), f"/api/v1/assignments/{slot.pk}/labels/"
    # Given from the last to the first and sent together: when step 1 was labelled, step 0 was not.
    put(client, path, {"labels": [{"step": 0, "value": -1}, {"step": 1, "value": 1, "hint_value": 1}]})
    assert marks() == {0: (-1, True, 1), 1: (1, True, 1)}
    put(client, path, {"labels": [{"step": 1, "value": 1, "hint_value": 1, "active_ms": 900}]})
    put(client, path, {"labels": [{"step": 1, "value": 1, "active_ms": 950}]})
    assert marks()[1] == (1, True, 1)
    assert len(events()) == 2  # the same label, so nothing new was said
    put(client, path, {"labels": [{"step": 1, "value": 1, "hint_value": -1}]})
    assert marks()[1] == (1, True, -1)  # given again in sight of another suggestion: no confirmation any more
    assert events()[2:] == [(1, 1, True)]
    put(client, path, {"labels": [{"step": 1, "value": 0}]})
    assert marks()[1] == (
        0,
        True,
        -1,
    )  # somebody who does not say what they saw is taken to have seen what is suggested


def test_a_plain_form_says_what_its_page_showed(client: Client) -> None:
    world, slot = claimed("hinted", **FOLLOWING, settings={"asks_outcome": False})
    client.force_login(world.annotator)
    page = client.get(f"/assignments/{slot.pk}/").content.decode()
    shown = dict(re.findall(r'name="(hint-step-\d)" value="(-?\d)"', page))
    assert shown == {f"hint-step-{index}": "1" for index in range(4)}
    # All at once: step 0 is -1, which turns what is suggested of the others, but nobody has seen that yet.
    answer = client.post(f"/assignments/{slot.pk}/", {f"step-{index}": -1 for index in range(4)} | shown)
    assert answer.status_code == 302
    assert marks() == dict.fromkeys(range(4), (-1, True, 1))
    page = client.get(f"/assignments/{slot.pk}/").content.decode()
    later = dict(re.findall(r'name="((?:hint|was)-step-\d)" value="(-?\d)"', page))
    assert later == {f"was-step-{i}": "-1" for i in range(4)} | dict(zip(shown, ["1", "-1", "-1", "-1"], strict=True))
    # The step that is chosen anew has the suggestion that the page shows now; the others stay as they are.
    client.post(f"/assignments/{slot.pk}/submit/", {"step-0": -1, "step-1": 1, "step-2": -1, "step-3": -1} | later)
    assert marks() == {0: (-1, True, 1), 1: (1, True, -1), 2: (-1, True, 1), 3: (-1, True, 1)}
    slot.refresh_from_db()
    assert slot.status == "submitted"


@pytest.mark.parametrize("arm", ["blind", "reveal_after"])
def test_a_plain_form_has_no_say_in_what_was_suggested(client: Client, arm: str) -> None:
    world, slot = claimed(arm)
    client.force_login(world.annotator)
    assert "hint-step" not in client.get(f"/assignments/{slot.pk}/").content.decode()
    assert client.post(f"/assignments/{slot.pk}/", {"step-0": 1, "hint-step-0": 1}).status_code == 400
    assert marks() == {}


def test_what_was_revealed_after_ones_own_labels_does_not_follow_them() -> None:
    world, slot = claimed("reveal_after", **FOLLOWING)
    label(slot, world.annotator, dict.fromkeys(range(4), -1), outcome=-1)
    shown = actions.show_hints(slot.pk, world.annotator)
    assert [(shown[index].value, shown[index].percent) for index in range(4)] == [(1, 50)] * 4


def test_what_is_shown_is_calibrated_as_it_was_when_it_was_claimed() -> None:
    world, slot = claimed("hinted")
    version = ModelVersion.objects.get()
    # A later one would turn every certainty into a third.
    Calibration.objects.create(
        version=version, method="temperature", parameters={"temperature": 50.0},
        n_trajectories=25, n_steps=75, report={},
    )  # fmt: skip
    before = actions.show_hints(slot.pk, world.annotator)[1]
    # Uncalibrated, it is not believed that far (annotator.fusion.suggest.TRUST).
    assert (before.percent, before.is_calibrated) == (66, False)
    following = make_trajectory(world.project)
    predict(following, [1, 1, 1])
    later = queue.claim_next(world.project, world.annotator)
    assert later is not None
    after = actions.show_hints(later.pk, world.annotator)[1]
    assert (after.percent, after.is_calibrated) == (34, True)


def test_a_revision_keeps_what_was_shown_and_what_was_said_after_it(client: Client) -> None:
    world, slot = claimed("reveal_after")
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    actions.show_hints(slot.pk, world.annotator)
    label(slot, world.annotator, {1: -1})
    annotation = flow.submit(slot.pk, world.annotator)
    before = marks()
    revisions.return_annotation(annotation.pk, world.reviewer, "Look again.")
    draft = Annotation.objects.get(revision=2)
    assert draft.hints_shown_at == annotation.hints_shown_at

    copied = draft.labels.values_list("step__index", "value", "is_after_hint", "hint_value")
    assert {index: rest for index, *rest in copied} == {index: list(rest) for index, rest in before.items()}
    label(slot, world.annotator, {0: -1})
    assert draft.labels.get(step__index=0).is_after_hint
    client.force_login(world.annotator)
    assert "why -1" in client.get(f"/assignments/{slot.pk}/").content.decode()


def test_a_save_that_meets_the_reveal_is_marked_as_after_it() -> None:
    world, slot = claimed("reveal_after")
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    basis = access.get_basis(world.annotator, slot.pk)
    actions.show_hints(slot.pk, world.annotator)
    actions.save(basis, world.annotator, Changes({1: -1}, {}))
    assert marks()[1] == (-1, True, -1)
    assert events()[-1] == (1, -1, True)


def test_a_reveal_that_meets_a_save_leaves_it_marked_as_before() -> None:
    world, slot = claimed("reveal_after")
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    basis = access.get_basis(world.annotator, slot.pk)
    actions.save(basis, world.annotator, Changes({1: -1}, {}))
    actions.show_hints(slot.pk, world.annotator)
    actions.save(basis, world.annotator, Changes({1: -1}, {}, {1: {"active_ms": 700}}))  # the same once more
    assert marks()[1] == (-1, False, -1)
    assert not any(after for _, _, after in events())


def test_saves_and_a_reveal_at_once_leave_every_label_marked_by_what_came_first() -> None:
    world, slot = claimed("reveal_after")
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)

    def save(index: int) -> None:
        for value in (-1, 0, 1) * 4:
            label(slot, world.annotator, {index: value})

    def reveal() -> None:
        time.sleep(0.02)
        actions.show_hints(slot.pk, world.annotator)

    assert run_at_once([lambda: save(0), lambda: save(1), lambda: save(0), reveal]) == []
    annotation = Annotation.objects.get()
    assert annotation.hints_shown_at is not None
    said = list(annotation.label_events.filter(step__index__in=[0, 1]).order_by("id"))
    marked = [event.is_after_hint for event in said]
    assert marked == sorted(marked)  # none without the mark after the first one with it
    for stored in annotation.labels.filter(step__index__in=[0, 1]):
        last = [event for event in said if event.step_id == stored.step_id][-1]
        assert (stored.value, stored.is_after_hint) == (last.value, last.is_after_hint)
        assert stored.hint_value is not None


def test_reviewers_read_that_a_label_came_after_a_suggestion() -> None:
    world, slot = claimed("hinted")
    label(slot, world.annotator, {0: 1, 2: 1})
    first, last = Label.objects.order_by("step__index")
    assert reading_of(first).endswith("given after a model's suggestion was shown")
    assert "suggestion" not in reading_of(last)


def test_nobody_is_shown_anything_of_what_somebody_else_holds() -> None:
    world, slot = claimed("reveal_after")
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    queue.release_claim(slot.pk, world.annotator)
    assert queue.claim_next(world.project, world.second) == slot
    with pytest.raises(AssignmentNotYours):
        actions.show_hints(slot.pk, world.annotator)
    answer = post(client_of(world.outsider), f"/api/v1/assignments/{slot.pk}/hints/")
    refused(answer, 404, "not_found")
    assert Annotation.objects.get().hints_shown_at is None


def test_saving_costs_two_more_statements_where_suggestions_are_shown_and_none_elsewhere(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for arm, n_queries in (("blind", 4), ("reveal_after", 4), ("hinted", 6)):
        world = make_world(arm.replace("_", "-"), hint_policy={} if arm == "blind" else {arm: 100, "model": "judge"})
        predict(make_trajectory(world.project, n_steps=3), [1, 1, 1])
        slot = queue.claim_next(world.project, world.annotator)
        assert slot is not None
        client.force_login(world.annotator)
        for value in (1, -1):
            with django_assert_num_queries(n_queries):
                body = {"labels": [{"step": 0, "value": value}]}
                client.put(f"/assignments/{slot.pk}/labels/", body, content_type="application/json")


def found_by_rules(trajectory: Trajectory, *findings: tuple[int, str]) -> Prediction:
    version, _ = ModelVersion.objects.get_or_create(
        project=trajectory.project, name="rules", number=1, defaults={"kind": ModelVersion.Kind.RULES}
    )
    rows = [
        {"step": step, "code": code, "leaning": -1, "sentence": f"{code} speaks.", "evidence": {}}
        for step, code in findings
    ]
    nothing = [[None] * 3] * trajectory.n_steps
    return Prediction.objects.create(version=version, trajectory=trajectory, probs=nothing, findings=rows)


@pytest.mark.parametrize(("arm", "asks"), [("blind", False), ("reveal_after", True), ("hinted", True)])
def test_plus_one_where_a_rule_found_something_asks_once(client: Client, arm: str, asks: bool) -> None:
    world, slot = claimed(arm, [1, 1, 1])
    found_by_rules(slot.trajectory, (0, "R5"), (1, "R2"), (1, "R3"), (2, "R4"))
    label(slot, world.annotator, {0: 1, 1: 1, 2: 0}, outcome=1)
    assert actions.findings_of(slot, Annotation.objects.get()) == [] or arm == "hinted"
    if asks:
        actions.show_hints(slot.pk, world.annotator)
    client.force_login(world.annotator)
    form = {"step-0": 1, "step-1": 1, "step-2": 0, "outcome": 1}
    first = client.post(f"/assignments/{slot.pk}/submit/", form)
    said = "Step 2 is labelled +1, but a rule found: R2 speaks."
    assert (said in first.content.decode()) == asks
    assert first.status_code == (422 if asks else 302)
    assert "R5 speaks" not in first.content.decode()
    if asks:
        assert client.post(f"/assignments/{slot.pk}/submit/", {**form, "confirmed": 1}).status_code == 302
    assert Assignment.objects.get().status == "submitted"


def test_the_warning_names_the_step_for_programs() -> None:
    world, slot = claimed("hinted", [1, 1, 1])
    found_by_rules(slot.trajectory, (1, "R1"))
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    with pytest.raises(UnconfirmedWarnings) as refusal:
        flow.submit(slot.pk, world.annotator, heeds_warnings=True)
    assert refusal.value.fields == {"step 1": "Step 2 is labelled +1, but a rule found: R1 speaks."}
    assert flow.submit(slot.pk, world.annotator).submitted_at is not None


def test_the_api_shows_what_the_page_shows_and_when() -> None:
    world, slot = claimed("reveal_after", outcome=1)
    client, path = client_of(world.annotator), f"/api/v1/assignments/{slot.pk}/"
    whole = client.get(path).json()
    assert (whole["hint_arm"], whole["hints"]) == ("reveal_after", None)
    refused(post(client, f"{path}hints/"), 409, "hints.not_shown")
    put(client, f"{path}labels/", {"labels": [{"step": i, "value": 1} for i in range(3)], "outcome": 1})
    shown = post(client, f"{path}hints/").json()["hints"]
    about = {"is_calibrated": False, "is_shortened": False}
    assert shown == [
        {"step": 0, "value": 1, "own_value": 1, "certainty": 0.8, "rationale": "why 1", **about},
        {"step": 1, "value": -1, "own_value": -1, "certainty": 0.8, "rationale": "why -1", **about},
        {"step": None, "value": 1, "own_value": 1, "certainty": None, "rationale": "", **about},
    ]
    assert client.get(path).json()["hints"] == shown
    assert json.dumps(shown) == json.dumps(post(client, f"{path}hints/").json()["hints"])
    assert AuditEvent.objects.filter(action="annotation.hints_shown").count() == 1
