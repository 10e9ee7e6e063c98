"""What a session and its cookie are worth, and when they end."""

from datetime import timedelta

from django.contrib.sessions.models import Session
from django.test import Client
from django.utils.timezone import now
from knox.models import AuthToken
from pytest_django.fixtures import Settings

from tests.factories import PASSWORD, World

LOGIN = "/accounts/login/"


def signed_in(world: World, client: Client | None = None) -> Client:
    client = client or Client()
    credentials = {"username": world.annotator.username, "password": PASSWORD}
    assert client.post(LOGIN, credentials).status_code == 302
    return client


def opens(client: Client) -> bool:
    return client.get("/projects/demo/").status_code == 200


def test_the_session_cookie_is_for_this_site_and_no_script(world: World) -> None:
    cookie = signed_in(world).cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Lax", "/", "")


def test_signing_in_changes_the_session_key(world: World) -> None:
    """Whoever planted a session cookie in somebody's browser does not share the session after they sign in."""
    client = Client()
    session = client.session
    session["planted"] = True
    session.save()
    planted = str(session.session_key)
    client.cookies["sessionid"] = planted
    signed_in(world, client)
    assert client.cookies["sessionid"].value != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_signing_out_ends_the_session_on_the_server(world: World) -> None:
    client = signed_in(world)
    thief = Client()
    thief.cookies["sessionid"] = client.cookies["sessionid"].value
    assert opens(thief)
    assert client.get("/accounts/logout/").status_code == 405
    assert opens(thief)
    client.post("/accounts/logout/")
    assert not opens(thief)
    assert Session.objects.count() == 0


def test_a_new_password_ends_every_session_and_the_others_stay(world: World) -> None:
    first, second = signed_in(world), signed_in(world)
    other = Client()
    other.force_login(world.admin)
    world.annotator.set_password("another horse battery")
    world.annotator.save()
    assert (opens(first), opens(second), opens(other)) == (False, False, True)


def test_a_deactivated_person_is_out_at_once(world: World) -> None:
    client = signed_in(world)
    world.annotator.is_active = False
    world.annotator.save()
    assert not opens(client)


def test_signing_in_leads_to_no_other_site(world: World) -> None:
    for target in ("https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"):
        credentials = {"username": world.annotator.username, "password": PASSWORD, "next": target}
        assert Client().post(LOGIN, credentials)["Location"] == "/"


def test_a_session_ends_after_two_weeks(world: World, settings: Settings) -> None:
    signed_in(world)
    left = Session.objects.get().expire_date - now()
    assert timedelta(days=13, hours=23) < left <= timedelta(days=14)


def test_a_token_opens_no_page_and_is_shown_once(world: World) -> None:
    _, token = AuthToken.objects.create(world.annotator)
    assert Client().get("/projects/demo/", HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 302
    client = signed_in(world)
    made = client.post("/tokens/")
    assert made.context["new"] in made.content.decode()
    assert "no-store" in made["Cache-Control"]
    assert made.context["new"] not in client.get("/tokens/").content.decode()


def test_somebody_elses_token_cannot_be_revoked(world: World) -> None:
    stored, _ = AuthToken.objects.create(world.admin)
    assert signed_in(world).post(f"/tokens/{stored.token_key}/revoke/").status_code == 404
    assert AuthToken.objects.filter(pk=stored.pk).exists()
