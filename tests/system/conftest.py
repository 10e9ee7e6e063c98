"""A real Redis for the tests that need one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from annotator import jobs
from annotator.embedded import start_redis


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
