"""What is written about a step before its label survives a reload, is stored with the label, and is gone then."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from annotator.models import Assignment, Label, User
from annotator.queue import actions as queue
from tests.factories import World, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]

NOTE = "#step-0 [data-extra=rationale]"


@pytest.fixture
def world() -> World:
    return make_world(overlap=1, asks_outcome=False, label_scheme={"severity": True, "unsure": True})


@pytest.fixture
def slot(world: World) -> Assignment:
    make_trajectory(world.project, n_steps=2)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    return claimed


@pytest.fixture
def page_with_note(open_as: OpenAs, world: World, slot: Assignment) -> Page:
    page = open_as(world.annotator, f"/assignments/{slot.pk}/")
    page.keyboard.press("c")
    page.keyboard.type("Wrong tower.")
    page.locator("#step-0").get_by_label("I am not sure").check()
    page.keyboard.press("Escape")
    return page


def saved(page: Page) -> None:
    expect(page.locator("#save-status")).to_have_text("All saved")


def kept(page: Page) -> list[str]:
    return list(page.evaluate("Object.keys(localStorage)"))


def test_a_note_before_its_label_survives_a_reload_and_is_stored_with_the_label(page_with_note: Page) -> None:
    page = page_with_note
    page.reload()
    expect(page.locator(NOTE)).to_have_value("Wrong tower.")
    expect(page.locator("#step-0").get_by_label("I am not sure")).to_be_checked()
    expect(page.locator("#n-labelled")).to_have_text("0")
    saved(page)
    assert Label.objects.count() == 0
    page.keyboard.press("1")
    page.keyboard.press("1")  # of the next step nothing was noted
    saved(page)
    whole = {"rationale": "Wrong tower.", "unsure": True}
    assert list(Label.objects.order_by("step__index").values_list("extras", flat=True)) == [whole, {}]
    assert kept(page) == []


def test_half_a_note_survives_a_reload_too(page_with_note: Page) -> None:
    page = page_with_note
    page.locator(NOTE).fill("")
    page.keyboard.type("half a sent")
    page.wait_for_timeout(500)
    page.reload()
    expect(page.locator(NOTE)).to_have_value("half a sent")


def test_the_note_of_a_label_that_was_taken_back_survives_a_reload(page_with_note: Page) -> None:
    page = page_with_note
    page.keyboard.press("-")
    page.keyboard.press("u")
    saved(page)
    assert Label.objects.count() == 0
    page.reload()
    expect(page.locator(NOTE)).to_have_value("Wrong tower.")


def test_a_note_that_was_deleted_leaves_nothing(page_with_note: Page) -> None:
    page = page_with_note
    page.locator("#step-0").get_by_label("I am not sure").uncheck()
    page.locator(NOTE).fill("")
    page.keyboard.press("Escape")
    assert kept(page) == []


@pytest.fixture
def labelled_in_another_tab(page_with_note: Page, context: BrowserContext, watch: Callable[[Page], Page]) -> Page:
    """A tab that was opened before the note was written, and labels its step."""
    page = page_with_note
    page.locator("#step-0").get_by_label("I am not sure").uncheck()
    page.locator(NOTE).fill("")
    page.keyboard.press("Escape")
    other = watch(context.new_page())
    other.goto(page.url)
    page.bring_to_front()
    page.locator(NOTE).fill("Wrong tower.")
    page.keyboard.press("Escape")
    other.bring_to_front()
    other.keyboard.press("-")
    return other


def test_a_note_in_one_tab_is_stored_with_the_label_of_another(
    page_with_note: Page, labelled_in_another_tab: Page
) -> None:
    page, other = page_with_note, labelled_in_another_tab
    other.locator("#step-0").get_by_label("Severity").select_option("major")
    other.keyboard.press("Escape")
    saved(other)
    assert list(Label.objects.values_list("value", "extras")) == [(-1, {"severity": "major"})]
    page.bring_to_front()
    page.reload()
    expect(page.locator(NOTE)).to_have_value("Wrong tower.")
    expect(page.locator("#refusal")).to_have_text("Notes written before their label are stored with it now: Step 1.")
    saved(page)
    assert list(Label.objects.values_list("value", "extras")) == [
        (-1, {"severity": "major", "rationale": "Wrong tower."})
    ]
    assert kept(page) == []
    page.reload()
    expect(page.locator(NOTE)).to_have_value("Wrong tower.")
    expect(page.locator("#refusal")).to_be_hidden()


def test_a_note_whose_step_has_another_one_by_now_is_said_before_it_goes(
    page_with_note: Page, labelled_in_another_tab: Page
) -> None:
    page, other = page_with_note, labelled_in_another_tab
    other.locator(NOTE).fill("No tower.")
    other.keyboard.press("Escape")
    saved(other)
    page.bring_to_front()
    page.reload()
    expect(page.locator(NOTE)).to_have_value("No tower.")
    expect(page.locator("#refusal")).to_have_text(
        "Another tab stored a note of its own; what you had written here is not stored: Step 1: “Wrong tower.”."
    )
    assert kept(page) == []
    assert list(Label.objects.values_list("value", "extras")) == [(-1, {"rationale": "No tower."})]
