"""What both servers need: the folder that everything lives in, its secret key, and processes told apart for certain."""

import fcntl
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path


class EmbeddedError(Exception):
    """Says in one sentence what is wrong and what to do."""


def secret_key(home: Path) -> str:
    """The secret key of this home, made at the first call; two processes at once get the same one."""
    path = prepare(home) / "secret_key"
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
        raise EmbeddedError(missing("psutil")) from error
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or not set(words) <= set(process.cmdline()):
            return False
        return folder is None or Path(process.cwd()) == folder
    except psutil.Error:
        return False


def stop_process(pid: int, seconds: float) -> None:
    """Ask a process to end, and kill it if it does not within `seconds`."""
    for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + patience
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.05)


def wheel(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedError(missing(package))
    return Path(spec.origin).parent


def missing(package: str) -> str:
    advice = "run `pip install 'stepmark[embedded]'`, or set DATABASE_URL and REDIS_URL to your own servers"
    return f"{package} is not installed: {advice}."


def prepare(home: Path) -> Path:
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
def locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
