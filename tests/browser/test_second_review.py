"""Two reviewers decide one trajectory by keyboard, each without the other, and settle the step on which they differ."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotator.models import Adjudication, GoldLabel, Review, User
from tests.browser.conftest import axe_violations
from tests.factories import judge, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def decide(page: Page, key: str, note: str = "") -> None:
    """A value, the first reason of the list, a note, and Enter: no mouse."""
    page.keyboard.press(key)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type(note)
    page.keyboard.press("Control+Enter")


def test_two_reviewers_decide_blind_by_keyboard_and_settle_what_differs(
    browser: Browser,
    live_server: LiveServer,
    watch: Callable[[Page], Page],
    sign_in: Callable[[BrowserContext, User], None],
) -> None:
    world = make_world(second_review=100)
    trajectory = make_trajectory(world.project, n_steps=4)
    judge(trajectory, world.annotator, [1, 1, 0, 1])
    judge(trajectory, world.second, [-1, 1, 1, 1])
    review = Review.objects.get()

    def page_of(user: User) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        sign_in(context, user)
        page = watch(context.new_page())
        page.goto(f"{live_server.url}/projects/demo/reviews/")
        page.get_by_role("button", name="Review the first one").click()
        expect(page.get_by_text("Two reviewers decide this trajectory")).to_be_visible()
        expect(page.locator(".dispute.current")).to_be_visible()  # the script listens
        return page

    first = page_of(world.reviewer)
    decide(first, "1", "the first one's note")
    expect(first.locator("#review-status")).to_have_text("Step 1 decided as +1. 1 dispute left.")
    expect(first.locator(".dispute.current h2.n")).to_have_text("Step 3")
    decide(first, "0", "the first one's other note")
    expect(
        first.get_by_text("2 disputes wait for an admin, because the project has no other reviewer.")
    ).to_be_visible()
    expect(first.locator("#review-done")).to_be_focused()
    assert axe_violations(first) == []

    second = page_of(world.admin)
    assert "the first one's" not in second.content()
    decide(second, "1", "alike")
    expect(second.locator("#review-status")).to_have_text("Step 1 decided as +1. 1 dispute left.")
    expect(second.locator(".dispute").first).to_contain_text("the first one's note")
    assert "the first one's other note" not in second.content()
    expect(second.locator(".dispute.current h2.n")).to_have_text("Step 3")
    decide(second, "-", "not alike")
    expect(second.locator("#review-status")).to_have_text(
        "Step 3 decided as −1, unlike the other reviewer's decision. 1 dispute left."
    )
    differing = second.locator(".dispute.current")
    expect(differing).to_contain_text("First reviewer: 0")
    expect(differing).to_contain_text("You: −1")
    assert axe_violations(second) == []
    decide(second, "0", "settled after both")
    expect(second.get_by_text("Every dispute of this trajectory is decided.").first).to_be_visible()

    gold = GoldLabel.objects.filter(step__isnull=False, provenance="adjudicated")
    assert dict(gold.values_list("step__index", "value")) == {0: 1, 2: 0}
    made = Adjudication.objects.values_list("dispute__step__index", "turn", "reviewer__username", "value")
    assert list(made) == [
        (0, "first", "demo-rita", 1),
        (2, "first", "demo-rita", 0),
        (0, "second", "demo-ada", 1),
        (2, "second", "demo-ada", -1),
        (2, "open", "demo-ada", 0),
    ]
    review.refresh_from_db()
    assert review.status == "done"
