"""A client that sends a person's token and holds every answer against the OpenAPI document."""

import re
from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator, FormatChecker
from knox.models import AuthToken
from rest_framework.test import APIClient

from annotator.models import User

# What any endpoint may answer and none lists.
UNDOCUMENTED = {405, 413, 415, 500}


@cache
def openapi() -> Any:
    generator = SchemaGenerator()
    return generator.get_schema(request=None, public=True)


def operation(method: str, path: str) -> Any:
    """What the document says about a request, or None for an address that is not in it."""
    for template, methods in openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return methods.get(method.lower())
    return None


def check_documented(method: str, path: str, response: HttpResponse) -> None:
    described = operation(method, path)
    if described is None or response.status_code in UNDOCUMENTED:
        return
    assert str(response.status_code) in described["responses"], f"{method} {path} may not answer {response.status_code}"
    content = described["responses"][str(response.status_code)].get("content", {})
    if not content or response.streaming:
        return
    schema = content[response["Content-Type"]]["schema"]
    body: Any = response.json()  # type: ignore[attr-defined]  # the test client adds it
    Draft202012Validator({**schema, "components": openapi()["components"]}, format_checker=FormatChecker()).validate(
        body
    )


class ApiClient(APIClient):
    def request(self, **kwargs: Any) -> Any:
        response = super().request(**kwargs)
        check_documented(kwargs["REQUEST_METHOD"], kwargs["PATH_INFO"], response)
        return response


def client_of(user: User | None) -> ApiClient:
    """A client with a fresh token of the person; None: nobody."""
    client = ApiClient()
    if user is not None:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {AuthToken.objects.create(user)[1]}")
    return client


def put(client: ApiClient, path: str, body: object) -> Any:
    return client.put(path, body, format="json")


def post(client: ApiClient, path: str, body: object = None) -> Any:
    return client.post(path, body, format="json") if body is not None else client.post(path)


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """The error's body, after checking that the response is this refusal and has the one shape."""
    assert response.status_code == status, response.content
    assert list(response.json()) == ["error"]
    error: dict[str, Any] = response.json()["error"]
    assert list(error) == ["code", "message", "fields"]
    assert error["code"] == code
    return error
