"""What of tests/hostile can be imported, on the pages that show it, in a real browser under the real policy."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Dialog, Page
from pytest_django.live_server_helper import LiveServer

from annotator.importing.actions import import_trajectories
from annotator.models import User
from annotator.queue import actions as queue
from tests.factories import World, make_world
from tests.security.test_hostile_files import FOLDER, big_file

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# What a hostile text got hold of: a script that ran, an element of its own, a page wider than its window, characters
# that nobody sees, or that turn the direction of writing in an element that does not keep them in.
HARM = """() => {
  const harm = [];
  if (window.pwned || {}.polluted) harm.push("a script ran");
  const active = "script:not([src], [type='application/json']), iframe, object, embed, base, style, meta[http-equiv], "
    + "link:not([rel=icon], [rel=stylesheet]), [onclick], [onload], [onerror], [onfocus], .text *:not(.mark), pre *";
  for (const element of document.querySelectorAll(active)) harm.push(element.outerHTML.slice(0, 200));
  for (const part of document.querySelectorAll("details")) part.open = part.textContent.length < 50000;
  const wide = document.documentElement.scrollWidth > innerWidth;
  if (wide) for (const element of document.querySelectorAll("main *"))
    if (element.getBoundingClientRect().right > innerWidth) harm.push("too wide: " + element.outerHTML.slice(0, 200));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const holder = walker.currentNode.parentElement;
    if (holder.closest(".text") && /[\x00-\x08\x1b\x9b\u200b\u202e\u2066\ufeff]/.test(walker.currentNode.data))
      harm.push("cannot be seen: " + holder.outerHTML.slice(0, 200));
    if (/[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/.test(walker.currentNode.data)
        && getComputedStyle(holder).unicodeBidi === "normal")
      harm.push("not isolated: " + holder.outerHTML.slice(0, 200));
  }
  return harm;
}"""


def test_no_hostile_trajectory_gets_a_hold_on_a_page(
    page: Page,
    watch: Callable[[Page], Page],
    sign_in: Callable[[BrowserContext, User], None],
    live_server: LiveServer,
    console_errors: list[str],
) -> None:
    world = make_world(overlap=1)
    held = imported(world)
    seen: list[str] = []

    def note_dialog(dialog: Dialog) -> None:
        seen.append(f"dialog {dialog.message}")
        dialog.dismiss()

    page.on("dialog", note_dialog)
    page.on("popup", lambda _: seen.append("popup"))
    page.on("download", lambda _: seen.append("download"))
    page.on("request", lambda request: note_foreign(request.url, live_server.url, seen))
    watch(page)
    for user, address, index in (
        (world.admin, "/projects/demo/trajectories/{}/", 0),
        (world.annotator, "/assignments/{}/", 1),
    ):
        sign_in(page.context, user)
        for keys in held:
            url = live_server.url + address.format(keys[index])
            response = page.goto(url)
            assert response is not None
            assert response.status == 200, url
            assert page.evaluate(HARM) == [], url
            assert page.url == url
            assert (seen, console_errors) == ([], []), url
        page.goto(f"{live_server.url}/projects/demo/")
        assert (page.evaluate(HARM), seen) == ([], [])


def note_foreign(url: str, own: str, seen: list[str]) -> None:
    if not url.startswith((own + "/", "data:image/png;base64,")):
        seen.append(f"request {url[:200]}")


def imported(world: World) -> list[tuple[int, int]]:
    """Imports the folder and the large ones; the annotator holds an assignment of each trajectory."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        with path.open("rb") as file:
            import_trajectories(world.project, file, name=path.name, stores=True)
    import_trajectories(world.project, big_file(), name="big.jsonl", stores=True)
    queue.enqueue(world.project)
    held = []
    while assignment := queue.claim_next(world.project, world.annotator):
        held.append((assignment.trajectory_id, assignment.pk))
    assert len(held) == world.project.trajectories.count() > 40
    return held
