"""A pre-label run over 10,000 trajectories with a tiny model on the CPU: started, cancelled, gone on with, watched.

.venv/bin/python -m benchmarks.runs [--quick] [--json OUT] [--data DIR]

While a worker scores, the run's page is opened again and again; each time its numbers are held against what is stored.
The baseline scores the same trajectories with the bare engine, without a database.
"""

import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Figure, memory_mb, peak_memory_mb, percentile, run, stopwatch

if TYPE_CHECKING:
    from annotator.models import PrelabelRun, User

MODEL = "qwen2.5-math-prm-7b"


def measure(home: Path, folder: Path, quick: bool) -> tuple[list[str], list[Figure]]:
    from django.conf import settings
    from django.db import connection

    from annotator import jobs
    from annotator.models import Job, Membership, Prediction, Trajectory, User
    from annotator.prelabelling import actions, catalogue, reading
    from annotator.prelabelling.actions import Selection
    from annotator.prelabelling.discriminative import DiscriminativeConfig
    from annotator.prelabelling.scores import TrajectoryText
    from annotator.projects.actions import add_member
    from benchmarks import data
    from tests.workers.prelabel import checkpoints
    from workers.prelabel import discriminative
    from workers.prelabel import run as worker

    n = 60 if quick else 10_000
    settings.MODELS_FOLDER = home / "models"
    settings.ALLOWED_HOSTS = ["testserver"]
    checkpoints.save(MODEL, settings.MODELS_FOLDER / "checkpoints" / MODEL)
    project = data.make_project("runs", overlap=1)
    records, fact = data.load(folder)
    short = sorted(records, key=lambda record: len(str(record["messages"])))[: max(1, len(records) // 4)]
    path = home / "trajectories.jsonl"
    data.write_jsonl(path, data.repeated(short, min(len(short), n)))
    data.import_file(project, path)
    data.grow(project, n)
    data.tidy()
    admin = User.objects.create(username="runs-admin")
    add_member(project, admin, Membership.Role.ADMIN, user=None)
    config = catalogue.read(project.slug).get(MODEL)
    with stopwatch() as estimating:
        estimate = reading.estimate(project, config, Selection())

    def begin() -> "PrelabelRun":
        return actions.start(project, config, Selection(), estimate=estimate, user=admin)

    def score(prelabel_run: "PrelabelRun", cancel_at: int | None) -> tuple[float, list[float], int]:
        """Seconds, the seconds that each look at the page took, and how many looks found a lie."""
        ended, looks, lies = threading.Event(), [], [0]

        def look() -> None:
            latest = 0
            while not ended.is_set():
                with stopwatch() as opening:
                    text = _page(prelabel_run, admin)
                looks.append(opening())
                shown = _shown(text)
                stored = sum(Trajectory.objects.filter(predictions__run=prelabel_run).values_list("n_steps", flat=True))
                if shown is not None:
                    lies[0] += not (latest <= shown[0] <= min(stored, shown[1]))
                    latest = shown[0]
                if cancel_at is not None and latest >= cancel_at:
                    job = Job.objects.get(pk=prelabel_run.job_id)
                    if not job.is_cancel_requested and not job.is_finished:
                        jobs.cancel(job, user=admin)
                time.sleep(0.05)
            connection.close()

        watcher = threading.Thread(target=look)
        watcher.start()
        with stopwatch() as scoring:
            worker.work(prelabel_run.job_id)
        ended.set()
        watcher.join()
        return scoring(), looks, lies[0]

    n_steps = sum(Trajectory.objects.filter(project=project).values_list("n_steps", flat=True))
    with stopwatch() as starting:
        first = begin()
    before = memory_mb()
    first_seconds, first_looks, first_lies = score(first, cancel_at=n_steps // 3)
    first.job.refresh_from_db()
    n_first = Prediction.objects.filter(run=first).count()
    second = begin()
    second_seconds, looks, lies = score(second, cancel_at=None)
    second.job.refresh_from_db()
    n_second = Prediction.objects.filter(run=second).count()
    assert second.job.status == Job.Status.DONE, second.job.error
    assert n_first + n_second == n
    assert Prediction.objects.values("trajectory").distinct().count() == n
    peak = peak_memory_mb()

    assert isinstance(config, DiscriminativeConfig)
    scorer = discriminative.load(config, settings.MODELS_FOLDER / "checkpoints" / MODEL, "cpu")
    rows = Trajectory.objects.filter(predictions__run=second).order_by("id")
    texts = [
        (row.pk, TrajectoryText(row.instruction, row.messages, row.tools)) for row in rows.iterator(chunk_size=500)
    ]
    with stopwatch() as bare:
        n_bare = sum(1 for _ in scorer.score(texts))
    looks = sorted([*first_looks, *looks])
    figures = [
        Figure("estimate", estimating(), "s"),
        Figure("start", starting(), "s"),
        Figure(
            "a cancelled run, until it had stopped",
            first_seconds,
            "s",
            bound=f"{first.job.status}; {n_first:,} scored before",
        ),
        Figure("gone on with", n_second / second_seconds, "trajectories/s", bound="loading the model included"),
        Figure("baseline: the bare engine on the same", n_bare / bare(), "trajectories/s"),
        Figure("looks at the page that found a lie", first_lies + lies, "of " + f"{len(looks):,}", at_most=0),
        Figure("the run's page while it scores: p50", 1000 * percentile(looks, 0.5), "ms"),
        Figure("the run's page while it scores: p95", 1000 * percentile(looks, 0.95), "ms"),
        Figure("peak memory", peak, "MB", bound=f"{before:.0f} MB of it before, torch and the benchmark included"),
    ]
    return [fact, f"{n:,} trajectories, the shorter ones, {n_steps:,} steps; a decoder of random weights."], figures


def _page(prelabel_run: "PrelabelRun", admin: "User") -> str:
    from django.test import Client

    client = Client()
    client.force_login(admin)
    return client.get(f"/prelabel-runs/{prelabel_run.pk}/").content.decode()


def _shown(text: str) -> tuple[int, int] | None:
    """Steps done and in all, as the page says."""
    found = re.search(r'class="num-text">([\d,]+) of ([\d,]+) steps', text)
    return None if found is None else (int(found[1].replace(",", "")), int(found[2].replace(",", "")))


if __name__ == "__main__":
    run("Pre-label runs", __doc__, measure)
