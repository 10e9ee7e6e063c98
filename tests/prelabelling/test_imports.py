"""Judgements of other tools, imported as predictions of one model version."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotator.models import Job, ModelVersion, Prediction
from tests.factories import World, make_trajectory

pytestmark = pytest.mark.django_db


def row(external_id: str = "t", **fields: Any) -> dict[str, Any]:
    return {
        "record_id": external_id,
        "step_labels": {"2": 1, "4": 0, "6": -1},
        "final_label": -1,
        "updated_at": "2026-02-04T14:00:00+00:00",
        "explanations": {"steps": {"6": "Made up."}},
        **fields,
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def to_file(*rows: object) -> str:
        path = tmp_path / "judge.jsonl"
        path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
        return str(path)

    return to_file


def test_a_file_becomes_a_model_version_with_predictions(
    world: World, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    by_id = make_trajectory(world.project, external_id="t")
    by_sample = make_trajectory(world.project, external_id="hotpotqa:3:1")
    failed = make_trajectory(world.project, external_id="f")
    sample: dict[str, Any] = {"record_id": None, "data_source": "hotpotqa", "query_index": 3, "sample_index": 1}
    path = write(
        row(),
        row(step_labels={"2": -1}, updated_at="2026-02-05T14:00:00+00:00", final_label=1),  # the later word
        row(**sample, step_labels={"2": 1, "4": 1, "6": 1}),
        row("f", comment="llm_annotate_failed: no JSON"),
        row("elsewhere"),
    )
    call_command("import_predictions", "demo", path, model="Kimi-K2.5")
    version = ModelVersion.objects.get()
    assert (str(version), version.kind, version.config) == ("Kimi-K2.5 v1", "imported", {"file": "judge.jsonl"})
    said = {each.trajectory_id: each for each in Prediction.objects.all()}
    assert said[by_id.pk].values == [-1, None, None]
    assert (said[by_id.pk].outcome, said[by_id.pk].note) == (1, "2 of 3 steps have no label.")
    assert said[by_sample.pk].values == [1, 1, 1]
    assert said[by_sample.pk].rationales == [None, None, "Made up."]
    assert said[failed.pk].values == [None, None, None]
    assert said[failed.pk].note == "The judge failed: no JSON"
    assert capsys.readouterr().out.splitlines() == [
        "Kimi-K2.5 v1: 3 trajectories with 4 labels imported, 1 of them failed rows (abstentions)",
        "0 were there already, 1 are not in the project, 0 bad records",
    ]
    call_command("import_predictions", "demo", path, model="Kimi-K2.5")
    assert (Prediction.objects.count(), ModelVersion.objects.count()) == (3, 1)
    assert "3 were there already" in capsys.readouterr().out
    call_command("import_predictions", "demo", write(row()), model="Kimi-K2.5")
    assert [str(each) for each in ModelVersion.objects.all()] == ["Kimi-K2.5 v1", "Kimi-K2.5 v2"]
    assert list(Job.objects.values_list("status", flat=True)) == ["done"] * 3


def test_a_judgement_of_another_trajectory_is_refused_with_its_line(
    world: World, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trajectory(world.project, external_id="t")
    call_command("import_predictions", "demo", write(row(step_labels={"3": 1}), {"step_labels": {"2": 7}}), model="m")
    assert Prediction.objects.count() == 0
    errors = capsys.readouterr().err
    assert "line 1, step_labels.3: message 3 is no step of this trajectory." in errors
    assert "line 2, step_labels" in errors


@pytest.mark.parametrize(
    ("_case", "rows", "model", "message"),
    [
        ("nothing in it", [], "m", "The file holds no judgement"),
        ("a name that is none", [row()], "a b", "A model's name is made of letters"),
    ],
)
def test_what_cannot_be_imported_changes_nothing(
    world: World, write: Any, _case: str, rows: list[object], model: str, message: str
) -> None:
    make_trajectory(world.project, external_id="t")
    with pytest.raises(CommandError, match=message):
        call_command("import_predictions", "demo", write(*rows), model=model)
    assert (ModelVersion.objects.count(), Prediction.objects.count()) == (0, 0)


def test_a_file_of_another_project_stores_nothing_and_silences_nobody(
    world: World, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trajectory(world.project, external_id="t")
    call_command("import_predictions", "demo", write(row()), model="m")
    message = "Nothing was stored: none of the file's 2 records is in this project"
    with pytest.raises(CommandError, match=message):
        call_command("import_predictions", "demo", write(row("a"), row("b")), model="m")
    assert [str(each) for each in ModelVersion.objects.all()] == ["m v1"]
    assert "0 were there already, 2 are not in the project, 0 bad records" in capsys.readouterr().out


def test_the_command_says_what_a_new_version_is_silent_about(
    world: World, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        make_trajectory(world.project, external_id=name)
    call_command("import_predictions", "demo", write(row("a"), row("b")), model="m")
    assert "only the version before" not in capsys.readouterr().out
    call_command("import_predictions", "demo", write(row("b"), row("c")), model="m")
    assert "Of 1 trajectories only the version before has spoken" in capsys.readouterr().out
