"""Who may open which page."""

import pytest
from django.test import Client

from annotator import jobs
from annotator.models import Job
from tests.factories import World, make_trajectory, make_world

ALL = ("annotator", "reviewer", "admin")
SETTLERS = ("reviewer", "admin")
ADMIN = ("admin",)

PAGES: list[tuple[str, str, tuple[str, ...], int]] = [
    ("GET", "/projects/demo/", ALL, 200),
    ("GET", "/projects/demo/trajectories/", SETTLERS, 200),
    ("GET", "/projects/demo/trajectories/{trajectory}/", SETTLERS, 200),
    ("GET", "/projects/demo/import/", ADMIN, 200),
    ("GET", "/projects/demo/jobs/", ADMIN, 200),
    ("GET", "/jobs/{job}/", ADMIN, 200),
    ("GET", "/projects/demo/releases/", SETTLERS, 200),
]
POSTS: list[tuple[str, str, tuple[str, ...], int]] = [
    ("POST", "/projects/demo/import/", ADMIN, 422),
    ("POST", "/jobs/{job}/cancel/", ADMIN, 302),
    ("POST", "/jobs/{job}/import/", ADMIN, 409),
    ("POST", "/projects/demo/releases/", ADMIN, 422),
]
WHO = [None, "outsider", *ALL]


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(("method", "url", "allowed", "answer"), PAGES + POSTS, ids=str)
def test_access(
    client: Client, world: World, who: str | None, method: str, url: str, allowed: tuple[str, ...], answer: int
) -> None:
    trajectory = make_trajectory(world.project)
    job = jobs.create(world.project, Job.Kind.IMPORT_CHECK, {"name": "a"}, unit="bytes", n_total=9, user=world.admin)
    if who:
        client.force_login(world.user(who))
    response = client.generic(method, url.format(trajectory=trajectory.pk, job=job.pk))
    expected = {None: 302, "outsider": 404}.get(who, answer if who in allowed else 403)
    assert response.status_code == expected
    if who is None:
        assert response["Location"].startswith("/accounts/login/?next=")
    if expected in (302, 404, 403) and who not in allowed:
        job.refresh_from_db()
        assert (job.status, Job.objects.count()) == (Job.Status.QUEUED, 1)


@pytest.mark.parametrize("url", ["/", "/tokens/"])
def test_everybody_has_their_own_list(client: Client, world: World, url: str) -> None:
    assert client.get(url).status_code == 302
    for who in ("outsider", *ALL):
        client.force_login(world.user(who))
        assert client.get(url).status_code == 200


@pytest.mark.parametrize("url", ["/projects/nowhere/", "/projects/demo/trajectories/99999/", "/jobs/99999/"])
def test_what_does_not_exist_is_not_found(client: Client, world: World, url: str) -> None:
    client.force_login(world.admin)
    assert client.get(url).status_code == 404


def test_a_trajectory_is_not_found_under_another_project(client: Client, world: World) -> None:
    other = make_world("other")
    trajectory = make_trajectory(other.project)
    client.force_login(world.admin)
    assert client.get(f"/projects/demo/trajectories/{trajectory.pk}/").status_code == 404
