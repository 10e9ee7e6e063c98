"""Nothing gets lost: 16 people label over HTTP while processes are killed, PostgreSQL crashes and Redis forgets.

The whole of `make run` on a folder and a port of its own, with fsync on; only the times after which lost jobs are
looked for are shorter.
"""

import http.client
import json
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
import redis
from django.db import DataError, OperationalError

from annotator import flow, jobs
from annotator.embedded import is_running, running_postgres, running_redis
from annotator.models import Job
from tests.factories import World, make_messages
from tests.system.test_run import Stack, manage, wait_for

SEED = 20_261_120
N_CLIENTS = 16
N_STEPS = 3
OVERLAP = 2
N_FIRST, N_IMPORTED = 60, 600

# One process makes what sixteen times three commands would; run by `manage.py shell`.
PREPARE = f"""
import json
from knox.models import AuthToken
from annotator.models import Membership, User
from annotator.projects.actions import ProjectSettings, add_member, create_project

project = create_project("chaos", ProjectSettings(overlap={OVERLAP}), user=None)
tokens = []
for name in [*(f"chaos-{{n}}" for n in range({N_CLIENTS})), "chaos-admin"]:
    user = User.objects.create(username=name)
    add_member(project, user, Membership.Role("admin" if name == "chaos-admin" else "annotator"), user=None)
    tokens.append(AuthToken.objects.create(user)[1])
print(json.dumps(tokens))
"""


class Client:
    """One person's program: it repeats every request until it is answered, as the labelling page's outbox does."""

    def __init__(self, port: int, token: str, give_up_at: float) -> None:
        self._port, self._give_up_at = port, give_up_at
        self._headers = {"Authorization": f"Token {token}"}
        self._connection: http.client.HTTPConnection | None = None
        self.n_repeated = 0

    def call(self, method: str, path: str, body: bytes | None = None, *, kind: str = "application/json") -> Any:
        headers = self._headers | ({"Content-Type": kind} if body is not None else {})
        while True:
            try:
                self._connection = self._connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
                self._connection.request(method, f"/api/v1/{path}", body, headers)
                answer = self._connection.getresponse()
                status, content = answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                status, content = 0, b""
            if 200 <= status < 300:
                return json.loads(content) if content else None
            assert status == 0 or status >= 500, f"{method} {path}: {status} {content!r}"
            assert time.monotonic() < self._give_up_at, f"{method} {path} is not answered"
            self._drop()
            self.n_repeated += 1
            time.sleep(0.1)

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def upload(self, name: str, content: bytes) -> int:
        head = f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        kind = "multipart/form-data; boundary=cut"
        job = self.call("POST", "projects/chaos/imports/", head + content + b"\r\n--cut--\r\n", kind=kind)
        return int(job["id"])


class Annotator:
    """Claims, labels every step by itself (some twice) and submits; remembers what was acknowledged."""

    def __init__(self, client: Client, seed: int) -> None:
        self.client, self._random = client, random.Random(seed)
        self.acknowledged: dict[tuple[int, int | None], int] = {}  # (assignment, step) → value; no step: the outcome
        self.submitted: list[int] = []
        self.n_saves = 0

    def work(self, is_over: threading.Event) -> None:
        while not is_over.is_set():
            claimed = self.client.call("POST", "projects/chaos/assignments/claim/")
            if claimed is None:
                time.sleep(0.1)
                continue
            self._judge(claimed["id"], [step["index"] for step in claimed["steps"]])

    def _judge(self, assignment: int, steps: list[int]) -> None:
        for step in [*steps, *self._random.sample(steps, 1)]:  # one of them a second time
            self._save(assignment, step, {"labels": [{"step": step, "value": (value := self._value())}]}, value)
        self._save(assignment, None, {"outcome": (value := self._value())}, value)
        self.client.call("POST", f"assignments/{assignment}/submit/")
        self.submitted.append(assignment)

    def _save(self, assignment: int, step: int | None, body: dict[str, object], value: int) -> None:
        self.client.call("PUT", f"assignments/{assignment}/labels/", json.dumps(body).encode())
        self.acknowledged[assignment, step] = value
        self.n_saves += 1

    def _value(self) -> int:
        return self._random.choice((-1, 0, 1))


