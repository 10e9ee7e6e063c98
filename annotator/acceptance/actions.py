"""Accepting labels of models under a promise, auditing it with every judgement, and taking the labels back.

An acceptance is one piece of work: it tests the promise on the random sample that there is, and writes down the labels
of trajectories that nobody has begun. What comes later is not covered by the sample, so it waits for another one.
"""

import math
import secrets
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.utils.timezone import now

from annotator import audit, jobs
from annotator.acceptance import guarantee, sample
from annotator.acceptance.asking import ask_again
from annotator.acceptance.proof import Found, find_rule, look_again
from annotator.acceptance.terms import Terms
from annotator.agreement.coefficients import IntArray
from annotator.chance import chance
from annotator.errors import InvalidInput, JobConflict
from annotator.fusion.panel import MISSING
from annotator.models import (
    Acceptance,
    AcceptanceAudit,
    Assignment,
    AuditEvent,
    Dispute,
    GoldLabel,
    Job,
    Project,
    Step,
    Trajectory,
    User,
)
from annotator.queue import actions as queue
from annotator.version import app_version

Status = Acceptance.Status

# Trajectories that are written in one transaction: people who claim them wait for so long.
WRITTEN_AT_ONCE = 200
# Fewer would watch nothing.
LEAST_AUDITS = 10
# Audited trajectories go before everything that a round has chosen, in a random order, and behind escalations of these.
AUDIT_PRIORITY = 1.0
_AUDITS_LIE_WITHIN = 1e-6


@transaction.atomic
def start(project: Project, terms: Terms, *, user: User | None) -> Job:
    """Queues an acceptance. Raises JobConflict while one is under way, InvalidInput where something is missing."""
    current = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if current.scheme.mode == "stop_at_first_error":
        raise InvalidInput(
            "Nothing was started: this project stops at the first error, so people cannot be asked for the other steps "
            "of a trajectory alone."
        )
    end_lost(current)
    if busy := current.acceptances.filter(status=Status.WORKING).first():
        raise JobConflict(f"Nothing was started: {busy} has not ended yet. Its job is number {busy.job_id}.")
    if missing := sample.counts(current).missing:
        raise InvalidInput(f"Nothing was started. {missing}")
    job = jobs.enqueue(current, Job.Kind.ACCEPT, {}, unit="trajectories", n_total=None, user=user)
    latest = current.acceptances.last()
    Acceptance.objects.create(
        project=current,
        job=job,
        number=latest.number + 1 if latest else 1,
        **terms.model_dump(),
        seed=secrets.randbits(31),
        code_version=app_version(),
        created_by=user,
    )
    return job


def end_lost(project: Project | None = None) -> None:
    """Ends what is still being tested (of one project, or of all) though its job has ended: cancelled before it began,
    or not begun again.
    """
    working = Acceptance.objects.filter(status=Status.WORKING, job__finished_at__isnull=False)
    if project is not None:
        working = working.filter(project=project)
    for lost in working.select_related("job", "project", "created_by"):
        _give_up(lost, is_cancelled=lost.job.status == Job.Status.CANCELLED)


def accept(job: Job) -> dict[str, Any]:
    """What a job of an acceptance does. A worker that takes over goes on with the rule that was found."""
    acceptance = Acceptance.objects.select_related("project").get(job=job)
    try:
        if acceptance.status == Status.WORKING:
            found = find_rule(job, acceptance) if acceptance.threshold is None else look_again(acceptance)
            if found is None:
                _refuse(acceptance)
            else:
                _write_all(job, acceptance, found)
    except Exception as error:
        if not jobs.is_outage(error):
            _give_up(acceptance, is_cancelled=isinstance(error, jobs.JobCancelled))
        raise
    report = acceptance.report
    return {"acceptance": acceptance.pk, "number": acceptance.number, "status": acceptance.status} | {
        name: report.get(name, 0) for name in ("n_labels", "n_trajectories", "n_audits")
    }


