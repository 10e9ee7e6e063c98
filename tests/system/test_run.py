"""`make run` as a person uses it: started, killed and stopped for real, with a folder and a port of its own."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from annotator.embedded import running_postgres

ROOT = Path(__file__).parents[2]


class Stack:
    """One `manage.py run_stack` on this home."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self._output = home.parent / f"output-{time.monotonic_ns()}"
        with self._output.open("w") as output:
            self.process = manage(home, "run_stack", port=port, output=output.fileno())

    def output(self) -> str:
        return self._output.read_text()

    def wait_ready(self) -> None:
        wait_for(lambda: "Stepmark is ready" in self.output() or self.process.poll() is not None, 60)
        assert f"Stepmark is ready: http://127.0.0.1:{self.port}/" in self.output(), self.output()

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def stop(self, sign: signal.Signals) -> None:
        self.process.send_signal(sign)
        assert self.process.wait(60) == 0, self.output()
        assert processes_of(self.home) == []

    def child(self, word: str) -> psutil.Process:
        """The direct child whose command line has `word`: gunicorn, beat, or a worker's queue: default, judges, gpu."""
        children = psutil.Process(self.process.pid).children()
        (child,) = (child for child in children if word in child.cmdline())
        return child

    def queues(self) -> list[str]:
        """What its Celery workers listen to."""
        lines = [child.cmdline() for child in psutil.Process(self.process.pid).children()]
        return sorted(line[line.index("-Q") + 1] for line in lines if "-Q" in line)


def manage(home: Path, *arguments: str, port: int = 0, output: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    """`manage.py` without what the tests' own settings put in the environment."""
    settings = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    environment |= {"STEPMARK_HOME": str(home), "PORT": str(port)}
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)


def processes_of(home: Path) -> list[str]:
    """Every living process that knows this home, from its environment or command line."""
    found = []
    for process in psutil.process_iter():
        try:
            known = [*process.cmdline(), process.environ().get("STEPMARK_HOME", "")]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(home) in word for word in known):
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.Error:
            continue
    return found


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "ho me"
    yield folder
    for line in processes_of(folder):  # only after a failure
        psutil.Process(int(line.split()[0])).kill()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number: int = probe.getsockname()[1]
    return number


def test_the_stack_starts_stops_goes_on_and_recovers(home: Path, port: int) -> None:
    """One story, because each start from nothing takes seconds."""
    stack = Stack(home, port)
    stack.wait_ready()
    assert (stack.get("/healthz/"), stack.get("/accounts/login/")) == (200, 200)
    for role in ("annotator", "reviewer", "admin"):
        assert f" {role} " in stack.output()
    assert stack.queues() == ["default", "gpu", "judges"]
    stack.child("beat")
    others_find_it_running(home, port)
    a_dead_child_comes_back(stack)
    query(home, "CREATE TABLE kept ()")
    key = (home / "secret_key").read_text()
    stack.stop(signal.SIGINT)

    # It goes on where it stopped.
    stack = Stack(home, port)
    stack.wait_ready()
    query(home, "SELECT * FROM kept")
    assert (home / "secret_key").read_text() == key
    assert (home / "logs/web.log.1").exists()

    # A killed supervisor leaves its children; the next start clears them.
    stack.process.kill()
    stack.process.wait()
    left = processes_of(home)
    assert len(left) > 5
    stack = Stack(home, port)
    stack.wait_ready()
    assert stack.output().count("left over from a killed run") == 5
    survivors = set(left) & set(processes_of(home))
    assert [line for line in survivors if "postgres" not in line] == []  # PostgreSQL is joined, the rest is new
    assert stack.get("/healthz/") == 200

    # At the second signal nothing is waited for, and still nothing is left.
    stack.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    stack.stop(signal.SIGINT)


def others_find_it_running(home: Path, port: int) -> None:
    second = manage(home, "run_stack", port=port)
    assert "Stepmark already runs with the data in" in second.communicate(timeout=30)[0]
    assert second.returncode == 1
    command = manage(home, "migrate", "--check")
    assert command.communicate(timeout=30)[0] == ""
    assert command.returncode == 0
    query(home, "SELECT 1")  # the short command did not stop it


def a_dead_child_comes_back(stack: Stack) -> None:
    stack.child("gunicorn").kill()
    wait_for(lambda: "web stopped" in stack.output(), 20)
    wait_for(lambda: stack.get("/healthz/") == 200, 20)
    assert stack.get("/healthz/") == 200


def query(home: Path, statement: str) -> None:
    with psycopg.connect(host=str(running_postgres(home)), user="postgres", dbname="stepmark") as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    ("host", "family", "said"),
    [("127.0.0.1", socket.AF_INET, "127.0.0.1"), ("::1", socket.AF_INET6, "[::1]")],
    ids=["IPv4", "IPv6"],
)
def test_a_taken_port_is_told_before_anything_starts(
    home: Path, host: str, family: socket.AddressFamily, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST", host)
    with socket.create_server((host, 0), family=family) as other:
        port = other.getsockname()[1]
        stack = manage(home, "run_stack", port=port)
        output = stack.communicate(timeout=30)[0]
    assert stack.returncode == 1
    assert f"Cannot listen on {said}:{port} (Address already in use" in output
    assert "Starting" not in output
    assert not (home / "postgres").exists()
    assert processes_of(home) == []


def test_a_short_command_alone_brings_its_own_database(home: Path) -> None:
    command = manage(home, "migrate", "--check")
    command.communicate(timeout=60)
    assert command.returncode == 1  # a fresh database is not migrated
    assert (home / "postgres").is_dir()
    assert processes_of(home) == []
    help_text = manage(home / "other", "help").communicate(timeout=30)[0]
    assert "run_stack" in help_text
    assert not (home / "other").exists()
