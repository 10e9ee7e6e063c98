"""The whole platform as `make run` starts it, on the benchmark's own database, with the memory of its processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.bench import ROOT, Figure


class Stack:
    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port

    def memory(self, when: str) -> list[Figure]:
        """RSS of web, worker and beat with their children; pages that forked children share count in each."""
        figures = []
        for name in ("web", "worker", "beat"):
            parent = psutil.Process(json.loads((self.home / f"run/child-{name}.json").read_text())["pid"])
            family = [parent, *parent.children(recursive=True)]
            own = sum(process.memory_info().rss for process in family) / 1024**2
            what = f"{len(family)} process{'es' if len(family) > 1 else ''}"
            figures.append(Figure(f"memory {when}: {name}", own, "MB RSS", bound=what))
        return figures

    def cpu_ms(self) -> dict[str, float]:
        """Processor time so far of the web processes and of PostgreSQL, those that have ended included."""
        pids = {
            "web": json.loads((self.home / "run/child-web.json").read_text())["pid"],
            "PostgreSQL": int((self.home / "postgres/postmaster.pid").read_text().split()[0]),
        }
        spent = dict.fromkeys(pids, 0.0)
        for name, pid in pids.items():
            parent = psutil.Process(pid)
            ended = parent.cpu_times()
            spent[name] += 1000 * (ended.children_user + ended.children_system)
            for process in [parent, *parent.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    spent[name] += 1000 * (times.user + times.system)
        return spent


@contextmanager
def running_stack(home: Path) -> Iterator[Stack]:
    """`manage.py run_stack` on this home until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {"PORT": str(port), "HOST": "127.0.0.1"}
    output = home / "stack.txt"
    with output.open("w") as file:
        command = [sys.executable, str(ROOT / "manage.py"), "run_stack"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 120
        while "Stepmark is ready" not in output.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The stack does not start:\n{output.read_text()}")
            time.sleep(0.2)
        yield Stack(home, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
