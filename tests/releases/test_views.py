"""Three views of the steps that follow an error, from the same labels."""

import io
import json
from typing import Any

import pytest
from django.db import connection

from annotator import flow
from annotator.labelling import actions as labelling
from annotator.labelling.intake import Changes
from annotator.models import Assignment, Job, Release
from annotator.releases import actions, files
from annotator.releases.exporters.record import GoldStep, RawLabel
from annotator.releases.exporters.views import in_view
from annotator.releases.policy import ErrorView, ReleasePolicy
from tests.factories import World, make_trajectory, make_world


def said(value: int, **more: Any) -> RawLabel:
    label: dict[str, Any] = {
        "rater": "r-1",
        "value": value,
        "guideline_version": 1,
        "annotation": 1,
        "labelled_at": "2026-03-01T10:00:00+00:00",
        "submitted_at": "2026-03-01T10:00:00+00:00",
        **more,
    }
    return label  # type: ignore[return-value]


def inherited(local: int | None, root: int = 0) -> RawLabel:
    return said(-1, root=root, local_value=local)


def steps_of(*judged: tuple[int | None, list[RawLabel]], uncounted: tuple[int, ...] = ()) -> list[GoldStep]:
    return [
        {
            "index": index,
            "message_index": 2 * index,
            "value": value,
            "provenance": "majority",
            "counts": value is not None and index not in uncounted,
            "labels": labels,
            "decisions": [],
        }
        for index, (value, labels) in enumerate(judged)
    ]


def values(steps: list[GoldStep], view: ErrorView) -> list[int | None]:
    return [step["value"] if step["counts"] else None for step in in_view(steps, view)]


RUN = [(1, [said(1)]), (-1, [said(-1)]), (-1, [inherited(1, root=1)]), (-1, [inherited(0, root=1)]), (1, [said(1)])]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ("as_labelled", [1, -1, -1, -1, 1]),
        ("until_corrected", [1, -1, -1, -1, 1]),
        ("strict", [1, -1, 1, 0, 1]),
        ("stop_at_first", [1, -1, None, None, None]),
    ],
)
def test_each_view_of_one_run_of_errors(view: ErrorView, expected: list[int | None]) -> None:
    steps = steps_of(*RUN)
    before = json.dumps(steps)
    assert values(steps, view) == expected
    assert values(steps[::-1], view) == expected
    assert json.dumps(steps) == before


@pytest.mark.parametrize(
    ("why", "value", "labels", "strict"),
    [
        ("one of them called it an error of its own", -1, [inherited(1), said(-1, root=None)], -1),
        ("most thought it right by itself", -1, [inherited(1), inherited(1), inherited(0)], 1),
        ("a tie decides nothing", -1, [inherited(1), inherited(0)], -1),
        ("wrong by itself too", -1, [inherited(None)], -1),
        ("only those who gave -1 are asked", -1, [inherited(0), inherited(0), said(1), said(1)], 0),
        ("a reviewer alone said -1", -1, [said(1), said(0)], -1),
        ("nobody labelled it", -1, [], -1),
        ("the step is settled otherwise", 1, [inherited(0), said(1), said(1)], 1),
        ("nothing is settled", None, [inherited(1)], None),
        ("labels of an earlier release say nothing of roots", -1, [said(-1)], -1),
    ],
)
def test_strict_value_of_a_step(why: str, value: int | None, labels: list[RawLabel], strict: int | None) -> None:
    (step,) = in_view(steps_of((value, labels)), "strict")
    assert step["value"] == strict, why


def test_an_error_that_does_not_count_stops_nothing() -> None:
    steps = steps_of((-1, [said(-1)]), (1, [said(1)]), (-1, [said(-1)]), (1, [said(1)]), uncounted=(0,))
    assert values(steps, "stop_at_first") == [None, 1, -1, None]


def test_without_an_error_nothing_is_masked() -> None:
    assert values(steps_of((1, []), (0, []), (None, [])), "stop_at_first") == [1, 0, None]


# --- with the database


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agreement in the manifest is not the matter here, and its intervals take most of a second."""
    monkeypatch.setattr(actions, "_agreement_summary", lambda project: {})


@pytest.fixture
def world(transactional_db: None) -> World:
    world = make_world()
    trajectory = make_trajectory(world.project, n_steps=3, external_id="run")
    for annotator in (world.annotator, world.second):
        slot = Assignment.objects.claimable_by(annotator).filter(trajectory=trajectory).order_by("slot")[0]
        details: dict[int, dict[str, Any]] = {
            1: {"root": 0, "local_value": 1, "extras": {"rationale": "so"}},
            2: {"exit_reason": "corrected"},
        }
        labelling.save_labels(slot.pk, annotator, Changes({0: -1, 1: -1, 2: 1}, {"outcome": 1}, details))
        flow.submit(slot.pk, annotator)
    return world


def publish(world: World, **policy: Any) -> Release:
    job = flow.publish(world.project, ReleasePolicy.parse({"splits": {"train": 1.0}, **policy}), user=world.admin)
    assert job.status == Job.Status.DONE, job.error
    return Release.objects.get(pk=job.result["release"])


def exported(release: Release, format_name: str) -> list[dict[str, Any]]:
    out = io.BytesIO()
    files.export(release, format_name, out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("view", "labels", "by_value"),
    [
        ("as_labelled", {"2": -1, "4": -1, "6": 1}, {"+1": 1, "-1": 2}),
        ("strict", {"2": -1, "4": 1, "6": 1}, {"+1": 2, "-1": 1}),
        ("until_corrected", {"2": -1, "4": -1, "6": 1}, {"+1": 1, "-1": 2}),
        ("stop_at_first", {"2": -1}, {"-1": 1, "masked": 2}),
    ],
)
def test_files_and_counts_follow_the_view_and_provenance_does_not(
    world: World, view: str, labels: dict[str, int], by_value: dict[str, int]
) -> None:
    release = publish(world, error_view=view)
    (row,) = exported(release, "agentprocessbench")
    assert row["step_labels"] == labels
    assert release.manifest["counts"]["by_value"] == by_value
    (record,) = exported(release, "provenance")
    assert [step["value"] for step in record["steps"]] == [-1, -1, 1]


@pytest.mark.django_db(transaction=True)
def test_a_release_keeps_what_raters_said_of_the_error_behind_a_step(world: World) -> None:
    (record,) = exported(publish(world), "provenance")
    kept = [
        [(label["root"], label["exit_reason"], label["local_value"], label["extras"]) for label in step["labels"]]
        for step in record["steps"]
    ]
    assert kept == [
        [(None, "", None, {})] * 2,
        [(0, "", 1, {"rationale": "so"})] * 2,
        [(None, "corrected", None, {})] * 2,
    ]


@pytest.mark.django_db(transaction=True)
def test_a_release_from_before_the_view_exports_as_labelled(world: World) -> None:
    release = publish(world)
    before = exported(release, "trl_stepwise")
    with connection.cursor() as cursor:  # as an older version stored it; the database refuses this to everybody else
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE annotator_release SET policy = policy - 'error_view' WHERE id = %s", [release.pk])
        cursor.execute("SET session_replication_role = DEFAULT")
    release.refresh_from_db()
    assert "error_view" not in release.policy
    assert exported(release, "trl_stepwise") == before
