"""Opening and claiming an assignment, and submitting it, in a project of 250, 10,000 and 100,000 trajectories.

.venv/bin/python -m benchmarks.opening [--quick] [--json OUT] [--data DIR]
"""

import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Figure, percentile, profile, run

if TYPE_CHECKING:
    from annotator.models import Project, User
    from benchmarks.stack import Stack

FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def measure(home: Path, folder: Path, quick: bool) -> tuple[list[str], list[Figure]]:
    from benchmarks import data
    from benchmarks.stack import running_stack

    sizes, n, n_pages, n_had = ((20, 60), 5, 0, 30) if quick else ((250, 10_000, 100_000), 100, 10, 10_000)
    records, fact = data.load(folder)
    path = home / "trajectories.jsonl"
    data.write_jsonl(path, data.repeated(records, min(sizes[0], 250)))
    project = data.make_project("opening", overlap=2)
    data.import_file(project, path)
    figures: list[Figure] = []
    # Only the browser needs the server.
    with running_stack(home) if n_pages else nullcontext() as stack:
        figures += stack.memory("after start") if stack else []
        for size in sizes:
            data.grow(project, size)
            annotator = data.make_member(project, f"annotator-{size}")
            figures += _claims_and_pages(project, annotator, size, n)
            figures += _in_chromium(stack, project, size, n_pages) if stack else []
        veteran = _veteran(project, n_had)
        times = _claim_times(project, veteran, n)
        name = f"claim at {sizes[-1]:,}, the first {n_had:,} had before"
        bound = "the open second slots of all that this person has had are passed over"
        figures.append(Figure(f"{name}: p50", percentile(times, 0.5), "ms", at_most=5, bound=bound))
        figures.append(Figure(f"{name}: p95", percentile(times, 0.95), "ms", bound=f"first claim {times[0]:.1f} ms"))
        figures += stack.memory("after load") if stack else []
    figures += _submissions(path, n)
    floor, round_trip = data.durable_insert_ms(10 * n), data.round_trip_ms(10 * n)
    figures += [
        Figure("baseline: SELECT 1", round_trip, "ms p50", bound="one round trip, with Django's cursor"),
        Figure("baseline: one row, committed", floor, "ms p50", bound="fsync of the write-ahead log"),
    ]
    return [fact, f"p50 and p95 of {n} assignments; {n_pages} pages in Chromium; one database, fsync on."], figures


def _claims_and_pages(project: "Project", annotator: "User", size: int, n: int) -> list[Figure]:
    from django.test import Client

    from annotator.queue import actions as queue

    where_claims = profile(lambda: [queue.claim_next(project, annotator) for _ in range(n)])
    claims = _claim_times(project, annotator, n)
    client = Client()
    client.force_login(annotator)
    assignments = list(annotator.assignments.filter(status="claimed").values_list("pk", flat=True))
    pages: list[float] = []
    n_bytes = 0

    def open_pages(these: Sequence[int]) -> None:
        nonlocal n_bytes
        for pk in these:
            begun = time.perf_counter()
            response = client.get(f"/assignments/{pk}/", headers={"Host": "127.0.0.1"})
            pages.append((time.perf_counter() - begun) * 1000)
            assert response.status_code == 200
            n_bytes += len(response.content)

    open_pages(assignments[:3])  # templates are compiled once per process
    pages.clear()
    n_bytes = 0
    open_pages(assignments)
    p50, p95, mean_kb = percentile(pages, 0.5), percentile(pages, 0.95), n_bytes / len(pages) / 1000
    where_pages = profile(lambda: open_pages(assignments))
    return [
        Figure(f"claim at {size:,}: p50", percentile(claims, 0.5), "ms", at_most=5, bound=where_claims),
        Figure(f"claim at {size:,}: p95", percentile(claims, 0.95), "ms"),
        Figure(f"opening at {size:,}, server: p50", p50, "ms", at_most=15, bound=f"{mean_kb:.0f} kB; {where_pages}"),
        Figure(f"opening at {size:,}, server: p95", p95, "ms"),
    ]


