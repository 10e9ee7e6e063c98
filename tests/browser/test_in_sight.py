"""The current step is on the screen: when the page opens, after each label, on a desk and on a phone."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotator.models import Assignment, Label, User
from annotator.queue import actions as queue
from tests.browser.conftest import axe_violations
from tests.factories import make_messages, make_trajectory, make_world, predict

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 800}


def open_slot(open_as: OpenAs, page: Page, size: dict[str, int], messages: list[dict[str, Any]], **slot: Any) -> Page:
    page.set_viewport_size(size)  # type: ignore[arg-type]  # width and height
    world = make_world(overlap=1, asks_outcome=False)
    make_trajectory(world.project, messages=messages)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    Assignment.objects.filter(pk=claimed.pk).update(**slot)
    open_as(world.annotator, f"/assignments/{claimed.pk}/")
    expect(page.locator("#save-status")).to_have_text("All saved")
    return page


def hidden_below(page: Page) -> int:
    """How many pixels of the current card lie below the window or under the dock; of a high one, of its first 160."""
    return int(
        page.evaluate(
            """() => {
              const box = document.querySelector(".step.current").getBoundingClientRect();
              const dock = document.querySelector(".dock");
              const covered = getComputedStyle(dock).position === "fixed" ? dock.offsetHeight : 0;
              const top = document.querySelector(".topbar").offsetHeight;
              const bottom = innerHeight - covered;
              const needed = box.height <= bottom - top - 16 ? box.bottom : box.top + 160;
              return Math.round(Math.max(needed - bottom, top - box.top, 0));
            }"""
        )
    )


def long_messages(n_steps: int, *, before: int = 0, each: int = 0) -> list[dict[str, Any]]:
    """A chat whose question and whose answers have so many lines."""
    messages = make_messages(n_steps)
    messages[1]["content"] += "\nand another line" * before
    for message in messages:
        if message["role"] == "assistant":
            message["content"] += "\nwith more to say" * each
    return messages


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_the_first_step_is_in_sight_below_a_long_question(open_as: OpenAs, page: Page, size: dict[str, int]) -> None:
    open_slot(open_as, page, size, long_messages(3, before=40))
    assert hidden_below(page) == 0
    page.reload()
    page.wait_for_load_state("networkidle")
    assert hidden_below(page) == 0


def test_the_instruction_stays_in_sight_where_the_first_step_is_too(open_as: OpenAs, page: Page) -> None:
    open_slot(open_as, page, DESK, long_messages(3))
    assert page.evaluate("scrollY") == 0
    assert hidden_below(page) == 0


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_a_spot_question_opens_at_its_first_step(open_as: OpenAs, page: Page, size: dict[str, int]) -> None:
    open_slot(open_as, page, size, long_messages(30), wanted_steps=[20, 25])
    expect(page.locator(".step.current h2")).to_have_text("Step 21")
    assert hidden_below(page) == 0
    page.keyboard.press("1")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert Label.objects.get().is_seen


def test_the_next_unlabelled_step_is_the_current_one_if_that_is_out_of_sight(open_as: OpenAs, page: Page) -> None:
    open_slot(open_as, page, DESK, long_messages(30))
    page.mouse.move(400, 400)
    page.mouse.wheel(0, 3000)
    page.wait_for_function("scrollY > 2000")
    page.keyboard.press("n")
    expect(page.locator(".step.current h2")).to_have_text("Step 1")
    assert hidden_below(page) == 0
    page.keyboard.press("n")
    expect(page.locator(".step.current h2")).to_have_text("Step 2")


def test_the_step_after_an_unfolded_text_of_megabytes_is_in_sight(open_as: OpenAs, page: Page) -> None:
    messages = make_messages(3)
    messages[3]["content"] = "x" * 5_000_000
    open_slot(open_as, page, DESK, messages)
    page.locator(".message.tool summary").first.click()
    expect(page.locator(".message.tool details > .text").first).to_contain_text("xxx", timeout=20_000)
    page.keyboard.press("1")
    expect(page.locator(".step.current h2")).to_have_text("Step 2")
    page.wait_for_timeout(500)
    assert hidden_below(page) == 0
    expect(page.locator("#save-status")).to_have_text("All saved")


@pytest.mark.parametrize("each", [0, 6, 12, 60])
def test_after_each_label_nothing_of_the_current_step_is_under_the_dock(open_as: OpenAs, page: Page, each: int) -> None:
    open_slot(open_as, page, PHONE, long_messages(8, each=each))
    hidden = []
    for _ in range(7):
        page.keyboard.press("1")
        hidden.append(hidden_below(page))
    assert hidden == [0] * 7
    expect(page.locator("#save-status")).to_have_text("All saved")


@pytest.mark.parametrize(("width", "height", "free", "beside_a_message"), [(640, 400, 280, 210), (320, 256, 130, 60)])
def test_a_zoomed_page_shows_the_step_that_is_judged(
    open_as: OpenAs, page: Page, width: int, height: int, free: int, beside_a_message: int
) -> None:
    """1280 by 800 pixels at 200 % and at 400 %, where the dock has as many buttons as it can have."""
    page.set_viewport_size({"width": width, "height": height})
    hinted = {"hinted": 100, "model": "judge"}
    world = make_world(overlap=1, asks_outcome=False, hint_policy=hinted, label_scheme={"mode": "carry_errors"})
    predict(make_trajectory(world.project, messages=long_messages(4, each=6), enqueue=False), [1, -1, -1, 1])
    queue.enqueue(world.project)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    open_as(world.annotator, f"/assignments/{claimed.pk}/")
    expect(page.locator("#save-status")).to_have_text("All saved")

    def n_free() -> int:
        """How many pixels of the height show the trajectory, with nothing over it."""
        seen = "(y) => document.elementFromPoint(innerWidth / 2, y)?.matches('#main, #main :not(.said)')"
        return int(page.evaluate(f"[...Array(innerHeight).keys()].filter({seen}).length"))

    page.keyboard.press("1")
    expect(page.locator(".step.current h2")).to_be_in_viewport(ratio=1)
    assert n_free() >= free
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text("Not labelled yet: Step 2, Step 3, Step 4.")
    assert n_free() >= beside_a_message
    for key in "-1":
        page.keyboard.press(key)
        expect(page.locator(".step.current h2")).to_be_in_viewport(ratio=1)
    expect(page.locator(".step.current h2")).to_have_text("Step 4")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert axe_violations(page) == []
