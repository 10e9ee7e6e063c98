"""What a session and its cookie are worth, and when they end."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils.timezone import now
from knox.models import AuthToken
from pytest_django.fixtures import Settings

from annotator import accounts
from annotator.models import AuditEvent
from tests.factories import PASSWORD, World
from workers import tasks

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


def test_from_a_page_of_another_account_one_signs_in_with_that_one(world: World) -> None:
    client = signed_in(world)
    assert client.get(LOGIN)["Location"] == "/"
    assert 'name="username"' in client.get(f"{LOGIN}?again=1").content.decode()
    credentials = {"username": world.reviewer.username, "password": PASSWORD}
    assert client.post(f"{LOGIN}?again=1", credentials)["Location"] == "/"
    assert client.get("/").wsgi_request.user == world.reviewer


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


NEW = {"old_password": PASSWORD, "new_password1": "another horse battery", "new_password2": "another horse battery"}


def test_a_person_changes_their_password_and_stays_signed_in_here_only(world: World) -> None:
    here, elsewhere = signed_in(world), signed_in(world)
    assert 'href="/accounts/password/"' in here.get("/tokens/").content.decode()
    response = here.post("/accounts/password/", NEW, follow=True)
    assert "Your password is changed." in response.content.decode()
    assert (opens(here), opens(elsewhere)) == (True, False)
    world.annotator.refresh_from_db()
    assert world.annotator.check_password("another horse battery")
    event = AuditEvent.objects.get(action="user.password_changed")
    assert (event.user, event.object_id, event.data) == (world.annotator, world.annotator.pk, {})


def test_a_stolen_session_cannot_guess_the_password(world: World) -> None:
    thief = signed_in(world)
    for _ in range(5):
        response = thief.post("/accounts/password/", {**NEW, "old_password": "guess"})
        assert response.status_code == 200
        assert "Your old password was entered incorrectly." in response.content.decode()
    refused = thief.post("/accounts/password/", NEW)
    assert refused.status_code == 429
    assert "There were too many wrong passwords." in refused.content.decode()
    world.annotator.refresh_from_db()
    assert world.annotator.check_password(PASSWORD)


def test_what_has_expired_is_thrown_away(world: World) -> None:
    client = signed_in(world)
    old, _ = accounts.create_token(world.annotator, user=None)
    kept, _ = accounts.create_token(world.annotator, user=None)
    AuthToken.objects.filter(pk=old.pk).update(expiry=now() - timedelta(seconds=1))
    assert '<span class="badge">expired</span>' in client.get("/tokens/").content.decode()
    signed_in(world)
    Session.objects.exclude(pk=client.cookies["sessionid"].value).update(expire_date=now() - timedelta(seconds=1))
    tasks.forget_expired()
    assert list(AuthToken.objects.all()) == [kept]
    assert Session.objects.count() == 1
    assert opens(client)


def test_a_form_sent_while_signed_out_leads_back_to_its_page_and_the_loss_is_said(world: World) -> None:
    """The form's own address takes no GET: whoever was sent there after signing in saw an empty page."""
    client, page = Client(), "http://testserver/projects/demo/?a=1&b=2"
    sent = client.post("/projects/demo/claim/", headers={"Referer": page})
    assert (
        sent["Location"]
        == "/accounts/login/?next=http%3A%2F%2Ftestserver%2Fprojects%2Fdemo%2F%3Fa%3D1%26b%3D2&unstored=1"
    )
    said = "Sign in to come back to the page you were on, and enter there again what you sent."
    assert said in client.get(sent["Location"]).content.decode()
    credentials = {"username": world.annotator.username, "password": "wrong"}
    assert said in client.post(sent["Location"], credentials).content.decode()
    assert client.post(sent["Location"], {**credentials, "password": PASSWORD})["Location"] == page
    assert client.get(page).status_code == 200
    # A page that is only opened loses nothing.
    assert said not in Client().get("/projects/demo/", follow=True).content.decode()


@pytest.mark.parametrize(
    "came_from", ["", "https://evil.example/", "http://testserver.evil.example/", "//evil.example/"]
)
def test_a_form_sent_while_signed_out_from_elsewhere_leads_to_the_start(world: World, came_from: str) -> None:
    client = Client()
    sent = client.post("/projects/demo/claim/", headers={"Referer": came_from})
    assert sent["Location"] == "/accounts/login/?next=%2F&unstored=1"
    credentials = {"username": world.annotator.username, "password": PASSWORD}
    assert client.post(sent["Location"], credentials)["Location"] == "/"


def test_signing_out_when_signed_out_leads_to_the_sign_in_page(world: World) -> None:
    """In another tab, say: it is done already."""
    response = Client().post("/accounts/logout/", headers={"Referer": "http://testserver/projects/demo/"})
    assert (response.status_code, response["Location"]) == (302, "/accounts/login/")
