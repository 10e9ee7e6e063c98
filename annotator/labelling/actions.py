"""Saving labels, clearing them, submitting: the writes of the labelling page and of the API."""

from collections.abc import Mapping
from typing import Annotated

from django.db import transaction
from django.utils.timezone import now
from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as SchemaError

from annotator import audit
from annotator.errors import IncompleteAnnotation, InvalidInput
from annotator.models import Annotation, Assignment, Guideline, Label, LabelEvent, Step, User
from annotator.queue import actions as queue

# Strict: 1.0, true and "1" are mistakes of the caller, not labels. (A Literal would take the first two.)
Value = Annotated[int, Field(strict=True, ge=-1, le=1)]
StrictIndex = Annotated[int, Field(strict=True, ge=0)]


class StepValueIn(BaseModel):
    """One step's label, the step by its index from 0."""

    model_config = ConfigDict(extra="forbid")

    step: StrictIndex
    value: Value


class LabelsIn(BaseModel):
    """What a save brings: labels to set, step indices to clear, and the outcome (null clears it)."""

    model_config = ConfigDict(extra="forbid")

    labels: list[StepValueIn] = []
    cleared: list[StrictIndex] = []
    outcome: Value | None = None

    def changes(self) -> "Changes":
        steps: dict[int, int | None] = {label.step: label.value for label in self.labels}
        steps.update(dict.fromkeys(self.cleared))
        return Changes(steps, {"outcome": self.outcome} if "outcome" in self.model_fields_set else {})


class Changes:
    """What to set: step index → value (None: clear), and perhaps the outcome."""

    def __init__(self, steps: Mapping[int, int | None], outcome: Mapping[str, int | None]) -> None:
        self.steps = steps
        self.has_outcome = "outcome" in outcome
        self.outcome = outcome.get("outcome")


def parse_labels(data: object) -> Changes:
    """Reads a save request. Raises InvalidInput that names each wrong place, e.g. `labels[0].value`."""
    try:
        parsed = LabelsIn.model_validate(data)
    except SchemaError as error:
        fields = {_place(e["loc"]): e["msg"] for e in error.errors()}
        said = "; ".join(f"{place}: {message}" for place, message in fields.items())
        raise InvalidInput(f"The labels were not saved. {said}.", fields) from None
    seen: set[int] = set()
    for position, label in enumerate(parsed.labels):
        if label.step in seen or label.step in parsed.cleared:
            place = f"labels[{position}].step"
            raise InvalidInput(
                f"The labels were not saved. {place}: step {label.step} is named twice.", {place: "twice"}
            )
        seen.add(label.step)
    return parsed.changes()


def _place(location: tuple[int | str, ...]) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return place or "body"


@transaction.atomic
def save_labels(assignment_id: int, annotator: User, changes: Changes) -> Annotation:
    """Stores the labels of a draft; saving the same again changes nothing.

    Raises InvalidInput for a step that the trajectory does not have or the assignment does not ask for, and
    AssignmentNotYours when the claim is gone; then nothing is stored.
    """
    assignment = queue.hold(assignment_id, annotator)
    steps = _wanted_steps(assignment, changes)
    annotation, _ = Annotation.objects.get_or_create(
        assignment=assignment, annotator=annotator, defaults={"trajectory_id": assignment.trajectory_id}
    )
    targets: dict[int | None, int | None] = {steps[index].pk: value for index, value in changes.steps.items()}
    if changes.has_outcome:
        targets[None] = changes.outcome
    current: dict[int | None, int] = dict(annotation.labels.values_list("step_id", "value"))
    changed = {step_id: value for step_id, value in targets.items() if current.get(step_id) != value}
    if changed:
        _write(annotation, changed)
    return annotation


