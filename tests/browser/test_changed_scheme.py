"""An admin changes the label scheme while a page is open: the page says so, loses nothing, and is not stuck."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotator.models import Assignment, Label, User
from annotator.queue import actions as queue
from tests.factories import World, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]

NOTICE = (
    "The project has changed what it asks for since this page was opened. Reload the page to see it; your labels and "
    "notes stay."
)


def claim(scheme: dict[str, Any], n_steps: int = 3) -> tuple[World, Assignment]:
    world = make_world(overlap=1, asks_outcome=False, label_scheme=scheme)
    make_trajectory(world.project, n_steps=n_steps)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return world, slot


def open_slot(open_as: OpenAs, world: World, slot: Assignment) -> Page:
    return open_as(world.annotator, f"/assignments/{slot.pk}/")


def set_scheme(world: World, **scheme: Any) -> None:
    """As an admin does it while pages are open."""
    world.project.label_scheme = scheme
    world.project.save(update_fields=["label_scheme"])


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def label(page: Page, step: int, key: str) -> None:
    page.locator(f"#step-{step} h2").click()
    page.keyboard.press(key)


def saved(page: Page) -> None:
    expect(page.locator("#save-status")).to_have_text("All saved")


def stored(slot: Assignment) -> list[tuple[Any, ...]]:
    labels = Label.objects.filter(annotation__assignment=slot).order_by("step__index")
    return list(labels.values_list("step__index", "value", "extras"))


def reload_by_notice(page: Page) -> None:
    notice = page.locator("#asks-otherwise")
    expect(notice).to_have_text(NOTICE)
    expect(notice).to_have_count(1)
    notice.get_by_role("link").click()
    expect(notice).to_have_count(0)
    saved(page)


def submitted(page: Page, slot: Assignment) -> bool:
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    slot.refresh_from_db()
    return slot.status == "submitted"


def test_it_no_longer_stops_at_the_first_error(open_as: OpenAs, console_errors: list[str]) -> None:
    world, slot = claim({"mode": "stop_at_first_error"})
    page = open_slot(open_as, world, slot)
    press(page, "1 -")
    saved(page)
    set_scheme(world, mode="every_step")
    press(page, "Enter")
    expect(page.locator("#refusal")).to_have_text("Label step 3 before submitting.")
    assert "422" in console_errors.pop()
    reload_by_notice(page)
    press(page, "n 1 Enter")
    assert submitted(page, slot)
    assert stored(slot) == [(0, 1, {}), (1, -1, {}), (2, 1, {})]


def test_it_stops_at_the_first_error_now(open_as: OpenAs) -> None:
    world, slot = claim({})
    page = open_slot(open_as, world, slot)
    press(page, "1")
    saved(page)
    set_scheme(world, mode="stop_at_first_error")
    press(page, "-")
    saved(page)
    expect(page.locator("#asks-otherwise")).to_have_text(NOTICE)
    press(page, "Enter")
    assert submitted(page, slot)
    assert stored(slot) == [(0, 1, {}), (1, -1, {})]


def test_more_steps_are_asked_for_now(open_as: OpenAs, console_errors: list[str]) -> None:
    """As it is when an acceptance is taken back while somebody labels the rest."""
    world, slot = claim({})
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[1])
    page = open_slot(open_as, world, slot)
    press(page, "-")
    saved(page)
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[0, 1])
    press(page, "Enter")
    expect(page.locator("#refusal")).to_have_text("Label step 1 before submitting.")
    assert "422" in console_errors.pop()
    reload_by_notice(page)
    label(page, 0, "1")
    press(page, "Enter")
    assert submitted(page, slot)
    assert stored(slot) == [(0, 1, {}), (1, -1, {})]


def test_a_category_is_needed_now(open_as: OpenAs, console_errors: list[str]) -> None:
    world, slot = claim({}, n_steps=2)
    page = open_slot(open_as, world, slot)
    press(page, "- 1")
    saved(page)
    set_scheme(world, categories="required_on_error")
    press(page, "Enter")
    expect(page.locator("#refusal")).to_have_text("Step 1 needs a kind of error.")
    assert "422" in console_errors.pop()
    reload_by_notice(page)
    page.locator("#step-0").get_by_label("Kind of error (needed)").select_option("wrong_tool")
    press(page, "Escape Enter")
    assert submitted(page, slot)
    assert stored(slot) == [(0, -1, {"category": "wrong_tool"}), (1, 1, {})]


def test_a_category_is_no_longer_asked_for(open_as: OpenAs, console_errors: list[str]) -> None:
    world, slot = claim({"categories": "optional"})
    page = open_slot(open_as, world, slot)
    press(page, "-")
    page.locator("#step-0").get_by_label("Kind of error").select_option("wrong_tool")
    saved(page)
    page.context.set_offline(True)
    press(page, "Escape")
    label(page, 1, "-")
    page.locator("#step-1").get_by_label("Kind of error").select_option("wrong_tool")
    page.locator("#step-1").get_by_label("Note").fill("Wrong tower.")
    press(page, "Escape")
    expect(page.locator("#save-status")).to_have_text("1 unsaved (no connection)")
    set_scheme(world)
    page.context.set_offline(False)
    saved(page)
    console_errors.clear()  # of the lost connection
    expect(page.locator("#asks-otherwise")).to_have_text(NOTICE)
    # The page goes on as it is, too: what nobody asks for any more is not stored and not missed.
    label(page, 2, "-")
    page.locator("#step-2").get_by_label("Kind of error").select_option("wrong_tool")
    saved(page)
    whole = {"category": "wrong_tool"}
    assert stored(slot) == [(0, -1, whole), (1, -1, {"rationale": "Wrong tower."}), (2, -1, {})]
    press(page, "Escape Enter")
    assert submitted(page, slot)


def test_what_waits_is_stored_after_a_reload_under_another_scheme(open_as: OpenAs, console_errors: list[str]) -> None:
    world, slot = claim({"categories": "optional"}, n_steps=2)
    page = open_slot(open_as, world, slot)
    page.route("**/labels/", lambda route: route.fulfill(status=503, body=""))
    press(page, "-")
    page.locator("#step-0").get_by_label("Kind of error").select_option("wrong_tool")
    press(page, "Escape")
    label(page, 1, "1")
    expect(page.locator("#save-status")).to_have_text("2 unsaved (the server does not answer)")
    set_scheme(world)
    page.reload()
    expect(page.locator("#n-labelled")).to_have_text("2")
    page.unroute("**/labels/")
    page.reload()
    saved(page)
    console_errors.clear()  # of the server that did not answer
    expect(page.locator("#asks-otherwise")).to_have_count(0)
    assert stored(slot) == [(0, -1, {}), (1, 1, {})]
    press(page, "Enter")
    assert submitted(page, slot)


def test_the_page_that_was_loaded_ahead_says_so_too(open_as: OpenAs, console_errors: list[str]) -> None:
    world, slot = claim({}, n_steps=2)
    following = make_trajectory(world.project, n_steps=1)
    page = open_slot(open_as, world, slot)
    with page.expect_response("**/ahead/"):  # once there is one step left
        press(page, "1")
    press(page, "1")
    saved(page)
    set_scheme(world, categories="required_on_error")
    press(page, "Enter")
    expect(page.locator("h1")).to_contain_text(following.instruction)
    press(page, "-")
    saved(page)
    press(page, "Enter")
    expect(page.locator("#refusal")).to_have_text("Step 1 needs a kind of error.")
    assert "422" in console_errors.pop()
    reload_by_notice(page)
    expect(page.locator("#step-0").get_by_label("Kind of error (needed)")).to_be_visible()
