"""From the file an admin uploads, over key presses of two annotators and a reviewer, to the file a trainer loads."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotator import flow
from annotator.models import Job, User
from tests.factories import make_messages, make_world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_from_the_key_press_to_the_exported_file(
    browser: Browser,
    live_server: LiveServer,
    tmp_path: Path,
    watch: Callable[[Page], Page],
    sign_in: Callable[[BrowserContext, User], None],
) -> None:
    world = make_world()
    source = tmp_path / "runs.jsonl"
    bad = '{"id": "broken", "messages": [{"role": "robot", "content": "?"}]}'
    runs = [{"id": "run-1", "messages": make_messages(3, unique="A")}, {"id": "run-2", "messages": make_messages(2)}]
    source.write_text("\n".join([json.dumps(runs[0]), bad, json.dumps(runs[1])]), encoding="utf-8")

    def page_of(user: User, path: str) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
        sign_in(context, user)
        page = watch(context.new_page())
        page.goto(live_server.url + path)
        return page

    # The admin checks the file, sees the bad line, and imports the rest. (Here the test is the worker.)
    admin = page_of(world.admin, "/projects/demo/")
    admin.get_by_role("link", name="Import", exact=True).click()
    admin.get_by_label("File", exact=True).set_input_files(source)
    admin.get_by_role("button", name="Check the file").click()
    flow.run_job(Job.objects.latest("id").pk)
    expect(admin.get_by_role("row", name="Line 2 messages[0].role")).to_be_visible()
    admin.get_by_role("button", name="Import 2 trajectories").click()
    flow.run_job(Job.objects.latest("id").pk)
    expect(admin.get_by_text("What came in")).to_be_visible()

    # Two annotators label both trajectories by keyboard and differ on one step and on one outcome.
    for user, keys in ((world.annotator, ["1-11", "111"]), (world.second, ["1111", "110"])):
        page = page_of(user, "/projects/demo/")
        page.get_by_role("button", name="Label next").click()
        for labels in keys:
            expect(page.locator(".step.current h2")).to_have_text("Step 1")
            for key in labels:
                page.keyboard.press(key)
            page.keyboard.press("Enter")
            expect(page.locator("#n-labelled, .notice.info").first).not_to_have_text(str(len(labels)))
        expect(page.get_by_text("Nothing is left to label for you")).to_be_visible()
        page.context.close()

    # The reviewer settles exactly those two.
    reviewer = page_of(world.reviewer, "/projects/demo/reviews/")
    reviewer.get_by_role("button", name="Review the first one").click()
    for n_left in (1, 0):
        expect(reviewer.get_by_text("0 of 1 decided")).to_be_visible()  # not the page before any more
        reviewer.wait_for_load_state()  # its script listens to the keys by now
        expect(reviewer.locator("[data-dispute]")).to_have_count(1)
        reviewer.keyboard.press("-")
        expect(reviewer.locator("input[name=value][value='-1']")).to_be_checked()
        reviewer.locator("select[name=reason_code]").select_option("misread")
        reviewer.get_by_role("button", name="Decide", exact=True).first.click()
        expect(reviewer.get_by_text("Every dispute of this trajectory is decided.").first).to_be_visible()
        reviewer.get_by_role("button", name="Next trajectory").click()
        if not n_left:
            expect(reviewer.get_by_text("No trajectory with disputes is free at the moment.")).to_be_visible()

    # The admin publishes and downloads.
    admin.get_by_role("link", name="Releases").click()
    admin.get_by_role("button", name="Publish").click()
    expect(admin.locator("h1")).to_have_text("Release 1")
    with admin.expect_download() as download:
        admin.get_by_role("link", name="agentprocessbench.jsonl", exact=True).click()
    rows = {
        row["record_id"]: row for row in map(json.loads, download.value.path().read_text(encoding="utf-8").splitlines())
    }
    assert rows["run-1"]["step_labels"] == {"2": 1, "4": -1, "6": 1}
    assert rows["run-1"]["final_label"] == 1
    assert rows["run-2"]["step_labels"] == {"2": 1, "4": 1}
    assert rows["run-2"]["final_label"] == -1
    assert rows["run-1"]["messages"] == runs[0]["messages"]
    for context in browser.contexts:
        context.close()
