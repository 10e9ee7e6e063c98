"""A real Chromium against a live server; every test fails on console errors that it did not expect."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from pytest_django.live_server_helper import LiveServer

from annotator.models import User

# Playwright's synchronous API runs an event loop in this thread, which Django would take for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "The browser tests need Chromium on the PATH (Debian: apt-get install chromium)."
    return {**browser_type_launch_args, "executable_path": chromium, "args": FLAGS.split()}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "viewport": {"width": 1280, "height": 800}}


@pytest.fixture
def console_errors() -> list[str]:
    """What the console complained about; a test that expects a complaint removes it here."""
    return []


@pytest.fixture
def watch(console_errors: list[str]) -> Callable[[Page], Page]:
    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            console_errors.append(message.text)

    def watch_page(page: Page) -> Page:
        page.on("console", note)
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        return page

    return watch_page


@pytest.fixture(autouse=True)
def _no_console_errors(console_errors: list[str]) -> Iterator[None]:
    yield
    assert console_errors == []


@pytest.fixture(autouse=True)
def _no_request_outlives_the_test(transactional_db: None, live_server: LiveServer, browser: Browser) -> Iterator[None]:
    """A request that still runs while the tables are emptied would deadlock with that.

    Asking the database who is busy does not do: a key pressed at the end of a test is a request that the server has
    not read yet. A closed browser context has closed its connections, each of which is a thread of the server.
    """
    yield
    for context in browser.contexts:
        context.close()
    # The server takes connections in their order, so whatever the browser had opened has its thread when this is done.
    with socket.create_connection((live_server.thread.host, live_server.thread.port), timeout=10) as last:
        last.shutdown(socket.SHUT_WR)
        last.recv(1)
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(10)
            assert not thread.is_alive(), "A request of this test did not end within 10 s."


@pytest.fixture
def sign_in(live_server: LiveServer) -> Callable[[BrowserContext, User], None]:
    """Puts a session of the user into the browser, without the detour over the login page."""

    def put_cookie(context: BrowserContext, user: User) -> None:
        client = Client()
        client.force_login(user)
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])

    return put_cookie


@pytest.fixture
def open_as(
    page: Page, watch: Callable[[Page], Page], sign_in: Callable[[BrowserContext, User], None], live_server: LiveServer
) -> Callable[[User, str], Page]:
    """Opens a path of the live server as a user."""

    def open_page(user: User, path: str) -> Page:
        sign_in(page.context, user)
        watch(page)
        page.goto(live_server.url + path)
        return page

    return open_page


def axe_violations(page: Page, *rules: str) -> list[str]:
    """Each accessibility violation in one line; of all rules, or of those named."""
    found = Axe().run(page, options={"runOnly": list(rules)} if rules else None).response["violations"]
    return [f"{v['id']}: {v['help']} ({'; '.join(n['html'][:120] for n in v['nodes'][:3])})" for v in found]
