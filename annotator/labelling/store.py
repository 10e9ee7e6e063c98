"""The two statements of a save: one reads all that it must know, one writes all that it changes.

SQL because saving is what the platform does most: through the ORM a save took twelve statements, and Python built them
for longer than PostgreSQL ran them (docs/performance.md). Both are prepared, for planning them costs more than running
them.

Nothing is locked between the two. Whoever changes a draft, or what may be done with it, writes a new version of its
assignment's row, and `write` stores only if that row is still the version that `read` saw.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from django.db import models

from annotator.models import Annotation, Assignment, User
from annotator.postgresql.base import prepared_cursor
from annotator.projects.scheme import LabelScheme


@dataclass
class StoredLabel:
    """A label as the draft holds it or shall hold it. No `id`: a new one; no `step_id`: the outcome's."""

    step_id: int | None
    value: int
    id: int | None = None
    root_id: int | None = None
    exit_reason: str = ""
    local_value: int | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    active_ms: int = 0
    is_seen: bool = False
    has_opened: bool = False
    hint_value: int | None = None
    is_after_hint: bool = False
    is_said_anew: bool = False  # then it gets the time, the guideline and an event of this save


@dataclass
class Basis:
    """What a save starts from: the assignment, the rules of its project, and the draft as it stands."""

    user_id: int  # who saves
    assignment: Assignment
    version: str  # of the assignment's row
    claim_minutes: int
    scheme: LabelScheme
    guideline_id: int | None  # what the labels are given under
    guideline_version: int  # the newest; 0: there is none
    draft: Annotation | None  # None: nothing was saved yet
    is_revealed: bool  # whether the user has been shown the reference, in this slot or in another one
    steps: dict[int, int]  # index -> id, in order
    labels: dict[int | None, StoredLabel]  # by the step's id

    @property
    def is_held(self) -> bool:
        held = (Assignment.Status.CLAIMED, Assignment.Status.RETURNED)
        return self.assignment.annotator_id == self.user_id and self.assignment.status in held

    @property
    def labels_by_index(self) -> dict[int | None, StoredLabel]:
        """By the step's index, in order; the outcome's (None) comes last."""
        places: list[tuple[int | None, int | None]] = [*self.steps.items(), (None, None)]
        return {index: self.labels[step_id] for index, step_id in places if step_id in self.labels}


READ = """
    SELECT assignment.xmin::text, assignment.project_id, assignment.trajectory_id, wanted_steps, wants_outcome, status,
           assignment.annotator_id, lease_expires_at, n_saves, hint_arm, hint_version_id, hint_calibration_id,
           claim_minutes, label_scheme,
           (SELECT json_build_array(id, version) FROM annotator_guideline
             WHERE project_id = project.id ORDER BY version DESC LIMIT 1),
           draft.id, draft.revision, draft.created_at, draft.revealed_at, draft.hints_shown_at,
           -- In whichever slot of the trajectory: they know it in this one, too.
           EXISTS (SELECT FROM annotator_annotation
                    WHERE trajectory_id = assignment.trajectory_id AND annotator_id = %(user)s
                      AND revealed_at IS NOT NULL),
           (SELECT json_agg(json_build_array(index, id) ORDER BY index) FROM annotator_step
             WHERE trajectory_id = assignment.trajectory_id),
           (SELECT json_agg(label) FROM (
               SELECT id, step_id, value, root_id, exit_reason, local_value, extras, active_ms, is_seen, has_opened,
                      hint_value, is_after_hint
                 FROM annotator_label WHERE annotation_id = draft.id) AS label)
      FROM annotator_assignment AS assignment
      JOIN annotator_project AS project ON project.id = assignment.project_id
      LEFT JOIN LATERAL (
               SELECT id, revision, created_at, revealed_at, hints_shown_at FROM annotator_annotation
                WHERE assignment_id = assignment.id AND annotator_id = %(user)s AND submitted_at IS NULL
                ORDER BY revision DESC LIMIT 1) AS draft ON true
     WHERE assignment.id = %(assignment)s AND (NOT %(as_member)s OR EXISTS (
               SELECT FROM annotator_membership WHERE project_id = project.id AND user_id = %(user)s))
"""

