"""Two tabs on one assignment, or labels that somebody took back: "Submitted" is said only of what was submitted."""

from collections.abc import Callable

import pytest
from django.db import transaction
from playwright.sync_api import BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotator import flow
from annotator.labelling import revisions
from annotator.models import Annotation, Assignment, Label, User
from annotator.queue import actions as queue
from tests.factories import World, label, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


@pytest.fixture
def world() -> World:
    return make_world(overlap=1, asks_outcome=False)


@pytest.fixture
def slot(world: World) -> Assignment:
    make_trajectory(world.project, n_steps=3)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    label(claimed, world.annotator, {0: 1, 1: 1, 2: 1})
    return claimed


@pytest.fixture
def open_tab(context: BrowserContext, watch: Callable[[Page], Page], live_server: LiveServer) -> Callable[[str], Page]:
    def open_page(path: str) -> Page:
        page = watch(context.new_page())
        page.goto(live_server.url + path)
        return page

    return open_page


def path(slot: Assignment) -> str:
    return f"/assignments/{slot.pk}/"


def values() -> list[int]:
    return list(Label.objects.order_by("annotation", "step__index").values_list("value", flat=True))


def conflicts(console_errors: list[str]) -> int:
    """How often the browser complained about an answer 409, and about nothing else."""
    n = len(console_errors)
    assert all("409" in error for error in console_errors)
    console_errors.clear()
    return n


def test_the_older_tab_undoes_nothing_when_it_submits(
    world: World, slot: Assignment, open_as: OpenAs, open_tab: Callable[[str], Page], console_errors: list[str]
) -> None:
    older = open_as(world.annotator, path(slot))
    newer = open_tab(path(slot))
    for key in "-j0":
        newer.keyboard.press(key)
    expect(newer.locator("#save-status")).to_have_text("All saved")
    older.bring_to_front()
    older.keyboard.press("Enter")
    expect(older.locator("#refusal")).to_have_text(
        "Not submitted: what you saw is no longer what is stored (step 1, step 3). It was changed elsewhere, "
        "perhaps in another tab. Reload the page to see what is stored."
    )
    assert values() == [-1, 1, 0]
    older.reload()
    older.keyboard.press("Enter")
    expect(older.get_by_text("Nothing is left to label for you")).to_be_visible()
    assert values() == [-1, 1, 0]
    assert conflicts(console_errors) == 1


def test_a_label_after_the_submission_in_another_tab_is_not_called_submitted(
    world: World, slot: Assignment, open_as: OpenAs, open_tab: Callable[[str], Page], console_errors: list[str]
) -> None:
    following = make_trajectory(world.project)
    stale = open_as(world.annotator, path(slot))
    other = open_tab(path(slot))
    other.keyboard.press("Enter")
    expect(other.locator("h1")).to_contain_text(following.instruction)
    stale.bring_to_front()
    stale.keyboard.press("-")
    expect(stale.locator("#save-status")).to_have_text("1 unsaved (not saved)")
    stale.keyboard.press("Enter")
    expect(stale.locator("#refusal")).to_have_text(
        "Not submitted, because 1 label is not stored: "
        "You have already submitted this trajectory; it cannot be changed."
    )
    expect(stale.locator("#save-status")).to_have_text("1 unsaved (not saved)")
    assert values() == [1, 1, 1]
    assert conflicts(console_errors) == 2


TAKEN_BACK = (
    "A reviewer has taken this trajectory back from you: what you had submitted counts again. What you changed until "
    "then is kept as a draft; anything later is not stored. To go on with the draft, reopen the trajectory in Your "
    "work if it can be reopened there, or ask a reviewer to return it again."
)


