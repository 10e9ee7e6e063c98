"""Back to a labelling page that the browser has left: it shows what is stored, and what still waits.

The browser of the tests keeps no left pages alive, so that it asks its cache for them.
"""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from annotator.labelling import actions
from annotator.models import Label, User
from annotator.queue import actions as queue
from tests.factories import make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_back_shows_what_is_stored_and_what_waits(
    open_as: Callable[[User, str], Page], monkeypatch: pytest.MonkeyPatch, console_errors: list[str]
) -> None:
    def down(*_: object) -> None:
        raise TimeoutError("The test's server stores nothing.")

    world = make_world(overlap=1, label_scheme={"categories": "optional"}, asks_outcome=False)
    make_trajectory(world.project, n_steps=4)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    page = open_as(world.annotator, f"/assignments/{slot.pk}/")
    page.reload()  # with all its cookies: a page that was asked for with others would not come from the cache
    status = page.locator("#save-status")
    page.keyboard.press("-")
    page.locator("#step-0 [data-extra=category]").select_option(index=1)
    page.locator("#step-0 [data-extra=rationale]").fill("a careful note")
    page.keyboard.press("Escape")
    page.locator("#step-1").click()
    page.keyboard.press("0")
    expect(status).to_have_text("All saved")
    extras = Label.objects.get(step__index=0).extras
    assert extras["rationale"] == "a careful note"
    # Not by page.route: with that the browser uses no cache.
    monkeypatch.setattr(actions, "save", down)
    page.keyboard.press("1")
    expect(status).to_have_text("1 unsaved (the server does not answer)")

    page.get_by_role("link", name="Your work").click()
    expect(page.get_by_role("heading", name="Your work")).to_be_visible()
    page.go_back()
    expect(page.locator("#n-labelled")).to_have_text("3")
    expect(status).to_have_text("1 unsaved (the server does not answer)")
    values = [page.locator(f"#step-{index}").get_attribute("data-value") for index in range(4)]
    assert values == ["-1", "0", "1", ""]
    expect(page.locator("#step-0 [data-extra=rationale]")).to_have_value("a careful note")

    monkeypatch.undo()
    page.keyboard.press("-")  # step 4, the first without a label
    expect(status).to_have_text("All saved")
    page.keyboard.press("g")
    page.keyboard.press("1")
    expect(page.locator(".step.current h2")).to_have_text("Step 1")
    page.keyboard.press("-")
    expect(status).to_have_text("All saved")
    stored = Label.objects.order_by("step__index").values_list("value", "extras")
    assert list(stored) == [(-1, extras), (0, {}), (1, {}), (-1, {})]
    assert all("500" in error for error in console_errors)
    console_errors.clear()
