"""The list of projects, the overview of one, tokens and the health check."""

import re

import pytest
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection
from django.test import Client
from knox.models import AuthToken
from pytest_django import DjangoAssertNumQueries

from annotator import flow, jobs
from annotator.labelling import revisions
from annotator.models import AuditEvent, Job, Membership
from annotator.projects import actions as projects
from annotator.queue import actions as queue
from annotator.releases.policy import ReleasePolicy
from tests.factories import World, judge, label, make_member, make_trajectory, make_world, predict


def page(client: Client, url: str) -> str:
    """The page's text without tags and runs of spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(url).content.decode()))


def test_health_needs_no_session(client: Client, db: None) -> None:
    response = client.get("/healthz/")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert not response.cookies
    assert not Session.objects.exists()


def test_health_says_when_the_database_is_gone(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise DatabaseError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", gone)
        response = client.get("/healthz/")
    assert response.status_code == 503
    assert response.json() == {"status": "error", "message": "The database does not answer."}


def test_somebody_without_a_project_is_told_what_to_do(client: Client, world: World) -> None:
    client.force_login(world.outsider)
    text = page(client, "/")
    assert "You are not a member of any project yet." in text
    assert world.outsider.username in text
    assert "judgements" not in text


def test_the_list_shows_each_role_what_waits(client: Client, world: World) -> None:
    judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    disputed = make_trajectory(world.project, n_steps=1)
    judge(disputed, world.annotator, [1])
    judge(disputed, world.second, [-1])
    jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=1, user=None)
    client.force_login(world.annotator)
    text = page(client, "/")
    assert "3 of 4 judgements submitted" in text
    assert "Label next" in text
    assert "to review" not in text
    client.force_login(world.reviewer)
    text = page(client, "/")
    assert "1 trajectory to review" in text
    assert "Label next" not in text
    assert "running" not in text
    client.force_login(world.admin)
    assert "1 trajectory to review · 1 job running" in page(client, "/")


def test_the_list_takes_three_queries_however_many_projects(
    client: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        projects.add_member(make_world(f"more-{number}").project, world.admin, Membership.Role.ADMIN, user=None)
    client.force_login(world.admin)
    with django_assert_num_queries(3):  # session, user, memberships with their counts
        client.get("/")


def test_an_annotator_sees_their_own_work(client: Client, world: World) -> None:
    judge(make_trajectory(world.project, n_steps=2), world.annotator, [1, 1])
    make_trajectory(world.project, n_steps=3, instruction="How deep is the <lake>?")
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    label(claimed, world.annotator, {0: 1})
    client.force_login(world.annotator)
    text = page(client, "/projects/demo/")
    assert "1 submitted today 1 submitted in all 0 skipped" in text
    assert "How deep is the &lt;lake&gt;? 1 of 4" in text
    html = client.get("/projects/demo/").content.decode()
    assert f'href="/assignments/{claimed.pk}/"' in html
    assert f'action="/assignments/{claimed.pk}/release/"' in html
    assert "<strong>every</strong>" in html


def test_what_was_sent_back_waits_first_and_cannot_be_given_back(client: Client, world: World) -> None:
    returned = judge(make_trajectory(world.project, n_steps=2), world.annotator, [1, 1])
    revisions.return_annotation(returned.pk, world.reviewer, "Look at step 2 again.")
    make_trajectory(world.project)
    queue.claim_next(world.project, world.annotator)
    client.force_login(world.annotator)
    text = page(client, "/projects/demo/")
    assert re.search(r"3 of 3 sent back to you Continue .* 0 of 4 \d+ \w+ \d\d:\d\d UTC Continue Give back", text)
    assert text.count("Give back") == 1


def test_an_annotator_sees_nothing_of_their_colleagues(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.annotator, [1])
    judge(trajectory, world.second, [-1])
    client.force_login(world.annotator)
    text = page(client, "/projects/demo/")
    for secret in ("dispute", "agree", world.second.username, world.reviewer.username, "Members"):
        assert secret not in text


def test_the_overview_says_how_the_project_stands(client: Client, world: World) -> None:
    agreed, disputed, _ = (make_trajectory(world.project, n_steps=2) for _ in range(3))
    for annotator in (world.annotator, world.second):
        judge(agreed, annotator, [1, 1])
        judge(disputed, annotator, [1, 1 if annotator == world.annotator else -1])
    client.force_login(world.reviewer)
    text = page(client, "/projects/demo/")
    assert "3 trajectories 6 steps 1 open disputes 0 releases" in text
    assert "4 of 6 wanted judgements submitted" in text
    assert "3 of 6 steps settled: 3 unanimous, 0 majority, 0 adjudicated, 0 discarded" in text
    assert "Review 1 trajectory on which people differ." in text
    assert f"{world.annotator.username} annotator 2 0 0" in text.replace("Annotator", "annotator")
    assert "Publish a release" not in text
    client.force_login(world.admin)
    assert "Publish a release : 1 trajectory is settled now." in page(client, "/projects/demo/")


def test_once_models_have_given_values_the_overview_points_to_a_first_round(client: Client, world: World) -> None:
    made = [make_trajectory(world.project) for _ in range(3)]
    client.force_login(world.admin)
    advice = "Let a round choose what people judge next"
    assert advice not in page(client, "/projects/demo/")
    predict(made[0], [1, 1, 1], kind="rules", probs=[[None] * 3] * 3)
    assert advice not in page(client, "/projects/demo/")
    predict(made[0], [1, -1, 1], model="other")
    assert advice in page(client, "/projects/demo/")
    client.force_login(world.reviewer)
    assert advice not in page(client, "/projects/demo/")
    client.force_login(world.admin)
    client.post("/projects/demo/selection/start/")
    assert advice not in page(client, "/projects/demo/")


def test_the_overview_of_a_new_project_says_where_to_begin(client: Client, db: None) -> None:
    project = projects.create_project("new", projects.ProjectSettings(), user=None)
    client.force_login(make_member(project, "admin"))
    text = page(client, "/projects/new/")
    assert "Import trajectories ; there are none yet." in text
    assert "The project has no annotators." in text
    assert "This project has no guideline yet." in text


def test_what_nobody_is_left_to_judge_is_named(client: Client, world: World) -> None:
    make_trajectory(world.project, n_steps=1, external_id="in-latin")
    client.force_login(world.reviewer)
    for annotator in (world.annotator, world.second):
        assert "Nobody is left" not in page(client, "/projects/demo/")
        slot = queue.claim_next(world.project, annotator)
        assert slot is not None
        queue.skip(slot.pk, annotator, "It is in Latin.")
    text = page(client, "/projects/demo/")
    assert "Nobody is left to judge these" in text
    assert "in-latin , skipped 2 times" in text
    make_member(world.project)
    assert "Nobody is left" not in page(client, "/projects/demo/")


@pytest.mark.parametrize(("who", "n_queries"), [("annotator", 7), ("reviewer", 15)])
def test_the_overview_has_a_query_budget(
    client: Client, world: World, who: str, n_queries: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(3):
        make_trajectory(world.project)
        queue.claim_next(world.project, world.annotator)
    client.force_login(world.user(who))
    with django_assert_num_queries(n_queries):
        client.get("/projects/demo/")


def test_a_token_is_shown_once_and_opens_the_api(client: Client, world: World) -> None:
    client.force_login(world.annotator)
    response = client.post("/tokens/")
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    found = re.search(r'<code class="token">([^<]+)</code>', response.content.decode())
    assert found
    token = found[1]
    stored = AuthToken.objects.get()
    assert stored.user == world.annotator
    assert stored.expiry is not None
    assert token.startswith(stored.token_key)
    assert token not in client.get("/tokens/").content.decode()
    api = Client().get("/api/v1/projects/", headers={"authorization": f"Bearer {token}"})
    assert api.status_code == 200
    assert AuditEvent.objects.filter(action="token.created", user=world.annotator).count() == 1


def test_looking_at_the_tokens_makes_none(client: Client, world: World) -> None:
    client.force_login(world.annotator)
    assert "You have no tokens yet." in page(client, "/tokens/")
    assert not AuthToken.objects.exists()


def test_only_own_tokens_can_be_revoked(client: Client, world: World) -> None:
    mine, _ = AuthToken.objects.create(user=world.annotator)
    theirs, _ = AuthToken.objects.create(user=world.second)
    client.force_login(world.annotator)
    assert client.post(f"/tokens/{theirs.token_key}/revoke/").status_code == 404
    assert client.get(f"/tokens/{mine.token_key}/revoke/").status_code == 405
    assert AuthToken.objects.count() == 2
    assert theirs.token_key not in page(client, "/tokens/")
    response = client.post(f"/tokens/{mine.token_key}/revoke/", follow=True)
    assert f"The token that begins with {mine.token_key} no longer opens anything." in response.content.decode()
    assert AuthToken.objects.get() == theirs


def test_the_overview_names_the_latest_release(client: Client, transactional_db: None) -> None:
    world = make_world()
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.annotator, [1])
    judge(trajectory, world.second, [1])
    flow.publish(world.project, ReleasePolicy(), user=world.admin)
    client.force_login(world.reviewer)
    assert "Latest release: version 1" in page(client, "/projects/demo/")
