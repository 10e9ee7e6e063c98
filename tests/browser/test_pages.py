"""Every page with something on it, for each role: no console errors, no accessibility violations."""

from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.fusion import actions as fusion
from annotator.models import AcceptanceAudit, Dispute, Job, Release, Review, Trajectory, User
from annotator.prelabelling import actions as prelabelling
from annotator.prelabelling import catalogue, reading
from annotator.releases.policy import ReleasePolicy
from tests.browser.conftest import axe_violations
from tests.factories import (
    PASSWORD,
    World,
    judge,
    make_acceptance,
    make_learning_point,
    make_trajectory,
    make_world,
    predict,
)
from workers.prelabel import run as run_worker

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LONG = "https://example.org/" + 15 * "without-a-place-to-break".replace("-", "_")

PAGES = {
    "annotator": ["/", "/projects/demo/", "/projects/demo/history/", "/tokens/", "/accounts/password/"],
    "reviewer": [
        "/",
        "/projects/demo/",
        "/projects/demo/trajectories/",
        "/projects/demo/trajectories/{trajectory}/",
        "/projects/demo/reviews/",
        "/reviews/{review}/",
        "/projects/demo/agreement/",
        "/projects/demo/agreement/steps/",
        "/projects/demo/agreement/annotators/",
        "/projects/demo/agreement/annotators/{annotator}/?value=-1",
        "/projects/demo/raters/reliability/",
        "/projects/demo/raters/reliability/steps/?rater=person-{annotator}",
        "/projects/demo/releases/",
        "/releases/{release}/",
    ],
    "admin": [
        "/",
        "/projects/demo/",
        "/projects/demo/import/",
        "/projects/demo/jobs/",
        "/jobs/{job}/",
        "/projects/demo/models/",
        "/projects/demo/beliefs/",
        "/prelabel-runs/{run}/",
        "/projects/demo/raters/",
        "/projects/demo/raters/steps/?version={version}&gold=-1&said=1&against=gold",
        "/projects/demo/trajectories/{trajectory}/models/",
        "/projects/demo/hints/",
        "/projects/demo/members/",
        "/projects/demo/guideline/",
        "/projects/demo/guideline/changes/",
        "/projects/demo/guideline/older/",
        "/projects/demo/settings/",
        "/projects/demo/selection/",
        "/projects/demo/acceptance/",
        "/projects/demo/acceptance/1/",
        "/projects/demo/learning/",
        "/projects/demo/data/",
        "/projects/demo/audit/",
        "/projects/demo/releases/",
        "/releases/{release}/",
    ],
}


def full_world() -> tuple[World, dict[str, int]]:
    """A project in which every page has something to show, texts without a place to break among it."""
    world = make_world()
    settled, disputed, open_ = (
        make_trajectory(world.project, n_steps=3, outcome=1.0, external_id=f"{n}{LONG}", instruction=f"{n}{LONG}")
        for n in range(3)
    )
    judge(settled, world.annotator, [1, 0, -1])
    judge(settled, world.second, [1, 1, -1])
    judge(disputed, world.annotator, [1, -1, -1], outcome=-1)
    judge(disputed, world.second, [1, 1, 1], outcome=1)
    judge(open_, world.annotator, [1, 1, 1])
    decision = DecisionIn(value=0, reason_code="guideline", note="See the second example.")
    flow.decide(Dispute.objects.get(trajectory=settled), world.reviewer, decision)
    flow.publish(world.project, ReleasePolicy(), user=world.admin)
    rules = catalogue.read(world.project.slug).get("rules")
    every = prelabelling.Selection()
    estimate = reading.estimate(world.project, rules, every)
    run = prelabelling.start(world.project, rules, every, estimate=estimate, user=world.admin)
    run_worker.work(run.job_id)
    prediction = predict(settled, [1, 0, 1])
    flow.run_job(fusion.start(world.project, user=world.admin).pk)
    tried = {"threshold": 0.9, "most_each": 3, "n_taken": 90, "n_wrong": 2, "n_labels": 40, "evidence": 2.5}
    sample = {"n_drawn": 60, "n_learnt": 0, "n_tested": 60, "n_unknown": 1, "n_gold": 100}
    pool = {"n_trajectories": 20, "n_steps": 60}
    written = {"n_labels": 40, "n_trajectories": 18, "n_audits": 2}
    report = {"sample": sample, "pool": pool, "tried": [{**tried, "holds": True}], **written}
    promise = make_acceptance(world.project, report=report, most_each=3)
    AcceptanceAudit.objects.create(acceptance=promise, trajectory=open_, values=[1, None, -1])
    make_learning_point(world.project, 0.8, is_kept=True)
    make_learning_point(world.project, 0.6, is_baseline=True, n_steps=60)
    return world, {
        "run": run.pk,
        "version": prediction.version_id,
        "trajectory": Trajectory.objects.get(pk=disputed.pk).pk,
        "review": Review.objects.get(trajectory=disputed).pk,
        "release": Release.objects.get().pk,
        "job": Job.objects.latest("id").pk,
        "annotator": world.annotator.pk,
    }


