"""The queue of wanted judgements: fill it, claim from it, give back."""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils.timezone import now

from annotator import audit
from annotator.errors import AssignmentNotYours, text_of
from annotator.models import Assignment, Project, Trajectory, User
from annotator.queue import hints, store

Status = Assignment.Status

# How long a slot waits for somebody who is about to finish another one.
AHEAD_LEASE = timedelta(minutes=10)
MAX_REASON = 500


@transaction.atomic
def enqueue(project: Project) -> int:
    """Opens the project's overlap of slots for every trajectory that has none; returns how many slots."""
    # Two imports that end together must not both fill the same trajectory.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    return store.open_slots(project)


@transaction.atomic
def enqueue_spot(
    trajectory: Trajectory, *, slot: int, priority: float, wanted_steps: list[int], wants_outcome: bool
) -> Assignment:
    """Opens one more slot that asks only for the named steps (and the outcome, if it is wanted)."""
    spot = Assignment.objects.create(
        project_id=trajectory.project_id,
        trajectory=trajectory,
        slot=slot,
        priority=priority,
        wanted_steps=wanted_steps,
        wants_outcome=wants_outcome,
    )
    audit.log(
        "assignment.escalated", spot, user=None, project_id=trajectory.project_id, data={"wanted_steps": wanted_steps}
    )
    return spot


@transaction.atomic
def claim_next(project: Project, annotator: User) -> Assignment | None:
    """The slot that waits for the annotator, else the best open one, under a lease; None when nothing is left."""
    at = now()
    waiting = _waiting(project, annotator, at)
    if waiting is None:
        return store.claim(project, annotator, at)
    _renew(waiting)
    return waiting


@transaction.atomic
def claim_ahead(project: Project, annotator: User) -> Assignment | None:
    """Claims the slot that `claim_next` will hand out, so that its page can be loaded before it is asked for.

    It waits for AHEAD_LEASE; who stops working meanwhile keeps nobody from it for long. Asking again renews that.
    """
    at = now()
    slot = _waiting(project, annotator, at) or store.claim(project, annotator, at)
    if slot is not None:
        slot.is_ahead = True
        slot.lease_expires_at = at + min(AHEAD_LEASE, timedelta(minutes=project.claim_minutes))
        slot.save(update_fields=["is_ahead", "lease_expires_at"])
    return slot


def _waiting(project: Project, annotator: User, at: datetime) -> Assignment | None:
    """What waits for this person, once their other tabs are done: two of them would find the same trajectory."""
    found = store.lock(project, annotator, at)
    if found.has_lapsed:
        expire(project)
    if not found.has_ahead:
        return None
    ahead = Assignment.objects.filter(project=project, annotator=annotator, status=Status.CLAIMED, is_ahead=True)
    # Locked as well: the beat may be about to reopen it.
    return ahead.select_related("project").select_for_update(of=("self",)).first()


def hold(assignment_id: int, annotator: User) -> Assignment:
    """Locks an assignment for its annotator and renews the lease; call it before every write, in its transaction.

    Whoever comes back after the lease ran out gets the slot again as long as nobody else has taken it. A returned one
    is its annotator's without a lease, for as long as it takes.
    Raises AssignmentNotYours, saying what became of it.
    """
    assignment = Assignment.objects.select_for_update(of=("self",)).select_related("project").get(pk=assignment_id)
    if assignment.annotator_id == annotator.pk and assignment.status == Status.RETURNED:
        return assignment
    if assignment.annotator_id == annotator.pk and assignment.status == Status.CLAIMED:
        _renew(assignment)
        return assignment
    if assignment.status == Status.OPEN and Assignment.objects.claimable_by(annotator).filter(pk=assignment_id):
        _claim(assignment, annotator, assignment.project)
        return assignment
    if assignment.annotator_id == annotator.pk:
        already = f"You have already {assignment.status} this trajectory; it cannot be changed."
        raise AssignmentNotYours(taken_back(assignment) or already)
    elsewhere = held_elsewhere(assignment, annotator)
    if elsewhere is not None:
        raise AssignmentNotYours(
            "Your claim ended because nothing was saved for a while, and you have been given the same trajectory anew "
            f"(assignment {elsewhere.pk}): what you label there counts. What was saved here is kept as a draft; "
            "anything later is not stored. Reload the page for the way there."
        )
    raise AssignmentNotYours(
        "Your claim ended because nothing was saved for a while, and somebody else has taken this trajectory. "
        "What was saved before is kept as a draft; anything later is not stored. Go on with the next trajectory."
    )


def taken_back(assignment: Assignment) -> str:
    """What its annotator should know if a reviewer has ended their correction; empty if there is none to go on with."""
    drafts = assignment.annotations.filter(annotator=assignment.annotator_id, submitted_at__isnull=True)
    if assignment.status != Status.SUBMITTED or not drafts.exists():
        return ""
    return (
        "A reviewer has taken this trajectory back from you: what you had submitted counts again. What you changed "
        "until then is kept as a draft; anything later is not stored. To go on with the draft, reopen the trajectory "
        "in Your work if it can be reopened there, or ask a reviewer to return it again."
    )


