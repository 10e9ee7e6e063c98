"""Production mode: Django's own checks, and the headers and cookies of the real web server."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from django.contrib.staticfiles.finders import get_finders
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from pytest_django.fixtures import Settings

from tests.factories import PASSWORD, World

ROOT = Path(__file__).resolve().parents[2]
KEY = "".join(chr(ord("a") + number % 26) for number in range(60)) + "-0123456789"
CSP = (
    "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'; object-src 'none'; "
    "img-src 'self' data:"
)
ALWAYS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def directives(policy: str) -> set[str]:
    return {directive.strip() for directive in policy.split(";")}


def environment(**changes: str) -> dict[str, str]:
    """This process's, without what the browser tests set for themselves."""
    own = {name: value for name, value in os.environ.items() if name != "DJANGO_ALLOW_ASYNC_UNSAFE"}
    return {**own, "SECRET_KEY": KEY, "DEBUG": "false", **changes}


def check_deploy(**changes: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    return subprocess.run(command, cwd=ROOT, env=environment(**changes), capture_output=True, text=True, timeout=60)


def test_the_deployment_check_finds_nothing_with_https() -> None:
    ended = check_deploy(HTTPS="true")
    assert ended.stderr == ""
    assert ended.returncode == 0


def test_without_https_it_warns_of_tls_alone_and_security_md_says_why() -> None:
    ended = check_deploy(HTTPS="false")
    warned = {word.strip("?:()") for word in ended.stderr.split() if "security.W" in word}
    assert warned == {"security.W004", "security.W008", "security.W012", "security.W016"}
    explained = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert all(name.removeprefix("security.") in explained for name in {*warned, "security.W021"})


@pytest.mark.parametrize(
    "path", ["/", "/accounts/login/", "/nothing/", "/projects/demo/", "/healthz/", "/api/v1/projects/"]
)
def test_every_answer_carries_the_headers(world: World, client: Client, path: str) -> None:
    client.force_login(world.annotator)
    response = client.get(path)
    assert {name: response[name] for name in ALWAYS} == ALWAYS
    assert directives(response["Content-Security-Policy"]) == directives(CSP)
    assert "Strict-Transport-Security" not in response


class Browser:
    """Just enough of one to see raw headers; it says that it came through a proxy that speaks HTTPS."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cookies: dict[str, str] = {}

    def ask(
        self, method: str, path: str, *, body: str = "", scheme: str = "https"
    ) -> tuple[int, dict[str, str], dict[str, str]]:
        """Status, headers, and the raw line of each cookie that was set."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        headers = {
            "Host": "label.example.org",
            "X-Forwarded-Proto": scheme,
            "X-Forwarded-For": "192.0.2.1",
            "Content-Type": "application/x-www-form-urlencoded",
            "Referer": "https://label.example.org/accounts/login/",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        lines = response.msg.get_all("Set-Cookie") or []
        set_now = {line.partition("=")[0]: line for line in lines}
        self.cookies |= {name: line.partition("=")[2].partition(";")[0] for name, line in set_now.items()}
        return response.status, dict(response.getheaders()), set_now


@contextmanager
def gunicorn(home: Path) -> Iterator[Browser]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    variables = environment(
        HTTPS="true", ALLOWED_HOSTS="label.example.org", DATABASE_URL=database, STEPMARK_HOME=str(home)
    )
    # What collectstatic would write, without its five seconds of compressing; this test fetches no file.
    files = {path: path for finder in get_finders() for path, _ in finder.list([])}
    (home / "static").mkdir()
    (home / "static/staticfiles.json").write_text(json.dumps({"paths": files, "version": "1.1", "hash": ""}))
    serve = [sys.executable, "-m", "gunicorn", "annotator.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    log = home / "web.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*serve, "--threads", "2", "--no-control-socket"], cwd=ROOT, env=variables, stdout=output, stderr=output
        )
    try:
        until = time.monotonic() + 30
        while "Booting worker" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield Browser(port)
    finally:
        server.terminate()
        server.wait(20)


def flags(cookie: str) -> set[str]:
    return {flag.strip().lower() for flag in cookie.split(";")[1:]}


@pytest.mark.django_db(transaction=True)
def test_the_real_server_behind_https(tmp_path: Path, world: World, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]  # the only one the server takes
    world.annotator.set_password(PASSWORD)
    world.annotator.save()
    with gunicorn(tmp_path) as browser:
        status, headers, _ = browser.ask("GET", "/accounts/login/", scheme="http")
        assert (status, headers["Location"]) == (301, "https://label.example.org/accounts/login/")

        status, headers, cookies = browser.ask("GET", "/accounts/login/")
        assert status == 200
        assert {name: headers[name] for name in ALWAYS} == ALWAYS
        assert directives(headers["Content-Security-Policy"]) == directives(CSP)
        assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
        assert {"secure", "samesite=lax", "path=/"} <= flags(cookies["csrftoken"])

        token = browser.cookies["csrftoken"]
        form = {"csrfmiddlewaretoken": token, "username": world.annotator.username, "password": PASSWORD}
        wrong = urlencode({**form, "password": "wrong"})
        assert browser.ask("POST", "/accounts/login/", body=wrong)[0] == 200
        status, _, cookies = browser.ask("POST", "/accounts/login/", body=urlencode(form))
        assert status == 302
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= flags(cookies["sessionid"])
        assert browser.ask("GET", "/projects/demo/")[0] == 200

        form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        assert browser.ask("POST", "/accounts/logout/", body=urlencode(form))[0] == 302
        stranger = Browser(browser._port)
        statuses = [stranger.ask("POST", "/accounts/login/", body=urlencode(form))[0]]
        assert statuses == [403]  # without its CSRF cookie


def test_the_page_of_a_breakdown_needs_nothing_that_may_be_broken() -> None:
    """Without a database, a session or a manifest of static files; and with no inline style, which CSP would refuse."""
    html = render_to_string("500.html")
    assert "Nothing that was saved is lost." in html
    assert 'href="/static/css/stepmark.css"' in html
    assert "<style" not in html