@pytest.mark.parametrize("who", PAGES)
def test_every_page_is_clean_in_both_colour_schemes_and_fits_a_phone(
    who: str, page: Page, open_as: Callable[[User, str], Page]
) -> None:
    world, keys = full_world()
    for path in PAGES[who]:
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme="light")
        open_as(world.user(who), path.format(**keys))
        expect(page.locator("h1")).to_have_count(1)
        assert axe_violations(page) == [], path
        page.emulate_media(color_scheme="dark")
        assert axe_violations(page, "color-contrast") == [], f"{path} in the dark"  # nothing else differs
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == 390, path


def test_signing_in_and_out(page: Page, live_server: object, watch: Callable[[Page], Page]) -> None:
    world = make_world()
    watch(page).goto(f"{live_server.url}/projects/demo/")  # type: ignore[attr-defined]  # pytest-django's LiveServer
    assert axe_violations(page) == []
    page.get_by_label("Username").fill(world.annotator.username)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Please enter a correct username and password.")
    page.get_by_label("Username").fill(world.annotator.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/projects/demo/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/accounts/login/")


def test_the_refusal_pages_are_pages(open_as: Callable[[User, str], Page], console_errors: list[str]) -> None:
    world = make_world()
    page = open_as(world.annotator, "/projects/demo/agreement/")
    expect(page.locator("h1")).to_have_text("You may not do this")
    expect(page.get_by_text("This needs the role reviewer or admin; yours in this project is")).to_be_visible()
    assert axe_violations(page) == []
    page = open_as(world.outsider, "/projects/demo/")
    expect(page.locator("h1")).to_have_text("There is no such page")
    assert axe_violations(page) == []
    assert {error.rpartition("status of ")[2] for error in console_errors} == {"403 (Forbidden)", "404 (Not Found)"}
    console_errors.clear()


def test_on_a_phone_what_models_said_is_read_without_scrolling_to_the_side(
    page: Page, open_as: Callable[[User, str], Page]
) -> None:
    world = make_world()
    trajectory = make_trajectory(world.project, n_steps=5)
    why = "The agent calls the search with the words of the question and gets no hit, and goes on all the same. " * 3
    for name in ("GPT-5.2-Chat", "DeepSeek-V3.2", "Qwen3-30B-A3B-Thinking-2507", "Kimi-K2.5", "Gemini-3-Flash-Preview"):
        predict(trajectory, [1, 0, -1, 1, 1], model=name, rationales=[why] * 5)
    page.set_viewport_size({"width": 390, "height": 800})
    open_as(world.admin, f"/projects/demo/trajectories/{trajectory.pk}/models/")
    for cell in page.get_by_role("cell", name="The agent calls the search").all():
        box = cell.bounding_box()
        assert box is not None
        assert box["width"] > 250
        assert box["x"] + box["width"] <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/projects/demo/agreement/", "/projects/demo/raters/"])
def test_links_on_shaded_cells_can_be_read(
    path: str, scheme: Literal["light", "dark"], page: Page, open_as: Callable[[User, str], Page]
) -> None:
    world = make_world()
    for _ in range(3):
        trajectory = make_trajectory(world.project, n_steps=6)
        for who in (world.annotator, world.second):
            judge(trajectory, who, [1, 1, 1, 1, -1, -1])
        predict(trajectory, [1, 1, 1, 1, -1, 1])
    page.emulate_media(color_scheme=scheme)
    open_as(world.reviewer, path)
    assert page.locator(".confusion :is(.shade-3, .shade-4) a").count() > 0
    assert axe_violations(page) == []
