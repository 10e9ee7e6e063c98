"""No page of another site can make a signed-in browser change anything here."""

import re
from collections.abc import Iterator, Sequence

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from annotator.models import AuditEvent
from tests.api.client import openapi
from tests.factories import World, make_trajectory

UNSAFE = ("post", "put", "patch", "delete")


def routes(patterns: Sequence[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route


def example(route: str, world: World) -> str:
    """An address of the route: `<int:pk>` becomes 1, a slug the project's."""
    filled = re.sub(r"<(?:(\w+):)?(\w+)>", lambda found: "1" if found[1] == "int" else world.project.slug, route)
    return "/" + re.sub(r"[$^]|\(\?P<url>.*\)", "", filled)


def test_no_page_takes_anything_without_a_csrf_token(world: World) -> None:
    make_trajectory(world.project)
    world.admin.is_staff = world.admin.is_superuser = True
    world.admin.save()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(world.admin)
    pages = [example(route, world) for route in routes(get_resolver().url_patterns) if not route.startswith("api/v1/")]
    assert {"/accounts/login/", "/tokens/", "/assignments/1/submit/", "/projects/demo/claim/"} <= set(pages)
    before = (list(AuditEvent.objects.values()), list(Session.objects.values()))
    for page in pages:
        for method in UNSAFE:
            assert getattr(browser, method)(page).status_code == 403, f"{method.upper()} {page}"
    assert (list(AuditEvent.objects.values()), list(Session.objects.values())) == before


def test_a_session_changes_nothing_over_the_api_without_a_csrf_token(world: World) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(world.admin)
    before = list(AuditEvent.objects.values())
    for path, methods in openapi()["paths"].items():
        address = re.sub(r"\{(\w+)\}", lambda found: "demo" if found[1] == "slug" else "1", path)
        for method in set(methods) & set(UNSAFE):
            response = getattr(browser, method)(address)
            assert response.status_code == 403, f"{method.upper()} {address}"
            assert response.json()["error"]["message"] == "CSRF Failed: CSRF cookie not set."
    assert list(AuditEvent.objects.values()) == before


@pytest.mark.parametrize("origin", ["https://evil.example", "http://testserver.evil.example", "null"])
def test_a_token_from_here_does_not_help_a_page_from_elsewhere(world: World, origin: str) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(world.annotator)
    browser.get("/tokens/")
    token = browser.cookies["csrftoken"].value
    assert browser.post("/tokens/", {"csrfmiddlewaretoken": token}, HTTP_ORIGIN=origin).status_code == 403
    assert AuditEvent.objects.filter(action="token.created").count() == 0
    assert browser.post("/tokens/", {"csrfmiddlewaretoken": token}).status_code == 200
