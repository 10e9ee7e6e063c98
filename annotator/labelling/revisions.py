"""Second thoughts: a reviewer returns an annotation to its author or takes that back, an author reopens their own, both
talk about a step.

What was submitted stays as it is. Its author gets a draft of the next revision, with the labels copied, and edits that.
"""

from collections.abc import Collection

from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from annotator import audit
from annotator.errors import AnnotationFinal, text_of
from annotator.models import (
    Annotation,
    AnnotationReturn,
    Assignment,
    AuditEvent,
    Dispute,
    GoldLabel,
    Guideline,
    Label,
    LabelEvent,
    Membership,
    Step,
    StepComment,
    Trajectory,
    User,
)

Status = Assignment.Status

MAX_TEXT = 10_000


@transaction.atomic
def return_annotation(annotation_id: int, reviewer: User, message: str) -> Assignment:
    """Sends a submitted annotation back to its author, who alone can submit its next revision.

    Raises InvalidInput without a message, and AnnotationFinal for a draft, an earlier revision, one that is already
    with its author or one whose author has left the project.
    """
    what_to_do = "Say in a few words what the annotator should look at again."
    said = text_of(message, "message", what_to_do, most=MAX_TEXT)
    annotation = Annotation.objects.get(pk=annotation_id)
    assignment = _lock(annotation.assignment_id)
    annotation.refresh_from_db()
    if annotation.submitted_at is None:
        raise AnnotationFinal("The annotation is still a draft. It can be returned once it is submitted.")
    if annotation.is_superseded:
        raise AnnotationFinal("A later revision has replaced this annotation. Return the later one.")
    if assignment.status == Status.RETURNED:
        raise AnnotationFinal("The annotation is already with its author. Wait for the next revision.")
    if not Membership.objects.filter(project=assignment.project_id, user=annotation.annotator_id).exists():
        raise AnnotationFinal(
            "Its author has left the project, so nobody could correct it: what was submitted counts. Settle what is "
            "disputed yourself, or have an admin invite them again."
        )
    AnnotationReturn.objects.create(annotation=annotation, reviewer=reviewer, message=said)
    _begin_revision(assignment, annotation)
    audit.log(
        "annotation.returned",
        annotation,
        user=reviewer,
        project_id=assignment.project_id,
        data={"revision": annotation.revision, "message": said},
    )
    return assignment


@transaction.atomic
def take_back(annotation_id: int, reviewer: User) -> tuple[Assignment, list[int]]:
    """Ends the wait for a new revision: what was submitted counts again, and the draft stays where its author left it.

    With the steps that were asked of its author since: they are asked of them no longer, and the caller has others
    asked. Raises AnnotationFinal unless the annotation is with its author.
    """
    annotation = Annotation.objects.get(pk=annotation_id)
    # All slots before the trajectory: others may be asked for more.
    slots = Assignment.objects.live().filter(trajectory=annotation.trajectory_id).order_by("slot")
    list(slots.select_for_update(of=("self",)).values_list("pk"))
    assignment = _lock(annotation.assignment_id)
    annotation.refresh_from_db()
    if assignment.status != Status.RETURNED or annotation.is_superseded:
        raise AnnotationFinal("The annotation is not with its author any more, so there is nothing to take back.")
    assignment.status = Status.SUBMITTED
    assignment.finished_at = annotation.submitted_at
    since = asked_since([annotation.pk]).get(annotation.pk, set())
    steps = [index for index in assignment.wanted_steps or [] if index in since]
    if steps:
        assignment.wanted_steps = [index for index in assignment.wanted_steps or [] if index not in since]
    assignment.save(update_fields=["status", "finished_at", "wanted_steps"])
    audit.log("annotation.taken_back", annotation, user=reviewer, project_id=assignment.project_id)
    return assignment, steps


@transaction.atomic
def reopen(assignment_id: int, annotator: User) -> Assignment:
    """Lets an annotator correct what they submitted, as a new revision, while nothing of the trajectory is settled.

    Raises AnnotationFinal, with the reason, when that is not possible.
    """
    assignment = _lock(assignment_id)
    annotation = Annotation.objects.submitted().filter(assignment=assignment, annotator=annotator).first()
    if annotation is None:
        raise AnnotationFinal("You have submitted nothing for this trajectory that could be reopened.")
    if assignment.status == Status.RETURNED:
        raise AnnotationFinal("This trajectory is already open for your correction. Continue it from your history.")
    if is_settled(assignment.trajectory_id):
        raise AnnotationFinal(
            "The trajectory is settled or under review, so your labels stay as you submitted them. "
            "Ask a reviewer to return them to you."
        )
    _begin_revision(assignment, annotation)
    audit.log(
        "annotation.reopened",
        annotation,
        user=annotator,
        project_id=assignment.project_id,
        data={"revision": annotation.revision},
    )
    return assignment