class Chaos:
    """Kills what runs under the stack, by what it is; remembers what it did."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.done: Counter[str] = Counter()

    def kill(self, what: str, sign: signal.Signals = signal.SIGKILL) -> None:
        """Sends the signal once the process is there: it may not be back from the last time."""
        self._until_done(f"killed {what}", lambda: self._find(what).send_signal(sign))

    def empty_redis(self) -> None:
        def flush() -> None:
            with redis.Redis.from_url(running_redis(self._stack.home) or "") as client:
                client.flushall()

        self._until_done("emptied redis", flush)

    def _until_done(self, name: str, act: Callable[[], None]) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                act()
                self.done[name] += 1
                return
            except (psutil.Error, redis.RedisError, LookupError, OSError, ValueError):
                assert time.monotonic() < deadline, f"{name}: it does not come back.\n{self._stack.output()}"
                time.sleep(0.05)

    def _find(self, what: str) -> psutil.Process:
        home = self._stack.home
        files = {"postgres": home / "postgres/postmaster.pid", "redis": home / "redis/redis.pid"}
        if what in files:
            pid = int(files[what].read_text().split("\n")[0])
            if not is_running(pid, folder=home / what):  # the number is old, and may be somebody else's by now
                raise psutil.NoSuchProcess(pid)
            return psutil.Process(pid)
        name, _, part = what.partition("'s ")
        found = self._stack.child(name)
        return found.children()[0] if part else found


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setenv("JOB_STALLED_SECONDS", "3")
    monkeypatch.setenv("JOB_RESEND_SECONDS", "2")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    stack = Stack(tmp_path / "home", port)
    yield stack
    if stack.process.poll() is None:  # only after a failure
        stack.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        stack.process.send_signal(signal.SIGTERM)
        stack.process.wait(60)


def make_file(name: str, n_trajectories: int) -> bytes:
    records = (
        {"id": f"{name}-{n}", "messages": make_messages(N_STEPS, unique=f"{name} {n}")} for n in range(n_trajectories)
    )
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def prepare(stack: Stack) -> list[str]:
    """The project and its people; returns their tokens, the admin's last."""
    shell = manage(stack.home, "shell", "--verbosity", "0", "--command", PREPARE)
    output = shell.communicate(timeout=30)[0]
    assert shell.returncode == 0, output
    tokens: list[str] = json.loads(output.splitlines()[-1])
    return tokens


def test_what_was_acknowledged_is_there_whatever_is_killed(stack: Stack) -> None:
    stack.wait_ready()
    *tokens, admin_token = prepare(stack)
    give_up_at = time.monotonic() + 90  # only a failure takes so long
    admin = Client(stack.port, admin_token, give_up_at)
    annotators = [Annotator(Client(stack.port, token, give_up_at), SEED + n) for n, token in enumerate(tokens)]
    jobs = [admin.upload("first.jsonl", make_file("first", N_FIRST))]
    chaos, is_over = Chaos(stack), threading.Event()

    with ThreadPoolExecutor(N_CLIENTS) as pool:
        working = [pool.submit(annotator.work, is_over) for annotator in annotators]
        try:
            wreak_havoc(chaos, admin, jobs)
            wait_for(lambda: all(status_of(admin, job) in ENDED for job in jobs), give_up_at - time.monotonic())
        finally:
            is_over.set()  # everybody finishes what they hold
    for future in working:
        future.result()

    with connect(stack.home) as connection:
        check(stack, connection, annotators, chaos, jobs)
        lost_claims_come_back(connection, annotators[0])
    stack.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    stack.stop(signal.SIGINT)  # the second signal does not wait


