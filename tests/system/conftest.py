"""A real Redis and real Celery workers for the tests that need them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from celery import Celery
from django.db import connection

from annotator import jobs
from annotator.embedded import start_redis
from annotator.models import Job

ROOT = Path(__file__).parents[2]


@pytest.fixture
def redis_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a fresh Redis, to which jobs are sent while the test runs."""
    with start_redis(tmp_path / "home") as redis:
        # An app of its own: the connections of the real one stay as they are.
        app = Celery("stepmark-test", set_as_current=False)
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.conf.update(broker_url=redis.url)
        monkeypatch.setattr(jobs, "app", app)
        yield redis.url
        app.close()


StartWorker = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(transactional_db: None, redis_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker on the test's database; returns its process."""
    settings = connection.settings_dict
    host = settings["HOST"] or settings["OPTIONS"].get("host", "")
    login = f"{quote(settings['USER'], safe='')}:{quote(settings['PASSWORD'], safe='')}"
    database = f"postgresql://{login}@:{settings['PORT']}/{settings['NAME']}?host={quote(host, safe='')}"
    command = [sys.executable, "-m", "celery", "-A", "annotator.celery", "worker", "-P", "solo", "-c", "1"]
    environment = {
        **os.environ,
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "MODELS_FOLDER": str(tmp_path / "models"),
    }
    running: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        with (tmp_path / f"worker-{len(running)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [*command, "-Q", "default,gpu"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        running.append(worker)
        return worker

    yield start
    for worker in running:
        worker.kill()
        worker.wait()


def wait_for(job: Job, is_reached: Callable[[Job], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_reached(job):
        assert time.monotonic() < deadline, f"{job.get_status_display()}: {job.n_done} of {job.n_total}. {job.error}"
        time.sleep(0.01)
        job.refresh_from_db()