def ask_again(assignment: Assignment, steps: list[int]) -> None:
    """Gives a submitted annotation back to its author, if they do not have it, because these steps are wanted, too.

    What was submitted counts until the next revision is. Lock the assignment, then its trajectory, before.
    """
    annotation = Annotation.objects.submitted().get(assignment=assignment)
    if assignment.status != Status.RETURNED:
        _begin_revision(assignment, annotation)
    audit.log(
        "annotation.asked_again",
        annotation,
        user=None,
        project_id=assignment.project_id,
        data={"revision": annotation.revision, "steps": steps},
    )


def asked_since(annotation_ids: Collection[int]) -> dict[int, set[int]]:
    """By submitted annotation: the steps (indices) that were asked of its author after it, also if no longer."""
    events = AuditEvent.objects.filter(
        action="annotation.asked_again", object_type="annotation", object_id__in=annotation_ids
    )
    found: dict[int, set[int]] = {}
    for pk, data in events.values_list("object_id", "data"):
        found.setdefault(pk, set()).update(data.get("steps", ()))
    return found


def is_settled(trajectory_id: int) -> bool:
    """Whether any step of it, or its outcome, is settled or disputed."""
    return (
        GoldLabel.objects.by_people().filter(trajectory=trajectory_id).exists()
        or Dispute.objects.filter(trajectory=trajectory_id).exists()
    )


@transaction.atomic
def comment(annotation: Annotation, step: Step | None, author: User, text: str, *, project_id: int) -> StepComment:
    """Stores a word between a reviewer and the author of an annotation about one step (None: the outcome)."""
    said = text_of(text, "text", "Write what you want to say about the step.", most=MAX_TEXT)
    stored = StepComment.objects.create(annotation=annotation, step=step, author=author, text=said)
    audit.log("annotation.commented", annotation, user=author, project_id=project_id, data={"comment": stored.pk})
    return stored


def delete_labels(draft: Annotation, labels: QuerySet[Label]) -> None:
    """Deletes labels of a draft that are not asked for, as if their author had: the label events keep that."""
    LabelEvent.objects.bulk_create(
        LabelEvent(annotation=draft, step_id=step_id, is_after_hint=hint_value is not None)
        for step_id, hint_value in labels.values_list("step_id", "hint_value")
    )
    labels.delete()


def _lock(assignment_id: int) -> Assignment:
    """The assignment first, then its trajectory: the order in which a submission takes them."""
    assignment = Assignment.objects.select_for_update(of=("self",)).get(pk=assignment_id)
    # settle() and decide() lock the trajectory, too: they must see that a judgement is out, or be seen here.
    Trajectory.objects.select_for_update(no_key=True).only("pk").get(pk=assignment.trajectory_id)
    return assignment


def _begin_revision(assignment: Assignment, annotation: Annotation) -> None:
    """Gives the assignment back to its annotator, without a lease, with a draft to go on from."""
    assignment.status = Status.RETURNED
    assignment.lease_expires_at = None
    assignment.finished_at = None
    assignment.save(update_fields=["status", "lease_expires_at", "finished_at"])
    draft, is_new = Annotation.objects.get_or_create(
        assignment=assignment,
        annotator_id=annotation.annotator_id,
        revision=annotation.revision + 1,
        defaults={
            "trajectory_id": annotation.trajectory_id,
            "revealed_at": annotation.revealed_at,
            "hints_shown_at": annotation.hints_shown_at,
        },
    )
    # Whoever submits a label again, changed or not, does so under the guideline in force now. How the annotator read
    # is measured anew.
    guideline = Guideline.objects.filter(project=assignment.project_id).first()
    at = now()
    if not is_new:  # an earlier return was taken back: they go on with the draft that they had begun
        if assignment.wanted_steps is not None:
            of_steps = draft.labels.filter(step__isnull=False)
            delete_labels(draft, of_steps.exclude(step__index__in=assignment.wanted_steps))
        draft.labels.update(guideline=guideline, labelled_at=at)
        return
    Label.objects.bulk_create(
        Label(
            annotation=draft,
            step_id=label.step_id,
            value=label.value,
            guideline=guideline,
            labelled_at=at,
            root_id=label.root_id,
            exit_reason=label.exit_reason,
            local_value=label.local_value,
            extras=label.extras,
            is_after_reveal=label.is_after_reveal,
            is_after_hint=label.is_after_hint,
            hint_value=label.hint_value,
        )
        for label in annotation.labels.all()
    )
