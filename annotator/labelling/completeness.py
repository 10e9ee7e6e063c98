"""What an assignment wants and has not got yet, and how that is said."""

from collections.abc import Iterable, Mapping
from typing import Any

from annotator.labelling.store import Basis
from annotator.models import Annotation, Assignment, Step
from annotator.projects.scheme import LabelScheme

# What the labelling page calls it.
NAMES = {"category": "kind of error", "rationale": "note"}

Given = tuple[int, dict[str, Any]]  # value and extras


def missing_labels(assignment: Assignment, annotation: Annotation | None) -> list[str]:
    """What the assignment wants and has not got yet: `step 0`, `step 2: rationale`, …, `outcome`."""
    # Not through assignment.trajectory: that would load all its messages.
    steps = Step.objects.filter(trajectory_id=assignment.trajectory_id).order_by("index")
    rows = annotation.labels.values_list("step__index", "value", "extras") if annotation else []
    given: dict[int | None, Given] = {index: (value, extras) for index, value, extras in rows}
    return _missing(assignment, assignment.project.scheme, steps.values_list("index", flat=True), given)


def missing_in(basis: Basis) -> list[str]:
    """The same, without reading anything."""
    labels = basis.labels_by_index
    given: dict[int | None, Given] = {index: (label.value, label.extras) for index, label in labels.items()}
    return _missing(basis.assignment, basis.scheme, basis.steps, given)


def _missing(
    assignment: Assignment,
    scheme: LabelScheme,
    indices: Iterable[int],
    given: Mapping[int | None, Given],
) -> list[str]:
    missing = []
    for index in indices:
        if not assignment.wants_step(index):
            continue
        if index not in given:
            missing.append(f"step {index}")
            continue
        missing += [f"step {index}: {name}" for name in scheme.missing_extras(*given[index])]
        if scheme.mode == "stop_at_first_error" and given[index][0] == -1:
            break  # what comes after the first error is not judged
    if assignment.wants_outcome and None not in given:
        missing.append("outcome")
    return missing


def say_missing(missing: list[str], *, before: str) -> str:
    """`Label steps 2, 3 and the outcome before submitting.`"""
    numbers = [str(int(place.removeprefix("step ")) + 1) for place in missing if place.removeprefix("step ").isdigit()]
    shown = numbers[:8] + ([f"{len(numbers) - 8} more"] if len(numbers) > 8 else [])
    parts = [f"step{'s' if len(numbers) > 1 else ''} {', '.join(shown)}"] if numbers else []
    if "outcome" in missing:
        parts.append("the outcome")
    sentences = [f"Label {' and '.join(parts)} before {before}."] if parts else []
    for place in missing:
        if ": " in place:
            step, name = place.removeprefix("step ").split(": ")
            sentences.append(f"Step {int(step) + 1} needs a {NAMES[name]}.")
    return " ".join(sentences)
