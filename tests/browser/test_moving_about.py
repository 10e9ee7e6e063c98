"""Moving about in a trajectory: links within the page, and which step a key acts on."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotator.models import Assignment, Label, User
from annotator.queue import actions as queue
from tests.factories import World, make_messages, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


def claim(n_steps: int, **settings: Any) -> tuple[World, Assignment]:
    """A trajectory whose steps have some lines, so that not all of them fit on the screen."""
    world = make_world(overlap=1, asks_outcome=False, **settings)
    messages = make_messages(n_steps)
    for message in messages:
        message["content"] += "\nwith more to say" * 6
    make_trajectory(world.project, messages=messages)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return world, slot


def open_slot(open_as: OpenAs, world: World, slot: Assignment) -> Page:
    page = open_as(world.annotator, f"/assignments/{slot.pk}/")
    expect(page.locator("#save-status")).to_have_text("All saved")
    return page


def stored() -> dict[int, int]:
    return dict(Label.objects.values_list("step__index", "value"))


def test_links_within_the_page_do_not_load_it_anew(open_as: OpenAs) -> None:
    world, slot = claim(12)
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[2, 4])
    page = open_slot(open_as, world, slot)
    loads: list[str] = []
    page.on("request", lambda request: loads.append(request.url) if request.resource_type == "document" else None)
    for key in "1c":
        page.keyboard.press(key)
    page.keyboard.type("half a note")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Step 9", exact=True).click()  # context
    expect(page.locator("#step-8")).to_be_in_viewport(ratio=0.9)
    page.locator(".skip-link").focus()
    page.keyboard.press("Enter")
    page.go_back()
    page.wait_for_timeout(300)
    assert loads == []
    expect(page.locator("#step-4 [data-extra=rationale]")).to_have_value("half a note")
    page.keyboard.press("u")
    expect(page.locator("#n-labelled")).to_have_text("0")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored() == {}


def test_back_and_forward_between_trajectories_show_what_is_true(open_as: OpenAs) -> None:
    world, slot = claim(1)
    following = make_trajectory(world.project, n_steps=2)
    page = open_slot(open_as, world, slot)
    page.locator(".skip-link").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(following.instruction)
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text("All saved")
    page.go_back()
    expect(page.get_by_text("You have submitted this trajectory; your labels are final.")).to_be_visible()
    page.go_forward()
    expect(page.locator("h1")).to_contain_text(following.instruction)
    expect(page.locator("#step-0 input[value='-1']")).to_be_checked()
