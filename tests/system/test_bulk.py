"""COPY stores what the ORM would have stored."""

import pytest

from annotator.bulk import copy_rows, copy_values
from annotator.models import Assignment, Step, Trajectory
from tests.factories import make_messages, make_project, make_trajectory

pytestmark = pytest.mark.django_db

ODD = {
    "a\tb": 'quote " backslash \\ newline \n tab \t',
    "unicode": "Füße 你好 \u202e",
    "null": None,
    "n": [1.5, True, {}],
}


def test_rows_come_back_as_they_went_in() -> None:
    project = make_project()
    trajectory = Trajectory(
        project=project,
        external_id="\\N",
        source_format="openai_chat",
        instruction="",
        messages=[*make_messages(2), {"role": "user", "content": ODD}],
        reference=ODD,
        outcome=0.1,
        metadata={},
        group_key="a\\tb",
        content_sha256="0" * 64,
        n_steps=1,
    )
    without = Trajectory(
        project=project,
        external_id="no reference",
        source_format="openai_chat",
        messages=[],
        group_key="b",
        content_sha256="1" * 64,
        n_steps=0,
    )
    copy_rows([trajectory, without])
    step = Step(
        trajectory=trajectory, index=0, message_index=2, kind=Step.Kind.TOOL_CALL, tool_names=["a,b", '{"}', ""]
    )
    copy_rows([step])
    slot = Assignment(project=project, trajectory=trajectory, slot=0, wanted_steps=[0, 2])
    copy_rows([slot])
    for row in (trajectory, without, step, slot):
        stored = type(row).objects.get(pk=row.pk)
        for field in row._meta.concrete_fields:
            if field.name != "created_at":
                assert getattr(stored, field.attname) == getattr(row, field.attname), field.name
    assert Assignment.objects.open().get() == slot
    assert Trajectory.objects.filter(reference__isnull=True).get() == without


def test_nothing_is_nothing() -> None:
    copy_rows([])
    assert Trajectory.objects.count() == 0


def test_values_get_the_ids_that_come_back() -> None:
    project = make_project()
    trajectory = make_trajectory(project, n_steps=1, enqueue=False)
    columns = ("trajectory_id", "index", "message_index", "kind", "tool_names")
    rows = [(trajectory.pk, index, 2 * index, "tool_call", ['a"b', "\\N", ""]) for index in (7, 8)]
    ids = copy_values(Step, columns, rows)
    stored = Step.objects.filter(pk__in=ids).order_by("index").values_list("pk", *columns)
    assert list(stored) == [(pk, *row) for pk, row in zip(ids, rows, strict=True)]


def test_a_column_that_is_not_named_is_refused() -> None:
    with pytest.raises(AssertionError, match="tool_names"):
        copy_values(Step, ("trajectory_id", "index", "message_index", "kind"), [(1, 0, 0, "message")])
    assert Step.objects.count() == 0
