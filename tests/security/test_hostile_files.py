"""Every file of the folder tests/hostile is imported or refused by line, exactly as its README says."""

import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.test import Client

from annotator.importing.actions import import_trajectories
from annotator.models import Label, Trajectory
from tests.factories import World

FOLDER = Path(__file__).resolve().parents[1] / "hostile"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


class Case(NamedTuple):
    file: str
    n_imported: int
    refused: dict[int, str]


def cases() -> list[Case]:
    found = []
    for file, n_imported, refused in re.findall(r"^\| `(.+?)` \|.+\| (\d+) \| (.+?) \|$", README, re.MULTILINE):
        lines = [] if refused == "–" else [words.partition(" ") for words in refused.split("; ")]
        found.append(Case(file, int(n_imported), {int(line): words for line, _, words in lines}))
    return found


def test_the_readme_names_every_file() -> None:
    assert [case.file for case in cases()] == sorted(path.name for path in FOLDER.glob("*.jsonl"))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.file)
def test_a_file_is_imported_or_refused_by_line(world: World, client: Client, case: Case) -> None:
    with (FOLDER / case.file).open("rb") as file:
        report = import_trajectories(world.project, file, name=case.file, stores=True)
    assert report.n_trajectories == Trajectory.objects.count() == case.n_imported
    bad: dict[Any, Any] = {each["line"]: each["reason"] for each in report.bad}
    assert list(bad) == list(case.refused)
    for line, words in case.refused.items():
        assert words in bad[line]

    client.force_login(world.admin)
    assert client.get("/api/v1/projects/demo/trajectories/").status_code == 200
    for query in ("", "?q=" + "%E2%80%AE", "?q=%00<script>"):
        assert client.get(f"/projects/demo/trajectories/{query}").status_code == 200
    for trajectory in Trajectory.objects.all():
        page = client.get(f"/projects/demo/trajectories/{trajectory.pk}/")
        assert page.status_code == 200
        # The pages have no inline script and no animated picture of their own: one here would have come in.
        assert "<script>" not in page.content.decode()
        assert "<svg onload" not in page.content.decode()
    assert Label.objects.count() == 0


def test_one_line_of_5_mb_and_a_word_without_end_go_in(world: World) -> None:
    report = import_trajectories(world.project, big_file(), name="big.jsonl", stores=True)
    assert (report.n_trajectories, report.bad) == (2, [])


def big_file() -> io.BytesIO:
    """A tool result of 5 MB on one line, and words of 200,000 letters everywhere."""
    word = "w" * 200_000
    calls = [{"id": "c", "function": {"name": "x" * 5_000, "arguments": json.dumps({"q": word})}}]
    records = [
        {
            "id": "five megabytes",
            "messages": [
                {"role": "user", "content": "Read the file."},
                {"role": "assistant", "content": "I read it."},
                {"role": "tool", "content": "<b>0123456789</b> " * 290_000},
                {"role": "assistant", "content": "Done."},
            ],
        },
        {
            "id": "w" * 500,
            "question": word,
            "messages": [
                {"role": "user", "content": word, "name": "y" * 5_000},
                {"role": "assistant", "content": word, "reasoning": word, "tool_calls": calls},
                {"role": "tool", "name": "x" * 5_000, "content": word},
            ],
        },
    ]
    return io.BytesIO("\n".join(json.dumps(record) for record in records).encode())
