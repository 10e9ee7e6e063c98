"""Importing files into a project."""

import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from annotator import flow, jobs
from annotator.importing import actions, records, uploads
from annotator.importing.actions import ImportReport, import_trajectories
from annotator.models import Assignment, Job, Project, ReferenceLabel, Step, Trajectory, Upload
from tests.factories import World, make_messages

pytestmark = pytest.mark.django_db


def lines(*records: object) -> io.BytesIO:
    texts = (record if isinstance(record, str) else json.dumps(record) for record in records)
    return io.BytesIO("\n".join(texts).encode())


def chat(name: str, *, content: str = "", n_steps: int = 2) -> dict[str, Any]:
    return {"id": name, "messages": make_messages(n_steps, unique=content or name)}


def store(project: Project, file: io.BytesIO, **options: Any) -> ImportReport:
    return import_trajectories(project, file, name="runs.jsonl", **{"stores": True, **options})


def run(world: World, file: io.BytesIO, *, on_error: str = "skip", kind: Job.Kind = Job.Kind.IMPORT) -> Job:
    params = {"name": "runs.jsonl", "format": None, "on_error": on_error}
    return flow.import_now(world.project, file, params, kind=kind, n_total=len(file.getvalue()))


def test_a_trajectory_is_stored_with_its_steps_and_reference_labels(world: World) -> None:
    record = {**chat("a"), "step_labels": {"2": 1, "4": -1}, "final_label": 0, "reward": 1}
    report = store(world.project, lines(record))
    assert report == ImportReport("openai_chat", 1, 2, 0, 0, 1, [])
    trajectory = Trajectory.objects.get()
    assert (trajectory.external_id, trajectory.n_steps, trajectory.outcome) == ("a", 2, 1.0)
    assert trajectory.messages == record["messages"]
    steps = list(Step.objects.values_list("index", "message_index", "kind", "tool_names"))
    assert steps == [(0, 2, "tool_call", ["search"]), (1, 4, "message", [])]
    labels = ReferenceLabel.objects.order_by("id").values_list("step__message_index", "value")
    assert list(labels) == [(2, 1), (4, -1), (None, 0)]


def test_importing_again_adds_nothing(world: World) -> None:
    file = lines(chat("a"), chat("b"))
    store(world.project, file)
    file.seek(0)
    report = store(world.project, file)
    assert (report.n_trajectories, report.n_steps, report.n_duplicates, report.n_bad) == (0, 0, 2, 0)
    assert (Trajectory.objects.count(), Step.objects.count()) == (2, 4)


@pytest.mark.parametrize("batch", [1, 200])
def test_what_a_file_holds_twice_comes_in_once(world: World, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "BATCH", batch)
    report = store(world.project, lines(chat("a"), chat("a"), chat("other id", content="a")))
    assert (report.n_trajectories, report.n_duplicates, report.n_bad) == (1, 2, 0)
    assert list(Trajectory.objects.values_list("external_id", flat=True)) == ["a"]


@pytest.mark.parametrize("batch", [1, 200])
@pytest.mark.parametrize("stores", [True, False])
def test_an_id_that_is_taken_by_other_messages_is_refused_with_its_line(
    world: World, batch: int, *, stores: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "BATCH", batch)
    store(world.project, lines(chat("stored")))
    file = lines(chat("new"), "", chat("stored", content="changed"), chat("new", content="changed"))
    report = store(world.project, file, stores=stores)
    reason = "A trajectory {!r} with other messages is there already; give this one its own id."
    assert report.bad == [
        {"line": 3, "field": "external_id", "reason": reason.format("stored"), "unit": "line"},
        {"line": 4, "field": "external_id", "reason": reason.format("new"), "unit": "line"},
    ]
    assert report.n_trajectories == 1
    assert Trajectory.objects.get(external_id="stored").messages == chat("stored")["messages"]


def test_the_same_trajectory_may_be_in_two_projects(world: World) -> None:
    other = Project.objects.create(slug="other", name="Other")
    store(world.project, lines(chat("a")))
    assert store(other, lines(chat("a"))).n_trajectories == 1


def test_a_bad_line_is_reported_and_the_others_come_in(world: World) -> None:
    job = run(world, lines(chat("a"), "{broken", {"messages": [{"role": "robot", "content": ""}]}, chat("b")))
    assert job.status == Job.Status.DONE
    assert (job.result["n_trajectories"], job.result["n_bad"]) == (2, 2)
    assert [(bad["line"], bad["field"]) for bad in job.result["bad"]] == [(2, ""), (3, "messages[0].role")]
    assert Trajectory.objects.count() == 2


def test_only_the_first_bad_records_are_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "MAX_LISTED", 3)
    report = store(world.project, lines(*["{broken"] * 5, chat("a")))
    assert (report.n_bad, [bad["line"] for bad in report.bad]) == (5, [1, 2, 3])


def test_abort_imports_nothing_when_a_record_is_bad(world: World) -> None:
    job = run(world, lines(chat("a"), "{broken"), on_error="abort")
    assert job.status == Job.Status.FAILED
    assert job.error == (
        "Nothing was imported, because 1 record is bad and the import was told to stop at errors. "
        "Mend the file, or import with errors skipped."
    )
    assert job.result["n_bad"] == 1
    assert not Trajectory.objects.exists()


def test_abort_imports_a_file_without_faults(world: World) -> None:
    job = run(world, lines(chat("a"), chat("b")), on_error="abort")
    assert (job.status, job.result["n_trajectories"], Trajectory.objects.count()) == (Job.Status.DONE, 2, 2)


