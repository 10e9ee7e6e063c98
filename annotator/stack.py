"""What `make run` runs: PostgreSQL, Redis, web, worker and beat of one machine, under one supervisor."""

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from annotator import embedded

ROOT = Path(__file__).resolve().parent.parent
KEPT_LOGS = 3
# How long each may take to end before it is killed: the worker finishes the tasks that it has begun.
PATIENCE = {"web": 15.0, "beat": 10.0, "worker": 60.0, "judges": 60.0, "models": 60.0}


class Child:
    """One process, in its own session so that Ctrl-C reaches only the supervisor, with its log and its pid file."""

    def __init__(self, name: str, arguments: list[str], *, home: Path) -> None:
        self.name = name
        self.log = home / f"logs/{name}.log"
        self._home = home
        self._command = [sys.executable, "-m", *arguments]
        self._pid_file = home / f"run/child-{name}.json"
        self._failures = 0
        self._restart_at = 0.0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # If the supervisor is killed, this child keeps PostgreSQL from being stopped under it.
                pass_fds=embedded.lock_descriptors(self._home),
            )
        self._pid_file.write_text(json.dumps({"pid": self._process.pid, "command": self._command}))
        self._started = time.monotonic()

    def keep_alive(self) -> None:
        """Start it again if it died: after 1, 2, 4 … 30 seconds."""
        status = self._process.poll()
        if status is None:
            return
        now = time.monotonic()
        if not self._restart_at:
            self._failures = 1 if now - self._started > 60 else self._failures + 1
            delay = min(2 ** (self._failures - 1), 30)
            say(f"{self.name} stopped with status {status}; starting it again in {delay} s. From {self.log}:")
            say(tail(self.log))
            kill_group(self._process.pid)
            self._restart_at = now + delay
        elif now >= self._restart_at:
            self._restart_at = 0.0
            self.start()

    def stop(self, in_a_hurry: Callable[[], bool]) -> None:
        """Ask the process to end (its own children get the news from it), then kill what is left."""
        self._process.terminate()
        deadline = time.monotonic() + PATIENCE.get(self.name, 10)
        while self._process.poll() is None and time.monotonic() < deadline and not in_a_hurry():
            time.sleep(0.05)
        kill_group(self._process.pid)
        self._process.wait()
        self._pid_file.unlink(missing_ok=True)