def _write_all(job: Job, acceptance: Acceptance, found: Found) -> None:
    jobs.report(job, 0, len(found.ids))
    n_audits = max(math.ceil(acceptance.audit_share * len(found.ids)), min(LEAST_AUDITS, len(found.ids)))
    order = np.random.default_rng(acceptance.seed).permutation(len(found.ids))
    audited = {found.ids[i] for i in order[:n_audits]}
    for at in range(0, len(found.ids), WRITTEN_AT_ONCE):
        some = slice(at, at + WRITTEN_AT_ONCE)
        _write(acceptance, dict(zip(found.ids[some], found.values[some], strict=True)), audited)
        jobs.report(job, min(at + WRITTEN_AT_ONCE, len(found.ids)))
    with transaction.atomic():
        labels = GoldLabel.objects.filter(acceptance=acceptance)
        written = labels.aggregate(n=Count("pk"), n_trajectories=Count("trajectory", distinct=True))
        acceptance.report |= {
            "n_labels": written["n"],
            "n_trajectories": written["n_trajectories"],
            "n_audits": acceptance.audits.count(),
        }
        acceptance.status = Status.ACTIVE
        acceptance.save(update_fields=["report", "status"])
        data = {"number": acceptance.number, "n_labels": written["n"], "epsilon": acceptance.epsilon}
        project_id = acceptance.project_id
        audit.log("acceptance.accepted", acceptance, user=acceptance.created_by, project_id=project_id, data=data)
    # What people have judged while the rest was written: `look` passed over it, because nothing was in force yet.
    for one in acceptance.audits.filter(trajectory__annotations__submitted_at__isnull=False).distinct():
        look(one.trajectory_id)


@transaction.atomic
def _write(acceptance: Acceptance, values: dict[int, IntArray], audited: Set[int]) -> None:
    """Labels of some trajectories, audits of others; one that somebody has begun or is claiming is left to them."""
    project = Project.objects.select_for_update(no_key=True).get(pk=acceptance.project_id)  # no round at once
    free = set(sample.candidates(project).filter(pk__in=values).values_list("pk", flat=True))
    slots: dict[int, list[Assignment]] = defaultdict(list)
    open_slots = Assignment.objects.open().filter(trajectory__in=free).select_related("pick")
    for slot in open_slots.select_for_update(skip_locked=True, of=("self",)):
        slots[slot.trajectory_id].append(slot)
    wanted = Assignment.objects.live().filter(trajectory__in=free).order_by().values_list("trajectory")
    n_wanted = dict(wanted.annotate(Count("pk")))
    steps = {
        (trajectory, index): pk
        for pk, trajectory, index in Step.objects.filter(trajectory__in=free).values_list("pk", "trajectory", "index")
    }
    at = now()
    labels: list[GoldLabel] = []
    audits: list[AcceptanceAudit] = []
    changed: list[Assignment] = []
    idle: list[int] = []
    for pk in sorted(free):
        if len(slots[pk]) < n_wanted[pk]:
            continue
        said = [None if value == MISSING else int(value) for value in values[pk]]
        if pk in audited:
            audits.append(AcceptanceAudit(acceptance=acceptance, trajectory_id=pk, values=said))
            changed += [_to_audit(slot, _turn(acceptance, pk)) for slot in slots[pk]]
            continue
        labels += [
            GoldLabel(
                trajectory_id=pk,
                step_id=steps[pk, index],
                value=value,
                provenance=GoldLabel.Provenance.CERTIFIED,
                settled_at=at,
                acceptance=acceptance,
            )
            for index, value in enumerate(said)
            if value is not None
        ]
        rest = [index for index, value in enumerate(said) if value is None]
        for slot in slots[pk]:
            slot.wanted_steps = [i for i in rest if slot.wants_step(i)] or rest
            if not rest:
                slot.wants_outcome = slot.wants_outcome_if_whole
            if rest or slot.wants_outcome:
                changed.append(slot)
            else:
                idle.append(slot.pk)
    GoldLabel.objects.bulk_create(labels)
    AcceptanceAudit.objects.bulk_create(audits)
    fields = ["wanted_steps", "wants_outcome", "priority", "pick", "hint_arm", "no_hints"]
    Assignment.objects.bulk_update(changed, fields)
    Assignment.objects.filter(pk__in=idle).delete()


def _turn(acceptance: Acceptance, trajectory_id: int) -> float:
    """From 0 to 1, the first first: the random order in which audits are asked for and counted.

    In the order of import or of settling a promise that holds would look broken where the errors come first.
    """
    return chance("audit", acceptance.seed, trajectory_id)


def _to_audit(slot: Assignment, turn: float) -> Assignment:
    """Asked whole and blind, and soon: an audit that waits watches nothing."""
    slot.wanted_steps, slot.wants_outcome = None, slot.wants_outcome_if_whole
    slot.pick, slot.priority = None, AUDIT_PRIORITY + _AUDITS_LIE_WITHIN * (1 - turn)
    slot.hint_arm, slot.no_hints = Assignment.HintArm.BLIND, Assignment.NoHints.RANDOM_SAMPLE
    return slot


def _refuse(acceptance: Acceptance) -> None:
    acceptance.status = Status.REFUSED
    acceptance.save(update_fields=["status"])
    data = {"number": acceptance.number, "epsilon": acceptance.epsilon}
    audit.log("acceptance.refused", acceptance, user=acceptance.created_by, project_id=acceptance.project_id, data=data)


