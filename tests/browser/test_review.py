"""The review page by keyboard: what is refused stays in view, and no key decides what nobody chose."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from annotator import flow
from annotator.adjudication import actions
from annotator.adjudication.actions import DecisionIn
from annotator.models import Adjudication, Annotation, Dispute, GoldLabel, Review, Trajectory, User
from tests.factories import World, judge, label, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

Open = Callable[[User, str], Page]


@pytest.fixture(autouse=True)
def _refusals_are_in_the_console(console_errors: list[str]) -> Iterator[None]:
    """Chromium writes every 422 there; whatever else is there fails the test."""
    yield
    refusal = "Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)"
    console_errors[:] = [said for said in console_errors if said != refusal]


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world()


def disputed(world: World, first: list[int], second: list[int]) -> Trajectory:
    trajectory = make_trajectory(world.project, n_steps=len(first))
    judge(trajectory, world.annotator, first)
    judge(trajectory, world.second, second)
    return trajectory


def say_anew(world: World, trajectory: Trajectory, values: dict[int, int]) -> None:
    annotation = Annotation.objects.submitted().get(trajectory=trajectory, annotator=world.annotator)
    returned = actions.return_to_author(annotation.pk, world.admin, "Again.")
    label(returned, world.annotator, values)
    flow.submit(returned.pk, world.annotator)


def gold(trajectory: Trajectory) -> dict[int, int | None]:
    decided = GoldLabel.objects.filter(trajectory=trajectory, provenance="adjudicated")
    return dict(decided.values_list("step__index", "value"))


def choose(page: Page, key: str) -> None:
    """A value and the first reason of the list, undecided yet."""
    page.keyboard.press(key)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")


def open_review(open_as: Open, world: World, trajectory: Trajectory) -> Page:
    page = open_as(world.reviewer, f"/reviews/{Review.objects.get(trajectory=trajectory).pk}/")
    expect(page.locator(".dispute.current")).to_be_visible()  # the script listens
    return page


def test_a_refused_run_stays_the_current_one_and_is_what_the_next_keys_decide(open_as: Open, world: World) -> None:
    trajectory = disputed(world, [-1, -1, 1, 1, -1, -1], [1, 1, 1, 1, 1, 1])
    page = open_review(open_as, world, trajectory)
    address = page.url
    page.keyboard.press("j")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".dispute.current h2").first).to_have_text("Steps 5 to 6: one decision settles the run")
    error = page.get_by_text("Choose the reason why the raters differ.")
    expect(error).to_be_in_viewport()
    expect(page.locator(".dispute.current select[name=reason_code]")).to_be_focused()
    expect(page.locator(".dispute.current input[value='1']")).to_be_checked()
    assert page.url == address
    assert not Adjudication.objects.exists()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 steps decided at once; each can be decided again.")).to_be_visible()
    assert gold(trajectory) == {4: 1, 5: 1}
    # On to what is left, with every key in its place.
    expect(page.locator(".dispute.current h2").first).to_have_text("Steps 1 to 2: one decision settles the run")
    expect(page.locator(".dispute.current")).to_be_focused()
    page.locator("#review-keypad [data-key='-']").click()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#review-done")).to_be_focused()
    assert gold(trajectory) == {0: -1, 1: -1, 4: 1, 5: 1}
    # Nothing is asked any more, so no key decides again: not here, nor on the page that shows what was decided.
    asked_again = page.locator("details:has([data-decision])[open], [aria-invalid], #review-trouble:not([hidden])")
    page.keyboard.press("Enter")
    page.keyboard.press("1")
    expect(asked_again).to_have_count(0)
    expect(page.locator("#review-done")).to_be_focused()
    page.reload()
    expect(page.locator(".dispute.current")).to_be_visible()
    page.keyboard.press("Enter")
    expect(asked_again).to_have_count(0)


def test_a_stale_page_shows_the_decision_of_the_other_reviewer_instead_of_overruling_it(
    open_as: Open, world: World
) -> None:
    trajectory = disputed(world, [1, -1], [1, 1])
    page = open_review(open_as, world, trajectory)
    flow.decide(Dispute.objects.get(), world.admin, DecisionIn(value=1, reason_code="slip"))
    choose(page, "-")
    page.keyboard.press("Enter")
    said = page.get_by_text("another reviewer has decided or a rater has changed a judgement meanwhile")
    expect(said).to_be_in_viewport()
    expect(page.locator(".dispute.current")).to_contain_text("demo-ada: +1")
    expect(page.locator(".dispute.current [data-invalid]")).to_be_focused()
    assert gold(trajectory) == {1: 1}
    page.keyboard.press("Enter")  # now that it has been read: what was chosen is still in the form
    expect(page.locator("#review-done")).to_be_focused()
    assert gold(trajectory) == {1: -1}


@pytest.mark.parametrize(
    ("_case", "first", "anew", "said", "left"),
    [
        ("a single one", [-1, 1, -1], {0: 1}, "the raters agree on this by now", "Step 3"),
        ("the first of a run", [-1, -1, 1], {0: 1}, "the raters agree on some of these steps by now", "Step 2"),
    ],
)
def test_what_the_raters_agree_on_by_now_is_said_and_no_key_decides_what_is_left(
    _case: str, first: list[int], anew: dict[int, int], said: str, left: str, open_as: Open, world: World
) -> None:
    trajectory = disputed(world, first, [1, 1, 1])
    page = open_review(open_as, world, trajectory)
    say_anew(world, trajectory, anew)
    choose(page, "-")
    page.keyboard.press("Enter")
    expect(page.get_by_text(said)).to_be_in_viewport()
    expect(page.locator("[data-invalid]")).to_be_focused()
    expect(page.locator(".dispute h2").first).to_have_text(left)
    expect(page.locator("#review-trouble")).to_be_hidden()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    expect(page.locator(".dispute.current")).to_be_visible()
    assert sent == []
    assert not Adjudication.objects.exists()


def test_a_run_that_has_lost_a_step_in_its_middle_asks_again_of_its_first_with_what_was_chosen(
    open_as: Open, world: World
) -> None:
    trajectory = disputed(world, [-1, -1, -1], [1, 1, 1])
    page = open_review(open_as, world, trajectory)
    say_anew(world, trajectory, {1: 1})
    choose(page, "-")
    page.keyboard.press("Enter")
    expect(page.get_by_text("the raters agree on some of these steps by now")).to_be_in_viewport()
    expect(page.locator(".dispute.current [data-invalid]")).to_be_focused()
    expect(page.locator(".dispute.current h2").first).to_have_text("Step 1")
    assert not Adjudication.objects.exists()
    page.keyboard.press("Enter")  # now that it has been read
    expect(page.locator(".dispute.current h2").first).to_have_text("Step 3")
    assert gold(trajectory) == {0: -1}


@pytest.mark.parametrize("values", [[-1, 1], [-1, -1]])  # a single step, a run
def test_a_key_decides_nothing_that_is_not_on_the_screen(values: list[int], open_as: Open, world: World) -> None:
    late = {9: -1, 17: -1, 25: -1}
    trajectory = disputed(world, values + [late.get(index, 1) for index in range(2, 30)], [1] * 30)
    page = open_review(open_as, world, trajectory)
    trouble, dispute = page.locator("#review-trouble"), page.locator(".dispute").first
    name = "The run" if values[1] < 0 else "Step 1"
    said = f"{name} was not on the screen, so nothing is stored. Here it is: press the key again."

    def press_elsewhere(key: str) -> None:
        page.evaluate("scrollTo({ top: document.body.scrollHeight, behavior: 'instant' })")
        expect(dispute).not_to_be_in_viewport()
        page.keyboard.press(key)
        expect(trouble).to_have_text(said)
        expect(trouble).to_be_in_viewport(ratio=1)
        expect(dispute).to_be_in_viewport()

    press_elsewhere("-")
    to_the_end = "button => scrollBy({ top: button.getBoundingClientRect().top - 100, behavior: 'instant' })"
    dispute.locator("[data-decision] button").evaluate(to_the_end)  # no value in sight, and much of what follows
    expect(dispute.locator("h2").first).not_to_be_in_viewport()
    page.keyboard.press("-")
    expect(dispute.locator("h2").first).to_be_in_viewport()
    assert page.locator("[data-decision] input[type=radio]:checked").count() == 0
    choose(page, "-")
    expect(trouble).to_be_hidden()
    press_elsewhere("Enter")
    assert not Adjudication.objects.exists()
    page.keyboard.press("Enter")
    expect(page.locator(".dispute.current h2").first).to_have_text("Step 10")
    assert gold(trajectory) == {index: -1 for index, value in enumerate(values) if value < 0}


def test_on_a_phone_the_table_of_reviews_scrolls_and_the_page_does_not(open_as: Open, world: World) -> None:
    disputed(world, [-1], [1])
    page = open_as(world.reviewer, "/projects/demo/reviews/")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.querySelector('.table-wrap').scrollWidth") > 390
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def decide_elsewhere(world: World, index: int) -> None:
    dispute = Dispute.objects.get(step__index=index)
    flow.decide(dispute, world.admin, DecisionIn(value=1, reason_code="slip"))
    actions.release_claim(Review.objects.get(trajectory=dispute.trajectory).pk, world.admin)


def dispute_on(page: Page, step: int) -> Locator:
    return page.locator(".dispute").filter(has=page.get_by_role("heading", name=f"Step {step}", exact=True))


def enter(page: Page, step: int) -> Locator:
    """Something of everything into the forms of a dispute, nothing sent."""
    dispute = dispute_on(page, step)
    dispute.get_by_text("0 neutral").click()
    dispute.get_by_label("Why do the raters differ?").select_option("slip")
    dispute.get_by_label("Note").fill(f"A note on step {step}.")
    dispute.get_by_text("Comments (0)").click()
    dispute.get_by_label("To rater").select_option(label="B")
    dispute.get_by_label("Comment", exact=True).fill(f"A word about step {step}.")
    return dispute


def entered(dispute: Locator) -> tuple[bool, str, str, str, str]:
    # What was entered comes back a moment after the page, this last.
    expect(dispute.get_by_label("Comment", exact=True)).to_have_value(re.compile("A word about"))
    rater = dispute.get_by_label("To rater").locator("option:checked").text_content()
    return (
        dispute.locator("input[value='0']").is_checked(),
        dispute.get_by_label("Why do the raters differ?").input_value(),
        dispute.get_by_label("Note").input_value(),
        rater or "",
        dispute.get_by_label("Comment", exact=True).input_value(),
    )


def test_a_page_sent_anew_keeps_what_was_entered_in_the_forms_whose_question_is_the_same(
    open_as: Open, world: World
) -> None:
    trajectory = disputed(world, [-1, -1, 1, -1, 1, -1], [1, 1, 1, 1, 1, 1])
    page = open_review(open_as, world, trajectory)
    fourth, sixth = enter(page, 4), enter(page, 6)
    run = page.locator(".dispute.run")
    run.get_by_text("−1 incorrect").click()
    run.get_by_label("Why do the raters differ?").select_option("misread")
    for note in page.locator("textarea").all():
        note.evaluate("note => (note.style.height = '9rem')")  # as whoever drags its corner
    decide_elsewhere(world, 5)
    run.get_by_role("button", name="Decide the run").click()
    expect(page.get_by_text("2 steps decided at once; each can be decided again.")).to_be_visible()
    assert entered(fourth) == (True, "slip", "A note on step 4.", "B", "A word about step 4.")
    expect(fourth.get_by_label("Comment", exact=True)).to_be_visible()
    # Another reviewer has decided this one: nobody is to overrule that by what they chose before it.
    assert entered(sixth) == (False, "", "", "B", "A word about step 6.")
    assert page.locator("[data-decision] input[name=value]:checked").count() == 1
    assert page.get_by_label("Why do the raters differ?").evaluate_all("all => all.map((each) => each.value)") == [
        *["", "", "slip", ""],
    ]
    fourth.get_by_role("button", name="Decide").click()
    expect(page.locator("#review-done")).to_be_focused()
    assert gold(trajectory) == {0: -1, 1: -1, 3: 0, 5: 1}


def test_a_refused_decision_keeps_what_was_entered_elsewhere(open_as: Open, world: World) -> None:
    trajectory = disputed(world, [-1, 1, -1], [1, 1, 1])
    page = open_review(open_as, world, trajectory)
    third = enter(page, 3)
    decide_elsewhere(world, 0)
    first = enter(page, 1)
    first.get_by_role("button", name="Decide", exact=True).click()
    expect(page.get_by_text("another reviewer has decided or a rater has changed")).to_be_in_viewport()
    assert entered(first)[:3] == (True, "slip", "A note on step 1.")  # as the server has sent it back
    assert entered(third) == (True, "slip", "A note on step 3.", "B", "A word about step 3.")
    assert gold(trajectory) == {0: 1}


def test_an_answer_leaves_whoever_writes_elsewhere_by_now_where_they_are(open_as: Open, world: World) -> None:
    trajectory = disputed(world, [-1, -1, 1, -1, 1, -1], [1, 1, 1, 1, 1, 1])
    page = open_review(open_as, world, trajectory)
    run, fourth, note = page.locator(".run"), dispute_on(page, 4), dispute_on(page, 6).get_by_label("Note")
    written = ""

    def decide_and_write(button: Locator, first: str, rest: str) -> None:
        nonlocal written
        sent: list[Route] = []
        page.route("**/decide/**", lambda route: sent.append(route))
        with page.expect_request("**/decide/**"):
            button.click()
        note.click()
        page.keyboard.press("End")
        page.keyboard.type(first)
        with page.expect_response("**/decide/**"):
            sent[0].continue_()
        page.unroute("**/decide/**")
        page.wait_for_timeout(200)  # until the answer has settled
        page.keyboard.type(rest)
        written += first + rest
        expect(note).to_be_focused()
        expect(note).to_have_value(written)
        expect(note).to_be_in_viewport()
        expect(page.locator(".dispute.current h2").first).to_have_text("Step 6")

    decide_and_write(run.get_by_role("button", name="Decide the run"), "1 - ", "0 ")  # refused: nothing is chosen
    expect(page.locator("#review-trouble")).to_have_text("The run is not decided yet: its form says why.")
    fourth.get_by_text("0 neutral").click()
    fourth.get_by_label("Why do the raters differ?").select_option("slip")
    decide_and_write(fourth.get_by_role("button", name="Decide"), "1 or ", "u, ")
    run.get_by_text("0 neutral").click()
    run.get_by_label("Why do the raters differ?").select_option("slip")
    decide_and_write(run.get_by_role("button", name="Decide the run"), "1 thing as undone; ", "it is - not 1")
    expect(page.get_by_text("2 steps decided at once; each can be decided again.")).to_have_count(1)
    assert page.locator("[data-decision] input[name=value]:checked").count() == 0
    assert gold(trajectory) == {0: 0, 1: 0, 3: 0}


def test_what_else_is_sent_from_the_page_keeps_the_decisions_being_written(open_as: Open, world: World) -> None:
    trajectory = disputed(world, [-1, -1, 1, -1], [1, 1, 1, 1])
    page = open_review(open_as, world, trajectory)
    page.get_by_role("link", name="Decide each step").click()
    second, fourth = enter(page, 2), enter(page, 4)
    comment = second.get_by_label("Comment", exact=True)

    def is_kept() -> None:
        assert entered(fourth) == (True, "slip", "A note on step 4.", "B", "A word about step 4.")
        expect(second.locator("input[value='0']")).to_be_checked()
        expect(second.get_by_label("Note")).to_have_value("A note on step 2.")
        assert "?split=1" in page.url

    second.get_by_role("button", name="Send the comment").click()
    expect(second.locator(".comments li")).to_contain_text("demo-rita to B")
    expect(comment).to_have_value("")
    expect(second).to_be_focused()
    is_kept()
    comment.fill("x" * 10_001)
    second.get_by_role("button", name="Send the comment").click()
    expect(page.locator("[data-invalid]")).to_be_focused()
    expect(comment).to_have_value("x" * 10_001)
    is_kept()
    page.get_by_role("button", name="Show who they are").click()
    expect(page.get_by_text("You asked for the names")).to_be_visible()
    is_kept()
    second.focus()
    page.get_by_role("button", name="Hold it now").click()
    expect(page.get_by_role("button", name="Give it back")).to_be_visible()
    expect(page.locator(".dispute.current h2")).to_have_text("Step 2")  # the keys go on where they were
    is_kept()
    page.get_by_text("Return to its author (A)").click()
    page.get_by_role("button", name="Return the annotation of A").click()
    expect(page.locator("[data-invalid]")).to_contain_text(
        "Say in a few words what the annotator should look at again."
    )
    page.get_by_label("What should A look at again?").fill("Step 1.")  # what was refused stays unfolded
    page.get_by_role("button", name="Return the annotation of A").click()
    expect(page.get_by_text("The annotation is back with its author")).to_be_visible()
    is_kept()
    page.get_by_role("button", name="Take it back").click()
    expect(page.get_by_text("The annotation counts again as it was submitted.")).to_be_visible()
    is_kept()
    fourth.get_by_role("button", name="Decide").click()
    expect(page.locator("#review-status")).to_have_text("Step 4 decided as 0. 2 disputes left.")
    assert gold(trajectory) == {3: 0}


def test_what_is_sent_while_an_answer_is_awaited_is_sent_after_it(
    open_as: Open, world: World, console_errors: list[str]
) -> None:
    trajectory = disputed(world, [-1, -1, 1, -1], [1, 1, 1, 1])
    page = open_review(open_as, world, trajectory)
    page.get_by_role("link", name="Decide each step").click()
    second, fourth = enter(page, 2), enter(page, 4)
    comment, trouble = second.get_by_label("Comment", exact=True), page.locator("#review-trouble")
    sent: list[Route] = []
    page.route("**/comment/**", lambda route: sent.append(route))
    with page.expect_request("**/comment/**"):
        second.get_by_role("button", name="Send the comment").click()
    comment.press("End")
    page.keyboard.type(" And more.")
    for _ in range(2):
        fourth.get_by_role("button", name="Decide").click()
    expect(trouble).to_have_text("This is sent as soon as the server has answered what was sent before.")
    assert gold(trajectory) == {}
    sent[0].continue_()
    expect(page.locator("#review-status")).to_have_text("Step 4 decided as 0. 2 disputes left.")
    expect(second.locator(".comments li")).to_have_count(1)
    expect(comment).to_have_value("A word about step 2. And more.")  # what was written since is not sent, and not lost
    assert gold(trajectory) == {3: 0}

    page.unroute("**/comment/**")
    page.route("**/comment/**", lambda route: route.fulfill(status=404))
    second.get_by_role("button", name="Send the comment").click()
    expect(trouble).to_have_text(
        "Nothing was stored: what this was about is not there any more, or not yours to change. Load the page anew."
    )
    expect(comment).to_have_value("A word about step 2. And more.")
    assert all("404" in error for error in console_errors)
    console_errors.clear()