def held_elsewhere(assignment: Assignment, annotator: User) -> Assignment | None:
    """Another slot of the same trajectory that is or was this person's: nobody judges a trajectory twice."""
    own = Assignment.objects.filter(trajectory=assignment.trajectory_id, annotator=annotator).exclude(pk=assignment.pk)
    return own.order_by("id").last()


def renewed_lease(assignment: Assignment, claim_minutes: int) -> datetime | None:
    """When the lease of a held assignment ends if something is saved now; a returned one has none.

    It moves on at most once a minute: a save every second need not write it each time.
    """
    if assignment.status == Status.RETURNED:
        return None
    full = timedelta(minutes=claim_minutes)
    until, lease = now() + full, assignment.lease_expires_at
    return until if lease is None or until - lease > min(timedelta(minutes=1), full / 10) else lease


@transaction.atomic
def skip(assignment_id: int, annotator: User, reason: str) -> None:
    """Gives the slot to somebody else for good, as it is; this annotator is not offered the trajectory again."""
    said = text_of(reason, "reason", "Say in a few words why you skip this trajectory.", most=MAX_REASON)
    assignment = hold(assignment_id, annotator)
    _refuse_returned(assignment)
    assignment.status = Status.SKIPPED
    assignment.skip_reason = said
    assignment.finished_at = now()
    assignment.lease_expires_at = None
    assignment.save(update_fields=["status", "skip_reason", "finished_at", "lease_expires_at"])
    Assignment.objects.create(
        project_id=assignment.project_id,
        trajectory_id=assignment.trajectory_id,
        slot=assignment.slot,
        wanted_steps=assignment.wanted_steps,
        wants_outcome=assignment.wants_outcome,
        priority=assignment.priority,
        pick_id=assignment.pick_id,
        **{name: getattr(assignment, name) for name in hints.FIELDS},
    )
    audit.log(
        "assignment.skipped",
        assignment,
        user=annotator,
        project_id=assignment.project_id,
        data={"reason": assignment.skip_reason},
    )


@transaction.atomic
def release_claim(assignment_id: int, annotator: User) -> None:
    """Puts a claimed slot back; the draft stays and the same person may take it up again."""
    assignment = hold(assignment_id, annotator)
    _refuse_returned(assignment)
    _reopen([assignment])
    audit.log("assignment.released", assignment, user=annotator, project_id=assignment.project_id)


@transaction.atomic
def expire(project: Project | None = None) -> int:
    """Reopens every claim whose lease has run out (of one project, or of all); returns how many."""
    claims = Assignment.objects.filter(status=Status.CLAIMED, lease_expires_at__lt=now())
    if project is not None:
        claims = claims.filter(project=project)
    expired = list(claims.select_for_update(skip_locked=True, of=("self",)))
    _reopen(expired)
    for project_id in {assignment.project_id for assignment in expired}:
        of_project = [assignment for assignment in expired if assignment.project_id == project_id]
        audit.log_all("assignment.expired", of_project, user=None, project_id=project_id)
    return len(expired)


def finish(assignment: Assignment, at: datetime) -> None:
    """Marks a held assignment as submitted."""
    assignment.status = Status.SUBMITTED
    assignment.finished_at = at
    assignment.lease_expires_at = None
    assignment.save(update_fields=["status", "finished_at", "lease_expires_at"])


def _refuse_returned(assignment: Assignment) -> None:
    """A returned assignment has a submitted revision that counts: nobody else can take its place."""
    if assignment.status == Status.RETURNED:
        raise AssignmentNotYours(
            "This trajectory was returned to you, so it cannot go to somebody else. Correct your labels and submit "
            "them again; if you stand by them, submit them as they are."
        )


def _claim(assignment: Assignment, annotator: User, project: Project) -> None:
    at = now()
    assignment.status = Status.CLAIMED
    assignment.annotator = annotator
    assignment.claimed_at = at
    assignment.lease_expires_at = at + timedelta(minutes=project.claim_minutes)
    hints.draw(assignment, project)
    assignment.save(update_fields=["status", "annotator", "claimed_at", "lease_expires_at", *hints.FIELDS])
    audit.log("assignment.claimed", assignment, user=annotator, project_id=assignment.project_id)


def _renew(assignment: Assignment) -> None:
    """Moves the lease's end on. A slot that only waited for its annotator is taken up by that."""
    until = renewed_lease(assignment, assignment.project.claim_minutes)
    if until != assignment.lease_expires_at or assignment.is_ahead:
        assignment.lease_expires_at = until
        assignment.is_ahead = False
        assignment.save(update_fields=["lease_expires_at", "is_ahead"])


def _reopen(assignments: list[Assignment]) -> None:
    for assignment in assignments:
        assignment.status = Status.OPEN
        assignment.annotator = None
        assignment.claimed_at = assignment.lease_expires_at = None
        assignment.is_ahead = False
    Assignment.objects.bulk_update(assignments, ["status", "annotator", "claimed_at", "lease_expires_at", "is_ahead"])
