"""A labelling page that stays open while somebody signs out and in again in another tab."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotator.models import Annotation, Assignment, Label, User
from annotator.queue import actions as queue
from tests.factories import PASSWORD, World, label, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


@pytest.fixture
def world() -> World:
    return make_world(overlap=1, asks_outcome=False)


@pytest.fixture
def slot(world: World) -> Assignment:
    make_trajectory(world.project, n_steps=2)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    return claimed


@pytest.fixture
def tab(context: BrowserContext, live_server: LiveServer, open_as: OpenAs, world: World, slot: Assignment) -> Page:
    """Another tab of the same browser."""
    open_as(world.annotator, f"/assignments/{slot.pk}/")
    tab = context.new_page()
    tab.goto(f"{live_server.url}/projects/")
    return tab


def sign_out(tab: Page) -> None:
    tab.get_by_role("button", name="Sign out").click()
    expect(tab.get_by_label("Password")).to_be_visible()


def sign_in(tab: Page, user: User) -> None:
    tab.get_by_label("Username").fill(user.username)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("button", name="Sign out")).to_be_visible()


def values() -> list[int]:
    return list(Label.objects.order_by("step__index").values_list("value", flat=True))


def test_the_page_saves_and_submits_after_signing_in_again(page: Page, tab: Page, world: World) -> None:
    page.bring_to_front()
    page.keyboard.press("1")
    expect(page.locator("#save-status")).to_have_text("All saved")
    sign_out(tab)
    page.bring_to_front()
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text("1 unsaved (you are signed out: sign in again in another tab)")
    sign_in(tab, world.annotator)
    page.bring_to_front()
    expect(page.locator("#save-status")).to_have_text("All saved", timeout=15_000)
    assert values() == [1, -1]
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    assert Annotation.objects.submitted().count() == 1


def test_skipping_works_after_signing_in_again(page: Page, tab: Page, world: World, slot: Assignment) -> None:
    sign_out(tab)
    sign_in(tab, world.annotator)
    page.bring_to_front()
    page.get_by_text("Skip this trajectory").click()
    page.get_by_label("Why?").fill("In another language.")
    page.get_by_role("button", name="Skip and go on").click()
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    slot.refresh_from_db()
    assert slot.status == "skipped"


def test_nobody_is_given_the_labels_of_another_account(
    page: Page, tab: Page, world: World, slot: Assignment, console_errors: list[str]
) -> None:
    label(slot, world.annotator, {0: 1, 1: 1})
    # The other one has had the slot, too, and it is free again: it would be theirs for the asking.
    queue.release_claim(slot.pk, world.annotator)
    assert queue.claim_next(world.project, world.second) == slot
    queue.release_claim(slot.pk, world.second)
    sign_out(tab)
    sign_in(tab, world.second)
    page.bring_to_front()
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text(
        "1 unsaved (another account is signed in in this browser: sign in again with yours)"
    )
    slot.refresh_from_db()
    assert (slot.status, slot.annotator, values()) == ("open", None, [1, 1])
    sign_out(tab)
    sign_in(tab, world.annotator)
    page.bring_to_front()
    expect(page.locator("#save-status")).to_have_text("All saved", timeout=15_000)
    assert values() == [-1, 1]
    # 409: the page did not know of the labels above.
    assert all("403" in error or "409" in error for error in console_errors)
    console_errors.clear()
