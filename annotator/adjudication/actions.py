"""Reviewers' work: hold a trajectory's disputes, decide them alone or as a run, send an annotation back."""

from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Sum
from django.utils.timezone import now
from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as SchemaError

from annotator import audit
from annotator.adjudication.turns import Turn, is_drawn, is_withheld, turn_of, version_of
from annotator.errors import DecisionOutdated, InvalidInput, ReviewHeld, fields_of
from annotator.labelling import revisions
from annotator.labelling.revisions import MAX_TEXT
from annotator.models import (
    Adjudication,
    Assignment,
    AuditEvent,
    Dispute,
    GoldLabel,
    Label,
    Posterior,
    Project,
    Review,
    Trajectory,
    User,
)
from annotator.models.agreement import DisputeQuerySet

Status = Review.Status

LEASE = timedelta(hours=1)

# Trajectories whose disputes are weighed in one transaction: people who judge or decide them wait for so long.
WEIGHED_AT_ONCE = 500

_returned = Assignment.objects.filter(status=Assignment.Status.RETURNED)


@transaction.atomic(savepoint=False)
def refresh_review(trajectory_id: int) -> None:
    """Brings the review of a trajectory in line with its undecided disputes; call it after they changed.

    Whoever changes disputes has the trajectory locked, so no two open its review at once.
    """
    undecided = Dispute.objects.undecided().filter(trajectory_id=trajectory_id)
    total = undecided.aggregate(total=Sum("severity"))["total"]
    if total is None:
        Review.objects.filter(trajectory_id=trajectory_id).update(status=Status.DONE, severity=0, lease_expires_at=None)
        return
    # Locked: a reviewer who claims it right now must not lose the claim to this save.
    review = Review.objects.select_for_update(of=("self",)).filter(trajectory=trajectory_id).first()
    if review is None:
        _open_review(trajectory_id, total)
        return
    review.severity = total
    if review.status == Status.DONE:
        review.status = Status.OPEN
        review.reviewer = None
    review.save(update_fields=["severity", "status", "reviewer"])


def weigh(trajectory_ids: Sequence[int]) -> None:
    """How many labels a decision on each undecided dispute is expected to set right; the worthiest are decided first.

    What is believed of a step is wrong with the probability 1 - max P. Where no fusion speaks: a half where people give
    +1 and -1, a quarter where a 0 differs from its neighbour. Call it with the trajectories locked.
    """
    sure = dict(Posterior.objects.filter(trajectory__in=trajectory_ids).values_list("trajectory", "probs"))
    worth: dict[int, float] = dict.fromkeys(trajectory_ids, 0.0)
    disputes = list(Dispute.objects.undecided().filter(trajectory__in=trajectory_ids).select_related("step"))
    for dispute in disputes:
        probs = sure.get(dispute.trajectory_id)
        if probs is None or dispute.step is None:
            dispute.worth = dispute.severity / 4
        else:
            dispute.worth = 1 - max(probs[dispute.step.index])
        worth[dispute.trajectory_id] += dispute.worth
    Dispute.objects.bulk_update(disputes, ["worth"], batch_size=1_000)
    reviews = list(Review.objects.filter(trajectory__in=trajectory_ids).only("pk", "trajectory_id"))
    for review in reviews:
        review.worth = worth[review.trajectory_id]
    Review.objects.bulk_update(reviews, ["worth"], batch_size=1_000)


def weigh_all(project: Project) -> None:
    """The same for every open review of a project, after what is believed has changed everywhere."""
    ids = list(project.reviews.exclude(status=Status.DONE).order_by("pk").values_list("trajectory", flat=True))
    for at in range(0, len(ids), WEIGHED_AT_ONCE):
        some = ids[at : at + WEIGHED_AT_ONCE]
        with transaction.atomic():
            # As whoever submits or decides does: what they change is seen here, or they weigh it after this.
            Trajectory.objects.lock(some)
            weigh(some)


def _open_review(trajectory_id: int, severity: int) -> None:
    project_id, slug, percent, external_id = Trajectory.objects.values_list(
        "project_id", "project__slug", "project__second_review", "external_id"
    ).get(pk=trajectory_id)
    Review.objects.create(
        trajectory_id=trajectory_id,
        project_id=project_id,
        severity=severity,
        needs_second=is_drawn(slug, external_id, percent),
    )


def decidable_by(reviewer: User) -> DisputeQuerySet:
    """Undecided disputes but for those on which it is another reviewer's turn, or that they are judging as a rater."""
    own = Adjudication.objects.withheld().filter(dispute=OuterRef("pk"), reviewer=reviewer)
    judging = Assignment.objects.in_work_by(reviewer).filter(trajectory=OuterRef("trajectory"))
    return Dispute.objects.undecided().filter(~Exists(own), ~Exists(judging))


def available(project: Project, reviewer: User) -> Q:
    """Reviews that are open, held by this reviewer, or whose holder's lease has run out, with something left for them
    to decide; none that waits for a returned annotation.
    """
    return (
        Q(project=project)
        & (Q(status=Status.OPEN) | Q(status=Status.CLAIMED) & (Q(reviewer=reviewer) | Q(lease_expires_at__lt=now())))
        & Q(~Exists(_returned.filter(trajectory=OuterRef("trajectory"))))
        & Q(Exists(decidable_by(reviewer).filter(trajectory=OuterRef("trajectory"))))
    )


