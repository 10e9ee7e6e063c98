"""The statement of a claim: picks the best open slot, gives it to the annotator and writes the audit event.

SQL because the ORM needed five statements for it and built each for longer than PostgreSQL ran it
(docs/performance.md). It is not prepared: how many slots are open, and how many trajectories the person has had,
changes with every claim, and a plan for other numbers may be a bad one.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection

from annotator.models import Assignment, Project, User
from annotator.queue import hints

LOCK = """
    SELECT EXISTS (SELECT FROM annotator_assignment
                    WHERE project_id = %(project)s AND status = 'claimed' AND lease_expires_at < %(at)s),
           EXISTS (SELECT FROM annotator_assignment
                    WHERE project_id = %(project)s AND annotator_id = %(user)s AND is_ahead AND status = 'claimed')
      FROM annotator_user WHERE id = %(user)s FOR NO KEY UPDATE
"""

COLUMNS = ", ".join(f'slot."{field.column}"' for field in Assignment._meta.concrete_fields)
FIELDS = [field.attname for field in Assignment._meta.concrete_fields]

# The slots of Assignment.claimable_by(), best_first().
CLAIM = f"""
    WITH best AS (
        SELECT id FROM annotator_assignment
         WHERE project_id = %(project)s AND status = 'open'
           AND trajectory_id NOT IN (SELECT trajectory_id FROM annotator_assignment WHERE annotator_id = %(user)s)
         ORDER BY priority DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE annotator_assignment AS slot
           SET status = 'claimed', annotator_id = %(user)s, claimed_at = %(at)s, lease_expires_at = %(lease)s,
               hint_arm = CASE WHEN hint_arm = '' AND %(is_blind)s THEN 'blind' ELSE hint_arm END
          FROM best WHERE slot.id = best.id
        RETURNING {COLUMNS}
    ), logged AS (
        INSERT INTO annotator_auditevent (action, project_id, user_id, username, object_type, object_id, data, at)
        SELECT 'assignment.claimed', project_id, annotator_id, %(username)s, 'assignment', id, '{{}}', %(at)s
          FROM claimed
    )
    TABLE claimed
"""


class Found(NamedTuple):
    """What a claim has to look after first: claims that have outlived their lease, a slot that waits for the person."""

    has_lapsed: bool
    has_ahead: bool


def lock(project: Project, annotator: User, at: datetime) -> Found:
    """Makes the person's other tabs wait until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK, {"project": project.pk, "user": annotator.pk, "at": at})
        row = cursor.fetchone()
    return Found(*row) if row else Found(has_lapsed=False, has_ahead=False)


def claim(project: Project, annotator: User, at: datetime) -> Assignment | None:
    """In a transaction of its own after `lock`, so that it sees what another tab has claimed."""
    with connection.cursor() as cursor:
        cursor.execute(
            CLAIM,
            {
                "project": project.pk,
                "user": annotator.pk,
                "username": annotator.username,
                "at": at,
                "lease": at + timedelta(minutes=project.claim_minutes),
                "is_blind": project.hints.is_blind,
            },
        )
        row = cursor.fetchone()
    slot = Assignment.from_db("default", FIELDS, row) if row else None
    if slot is not None and not slot.hint_arm:
        hints.draw(slot, project)
        slot.save(update_fields=hints.FIELDS)
    return slot
