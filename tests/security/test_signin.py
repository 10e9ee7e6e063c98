"""Wrong passwords: how many are looked at, for whom, from where, and for how long."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from django.contrib.auth import get_user
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from annotator.models import LoginAttempt, User
from annotator.signin import PER_ADDRESS, client_address
from tests.factories import PASSWORD, make_user
from tests.queue.test_concurrency import run_at_once

LOGIN = "/accounts/login/"
START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as clock:
        yield clock


@pytest.fixture
def ann(db: None) -> User:
    return make_user("ann")


def sign_in(
    username: str = "ann", password: str = "wrong", address: str = "192.0.2.1", client: Client | None = None
) -> Any:
    client = client or Client()
    return client.post(LOGIN, {"username": username, "password": password}, REMOTE_ADDR=address)


def statuses(n: int, username: str = "ann") -> list[int]:
    return [sign_in(username).status_code for _ in range(n)]


def test_the_sixth_try_within_five_minutes_is_refused_even_with_the_right_password(
    ann: User, clock: time_machine.Traveller
) -> None:
    assert statuses(5) == [200] * 5
    client = Client()
    refused = sign_in(password=PASSWORD, client=client)
    assert refused.status_code == 429
    assert (
        "There were too many wrong passwords. Try again in 5 minutes; until then the right one is refused as well."
        in refused.content.decode()
    )
    assert refused["Retry-After"] == "300"
    assert 'value="ann"' in refused.content.decode()
    assert not get_user(client).is_authenticated


def test_the_refusal_ends_when_it_said_and_refused_tries_do_not_prolong_it(
    ann: User, clock: time_machine.Traveller
) -> None:
    for _ in range(5):
        sign_in()
        clock.shift(10)
    clock.shift(190)  # 240 s after the first
    assert sign_in(password=PASSWORD)["Retry-After"] == "60"
    assert "Try again in 1 minute;" in sign_in().content.decode()
    assert statuses(20) == [429] * 20
    assert LoginAttempt.objects.count() == 5
    clock.shift(60)
    assert sign_in(password=PASSWORD).status_code == 302


def test_the_right_password_forgets_the_wrong_ones(ann: User) -> None:
    assert statuses(4) == [200] * 4
    assert sign_in(password=PASSWORD).status_code == 302
    assert LoginAttempt.objects.count() == 0
    assert statuses(5) == [200] * 5


def test_other_people_and_other_addresses_are_not_refused(ann: User) -> None:
    make_user("bob")
    assert statuses(6)[-1] == 429
    assert sign_in("bob", PASSWORD).status_code == 302
    assert sign_in("ann", PASSWORD, "192.0.2.2").status_code == 302


def test_one_address_may_not_try_many_usernames(ann: User) -> None:
    for number in range(PER_ADDRESS):
        assert sign_in(f"person-{number}").status_code == 200
    assert sign_in("ann", PASSWORD).status_code == 429
    assert sign_in("ann", PASSWORD, "192.0.2.2").status_code == 302


def test_a_right_password_does_not_forget_what_the_address_tried_on_others(ann: User) -> None:
    make_user("eve")
    for number in range(PER_ADDRESS - 1):
        sign_in(f"person-{number}")
    assert sign_in("eve", PASSWORD).status_code == 302
    assert LoginAttempt.objects.count() == PER_ADDRESS - 1


def test_an_unknown_username_is_refused_alike(ann: User) -> None:
    assert statuses(6, username="nobody") == [200] * 5 + [429]


def test_spellings_of_one_username_count_together(ann: User) -> None:
    for username in ("ann", " ann", "ANN", "ａｎｎ", "ann "):
        assert sign_in(username).status_code == 200
    assert sign_in("ann", PASSWORD).status_code == 429


def test_neither_the_username_nor_the_password_is_stored(ann: User) -> None:
    sign_in("secret typed into the wrong field")
    (row,) = LoginAttempt.objects.values()
    assert "secret" not in str(row)
    assert "wrong" not in str(row)


@pytest.mark.parametrize("username", ["", "a\0b", "x" * 100_000, "\u202e"])
def test_odd_usernames_are_only_wrong(db: None, username: str) -> None:
    assert statuses(6, username=username) == [200] * 5 + [429]


def test_attempts_are_kept_no_longer_than_they_count(ann: User, clock: time_machine.Traveller) -> None:
    statuses(3)
    clock.shift(300)
    sign_in("bob")
    assert LoginAttempt.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_thirty_tries_at_once_five_are_looked_at() -> None:
    make_user("ann")
    found: list[int] = []
    assert run_at_once([lambda: found.append(sign_in().status_code)] * 30) == []
    assert (found.count(200) <= 5, set(found)) == (True, {200, 429})
    assert LoginAttempt.objects.count() == found.count(200)


def test_the_operators_pages_have_no_login_of_their_own(client: Client, ann: User) -> None:
    for path in ("/operators/", "/operators/login/?next=/operators/"):
        response = client.get(path, follow=True)
        assert response.redirect_chain[-1][0] == "/accounts/login/?next=/operators/"
    assert client.post("/operators/login/", {"username": "ann", "password": PASSWORD}).status_code == 405
    client.force_login(ann)
    assert client.get("/operators/", follow=True).status_code == 403
    ann.is_staff = ann.is_superuser = True
    ann.save()
    assert client.get("/operators/").status_code == 200
    assert client.get("/operators/login/")["Location"] == "/operators/"


@pytest.mark.parametrize(
    ("_case", "proxies", "remote", "forwarded", "address"),
    [
        ("no proxy: the header is anybody's word", 0, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("one proxy: its entry is the last", 1, "10.0.0.1", "1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("two proxies: the last but one", 2, "10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("too few entries", 2, "10.0.0.1", "198.51.100.7", "10.0.0.1"),
        ("no header", 1, "10.0.0.1", "", "10.0.0.1"),
        ("IPv6 counts by network", 0, "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::"),
        ("IPv4 inside IPv6", 0, "::ffff:192.0.2.1", "", "192.0.2.1"),
        ("no address", 1, "10.0.0.1", "x" * 500, "x" * 64),
        ("a Unix socket", 0, "", "", ""),
    ],
)
def test_whose_address_counts(
    _case: str, proxies: int, remote: str, forwarded: str, address: str, settings: Settings
) -> None:
    settings.PROXIES = proxies
    request = RequestFactory().post(LOGIN, REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR=forwarded)
    assert client_address(request) == address
