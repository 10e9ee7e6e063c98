"""The project's tables as rows that a spreadsheet or a program can read."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from annotator.models import (
    Adjudication,
    Annotation,
    AnnotationReturn,
    Assignment,
    AuditEvent,
    Dispute,
    GoldLabel,
    Guideline,
    Job,
    Label,
    Membership,
    Project,
    Release,
    Step,
    StepComment,
    Trajectory,
)

CHUNK = 500

# What a spreadsheet would take for a formula, also after the tab or line break that it skips.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Table:
    """One table: its columns (name → where the value comes from) and which rows are the project's."""

    title: str
    about: str
    rows: Callable[[Project], QuerySet[Any]]
    columns: Mapping[str, str]
    # Large values that no spreadsheet cell can hold.
    only_json: Mapping[str, str]


def _table(
    title: str, about: str, rows: Callable[[Project], QuerySet[Any]], columns: str, *, only_json: str = ""
) -> Table:
    """`columns` are names, or `name=where`, in order."""

    def parsed(text: str) -> dict[str, str]:
        pairs = [column.partition("=") for column in text.split()]
        return {name: where or name for name, _, where in pairs}

    return Table(title, about, rows, parsed(columns), parsed(only_json))


_STEP = "trajectory=trajectory__external_id step=step__index"
_ANNOTATION = "annotation=annotation_id trajectory=annotation__trajectory__external_id"

TABLES: dict[str, Table] = {
    "trajectories": _table(
        "Trajectories",
        "As they were imported. Messages and tools are in the JSON file only.",
        lambda project: Trajectory.objects.filter(project=project),
        "id external_id source_format instruction group_key n_steps reference outcome metadata content_sha256 "
        "import_job=imported_by_id created_at",
        only_json="messages tools",
    ),
    "steps": _table(
        "Steps",
        "Index and message index count from 0.",
        lambda project: Step.objects.filter(trajectory__project=project).order_by("id"),
        "id trajectory=trajectory__external_id index message_index kind tool_names",
    ),
    "assignments": _table(
        "Assignments",
        "Every wanted judgement: open, claimed, submitted, returned or skipped.",
        lambda project: Assignment.objects.filter(project=project),
        "id trajectory=trajectory__external_id slot status annotator=annotator__username wanted_steps wants_outcome "
        "priority claimed_at lease_expires_at finished_at skip_reason created_at hint_arm "
        "hint_model=hint_version__name hint_version=hint_version__number no_hints",
    ),
    "annotations": _table(
        "Annotations",
        "Drafts have no time of submission and count nowhere; neither do superseded ones.",
        lambda project: Annotation.objects.filter(assignment__project=project),
        "id assignment=assignment_id trajectory=trajectory__external_id annotator=annotator__username revision "
        "created_at revealed_at hints_shown_at submitted_at is_superseded",
    ),
    "labels": _table(
        "Labels",
        "One row per label, those of drafts and superseded annotations too; no step: the outcome.",
        lambda project: Label.objects.filter(annotation__assignment__project=project),
        f"id {_ANNOTATION} annotator=annotation__annotator__username revision=annotation__revision "
        "submitted_at=annotation__submitted_at is_superseded=annotation__is_superseded step=step__index value "
        "root_step=root__index exit_reason local_value extras is_after_reveal guideline_version=guideline__version "
        "labelled_at active_ms is_seen has_opened hint_value is_after_hint",
    ),
    "returns": _table(
        "Returned annotations",
        "What reviewers sent back, and why.",
        lambda project: AnnotationReturn.objects.filter(annotation__assignment__project=project),
        f"id {_ANNOTATION} annotator=annotation__annotator__username reviewer=reviewer__username message at",
    ),
    "comments": _table(
        "Comments on steps",
        "Between reviewers and annotators.",
        lambda project: StepComment.objects.filter(annotation__assignment__project=project).order_by("id"),
        f"id {_ANNOTATION} step=step__index author=author__username text at",
    ),
    "gold-labels": _table(
        "Gold labels",
        "Settled values with their provenance; no step: the outcome; no value: undecidable or discarded.",
        lambda project: GoldLabel.objects.filter(trajectory__project=project),
        f"id {_STEP} value provenance settled_at",
    ),
    "disputes": _table(
        "Disputes",
        "Steps (no step: outcomes) whose submitted values differ.",
        lambda project: Dispute.objects.filter(trajectory__project=project),
        f"id {_STEP} severity created_at decided_at",
    ),
    "adjudications": _table(
        "Adjudications",
        "Every decision; a later one on the same dispute overrules the earlier. A first one whose second reviewer has "
        "not decided yet is left out.",
        lambda project: (
            Adjudication.objects.filter(dispute__trajectory__project=project)
            .exclude(pk__in=Adjudication.objects.withheld())
            .order_by("id")
        ),
        "id dispute=dispute_id trajectory=dispute__trajectory__external_id step=dispute__step__index "
        "reviewer=reviewer__username value reason_code note decided_at turn",
    ),
    "guidelines": _table(
        "Guideline versions",
        "The text of each version.",
        lambda project: Guideline.objects.filter(project=project).order_by("id"),
        "id version created_by=created_by__username created_at text",
    ),
    "members": _table(
        "Members",
        "With the rater code that stands for each person in releases. No addresses, no passwords.",
        lambda project: Membership.objects.filter(project=project),
        "id username=user__username role rater_code created_at",
    ),
    "jobs": _table(
        "Jobs",
        "Imports, checks and releases.",
        lambda project: Job.objects.filter(project=project),
        "id kind status unit n_done n_total error created_by=created_by__username queued_at started_at finished_at "
        "params result",
    ),
    "releases": _table(
        "Releases",
        "Policy and manifest of each; the data of a release is on its own page.",
        lambda project: Release.objects.published().filter(project=project).order_by("id"),
        "id number created_by=created_by__username created_at published_at policy manifest",
    ),
    "audit-events": _table(
        "Audit events",
        "Who did what to which object, when.",
        lambda project: AuditEvent.objects.filter(project=project),
        "id at action username object_type object_id data",
    ),
}


def _rows(table: Table, project: Project, columns: Mapping[str, str]) -> Iterator[tuple[Any, ...]]:
    """From a cursor on the server, so that memory holds a few hundred rows however long the table is."""
    rows = table.rows(project)
    ordered = rows if rows.query.order_by else rows.order_by("id")
    return ordered.values_list(*columns.values()).iterator(chunk_size=CHUNK)


def csv_lines(table: Table, project: Project) -> Iterator[str]:
    yield _csv_line(list(table.columns))
    for row in _rows(table, project, table.columns):
        yield _csv_line([cell(value) for value in row])


def _csv_line(cells: list[Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()


def cell(value: object) -> object:
    """A value as a spreadsheet may read it: a text that it would run as a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


def json_lines(table: Table, project: Project) -> Iterator[str]:
    """One array of objects, an object per line."""
    columns = {**table.columns, **table.only_json}
    before = "[\n"
    for row in _rows(table, project, columns):
        yield before + json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, default=_as_json)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"No column holds a {type(value).__name__}.")