def _wanted_steps(assignment: Assignment, changes: Changes) -> dict[int, Step]:
    steps = {}
    if changes.steps:
        found = Step.objects.filter(trajectory_id=assignment.trajectory_id, index__in=list(changes.steps))
        steps = {step.index: step for step in found}
    fields = {}
    for index in changes.steps:
        if index not in steps:
            fields[f"step {index}"] = "The trajectory has no such step (steps count from 0)."
        elif not assignment.wants_step(index):
            fields[f"step {index}"] = "This assignment does not ask for this step."
    if changes.has_outcome and changes.outcome is not None and not assignment.wants_outcome:
        fields["outcome"] = "This assignment does not ask for the outcome."
    if fields:
        said = " ".join(f"{place}: {message}" for place, message in fields.items())
        raise InvalidInput(f"The labels were not saved. {said}", fields)
    return steps


def _write(annotation: Annotation, changed: Mapping[int | None, int | None]) -> None:
    at = now()
    guideline = Guideline.objects.filter(project__assignments=annotation.assignment_id).first()
    set_, cleared = {}, []
    for step_id, value in changed.items():
        if value is None:
            cleared.append(step_id)
        else:
            set_[step_id] = value
    if cleared:
        gone = annotation.labels.filter(step_id__in=[step_id for step_id in cleared if step_id is not None])
        if None in cleared:
            gone |= annotation.labels.filter(step=None)
        gone.delete()
    Label.objects.bulk_create(
        [
            Label(annotation=annotation, step_id=step_id, value=value, guideline=guideline, labelled_at=at)
            for step_id, value in set_.items()
        ],
        update_conflicts=True,
        unique_fields=["annotation", "step"],
        update_fields=["value", "guideline", "labelled_at"],
    )
    LabelEvent.objects.bulk_create(
        LabelEvent(annotation=annotation, step_id=step_id, value=value, at=at) for step_id, value in changed.items()
    )


@transaction.atomic
def submit(assignment_id: int, annotator: User) -> Annotation:
    """Makes the draft final. Submitting again is harmless: the answer to the first attempt may have been lost.

    Raises IncompleteAnnotation, naming what is missing (steps counted from 1, as the page shows them).
    """
    submitted = Annotation.objects.submitted().filter(assignment_id=assignment_id, annotator=annotator).first()
    if submitted is not None:
        return submitted
    assignment = queue.hold(assignment_id, annotator)
    annotation = Annotation.objects.filter(assignment=assignment, annotator=annotator).first()
    missing = missing_labels(assignment, annotation)
    if annotation is None or missing:
        raise IncompleteAnnotation(say_missing(missing), dict.fromkeys(missing, "A label is missing."))
    at = now()
    annotation.submitted_at = at
    annotation.save(update_fields=["submitted_at"])
    queue.finish(assignment, at)
    audit.log("annotation.submitted", annotation, user=annotator, project_id=assignment.project_id)
    return annotation


def missing_labels(assignment: Assignment, annotation: Annotation | None) -> list[str]:
    """What the assignment wants and has no label yet: `step 0`, …, `outcome`."""
    # Not through assignment.trajectory: that would load all its messages.
    steps = Step.objects.filter(trajectory_id=assignment.trajectory_id).order_by("index")
    indices = [index for index in steps.values_list("index", flat=True) if assignment.wants_step(index)]
    given = set(annotation.labels.values_list("step__index", flat=True)) if annotation else set()
    missing = [f"step {index}" for index in indices if index not in given]
    if assignment.wants_outcome and None not in given:
        missing.append("outcome")
    return missing


def say_missing(missing: list[str]) -> str:
    """`Label steps 2, 3 and the outcome before submitting.`"""
    numbers = [str(int(place.removeprefix("step ")) + 1) for place in missing if place != "outcome"]
    shown = numbers[:8] + ([f"{len(numbers) - 8} more"] if len(numbers) > 8 else [])
    parts = [f"step{'s' if len(numbers) > 1 else ''} {', '.join(shown)}"] if numbers else []
    if "outcome" in missing:
        parts.append("the outcome")
    return f"Label {' and '.join(parts)} before submitting."