def _give_up(acceptance: Acceptance, *, is_cancelled: bool) -> None:
    """What was written so far goes back: the promise is about all of it, not about what came first.

    Before it ends, so that whoever goes on after a crash finds it unfinished.
    """
    _withdraw_all(acceptance)
    reason = f"Its job {'was cancelled' if is_cancelled else 'failed'}. Nothing stays accepted."
    _end(acceptance, Status.STOPPED, reason, user=acceptance.created_by)


@transaction.atomic
def _end(acceptance: Acceptance, status: Acceptance.Status, reason: str, *, user: User | None) -> None:
    acceptance.status, acceptance.stop_reason, acceptance.stopped_at = status, reason, now()
    acceptance.save(update_fields=["status", "stop_reason", "stopped_at"])
    _end_audits(acceptance)
    data = {"number": acceptance.number, "reason": reason}
    audit.log(f"acceptance.{status}", acceptance, user=user, project_id=acceptance.project_id, data=data)


def _end_audits(acceptance: Acceptance) -> None:
    """What is still to be judged for an audit loses its place, and what nobody has had yet may be chosen by rounds.

    What somebody has had stays blind, also when it comes back: no round draws it. A slot that somebody is claiming is
    not waited for; it is theirs as it is.
    """
    ids = list(acceptance.audits.values_list("trajectory", flat=True))
    slots = Assignment.objects.filter(trajectory__in=ids)
    waiting = slots.filter(status__in=[Assignment.Status.OPEN, Assignment.Status.CLAIMED])
    audits = waiting.filter(priority__range=(AUDIT_PRIORITY, AUDIT_PRIORITY + _AUDITS_LIE_WITHIN))
    locked = dict(audits.select_for_update(skip_locked=True, of=("self",)).values_list("pk", "trajectory"))
    claims = AuditEvent.objects.filter(action="assignment.claimed", object_type="assignment", object_id=OuterRef("pk"))
    kept = set(slots.filter(Exists(claims) | ~Q(pk__in=list(locked))).values_list("trajectory", flat=True))
    Assignment.objects.filter(pk__in=locked).update(priority=0)
    # No round could draw them meanwhile, and when a slot was made says from when on one could (sample.drawable_since).
    free = [pk for pk, trajectory in locked.items() if trajectory not in kept]
    Assignment.objects.filter(pk__in=free).update(hint_arm="", no_hints="", created_at=now())


@transaction.atomic
def stop(acceptance: Acceptance, *, withdraws: bool, user: User | None) -> Job | None:
    """Ends an acceptance; with `withdraws` a job takes its labels back, also those that were kept when it ended.

    Raises JobConflict if it is over, and there is nothing to take back.
    """
    current = Acceptance.objects.select_for_update(no_key=True).get(pk=acceptance.pk)
    if current.status == Status.ACTIVE:
        kept = "to have its labels taken back." if withdraws else "and kept its labels; nobody audits them any longer."
        _end(current, Status.STOPPED, f"An admin ended it, {kept}", user=user)
    elif withdraws and keeps_labels(current):
        current.stop_reason = "An admin ended it, kept its labels at first, and had them taken back later."
        current.save(update_fields=["stop_reason"])
        data = {"number": current.number}
        audit.log("acceptance.withdrawn", current, user=user, project_id=current.project_id, data=data)
    else:
        state = f"{current} is not in force ({current.get_status_display()})"
        raise JobConflict(f"Nothing was changed: {state}. {_what_to_do(current)}".strip())
    return _enqueue_withdrawal(current, user=user) if withdraws else None


def keeps_labels(acceptance: Acceptance) -> bool:
    """Whether it was ended and its labels stayed, so that they can still be taken back."""
    is_over = acceptance.status == Status.STOPPED and withdrawal(acceptance) is None
    return is_over and GoldLabel.objects.filter(acceptance=acceptance).exists()


def withdrawal(acceptance: Acceptance) -> Job | None:
    """The latest job that takes its labels back."""
    return Job.objects.filter(
        project=acceptance.project_id, kind=Job.Kind.WITHDRAW, params__acceptance=acceptance.pk
    ).last()


def _what_to_do(acceptance: Acceptance) -> str:
    if acceptance.status == Status.WORKING:
        return f"Cancel its job, number {acceptance.job_id}, to end it."
    if keeps_labels(acceptance):
        return "Its labels were kept; you can still have them taken back."
    job = withdrawal(acceptance)
    if job is None:
        return ""
    return f"Job {job.pk} takes its labels back. If that failed or was cancelled, try it again on its page."


def _enqueue_withdrawal(acceptance: Acceptance, *, user: User | None) -> Job:
    params = {"acceptance": acceptance.pk}
    return jobs.enqueue(acceptance.project, Job.Kind.WITHDRAW, params, unit="trajectories", n_total=None, user=user)


