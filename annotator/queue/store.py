"""The statements that open slots and claim them: one for all new slots of a project, two for a claim.

A claim picks the best open slot, gives it to the annotator and writes the audit event. SQL because the ORM needed five
statements for it and built each for longer than PostgreSQL ran it (docs/performance.md). It is not prepared: how many
slots are open, and how many trajectories the person has had, changes with every claim, and a plan for other numbers may
be a bad one.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.utils.timezone import now

from annotator.models import Assignment, Project, User
from annotator.queue import hints

# Slots in the order of their trajectories, so that what was imported first is judged first.
OPEN = """
    INSERT INTO annotator_assignment
           (project_id, trajectory_id, slot, wants_outcome, priority, status, is_ahead, skip_reason, hint_arm, no_hints,
            created_at)
    SELECT %(project)s, trajectory.id, slot, %(wants_outcome)s, 0, 'open', false, '', '', '', %(at)s
      FROM annotator_trajectory AS trajectory, generate_series(0, %(overlap)s - 1) AS slot
     WHERE trajectory.project_id = %(project)s
       AND NOT EXISTS (SELECT FROM annotator_assignment WHERE trajectory_id = trajectory.id)
       -- Settled without anybody: all its steps are models' accepted labels.
       AND NOT EXISTS (SELECT FROM annotator_goldlabel WHERE trajectory_id = trajectory.id)
     ORDER BY trajectory.id, slot
"""

LOCK = """
    SELECT EXISTS (SELECT FROM annotator_assignment
                    WHERE project_id = %(project)s AND status = 'claimed' AND lease_expires_at < %(at)s),
           EXISTS (SELECT FROM annotator_assignment
                    WHERE project_id = %(project)s AND annotator_id = %(user)s AND is_ahead AND status = 'claimed')
      FROM annotator_user WHERE id = %(user)s FOR NO KEY UPDATE
"""

COLUMNS = ", ".join(f'slot."{field.column}"' for field in Assignment._meta.concrete_fields)
FIELDS = [field.attname for field in Assignment._meta.concrete_fields]

# The slots of Assignment.claimable_by(), the best first: by id within a priority, so that a trajectory's slots fill up
# together and its labels can be compared early.
CLAIM = f"""
    WITH best AS (
        SELECT id FROM annotator_assignment
         WHERE project_id = %(project)s AND status = 'open'
           AND trajectory_id NOT IN (SELECT trajectory_id FROM annotator_assignment WHERE annotator_id = %(user)s)
         ORDER BY priority DESC, id LIMIT 1 FOR UPDATE {{how}}
    ), claimed AS (
        UPDATE annotator_assignment AS slot
           SET status = 'claimed', annotator_id = %(user)s, claimed_at = %(at)s, lease_expires_at = %(lease)s,
               hint_arm = CASE WHEN hint_arm = '' AND %(is_blind)s THEN 'blind' ELSE hint_arm END
          FROM best WHERE slot.id = best.id
        RETURNING {COLUMNS}
    ), logged AS (
        INSERT INTO annotator_auditevent (action, project_id, user_id, username, object_type, object_id, data, at)
        SELECT 'assignment.claimed', project_id, annotator_id, %(username)s, 'assignment', id, '{{{{}}}}', %(at)s
          FROM claimed
    )
    TABLE claimed
"""


def open_slots(project: Project) -> int:
    """Opens the overlap of slots for every trajectory without one; returns how many. Lock the project before."""
    with connection.cursor() as cursor:
        cursor.execute(
            OPEN,
            {"project": project.pk, "overlap": project.overlap, "wants_outcome": project.asks_outcome, "at": now()},
        )
        return int(cursor.rowcount)


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
    """In a transaction of its own after `lock`, so that it sees what another tab has claimed.

    A slot that somebody else is claiming is passed over. Where all are held, by a round that is being written, it
    waits: there is work, though for a second nobody can have it.
    """
    values: dict[str, int | str | bool | datetime] = {
        "project": project.pk,
        "user": annotator.pk,
        "username": annotator.username,
        "at": at,
        "lease": at + timedelta(minutes=project.claim_minutes),
        "is_blind": project.hints.is_blind,
    }
    with connection.cursor() as cursor:
        cursor.execute(CLAIM.format(how="SKIP LOCKED"), values)
        row = cursor.fetchone()
        if row is None and Assignment.objects.claimable_by(annotator).filter(project=project).exists():
            cursor.execute(CLAIM.format(how=""), values)
            row = cursor.fetchone()
    slot = Assignment.from_db("default", FIELDS, row) if row else None
    if slot is not None and not project.hints.is_blind:
        hints.draw(slot, project)
        slot.save(update_fields=hints.FIELDS)
    return slot