WRITE = """
    WITH held AS (
        UPDATE annotator_assignment SET lease_expires_at = %(lease)s::timestamptz, is_ahead = false,
               n_saves = n_saves + 1
         WHERE id = %(assignment)s AND xmin::text = %(version)s
        RETURNING id, trajectory_id, annotator_id, hint_arm
    ), begun AS (
        INSERT INTO annotator_annotation
               (assignment_id, trajectory_id, annotator_id, created_at, hints_shown_at, revision, is_superseded)
        SELECT id, trajectory_id, annotator_id, %(at)s, CASE WHEN hint_arm = 'hinted' THEN %(at)s END, 1, false
          FROM held WHERE %(draft)s::bigint IS NULL
        RETURNING id
    ), draft AS (
        SELECT id FROM begun UNION ALL SELECT %(draft)s::bigint FROM held WHERE %(draft)s::bigint IS NOT NULL
    ), given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(labels)s::jsonb) AS label (
               id bigint, step_id bigint, value smallint, root_id bigint, exit_reason text, local_value smallint,
               extras jsonb, active_ms integer, is_seen boolean, has_opened boolean, hint_value smallint,
               is_after_hint boolean, is_said_anew boolean)
    ), added AS (
        INSERT INTO annotator_label
               (annotation_id, step_id, value, root_id, exit_reason, local_value, extras, active_ms, is_seen,
                has_opened, hint_value, is_after_hint, guideline_id, labelled_at, is_after_reveal)
        SELECT draft.id, step_id, value, root_id, exit_reason, local_value, extras, active_ms, is_seen,
               has_opened, hint_value, is_after_hint, %(guideline)s::bigint, %(at)s, %(is_after_reveal)s
          FROM draft, given WHERE given.id IS NULL
    ), changed AS (
        UPDATE annotator_label AS label
           SET value = given.value, root_id = given.root_id, exit_reason = given.exit_reason,
               local_value = given.local_value, extras = given.extras, active_ms = given.active_ms,
               is_seen = given.is_seen, has_opened = given.has_opened,
               hint_value = given.hint_value, is_after_hint = given.is_after_hint,
               guideline_id = CASE WHEN is_said_anew THEN %(guideline)s::bigint ELSE guideline_id END,
               labelled_at = CASE WHEN is_said_anew THEN %(at)s ELSE labelled_at END,
               is_after_reveal = CASE WHEN is_said_anew THEN %(is_after_reveal)s ELSE is_after_reveal END
          -- The annotation finds the rows by its index, however small PostgreSQL believes the table to be.
          FROM draft, given WHERE label.annotation_id = draft.id AND label.id = given.id
    ), cleared AS (
        DELETE FROM annotator_label AS label USING draft WHERE label.id = ANY(%(cleared)s::bigint[])
        RETURNING step_id, hint_value
    ), logged AS (
        INSERT INTO annotator_labelevent (annotation_id, step_id, value, is_after_hint, is_after_reveal, at)
        SELECT draft.id, step_id, value, is_after_hint, %(is_after_reveal)s, %(at)s FROM draft, (
               SELECT step_id, value, is_after_hint FROM given WHERE is_said_anew
               UNION ALL SELECT step_id, NULL, hint_value IS NOT NULL FROM cleared) AS event
    )
    SELECT id FROM draft
"""

_COLUMNS = [column.name for column in fields(StoredLabel)]


def read(assignment_id: int, user: User, *, as_member: bool = False) -> Basis | None:
    """None if there is no such assignment or, with `as_member`, if the user is no member of its project."""
    if assignment_id > models.BigIntegerField.MAX_BIGINT:
        return None  # an address may name any number, and PostgreSQL refuses to compare an id with this one
    with prepared_cursor() as cursor:
        cursor.execute(READ, {"assignment": assignment_id, "user": user.pk, "as_member": as_member})
        row = cursor.fetchone()
    if row is None:
        return None
    version, project_id, trajectory_id, wanted_steps, wants_outcome, status, annotator_id, lease, n_saves, *others = row
    hint_arm, hint_version_id, hint_calibration_id, claim_minutes, scheme, guideline, *others = others
    draft_id, revision, created_at, revealed_at, hints_shown_at, is_revealed, steps, labels = others
    guideline_id, guideline_version = guideline or (None, 0)
    assignment = Assignment(
        id=assignment_id,
        project_id=project_id,
        trajectory_id=trajectory_id,
        wanted_steps=wanted_steps,
        wants_outcome=wants_outcome,
        status=status,
        annotator_id=annotator_id,
        lease_expires_at=lease,
        n_saves=n_saves,
        hint_arm=hint_arm,
        hint_version_id=hint_version_id,
        hint_calibration_id=hint_calibration_id,
    )
    draft = draft_id and Annotation(
        id=draft_id,
        assignment_id=assignment_id,
        trajectory_id=trajectory_id,
        annotator_id=user.pk,
        revision=revision,
        created_at=created_at,
        revealed_at=revealed_at,
        hints_shown_at=hints_shown_at,
    )
    return Basis(
        user_id=user.pk,
        assignment=assignment,
        version=version,
        claim_minutes=claim_minutes,
        scheme=LabelScheme.model_validate_json(scheme),
        guideline_id=guideline_id,
        guideline_version=guideline_version,
        draft=draft,
        is_revealed=is_revealed,
        steps=dict(steps or ()),
        labels={label["step_id"]: StoredLabel(**label) for label in labels or ()},
    )


def write(
    basis: Basis,
    labels: Sequence[StoredLabel],
    cleared: Sequence[StoredLabel],
    *,
    at: datetime,
    is_after_reveal: bool,
) -> int | None:
    """Stores the labels and the assignment's lease, deletes what is cleared, and returns the draft's id.

    One statement, which is its own transaction. None, and nothing is stored, if the assignment's row has changed since
    `basis` was read.
    """
    rows = [{name: getattr(label, name) for name in _COLUMNS} for label in labels]
    with prepared_cursor() as cursor:
        cursor.execute(
            WRITE,
            {
                "assignment": basis.assignment.pk,
                "version": basis.version,
                "lease": basis.assignment.lease_expires_at,
                "draft": basis.draft.pk if basis.draft else None,
                "guideline": basis.guideline_id,
                "labels": json.dumps(rows),
                "cleared": [label.id for label in cleared],
                "is_after_reveal": is_after_reveal,
                "at": at,
            },
        )
        row = cursor.fetchone()
    return int(row[0]) if row else None
