"""Every refusal has one shape, and a failure of the server stays one."""

from unittest import mock

import pytest
from django.test import override_settings

from annotator.models import Assignment, AuditEvent
from tests.api.client import client_of, post, put, refused
from tests.factories import World, make_trajectory


@pytest.mark.parametrize("path", ["/api/v1/", "/api/v1/nothing/", "/api/v1/projects/demo/nothing/"])
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_an_unknown_address_gets_404(world: World, path: str, method: str) -> None:
    error = refused(getattr(client_of(world.annotator), method)(path), 404, "not_found")
    assert error["message"] == "There is nothing at this address, or it is not yours to see."


def test_a_forgotten_slash_is_named(world: World) -> None:
    error = refused(client_of(world.annotator).get("/api/v1/projects"), 404, "not_found")
    assert error["message"].endswith("Addresses of the API end with a slash.")


def test_what_is_missing_and_what_is_hidden_look_the_same(world: World) -> None:
    make_trajectory(world.project)
    claimed = post(client_of(world.annotator), "/api/v1/projects/demo/assignments/claim/").json()
    other = client_of(world.second)
    hidden = other.get(f"/api/v1/assignments/{claimed['id']}/")
    missing = other.get(f"/api/v1/assignments/{claimed['id'] + 1000}/")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json() == missing.json()


def test_an_id_beyond_the_database_gets_404(world: World) -> None:
    refused(client_of(world.admin).get(f"/api/v1/jobs/{10**30}/"), 404, "not_found")


def test_a_wrong_role_is_told_which_one_it_needs(world: World) -> None:
    error = refused(client_of(world.annotator).get("/api/v1/projects/demo/disputes/"), 403, "access.denied")
    assert error["message"] == "This needs the role reviewer or admin; yours in this project is annotator."


def test_a_parameter_that_the_address_does_not_have_is_refused(world: World) -> None:
    make_trajectory(world.project)
    reviewer = client_of(world.reviewer)
    error = refused(reviewer.get("/api/v1/projects/demo/disputes/?staus=open&page=1"), 400, "input.invalid")
    wrong = "There is no such parameter; there are target, status, page, page_size."
    assert error["fields"] == {"staus": wrong}
    response = client_of(world.annotator).post("/api/v1/projects/demo/assignments/claim/?project=other")
    error = refused(response, 400, "input.invalid")
    assert error["fields"] == {"project": "There is no such parameter; this address takes none."}
    assert not Assignment.objects.exclude(status="open").exists()


def test_a_wrong_method_gets_405(world: World) -> None:
    response = client_of(world.annotator).delete("/api/v1/projects/")
    refused(response, 405, "method.not_allowed")
    assert set(response["Allow"].split(", ")) == {"GET", "OPTIONS"}


@pytest.mark.parametrize(
    ("_case", "body", "status", "code"),
    [
        ("no JSON", b"{", 400, "input.unreadable"),
        ("no UTF-8", b'{"reason": "\xff"}', 400, "input.unreadable"),
        ("a number that JSON has not", b'{"reason": NaN}', 400, "input.unreadable"),
        ("nested without end", b"[" * 9_000, 400, "input.unreadable"),
        ("nested deep", b"[" * 500 + b"]" * 500, 400, "input.invalid"),
        ("a NUL", rb'{"reason": "a\u0000b"}', 400, "input.invalid"),
        ("half a character", rb'{"reason": "\ud800"}', 400, "input.invalid"),
        ("a list", b"[]", 400, "input.invalid"),
        ("null", b"null", 400, "input.invalid"),
        ("nothing", b"", 400, "input.invalid"),
        ("an empty reason", b'{"reason": " "}', 400, "input.invalid"),
        ("an unknown field", b'{"reason": "x", "why": 1}', 400, "input.invalid"),
        ("more than the limit", b'{"reason": "' + b"x" * 20_000 + b'"}', 413, "input.too_large"),
    ],
)
def test_a_bad_body_is_refused_and_changes_nothing(
    world: World, _case: str, body: bytes, status: int, code: str
) -> None:
    make_trajectory(world.project)
    client = client_of(world.annotator)
    claimed = post(client, "/api/v1/projects/demo/assignments/claim/").json()
    events = AuditEvent.objects.count()
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10_000):
        response = client.post(f"/api/v1/assignments/{claimed['id']}/skip/", body, content_type="application/json")
    refused(response, status, code)
    assert AuditEvent.objects.count() == events
    assert client.get(f"/api/v1/assignments/{claimed['id']}/").json()["status"] == "claimed"


def test_a_form_where_json_is_wanted_gets_415(world: World) -> None:
    make_trajectory(world.project)
    client = client_of(world.annotator)
    claimed = post(client, "/api/v1/projects/demo/assignments/claim/").json()
    path = f"/api/v1/assignments/{claimed['id']}/skip/"
    refused(
        client.post(path, "reason=x", content_type="application/x-www-form-urlencoded"), 415, "media_type.unsupported"
    )


def test_fields_that_would_be_ignored_are_refused(world: World) -> None:
    make_trajectory(world.project)
    client = client_of(world.annotator)
    error = refused(post(client, "/api/v1/projects/demo/assignments/claim/", {"n": 5}), 400, "input.invalid")
    assert error["fields"] == {"n": "Extra inputs are not permitted"}
    assert world.project.assignments.filter(status="claimed").count() == 0


def test_a_failure_of_the_server_is_a_500_that_tells_nothing_of_its_inside(world: World) -> None:
    client = client_of(world.annotator)
    client.raise_request_exception = False
    with mock.patch("annotator.queue.actions.claim_next", side_effect=RuntimeError("a secret")):
        response = post(client, "/api/v1/projects/demo/assignments/claim/")
    error = refused(response, 500, "internal")
    assert "secret" not in error["message"]


def test_a_failure_of_the_server_is_announced_to_django(world: World) -> None:
    client = client_of(world.annotator)
    with (
        mock.patch("annotator.queue.actions.claim_next", side_effect=RuntimeError("a bug")),
        pytest.raises(RuntimeError, match="a bug"),
    ):
        post(client, "/api/v1/projects/demo/assignments/claim/")


def test_a_step_number_beyond_the_database_is_refused_like_any_other(world: World) -> None:
    make_trajectory(world.project)
    client = client_of(world.annotator)
    claimed = post(client, "/api/v1/projects/demo/assignments/claim/").json()
    body = {"labels": [{"step": 10**30, "value": 1}]}
    error = refused(put(client, f"/api/v1/assignments/{claimed['id']}/labels/", body), 400, "input.invalid")
    assert list(error["fields"]) == ["labels[0].step"]
