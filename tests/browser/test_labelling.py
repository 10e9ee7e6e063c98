"""The labelling page in a real browser: keys, the outbox, and what happens when things break."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotator.models import Assignment, Label, LabelEvent, Membership, User
from annotator.projects import actions as projects
from annotator.queue import actions as queue
from tests.browser.conftest import axe_violations
from tests.factories import World, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


@pytest.fixture
def world() -> World:
    return make_world(overlap=1)


def claim(world: World, n_steps: int = 3, **fields: Any) -> Assignment:
    make_trajectory(world.project, n_steps=n_steps, **fields)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return slot


def stored(slot: Assignment) -> dict[int | None, int]:
    return dict(Label.objects.filter(annotation__assignment=slot).values_list("step__index", "value"))


def path(slot: Assignment) -> str:
    return f"/assignments/{slot.pk}/"


def test_keys_label_every_step_and_enter_submits_and_brings_the_next(world: World, open_as: OpenAs) -> None:
    slot = claim(world)
    following = make_trajectory(world.project)
    page = open_as(world.annotator, path(slot))
    expect(page.locator(".step.current h2")).to_have_text("Step 1")
    page.keyboard.press("1")
    expect(page.locator(".step.current h2")).to_have_text("Step 2")
    page.keyboard.press("0")
    page.keyboard.press("-")
    expect(page.locator(".step.current h2")).to_have_text("Outcome")
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored(slot) == {0: 1, 1: 0, 2: -1, None: -1}
    page.keyboard.press("Enter")
    expect(page.locator(".notice[role=status]")).to_have_text("Submitted. This is the next trajectory.")
    expect(page.locator("h1")).to_contain_text(following.instruction)
    slot.refresh_from_db()
    assert slot.status == "submitted"
    assert following.assignments.get().annotator == world.annotator


def test_the_next_trajectory_is_there_before_it_is_asked_for(world: World, open_as: OpenAs) -> None:
    slot = claim(world, n_steps=1)
    following = make_trajectory(world.project, n_steps=2)
    last = make_trajectory(world.project, n_steps=1)
    page = open_as(world.annotator, path(slot))
    with page.expect_response("**/ahead/") as loading:
        page.keyboard.press("1")
    assert loading.value.status == 200
    waiting = following.assignments.get(annotator=world.annotator)
    assert waiting.is_ahead
    loads: list[str] = []
    page.on("request", lambda request: loads.append(request.url) if request.resource_type == "document" else None)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(following.instruction)
    expect(page).to_have_url(re.compile(f"/assignments/{waiting.pk}/$"))
    assert loads == []
    # The page that came without a page load is a whole one: its keys, its outbox, its search, the one after it.
    for key in ["/", "t", "o", "w", "e", "r", "Escape"]:
        page.keyboard.press(key)
    for key in ["1", "-", "u", "0", "1"]:
        page.keyboard.press(key)
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored(waiting) == {0: 1, 1: 0, None: 1}
    assert stored(slot) == {0: 1, None: 1}
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(last.instruction)
    assert axe_violations(page) == []
    page.go_back()
    expect(page.get_by_text("You have submitted this trajectory; your labels are final.")).to_be_visible()
    expect(page.locator("h1")).to_contain_text(following.instruction)


def test_a_next_trajectory_that_does_not_arrive_is_loaded_in_the_ordinary_way(world: World, open_as: OpenAs) -> None:
    slot = claim(world, n_steps=2)
    following = make_trajectory(world.project, n_steps=2)
    page = open_as(world.annotator, path(slot))
    page.route("**/ahead/", lambda _: None)
    page.evaluate("Following.LIMIT = 2500")
    for key in ["1", "1", "1", "Enter"]:
        page.keyboard.press(key)
    expect(page.locator("#refusal")).to_have_text("Submitted. The next trajectory is being loaded.")
    expect(page.locator("h1")).to_contain_text(following.instruction)
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored(following.assignments.get()) == {0: -1}
    assert stored(slot) == {0: 1, 1: 1, None: 1}


def test_the_last_label_submits_for_who_wants_it(world: World, open_as: OpenAs) -> None:
    slot = claim(world, n_steps=5)
    following = make_trajectory(world.project, n_steps=1)
    page = open_as(world.annotator, path(slot))
    page.get_by_label("Submit with the last label").check()
    for key in ["1", "1", "0", "-", "-", "-"]:  # five steps and the outcome
        page.keyboard.press(key)
    expect(page.locator("h1")).to_contain_text(following.instruction)
    assert stored(slot) == {0: 1, 1: 1, 2: 0, 3: -1, 4: -1, None: -1}
    slot.refresh_from_db()
    assert slot.status == "submitted"
    # The choice stays; a changed mind about a label submits nothing.
    expect(page.get_by_label("Submit with the last label")).to_be_checked()
    page.keyboard.press("1")
    page.keyboard.press("k")
    page.keyboard.press("0")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert following.assignments.get().status == "claimed"


def test_without_a_connection_the_next_trajectory_waits(
    world: World, open_as: OpenAs, console_errors: list[str]
) -> None:
    slot = claim(world, n_steps=1)
    following = make_trajectory(world.project)
    page = open_as(world.annotator, path(slot))
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text(
        "Not submitted, because 2 labels are not stored: no connection. "
        "They are kept in this browser; submit again when they are stored."
    )
    page.context.set_offline(False)
    expect(page.locator("#save-status")).to_have_text("All saved", timeout=15_000)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(following.instruction)
    assert stored(slot) == {0: 1, None: 1}
    assert {error for error in console_errors if "ERR_INTERNET_DISCONNECTED" not in error} == set()
    console_errors.clear()


def test_a_full_storage_loses_no_label_and_the_page_says_so(
    world: World, open_as: OpenAs, console_errors: list[str]
) -> None:
    slot = claim(world, n_steps=2)
    page = open_as(world.annotator, path(slot))
    page.evaluate(
        """() => {
          let size = 1 << 20;
          for (let n = 0; size > 0; n++)
            try { localStorage.setItem(`filler${n}`, "x".repeat(size)); } catch { size >>= 1; }
        }"""
    )
    page.context.set_offline(True)
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text(
        "1 unsaved (no connection; the browser's storage is full: stay on this page)"
    )
    page.context.set_offline(False)
    expect(page.locator("#save-status")).to_have_text("All saved", timeout=15_000)
    assert stored(slot) == {0: -1}
    console_errors.clear()  # the browser's own words about the lost connection
    # A label that is given while another is under way is sent as well.
    page.evaluate(
        """() => {
          const send = fetch;
          window.fetch = (...all) => new Promise((go) => setTimeout(go, 500)).then(() => send(...all));
        }"""
    )
    page.keyboard.press("0")
    page.keyboard.press("1")
    expect(page.locator("#save-status")).to_have_text("2 unsaved (the browser's storage is full: stay on this page)")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored(slot) == {0: -1, 1: 0, None: 1}


def test_moving_and_undoing(world: World, open_as: OpenAs) -> None:
    slot = claim(world)
    page = open_as(world.annotator, path(slot))
    current = page.locator(".step.current h2")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(current).to_have_text("Step 3")
    page.keyboard.press("k")
    expect(current).to_have_text("Step 2")
    page.keyboard.press("-")
    expect(current).to_have_text("Step 3")
    page.keyboard.press("n")
    expect(current).to_have_text("Outcome")
    page.keyboard.press("n")
    expect(current).to_have_text("Step 1")
    page.keyboard.press("u")
    expect(current).to_have_text("Step 2")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored(slot) == {}
    assert list(LabelEvent.objects.order_by("id").values_list("step__index", "value")) == [(1, -1), (1, None)]


def test_every_key_is_also_a_button(world: World, open_as: OpenAs) -> None:
    slot = claim(world)
    page = open_as(world.annotator, path(slot))
    page.locator("#step-1").get_by_text("−1 incorrect").click()
    page.get_by_role("button", name="Next unlabelled").click()
    expect(page.locator(".step.current h2")).to_have_text("Step 3")
    page.get_by_role("button", name="+1", exact=False).first.click()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Help").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    # A line for each: the keys below each other, and what they do below each other beside them.
    for column in ("#help dt", "#help dd"):
        lefts = page.locator(column).evaluate_all("all => all.map((one) => one.getBoundingClientRect().left)")
        assert len(lefts) > 8 and len(set(lefts)) == 1
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored(slot) == {1: -1}


def test_submit_names_what_is_missing_and_goes_there(world: World, open_as: OpenAs) -> None:
    slot = claim(world)
    page = open_as(world.annotator, path(slot))
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text("Not labelled yet: Step 2, Step 3, Outcome.")
    expect(page.locator(".step.current h2")).to_have_text("Step 2")
    expect(page.locator("#save-status")).to_have_text("All saved")  # no request may outlive the test
    slot.refresh_from_db()
    assert slot.status == "claimed"


def test_labels_given_without_a_connection_are_sent_when_it_is_back(
    world: World, open_as: OpenAs, context: BrowserContext, console_errors: list[str]
) -> None:
    slot = claim(world)
    page = open_as(world.annotator, path(slot))
    expect(page.locator("#save-status")).to_have_text("All saved")
    context.set_offline(True)
    for key in "1-0":
        page.keyboard.press(key)
    expect(page.locator("#save-status")).to_have_text("3 unsaved (no connection)")
    assert stored(slot) == {}
    context.set_offline(False)
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored(slot) == {0: 1, 1: -1, 2: 0}
    assert all("ERR_INTERNET_DISCONNECTED" in error for error in console_errors)
    console_errors.clear()


def test_a_closed_tab_loses_nothing(
    world: World,
    open_as: OpenAs,
    context: BrowserContext,
    watch: Callable[[Page], Page],
    live_server: LiveServer,
    console_errors: list[str],
) -> None:
    slot = claim(world)
    page = open_as(world.annotator, path(slot))
    context.set_offline(True)
    page.keyboard.press("1")
    page.keyboard.press("-")
    expect(page.locator("#save-status")).to_have_text("2 unsaved (no connection)")
    page.close()
    console_errors.clear()
    context.set_offline(False)

    again = watch(context.new_page())
    again.goto(live_server.url + path(slot))
    expect(again.locator("#step-1 input[value='-1']")).to_be_checked()
    expect(again.locator(".step.current h2")).to_have_text("Step 3")
    expect(again.locator("#save-status")).to_have_text("All saved")
    assert stored(slot) == {0: 1, 1: -1}


def test_labels_left_behind_on_another_trajectory_are_sent_from_the_next_one(
    world: World, open_as: OpenAs, context: BrowserContext, live_server: LiveServer, console_errors: list[str]
) -> None:
    slot = claim(world)
    other = claim(world)
    page = open_as(world.annotator, path(slot))
    context.set_offline(True)
    page.keyboard.press("1")
    expect(page.locator("#save-status")).to_have_text("1 unsaved (no connection)")
    page.close()
    console_errors.clear()
    context.set_offline(False)
    page = context.new_page()
    page.goto(live_server.url + path(other))
    page.wait_for_load_state("networkidle")
    assert stored(slot) == {0: 1}


def test_a_claim_that_was_taken_is_explained_and_the_draft_is_kept(
    world: World, open_as: OpenAs, console_errors: list[str]
) -> None:
    slot = claim(world)
    page = open_as(world.annotator, path(slot))
    page.keyboard.press("1")
    expect(page.locator("#save-status")).to_have_text("All saved")
    queue.release_claim(slot.pk, world.annotator)
    assert queue.claim_next(world.project, world.second) == slot
    page.keyboard.press("1")
    expect(page.locator("#refusal")).to_contain_text("somebody else has taken this trajectory")
    assert stored(slot) == {0: 1}
    assert len(console_errors) == 1
    assert "409" in console_errors.pop()
    page.reload()
    expect(page.locator(".notice.warn")).to_contain_text("Somebody else has taken this trajectory.")
    expect(page.locator("#step-0 input[value='1']")).to_be_disabled()


def test_somebody_removed_is_told_so_and_their_labels_wait_for_them(
    world: World, open_as: OpenAs, console_errors: list[str]
) -> None:
    slot = claim(world, n_steps=1)
    page = open_as(world.annotator, path(slot))
    projects.remove_member(Membership.objects.get(user=world.annotator), user=world.admin)
    page.keyboard.press("1")
    why = (
        "you are no member of this project any more, or the trajectory is no longer there: ask an admin of the project"
    )
    expect(page.locator("#save-status")).to_have_text(f"1 unsaved ({why})")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text(
        f"Not submitted, because 2 labels are not stored: {why}. "
        "They are kept in this browser; submit again when they are stored."
    )
    assert stored(slot) == {}
    projects.add_member(world.project, world.annotator, Membership.Role.ANNOTATOR, user=world.admin)
    expect(page.locator("#save-status")).to_have_text("All saved", timeout=15_000)
    assert stored(slot) == {0: 1, None: 1}
    projects.remove_member(Membership.objects.get(user=world.annotator), user=world.admin)
    page.keyboard.press("Enter")
    expect(page.locator("#refusal")).to_have_text(f"Not submitted: {why}. Your labels are kept.")
    assert {error for error in console_errors if "status of 404" not in error} == set()
    console_errors.clear()


def test_skipping_asks_for_a_reason_and_goes_on(world: World, open_as: OpenAs) -> None:
    slot = claim(world)
    make_trajectory(world.project)
    page = open_as(world.annotator, path(slot))
    page.get_by_text("Skip this trajectory").click()
    page.get_by_label("Why?").fill("It is cut off in the middle - 10 lines are missing.")
    page.get_by_role("button", name="Skip and go on").click()
    expect(page.locator(".notice[role=status]")).to_have_text("Skipped. This is the next trajectory.")
    slot.refresh_from_db()
    assert (slot.status, slot.skip_reason) == ("skipped", "It is cut off in the middle - 10 lines are missing.")
    assert stored(slot) == {}


def test_a_spot_question_marks_the_wanted_step_and_needs_only_that(world: World, open_as: OpenAs) -> None:
    slot = claim(world, n_steps=4)
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[2], wants_outcome=False)
    page = open_as(world.annotator, path(slot))
    expect(page.locator(".step.current h2")).to_have_text("Step 3")
    expect(page.locator(".choices")).to_have_count(1)
    page.keyboard.press("-")
    page.keyboard.press("Enter")
    expect(page.locator(".notice[role=status]")).to_contain_text("Nothing is left to label for you")
    assert stored(slot) == {2: -1}


def test_imported_text_is_shown_and_never_executed(world: World, open_as: OpenAs) -> None:
    evil = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    call = {"name": "<b>tool</b>", "arguments": '{"q": "</pre><script>1</script>"}'}
    messages = [
        {"role": "user", "content": evil},
        {"role": "assistant", "content": evil, "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": evil * 30},
        {"role": "assistant", "content": "javascript:alert(1)"},
    ]
    slot = claim(world, messages=messages, instruction=evil)
    page = open_as(world.annotator, path(slot))
    expect(page.locator("#step-0 > .text")).to_have_text(evil)
    expect(page.locator("#step-0 .call .name")).to_have_text("<b>tool</b>")
    page.locator(".message.tool summary").click()
    assert page.locator("main script, main img").count() == 0
    assert "owned" not in page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_accessibility_violations(world: World, open_as: OpenAs, page: Page, scheme: str) -> None:
    slot = claim(world)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two literals
    opened = open_as(world.annotator, path(slot))
    for key in "10-":
        opened.keyboard.press(key)
    assert axe_violations(opened) == []
    opened.keyboard.press("?")
    assert axe_violations(opened) == []


def test_without_javascript_the_form_saves_and_submits(
    world: World,
    browser: object,
    sign_in: Callable[[BrowserContext, User], None],
    live_server: LiveServer,
    new_context: Callable[..., BrowserContext],
) -> None:
    slot = claim(world, n_steps=2)
    context = new_context(java_script_enabled=False)
    sign_in(context, world.annotator)
    page = context.new_page()
    page.goto(live_server.url + path(slot))
    page.locator("#step-0").get_by_text("+1 correct").click()
    page.get_by_role("button", name="Save the draft").click()
    expect(page.locator(".notice.good")).to_have_text("Your labels are saved as a draft.")
    assert stored(slot) == {0: 1}
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#refusal")).to_have_text("Label step 2 and the outcome before submitting.")
    page.locator("#step-1").get_by_text("−1 incorrect").click()
    page.locator("#step-outcome").get_by_text("0 neutral").click()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".notice[role=status]")).to_contain_text("Nothing is left to label for you")
    assert stored(slot) == {0: 1, 1: -1, None: 0}


def test_on_a_phone_the_way_back_to_a_claim_is_in_sight(world: World, open_as: OpenAs) -> None:
    slot = claim(world, instruction="How tall is the tower behind the old harbour of the second largest town? " * 3)
    page = open_as(world.annotator, "/projects/demo/")
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("Continue", "Give back"):
        box = page.get_by_label(f"{name} {slot.trajectory.external_id}").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert axe_violations(page) == []
