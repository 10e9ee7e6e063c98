"""Throughput, forecast and who waits for what on the overview; the operators' own admin."""

import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.test import Client
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator.dashboard import progress
from annotator.labelling.revisions import return_annotation
from annotator.models import (
    AuditEvent,
    Invitation,
    Label,
    LabelEvent,
    LoginAttempt,
    Membership,
    Project,
    ReferenceLabel,
    ReleaseRow,
    Step,
    UploadChunk,
    User,
)
from annotator.projects import actions, invitations
from annotator.queue import actions as queue
from tests.factories import World, judge, make_project, make_trajectory, make_user


def overview(client: Client) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get("/projects/demo/").content.decode()))


def test_the_forecast_follows_the_last_seven_days(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(7):
        judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    client.force_login(world.reviewer)
    assert "At the pace of the project's first day (7.0 a day) the 7 open judgements take 1 day." in overview(client)
    Project.objects.update(created_at=now() - timedelta(days=2))
    assert "At the pace of the last 3 days (2.3 a day) the 7 open judgements take 3 days." in overview(client)
    Project.objects.update(created_at=now() - timedelta(days=30))
    world.project.refresh_from_db()
    text = overview(client)
    assert "At the pace of the last 7 days (1.0 a day) the 7 open judgements take 7 days." in text
    chart = progress.throughput(world.project, 7)
    assert [bar.n for bar in chart.bars] == [0] * 13 + [7]
    assert (chart.bars[-1].height, chart.bars[0].height, chart.bars[-1].day) == (80.0, 0.0, now().date())
    monkeypatch.setattr(progress, "now", lambda: now() + timedelta(days=8))
    later = progress.throughput(world.project, 7)
    assert [bar.n for bar in later.bars] == [0] * 5 + [7] + [0] * 8
    assert (later.pace, later.days_left) == (0.0, None)
    assert "Nothing was submitted in the last 7 days" in overview(client)


def test_a_project_without_work_has_no_forecast(client: Client, world: World) -> None:
    client.force_login(world.reviewer)
    assert "There is nothing to judge yet." in overview(client)
    trajectory = make_trajectory(world.project, n_steps=1)
    for annotator in (world.annotator, world.second):
        judge(trajectory, annotator, [1])
    assert "Every wanted judgement is submitted." in overview(client)


def test_the_chart_is_also_a_table(client: Client, world: World) -> None:
    judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    client.force_login(world.reviewer)
    html = client.get("/projects/demo/").content.decode()
    assert html.count('<rect x="') == 14 + 3  # and the three bars of the logo
    assert f'<th scope="row">{now():%a} {now().day} {now():%B}</th><td class="num">1</td>' in html


def test_the_overview_says_who_waits_for_what(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    mine = judge(trajectory, world.annotator, [1])
    judge(trajectory, world.second, [-1])
    return_annotation(mine.pk, world.reviewer, "Look again.")
    make_trajectory(world.project, n_steps=1)
    queue.claim_next(world.project, world.second)
    client.force_login(world.reviewer)
    text = overview(client)
    assert "1 judgement waits for an annotator to take it." in text
    assert f"1 claimed trajectory is with {world.second.username}." in text
    assert "1 dispute waits for a reviewer" in text
    assert f"1 returned annotation waits for {world.annotator.username}." in text
    actions.remove_member(Membership.objects.get(user=world.annotator), user=world.admin)
    assert f"{world.annotator.username}, who is no longer a member and cannot finish it." in overview(client)
    actions.remove_member(Membership.objects.get(user=world.second), user=world.admin)
    assert f"{world.second.username}, who is no longer a member; it goes back to the queue" in overview(client)


def test_an_admin_of_a_new_project_is_told_what_it_lacks(client: Client, world: World) -> None:
    empty = make_project("empty")
    actions.add_member(empty, world.admin, Membership.Role.ADMIN, user=None)
    client.force_login(world.admin)
    html = client.get("/projects/empty/").content.decode()
    for page, said in (
        ("import", "Import trajectories"),
        ("guideline", "Write the guideline"),
        ("members", "Invite one"),
    ):
        assert f'<a href="/projects/empty/{page}/">{said}</a>' in html
    assert "Write the guideline" not in client.get("/projects/demo/").content.decode()


@pytest.mark.parametrize(
    ("is_staff", "is_superuser", "status"), [(False, False, 302), (True, False, 403), (True, True, 200)]
)
def test_djangos_admin_is_for_operators(
    client: Client, world: World, is_staff: bool, is_superuser: bool, status: int
) -> None:
    user = make_user()
    User.objects.filter(pk=user.pk).update(is_staff=is_staff, is_superuser=is_superuser)
    client.force_login(user)
    assert client.get("/operators/annotator/auditevent/").status_code == status


def test_operators_look_at_what_is_final_and_change_none_of_it(client: Client, world: World) -> None:
    operator = User.objects.create_superuser("root", password="long enough 1")
    invitation, _ = invitations.invite(world.project, Membership.Role.ANNOTATOR, "", user=world.admin)
    client.force_login(operator)
    event = AuditEvent.objects.latest("id")
    assert client.get(f"/operators/annotator/auditevent/{event.pk}/change/").status_code == 200
    for url in (f"{event.pk}/change/", f"{event.pk}/delete/", "add/"):
        assert client.post(f"/operators/annotator/auditevent/{url}", {"action": "x"}).status_code == 403
    shown = client.get(f"/operators/annotator/invitation/{invitation.pk}/change/").content.decode()
    assert Invitation.objects.get().secret_sha256 not in shown


def test_operators_find_every_table_and_no_query_per_row(
    client: Client, world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(User.objects.create_superuser("root", password="long enough 1"))
    trajectory = make_trajectory(world.project, n_steps=9)
    for annotator in (world.annotator, world.second):
        judge(trajectory, annotator, [1] * 9)
    registered = [model for model in admin.site._registry if model._meta.app_label == "annotator"]
    assert {Label, LabelEvent, Step, ReferenceLabel, ReleaseRow, User} <= set(registered)
    assert not {LoginAttempt, UploadChunk} & set(registered)
    for model in registered:
        with django_assert_max_num_queries(6):
            assert client.get(f"/operators/annotator/{model._meta.model_name}/").status_code == 200
