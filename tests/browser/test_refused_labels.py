"""What the server or the page refuses holds nothing else back, stays visible and can be put right."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotator.models import Assignment, Label, User
from annotator.queue import actions as queue
from tests.factories import World, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]

HELPFULNESS = {"dimensions": [{"key": "helpful", "name": "Helpfulness"}]}


def claim(world: World, n_steps: int = 3) -> Assignment:
    make_trajectory(world.project, n_steps=n_steps)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return slot


def path(slot: Assignment) -> str:
    return f"/assignments/{slot.pk}/"


def stored(slot: Assignment) -> list[tuple[Any, ...]]:
    labels = Label.objects.filter(annotation__assignment=slot).order_by("step__index")
    return list(labels.values_list("step__index", "value", "extras"))


def set_scheme(world: World, **scheme: Any) -> None:
    """As an admin does it while pages are open."""
    world.project.label_scheme = scheme
    world.project.save(update_fields=["label_scheme"])


def saved(page: Page) -> None:
    expect(page.locator("#save-status")).to_have_text("All saved")


def test_a_refused_label_holds_no_other_back(
    open_as: OpenAs,
    context: BrowserContext,
    watch: Callable[[Page], Page],
    live_server: LiveServer,
    console_errors: list[str],
) -> None:
    world = make_world(overlap=1, label_scheme=HELPFULNESS)
    slot, other = claim(world), claim(world)
    page = open_as(world.annotator, path(slot))
    page.keyboard.press("1")
    saved(page)
    set_scheme(world, dimensions=[{"key": "helpful", "name": "Helpfulness", "high": 3}])
    page.locator("#step-0").get_by_label("Helpfulness").fill("5")
    page.keyboard.press("Escape")
    said = "Step 1 is not stored: helpful: A whole number from 1 to 3 is needed."
    expect(page.locator("#refusal")).to_have_text(said)
    expect(page.locator(".step.current h2")).to_have_text("Step 1")
    for key in "j10-":
        page.keyboard.press(key)
    expect(page.locator("#save-status")).to_have_text("1 unsaved (refused: step 1)")
    assert stored(slot) == [(0, 1, {}), (1, 1, {}), (2, 0, {}), (None, -1, {})]
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text(f"Not submitted, because 1 label is not stored: {said}")
    page.close()
    # Another trajectory's page names it and keeps it; on its own page it can be put right.
    page = watch(context.new_page())
    page.goto(live_server.url + path(other))
    notice = page.locator(".dock .notice.bad")
    expect(notice).to_have_text(f"Another trajectory has labels that are not stored. {said} Open it to put this right.")
    notice.get_by_role("link").click()
    expect(page.locator("#save-status")).to_have_text("1 unsaved (refused: step 1)")
    expect(page.locator("#refusal")).to_have_text(said)
    page.locator("#step-0").get_by_label("Helpfulness").fill("2")
    page.keyboard.press("Escape")
    saved(page)
    assert stored(slot) == [(0, 1, {"helpful": 2}), (1, 1, {}), (2, 0, {}), (None, -1, {})]
    assert all("400" in error for error in console_errors)
    console_errors.clear()


def test_a_number_that_does_not_fit_is_said_at_once_and_not_sent(open_as: OpenAs) -> None:
    world = make_world(overlap=1, label_scheme=HELPFULNESS, asks_outcome=False)
    slot = claim(world, n_steps=2)
    page = open_as(world.annotator, path(slot))
    page.keyboard.press("1")
    field = page.locator("#step-0").get_by_label("Helpfulness")
    field.fill("3")
    page.keyboard.press("Escape")
    field.fill("9")
    page.keyboard.press("Escape")
    said = "Step 1, Helpfulness (1 to 5): a whole number from 1 to 5 is needed. It is not stored."
    expect(page.locator("#refusal")).to_have_text(said)
    expect(field).to_have_value("9")
    expect(page.locator(".step.current h2")).to_have_text("Step 1")
    page.keyboard.press("j")
    page.keyboard.press("1")
    saved(page)
    assert stored(slot) == [(0, 1, {"helpful": 3}), (1, 1, {})]
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text(said)
    expect(page.locator(".step.current h2")).to_have_text("Step 1")
    slot.refresh_from_db()
    assert slot.status == "claimed"
    field.fill("4")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    assert stored(slot) == [(0, 1, {"helpful": 4}), (1, 1, {})]


def test_a_label_whose_extras_are_no_longer_asked_for_can_be_changed(open_as: OpenAs) -> None:
    world = make_world(overlap=1, label_scheme={"severity": True}, asks_outcome=False)
    slot = claim(world, n_steps=2)
    page = open_as(world.annotator, path(slot))
    page.keyboard.press("-")
    page.locator("#step-0").get_by_label("Note").fill("Wrong tower.")
    page.locator("#step-0").get_by_label("Severity").select_option("major")
    page.keyboard.press("Escape")
    saved(page)
    set_scheme(world, severity=True, rationale="off")
    page.reload()
    page.locator("#step-0").get_by_label("Severity").select_option("minor")
    saved(page)
    assert stored(slot) == [(0, -1, {"severity": "minor"})]
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    page.keyboard.press("0")
    page.keyboard.press("1")
    saved(page)
    assert stored(slot) == [(0, 0, {}), (1, 1, {})]


def test_what_belongs_to_an_error_goes_with_it_and_comes_back_with_it(open_as: OpenAs) -> None:
    scheme = {"categories": "optional", "severity": True, "correction": True}
    world = make_world(overlap=1, label_scheme=scheme, asks_outcome=False)
    slot = claim(world, n_steps=2)
    page = open_as(world.annotator, path(slot))
    step = page.locator("#step-0")
    page.keyboard.press("-")
    step.get_by_label("Severity").select_option("critical")
    step.get_by_label("What the agent should have done").fill("Ask first.")
    step.get_by_label("Note").fill("Wrong tower.")
    page.keyboard.press("Escape")
    saved(page)
    whole = {"severity": "critical", "correction": "Ask first.", "rationale": "Wrong tower."}
    assert stored(slot) == [(0, -1, whole)]
    step.get_by_text("+1 correct").click()
    expect(step.get_by_label("Severity")).to_be_hidden()
    saved(page)
    assert stored(slot) == [(0, 1, {"rationale": "Wrong tower."})]
    step.get_by_text("−1 incorrect").click()
    expect(step.get_by_label("Severity")).to_have_value("critical")
    saved(page)
    assert stored(slot) == [(0, -1, whole)]
    step.get_by_text("0 neutral").click()
    saved(page)  # else the page may be rendered before that save, and its next one is refused and sent again
    page.reload()
    page.keyboard.press("Escape")
    step.get_by_text("−1 incorrect").click()
    saved(page)
    assert stored(slot) == [(0, -1, {"rationale": "Wrong tower."})]
