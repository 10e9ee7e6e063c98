"""Suggestions of a model in a real browser: none, after one's own labels, or from the start."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Response, Route, expect

from annotator.labelling.hints import hints_of
from annotator.models import Annotation, Assignment, Label, LabelEvent, User
from annotator.queue import actions as queue
from tests.browser.conftest import axe_violations
from tests.factories import World, label, make_messages, make_trajectory, make_world, predict
from tests.labelling.test_blindness import SECRETS, TOKEN, planted

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


def claim(arm: str, n_steps: int = 3, **settings: Any) -> tuple[World, Assignment]:
    """The model says −1 of every step."""
    shares = {} if arm == "blind" else {arm: 100}
    world = make_world(overlap=1, asks_outcome=False, hint_policy={**shares, "model": f"m-{TOKEN}"}, **settings)
    for _ in range(2):
        planted(make_trajectory(world.project, n_steps=n_steps))
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return world, slot


def open_slot(open_as: OpenAs, world: World, slot: Assignment) -> Page:
    return open_as(world.annotator, f"/assignments/{slot.pk}/")


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


@pytest.mark.parametrize("arm", ["blind", "reveal_after"])
def test_before_ones_own_labels_no_byte_in_the_browser_says_what_a_model_said(
    arm: str, page: Page, open_as: OpenAs
) -> None:
    world, slot = claim(arm)
    received: list[tuple[str, str]] = []

    def keep(response: Response) -> None:
        if response.status != 204 and not 300 <= response.status < 400:
            received.append((response.url, f"{response.headers}\n{response.text()}"))

    page.on("response", keep)
    open_slot(open_as, world, slot)
    press(page, "1 - x ? ? / Escape c Escape n")
    expect(page.locator("#save-status")).to_have_text("All saved")
    if (
        arm == "blind"
    ):  # all of it, with the page that is loaded ahead, the warning that a rule would give, the next one
        press(page, "1 1 Enter")
        expect(page.locator("h1")).not_to_contain_text(slot.trajectory.instruction)
    page.wait_for_load_state("networkidle")
    assert len(received) > 10
    wrong = [(url, secret) for url, text in received for secret in SECRETS if secret in text and "/static/" not in url]
    assert wrong == []
    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.documentElement.outerHTML])")
    assert [secret for secret in SECRETS if secret in kept] == []


def test_own_labels_first_then_what_the_model_said_then_the_submission(
    open_as: OpenAs, console_errors: list[str]
) -> None:
    world, slot = claim("reveal_after")
    page = open_slot(open_as, world, slot)
    expect(page.get_by_text("You see it when everything is labelled.")).to_be_visible()
    press(page, "1 - 1")
    expect(page.locator(".hint")).to_have_count(3)
    expect(page.locator("#hints-status")).to_have_text("2 of 3 suggestions differ from yours (d shows the next one).")
    expect(page.locator("#step-0 .hint")).to_contain_text("73 % sure")
    expect(page.locator("#step-0 .hint")).to_contain_text(f"rationale {TOKEN}")
    expect(page.locator("#step-0 .differs")).to_be_visible()
    expect(page.locator("#step-1 .differs")).to_be_hidden()
    expect(page.locator("#step-0")).to_be_focused()
    assert Annotation.objects.get().hints_shown_at is not None
    press(page, "d")
    expect(page.locator("#step-2")).to_be_focused()
    press(page, "-")
    expect(page.locator("#hints-status")).to_have_text("1 of 3 suggestions differ from yours (d shows the next one).")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert axe_violations(page) == []
    press(page, "Enter")
    # The rules found something at step 1, which is still +1.
    expect(page.locator("#refusal")).to_contain_text("Step 1 is labelled +1, but a rule found")
    console_errors.clear()  # the refusal
    press(page, "Enter")
    expect(page.locator(".notice.good")).to_contain_text("Submitted.")
    rows = Label.objects.filter(annotation__assignment=slot).order_by("step__index")
    assert list(rows.values_list("value", "is_after_hint", "hint_value")) == [
        (1, False, -1),
        (-1, False, -1),
        (-1, True, -1),
    ]
    assert list(LabelEvent.objects.filter(is_after_hint=True).values_list("step__index", "value")) == [(2, -1)]
    # The next trajectory begins without anything of this one.
    expect(page.locator(".hint")).to_have_count(0)
    expect(page.locator("#hints-status")).to_be_hidden()


def test_a_note_begun_before_the_reveal_arrives_is_written_to_its_end(page: Page, open_as: OpenAs) -> None:
    world, slot = claim("reveal_after")
    asked: list[Route] = []
    page.route("**/hints/", lambda route: asked.append(route))
    open_slot(open_as, world, slot)
    with page.expect_request("**/hints/"):
        press(page, "1 1 1")
    press(page, "k c")
    page.keyboard.type("rests on step ")
    asked[0].continue_()
    expect(page.locator("#hints-status")).to_have_text("3 of 3 suggestions differ from yours (d shows the next one).")
    page.keyboard.type("1 and 0 - see k")
    expect(page.locator("#step-1 textarea")).to_have_value("rests on step 1 and 0 - see k")
    expect(page.locator("#step-1.current")).to_be_visible()
    press(page, "Escape")
    expect(page.locator("#save-status")).to_have_text("All saved")
    rows = Label.objects.order_by("step__index").values_list("value", "extras")
    assert list(rows) == [(1, {}), (1, {"rationale": "rests on step 1 and 0 - see k"}), (1, {})]


def test_with_the_last_label_nothing_is_submitted_before_it_was_revealed(open_as: OpenAs) -> None:
    world, slot = claim("reveal_after")
    page = open_slot(open_as, world, slot)
    page.locator("#at-once").check()
    press(page, "- - - Enter")
    expect(page.locator(".hint")).to_have_count(3)
    expect(page.locator("#hints-status")).to_have_text("0 of 3 suggestions differ from yours.")
    slot.refresh_from_db()
    assert slot.status == "claimed"
    press(page, "Enter")
    expect(page.locator(".notice.good")).to_contain_text("Submitted.")


def test_what_was_complete_and_not_revealed_yet_is_revealed_when_it_is_opened_again(open_as: OpenAs) -> None:
    world, slot = claim("reveal_after")
    label(slot, world.annotator, {0: -1, 1: -1, 2: 1})
    page = open_slot(open_as, world, slot)
    expect(page.locator(".hint")).to_have_count(3)
    page.reload()
    expect(page.locator("#step-2 .differs")).to_be_visible()
    expect(page.locator("#hints form")).to_have_count(0)


def test_without_a_connection_they_come_when_it_is_back(open_as: OpenAs, console_errors: list[str]) -> None:
    world, slot = claim("reveal_after")
    page = open_slot(open_as, world, slot)
    page.context.set_offline(True)
    press(page, "1 1 1")
    expect(page.locator("#hints-status")).to_have_text(
        "What the model says is shown when your labels are stored; press Enter when they are."
    )
    expect(page.locator(".hint")).to_have_count(0)
    page.context.set_offline(False)
    expect(page.locator("#save-status")).to_have_text("All saved")
    press(page, "Enter")
    expect(page.locator(".hint")).to_have_count(3)
    assert not LabelEvent.objects.filter(is_after_hint=True).exists()
    console_errors.clear()  # of the requests that were cut off


def test_suggestions_from_the_start_choose_nothing(open_as: OpenAs) -> None:
    world, slot = claim("hinted")
    page = open_slot(open_as, world, slot)
    expect(page.locator(".hint")).to_have_count(3)
    expect(page.locator(".choices input:checked")).to_have_count(0)
    expect(page.locator("#n-labelled")).to_have_text("0")
    press(page, "Enter")
    expect(page.locator("#refusal")).to_contain_text("Not labelled yet: Step 1, Step 2, Step 3.")
    assert axe_violations(page) == []
    press(page, "- - 1")
    expect(page.locator("#hints-status")).to_have_text("1 of 3 suggestions differ from yours (d shows the next one).")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert set(Label.objects.values_list("is_after_hint", "hint_value")) == {(True, -1)}


def test_a_label_changes_what_is_suggested_after_it_and_one_key_confirms(
    open_as: OpenAs, console_errors: list[str]
) -> None:
    world = make_world(overlap=1, asks_outcome=False, hint_policy={"hinted": 100, "model": "judge"})
    trajectory = make_trajectory(world.project, messages=make_messages(6, answered=[3]))
    predict(trajectory, [1, 1, None, 1, -1, 0], sure=0.5)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    page = open_slot(open_as, world, slot)
    given: dict[int, int] = {}

    def agree() -> list[int | None]:
        return shown_by_both(page, slot, given)

    assert agree() == [1, 1, None, 1, -1, 0]
    press(page, "-")
    given[0] = -1
    assert agree()[1] == -1  # an error carries on
    expect(page.locator("#step-1")).to_contain_text("after your labels; alone it says +1")
    expect(page.locator("#step-1")).to_be_focused()
    press(page, "y")
    given[1] = -1
    agree()
    expect(page.locator("#step-2")).to_be_focused()
    press(page, "y")  # of this step nothing is suggested, so there is nothing to confirm
    expect(page.locator("#n-labelled")).to_have_text("2")
    page.context.set_offline(True)
    press(page, "1")
    given[2] = 1
    agree()  # it needs no server
    page.context.set_offline(False)
    seen = hints_of(slot, given)[3].value
    press(page, "0")
    given[3] = 0
    agree()
    expect(page.locator("#save-status")).to_have_text("All saved")
    rows = Label.objects.order_by("step__index").values_list("step__index", "value", "hint_value", "is_after_hint")
    assert list(rows) == [(0, -1, 1, True), (1, -1, -1, True), (2, 1, None, False), (3, 0, seen, True)]
    assert axe_violations(page) == []
    page.reload()
    agree()
    press(page, "g 1")  # another first label changes what follows, not what was in sight before
    page.wait_for_timeout(900)
    press(page, "1")
    given[0] = 1
    agree()
    expect(page.locator("#save-status")).to_have_text("All saved")
    console_errors.clear()  # of the save that was cut off
    assert list(rows.all())[1:] == [(1, -1, -1, True), (2, 1, None, False), (3, 0, seen, True)]


def test_of_a_spot_question_only_the_wanted_steps_are_suggested_and_followed(open_as: OpenAs) -> None:
    world = make_world(overlap=1, asks_outcome=False, hint_policy={"hinted": 100, "model": "judge"})
    predict(make_trajectory(world.project, n_steps=6), [1, 1, -1, 1, 1, 0], sure=0.5)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[1, 4])
    slot.refresh_from_db()
    page = open_slot(open_as, world, slot)
    assert shown_by_both(page, slot, {}) == [None, 1, None, None, 1, None]
    press(page, "-")
    assert shown_by_both(page, slot, {1: -1}) == [None, 1, None, None, -1, None]
    # What the model says of the others is nowhere on the page.
    rows = json.loads(page.locator("#page-data").text_content() or "")["suggestions"]["expected"]
    assert rows[0] == rows[2] == rows[3] != rows[1] == rows[4]


def shown_by_both(page: Page, slot: Assignment, given: dict[int, int]) -> list[int | None]:
    """The values of the six steps; the page shows what the server computes from the same labels."""
    shown = hints_of(slot, given)
    for index, hint in shown.items():
        card = page.locator(f"#step-{index} .hint")
        expect(card.locator(".value").first).to_have_text({-1: "−1", 0: "0", 1: "+1"}[hint.value])
        expect(card.locator(".certainty")).to_have_text(f"{hint.percent} % sure")
        expect(card.locator(".alone")).to_be_visible(visible=hint.value != hint.own_value)
    return [shown[index].value if index in shown else None for index in range(6)]


def test_a_key_held_down_judges_one_step(open_as: OpenAs) -> None:
    world, slot = claim("hinted")
    page = open_slot(open_as, world, slot)
    expect(page.locator("#step-0")).to_be_focused()
    for key in ("y", "1"):
        for _ in range(4):
            page.keyboard.down(key)
        page.keyboard.up(key)
    expect(page.locator("#n-labelled")).to_have_text("2")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert list(Label.objects.order_by("step__index").values_list("value", flat=True)) == [-1, 1]
    for _ in range(4):
        page.keyboard.down("k")
    expect(page.locator("#step-0")).to_be_focused()  # moving about goes on
