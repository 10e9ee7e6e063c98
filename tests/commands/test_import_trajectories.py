import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotator import flow
from annotator.models import Assignment, Job, Step, Trajectory
from tests.commands.processes import manage
from tests.factories import World, make_messages, make_project

BAD = '{"messages": "none"}'


def record(number: int) -> str:
    return json.dumps({"id": f"run-{number}", "messages": make_messages(3, unique=str(number))})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "runs.jsonl"
    path.write_text(f"{record(1)}\n{BAD}\n{record(2)}\n")
    return path


def import_file(path: Path, *arguments: str) -> None:
    call_command("import_trajectories", str(path), "--project", "demo", *arguments)


def test_an_import_stores_the_good_records_and_reports_the_bad_ones(
    world: World, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_file(file)
    assert list(Trajectory.objects.values_list("external_id", flat=True).order_by("id")) == ["run-1", "run-2"]
    assert (Step.objects.count(), Assignment.objects.open().count()) == (6, 4)
    job = Job.objects.get()
    assert (job.kind, job.status, job.params["name"]) == ("import", "done", "runs.jsonl")
    printed = capsys.readouterr()
    assert printed.out == (
        "2 trajectories with 6 steps imported\n0 of them with reference labels\n0 duplicates left out\n1 bad records\n"
    )
    assert printed.err.startswith("line 2, messages: ")
    assert printed.err.count("\n") == 1


def test_importing_again_adds_nothing(world: World, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_file(file)
    capsys.readouterr()
    import_file(file)
    assert Trajectory.objects.count() == 2
    assert capsys.readouterr().out.splitlines()[0] == "0 trajectories with 0 steps imported"


def test_a_dry_run_stores_nothing(world: World, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_file(file, "--dry-run")
    assert not Trajectory.objects.exists()
    assert Job.objects.get().kind == "import_check"
    assert capsys.readouterr().out.splitlines()[0] == "2 trajectories with 6 steps would be imported"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--on-error", "abort"], "Nothing was imported, because 1 record is bad"),
        (["--on-error", "abort", "--dry-run"], "With --on-error abort nothing of this file would be imported."),
    ],
)
def test_with_abort_a_bad_record_keeps_everything_out(
    arguments: list[str], sentence: str, world: World, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError) as refusal:
        import_file(file, *arguments)
    assert str(refusal.value).startswith(sentence)
    assert refusal.value.returncode == 1
    assert not Trajectory.objects.exists()
    assert capsys.readouterr().err.startswith("line 2, messages: ")


def test_only_the_first_bad_records_are_listed(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{record(1)}\n" + f"{BAD}\n" * 25)
    import_file(path)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines[:20]] == [f"line {n}" for n in range(2, 22)]
    assert lines[20:] == ["… and 5 more bad records."]


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("-", [], "Standard input cannot be imported"),
        ("missing.jsonl", [], "missing.jsonl cannot be read: No such file or directory."),
        (".", [], ". cannot be read: Is a directory."),
        ("-x", ["--format", "csv"], "Error: "),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(name: str, arguments: list[str], sentence: str, world: World) -> None:
    with pytest.raises(CommandError) as refusal:
        import_file(Path(name), *arguments)
    assert str(refusal.value).startswith(sentence)
    assert not Job.objects.exists()


def test_an_unknown_project_is_refused(world: World, file: Path) -> None:
    with pytest.raises(CommandError, match="There is no project 'nowhere'"):
        call_command("import_trajectories", str(file), "--project", "nowhere")
    assert not Job.objects.exists()


def test_a_terminal_sees_how_far_the_import_is(
    world: World, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    import_file(file)
    assert "\rRead 100 %" in capsys.readouterr().err


def test_ctrl_c_ends_the_job_as_cancelled(world: World, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flow, "import_file", interrupted)
    with pytest.raises(CommandError, match=r"Stopped\. What was imported stays") as refusal:
        import_file(file)
    assert refusal.value.returncode == 130
    assert Job.objects.get().status == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_as_a_process_it_imports_and_tells_by_its_exit_code(file: Path) -> None:
    make_project("demo")
    status, out, err = manage("import_trajectories", str(file), "--project", "demo", "--on-error", "abort")
    assert (status, out.splitlines()[0]) == (1, "2 trajectories with 6 steps are good")
    assert err.splitlines()[-1].startswith("CommandError: Nothing was imported, because 1 record is bad")
    assert Trajectory.objects.count() == 0
    status, out, err = manage("import_trajectories", str(file), "--project", "demo")
    assert (status, out.splitlines()[0]) == (0, "2 trajectories with 6 steps imported")
    assert err.startswith("line 2, messages: ")
    assert Trajectory.objects.count() == 2
