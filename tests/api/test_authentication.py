"""Who gets in: tokens are hashed, expire and can be revoked; a session needs its CSRF token."""

from datetime import timedelta

import pytest
from django.test import Client
from knox.models import AuthToken
from rest_framework.test import APIClient

from tests.api.client import client_of, post, refused
from tests.factories import World, make_trajectory
from workers import tasks

PROJECTS = "/api/v1/projects/"


def with_header(value: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=value)
    return client


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token"])
def test_a_token_opens_the_api(world: World, scheme: str) -> None:
    _, token = AuthToken.objects.create(world.annotator)
    response = with_header(f"{scheme} {token}").get(PROJECTS)
    assert response.status_code == 200
    assert [project["slug"] for project in response.json()["results"]] == ["demo"]


def test_the_database_holds_only_a_hash_of_the_token(world: World) -> None:
    stored, token = AuthToken.objects.create(world.annotator)
    assert len(token) == 64
    assert token not in repr(AuthToken.objects.filter(pk=stored.pk).values().get())
    assert stored.expiry - stored.created > timedelta(days=89)


def test_without_a_token_the_answer_is_401_and_no_redirect(world: World) -> None:
    response = client_of(None).get(PROJECTS)
    error = refused(response, 401, "auth.missing")
    assert error["message"].startswith("Send a token in the header `Authorization: Bearer TOKEN`")
    assert response["WWW-Authenticate"] == 'Bearer realm="stepmark"'


@pytest.mark.parametrize(
    ("_case", "header"),
    [
        ("an unknown token", "Bearer " + "0" * 64),
        ("no token", "Bearer"),
        ("two tokens", "Bearer a b"),
        ("bytes that no token has", "Bearer \xff\xfe"),
        ("a NUL", "Bearer a\0b"),
    ],
)
def test_a_wrong_header_gets_401(world: World, _case: str, header: str) -> None:
    response = with_header(header).get(PROJECTS)
    refused(response, 401, "auth.invalid")
    assert response["WWW-Authenticate"] == 'Bearer realm="stepmark"'


def test_another_scheme_counts_as_no_token(world: World) -> None:
    refused(with_header("Basic YTpi").get(PROJECTS), 401, "auth.missing")


def test_an_expired_token_gets_401(world: World) -> None:
    _, token = AuthToken.objects.create(world.annotator, expiry=timedelta(seconds=-1))
    error = refused(with_header(f"Bearer {token}").get(PROJECTS), 401, "auth.invalid")
    assert error["message"] == (
        "The token is unknown, expired or revoked. Make a new one on the page Your account or with create_token."
    )


def test_expired_tokens_are_deleted_by_the_beat_and_others_stay(world: World) -> None:
    AuthToken.objects.create(world.annotator, expiry=timedelta(seconds=-1))
    lasting, _ = AuthToken.objects.create(world.annotator, expiry=None)
    valid, token = AuthToken.objects.create(world.annotator)
    assert with_header(f"Bearer {token}").get(PROJECTS).status_code == 200
    assert AuthToken.objects.count() == 3
    tasks.forget_expired()
    assert set(AuthToken.objects.values_list("pk", flat=True)) == {lasting.pk, valid.pk}


def test_a_token_that_never_expires_opens_the_api(world: World) -> None:
    _, token = AuthToken.objects.create(world.annotator, expiry=None)
    assert with_header(f"Bearer {token}").get(PROJECTS).status_code == 200


def test_the_start_of_a_token_is_not_enough(world: World) -> None:
    _, token = AuthToken.objects.create(world.annotator)
    refused(with_header(f"Bearer {token[:-1]}{'0' if token[-1] != '0' else '1'}").get(PROJECTS), 401, "auth.invalid")
    refused(with_header(f"Bearer {token[:15]}").get(PROJECTS), 401, "auth.invalid")


def test_a_revoked_token_gets_401(world: World) -> None:
    stored, token = AuthToken.objects.create(world.annotator)
    assert with_header(f"Bearer {token}").get(PROJECTS).status_code == 200
    stored.delete()
    refused(with_header(f"Bearer {token}").get(PROJECTS), 401, "auth.invalid")


def test_a_deactivated_person_gets_401(world: World) -> None:
    client = client_of(world.annotator)
    world.annotator.is_active = False
    world.annotator.save()
    refused(client.get(PROJECTS), 401, "auth.invalid")


def test_a_session_reads_but_writes_only_with_its_csrf_token(world: World) -> None:
    make_trajectory(world.project)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(world.annotator)
    assert browser.get(PROJECTS).status_code == 200
    claim = "/api/v1/projects/demo/assignments/claim/"
    error = refused(browser.post(claim), 403, "access.denied")
    assert error["message"] == "CSRF Failed: CSRF cookie not set."
    assert world.project.assignments.filter(status="claimed").count() == 0
    assert post(client_of(world.annotator), claim).status_code == 200
