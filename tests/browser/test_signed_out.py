"""Open pages whose reader is signed out, and signs in again in another tab: nothing that was entered is lost.

Of the labelling page see test_signed_in_again.py.
"""

from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from annotator.models import Adjudication, GoldLabel, Job, Review, User
from tests.browser.conftest import axe_violations
from tests.factories import PASSWORD, World, judge, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

Open = Callable[[User, str], Page]


@pytest.fixture(autouse=True)
def _refusals_are_in_the_console(console_errors: list[str]) -> Iterator[None]:
    """Chromium and htmx write every refusal there; whatever else is there fails the test."""
    yield
    refusals = ("the server responded with a status of 40", "Response Status Error Code 401")
    console_errors[:] = [said for said in console_errors if not any(refusal in said for refusal in refusals)]


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world(overlap=2)


@pytest.fixture
def review(world: World, open_as: Open) -> Page:
    """A review page with a decision that is not sent yet."""
    trajectory = make_trajectory(world.project, n_steps=3)
    judge(trajectory, world.annotator, [1, 1, -1])
    judge(trajectory, world.second, [1, 1, 1])
    page = open_as(world.reviewer, f"/reviews/{Review.objects.get().pk}/")
    expect(page.locator(".dispute.current")).to_be_visible()  # the script listens
    form = page.locator("form[data-decision]")
    form.get_by_text("0 neutral").click()
    form.get_by_label("Why do the raters differ?").select_option("slip")
    form.get_by_label("Note").fill("It only repeats what is known.")
    return page


def sign_in_again(page: Page, user: User, live_server: LiveServer) -> None:
    tab = page.context.new_page()
    tab.goto(f"{live_server.url}/accounts/login/")
    fill_in(tab, user)
    expect(tab.get_by_role("button", name="Sign out")).to_be_visible()
    tab.close()


def fill_in(tab: Page, user: User) -> None:
    tab.get_by_label("Username").fill(user.username)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Sign in").click()


def sign_out_elsewhere(page: Page, live_server: LiveServer) -> None:
    tab = page.context.new_page()
    tab.goto(live_server.url)
    tab.get_by_role("button", name="Sign out").click()
    expect(tab.get_by_label("Username")).to_be_visible()
    tab.close()


def test_a_decision_of_somebody_signed_out_stays_in_its_form_until_they_have_signed_in_again(
    review: Page, world: World, live_server: LiveServer
) -> None:
    address = review.url
    review.context.clear_cookies()
    form = review.locator("form[data-decision]")
    form.get_by_role("button", name="Decide").click()
    said = review.get_by_role("alert").filter(visible=True)
    expect(said).to_have_text(
        "You are signed out. Nothing was stored. What you entered is still here: sign in again in another tab, then "
        "try again here."
    )
    expect(said).to_be_in_viewport()
    link = said.get_by_role("link", name="sign in again in another tab")
    assert (link.get_attribute("href"), link.get_attribute("target")) == ("/accounts/login/?again=1", "_blank")
    assert axe_violations(review) == []
    assert review.url == address
    expect(review.get_by_label("Username")).to_have_count(0)
    expect(form.locator("input[value='0']")).to_be_checked()
    expect(form.get_by_label("Note")).to_have_value("It only repeats what is known.")
    assert not Adjudication.objects.exists()
    sign_in_again(review, world.reviewer, live_server)
    form.get_by_role("button", name="Decide").click()
    expect(review.locator("#review-done")).to_be_focused()
    expect(said).to_have_count(0)
    assert list(Adjudication.objects.values_list("value", "reason_code", "note")) == [
        (0, "slip", "It only repeats what is known.")
    ]


def test_after_signing_out_and_in_elsewhere_an_open_page_sends_its_decision(
    review: Page, world: World, live_server: LiveServer
) -> None:
    sign_out_elsewhere(review, live_server)
    sign_in_again(review, world.reviewer, live_server)
    review.locator("form[data-decision]").get_by_role("button", name="Decide").click()
    expect(review.locator("#review-done")).to_be_focused()
    assert list(GoldLabel.objects.filter(provenance="adjudicated").values_list("value", flat=True)) == [0]


def test_nothing_of_an_open_page_is_stored_for_another_account(
    review: Page, world: World, live_server: LiveServer
) -> None:
    listing = review.context.new_page()
    listing.goto(f"{live_server.url}/projects/demo/reviews/")
    sign_out_elsewhere(review, live_server)
    sign_in_again(review, world.admin, live_server)
    review.bring_to_front()
    form = review.locator("form[data-decision]")
    form.get_by_role("button", name="Decide").click()
    expect(review.get_by_role("alert").filter(visible=True)).to_have_text(
        "This page belongs to another account, and demo-ada is signed in in this browser now. Nothing was stored. What "
        "you entered is still here: sign in again in another tab, then try again here."
    )
    expect(form.get_by_label("Note")).to_have_value("It only repeats what is known.")
    listing.bring_to_front()
    listing.get_by_role("button", name="Review the first one").click()
    expect(listing.get_by_role("alert").filter(visible=True)).to_have_text(
        "Nothing was stored: this page belongs to another account, and demo-ada is signed in in this browser now. Sign "
        "in again with the account of the page."
    )
    assert not Adjudication.objects.exists()
    assert Review.objects.get().reviewer is None
    review.bring_to_front()
    with review.context.expect_page() as opened:
        review.get_by_role("link", name="sign in again in another tab").click()
    fill_in(opened.value, world.reviewer)
    expect(opened.value).to_have_url(f"{live_server.url}/")
    review.bring_to_front()
    form.get_by_role("button", name="Decide").click()
    expect(review.locator("#review-done")).to_be_focused()
    assert Adjudication.objects.get().reviewer == world.reviewer


def test_after_signing_out_and_in_elsewhere_an_open_page_sends_its_other_forms(
    review: Page, world: World, live_server: LiveServer
) -> None:
    sign_out_elsewhere(review, live_server)
    sign_in_again(review, world.reviewer, live_server)
    review.get_by_role("button", name="Hold it now").click()
    expect(review.get_by_role("button", name="Give it back")).to_be_visible()
    assert Review.objects.get().reviewer == world.reviewer


def test_a_page_that_follows_a_job_shows_no_sign_in_form_in_its_place(world: World, open_as: Open) -> None:
    job = Job.objects.create(project=world.project, kind="publish", status="running")
    page = open_as(world.admin, f"/jobs/{job.pk}/")
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("You are signed out")
    expect(page.locator("#job")).to_be_visible()
    expect(page.get_by_label("Username")).to_have_count(0)
