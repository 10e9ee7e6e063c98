"""Publishing on the page, and fetching what was published."""

import hashlib
import json
import re

import pytest
from django.http import StreamingHttpResponse
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.models import Job, Release
from annotator.releases import actions, files
from annotator.releases.exporters import EXPORTERS
from annotator.releases.policy import ReleasePolicy
from tests.factories import World, judge, make_trajectory, make_world

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/projects/demo/releases/"
FORM = {
    "provenances": ["unanimous", "adjudicated"],
    "undecidable": "leave_out",
    "discarded": "mask",
    "neutral": "negative",
    "error_view": "stop_at_first",
    "train": "50",
    "validation": "12.5",
    "test": "37.5",
    "seed": "7",
}


@pytest.fixture
def world(transactional_db: None) -> World:
    world = make_world()
    for number in range(4):
        trajectory = make_trajectory(world.project, n_steps=2, group_key=f"g{number}")
        judge(trajectory, world.annotator, [1, -1])
        judge(trajectory, world.second, [1, -1])
    make_trajectory(world.project)
    return world


@pytest.fixture
def release(world: World) -> Release:
    job = flow.publish(world.project, ReleasePolicy(splits={"train": 0.5, "test": 0.5}), user=world.admin)
    return Release.objects.get(pk=job.result["release"])


@pytest.fixture
def admin(client: Client, world: World) -> Client:
    client.force_login(world.admin)
    return client


@pytest.mark.parametrize("path", ["", "manifest/", "export/?format=provenance"])
def test_who_may_fetch_a_release(client: Client, world: World, release: Release, path: str) -> None:
    url = f"/releases/{release.pk}/{path}"
    assert client.get(url).status_code == 302
    for who, status in {"outsider": 404, "annotator": 403, "reviewer": 200, "admin": 200}.items():
        client.force_login(world.user(who))
        assert client.get(url).status_code == status


def test_a_release_that_is_not_published_is_not_found(admin: Client, world: World) -> None:
    draft = actions.begin(world.project, ReleasePolicy(), user=None)
    for path in ("", "manifest/", "export/?format=provenance"):
        assert admin.get(f"/releases/{draft.pk}/{path}").status_code == 404
    assert "Release 1" not in admin.get(URL).content.decode()


def test_only_admins_publish(client: Client, world: World) -> None:
    client.force_login(world.reviewer)
    html = client.get(URL).content.decode()
    assert "Nothing is published yet. An admin publishes releases." in html
    assert "<button" not in html[html.index("<main") :]
    assert client.post(URL, FORM).status_code == 403
    assert not Release.objects.exists()


def test_an_admin_publishes_with_the_policy_of_the_form(admin: Client, world: World) -> None:
    assert "4 of 5 trajectories are settled now" in admin.get(URL).content.decode()
    response = admin.post(URL, FORM)
    release = Release.objects.published().get()
    assert (response.status_code, response["Location"]) == (302, f"/releases/{release.pk}/")
    assert release.created_by == world.admin
    assert release.policy == {
        "provenances": ["unanimous", "adjudicated"],
        "undecidable": "leave_out",
        "discarded": "mask",
        "neutral": "negative",
        "error_view": "stop_at_first",
        "splits": {"train": 0.5, "validation": 0.125, "test": 0.375},
        "seed": 7,
    }
    html = admin.get(URL).content.decode()
    assert "Release 1" in html
    # The next release begins with the policy of the last one.
    assert '<option value="leave_out" selected>' in html
    assert 'name="validation" value="12.5"' in html


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test": "40"}, "The shares of the splits add up to 102.5 %; they must add up to 100 %."),
        ({"provenances": []}, "This field is required."),
        ({"seed": "x"}, "Enter a whole number."),
        ({"train": "-1"}, "greater than or equal to 0"),
        ({"neutral": "maybe"}, "Select a valid choice."),
    ],
)
def test_a_form_that_does_not_fit_comes_back(admin: Client, change: dict[str, object], said: str) -> None:
    response = admin.post(URL, {**FORM, **change})
    assert response.status_code == 422
    assert said in response.content.decode()
    assert not Job.objects.exists()


def test_a_policy_that_leaves_nothing_says_so_in_the_form(admin: Client) -> None:
    response = admin.post(URL, {**FORM, "provenances": ["adjudicated"]})
    assert response.status_code == 422
    assert "There is nothing to release" in response.content.decode()
    assert 'name="seed" value="7"' in response.content.decode()
    assert not Release.objects.exists()


def test_a_large_release_leads_to_its_job(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "PUBLISH_AT_ONCE_STEPS", 0)
    response = admin.post(URL, FORM)
    job = Job.objects.get()
    assert response["Location"] == f"/jobs/{job.pk}/"
    flow.run_job(job.pk)
    assert f'href="/releases/{Release.objects.get().pk}/"' in admin.get(f"/jobs/{job.pk}/").content.decode()


def test_the_page_of_a_release_lists_its_files(
    admin: Client, release: Release, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(6):  # session, user, release, membership, publisher, raters
        html = admin.get(f"/releases/{release.pk}/").content.decode()
    for name, about in release.manifest["files"].items():
        assert f">{name}</a>" in html
        assert about["sha256"] in html
    assert files.manifest_sha256(release) in html
    assert "load_dataset(" in html
    assert "1: trajectory not settled yet" in html
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "4 trajectories 8 steps 16 labels behind them" in text
    assert "Raw agreement on steps 1.000" in text


def test_only_admins_see_who_is_behind_the_codes(client: Client, world: World, release: Release) -> None:
    code = world.project.memberships.get(user=world.annotator).rater_code
    for who, sees in (("admin", True), ("reviewer", False)):
        client.force_login(world.user(who))
        html = client.get(f"/releases/{release.pk}/").content.decode()
        assert (code in html) is sees
        assert (world.annotator.username in html) is sees


@pytest.mark.parametrize("format_name", list(EXPORTERS))
@pytest.mark.parametrize("split", [None, "train"])
def test_a_downloaded_file_has_the_bytes_of_the_manifest(
    admin: Client, release: Release, format_name: str, split: str | None
) -> None:
    query = f"?format={format_name}" + (f"&split={split}" if split else "")
    response = admin.get(f"/releases/{release.pk}/export/{query}")
    assert isinstance(response, StreamingHttpResponse)
    content = response.getvalue()
    name = "-".join(["demo", "v1", format_name, *([split] if split else [])])
    assert response["Content-Disposition"] == f'attachment; filename="{name}.{EXPORTERS[format_name].extension}"'
    assert int(response["Content-Length"]) == len(content)
    about = release.manifest["files"][files.file_name(format_name, split)]
    assert hashlib.sha256(content).hexdigest() == about["sha256"]


@pytest.mark.parametrize("query", ["", "?format=csv", "?format=provenance&split=dev"])
def test_an_unknown_format_or_split_is_refused(admin: Client, release: Release, query: str) -> None:
    response = admin.get(f"/releases/{release.pk}/export/{query}")
    assert response.status_code == 400
    assert "Choose one of" in response.content.decode()


def test_the_manifest_is_downloaded_as_it_is(admin: Client, release: Release) -> None:
    response = admin.get(f"/releases/{release.pk}/manifest/")
    assert response["Content-Type"] == "application/json"
    assert response["Content-Disposition"] == 'attachment; filename="demo-v1-manifest.json"'
    assert hashlib.sha256(response.content).hexdigest() == files.manifest_sha256(release)
    assert json.loads(response.content) == release.manifest
