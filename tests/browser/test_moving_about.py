"""Moving about in a trajectory: links within the page, and which step a key acts on."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotator.models import Assignment, Label, User
from annotator.queue import actions as queue
from tests.browser.conftest import axe_violations
from tests.factories import World, make_messages, make_trajectory, make_world, predict

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


def claim(n_steps: int, **settings: Any) -> tuple[World, Assignment]:
    """A trajectory whose steps have some lines, so that not all of them fit on the screen."""
    world = make_world(overlap=1, asks_outcome=False, **settings)
    messages = make_messages(n_steps)
    for message in messages:
        message["content"] += "\nwith more to say" * 6
    trajectory = make_trajectory(world.project, messages=messages)
    if "hint_policy" in settings:
        predict(trajectory, [1] * n_steps, sure=0.8)
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


def current(page: Page) -> Any:
    return page.locator(".step.current h2")


def is_in_sight(page: Page, selector: str) -> bool:
    """Whether the beginning of an element is neither beside the window nor covered."""
    script = """(element) => {
      const { left, top, width } = element.getBoundingClientRect();
      return element.contains(document.elementFromPoint(left + width / 2, top + 12));
    }"""
    return bool(page.locator(selector).evaluate(script))


def scroll_away(page: Page) -> None:
    page.mouse.move(200, 400)
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 3000)
    for _ in range(50):
        page.wait_for_timeout(100)
        if page.evaluate("scrollY") > before + 2000:
            return
    raise AssertionError("The page did not scroll.")


def test_a_key_acts_on_the_step_that_has_the_focus(open_as: OpenAs) -> None:
    world, slot = claim(12)
    page = open_slot(open_as, world, slot)
    for _ in range(4):  # the choices of the first step and the next ones, each is one stop
        page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.closest('.step').id")
    assert focused == "step-3"
    expect(current(page)).to_have_text("Step 4")
    page.keyboard.press("Space")
    page.keyboard.press("j")
    page.keyboard.press("-")
    expect(current(page)).to_have_text("Step 6")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored() == {3: 1, 4: -1}


SAID = "Step 1 was not on the screen, so nothing is stored. Here it is: press the key again."


def test_a_key_judges_nothing_that_is_not_on_the_screen(open_as: OpenAs) -> None:
    world, slot = claim(12)
    page = open_slot(open_as, world, slot)
    for key in "10-":
        scroll_away(page)
        page.keyboard.press(key)
        expect(page.locator("#refusal")).to_have_text(SAID)
        expect(page.locator("#n-labelled")).to_have_text("0")
        assert is_in_sight(page, "#refusal")
        assert is_in_sight(page, "#step-0")
    page.keyboard.press("-")
    expect(page.locator("#refusal")).to_be_hidden()
    expect(current(page)).to_have_text("Step 2")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored() == {0: -1}


def test_nobody_confirms_a_suggestion_that_is_not_on_the_screen(open_as: OpenAs) -> None:
    world, slot = claim(12, hint_policy={"hinted": 100, "model": "judge"})
    page = open_slot(open_as, world, slot)
    scroll_away(page)
    page.keyboard.press("y")
    expect(page.locator("#refusal")).to_have_text(SAID)
    expect(page.locator("#n-labelled")).to_have_text("0")
    page.keyboard.press("y")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored() == {0: 1}


def test_keys_that_say_how_an_error_carries_on_judge_nothing_out_of_sight_either(open_as: OpenAs) -> None:
    world, slot = claim(12, label_scheme={"mode": "carry_errors"})
    page = open_slot(open_as, world, slot)
    for key in "fi_":
        scroll_away(page)
        page.keyboard.press(key)
        expect(page.locator("#refusal")).to_have_text(SAID)
    expect(page.locator("#n-labelled")).to_have_text("0")


def test_on_a_phone_the_buttons_judge_nothing_out_of_sight(open_as: OpenAs, page: Page) -> None:
    world, slot = claim(12)
    page.set_viewport_size({"width": 390, "height": 800})
    open_slot(open_as, world, slot)
    scroll_away(page)
    page.get_by_role("button", name="−1").click()
    expect(page.locator("#refusal")).to_have_text(SAID)
    assert is_in_sight(page, "#refusal")
    assert is_in_sight(page, "#step-0")
    page.get_by_role("button", name="−1").click()
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored() == {0: -1}


def test_whoever_reads_a_long_step_or_its_result_to_the_end_labels_it_at_once(open_as: OpenAs) -> None:
    world = make_world(overlap=1, asks_outcome=False)
    messages = make_messages(3)
    messages[2]["content"] += "\nwith more to say" * 60
    messages[3]["content"] = "\n".join("a line" for _ in range(170))
    make_trajectory(world.project, messages=messages)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    page = open_slot(open_as, world, slot)
    assert page.evaluate("document.getElementById('step-0').offsetHeight") > 1000
    page.keyboard.press("k")
    page.evaluate("scrollBy({ top: 700, behavior: 'instant' })")  # the end of the step
    page.keyboard.press("1")
    page.keyboard.press("k")
    page.evaluate("scrollBy({ top: 2000, behavior: 'instant' })")  # its result fills the screen
    assert page.evaluate("document.getElementById('step-0').getBoundingClientRect().bottom") < 0
    assert page.evaluate("document.getElementById('step-1').getBoundingClientRect().top") > 800
    page.keyboard.press("-")
    expect(current(page)).to_have_text("Step 2")
    expect(page.locator("#refusal")).to_be_hidden()
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert stored() == {0: -1}


def test_what_the_page_says_is_seen_and_moves_nobody_away(open_as: OpenAs) -> None:
    world, slot = claim(12)
    page = open_slot(open_as, world, slot)
    for key in ["g", "9", "Escape", "1", "0"]:
        page.keyboard.press(key)
    expect(current(page)).to_have_text("Step 11")
    for key in ["k", "k", "k", "Enter"]:
        page.keyboard.press(key)
    expect(page.locator("#refusal")).to_contain_text("Not labelled yet: Step 1, Step 2")
    expect(current(page)).to_have_text("Step 1")
    assert is_in_sight(page, "#refusal")
    assert is_in_sight(page, "#step-0")
    expect(page.locator("#save-status")).to_have_text("All saved")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_overview_says_each_value_without_colour(open_as: OpenAs, page: Page, scheme: str, width: int) -> None:
    world, slot = claim(120)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two literals
    page.set_viewport_size({"width": width, "height": 800})
    open_slot(open_as, world, slot)
    for key in "10-":
        page.keyboard.press(key)
    expect(page.locator("#save-status")).to_have_text("All saved")

    def overview() -> list[tuple[str, str]]:
        links = page.locator(".rail a")
        shown = "all => all.map((a) => a.textContent + getComputedStyle(a, '::after').content.replaceAll('\"', ''))"
        names = links.evaluate_all("all => all.map((a) => a.getAttribute('aria-label'))")
        return list(zip(names, links.evaluate_all(shown), strict=True))

    given = [("Step 1: +1", "1+"), ("Step 2: 0", "20"), ("Step 3: −1", "3−"), ("Step 4", "4none")]
    assert overview()[:4] == given
    assert page.locator(".rail a").evaluate_all("all => all.filter((a) => a.scrollWidth > a.clientWidth).length") == 0
    assert axe_violations(page) == []
    page.reload()
    assert overview()[:4] == given  # as the server renders it
    page.keyboard.press("g")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.keyboard.press("-")
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert overview()[1] == ("Step 2: 0", "20")