class Supervisor:
    def __init__(self, home: Path, *, host: str, port: int) -> None:
        self._home, self._host, self._port = home, host, port
        self._signals = 0
        self._stopping = threading.Event()
        self._own_postgres = "DATABASE_URL" not in os.environ
        self._redis: embedded.RedisServer | None = None
        self._children: list[Child] = []

    def run(self) -> int:
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if sign != signal.SIGHUP or signal.getsignal(sign) != signal.SIG_IGN:  # nohup ignores it on purpose
                signal.signal(sign, self._on_signal)
        try:
            self._start_servers()
            accounts = self._prepare()
            if accounts is None:
                return 0 if self._signals else 1
            bind = netloc(self._host, self._port)
            celery = ["celery", "-A", "annotator.celery"]
            web = ["gunicorn", "annotator.wsgi:application", "--bind", bind, "--workers", "2", "--threads", "4"]
            web += ["--worker-class", "gthread", "--timeout", "120", "--graceful-timeout", "10", "--no-control-socket"]
            alone = ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]  # none needs to know of the others
            worker = ["worker", "-Q", "default", "--concurrency", "2", *alone]
            # Judges apart: they wait for their endpoints for hours, in threads, while imports and releases go on.
            judges = ["worker", "-n", "judges@%h", "-Q", "judges", "--pool", "threads", "--concurrency", "4", *alone]
            # Models apart, too: one at a time, in a process that may grow large.
            models = ["worker", "-n", "models@%h", "-Q", "gpu", "--pool", "solo", *alone]
            beat = ["beat", "--loglevel", "INFO", "--schedule", str(self._home / "run/beat-schedule")]
            self._add("web", web)
            for name, arguments in (("worker", worker), ("judges", judges), ("models", models), ("beat", beat)):
                self._add(name, [*celery, *arguments])
            self._watch(accounts)
            return 0
        finally:
            self._stop()

    def _on_signal(self, *_: object) -> None:
        self._signals += 1
        self._stopping.set()

    def _start_servers(self) -> None:
        os.environ.setdefault("SECRET_KEY", embedded.secret_key(self._home))
        os.environ["STEPMARK_HOME"] = str(self._home)
        if self._own_postgres:
            say("Starting PostgreSQL …")
            os.environ["DATABASE_URL"] = embedded.start_postgres(self._home)
        if "REDIS_URL" not in os.environ:
            say("Starting Redis …")
            self._redis = embedded.start_redis(self._home)
            os.environ["REDIS_URL"] = self._redis.url

    def _prepare(self) -> list[list[str]] | None:
        """Migrate, collect static files, seed the demo, in a process of its own: our settings have no database yet.

        Returns the demo accounts, or None if that failed or Ctrl-C came first.
        """
        say("Preparing the database …")
        log = self._home / "logs/prepare.log"
        with log.open("wb") as output:
            command = [sys.executable, str(ROOT / "manage.py"), "run_stack", "--prepare"]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=output, text=True, start_new_session=True
            )
            while True:
                with suppress(subprocess.TimeoutExpired):
                    answer, _ = process.communicate(timeout=0.2)
                    break
                if self._stopping.is_set():
                    process.terminate()
        if self._signals:
            return None
        if process.returncode:
            say(f"Preparing the database failed. From {log}:\n{tail(log, 30)}")
            return None
        accounts: list[list[str]] = json.loads(answer.splitlines()[-1])
        return accounts

    def _add(self, name: str, arguments: list[str]) -> None:
        if self._stopping.is_set():
            return
        child = Child(name, arguments, home=self._home)
        child.start()
        self._children.append(child)

    def _watch(self, accounts: list[list[str]]) -> None:
        ready, started, complained = False, time.monotonic(), False
        while not self._stopping.wait(0.3):
            for child in self._children:
                child.keep_alive()
            self._keep_servers_alive()
            if not ready and self._web_answers():
                ready = True
                self._announce(accounts)
            elif not ready and not complained and time.monotonic() - started > 60:
                complained = True
                say(f"The web process does not answer yet; see {self._home / 'logs/web.log'}.")

    def _keep_servers_alive(self) -> None:
        try:
            if self._own_postgres and not embedded.running_postgres(self._home):
                say("PostgreSQL stopped; starting it again.")
                embedded.start_postgres(self._home)
            if self._redis and self._redis.process.poll() is not None:
                say("Redis stopped; starting it again.")
                self._redis.start()
        except embedded.EmbeddedError as error:
            say(str(error))
            self._stopping.wait(5)

    def _web_answers(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        connection = http.client.HTTPConnection(host, self._port, timeout=5)
        try:
            connection.request("GET", "/healthz/")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _announce(self, accounts: list[list[str]]) -> None:
        say(f"\nStepmark is ready: http://{netloc(self._host, self._port)}/\n")
        for username, password, role in accounts:
            say(f"  {role:<12} {username} / {password}")
        if not accounts:
            say("  No demo accounts: their passwords are published, and this address is not only for this machine.")
        say(f"\nData and logs: {self._home}. Ctrl-C stops everything.")

    def _stop(self) -> None:
        for name in ("web", "beat", "models", "judges", "worker"):
            for child in self._children:
                if child.name == name:
                    is_patient = name in ("worker", "judges", "models")
                    say(f"Stopping {name} …" + (" (Ctrl-C again does not wait)" if is_patient else ""))
                    child.stop(lambda: self._signals > 1)
        if self._redis:
            say("Stopping Redis …")
            self._redis.stop()
        if self._own_postgres:
            say("Stopping PostgreSQL …")
            embedded.stop_postgres(self._home)
        say("Stopped.")


def run(home: Path, *, host: str, port: int) -> int:
    """Run the stack until Ctrl-C or SIGTERM; returns the exit status. Raises EmbeddedError before anything starts."""
    embedded.secret_key(home)
    home = home.resolve()
    with (home / "run/stack.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise embedded.EmbeddedError(f"Stepmark already runs with the data in {home}.") from None
        clear_leftovers(home / "run")
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            reason = f"Cannot listen on {netloc(host, port)} ({error.strerror})"
            raise embedded.EmbeddedError(f"{reason}: choose another port with `PORT=8001 make run`.") from None
        rotate_logs(home / "logs")
        return Supervisor(home, host=host, port=port).run()


def netloc(host: str, port: int) -> str:
    """As an address in the browser and gunicorn's --bind want it: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def clear_leftovers(run_folder: Path) -> None:
    """Stop the children of a supervisor that was killed; a recycled process id has another command line."""
    for path in run_folder.glob("child-*.json"):
        with suppress(ValueError):  # cut short by the same accident
            child: dict[str, Any] = json.loads(path.read_text())
            # Without the interpreter, which some systems replace by the program behind it.
            if embedded.is_running(child["pid"], *child["command"][1:]):
                say(f"Stopping process {child['pid']}, left over from a killed run …")
                embedded.stop_process(child["pid"], 10)
                kill_group(child["pid"])
        path.unlink()


def rotate_logs(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in folder.glob("*.log"):
        for number in range(KEPT_LOGS, 1, -1):
            with suppress(FileNotFoundError):
                (folder / f"{path.name}.{number - 1}").replace(folder / f"{path.name}.{number}")
        path.replace(folder / f"{path.name}.1")


def kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says "permission" of a group of zombies
        os.killpg(leader, signal.SIGKILL)


def tail(path: Path, lines: int = 8) -> str:
    return "\n".join("    " + line for line in path.read_text(errors="replace").splitlines()[-lines:])


def say(text: str) -> None:
    with suppress(OSError):  # a closed terminal must not keep us from stopping
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
