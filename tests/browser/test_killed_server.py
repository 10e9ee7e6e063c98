"""The web server is killed while somebody labels: every label that was given arrives."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django import Settings

from annotator.models import Label
from annotator.queue import actions as queue
from tests.factories import make_trajectory, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """gunicorn, as `make run` starts it, on the test database."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        database = connection.settings_dict
        name, host = database["NAME"], database["OPTIONS"]["host"]
        command = [sys.executable, "-m", "gunicorn", "annotator.wsgi:application", "--bind", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(
            [*command, "--threads", "4", "--log-level", "error"],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": f"postgresql://postgres@:5432/{name}?host={host}",
                "STEPMARK_HOME": str(self.home),
            },
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/healthz/", timeout=1).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError("gunicorn did not start")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    # A folder of its own: other tests read the common one while this writes.
    settings.STATIC_ROOT = tmp_path / "static"
    call_command("collectstatic", "--noinput", verbosity=0)
    running = Server(tmp_path)
    yield running
    running.kill()


def test_labels_given_while_the_server_is_dead_arrive(
    server: Server, page: Page, watch: Callable[[Page], Page], console_errors: list[str]
) -> None:
    world = make_world(overlap=1)
    make_trajectory(world.project, n_steps=4)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    client = Client()
    client.force_login(world.annotator)
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": server.url}])
    watch(page).goto(f"{server.url}/assignments/{slot.pk}/")
    page.keyboard.press("1")
    expect(page.locator("#save-status")).to_have_text("All saved")
    assert console_errors == []

    server.kill()
    for key in "0-1":
        page.keyboard.press(key)
    expect(page.locator("#save-status")).to_have_text("3 unsaved (no connection)")
    page.keyboard.press("1")
    expect(page.locator("#save-status")).to_have_text("4 unsaved (no connection)")
    assert Label.objects.count() == 1

    server.start()
    expect(page.locator("#save-status")).to_have_text("All saved", timeout=20_000)
    assert dict(Label.objects.values_list("step__index", "value")) == {0: 1, 1: 0, 2: -1, 3: 1, None: 1}
    page.keyboard.press("Enter")
    page.wait_for_url("**/projects/demo/")
    slot.refresh_from_db()
    assert slot.status == "submitted"
    # Cut short, reset or refused, by what the kill came upon; nothing else.
    assert all("net::ERR_CON" in error for error in console_errors), console_errors
    console_errors.clear()
