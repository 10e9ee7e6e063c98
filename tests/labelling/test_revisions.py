"""Returning an annotation to its author, reopening one's own, and talking about a step."""

import pytest
from django.db import IntegrityError, transaction

from annotator import flow
from annotator.errors import AnnotationFinal, AssignmentNotYours, InvalidInput
from annotator.labelling import revisions
from annotator.models import (
    Annotation,
    AnnotationReturn,
    Assignment,
    AuditEvent,
    GoldLabel,
    Label,
    StepComment,
    Trajectory,
)
from annotator.queue import actions as queue
from tests.factories import World, judge, label, make_trajectory


def one_judged(world: World, values: list[int]) -> tuple[Trajectory, Annotation]:
    """The first of two wanted judgements is in."""
    trajectory = make_trajectory(world.project, n_steps=len(values))
    return trajectory, judge(trajectory, world.annotator, values)


def values_of(annotation: Annotation) -> dict[int | None, int]:
    return dict(Label.objects.filter(annotation=annotation).values_list("step__index", "value"))


def draft_of(annotation: Annotation) -> Annotation:
    return Annotation.objects.get(assignment=annotation.assignment, revision=annotation.revision + 1)


def test_a_return_gives_the_author_a_draft_of_the_next_revision(world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    label(slot, world.annotator, {0: -1, 1: -1}, 1)
    steps = list(trajectory.steps.all())
    Label.objects.filter(step=steps[1]).update(
        root=steps[0], local_value=1, extras={"rationale": "Why."}, active_ms=900, is_seen=True, has_opened=True
    )
    annotation = flow.submit(slot.pk, world.annotator)
    assignment = revisions.return_annotation(annotation.pk, world.reviewer, " Look at step 2. ")
    assert (assignment.status, assignment.annotator, assignment.lease_expires_at) == (
        "returned",
        world.annotator,
        None,
    )
    given = AnnotationReturn.objects.get()
    assert (given.annotation, given.reviewer, given.message) == (annotation, world.reviewer, "Look at step 2.")
    draft = draft_of(annotation)
    assert (draft.revision, draft.submitted_at, draft.annotator) == (2, None, world.annotator)
    assert values_of(draft) == {0: -1, 1: -1, None: 1}
    copied = draft.labels.get(step=steps[1])
    assert (copied.root, copied.local_value, copied.extras) == (steps[0], 1, {"rationale": "Why."})
    assert (copied.active_ms, copied.is_seen, copied.has_opened) == (0, False, False)
    event = AuditEvent.objects.get(action="annotation.returned")
    assert (event.object_id, event.user, event.data["message"]) == (annotation.pk, world.reviewer, "Look at step 2.")


def test_a_return_needs_a_message(world: World) -> None:
    _, annotation = one_judged(world, [1])
    for message in ("", "  ", "\0"):
        with pytest.raises(InvalidInput, match="Say in a few words what the annotator should look at again"):
            revisions.return_annotation(annotation.pk, world.reviewer, message)
    assert Assignment.objects.get(pk=annotation.assignment_id).status == "submitted"
    assert Annotation.objects.count() == 1


def test_returning_twice_is_refused(world: World) -> None:
    _, annotation = one_judged(world, [1])
    revisions.return_annotation(annotation.pk, world.reviewer, "Once.")
    with pytest.raises(AnnotationFinal, match="The annotation is already with its author"):
        revisions.return_annotation(annotation.pk, world.reviewer, "Twice.")
    assert AnnotationReturn.objects.count() == 1
    assert Annotation.objects.count() == 2


def test_nothing_is_returned_to_who_has_left_the_project(world: World) -> None:
    annotation = judge(make_trajectory(world.project), world.annotator, [1, 1, 1])
    world.project.memberships.filter(user=world.annotator).delete()
    with pytest.raises(AnnotationFinal, match=r"Its author has left the project.*what was submitted counts"):
        revisions.return_annotation(annotation.pk, world.reviewer, "Look again.")
    assert Assignment.objects.get(pk=annotation.assignment_id).status == "submitted"
    assert not AnnotationReturn.objects.exists()


def test_a_draft_and_a_replaced_revision_cannot_be_returned(world: World) -> None:
    _, annotation = one_judged(world, [1])
    revisions.return_annotation(annotation.pk, world.reviewer, "Again, please.")
    draft = draft_of(annotation)
    with pytest.raises(AnnotationFinal, match="still a draft"):
        revisions.return_annotation(draft.pk, world.reviewer, "Early.")
    flow.submit(annotation.assignment_id, world.annotator)
    with pytest.raises(AnnotationFinal, match="A later revision has replaced this annotation"):
        revisions.return_annotation(annotation.pk, world.reviewer, "Late.")
    assert AnnotationReturn.objects.count() == 1


def test_the_new_revision_replaces_the_one_before_which_stays_as_it_was(world: World) -> None:
    trajectory, annotation = one_judged(world, [1, 1])
    revisions.return_annotation(annotation.pk, world.reviewer, "Step 2?")
    label(annotation.assignment, world.annotator, {1: -1})
    second = flow.submit(annotation.assignment_id, world.annotator)
    assert (second.revision, values_of(second)) == (2, {0: 1, 1: -1, None: 1})
    annotation.refresh_from_db()
    assert (annotation.is_superseded, values_of(annotation)) == (True, {0: 1, 1: 1, None: 1})
    assert list(Annotation.objects.submitted().filter(trajectory=trajectory)) == [second]
    assert Assignment.objects.get(pk=annotation.assignment_id).status == "submitted"
    with pytest.raises(Exception, match="Cannot update rows"), transaction.atomic():
        Annotation.objects.filter(pk=annotation.pk).update(is_superseded=False)


def test_a_returned_trajectory_is_its_authors_for_as_long_as_it_takes(world: World) -> None:
    _, annotation = one_judged(world, [1])
    revisions.return_annotation(annotation.pk, world.reviewer, "Again, please.")
    assert queue.expire() == 0
    assert queue.hold(annotation.assignment_id, world.annotator).status == "returned"
    with pytest.raises(AssignmentNotYours):
        queue.hold(annotation.assignment_id, world.second)
    for doing in (
        lambda: queue.skip(annotation.assignment_id, world.annotator, "No."),
        lambda: queue.release_claim(annotation.assignment_id, world.annotator),
    ):
        with pytest.raises(AssignmentNotYours, match="was returned to you, so it cannot go to somebody else"):
            doing()
    assert Assignment.objects.get(pk=annotation.assignment_id).status == "returned"
    assert Assignment.objects.filter(trajectory=annotation.trajectory).count() == 2


def test_an_annotator_reopens_their_own_while_nothing_is_settled(world: World) -> None:
    _, annotation = one_judged(world, [1, 0])
    assignment = revisions.reopen(annotation.assignment_id, world.annotator)
    assert (assignment.status, assignment.annotator) == ("returned", world.annotator)
    assert values_of(draft_of(annotation)) == {0: 1, 1: 0, None: 1}
    assert not AnnotationReturn.objects.exists()
    assert AuditEvent.objects.get(action="annotation.reopened").user == world.annotator
    with pytest.raises(AnnotationFinal, match="already open for your correction"):
        revisions.reopen(annotation.assignment_id, world.annotator)
    assert Annotation.objects.count() == 2


def test_what_is_settled_or_somebody_elses_is_not_reopened(world: World) -> None:
    trajectory, annotation = one_judged(world, [1])
    with pytest.raises(AnnotationFinal, match="You have submitted nothing"):
        revisions.reopen(annotation.assignment_id, world.second)
    judge(trajectory, world.second, [-1], -1)
    assert not GoldLabel.objects.exists()  # all is disputed
    with pytest.raises(AnnotationFinal, match="settled or under review"):
        revisions.reopen(annotation.assignment_id, world.annotator)
    assert Annotation.objects.count() == 2
    assert Assignment.objects.get(pk=annotation.assignment_id).status == "submitted"


def test_comments_are_kept_as_they_were_said(world: World) -> None:
    trajectory, annotation = one_judged(world, [1])
    step = trajectory.steps.get()
    said = revisions.comment(annotation, step, world.reviewer, " Why? ", project_id=world.project.pk)
    assert (said.text, said.step, said.author) == ("Why?", step, world.reviewer)
    for text in ("", " \0 ", "x" * 10_001):
        with pytest.raises(InvalidInput):
            revisions.comment(annotation, step, world.reviewer, text, project_id=world.project.pk)
    assert StepComment.objects.count() == 1
    assert AuditEvent.objects.get(action="annotation.commented").object_id == annotation.pk


def test_two_current_revisions_cannot_exist(world: World) -> None:
    _, annotation = one_judged(world, [1])
    revisions.return_annotation(annotation.pk, world.reviewer, "Again, please.")
    with pytest.raises(IntegrityError), transaction.atomic():
        Annotation.objects.filter(pk=draft_of(annotation).pk).update(submitted_at=annotation.submitted_at)
