"""Saving labels, clearing them, submitting: the writes of the labelling page and of the API."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.utils.timezone import now

from annotator import audit
from annotator.errors import (
    DomainError,
    HintsNotShown,
    IncompleteAnnotation,
    InconsistentAnnotation,
    InvalidInput,
    LabelsOutdated,
    UnconfirmedWarnings,
)
from annotator.labelling import hints, store
from annotator.labelling.completeness import missing_labels, say_missing
from annotator.labelling.hints import Hint
from annotator.labelling.intake import EVIDENCE, Changes
from annotator.labelling.revisions import delete_labels
from annotator.labelling.shown import refuse_unlike
from annotator.labelling.store import Basis, StoredLabel
from annotator.labelling.validators import Finding, Said, check, check_doubts
from annotator.models import Annotation, Assignment, Guideline, Label, Step, User
from annotator.projects.scheme import LabelScheme
from annotator.queue import actions as queue

# A label's content: what a change of makes it a new statement. The rest is evidence of reading.
CONTENT = ("value", "root_id", "exit_reason", "local_value", "extras")


def save_labels(assignment_id: int, annotator: User, changes: Changes) -> Annotation:
    """Saves into an assignment of which the caller has read nothing yet."""
    basis = store.read(assignment_id, annotator)
    if basis is None:
        raise Assignment.DoesNotExist(f"There is no assignment {assignment_id}.")
    draft = save(basis, annotator, changes).draft
    assert draft is not None
    return draft


def save(basis: Basis, annotator: User, changes: Changes) -> Basis:
    """Stores the labels of a draft and returns the basis as it is afterwards; the same again changes nothing.

    Raises InvalidInput for a step that the trajectory does not have or the assignment does not ask for and for extras
    that the project's label scheme does not know, AssignmentNotYours when the claim is gone, and LabelsOutdated when
    another save has overtaken this one. Then nothing is stored.
    """
    if basis.is_held and _save(basis, changes):
        return basis
    # The claim has lapsed, or something has changed since the basis was read: again, holding the assignment.
    assignment_id = basis.assignment.pk
    with transaction.atomic():
        queue.hold(assignment_id, annotator)
        held = store.read(assignment_id, annotator)
        if held is None or not _save(held, changes):
            raise RuntimeError(f"Assignment {assignment_id} changed although it was locked.")
    return held


def _save(basis: Basis, changes: Changes) -> bool:
    """False, and nothing is stored, if the basis is no longer what the database holds."""
    if changes.n_saves not in (None, basis.assignment.n_saves):
        raise LabelsOutdated(basis.assignment.n_saves)
    _refuse_what_does_not_fit(basis, changes)
    basis.guideline_id = _guideline_of(basis, changes)
    labels, written, cleared = dict(basis.labels), [], []
    hint_values = _hint_values(basis, changes)
    for step_id, value, details in _targets(basis, changes):
        before = labels.pop(step_id, None)
        if value is not None:
            labels[step_id] = _label(basis.scheme, step_id, value, details, before, hint_values.get(step_id))
            if labels[step_id] != before:
                written.append(labels[step_id])
        elif before is not None:
            cleared.append(before)
    at, assignment, draft = now(), basis.assignment, basis.draft
    assignment.lease_expires_at = queue.renewed_lease(assignment, basis.claim_minutes)
    is_revealed = basis.scheme.reveal == "always" or basis.is_revealed
    draft_id = store.write(basis, written, cleared, at=at, is_after_reveal=is_revealed)
    if draft_id is None:
        return False
    assignment.n_saves += 1
    basis.labels = labels
    basis.draft = draft or Annotation(
        id=draft_id,
        assignment_id=assignment.pk,
        trajectory_id=assignment.trajectory_id,
        annotator_id=basis.user_id,
        created_at=at,
    )
    return True


def _targets(basis: Basis, changes: Changes) -> Iterator[tuple[int | None, int | None, dict[str, Any]]]:
    """Step id (None: the outcome), value (None: clear) and details of each change."""
    for index, value in changes.steps.items():
        details = dict(changes.details.get(index, {}))
        if "root" in details:
            root = details.pop("root")
            details["root_id"] = None if root is None else basis.steps[root]
        yield basis.steps[index], value, details
    if "outcome" in changes.outcome:
        yield None, changes.outcome["outcome"], {}


def draft_of(assignment: Assignment, annotator: User) -> Annotation | None:
    """The annotation that this person is working on in this assignment, if there is one."""
    drafts = Annotation.objects.filter(assignment=assignment, annotator=annotator, submitted_at__isnull=True)
    return drafts.order_by("-revision").first()


def _refuse_what_does_not_fit(basis: Basis, changes: Changes) -> None:
    assignment, scheme, steps = basis.assignment, basis.scheme, basis.steps
    fields = {}
    for index, value in changes.steps.items():
        place, details = f"step {index}", changes.details.get(index, {})
        root = details.get("root")
        if index not in steps:
            fields[place] = f"The trajectory has no step with the index {index}."
        elif not assignment.wants_step(index):
            fields[place] = "This assignment does not ask for this step."
        elif root is not None and not (root in steps and root < index and value == -1):
            fields[place] = "Only a step labelled -1 can follow from an error, and only from an earlier step."
        elif value is not None:
            before = basis.labels.get(steps[index])
            extras = scheme.fitting_extras(value, details.get("extras", {}), before.extras if before else {})
            wrong = scheme.check_extras(extras)
            if wrong:
                fields[place] = " ".join(f"{key}: {message}" for key, message in wrong.items())
    if changes.outcome.get("outcome") is not None and not assignment.wants_outcome:
        fields["outcome"] = "This assignment does not ask for the outcome."
    if fields:
        raise _refusal(fields)


def _guideline_of(basis: Basis, changes: Changes) -> int | None:
    """What the labels are given under: the version that their author has read, else the newest."""
    version = changes.guideline
    if version is None or version == basis.guideline_version:
        return basis.guideline_id
    if version == 0:
        return None
    guidelines = Guideline.objects.filter(project_id=basis.assignment.project_id, version=version)
    found = guidelines.values_list("pk", flat=True).first()
    if found is None:
        raise _refusal({"guideline": f"The project has no version {version} of its guideline."})
    return found


def _refusal(fields: dict[str, str]) -> InvalidInput:
    """`fields` names steps by their index, for programs; the sentence counts them from 1, as the page does."""
    said = [f"{_place(name)}: {message}" for name, message in fields.items()]
    return InvalidInput(f"The labels were not saved. {' '.join(said)}", fields)


def _place(name: str) -> str:
    return f"Step {int(name.removeprefix('step ')) + 1}" if name.startswith("step ") else name.capitalize()


def _hint_values(basis: Basis, changes: Changes) -> dict[int | None, int]:
    """By the step's id: what is suggested for each step, as far as the annotator has been shown it.

    In the hinted arm the page says what it showed when the label was given: the suggestion may have changed since with
    the labels before it. For whoever does not say, it is what follows from the labels as this save leaves them.
    """
    given = {index: label.value for index, label in basis.labels_by_index.items() if index is not None}
    for index, value in changes.steps.items():
        if value is None:
            given.pop(index, None)
        else:
            given[index] = value
    shown = hints.shown(basis.assignment, basis.draft, given)
    values = {None if index is None else basis.steps[index]: hint.value for index, hint in shown.items()}
    for index, details in changes.details.items():
        if details.get("hint_value") is not None:
            if index not in shown or not hints.follows(basis.assignment):
                message = "No suggestion that changes with the labels is shown here: leave `hint_value` out."
                raise _refusal({f"step {index}": message})
            values[basis.steps[index]] = details["hint_value"]
    return values


def _label(
    scheme: LabelScheme,
    step_id: int | None,
    value: int,
    details: dict[str, Any],
    before: StoredLabel | None,
    hint_value: int | None,
) -> StoredLabel:
    """The label as it shall be: what was said, over what was said before as far as that still holds."""
    if before is None:
        label = StoredLabel(step_id, value)
    elif before.value == value:
        label = replace(before)
    else:
        # Another value is another statement: what it followed from or ended has to be said again.
        label = replace(before, value=value, root_id=None, exit_reason="", local_value=None)
    for name, given in details.items():
        if name == "active_ms":
            label.active_ms = max(label.active_ms, given)
        elif name in EVIDENCE:
            setattr(label, name, getattr(label, name) or given)
        elif name != "hint_value":
            setattr(label, name, given)
    if before is None or before.value != value or "extras" in details:
        label.extras = scheme.fitting_extras(value, label.extras, before.extras if before else {})
    # Also the same value in sight of another suggestion: what was a confirmation may be a correction now.
    in_sight = details.get("hint_value")
    label.is_said_anew = (
        before is None
        or any(getattr(before, name) != getattr(label, name) for name in CONTENT)
        or (in_sight is not None and in_sight != before.hint_value)
    )
    if label.is_said_anew:
        label.hint_value, label.is_after_hint = hint_value, hint_value is not None
    return label


@transaction.atomic
def submit(
    assignment_id: int, annotator: User, *, shown: Changes | None = None, heeds_warnings: bool = False
) -> Annotation:
    """Makes the draft final. Submitting again is harmless: the answer to the first attempt may have been lost.

    shown: the labels that the person sees, if a page knows; the evidence of reading among them is stored.
    Raises AnnotationChanged when that is not what is stored, and AnnotationFinal when it is not what was submitted
    before. Raises IncompleteAnnotation, naming what is missing (steps counted from 1, as the page shows them),
    InconsistentAnnotation when labels contradict each other and, with `heeds_warnings`, UnconfirmedWarnings when they
    only look odd.
    """
    # Locked before anything is read of it: another request may be submitting the same.
    rows = Assignment.objects.select_for_update(of=("self",)).select_related("project")
    assignment = rows.get(pk=assignment_id)
    if assignment.status == Assignment.Status.SUBMITTED:
        done = Annotation.objects.submitted().filter(assignment=assignment, annotator=annotator).first()
        if done is not None:
            if shown is not None:
                refuse_unlike(done, shown, assignment)
            return done
    assignment = queue.hold(assignment_id, annotator)
    annotation = draft_of(assignment, annotator)
    if annotation is not None and shown is not None:
        refuse_unlike(annotation, shown, assignment)
        _add_evidence(assignment, annotator, shown)
    missing = missing_labels(assignment, annotation)
    if annotation is None or missing:
        raise IncompleteAnnotation(
            say_missing(missing, before="submitting"), dict.fromkeys(missing, "A label is missing.")
        )
    findings = findings_of(assignment, annotation)
    _refuse([finding for finding in findings if finding.blocks], InconsistentAnnotation)
    if heeds_warnings:
        _refuse(findings, UnconfirmedWarnings)
    at = now()
    if assignment.project.scheme.mode == "stop_at_first_error":
        _clear_after_first_error(annotation)
    # The revision before stays as it was; the trigger allows no more than this mark.
    earlier = Annotation.objects.filter(assignment=assignment, submitted_at__isnull=False, is_superseded=False)
    earlier.update(is_superseded=True)
    annotation.submitted_at = at
    annotation.save(update_fields=["submitted_at"])
    queue.finish(assignment, at)
    audit.log("annotation.submitted", annotation, user=annotator, project_id=assignment.project_id)
    return annotation


def _add_evidence(assignment: Assignment, annotator: User, shown: Changes) -> None:
    """Stores what was noticed of the reading since the labels were given; the labels are those that are stored."""
    details = {
        index: {name: said for name, said in label.items() if name in EVIDENCE}
        for index, label in shown.details.items()
    }
    basis = store.read(assignment.pk, annotator)
    if any(details.values()) and (basis is None or not _save(basis, Changes(shown.steps, {}, details))):
        raise RuntimeError(f"Assignment {assignment.pk} changed although it was locked.")


def _refuse(findings: list[Finding], error: type[DomainError]) -> None:
    if findings:
        places = {"outcome" if each.step is None else f"step {each.step}": each.sentence for each in findings}
        raise error(" ".join(each.sentence for each in findings), places)


def _clear_after_first_error(annotation: Annotation) -> None:
    """In this mode what comes after the first error is not judged, even if it once was in the draft."""
    of_steps = annotation.labels.filter(step__isnull=False)
    first = of_steps.filter(value=-1).order_by("step__index").values_list("step__index", flat=True).first()
    if first is not None:
        delete_labels(annotation, of_steps.filter(step__index__gt=first))


def findings_of(assignment: Assignment, annotation: Annotation) -> list[Finding]:
    """What does not fit together in a draft."""
    labels: dict[int, Said] = {}
    outcome = None
    rows = annotation.labels.values_list("step__index", "value", "root__index", "exit_reason")
    for index, value, root, exit_reason in rows:
        if index is None:
            outcome = value
        else:
            labels[index] = Said(value, root, exit_reason)
    n_steps = Step.objects.filter(trajectory=assignment.trajectory_id).count()
    carries_errors = assignment.project.scheme.mode == "carry_errors"
    found = check(labels, outcome, n_steps=n_steps, carries_errors=carries_errors)
    return found + check_doubts(labels, hints.doubts_about(assignment, annotation))


@transaction.atomic
def reveal(assignment_id: int, annotator: User) -> None:
    """Shows the reference to the annotator from now on; what they change afterwards is recorded as such.

    Raises InvalidInput unless the project reveals it after labelling and every wanted label is given.
    """
    assignment = queue.hold(assignment_id, annotator)
    if assignment.project.scheme.reveal != "after_labels":
        raise InvalidInput("This project does not show the reference while you label.")
    annotation = draft_of(assignment, annotator)
    missing = missing_labels(assignment, annotation)
    if annotation is None or missing:
        raise InvalidInput(say_missing(missing, before="looking at the reference"))
    if annotation.revealed_at is None:
        annotation.revealed_at = now()
        annotation.save(update_fields=["revealed_at"])
        assignment.save(update_fields=["lease_expires_at"])  # a save that has read the draft unrevealed starts again
        audit.log("annotation.revealed", annotation, user=annotator, project_id=assignment.project_id)


@transaction.atomic
def show_hints(assignment_id: int, annotator: User) -> dict[int | None, Hint]:
    """Shows what the model says, once the annotator's own labels are stored; what they change afterwards is marked so.

    Raises HintsNotShown while a wanted label is missing, and where nothing is to be shown.
    """
    assignment = queue.hold(assignment_id, annotator)
    if assignment.hint_arm not in (Assignment.HintArm.REVEAL_AFTER, Assignment.HintArm.HINTED):
        raise HintsNotShown("You label this trajectory without suggestions.")
    annotation = draft_of(assignment, annotator)
    if hints.are_shown(assignment, annotation):
        given = annotation.labels.filter(step__isnull=False) if annotation else Label.objects.none()
        return hints.hints_of(assignment, dict(given.values_list("step__index", "value")))
    missing = missing_labels(assignment, annotation)
    if annotation is None or missing:
        raise HintsNotShown(say_missing(missing, before="looking at the suggestions"))
    found = hints.hints_of(assignment)
    annotation.hints_shown_at = now()
    annotation.save(update_fields=["hints_shown_at"])
    indices = dict(Step.objects.filter(trajectory=assignment.trajectory_id).values_list("pk", "index"))
    labels = list(annotation.labels.all())
    for label in labels:
        hint = found.get(None if label.step_id is None else indices[label.step_id])
        label.hint_value = hint.value if hint else None
    Label.objects.bulk_update(labels, ["hint_value"])
    assignment.save(update_fields=["lease_expires_at"])  # a save that has read the draft without them starts again
    data = {"version": str(assignment.hint_version)}
    audit.log("annotation.hints_shown", annotation, user=annotator, project_id=assignment.project_id, data=data)
    return found
