"""Requests that schemathesis makes up from the OpenAPI document: whatever comes, the server answers below 500."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, settings
from knox.models import AuthToken
from schemathesis import Case, GenerationMode

from annotator import flow
from annotator.selection import actions as selection
from annotator.wsgi import application
from tests.api.client import openapi
from tests.api.test_access import make_rows
from tests.factories import World, make_trajectory

OPERATIONS = sorted((method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods)
# Reads one snapshot in a transaction of its own, which cannot be part of another.
PUBLISH = ("POST", "/api/v1/projects/{slug}/releases/")
EXAMPLES = 4  # of each kind, for each operation and role

bounded = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def parameters(path: str, rows: dict[str, int]) -> dict[str, Any]:
    """What leads to something that is there: most made-up ids would only find that nothing is."""
    kind = path.removeprefix("/api/v1/").split("s/")[0]
    known = {"slug": "demo", "number": 1}
    return {name: known.get(name) or rows[kind] for name in re.findall(r"\{(\w+)\}", path)}


@pytest.fixture
def rows(world: World) -> dict[str, int]:
    found = make_rows(world)
    make_trajectory(world.project)  # nobody has begun it
    flow.run_job(selection.start(world.project, user=world.admin).pk)
    return found


@cache
def document() -> Any:
    return schemathesis.openapi.from_wsgi("/api/v1/schema/", application, headers={"Accept": "application/json"})


@pytest.fixture(autouse=True)
def _one_connection(db: None) -> Iterator[None]:
    """A real WSGI request would close the connection that holds this test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def strategies(operation: Any, fixed: dict[str, Any]) -> Iterator[Any]:
    """Valid requests, and broken ones, to what is there; and valid ones to whatever."""
    for mode in GenerationMode:
        yield operation.as_strategy(generation_mode=mode, path_parameters=fixed)
    yield operation.as_strategy()


@contextmanager
def undone() -> Iterator[None]:
    """Every request finds the same world."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize(("method", "path"), sorted(set(OPERATIONS) - {PUBLISH}))
def test_no_request_makes_the_api_fail(method: str, path: str, world: World, rows: dict[str, int]) -> None:
    ask_for(method, path, world, rows, undone)


@pytest.mark.django_db(transaction=True)
def test_no_request_to_publish_makes_the_api_fail(world: World, rows: dict[str, int]) -> None:
    ask_for(*PUBLISH, world, rows, nullcontext)


def ask_for(
    method: str,
    path: str,
    world: World,
    rows: dict[str, int],
    around: Callable[[], AbstractContextManager[None]],
) -> None:
    operation = document()[path][method]
    tokens = [AuthToken.objects.create(user)[1] for user in (world.admin, world.annotator)]
    statuses: list[int] = []

    def ask(case: Case) -> None:
        for token in tokens:
            with around():
                response = case.call(headers={"Authorization": f"Bearer {token}"})
            assert response.status_code < 500, f"{case.as_curl_command()}\n{response.text[:500]}"
            statuses.append(response.status_code)

    for strategy in strategies(operation, parameters(path, rows)):
        bounded(given(strategy)(ask))()
    assert 401 not in statuses  # it was the endpoint that answered, and not its door