def waits(trajectory_id: int) -> bool:
    """Whether an annotation of the trajectory is back with its author: its disputes may change."""
    return _returned.filter(trajectory=trajectory_id).exists()


def held_by(project: Project, reviewer: User) -> Review | None:
    """The worthiest trajectory that the reviewer holds and can go on with."""
    held = Review.objects.filter(available(project, reviewer), status=Status.CLAIMED, reviewer=reviewer)
    return held.filter(lease_expires_at__gte=now()).worthiest_first().first()


@transaction.atomic
def claim_next(project: Project, reviewer: User) -> Review | None:
    """The worthiest trajectory that nobody else holds; one that the reviewer already holds comes first."""
    review = held_by(project, reviewer)
    if review is None:
        free = Review.objects.filter(available(project, reviewer)).worthiest_first()
        review = free.select_for_update(skip_locked=True, of=("self",)).first()
    if review is None:
        return None
    return claim(review.pk, reviewer)


@transaction.atomic
def claim(review_id: int, reviewer: User) -> Review:
    """Holds a review for a reviewer, or renews their lease, if there is something that they can decide now.

    Raises ReviewHeld while somebody else has it.
    """
    review = Review.objects.select_for_update(of=("self",)).get(pk=review_id)
    _refuse_if_held(review, reviewer)
    if waits(review.trajectory_id) or not decidable_by(reviewer).filter(trajectory=review.trajectory_id).exists():
        return review
    if review.reviewer_id != reviewer.pk or review.status == Status.OPEN:
        audit.log("review.claimed", review, user=reviewer, project_id=review.project_id)
    review.status, review.reviewer, review.lease_expires_at = Status.CLAIMED, reviewer, now() + LEASE
    review.save(update_fields=["status", "reviewer", "lease_expires_at"])
    return review


def _refuse_if_held(review: Review, reviewer: User) -> None:
    """Call it with the review's row locked."""
    is_held = review.status == Status.CLAIMED and review.lease_expires_at and review.lease_expires_at >= now()
    if is_held and review.reviewer_id != reviewer.pk:
        raise ReviewHeld(
            "Another reviewer holds this trajectory. Take the next one; it comes back here when their time runs out."
        )


@transaction.atomic
def release_claim(review_id: int, reviewer: User) -> None:
    """Puts a review that this reviewer holds back for others; what was decided stays."""
    review = Review.objects.select_for_update(of=("self",)).get(pk=review_id)
    if review.status == Status.CLAIMED and review.reviewer_id == reviewer.pk:
        _free(review, reviewer)


def _free(review: Review, reviewer: User) -> None:
    review.status, review.reviewer, review.lease_expires_at = Status.OPEN, None, None
    review.save(update_fields=["status", "reviewer", "lease_expires_at"])
    audit.log("review.released", review, user=reviewer, project_id=review.project_id)


