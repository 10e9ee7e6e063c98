"""The pages, the API and the command of acceptance."""

import math
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.acceptance import actions
from annotator.acceptance.terms import Terms
from annotator.management.commands.accept import Command
from annotator.models import Acceptance, AcceptanceAudit, GoldLabel, Job
from annotator.projects.actions import change_settings
from annotator.releases.freezing import releasable
from annotator.selection import actions as selection
from tests.acceptance.test_actions import _same_chance_each_time, accept, alone, draw, make_pool, promised
from tests.factories import World, judge, make_acceptance, make_trajectory

__all__ = ["_same_chance_each_time", "alone", "promised"]  # fixtures

pytestmark = pytest.mark.django_db

URL = "/projects/demo/acceptance/"
API = "/api/v1/projects/demo/acceptances/"


def text(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_without_a_sample_the_page_says_what_is_missing(client: Client, world: World) -> None:
    client.force_login(world.admin)
    page = text(client, URL)
    assert "0 trajectories drawn at random" in page
    assert "There are 0, of which 0 can be spared for the test; it needs 50 at least." in page
    assert '<button class="btn primary" id="start-acceptance" disabled>' in page
    response = client.post(URL, {"epsilon": "5", "delta": "10", "audit_share": "10"}, follow=True)
    said = response.content.decode()
    assert "Nothing was started: something is missing, see below." in said
    assert said.count("The promise is tested on trajectories") == 1
    assert not Acceptance.objects.exists()


@pytest.mark.parametrize("who", ["annotator", "reviewer"])
def test_only_admins_see_and_start_promises(client: Client, world: World, who: str) -> None:
    make_acceptance(world.project)
    client.force_login(world.user(who))
    for url in (URL, f"{URL}1/"):
        assert client.get(url).status_code == 403
    assert client.post(URL, {"epsilon": "5"}).status_code == 403
    assert client.post(f"{URL}1/stop/", {"labels": "withdraw"}).status_code == 403
    assert Acceptance.objects.get().status == "active"


def test_after_a_broken_promise_the_page_says_what_was_drawn_since(client: Client, alone: World) -> None:
    make_pool(alone, 60)
    draw(alone, 20)
    make_acceptance(alone.project, status="broken", stopped_at=now())
    client.force_login(alone.admin)
    page = text(client, URL)
    assert "rounds</a>, since the audit broke acceptance 1, and taken up by people" in page
    assert "0 trajectories drawn at random" in page
    assert "20 other trajectories with gold" in page
    assert "drew at random, after the audit broke acceptance 1, and people judged blind. There are 0" in page


def test_the_page_of_a_round_says_what_a_promise_has_made_of_it(client: Client, alone: World) -> None:
    make_pool(alone, 160)
    draw(alone, 110)
    policy = {"shares": {"oldest": 80, "random": 20}, "n_wanted": 20}
    change_settings(alone.project, {"selection_policy": policy}, user=alone.admin)
    flow.run_job(selection.start(alone.project, user=alone.admin).pk)
    promise = accept(alone)
    n_audits = promise.audits.filter(trajectory__picks__round__number=2).count()
    client.force_login(alone.admin)
    page = text(client, "/projects/demo/selection/2/")
    assert "<dt>Still waiting</dt><dd>4</dd>" in page  # the random part is left to people
    said = f"{16 - n_audits} were accepted, {n_audits} went to an audit"
    assert f"<dt>Not taken by anybody</dt><dd>{said}</dd>" in page
    assert n_audits
    actions.stop(promise, withdraws=True, user=alone.admin)
    flow.run_job(Job.objects.latest("pk").pk)
    page = text(client, "/projects/demo/selection/2/")
    said = f"{16 - n_audits} went back to the pool, {n_audits} went to an audit"
    assert f"<dt>Not taken by anybody</dt><dd>{said}</dd>" in page


def test_the_page_counts_only_what_the_sample_could_draw(client: Client, alone: World) -> None:
    make_pool(alone, 60)
    draw(alone, 55)
    make_pool(alone, 60)
    client.force_login(alone.admin)
    page = text(client, URL)
    late = "60 more came after the first of these rounds and are not covered</dd>"
    assert f"5 trajectories that models have rated and nobody has begun; {late}" in page
    draw(alone, 55)
    page = text(client, URL)
    assert "55 trajectories drawn at random" in page
    assert (
        "</a>, from round 2 on, because most of what it could draw had come since the earlier ones, and taken" in page
    )
    assert "10 trajectories that models have rated and nobody has begun</dd>" in page


def test_a_promise_in_percent_is_tested_and_shown(client: Client, alone: World) -> None:
    make_pool(alone, 160)
    draw(alone, 110)
    client.force_login(alone.admin)
    assert client.post(URL, {"epsilon": "90", "delta": "10", "audit_share": "10"}).status_code == 422
    response = client.post(URL, {"epsilon": "20", "delta": "20", "audit_share": "20"})
    assert (response.status_code, response["Location"]) == (302, f"{URL}1/")
    promise = Acceptance.objects.get()
    assert (promise.epsilon, promise.delta, promise.audit_share, promise.created_by) == (0.2, 0.2, 0.2, alone.admin)
    page = text(client, f"{URL}1/")
    assert "It is being tested." in page
    assert f'<div id="promise" hx-get="{URL}1/" hx-trigger="every 1s" hx-select="#promise"' in page
    assert "One is being tested." in text(client, URL)
    flow.run_job(promise.job_id)
    promise.refresh_from_db()
    page = text(client, f"{URL}1/")
    assert "The promise: with 80.0 % certainty at most 20.0 % of the accepted labels are wrong" in page
    assert f"{promise.report['n_labels']} of 150 steps" in page
    assert '<div id="promise">' in page
    assert "What is left of these, and the outcome where it was wanted, is asked of people.</dd>" in page
    assert f"Evidence of {math.log(5):.2f} proves a rule" in page
    assert page.count('<span class="badge good">chosen</span>') == 1
    assert f"0 of {promise.audits.count()} trajectories that people got whole and blind instead" in page
    assert '<span class="badge good">in force</span>' in text(client, URL)


@pytest.mark.parametrize("over", ["page", "api"])
def test_one_that_is_cancelled_while_it_is_queued_ends_at_once(client: Client, alone: World, over: str) -> None:
    make_pool(alone, 130)
    draw(alone, 110)
    job = actions.start(alone.project, Terms(), user=alone.admin)
    client.force_login(alone.admin)
    client.post(f"/jobs/{job.pk}/cancel/" if over == "page" else f"/api/v1/jobs/{job.pk}/cancel/")
    promise = Acceptance.objects.get()
    assert (promise.status, promise.stop_reason) == ("stopped", "Its job was cancelled. Nothing stays accepted.")
    overview = text(client, URL)
    assert "being tested" not in overview
    assert '>stopped</span> <span class="muted small">Its job was cancelled. Nothing stays accepted.</span>' in overview
    page = text(client, f"{URL}1/")
    assert "Its job was cancelled. Nothing stays accepted.</p>" in page
    assert "being tested" not in page
    assert "stopped by an admin" not in overview + page  # or nobody, if it had failed


def test_a_refused_promise_says_so(client: Client, alone: World) -> None:
    promise = make_acceptance(
        alone.project,
        status="refused",
        threshold=None,
        report={
            "sample": {"n_drawn": 60, "n_learnt": 0, "n_tested": 60, "n_unknown": 2, "n_gold": 100},
            "pool": {"n_trajectories": 9, "n_steps": 90},
            "tried": [
                {"threshold": 0.9, "most_each": None, "n_taken": 40, "n_wrong": 8, "n_labels": 50, "evidence": -2.5,
                 "holds": False}
            ],
        },
    )  # fmt: skip
    client.force_login(alone.admin)
    page = text(client, f"{URL}{promise.number}/")
    assert "none: the sample does not prove of any rule that it keeps the promise. Nothing was accepted." in page
    assert "8 (20.0 %)" in page
    assert "2 of which were not judged in full and counted as wrong" in page
    assert "The audit" not in page


def test_an_admin_ends_a_promise_on_its_page(client: Client, alone: World, promised: Acceptance) -> None:
    client.force_login(alone.admin)
    response = client.post(f"{URL}1/stop/", {"labels": "withdraw"}, follow=True)
    assert "Acceptance 1 is over. Its labels are being taken back." in response.content.decode()
    assert '<div id="promise" hx-get=' in response.content.decode()
    assert promised.report["n_labels"] > 0
    flow.run_job(Job.objects.get(kind="withdraw").pk)
    assert not GoldLabel.objects.filter(acceptance=promised).exists()
    page = text(client, f"{URL}1/")
    assert "An admin ended it, to have its labels taken back. <a" in page
    assert page.count("Its labels were taken back") == 1
    assert "being taken back" not in page
    assert '<div id="promise">' in page
    response = client.post(f"{URL}1/stop/", {"labels": "keep"}, follow=True)
    assert "acceptance 1 is not in force" in response.content.decode()


def test_a_withdrawal_that_was_cancelled_is_not_called_done(client: Client, world: World) -> None:
    """Until it is tried again its labels are gold, but in no release."""
    promise = make_acceptance(world.project)
    trajectory = make_trajectory(world.project, n_steps=2)
    for step in trajectory.steps.all():
        GoldLabel.objects.create(
            trajectory=trajectory, step=step, value=1, provenance="certified", acceptance=promise, settled_at=now()
        )
    kept = make_acceptance(world.project)
    assert list(releasable(world.project)) == [trajectory]
    assert actions.stop(kept, withdraws=False, user=world.admin) is None
    assert set(Acceptance.objects.standing()) == {promise, kept}
    job = actions.stop(promise, withdraws=True, user=world.admin)
    assert job is not None
    client.force_login(world.admin)
    assert "Its labels are being taken back" in text(client, f"{URL}1/")
    assert (list(releasable(world.project)), list(Acceptance.objects.standing())) == ([], [kept])
    client.post(f"/jobs/{job.pk}/cancel/")
    page = text(client, f"{URL}1/")
    assert "2 of its labels are still gold, though no release counts them" in page
    assert "Its labels" not in page
    assert GoldLabel.objects.filter(acceptance=promise).count() == 2
    assert list(releasable(world.project)) == []
    client.post(f"/jobs/{job.pk}/retry/")
    flow.run_job(Job.objects.latest("pk").pk)
    assert not GoldLabel.objects.filter(acceptance=promise).exists()
    assert text(client, f"{URL}1/").count("Its labels were taken back") == 1


def accepted_by_hand(world: World) -> Acceptance:
    promise = make_acceptance(world.project)
    trajectory = make_trajectory(world.project, n_steps=2)
    for step in trajectory.steps.all():
        GoldLabel.objects.create(
            trajectory=trajectory, step=step, value=1, provenance="certified", acceptance=promise, settled_at=now()
        )
    return promise


def test_kept_labels_are_taken_back_on_the_page(client: Client, world: World) -> None:
    promise = accepted_by_hand(world)
    client.force_login(world.admin)
    response = client.post(f"{URL}1/stop/", {"labels": "keep"}, follow=True)
    page = " ".join(response.content.decode().split())
    assert "Acceptance 1 is over. Its labels stay." in page
    assert "Its 2 labels can still go back to people" in page
    assert "End it" not in page
    assert page.count('value="withdraw">Take its labels back</button>') == 1
    response = client.post(f"{URL}1/stop/", {"labels": "withdraw"}, follow=True)
    page = " ".join(response.content.decode().split())
    assert "Acceptance 1 is over. Its labels are being taken back." in page
    assert 'value="withdraw"' not in page
    flow.run_job(Job.objects.get(kind="withdraw").pk)
    assert not GoldLabel.objects.filter(acceptance=promise).exists()
    assert 'value="withdraw"' not in text(client, f"{URL}1/")


def test_the_command_takes_labels_back(world: World) -> None:
    promise = accepted_by_hand(world)
    actions.stop(promise, withdraws=False, user=world.admin)
    with pytest.raises(CommandError, match="demo has no acceptance 7; the page Acceptance lists them"):
        call_command("accept", "demo", withdraw=7)
    out = StringIO()
    call_command("accept", "demo", withdraw=1, no_wait=True, stdout=out)
    job = Job.objects.get(kind="withdraw")
    assert out.getvalue() == f"Started as job {job.pk}.\n"
    flow.run_job(job.pk)
    job.refresh_from_db()
    out = StringIO()
    Command(stdout=out).tell(job.result)
    assert out.getvalue() == "Acceptance 1: 2 labels were taken back.\n"
    with pytest.raises(CommandError, match=f"Job {job.pk} takes its labels back"):
        call_command("accept", "demo", withdraw=1)


def test_the_api_lists_and_ends_promises(client: Client, alone: World) -> None:
    promise = make_acceptance(alone.project)
    trajectory = make_trajectory(alone.project, n_steps=2)
    AcceptanceAudit.objects.create(acceptance=promise, trajectory=trajectory, values=[1, None])
    judge(trajectory, alone.annotator, [-1, 1])
    client.force_login(alone.admin)
    found: dict[str, Any] = client.get(API).json()["results"][0]
    assert (found["number"], found["status"], found["threshold"]) == (1, "active", 0.9)
    assert found["audit"] | {"evidence": 0} == {
        "n_audits": 1, "n_settled": 1, "n_taken": 1, "n_wrong": 1, "evidence": 0
    }  # fmt: skip
    assert found["audit"]["evidence"] == pytest.approx(actions.audited(promise).evidence)
    stop = f"{API}1/stop/"
    assert client.post(stop, {"withdraw": "perhaps"}, content_type="application/json").status_code == 400
    assert client.post(stop, {"withdraw": False}, content_type="application/json").json()["status"] == "stopped"
    assert client.post(stop, {"withdraw": True}, content_type="application/json").status_code == 409
    step = trajectory.steps.get(index=0)
    GoldLabel.objects.filter(step=step).update(provenance="certified", acceptance=promise)
    taken_back = client.post(stop, {"withdraw": True}, content_type="application/json").json()
    assert taken_back["stop_reason"] == "An admin ended it, kept its labels at first, and had them taken back later."
    assert Job.objects.filter(kind="withdraw").count() == 1
    refused = client.post(API, {"epsilon": 2}, content_type="application/json")
    assert (refused.status_code, "epsilon: Input should be less" in refused.json()["error"]["message"]) == (400, True)


def test_the_command_starts_one_and_names_what_is_wrong(alone: World) -> None:
    with pytest.raises(CommandError, match="epsilon: Input should be less than or equal to"):
        call_command("accept", "demo", epsilon=0.5)
    make_pool(alone, 130)
    draw(alone, 110)
    out = StringIO()
    call_command("accept", "demo", epsilon=0.1, no_wait=True, stdout=out)
    promise = Acceptance.objects.get()
    assert out.getvalue() == f"Started as job {promise.job_id}.\n"
    assert (promise.epsilon, promise.delta, promise.created_by) == (0.1, 0.1, None)


def test_the_api_lists_many_promises_by_as_many_statements(
    client: Client, alone: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(alone.admin)
    trajectory = make_trajectory(alone.project)
    for n in (1, 4):
        while alone.project.acceptances.count() < n:
            promise = make_acceptance(alone.project, status="stopped")
            AcceptanceAudit.objects.create(acceptance=promise, trajectory=trajectory, values=[1, None, None])
        with django_assert_num_queries(6):
            found = client.get(API).json()["results"]
        assert [one["audit"]["n_audits"] for one in found] == [1] * n