def test_labels_after_a_return_was_taken_back_are_explained_and_not_stored_later(
    world: World, slot: Assignment, open_as: OpenAs, console_errors: list[str]
) -> None:
    submitted = flow.submit(slot.pk, world.annotator)
    revisions.return_annotation(submitted.pk, world.reviewer, "Look at step 1.")
    page = open_as(world.annotator, path(slot))
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text("All saved")
    flow.take_back(submitted.pk, world.reviewer)
    for key in "00":
        page.keyboard.press(key)
    expect(page.locator("#save-status")).to_have_text("2 unsaved (not saved)")
    expect(page.locator("#refusal")).to_have_text(TAKEN_BACK)
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text(f"Not submitted, because 2 labels are not stored: {TAKEN_BACK}")
    page.reload()
    expect(page.locator("main > .notice:not([hidden])")).to_contain_text(TAKEN_BACK)
    assert values() == [1, 1, 1, -1, 1, 1]
    revisions.return_annotation(submitted.pk, world.reviewer, "Look at step 1 again.")
    page.reload()
    expect(page.locator("#save-status")).to_have_text("All saved")
    shown = [page.locator(f"#step-{index}").get_attribute("data-value") for index in range(3)]
    assert shown == ["-1", "1", "1"]
    assert values() == [1, 1, 1, -1, 1, 1]
    assert conflicts(console_errors) >= 2


def test_a_return_that_was_taken_back_is_not_called_submitted(
    world: World, slot: Assignment, open_as: OpenAs, console_errors: list[str]
) -> None:
    submitted = flow.submit(slot.pk, world.annotator)
    revisions.return_annotation(submitted.pk, world.reviewer, "Look at step 1.")
    page = open_as(world.annotator, path(slot))
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text("All saved")
    flow.take_back(submitted.pk, world.reviewer)
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text(f"{TAKEN_BACK} Reload the page to see what is stored.")
    assert Annotation.objects.submitted().get() == submitted
    page.reload()
    expect(page.locator("#step-0 input[value='1']")).to_be_checked()
    assert conflicts(console_errors) == 1


def test_a_submission_whose_answer_was_lost_is_sent_again(world: World, slot: Assignment, open_as: OpenAs) -> None:
    page = open_as(world.annotator, path(slot))
    flow.submit(slot.pk, world.annotator)  # it reached the server; the page does not know
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    assert values() == [1, 1, 1]


def offline_label(page: Page, key: str) -> None:
    """Labels the current step without a connection and closes the tab."""
    page.context.set_offline(True)
    page.keyboard.press(key)
    expect(page.locator("#save-status")).to_have_text("1 unsaved (no connection)")
    page.close()


def test_labels_sent_from_another_page_keep_the_reading_of_their_own(
    world: World, slot: Assignment, open_as: OpenAs, open_tab: Callable[[str], Page], console_errors: list[str]
) -> None:
    Label.objects.all().delete()
    make_trajectory(world.project, n_steps=3)
    other = queue.claim_next(world.project, world.annotator)
    assert other is not None
    label(other, world.annotator, {1: 0})
    Label.objects.update(active_ms=77_000, has_opened=True)
    page = open_as(world.annotator, path(slot))
    page.keyboard.press("j")
    page.wait_for_timeout(1300)
    offline_label(page, "-")
    page.context.set_offline(False)
    open_tab(path(other)).wait_for_load_state("networkidle")
    sent = Label.objects.get(annotation__assignment=slot)
    assert (sent.value, sent.is_seen, sent.has_opened) == (-1, True, False)
    assert 900 <= sent.active_ms <= 3000
    console_errors.clear()  # of the lost connection


def test_what_can_no_longer_be_stored_is_said_and_not_given_up_in_silence(
    world: World, slot: Assignment, open_as: OpenAs, open_tab: Callable[[str], Page], console_errors: list[str]
) -> None:
    make_trajectory(world.project, n_steps=3)
    other = queue.claim_next(world.project, world.annotator)
    assert other is not None
    page = open_as(world.annotator, path(slot))
    offline_label(page, "-")
    with transaction.atomic():  # the page, which looks ahead for its next trajectory, must not take it between the two
        queue.release_claim(slot.pk, world.annotator)
        assert queue.claim_next(world.project, world.second) == slot
    console_errors.clear()
    page.context.set_offline(False)
    page = open_tab(path(other))
    expect(page.locator(".dock .notice.bad")).to_have_text(
        "Labels of another trajectory were not stored (step 1): "
        "Your claim ended because nothing was saved for a while, and somebody else has taken this trajectory. "
        "What was saved before is kept as a draft; anything later is not stored. Go on with the next trajectory."
    )
    assert page.get_by_role("link", name="another trajectory").get_attribute("href") == path(slot)
    assert values() == [1, 1, 1]
    assert conflicts(console_errors) == 1
    page.reload()
    expect(page.locator("#save-status")).to_have_text("All saved")
    expect(page.locator(".dock .notice.bad")).to_have_count(0)
