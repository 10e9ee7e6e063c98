"""Models in a real browser: what a run would take, starting it, watching and cancelling it, and what came of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from annotator import flow
from annotator.models import Job, Prediction, PrelabelRun, User
from annotator.prelabelling import actions
from tests.browser.conftest import axe_violations
from tests.factories import World, judge, make_messages, make_trajectory, make_world
from workers.prelabel import run as worker

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

OpenAs = Callable[[User, str], Page]


def test_an_admin_asks_what_a_run_takes_starts_it_and_sees_what_came_of_it(open_as: OpenAs) -> None:
    world = make_world()
    for _ in range(3):
        make_trajectory(world.project, n_steps=2)
    page = open_as(world.admin, "/projects/demo/models/")
    expect(page.get_by_text("No model has said anything about this project yet.")).to_be_visible()
    page.get_by_label("Model", exact=True).select_option("rules")
    page.get_by_label("At most").fill("2")
    page.get_by_role("button", name="What would it take?").click()
    expect(page.locator("#start .notice")).to_contain_text("About 2 trajectories with 4 steps; how long it takes")
    expect(page.get_by_label("Model", exact=True)).to_have_value("rules")
    assert not PrelabelRun.objects.exists()
    assert axe_violations(page) == []

    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("h1")).to_have_text("rules")
    expect(page.get_by_text("Waiting for a worker that listens to the queue default.")).to_be_visible()
    run = PrelabelRun.objects.get()
    worker.work(run.job_id)
    # The page looks by itself.
    expect(page.locator("#run .badge")).to_have_text("done")
    expect(page.locator(".num-text")).to_have_text("4 of 4 steps")
    expect(page.locator("dl.facts")).to_contain_text("rules v1")
    expect(page.locator("dl.facts")).to_contain_text("2 scored, 0 failed, 0 left")
    assert axe_violations(page) == []

    expect(page.get_by_text("A new run scores the next 2 at most.")).to_be_visible()
    page.get_by_role("button", name="Run it again").click()
    page.wait_for_url(lambda url: not url.endswith(f"/{run.pk}/"))
    again = PrelabelRun.objects.latest("id")
    worker.work(again.job_id)
    expect(page.locator(".num-text")).to_have_text("2 of 2 steps")
    assert Prediction.objects.count() == 3


def test_a_run_is_cancelled_half_way_and_gone_on_with(open_as: OpenAs, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world()
    for _ in range(4):
        make_trajectory(world.project, n_steps=2)
    page = open_as(world.admin, "/projects/demo/models/")
    page.get_by_label("Model", exact=True).select_option("rules")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("h1")).to_have_text("rules")
    run = PrelabelRun.objects.get()
    monkeypatch.setattr(worker, "STORED_AT_ONCE", 1)
    store = actions.store
    stored = []

    def store_and_cancel(*args: object, **kwargs: object) -> None:
        store(*args, **kwargs)  # type: ignore[arg-type]
        stored.append(1)
        if len(stored) == 2:
            expect(page.locator(".num-text")).to_contain_text("4 of 8 steps", timeout=10_000)
            page.get_by_role("button", name="Cancel").click()
            expect(page.get_by_text("It stops as soon as the workers look up.")).to_be_visible()

    monkeypatch.setattr(actions, "store", store_and_cancel)
    worker.work(run.job_id)
    monkeypatch.undo()
    run.job.refresh_from_db()
    assert (run.job.status, run.job.n_done, run.job.n_total) == (Job.Status.CANCELLED, 4, 8)
    assert Prediction.objects.count() == 2

    page = open_as(world.admin, f"/prelabel-runs/{run.pk}/")
    expect(page.locator("#run .badge")).to_have_text("cancelled")
    expect(page.locator("dl.facts")).to_contain_text("2 scored, 0 failed, 2 left")
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(lambda url: not url.endswith(f"/{run.pk}/"))
    again = PrelabelRun.objects.latest("id")
    worker.work(again.job_id)
    expect(page.locator(".num-text")).to_have_text("4 of 4 steps")
    assert list(Prediction.objects.values_list("run", flat=True).order_by("id")) == [run.pk] * 2 + [again.pk] * 2


def test_raters_are_ranked_and_a_cell_opens_its_steps(open_as: OpenAs, tmp_path: Path) -> None:
    world = with_a_judge(tmp_path)
    page = open_as(world.admin, "/projects/demo/raters/")
    row = page.locator("table").first.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("judge v1")
    expect(row.locator("td").first).to_contain_text("50.0")
    assert axe_violations(page) == []
    page.set_viewport_size({"width": 390, "height": 800})  # a phone: wide tables scroll, the page does not
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert axe_violations(page) == []
    # Gold is −1 and the judge said +1: once.
    page.locator("a[href*='gold=-1'][href*='said=1']").first.click()
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("main")).to_contain_text("because it looks fine")
    assert axe_violations(page) == []


def with_a_judge(tmp_path: Path) -> World:
    """Gold of −1 and +1 on one trajectory, and a judge that says +1 of both."""
    world = make_world()
    messages = make_messages(2)
    trajectory = make_trajectory(world.project, messages=messages)
    for person in (world.annotator, world.second):
        judge(trajectory, person, [-1, 1])
    places = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    labels = ", ".join(f'"{place}": 1' for place in places)
    why = f'{{"steps": {{"{places[0]}": "because it looks fine"}}}}'
    path = tmp_path / "judge.jsonl"
    path.write_text(
        f'{{"record_id": "{trajectory.external_id}", "step_labels": {{{labels}}}, "explanations": {why}}}\n'
    )
    with path.open("rb") as file:
        job = flow.import_predictions_now(world.project, file, path.name, model="judge")
    assert job.status == Job.Status.DONE, job.error
    return world
