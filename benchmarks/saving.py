"""Saving labels with 1, 8 and 32 annotators at once over HTTP, each save committed to disk before it is answered.

.venv/bin/python -m benchmarks.saving [--quick] [--json OUT] [--data DIR]
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT, Figure, percentile, profile, run

N_CLIENT_PROCESSES = 2
VALUES = (1, -1)  # of the first and of every second save of one trajectory, so that each save changes each label


@dataclass(frozen=True)
class Outcome:
    latencies: list[float]
    per_second: float
    n_failed: int
    n_lost: int
    n_connections: int


def measure(home: Path, folder: Path, quick: bool) -> tuple[list[str], list[Figure]]:
    from benchmarks import data
    from benchmarks.stack import running_stack

    crowds, seconds, n_each = ((4,), 0.5, 4) if quick else ((1, 8, 32), 15.0, 150)
    records, fact = data.load(folder)
    floor = data.durable_insert_ms(50 if n_each < 10 else 500)
    round_trip = data.round_trip_ms(50 if n_each < 10 else 500)
    project = data.make_project("saving", overlap=1)
    path = home / "trajectories.jsonl"
    data.write_jsonl(path, data.repeated(records, min(len(records), 4 if n_each < 10 else 250)))
    data.import_file(project, path)
    figures = []
    with running_stack(home) as stack:
        memory = stack.memory("after start")
        for way in ("API", "page"):
            for n_annotators in crowds:
                plan = _plan(project.pk, way, n_annotators, n_each, stack.port)
                before = stack.cpu_ms()
                outcome = _run(plan, stack.port, seconds)
                spent = {name: ms - before[name] for name, ms in stack.cpu_ms().items()}
                figures += _figures(way, n_annotators, outcome, spent)
        memory += stack.memory("after load")
    figures += [
        Figure("baseline: SELECT 1", round_trip, "ms p50", bound="one round trip, with Django's cursor"),
        Figure("baseline: one row, committed", floor, "ms p50", bound="fsync of the write-ahead log"),
        Figure("a save in process, no HTTP", *_in_process(project.pk, n_each)),
        *memory,
    ]
    facts = [
        fact,
        f"{seconds:g} s for each line; one save = the labels of all steps and the outcome of one trajectory.",
        "Web: gunicorn as `make run` starts it (2 processes of 4 threads); the clients share the cores; fsync on.",
    ]
    return facts, figures


def _figures(way: str, n: int, outcome: Outcome, spent: dict[str, float]) -> list[Figure]:
    name = f"{way}, {n} annotator{'s' if n > 1 else ''}"
    bound = f"{len(outcome.latencies):,} saves, {outcome.n_connections} connections, {outcome.n_failed} refused"
    each = ", ".join(f"{who} {ms / max(len(outcome.latencies), 1):.1f} ms" for who, ms in spent.items())
    return [
        Figure(f"{name}: p50", percentile(outcome.latencies, 0.5), "ms", at_most=4 if n == 1 else None, bound=bound),
        Figure(f"{name}: p95", percentile(outcome.latencies, 0.95), "ms", at_most=100 if n == 32 else None),
        Figure(
            f"{name}: rate",
            outcome.per_second,
            "saves/s",
            at_least=500 if n == 32 else None,
            bound=f"processor time of each save: {each}",
        ),
        Figure(f"{name}: lost", outcome.n_lost + outcome.n_failed, "saves", at_most=0),
    ]


def _plan(
    project_id: int, way: str, n_annotators: int, n_each: int, port: int, *, name: str = ""
) -> list[dict[str, Any]]:
    """For every annotator `n_each` claimed assignments and the requests that save their labels in two versions."""
    from django.test import Client
    from knox.models import AuthToken

    from annotator.models import Assignment, Project, Step
    from benchmarks import data

    project = Project.objects.get(pk=project_id)
    data.grow(project, project.trajectories.count() + n_annotators * n_each)
    plan = []
    for number in range(n_annotators):
        annotator = data.make_member(project, f"{name or way}-{n_annotators}-{number}")
        chosen = Assignment.objects.open().filter(project=project).order_by("-id").values_list("pk", flat=True)[:n_each]
        _hand_out(list(chosen), annotator.pk)
        if way == "API":
            token = AuthToken.objects.create(annotator)[1]
            address, headers = "/api/v1/assignments/{}/labels/", f"Authorization: Bearer {token}\r\n"
        else:
            client = Client()
            client.force_login(annotator)
            session, csrf = client.cookies["sessionid"].value, "a" * 32
            address = "/assignments/{}/labels/"
            headers = f"Cookie: sessionid={session}; csrftoken={csrf}\r\nX-CSRFToken: {csrf}\r\n"
        assignments, requests = [], []
        for assignment in Assignment.objects.filter(annotator=annotator).order_by("id"):
            n_steps = Step.objects.filter(trajectory=assignment.trajectory_id).count()
            bodies = [
                json.dumps({"labels": [{"step": i, "value": value} for i in range(n_steps)], "outcome": value})
                for value in VALUES
            ]
            assignments.append(assignment.pk)
            requests.append(
                [
                    f"PUT {address.format(assignment.pk)} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}"
                    "Content-Type: application/json\r\nAccept: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}"
                    for body in bodies
                ]
            )
        plan.append({"assignments": assignments, "requests": requests})
    return plan


def _hand_out(assignments: list[int], annotator_id: int) -> None:
    from datetime import timedelta

    from django.utils.timezone import now

    from annotator.models import Assignment

    Assignment.objects.filter(pk__in=assignments).update(
        status="claimed", annotator=annotator_id, claimed_at=now(), lease_expires_at=now() + timedelta(hours=1)
    )


def _run(plan: list[dict[str, Any]], port: int, seconds: float) -> Outcome:
    start = time.time() + 1.5
    shares = [plan[i::N_CLIENT_PROCESSES] for i in range(min(N_CLIENT_PROCESSES, len(plan)))]
    command = [sys.executable, "-m", "benchmarks.client"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in shares
    ]
    for process, share in zip(processes, shares, strict=True):
        assert process.stdin
        json.dump({"port": port, "start": start, "seconds": seconds, "annotators": share}, process.stdin)
        process.stdin.close()
    done: list[dict[str, Any]] = []
    for process in processes:
        assert process.stdout
        done += json.loads(process.stdout.read())
        if process.wait():
            raise RuntimeError("A client process failed; its message stands above.")
    latencies = [latency for annotator in done for latency in annotator["latencies"]]
    elapsed = max(annotator["ended"] for annotator in done) - start
    n_failed = sum(len(annotator["failures"]) for annotator in done)
    return Outcome(
        latencies,
        per_second=(len(latencies) - n_failed) / elapsed,
        n_failed=n_failed,
        n_lost=_count_lost(done),
        n_connections=sum(annotator["n_connections"] for annotator in done),
    )


def _count_lost(done: list[dict[str, Any]]) -> int:
    """Assignments whose labels are not exactly those of the last save that was acknowledged."""
    from annotator.models import Label, Step

    n_lost = 0
    for annotator in done:
        stored: dict[int, list[int]] = {}
        labels = Label.objects.filter(annotation__assignment__in=annotator["assignments"])
        for assignment_id, value in labels.values_list("annotation__assignment", "value"):
            stored.setdefault(assignment_id, []).append(value)
        trajectories = Step.objects.filter(trajectory__assignments__in=annotator["assignments"])
        n_steps: dict[int, int] = {}
        for assignment_id in trajectories.values_list("trajectory__assignments", flat=True):
            n_steps[assignment_id] = n_steps.get(assignment_id, 0) + 1
        for assignment_id, version in zip(annotator["assignments"], annotator["last_saved"], strict=True):
            if version is not None:
                expected = [VALUES[version]] * (n_steps[assignment_id] + 1)
                n_lost += stored.get(assignment_id, []) != expected
    return n_lost


def _in_process(project_id: int, n: int) -> tuple[float, str, None, None, str]:
    """Time and profile of the API's save through the whole Django stack, without a server between."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    plan = _plan(project_id, "API", 1, n, 80, name="in-process")
    client = Client()
    bodies = [request[0].partition("\r\n\r\n")[2] for request in plan[0]["requests"]]
    token = plan[0]["requests"][0][0].partition("Authorization: ")[2].partition("\r\n")[0]

    def save(position: int) -> float:
        """The milliseconds it took."""
        address = f"/api/v1/assignments/{plan[0]['assignments'][position]}/labels/"
        headers = {"Host": "127.0.0.1", "Authorization": token}
        begun = time.perf_counter()
        response = client.put(address, bodies[position], "application/json", headers=headers)
        elapsed = (time.perf_counter() - begun) * 1000
        assert response.status_code == 200, response.content
        return elapsed

    half = len(bodies) // 2
    with CaptureQueriesContext(connection) as queries:
        save(0)
        n_queries = len(queries)  # the next request empties the list
    median = percentile([save(position) for position in range(1, half)], 0.5)
    where = profile(lambda: [save(position) for position in range(half, len(bodies))])
    return median, "ms p50", None, None, f"{n_queries} queries; {where}"


if __name__ == "__main__":
    run("Saving labels", __doc__, measure)
