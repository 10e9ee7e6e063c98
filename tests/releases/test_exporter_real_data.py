"""The published AgentProcessBench records out again as they came in, and into the libraries that read the formats."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from annotator.releases.exporters import EXPORTERS, ExportOptions, ReleaseRecord, write
from tests.releases.test_exporters import make_outcome, make_step

SOURCE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "agentprocessbench" / "hotpotqa.jsonl"
Source: TypeAlias = dict[str, Any]

CORE = {"messages", "tools", "ground_truth", "step_labels", "final_label"}

pytestmark = pytest.mark.skipif(not SOURCE.exists(), reason=f"{SOURCE} is not here; it is no part of the repository")


def as_release_record(source: Source) -> ReleaseRecord:
    """The source's own labels taken as gold."""
    steps = [i for i, message in enumerate(source["messages"]) if message["role"] == "assistant"]
    return {
        "trajectory_id": source["total_index"] + 1,
        "external_id": f"{source['data_source']}:{source['query_index']}:{source['sample_index']}",
        "group_key": f"hotpotqa:{source['query_index']}",
        "split": "train",
        "content_sha256": "",
        "source_format": "agentprocessbench",
        "instruction": source["question"],
        "reference": source["ground_truth"],
        "environment_outcome": None,
        "metadata": {key: value for key, value in source.items() if key not in CORE},
        "tools": source["tools"],
        "messages": source["messages"],
        "steps": [make_step(i, at, source["step_labels"].get(str(at))) for i, at in enumerate(steps)],
        "outcome": make_outcome(source["final_label"]),
        "reference_labels": source["step_labels"],
        "reference_outcome": source["final_label"],
    }


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return [json.loads(line) for line in SOURCE.open(encoding="utf-8")]


def export_file(target: str, sources: list[Source], folder: Path) -> Path:
    path = folder / f"{target}.{EXPORTERS[target].extension}"
    with path.open("wb") as out:
        write(target, map(as_release_record, sources), out, ExportOptions())
    return path


def test_agentprocessbench_comes_out_as_it_came_in(sources: list[Source], tmp_path: Path) -> None:
    lines = export_file("agentprocessbench", sources, tmp_path).read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert len(lines) == 250
    for source, line in zip(sources, lines, strict=True):
        row = json.loads(line)
        expected = {key: value for key, value in source.items() if key != "tool_metrics"}
        assert row == expected
        assert [*row] == [*expected]
        assert [*row["step_labels"]] == [*source["step_labels"]]


@pytest.mark.parametrize("target", EXPORTERS)
def test_two_files_of_the_same_release_are_equal(target: str, sources: list[Source], tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = (export_file(target, sources, folder) for folder in (tmp_path, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_trl_file_loads_with_the_types_that_the_trainer_needs(
    sources: list[Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    path = export_file("trl_stepwise", sources, tmp_path)
    loaded = datasets.load_dataset("json", data_files=str(path), cache_dir=str(tmp_path / "cache"), split="train")
    assert dict(loaded.features) == {
        "prompt": datasets.Value("string"),
        "completions": datasets.List(datasets.Value("string")),
        "labels": datasets.List(datasets.Value("bool")),
        "external_id": datasets.Value("string"),
        "step_index": datasets.Value("int64"),
        "message_index": datasets.Value("int64"),
    }
    assert Counter(label for labels in loaded["labels"] for label in labels) == {True: 499 + 56, False: 179}
    assert all(prompt.endswith("\n[assistant]\n") for prompt in loaded["prompt"])
    assert {
        (len(texts), len(labels)) for texts, labels in zip(loaded["completions"], loaded["labels"], strict=True)
    } == {(1, 1)}


def test_processbench_file_is_one_json_array_with_the_first_errors(sources: list[Source], tmp_path: Path) -> None:
    with export_file("processbench", sources, tmp_path).open(encoding="utf-8") as file:
        rows = json.load(file)
    assert len(rows) == 250
    assert sum(row["label"] == -1 for row in rows) == 146
    for source, row in zip(sources, rows, strict=True):
        values = [value for _, value in sorted(source["step_labels"].items(), key=lambda item: int(item[0]))]
        assert len(row["steps"]) == len(values)
        assert row["label"] == (values.index(-1) if -1 in values else -1)
        assert row["final_answer_correct"] is (source["final_label"] == 1)


def test_prm800k_ratings_are_the_labels(sources: list[Source], tmp_path: Path) -> None:
    with export_file("prm800k", sources, tmp_path).open(encoding="utf-8") as file:
        steps = [step for line in file for step in json.loads(line)["label"]["steps"]]
    ratings = Counter(step["completions"][0]["rating"] for step in steps)
    assert ratings == {1: 499, 0: 56, -1: 179}