def test_a_check_stores_nothing_and_says_what_the_import_then_does(world: World) -> None:
    store(world.project, lines(chat("known")))
    records = (chat("a"), chat("a"), "{broken", chat("known"), chat("known", content="x"), chat("b", n_steps=5))
    check = run(world, lines(*records), kind=Job.Kind.IMPORT_CHECK)
    assert Trajectory.objects.count() == 1
    assert not Assignment.objects.exists()
    done = run(world, lines(*records))
    assert check.result == done.result
    assert (done.result["n_trajectories"], done.result["n_duplicates"], done.result["n_bad"]) == (2, 2, 2)


def test_an_import_opens_the_wanted_slots(world: World) -> None:
    run(world, lines(chat("a"), chat("b"), chat("c")))
    assert Assignment.objects.open().filter(project=world.project).count() == 3 * world.project.overlap


def test_a_worker_that_takes_over_reports_what_the_dead_one_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "BATCH", 2)
    records = [chat("a"), chat("b"), chat("a"), chat("c"), chat("d", content="a")]
    job = jobs.create(world.project, Job.Kind.IMPORT, {}, unit="bytes", n_total=1, user=None)

    def die(n_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(world.project, lines(*records), job=job, progress=die)
    assert Trajectory.objects.count() == 2
    resumed = store(world.project, lines(*records), job=job)
    assert (resumed.n_trajectories, resumed.n_duplicates, resumed.n_steps) == (3, 2, 6)
    assert list(Trajectory.objects.order_by("id").values_list("external_id", flat=True)) == ["a", "b", "c"]


def test_a_cancelled_import_keeps_what_is_in_and_puts_it_into_the_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "BATCH", 1)
    report = jobs.report

    def report_and_cancel(job: Job, n_done: int, n_total: int | None = None) -> None:
        jobs.cancel(job, user=world.admin)
        report(job, n_done, n_total)

    monkeypatch.setattr(jobs, "report", report_and_cancel)
    job = run(world, lines(chat("a"), chat("b")))
    assert job.status == Job.Status.CANCELLED
    assert Trajectory.objects.count() == 1
    assert Assignment.objects.open().count() == world.project.overlap


def test_nothing_reads_on_after_an_import_that_was_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread reads ahead by one batch; it has ended before whoever opened the file closes it."""
    monkeypatch.setattr(actions, "BATCH", 1)
    monkeypatch.setattr(records, "_CHUNK", 1)
    file = lines(*(chat(name) for name in "abcde"))
    n_threads = threading.active_count()

    def stop(n_bytes: int) -> None:
        raise jobs.JobCancelled

    with pytest.raises(jobs.JobCancelled):
        store(world.project, file, progress=stop)
    assert list(Trajectory.objects.values_list("external_id", flat=True)) == ["a"]
    assert threading.active_count() == n_threads
    read_until = file.tell()
    assert read_until < len(file.getvalue())
    time.sleep(0.05)
    assert file.tell() == read_until


def test_a_file_that_cannot_be_read_to_its_end_says_so_and_keeps_what_is_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "BATCH", 1)
    monkeypatch.setattr(records, "_CHUNK", 1)

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > len(self.getvalue()) * 0.7:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises(OSError, match="the disk is gone"):
        store(world.project, Broken(lines(*(chat(name) for name in "abcd")).getvalue()))
    assert list(Trajectory.objects.order_by("id").values_list("external_id", flat=True)) == ["a", "b"]


def test_progress_ends_with_the_whole_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "BATCH", 2)
    file = lines(chat("a"), chat("b"), chat("c"))
    told: list[int] = []
    store(world.project, file, progress=told.append)
    assert len(told) == 2
    assert told[-1] == len(file.getvalue())


def test_an_upload_is_deleted_after_its_import_and_kept_after_its_check(world: World) -> None:
    upload = uploads.store(world.project, "runs.jsonl", [lines(chat("a")).getvalue()], user=world.admin)
    for is_dry_run in (True, False):
        job = flow.request_import(upload, format=None, on_error="skip", is_dry_run=is_dry_run, user=world.admin)
        flow.run_job(job.pk)
        job.refresh_from_db()
        assert (job.status, job.n_done) == (Job.Status.DONE, upload.n_bytes)
        assert Upload.objects.exists() == is_dry_run


def test_a_missing_upload_is_said(world: World) -> None:
    params = {"upload": 0, "name": "gone.jsonl", "format": None, "on_error": "skip"}
    job = jobs.create(world.project, Job.Kind.IMPORT, params, unit="bytes", n_total=1, user=None)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.error.split(".")[0]) == (Job.Status.FAILED, "The file is no longer there")


def test_long_records_make_small_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "BATCH_BYTES", 1)
    reported: list[int] = []
    file = lines(*[chat(f"{i}", content="x" * 300_000 + str(i)) for i in range(3)])
    store(world.project, file, progress=reported.append)
    assert len(reported) == 3
    assert reported[-1] == len(file.getvalue())


def test_the_real_file_comes_in_once(world: World, shared_data: Path) -> None:
    content = (shared_data / "agentprocessbench" / "hotpotqa.jsonl").read_bytes()
    first = run(world, io.BytesIO(content), kind=Job.Kind.IMPORT_CHECK)
    done = run(world, io.BytesIO(content), on_error="abort")
    again = run(world, io.BytesIO(content))
    assert done.result == first.result
    assert done.result["format"] == "agentprocessbench"
    assert (done.result["n_trajectories"], done.result["n_steps"], done.result["n_bad"]) == (250, 734, 0)
    assert (again.result["n_trajectories"], again.result["n_duplicates"], again.result["n_bad"]) == (0, 250, 0)
    assert (Trajectory.objects.count(), Step.objects.count()) == (250, 734)
    assert Assignment.objects.open().count() == 250 * world.project.overlap