ENDED = {"done", "failed", "cancelled"}


def status_of(admin: Client, job: int) -> str:
    status: str = admin.call("GET", f"jobs/{job}/")["status"]
    return status


def wreak_havoc(chaos: Chaos, admin: Client, jobs: list[int]) -> None:
    wait_for(lambda: status_of(admin, jobs[0]) in ENDED, 10)
    jobs.append(admin.upload("one.jsonl", make_file("one", N_IMPORTED)))
    wait_for(lambda: admin.call("GET", f"jobs/{jobs[1]}/")["n_done"] > 0, 5)
    chaos.kill("default")
    chaos.kill("gunicorn's child")
    time.sleep(1)
    chaos.kill("postgres")
    time.sleep(2)
    jobs.append(admin.upload("two.jsonl", make_file("two", N_IMPORTED)))
    chaos.empty_redis()
    chaos.kill("gunicorn")
    time.sleep(2)
    chaos.kill("default's child")
    chaos.kill("gunicorn's child")
    time.sleep(1)
    chaos.kill("postgres", signal.SIGQUIT)  # what PostgreSQL calls an immediate shutdown
    chaos.kill("redis")
    time.sleep(2)
    chaos.kill("beat")
    chaos.empty_redis()
    chaos.kill("gunicorn's child")


def connect(home: Path) -> "psycopg.Connection[tuple[Any, ...]]":
    return psycopg.connect(host=str(running_postgres(home)), user="postgres", dbname="stepmark")


