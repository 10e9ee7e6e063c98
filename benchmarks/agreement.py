"""The agreement pages of a project of 250 and of 10,000 trajectories with two raters, through the database.

.venv/bin/python -m benchmarks.agreement [--quick] [--json OUT] [--data DIR]
"""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Figure, peak_memory_mb, percentile, profile, run, stopwatch

if TYPE_CHECKING:
    from annotator.models import Project, User

AIMS = {250: 300.0, 10_000: 1000.0}
# Every eighth label of either rater is another value than what both would have said; twelve weeks of work.
VALUE = """
    CASE WHEN abs(hashtext(annotation.id || '/' || step_id)) %% 8 = 0 THEN annotation.id %% 3 - 1
    ELSE (ARRAY[1, 1, 1, 1, 0, 1, -1, -1, -1, 1])[1 + step_id %% 10] END
"""
SUBMITTED = "%(at)s - make_interval(days => (annotation.trajectory_id %% 84)::int)"


def measure(home: Path, folder: Path, quick: bool) -> tuple[list[str], list[Figure]]:
    from annotator.models import Label, Step
    from benchmarks import data

    sizes, n = ((20, 60), 2) if quick else ((250, 10_000), 7)
    records, fact = data.load(folder)
    path = home / "trajectories.jsonl"
    figures: list[Figure] = []
    counts = []
    for size in sizes:
        project = data.make_project(f"agreement-{size}", overlap=2)
        admin = data.make_member(project, f"admin-{size}", "admin")
        data.write_jsonl(path, data.repeated(records, min(len(records), size)))
        data.import_file(project, path)
        data.grow(project, size)
        data.judge_everything(project, value=VALUE, submitted_at=SUBMITTED)
        data.tidy()
        figures += _pages(project, admin, size, n)
        n_labels = Label.objects.filter(annotation__trajectory__project=project, step__isnull=False).count()
        n_steps = Step.objects.filter(trajectory__project=project).count()
        counts.append(f"{size:,} trajectories: {n_steps:,} steps, {n_labels:,} labels")
        figures += _baselines(project, size)
    figures.append(Figure("peak memory", peak_memory_mb(), "MB"))
    return [fact, f"{'; '.join(counts)}. p50 of {n}, after a first one."], figures


def _pages(project: "Project", admin: "User", size: int, n: int) -> list[Figure]:
    from django.test import Client

    client = Client()
    client.force_login(admin)

    def open_page(address: str) -> tuple[float, float]:
        """The milliseconds it took, and those that this process computed."""
        begun, computed = time.perf_counter(), time.process_time()
        response = client.get(address, headers={"Host": "127.0.0.1"})
        assert response.status_code == 200, response.content
        return (time.perf_counter() - begun) * 1000, (time.process_time() - computed) * 1000

    pages = {
        "agreement page": f"/projects/{project.slug}/agreement/",
        "annotators page": f"/projects/{project.slug}/agreement/annotators/",
        "reliability page": f"/projects/{project.slug}/raters/reliability/",
        "steps on which people differ": f"/projects/{project.slug}/agreement/steps/?same=0",
    }
    figures = []
    for name, address in pages.items():
        first, _ = open_page(address)  # templates are compiled once per process
        walls, own = zip(*(open_page(address) for _ in range(n)), strict=True)
        p50, computed = percentile(walls, 0.5), percentile(own, 0.5)
        where = profile(partial(open_page, address))
        bound = (
            f"{computed:.0f} ms of it in this process, the rest in PostgreSQL or waiting; first {first:.0f} ms; {where}"
        )
        figures.append(Figure(f"{name} at {size:,}", p50, "ms", at_most=AIMS.get(size), bound=bound))
    return figures


def _baselines(project: "Project", size: int) -> list[Figure]:
    """What the figures rest on: the labels of the project as Django gives them, row by row."""
    from annotator.models import Label

    labels = Label.objects.submitted().filter(annotation__trajectory__project=project, step__isnull=False)
    with stopwatch() as reading:
        rows = list(labels.values_list("annotation__annotator_id", "annotation__trajectory_id", "step__index", "value"))
    name = f"baseline at {size:,}: the labels as rows"
    return [Figure(name, reading() * 1000, "ms", bound=f"values_list of {len(rows):,} labels, four columns")]


if __name__ == "__main__":
    run("Agreement", __doc__, measure)
