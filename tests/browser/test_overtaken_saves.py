"""A save that arrives late, after a newer one: what the person said last stands, on the page and in the database."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotator import access
from annotator.labelling import actions
from annotator.models import Assignment, Label, LabelEvent, User
from annotator.queue import actions as queue
from tests.factories import label, make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


class Held:
    """The first save, which stops on its thread of the server, before it has read anything, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_come = threading.Event()
        self.may_go = threading.Event()
        self.is_done = threading.Event()
        self.thread = 0
        self.get_basis, self.save = access.get_basis, actions.save
        monkeypatch.setattr(access, "get_basis", self.stop)
        monkeypatch.setattr(actions, "save", self.end)

    def stop(self, *args: Any) -> Any:
        if not self.has_come.is_set():
            self.thread = threading.get_ident()
            self.has_come.set()
            assert self.may_go.wait(30)
        return self.get_basis(*args)

    def end(self, *args: Any) -> Any:
        try:
            return self.save(*args)
        finally:
            if threading.get_ident() == self.thread:
                self.is_done.set()

    def let_go(self) -> None:
        self.may_go.set()
        assert self.is_done.wait(10)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    save = Held(monkeypatch)
    yield save
    save.may_go.set()


@pytest.fixture
def slot() -> Assignment:
    world = make_world(overlap=1, asks_outcome=False)
    make_trajectory(world.project, n_steps=2)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    return claimed


def open_page(open_as: OpenAs, slot: Assignment) -> Page:
    assert slot.annotator is not None
    return open_as(slot.annotator, f"/assignments/{slot.pk}/")


def saved(page: Page) -> None:
    expect(page.locator("#save-status")).to_have_text("All saved")


def stored() -> dict[int | None, int]:
    return dict(Label.objects.values_list("step__index", "value"))


def said() -> list[tuple[int | None, int | None]]:
    return list(LabelEvent.objects.order_by("id").values_list("step__index", "value"))


def test_a_save_from_before_a_reload_is_dropped(open_as: OpenAs, slot: Assignment, held: Held) -> None:
    page = open_page(open_as, slot)
    page.keyboard.press("1")
    assert held.has_come.wait(5)
    for key in "k-":
        page.keyboard.press(key)
    page.reload()
    saved(page)
    assert said() == [(0, -1)]
    held.let_go()
    assert (said(), stored()) == ([(0, -1)], {0: -1})
    # The page goes on from there.
    page.keyboard.press("0")
    saved(page)
    assert stored() == {0: -1, 1: 0}


def test_a_save_that_the_page_gave_up_and_sent_again_is_dropped(open_as: OpenAs, slot: Assignment, held: Held) -> None:
    page = open_page(open_as, slot)
    page.evaluate(
        """() => {
          const timeout = AbortSignal.timeout.bind(AbortSignal);
          AbortSignal.timeout = (ms) => timeout(ms === 15000 ? 1000 : ms); // a save is not waited for so long
        }"""
    )
    page.keyboard.press("1")
    assert held.has_come.wait(5)
    for key in "k-":
        page.keyboard.press(key)
    saved(page)
    held.let_go()
    assert (said(), stored()) == ([(0, -1)], {0: -1})
    page.keyboard.press("0")
    saved(page)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
    assert stored() == {0: -1, 1: 0}


def test_a_save_that_another_tab_has_overtaken_is_sent_again(
    open_as: OpenAs, slot: Assignment, held: Held, console_errors: list[str]
) -> None:
    page = open_page(open_as, slot)
    page.keyboard.press("1")
    assert held.has_come.wait(5)
    assert slot.annotator is not None
    label(slot, slot.annotator, {0: -1, 1: 0})
    held.let_go()
    saved(page)
    assert said() == [(0, -1), (1, 0), (0, 1)]
    assert len(console_errors) == 1
    assert "409" in console_errors.pop()
