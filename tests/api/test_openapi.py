"""The OpenAPI document: checked in, complete, valid, served; and the page that shows it."""

import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern

from annotator.api import errors, urls
from tests.api.client import openapi

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
UNLISTED = {"schema/", "docs/", ""}


def test_the_checked_in_document_is_what_the_code_says() -> None:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    assert DOCUMENT.read_text(encoding="utf-8") == out.getvalue(), (
        "Run: .venv/bin/python manage.py spectacular --file docs/openapi.yaml"
    )


def test_every_route_is_in_the_document() -> None:
    routes = {str(pattern.pattern) for pattern in urls.urlpatterns if isinstance(pattern, URLPattern)}
    listed = {
        re.sub(r"<\w+:(\w+)>", lambda found: {"pk": "{id}", "slug": "{slug}", "number": "{number}"}[found[1]], route)
        for route in routes - UNLISTED
    }
    assert {f"/api/v1/{route}" for route in listed} == set(openapi()["paths"])


def test_every_operation_asks_for_a_token_or_a_session_and_shows_the_error_shape() -> None:
    for path, methods in openapi()["paths"].items():
        for described in methods.values():
            assert described["security"] == [{"token": []}, {"cookieAuth": []}], path
            error = described["responses"]["401"]["content"]["application/json"]["schema"]
            assert error == {"$ref": "#/components/schemas/Error"}
            assert described["description"], path
    assert openapi()["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


@pytest.mark.django_db
def test_the_document_and_its_page_are_public_and_only_the_page_has_a_looser_policy(client: Client) -> None:
    document = client.get("/api/v1/schema/")
    assert document.status_code == 200
    assert document["Content-Type"] == "application/vnd.oai.openapi; charset=utf-8"
    assert "style-src" not in document["Content-Security-Policy"]
    page = client.get("/api/v1/docs/")
    assert page.status_code == 200
    assert "style-src 'self' 'unsafe-inline'" in page["Content-Security-Policy"]
    assert "script-src" not in page["Content-Security-Policy"]
    script = client.get("/api/v1/docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/v1/schema/" in script.content.decode()


def test_the_guide_lists_every_operation_and_every_error_code() -> None:
    guide = (DOCUMENT.parent / "api.md").read_text(encoding="utf-8")
    for path, methods in openapi()["paths"].items():
        for method in methods:
            assert f"| `{method.upper()} {path.removeprefix('/api/v1/')}` |" in guide
    codes = {*errors.CODES.values(), "not_found", "input.too_large", "input.refused", "internal"}
    for code in codes:
        assert f"`{code}`" in guide