def withdraw(job: Job) -> dict[str, Any]:
    """What a job of a withdrawal does; run again, it takes back what is left."""
    acceptance = Acceptance.objects.select_related("project").get(pk=job.params["acceptance"])
    return {"acceptance": acceptance.pk, "number": acceptance.number, "n_labels": _withdraw_all(acceptance, job)}


def _withdraw_all(acceptance: Acceptance, job: Job | None = None) -> int:
    accepted = GoldLabel.objects.filter(acceptance=acceptance)
    ids = list(accepted.order_by("trajectory").values_list("trajectory", flat=True).distinct())
    n_labels = 0
    if job is not None:
        jobs.report(job, 0, len(ids))
    for at in range(0, len(ids), WRITTEN_AT_ONCE):
        n_labels += _withdraw(acceptance, ids[at : at + WRITTEN_AT_ONCE])
        if job is not None:
            jobs.report(job, min(at + WRITTEN_AT_ONCE, len(ids)))
    return n_labels


@transaction.atomic
def _withdraw(acceptance: Acceptance, ids: Sequence[int]) -> int:
    """Deletes accepted labels and has people asked about their steps."""
    project = Project.objects.select_for_update(no_key=True).get(pk=acceptance.project_id)
    # The slots before the trajectories, as whoever submits does: neither waits for the other for ever.
    slots: dict[int, list[Assignment]] = defaultdict(list)
    live = Assignment.objects.live().filter(trajectory__in=ids).order_by("trajectory", "slot")
    for slot in live.select_for_update(of=("self",)):
        slots[slot.trajectory_id].append(slot)
    Trajectory.objects.lock(ids)
    accepted = GoldLabel.objects.filter(acceptance=acceptance, trajectory__in=ids)
    missing: dict[int, list[int]] = defaultdict(list)
    for trajectory, index in accepted.values_list("trajectory_id", "step__index").order_by("step__index"):
        assert index is not None
        missing[trajectory].append(index)
    ask_again(project, slots, missing)
    n_deleted, _ = accepted.delete()
    queue.enqueue(project)  # those whose slots were no longer needed
    return n_deleted


@transaction.atomic(savepoint=False)
def look(trajectory_id: int) -> None:
    """Counts the audit of a trajectory once people have settled it, and ends the acceptance if its promise is broken.

    Call it whenever something was said or decided of a trajectory; most are in no audit.
    """
    audits = AcceptanceAudit.objects.filter(trajectory=trajectory_id, acceptance__status=Status.ACTIVE)
    for one in audits.select_related("acceptance"):
        _count(one)


def _count(one: AcceptanceAudit) -> None:
    trajectory = one.trajectory_id
    if sample.doubtful([trajectory]) or Dispute.objects.undecided().of_steps().filter(trajectory=trajectory).exists():
        return
    gold = GoldLabel.objects.by_people().filter(trajectory=trajectory, step__isnull=False)
    settled = dict(gold.values_list("step__index", "value"))
    if len(settled) < len(one.values):
        return
    one.n_wrong = sum(value is not None and settled[index] != value for index, value in enumerate(one.values))
    one.settled_at = one.settled_at or now()
    one.save(update_fields=["n_wrong", "settled_at"])
    # Two audits that are settled at once: the second waits here and sees the first one's count.
    acceptance = Acceptance.objects.select_for_update(no_key=True).get(pk=one.acceptance_id)
    result = audited(acceptance)
    if acceptance.status == Status.ACTIVE and result.evidence >= math.log(1 / acceptance.delta):
        reason = (
            f"Of {result.n_taken} labels in {result.n_settled} audited trajectories {result.n_wrong} were wrong. That "
            f"is more than chance allows if {100 * acceptance.epsilon:g} % are wrong at most."
        )
        _end(acceptance, Status.BROKEN, reason, user=None)
        _enqueue_withdrawal(acceptance, user=None)


@dataclass(frozen=True)
class Audited:
    """How far the audit of an acceptance has got. `evidence` against the promise, as guarantee.audit_evidence."""

    n_audits: int
    n_settled: int
    n_taken: int
    n_wrong: int
    evidence: float


def audited(acceptance: Acceptance) -> Audited:
    rows = sorted(acceptance.audits.all(), key=lambda row: _turn(acceptance, row.trajectory_id))
    done = [row for row in rows if row.n_wrong is not None]
    taken = np.array([row.n_taken for row in rows], dtype=np.int64)
    wrong = np.array([row.n_wrong or 0 for row in rows], dtype=np.int64)
    evidence = guarantee.audit_evidence(taken, wrong, acceptance.epsilon, int(taken.max(initial=0)))
    return Audited(len(rows), len(done), sum(row.n_taken for row in done), int(wrong.sum()), evidence)