def _submissions(path: Path, n: int) -> list[Figure]:
    """Submitting the first and the second of two judgements, which differ: the second settles and opens a review."""
    from annotator import flow
    from annotator.labelling import actions as labelling
    from annotator.labelling.intake import Changes
    from annotator.queue import actions as queue
    from benchmarks import data

    project = data.make_project("submitting", overlap=2)
    data.import_file(project, path)
    figures = []
    for which, value in (("first", 1), ("second, which settles", -1)):
        person = data.make_member(project, f"submits-{value}")
        times = []
        for _ in range(n):
            slot = queue.claim_next(project, person)
            assert slot is not None
            values = dict.fromkeys(range(slot.trajectory.n_steps), value)
            labelling.save_labels(slot.pk, person, Changes(values, {"outcome": value}))
            begun = time.perf_counter()
            flow.submit(slot.pk, person)
            times.append((time.perf_counter() - begun) * 1000)
        figures.append(Figure(f"submit, the {which}: p50", percentile(times, 0.5), "ms"))
    return figures


def _claim_times(project: "Project", annotator: "User", n: int) -> list[float]:
    from annotator.queue import actions as queue

    times = []
    for _ in range(n):
        begun = time.perf_counter()
        claimed = queue.claim_next(project, annotator)
        times.append((time.perf_counter() - begun) * 1000)
        if claimed is None:
            break
    return times


def _veteran(project: "Project", n_had: int) -> "User":
    """Somebody who has submitted one slot of each of the first trajectories; the second slots are open."""
    from django.db import connection
    from django.utils.timezone import now

    from annotator.models import Assignment
    from benchmarks import data

    veteran = data.make_member(project, "veteran")
    first = list(project.trajectories.order_by("id").values_list("pk", flat=True)[:n_had])
    slots = Assignment.objects.filter(trajectory__in=first)
    # What the others claimed in the measurements before goes back: the slots are wanted as they were at the start.
    slots.update(status="open", annotator=None, claimed_at=None, lease_expires_at=None)
    slots.filter(slot=0).update(status="submitted", annotator=veteran, finished_at=now())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE annotator_assignment")
    return veteran


def _in_chromium(stack: "Stack", project: "Project", size: int, n: int) -> list[Figure]:
    """From the start of the navigation until the first label, given by its key, is acknowledged by the server."""
    from django.test import Client

    from annotator.queue import actions as queue
    from benchmarks import data

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        return [Figure(f"first label at {size:,}", 0, "ms", bound="not measured: there is no Chromium on the PATH")]
    from playwright.sync_api import sync_playwright

    annotator = data.make_member(project, f"browser-{size}")
    client = Client()
    client.force_login(annotator)
    address = f"http://127.0.0.1:{stack.port}"
    labelled, painted = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS.split())
        # The CSP would refuse wait_for_function, which evaluates a string.
        context = browser.new_context(viewport={"width": 1280, "height": 800}, bypass_csp=True)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": address}])
        page = context.new_page()
        for _ in range(n + 1):
            assignment = queue.claim_next(project, annotator)
            assert assignment is not None
            begun = time.perf_counter()
            with page.expect_response(lambda answer: "/labels/" in answer.url) as saved:
                page.goto(f"{address}/assignments/{assignment.pk}/", wait_until="domcontentloaded")
                page.keyboard.press("1")
            assert saved.value.status == 200
            labelled.append((time.perf_counter() - begun) * 1000)
            script = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
            page.wait_for_function(f"({script}) > 0")
            painted.append(float(page.evaluate(script)))
        browser.close()
    paint = percentile(painted[1:], 0.5)
    bound = f"text on the screen after {paint:.0f} ms; then key, save and answer; cold cache {labelled[0]:.0f} ms"
    return [Figure(f"first label in Chromium at {size:,}: p50", percentile(labelled[1:], 0.5), "ms", bound=bound)]


if __name__ == "__main__":
    run("Opening and claiming", __doc__, measure)
