"""The audit trail page."""

import re

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from annotator import audit, jobs
from annotator.dashboard import audit_views
from annotator.models import AuditEvent, Job
from annotator.projects import actions
from tests.factories import World, judge, make_trajectory, make_world

URL = "/projects/demo/audit/"


def shown(client: Client, query: str = "") -> list[tuple[str, str]]:
    """Action and object of each event on the page."""
    response = client.get(URL + query)
    assert response.status_code == 200
    rows = [row.event for row in response.context["rows"]]
    return [(event.action, f"{event.object_type} {event.object_id}") for event in rows]


def test_events_are_shown_newest_first_with_their_details(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project)
    audit.log("trajectory.x", trajectory, user=world.reviewer, project_id=world.project.pk, data={"why": "<b>"})
    client.force_login(world.admin)
    assert shown(client)[0] == ("trajectory.x", f"trajectory {trajectory.pk}")
    assert shown(client)[-1][0] == "project.created"
    html = client.get(URL).content.decode()
    assert "why: &quot;&lt;b&gt;&quot;" in html
    assert f'href="/projects/demo/trajectories/{trajectory.pk}/"' in html


def test_filters_narrow_the_events(client: Client, world: World) -> None:
    job = jobs.create(world.project, Job.Kind.IMPORT, {"name": "a"}, unit="bytes", n_total=1, user=world.admin)
    actions.change_settings(world.project, {"claim_minutes": 5}, user=world.admin)
    changed = ("project.changed", f"project {world.project.pk}")
    queued = ("job.queued", f"job {job.pk}")
    client.force_login(world.admin)
    assert shown(client, f"?who={world.admin.username}") == [changed, queued]
    assert shown(client, "?action=job.") == [queued]
    assert shown(client, f"?object_type=Job&object_id={job.pk}") == [queued]
    assert shown(client, "?until=2020-01-01") == []
    assert len(shown(client, "?since=2020-01-01")) == AuditEvent.objects.count()
    assert "No event fits." in client.get(f"{URL}?who=nobody").content.decode()


@pytest.mark.parametrize("query", ["?object_id=x", "?since=yesterday", "?before=0", "?object_id=9999999999999999999"])
def test_a_filter_that_is_none_comes_back_as_the_form(client: Client, world: World, query: str) -> None:
    client.force_login(world.admin)
    assert client.get(URL + query).status_code == 422


def test_older_events_are_on_further_pages(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_views, "PER_PAGE", 4)
    client.force_login(world.admin)
    n_events = AuditEvent.objects.filter(project=world.project).count()
    first = client.get(f"{URL}?since=2020-01-01")
    older = first.context["older"]
    assert f"since=2020-01-01&amp;before={older}" in first.content.decode()
    rest = shown(client, f"?before={older}")
    assert (len(first.context["rows"]), len(rest)) == (4, n_events - 4)
    assert "Newest" in client.get(f"{URL}?before={older}").content.decode()


def test_another_projects_events_are_not_shown(client: Client, world: World) -> None:
    make_world("other")
    client.force_login(world.admin)
    mine = AuditEvent.objects.filter(project=world.project).count()
    assert len(shown(client)) == mine < AuditEvent.objects.count()


def test_the_page_takes_four_queries(
    client: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(world.admin)
    with django_assert_num_queries(4):  # session, user, membership, events
        client.get(URL)


def test_every_event_leads_to_the_page_of_its_object(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.annotator, [1])
    client.force_login(world.admin)
    html = client.get(URL).content.decode()
    opened = dict(re.findall(r'<a href="([^"]+)" aria-label="Open (\w+) \d+"', html))
    page = f"/projects/demo/trajectories/{trajectory.pk}/"
    assert set(opened) == {page, "/projects/demo/members/", "/projects/demo/guideline/", "/projects/demo/settings/"}
    for name in ("annotation", "assignment"):
        assert re.search(rf'href="{page}" aria-label="Open {name} \d+"', html)


def test_the_links_take_one_query_per_kind_of_object(
    client: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(3):
        judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    client.force_login(world.admin)
    with django_assert_num_queries(6):  # session, user, membership, events, annotations, assignments
        client.get(URL)


def test_a_filter_that_makes_no_sense_says_so(client: Client, world: World) -> None:
    client.force_login(world.admin)
    response = client.get(f"{URL}?object_id=x")
    assert response.status_code == 422
    html = response.content.decode()
    assert "Enter a whole number." in html
    assert "Nothing is shown until the marked field is mended." in html
    assert "No event fits" not in html
