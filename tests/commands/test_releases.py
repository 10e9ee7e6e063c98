import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotator.models import Job, Project, Release
from annotator.releases.exporters import EXPORTERS
from tests.commands.processes import manage
from tests.factories import judge, make_trajectory, make_world

pytestmark = pytest.mark.django_db(transaction=True)  # publishing needs a transaction of its own


@pytest.fixture
def project() -> Project:
    """A project with one settled trajectory."""
    world = make_world()
    trajectory = make_trajectory(world.project)
    judge(trajectory, world.annotator, [1, 0, -1])
    judge(trajectory, world.second, [1, 0, -1])
    return world.project


def test_publishing_prints_the_number_and_nothing_else(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotator.flow.PUBLISH_AT_ONCE_STEPS", 0)  # a large release too is made in this process
    call_command("publish_release", "demo")
    printed = capsys.readouterr()
    assert printed.out == "1\n"
    assert printed.err.startswith("Published 1 trajectories with 3 steps (")
    release = Release.objects.get()
    assert release.published_at is not None
    assert Job.objects.get().result == {"release": release.pk, "number": 1}
    call_command("publish_release", "demo")
    assert capsys.readouterr().out == "2\n"


def test_a_policy_file_is_followed(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"splits": {"test": 1}, "neutral": "drop"}')
    call_command("publish_release", "demo", "--policy", str(path))
    release = Release.objects.get()
    assert release.manifest["counts"]["by_split"] == {"test": 1}
    assert release.policy["neutral"] == "drop"


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ('{"split": {}}', "The release policy does not fit: split: Extra inputs are not permitted."),
        ('{"provenances": ["majority"]}', "There is nothing to release:"),
        ("nonsense", "{path} is not valid JSON:"),
    ],
)
def test_a_release_that_cannot_be_is_refused(policy: str, sentence: str, project: Project, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(policy)
    with pytest.raises(CommandError) as refusal:
        call_command("publish_release", "demo", "--policy", str(path))
    assert str(refusal.value).startswith(sentence.format(path=path))
    assert refusal.value.returncode == 1
    assert not Release.objects.exists()


def test_an_export_writes_the_files_that_the_manifest_names(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("publish_release", "demo")
    capsys.readouterr()
    out = tmp_path / "new" / "folder"
    call_command("export_release", "demo", "1", "--format", "trl_stepwise", "--out", str(out))
    printed = capsys.readouterr().out.splitlines()
    assert printed == sorted(str(path) for path in out.iterdir())[::-1]
    assert len(printed) == 2
    assert json.loads((out / "manifest.json").read_text()) == Release.objects.get().manifest


def test_all_formats_get_a_folder_each(project: Project, tmp_path: Path) -> None:
    call_command("publish_release", "demo")
    call_command("export_release", "demo", "1", "--format", "all", "--out", str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(EXPORTERS)
    assert all((tmp_path / name / "manifest.json").exists() for name in EXPORTERS)


@pytest.mark.parametrize(
    ("number", "name", "sentence"),
    [
        ("2", "trl_stepwise", "Project 'demo' has no release 2; it has 1."),
        ("0", "trl_stepwise", "Error: argument N: '0' is not a whole number from 1 on"),
        ("1", "csv", "Error: argument --format: invalid choice: 'csv' (choose from 'agentprocessbench', 'prm800k', "),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    number: str, name: str, sentence: str, project: Project, tmp_path: Path
) -> None:
    call_command("publish_release", "demo")
    with pytest.raises(CommandError) as refusal:
        call_command("export_release", "demo", number, "--format", name, "--out", str(tmp_path / "out"))
    assert str(refusal.value).startswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(project: Project, tmp_path: Path) -> None:
    call_command("publish_release", "demo")
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with pytest.raises(CommandError, match=r"taken cannot be written: File exists\."):
        call_command("export_release", "demo", "1", "--format", "provenance", "--out", str(taken))
    assert taken.read_text() == "a file"


def test_without_a_release_an_export_says_how_to_make_one(project: Project, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"has no release 1; publish one with `manage\.py publish_release`"):
        call_command("export_release", "demo", "1", "--format", "all", "--out", str(tmp_path))


def test_as_a_process_standard_output_is_the_number(project: Project) -> None:
    status, out, err = manage("publish_release", "demo")
    assert (status, out) == (0, "1\n")
    assert err.startswith("Published 1 trajectories with 3 steps (")
    status, out, err = manage("publish_release", "nowhere")
    assert (status, out) == (1, "")
    assert err.startswith("CommandError: There is no project 'nowhere'.")
