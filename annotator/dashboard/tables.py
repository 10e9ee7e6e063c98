"""The project's tables as rows that a spreadsheet or a program can read."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from annotator.models import (
    Acceptance,
    AcceptanceAudit,
    Adjudication,
    Annotation,
    AnnotationReturn,
    Assignment,
    AuditEvent,
    Calibration,
    Dispute,
    Fusion,
    GoldLabel,
    Guideline,
    Invitation,
    Job,
    Label,
    LabelEvent,
    LearningPoint,
    Membership,
    ModelVersion,
    Posterior,
    Prediction,
    PrelabelRun,
    PrelabelTarget,
    Project,
    ReferenceLabel,
    Release,
    Review,
    SelectionPick,
    SelectionRound,
    Step,
    StepComment,
    Trajectory,
    Upload,
)

# How many rows are fetched at once; fewer where one row may hold a whole trajectory.
CHUNK = 500
CHUNK_OF_LARGE_ROWS = 50
# The server sends each piece of the answer by itself, so short lines go out together.
PIECE_CHARACTERS = 64 * 1024

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
    "reference-labels": _table(
        "Reference labels",
        "What the files brought along; never mixed with people's labels. No step: the outcome.",
        lambda project: ReferenceLabel.objects.filter(trajectory__project=project),
        f"id {_STEP} value",
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
    "label-events": _table(
        "Label events",
        "Every change of a draft; no value: the label was cleared.",
        lambda project: LabelEvent.objects.filter(annotation__assignment__project=project),
        f"id {_ANNOTATION} annotator=annotation__annotator__username step=step__index value is_after_reveal at",
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
        f"id {_STEP} value provenance acceptance=acceptance__number settled_at",
    ),
    "disputes": _table(
        "Disputes",
        "Steps (no step: outcomes) whose submitted values differ.",
        lambda project: Dispute.objects.filter(trajectory__project=project),
        f"id {_STEP} severity created_at decided_at",
    ),
    "reviews": _table(
        "Reviews",
        "Trajectories with disputes, as work for a reviewer: open, claimed or done.",
        lambda project: Review.objects.filter(project=project),
        "id trajectory=trajectory__external_id status severity reviewer=reviewer__username lease_expires_at",
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
    "settings": _table(
        "Settings",
        "The project's rules as they are now; the audit events hold what was changed.",
        lambda project: Project.objects.filter(pk=project.pk),
        "id slug name overlap max_overlap required_agreement on_unsettled claim_minutes asks_outcome label_scheme "
        "created_at",
    ),
    "guidelines": _table(
        "Guideline versions",
        "The text of each version.",
        lambda project: Guideline.objects.filter(project=project).order_by("id"),
        "id version created_by=created_by__username created_at text",
    ),
    "model-versions": _table(
        "Model versions",
        "Every model that has spoken, exactly as it was.",
        lambda project: ModelVersion.objects.filter(project=project).order_by("id"),
        "id name number kind sees_reference config_sha256 weights_sha256 render_sha256 created_at config",
    ),
    "prelabel-runs": _table(
        "Runs of models",
        "Which model over which trajectories, and what it took.",
        lambda project: PrelabelRun.objects.filter(project=project).order_by("id"),
        "id job=job_id model_name version=version__number selection estimate n_steps_done n_tokens n_dropped_tokens "
        "cost",
    ),
    "prelabel-targets": _table(
        "Trajectories of runs",
        "How each trajectory of a run ended, and why it could not be scored.",
        lambda project: PrelabelTarget.objects.filter(run__project=project),
        "id run=run_id trajectory=trajectory__external_id status error",
    ),
    "predictions": _table(
        "Predictions",
        "What each model version says about the steps of a trajectory; null: it abstained.",
        lambda project: Prediction.objects.filter(version__project=project),
        "id model=version__name version=version__number trajectory=trajectory__external_id probs raw spread outcome "
        "n_tokens n_dropped_tokens first_truncated_step first_extrapolated_step note created_at",
        only_json="rationales findings",
    ),
    "calibrations": _table(
        "Calibrations",
        "How a version's numbers become probabilities; the latest counts.",
        lambda project: Calibration.objects.filter(version__project=project).order_by("id"),
        "id model=version__name version=version__number method parameters n_trajectories n_steps fitted_at report",
    ),
    "fusions": _table(
        "Fusions",
        "How all raters together were heard: the method, why, and every method on held-out tasks; the latest counts.",
        lambda project: Fusion.objects.filter(project=project).order_by("id"),
        "id job=job_id number method reason n_trajectories n_steps data_sha256 seed code_version created_at report "
        "refresh",
    ),
    "posteriors": _table(
        "Posteriors",
        "What is believed about the steps of each trajectory now: P(-1), P(0), P(+1), and where the first error is.",
        lambda project: Posterior.objects.filter(project=project).order_by("id"),
        "id trajectory=trajectory__external_id fusion=fusion__number probs first_error expected_errors mean_entropy "
        "first_error_entropy disagreement updated_at",
        only_json="evidence",
    ),
    "acceptances": _table(
        "Acceptances",
        "Promises under which a model's label became gold without a person.",
        lambda project: Acceptance.objects.filter(project=project).order_by("id"),
        "id job=job_id number epsilon delta audit_share status threshold most_each data_sha256 seed code_version "
        "stop_reason stopped_at created_by=created_by__username created_at report",
    ),
    "acceptance-audits": _table(
        "Acceptance audits",
        "What would have been accepted of trajectories that people judged blind instead, and how much was wrong.",
        lambda project: AcceptanceAudit.objects.filter(acceptance__project=project).order_by("id"),
        "id acceptance=acceptance__number trajectory=trajectory__external_id values n_wrong settled_at",
    ),
    "selection-rounds": _table(
        "Selection rounds",
        "What chose the trajectories that people look at next.",
        lambda project: SelectionRound.objects.filter(project=project).order_by("id"),
        "id job=job_id number unit seed fusion=fusion__number is_cold is_open is_scheduled n_pool "
        "created_by=created_by__username created_at settings report",
    ),
    "selection-picks": _table(
        "Selection picks",
        "Each chosen trajectory: by which strategy, with which score; how likely the random slice was to choose it.",
        lambda project: SelectionPick.objects.filter(round__project=project).order_by("id"),
        "id round=round__number trajectory=trajectory__external_id rank strategy score steps probability reason before",
    ),
    "learning-points": _table(
        "Learning points",
        "Every training in the loop: what it learnt from, people's time for it, how good it became, why it was kept.",
        lambda project: LearningPoint.objects.filter(project=project).order_by("id"),
        "id model=version__name version=version__number is_baseline is_kept n_trajectories n_steps effort_seconds "
        "reason created_at metrics facts",
    ),
    "members": _table(
        "Members",
        "With the rater code that stands for each person in releases. No addresses, no passwords.",
        lambda project: Membership.objects.filter(project=project),
        "id username=user__username role rater_code created_at",
    ),
    "invitations": _table(
        "Invitations",
        "Who invited whom; the links are stored nowhere.",
        lambda project: Invitation.objects.filter(project=project),
        "id role note created_by=created_by__username created_at expires_at used_by=used_by__username used_at "
        "revoked_at",
    ),
    "uploads": _table(
        "Uploads",
        "Files that wait for their import; they are deleted with it, or after a week.",
        lambda project: Upload.objects.filter(project=project),
        "id name n_bytes sha256 created_by=created_by__username created_at",
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
    chunk = CHUNK if columns.keys().isdisjoint(table.only_json) else CHUNK_OF_LARGE_ROWS
    # Outside a transaction PostgreSQL would write the whole table to its disk before it gives the first row.
    with transaction.atomic():
        yield from ordered.values_list(*columns.values()).iterator(chunk_size=chunk)


def in_pieces(lines: Iterator[str]) -> Iterator[str]:
    """The same text in fewer, larger parts."""
    piece: list[str] = []
    n_characters = 0
    for line in lines:
        piece.append(line)
        n_characters += len(line)
        if n_characters >= PIECE_CHARACTERS:
            yield "".join(piece)
            piece, n_characters = [], 0
    yield "".join(piece)


class _Line:
    """What csv.writer writes to: it hands the line back instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def csv_lines(table: Table, project: Project) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(table.columns)
    for row in _rows(table, project, table.columns):
        yield writer.writerow(map(cell, row))


def cell(value: object) -> object:
    """A value as a spreadsheet may read it: a text that it would run as a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
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
    if isinstance(value, Decimal):
        return str(value)  # money, to the last digit
    raise TypeError(f"No column holds a {type(value).__name__}.")