def check(
    stack: Stack,
    connection: "psycopg.Connection[tuple[Any, ...]]",
    annotators: list[Annotator],
    chaos: Chaos,
    jobs: list[int],
) -> None:
    def ask(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(
            f"WITH p AS (SELECT id FROM annotator_project WHERE slug = 'chaos') {query}"
        ).fetchall()

    numbers = {
        "saves": sum(annotator.n_saves for annotator in annotators),
        "submitted": sum(len(annotator.submitted) for annotator in annotators),
        "repeated requests": sum(annotator.client.n_repeated for annotator in annotators),
        **chaos.done,
    }
    told = f"{numbers}; the stack said:\n{stack.output()}"

    # Everybody got through, and the havoc was real.
    assert all(annotator.submitted for annotator in annotators), told
    assert numbers["repeated requests"] >= N_CLIENTS, told
    assert stack.output().count("PostgreSQL stopped") == 2, told
    assert stack.output().count("Redis stopped") == 1, told

    # Every acknowledged label is there with its value, in an annotation of the person who gave it.
    acknowledged = {key: value for annotator in annotators for key, value in annotator.acknowledged.items()}
    assert len(acknowledged) == sum(len(annotator.acknowledged) for annotator in annotators), told
    rows = ask(
        "SELECT a.assignment_id, s.index, l.value FROM annotator_label l"
        " JOIN annotator_annotation a ON a.id = l.annotation_id LEFT JOIN annotator_step s ON s.id = l.step_id"
        " JOIN annotator_assignment x ON x.id = a.assignment_id WHERE x.project_id IN (SELECT id FROM p)"
    )
    stored = {(assignment, step): value for assignment, step, value in rows}
    assert len(stored) == len(rows), told
    lost = {key: (value, stored.get(key)) for key, value in acknowledged.items() if stored.get(key) != value}
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged labels are lost or changed: {lost}; {told}"

    # Every submission is final and counted once.
    submitted = {assignment for annotator in annotators for assignment in annotator.submitted}
    statuses = dict(ask("SELECT id, status FROM annotator_assignment WHERE project_id IN (SELECT id FROM p)"))
    assert {pk for pk, status in statuses.items() if status == "submitted"} == submitted, told
    assert len(submitted) == numbers["submitted"], told
    assert set(statuses.values()) <= {"open", "claimed", "submitted"}, told  # claimed: the answer to a claim was lost
    finals = ask("SELECT assignment_id, count(*) FROM annotator_annotation WHERE submitted_at IS NOT NULL GROUP BY 1")
    assert all(count == 1 for _, count in finals), told

    # Every job is done, and what the files hold is there once.
    ended = ask("SELECT id, status, error FROM annotator_job WHERE project_id IN (SELECT id FROM p) ORDER BY id")
    assert ended == [(job, "done", "") for job in jobs], told
    n_trajectories = N_FIRST + 2 * N_IMPORTED
    assert ask("SELECT count(*), sum(n_steps) FROM annotator_trajectory WHERE project_id IN (SELECT id FROM p)") == [
        (n_trajectories, n_trajectories * N_STEPS)
    ], told

    # Exactly the wanted slots, and nobody twice.
    slots = ask(
        "SELECT t.id, count(x.id), count(DISTINCT x.slot), count(x.annotator_id), count(DISTINCT x.annotator_id)"
        " FROM annotator_trajectory t LEFT JOIN annotator_assignment x ON x.trajectory_id = t.id"
        " WHERE t.project_id IN (SELECT id FROM p) GROUP BY t.id"
    )
    wrong = [row for row in slots if row[1:3] != (OVERLAP, OVERLAP) or row[3] != row[4]]
    assert not wrong, f"slots lost or doubled: {wrong[:5]}; {told}"

    # Whatever has all its judgements is settled: each step and the outcome is gold or disputed.
    judged = ask(
        "SELECT trajectory_id FROM annotator_assignment WHERE project_id IN (SELECT id FROM p)"
        f" GROUP BY 1 HAVING count(*) FILTER (WHERE status = 'submitted') = {OVERLAP}"
    )
    assert judged, told
    settled = Counter(
        trajectory
        for (trajectory,) in ask(
            "SELECT trajectory_id FROM annotator_goldlabel UNION ALL SELECT trajectory_id FROM annotator_dispute"
        )
    )
    unsettled = [trajectory for (trajectory,) in judged if settled[trajectory] != N_STEPS + 1]
    assert not unsettled, f"{len(unsettled)} of {len(judged)} judged trajectories are not settled; {told}"


def lost_claims_come_back(connection: "psycopg.Connection[tuple[Any, ...]]", annotator: Annotator) -> None:
    """A claim whose answer never arrived is held by nobody who knows of it, until its lease runs out."""
    connection.execute("UPDATE annotator_assignment SET lease_expires_at = now() WHERE status = 'claimed'")
    connection.commit()
    claimed = annotator.client.call("POST", "projects/chaos/assignments/claim/")
    held = connection.execute(
        "SELECT a.id FROM annotator_assignment a JOIN annotator_project p ON p.id = a.project_id"
        " WHERE p.slug = 'chaos' AND a.status = 'claimed'"
    )
    assert held.fetchall() == [(claimed["id"],)]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "cause", "status"),
    [
        (OperationalError, psycopg.errors.AdminShutdown, Job.Status.RUNNING),  # the beat will find it
        (OperationalError, psycopg.OperationalError, Job.Status.RUNNING),  # the connection broke
        (OperationalError, psycopg.errors.DiskFull, Job.Status.FAILED),
        (DataError, psycopg.errors.NumericValueOutOfRange, Job.Status.FAILED),
    ],
    ids=["shut down", "connection lost", "disk full", "bad value"],
)
def test_a_job_that_loses_postgresql_waits_for_another_worker(
    error: type[Exception], cause: type[Exception], status: Job.Status, world: World
) -> None:
    job = jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=1, user=None)

    def handler(running: Job) -> dict[str, object]:
        raise error("no") from cause("no")

    with pytest.raises(error):
        flow.run_job(job.pk, handler)
    job.refresh_from_db()
    assert job.status == status
