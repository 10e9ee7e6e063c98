"""The labelling page where projects ask for more: errors that carry on, extras, the reference; long trajectories."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotator.models import Assignment, Label, User
from annotator.projects import actions as projects
from annotator.queue import actions as queue
from tests.browser.conftest import axe_violations
from tests.factories import World, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


def claim(scheme: dict[str, Any], **fields: Any) -> tuple[World, Assignment]:
    world = make_world(overlap=1, label_scheme=scheme)
    make_trajectory(world.project, **{"n_steps": 4, **fields})
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return world, slot


def open_slot(open_as: OpenAs, world: World, slot: Assignment) -> Page:
    return open_as(world.annotator, f"/assignments/{slot.pk}/")


def stored(slot: Assignment) -> list[tuple[Any, ...]]:
    labels = Label.objects.filter(annotation__assignment=slot, step__isnull=False).order_by("step__index")
    return list(labels.values_list("step__index", "value", "root__index", "exit_reason"))


def saved(page: Page) -> None:
    expect(page.locator("#save-status")).to_have_text("All saved")


def test_five_steps_are_labelled_and_submitted_with_six_keys(open_as: OpenAs) -> None:
    world = make_world(overlap=1, asks_outcome=False)
    make_trajectory(world.project, n_steps=5)
    following = make_trajectory(world.project, n_steps=2)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    page = open_slot(open_as, world, slot)
    for key in ["1", "1", "0", "-", "-", "Enter"]:
        page.keyboard.press(key)
    expect(page.locator("h1")).to_contain_text(following.instruction)
    assert [value for _, value, _, _ in stored(slot)] == [1, 1, 0, -1, -1]


def test_an_error_carries_on_until_it_is_fixed(open_as: OpenAs) -> None:
    world, slot = claim({"mode": "carry_errors"}, n_steps=6)
    page = open_slot(open_as, world, slot)
    page.keyboard.press("-")
    expect(page.locator("#step-1 .chain")).to_contain_text("−1, follows from step 1?")
    page.keyboard.press("-")
    expect(page.locator("#step-1 .chain")).to_have_text("follows from step 1")
    page.locator("#step-1 [data-name=local_value]").select_option("1")
    page.locator("#step-2").focus()
    page.keyboard.press("f")
    expect(page.locator("#step-2 .chain")).to_have_text("fixed here")
    expect(page.locator("#step-3 .chain")).to_be_hidden()
    page.keyboard.press("-")
    page.keyboard.press("i")
    expect(page.locator("#step-4 .chain")).to_have_text("independent: judge it by itself")
    page.keyboard.press("0")
    page.keyboard.press("1")
    saved(page)
    assert stored(slot) == [
        (0, -1, None, ""),
        (1, -1, 0, ""),
        (2, 1, None, "corrected"),
        (3, -1, None, ""),
        (4, 0, None, "independent"),
        (5, 1, None, ""),
    ]
    assert Label.objects.get(step__index=1).local_value == 1
    page.reload()
    expect(page.locator("#step-1 .chain")).to_have_text("follows from step 1")
    expect(page.locator("#step-1 [data-name=local_value]")).to_have_value("1")
    assert axe_violations(page) == []


def test_a_new_error_beside_the_old_one(open_as: OpenAs) -> None:
    world, slot = claim({"mode": "carry_errors"}, n_steps=2)
    page = open_slot(open_as, world, slot)
    page.keyboard.press("-")
    page.keyboard.press("_")
    saved(page)
    assert stored(slot) == [(0, -1, None, ""), (1, -1, None, "")]


def test_what_looks_odd_is_asked_once(open_as: OpenAs, console_errors: list[str]) -> None:
    world, slot = claim({}, n_steps=2)
    page = open_slot(open_as, world, slot)
    for key in ["1", "-", "1", "Enter"]:
        page.keyboard.press(key)
    expect(page.locator("#refusal")).to_have_text(
        "The outcome is +1, but the last step is −1. Press Enter again if you mean it."
    )
    expect(page.locator(".step.current h2")).to_have_text("Outcome")
    slot.refresh_from_db()
    assert slot.status == "claimed"
    assert "422" in console_errors.pop()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    slot.refresh_from_db()
    assert slot.status == "submitted"


def test_extras_are_given_and_come_back(open_as: OpenAs, console_errors: list[str]) -> None:
    scheme = {
        "categories": "required_on_error",
        "severity": True,
        "recoverable": True,
        "rationale": "required_on_error",
        "correction": True,
        "unsure": True,
        "dimensions": [{"key": "helpfulness", "name": "Helpfulness"}],
    }
    world, slot = claim(scheme, n_steps=2)
    page = open_slot(open_as, world, slot)
    page.keyboard.press("-")
    for key in ["1", "-", "Enter"]:
        page.keyboard.press(key)
    expect(page.locator("#refusal")).to_have_text("Step 1 needs a kind of error. Step 1 needs a note.")
    expect(page.locator(".step.current h2")).to_have_text("Step 1")
    assert "422" in console_errors.pop()
    step = page.locator("#step-0")
    step.get_by_label("Kind of error (needed)").select_option(index=1)
    step.get_by_label("Severity").select_option("major")
    step.get_by_label("Can the agent still recover?").select_option("true")
    step.get_by_label("Helpfulness (1 to 5)").fill("2")
    step.get_by_label("I am not sure").check()
    step.get_by_label("What the agent should have done").fill("Ask first.")
    step.locator("header").click()
    page.keyboard.press("c")
    page.keyboard.type("10 things - and more")
    page.keyboard.press("Escape")
    saved(page)
    extras = Label.objects.get(step__index=0).extras
    assert extras.pop("category") in world.project.scheme.category_names
    assert extras == {
        "severity": "major",
        "recoverable": True,
        "helpfulness": 2,
        "unsure": True,
        "correction": "Ask first.",
        "rationale": "10 things - and more",
    }
    assert axe_violations(page) == []
    page.reload()
    expect(step.get_by_label("What the agent should have done")).to_have_value("Ask first.")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()


def test_a_note_that_is_written_before_the_label_is_stored_with_it(open_as: OpenAs) -> None:
    world, slot = claim({}, n_steps=2)
    page = open_slot(open_as, world, slot)
    page.keyboard.press("c")
    page.keyboard.type("Wrong tower - see line 3.")
    page.keyboard.press("Escape")
    expect(page.locator("#refusal")).to_have_text("The note is stored with the step's label: label the step as well.")
    page.keyboard.press("-")
    expect(page.locator("#step-0 [data-extra=rationale]")).to_have_value("Wrong tower - see line 3.")
    expect(page.locator("#refusal")).to_be_hidden()
    saved(page)
    assert Label.objects.get().extras == {"rationale": "Wrong tower - see line 3."}
    # Taken back and labelled once more, it keeps what the card shows.
    page.keyboard.press("u")
    page.keyboard.press("0")
    page.keyboard.press("1")  # of the next step nothing was noted
    saved(page)
    notes = Label.objects.order_by("step__index").values_list("value", "extras")
    assert list(notes) == [(0, {"rationale": "Wrong tower - see line 3."}), (1, {})]


def test_after_the_first_error_nothing_is_asked_in_that_mode(open_as: OpenAs) -> None:
    world, slot = claim({"mode": "stop_at_first_error", "rationale": "off"})
    page = open_slot(open_as, world, slot)
    page.keyboard.press("c")  # nor a note, where there is none to write
    assert page.locator(".step .about, button[data-key=c]").count() == 0
    page.keyboard.press("1")
    page.keyboard.press("-")
    expect(page.locator(".step.current h2")).to_have_text("Outcome")
    expect(page.locator("#n-wanted")).to_have_text("3")
    page.locator("#step-2").get_by_text("+1 correct").click()
    expect(page.locator("#refusal")).to_have_text(
        "This project stops at the first error: what comes after it is not judged."
    )
    expect(page.locator("#step-2 input:checked")).to_have_count(0)
    expect(page.locator("#n-labelled")).to_have_text("2")
    page.locator("#step-outcome").focus()
    page.keyboard.press("-")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    assert [(index, value) for index, value, _, _ in stored(slot)] == [(0, 1), (1, -1)]


def test_the_reference_appears_after_labelling(open_as: OpenAs) -> None:
    world, slot = claim({"reveal": "after_labels"}, n_steps=1, reference="42 metres", outcome=1.0)
    page = open_slot(open_as, world, slot)
    expect(page.get_by_text("42 metres")).to_have_count(0)
    page.keyboard.press("1")
    page.keyboard.press("1")
    page.get_by_role("button", name="Show the reference answer").click()
    expect(page.locator("#reference pre")).to_have_text('"42 metres"')
    page.locator("#step-0").get_by_text("0 neutral").click()
    saved(page)
    assert Label.objects.get(step__index=0).is_after_reveal


def test_a_very_long_result_is_fetched_when_it_is_unfolded(open_as: OpenAs) -> None:
    long = "needle " + "x" * 5_000_000
    messages = [
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": "Reading.", "tool_calls": [_call("read")]},
        {"role": "tool", "tool_call_id": "c", "content": long},
        {"role": "assistant", "content": "Done."},
    ]
    world, slot = claim({}, messages=messages)
    page = open_slot(open_as, world, slot)
    assert len(page.content()) < 60_000
    page.locator(".message.tool summary").click()
    expect(page.locator(".message.tool details > .text")).to_contain_text("needle xxx", timeout=20_000)
    assert page.locator(".message.tool details > .text").evaluate("element => element.textContent.length") == len(long)
    for key in "111":
        page.keyboard.press(key)
    saved(page)
    opened = Label.objects.filter(step__isnull=False).order_by("step__index").values_list("has_opened", flat=True)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    assert list(opened.all()) == [False, True]


def test_search_finds_what_is_not_in_the_page(open_as: OpenAs, console_errors: list[str]) -> None:
    messages = [
        {"role": "user", "content": "Find the needle."},
        {"role": "assistant", "content": "I look.", "tool_calls": [_call("read")]},
        {"role": "tool", "tool_call_id": "c", "content": "x " * 20_000 + "a Needle here\nand a needle there"},
        {"role": "assistant", "content": "The needle is at the end."},
    ]
    world, slot = claim({}, messages=messages)
    page = open_slot(open_as, world, slot)
    page.context.set_offline(True)
    page.keyboard.press("/")
    page.keyboard.type("needle")
    unsearched = (
        "The texts that are too long for the page could not be searched: there is no connection, or you are signed "
        "out. Search again when that is mended."
    )
    expect(page.locator("#search-status")).to_have_text(f"2 places. {unsearched}")
    page.keyboard.press("Enter")
    expect(page.locator("#search-status")).to_have_text(f"place 1 of 2. {unsearched}")
    page.context.set_offline(False)
    assert all("ERR_INTERNET_DISCONNECTED" in error for error in console_errors)
    console_errors.clear()
    page.locator("#search").fill("needl")
    page.keyboard.type("e")
    # One in the instruction, a text that is not in the page, one in the last step.
    expect(page.locator("#search-status")).to_have_text("3 places")
    for n, total in ((1, 3), (2, 4), (3, 4), (4, 4), (1, 4)):
        page.keyboard.press("Enter")
        expect(page.locator("#search-status")).to_have_text(f"place {n} of {total}")
    found = page.evaluate("[...CSS.highlights.get('found')].map((range) => range.toString())")
    assert found == ["needle", "Needle", "needle", "needle"]
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#search-status")).to_have_text("place 4 of 4")
    expect(page.locator("#step-1")).to_be_in_viewport()
    page.keyboard.press("Escape")
    # Whoever leaves the search stands at the step of the place.
    expect(page.locator(".step.current h2")).to_have_text("Step 2")
    page.keyboard.press("1")
    saved(page)
    assert stored(slot) == [(1, 1, None, "")]


def _call(name: str) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}


def test_a_thousand_steps_open_and_jump(open_as: OpenAs) -> None:
    world, slot = claim({}, n_steps=1000)
    page = open_slot(open_as, world, slot)
    expect(page.locator(".step.current h2")).to_have_text("Step 1")
    for key in "g742":
        page.keyboard.press(key)
    expect(page.locator(".step.current h2")).to_have_text("Step 742")
    page.keyboard.press("-")
    expect(page.locator(".step.current h2")).to_have_text("Step 743")
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("e")
    expect(page.locator(".step.current h2")).to_have_text("Step 742")
    page.keyboard.press("/")
    page.keyboard.type("look it up (500)")
    expect(page.locator("#search-status")).to_contain_text("1 place")
    page.keyboard.press("Enter")
    expect(page.locator("#step-500")).to_be_in_viewport()
    page.keyboard.press("Escape")
    saved(page)
    assert stored(slot) == [(741, -1, None, "")]


def test_time_and_sight_are_noticed(open_as: OpenAs) -> None:
    world, slot = claim({}, n_steps=2)
    page = open_slot(open_as, world, slot)
    page.wait_for_timeout(1300)
    page.keyboard.press("1")
    saved(page)
    label = Label.objects.get(step__index=0)
    assert 900 <= label.active_ms <= 3000
    assert label.is_seen
    assert not label.has_opened


def test_a_page_that_is_older_than_the_guideline_says_so(open_as: OpenAs) -> None:
    world, slot = claim({}, n_steps=2)
    page = open_slot(open_as, world, slot)
    page.keyboard.press("1")
    saved(page)
    projects.add_guideline(world.project, "# Another one", user=world.admin)
    page.keyboard.press("1")
    notice = page.locator(".dock .notice.warn")
    expect(notice).to_have_text(
        "The guideline has changed: there is a version 2. Your labels are stored as given under version 1, which this "
        "page shows. Reload the page to read the new one; your labels stay."
    )
    page.keyboard.press("1")
    saved(page)
    expect(notice).to_have_count(1)
    notice.get_by_role("link", name="Reload the page").click()
    expect(page.locator(".guideline")).to_contain_text("Guideline, version 2")
    page.keyboard.press("j")
    page.keyboard.press("-")
    saved(page)
    expect(notice).to_have_count(0)
    seen = Label.objects.order_by("step__index").values_list("step__index", "value", "guideline__version")
    assert list(seen) == [(0, 1, 1), (1, -1, 2), (None, 1, 1)]


def test_a_label_that_waits_keeps_the_guideline_under_which_it_was_given(
    open_as: OpenAs, console_errors: list[str]
) -> None:
    world, slot = claim({}, n_steps=3)
    page = open_slot(open_as, world, slot)
    page.route("**/labels/", lambda route: route.fulfill(status=503))
    for key in "10":
        page.keyboard.press(key)
    expect(page.locator("#save-status")).to_have_text("2 unsaved (the server does not answer)")
    projects.add_guideline(world.project, "# Another one", user=world.admin)
    page.reload()
    expect(page.locator(".guideline")).to_contain_text("Guideline, version 2")
    page.keyboard.press("-")
    # What is said anew is said under what the page shows now.
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("1")
    expect(page.locator("#save-status")).to_have_text("3 unsaved (the server does not answer)")
    page.unroute("**/labels/")
    expect(page.locator("#save-status")).to_have_text("All saved", timeout=15_000)
    seen = Label.objects.order_by("step__index").values_list("step__index", "value", "guideline__version")
    assert list(seen) == [(0, 1, 1), (1, 1, 2), (2, -1, 2)]
    assert all("503" in error for error in console_errors)
    console_errors.clear()


def test_undoing_a_label_keeps_the_note_written_since(open_as: OpenAs) -> None:
    world, slot = claim({}, n_steps=2)
    page = open_slot(open_as, world, slot)
    for key in "-k0kc":
        page.keyboard.press(key)
    page.keyboard.type("long careful note")
    page.keyboard.press("Escape")
    saved(page)
    page.keyboard.press("u")
    saved(page)
    assert list(Label.objects.values_list("value", "extras")) == [(-1, {"rationale": "long careful note"})]
    expect(page.locator("#step-0 [data-extra=rationale]")).to_have_value("long careful note")
    page.keyboard.press("u")
    saved(page)
    assert stored(slot) == []
    page.keyboard.press("1")
    saved(page)
    assert list(Label.objects.values_list("value", "extras")) == [(1, {"rationale": "long careful note"})]


def test_independent_is_taken_back_by_the_same_key_and_by_every_other_word(open_as: OpenAs) -> None:
    world, slot = claim({"mode": "carry_errors"}, n_steps=3)
    page = open_slot(open_as, world, slot)
    chain = page.locator("#step-1 .chain")
    for key in "-ii":
        page.keyboard.press(key)
    expect(chain).to_contain_text("−1, follows from step 1?")
    page.keyboard.press("i")
    expect(chain).to_have_text("independent: judge it by itself")
    page.keyboard.press("_")
    saved(page)
    assert stored(slot) == [(0, -1, None, ""), (1, -1, None, "")]
    for key in "u0":
        page.keyboard.press(key)
    saved(page)
    assert stored(slot) == [(0, -1, None, ""), (1, 0, None, "independent")]
    for key in "ki":
        page.keyboard.press(key)
    saved(page)
    assert stored(slot) == [(0, -1, None, ""), (1, 0, None, "")]
    page.keyboard.press("-")
    saved(page)
    assert stored(slot) == [(0, -1, None, ""), (1, -1, 0, "")]
    for key in "ki":
        page.keyboard.press(key)
    saved(page)
    assert stored(slot) == [(0, -1, None, ""), (1, -1, None, "independent")]
    page.keyboard.press("u")
    page.keyboard.press("1")
    saved(page)
    assert stored(slot) == [(0, -1, None, ""), (1, 1, None, "")]


def test_a_note_that_is_being_typed_survives_a_reload(open_as: OpenAs) -> None:
    world, slot = claim({}, n_steps=2)
    page = open_slot(open_as, world, slot)
    for key in "-kc":
        page.keyboard.press(key)
    saved(page)
    page.keyboard.type("half a sentence")
    expect(page.locator("#save-status")).to_have_text("1 unsaved")
    assert Label.objects.get().extras == {}  # one statement, not one per word
    page.reload()
    expect(page.locator("#step-0 [data-extra=rationale]")).to_have_value("half a sentence")
    saved(page)
    assert Label.objects.get().extras == {"rationale": "half a sentence"}