class DecisionIn(BaseModel):
    """A decision: a value or null for undecidable, why, and a note.

    `version` is that of the dispute, or of all disputes of a run, as the reviewer saw it.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    value: int | None
    reason_code: str
    note: str = ""
    version: str | None = None


def parse_decision(data: object) -> DecisionIn:
    """Raises InvalidInput that names each wrong field."""
    try:
        decision = DecisionIn.model_validate(data)
    except SchemaError as error:
        fields = fields_of(error)
    else:
        fields = {}
        if decision.value not in (-1, 0, 1, None):
            fields["value"] = "Must be -1, 0, 1 or null (undecidable)."
        if decision.reason_code not in Adjudication.Reason.values:
            fields["reason_code"] = f"Must be one of {', '.join(Adjudication.Reason.values)}."
        elif decision.reason_code == Adjudication.Reason.OTHER and not decision.note.strip():
            fields["note"] = "Reason 'other' needs a note that says which."
        if (n := len(decision.note.strip())) > MAX_TEXT:
            fields["note"] = f"The note has {n} characters; at most {MAX_TEXT} are stored. Shorten it."
        if not fields:
            return decision
    said = "; ".join(f"{place}: {message}" for place, message in fields.items())
    raise InvalidInput(f"The decision was not stored. {said}", fields)


@transaction.atomic
def decide_run(
    trajectory_id: int, dispute_ids: Sequence[int], reviewer: User, decision: DecisionIn
) -> list[Adjudication]:
    """Decides disputes of one trajectory alike, all or none; settles them unless another reviewer has to confirm it.

    A later decision overrules and both stay visible. Raises ReviewHeld while another reviewer holds the trajectory, or
    an annotation of it is back with its author, and DecisionOutdated if the disputes are not what the reviewer saw.
    """
    # settle() locks the trajectory, too: it must not overwrite the gold of a decision that it has not seen.
    Trajectory.objects.select_for_update(no_key=True).only("pk").get(pk=trajectory_id)
    if waits(trajectory_id):
        raise ReviewHeld(
            "An annotation of this trajectory is back with its author, so the disputes may change. Nothing was "
            "decided; decide when the new revision is in."
        )
    review = claim(Review.objects.get(trajectory_id=trajectory_id).pk, reviewer)
    found = Dispute.objects.filter(trajectory=trajectory_id, pk__in=dispute_ids).select_related("step")
    disputes = list(found.prefetch_related("adjudications").order_by("step__index"))
    if not disputes or len(disputes) != len(set(dispute_ids)):
        which = "some of these steps" if disputes else "this"
        raise DecisionOutdated(f"Nothing was stored, because the raters agree on {which} by now. Read what is left.")
    turns = [turn_of(list(d.adjudications.all()), reviewer, needs_second=review.needs_second) for d in disputes]
    if None in turns:
        raise DecisionOutdated(
            "You have decided this already; nothing was stored. Another reviewer decides it next, without seeing your "
            "decision. Both are shown when theirs is in."
        )
    if not _is_seen(disputes, reviewer, decision):
        raise DecisionOutdated(
            "Nothing was stored, because another reviewer has decided or a rater has changed a judgement meanwhile. "
            "Read what stands there now, then decide."
        )
    made = [
        _store(dispute, turn, reviewer, decision, project_id=review.project_id)
        for dispute, turn in zip(disputes, turns, strict=True)
        if turn is not None
    ]
    refresh_review(trajectory_id)
    if not decidable_by(reviewer).filter(trajectory=trajectory_id).exists():
        release_claim(review.pk, reviewer)  # the rest is another reviewer's
    return made


def version_now(disputes: Sequence[Dispute], reader: User) -> str:
    """The version of disputes of one trajectory, in the order of their steps."""
    labels = Label.objects.submitted().filter(annotation__trajectory=disputes[0].trajectory_id)
    said = list(labels.select_related("annotation"))
    return "-".join(
        version_of(list(d.adjudications.all()), [label for label in said if label.step_id == d.step_id], reader)
        for d in disputes
    )


def _is_seen(disputes: Sequence[Dispute], reviewer: User, decision: DecisionIn) -> bool:
    """Whether the reviewer has decided with all before them that stands there now."""
    if decision.version is not None:
        return decision.version == version_now(disputes, reviewer)
    # Whoever does not say what they have seen did not mean to overrule anybody.
    earlier = [list(dispute.adjudications.all()) for dispute in disputes]
    return all(is_withheld(made, reviewer) or all(m.reviewer_id == reviewer.pk for m in made) for made in earlier)


def _store(dispute: Dispute, turn: Turn, reviewer: User, decision: DecisionIn, *, project_id: int) -> Adjudication:
    """Call it with the trajectory locked."""
    settles = turn == Turn.OPEN or (
        turn == Turn.SECOND and list(dispute.adjudications.all())[-1].value == decision.value
    )
    at = now()
    adjudication = Adjudication.objects.create(
        dispute=dispute,
        reviewer=reviewer,
        value=decision.value,
        reason_code=decision.reason_code,
        note=decision.note.strip(),
        decided_at=at,
        turn=turn,
    )
    if settles:
        Dispute.objects.filter(pk=dispute.pk).update(decided_at=at)
        GoldLabel.objects.update_or_create(
            trajectory_id=dispute.trajectory_id,
            step=dispute.step,
            defaults={"value": decision.value, "provenance": GoldLabel.Provenance.ADJUDICATED, "settled_at": at},
        )
    # The trail never forgets, and whoever decides second may read it: the value of a first decision is not in it.
    value = {} if turn == Turn.FIRST else {"value": decision.value}
    audit.log(
        "dispute.decided",
        dispute,
        user=reviewer,
        project_id=project_id,
        data={"adjudication": adjudication.pk, "turn": turn, "settles": settles, **value},
    )
    return adjudication


@transaction.atomic
def return_to_author(annotation_id: int, reviewer: User, message: str) -> Assignment:
    """Sends an annotation back to its author; the trajectory's review waits for the new revision, held by nobody.

    Raises ReviewHeld while another reviewer holds the trajectory, and what revisions.return_annotation raises.
    """
    assignment = revisions.return_annotation(annotation_id, reviewer, message)
    review = Review.objects.select_for_update(of=("self",)).filter(trajectory=assignment.trajectory_id).first()
    if review is not None and review.status == Status.CLAIMED:
        _refuse_if_held(review, reviewer)
        _free(review, reviewer)
    return assignment


@transaction.atomic
def reveal_raters(review_id: int, reviewer: User) -> None:
    """Shows this reviewer, on this review, who the raters are; the audit trail keeps that they asked."""
    # Two clicks at once leave one event.
    review = Review.objects.select_for_update(of=("self",)).get(pk=review_id)
    if not has_revealed(review, reviewer):
        audit.log("review.raters_revealed", review, user=reviewer, project_id=review.project_id)


def has_revealed(review: Review, reviewer: User) -> bool:
    """Whether this reviewer has asked who the raters of this review are."""
    asked = AuditEvent.objects.filter(object_type="review", object_id=review.pk, action="review.raters_revealed")
    return asked.filter(user=reviewer).exists()
