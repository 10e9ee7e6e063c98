"""What a labelling page shows, held against what is stored."""

from typing import Any

from annotator.errors import AnnotationChanged, AnnotationFinal
from annotator.labelling.intake import Changes
from annotator.models import Annotation, Assignment, User
from annotator.queue import actions as queue

Said = dict[int | None, dict[str, Any]]  # by step index (None: the outcome)


def newest(assignment: Assignment, annotator: User) -> Annotation | None:
    """What the annotator said last; of a submitted assignment, not the draft of a return that was taken back."""
    own = Annotation.objects.filter(assignment=assignment, annotator=annotator).order_by("-revision")
    if assignment.status == Assignment.Status.SUBMITTED:
        own = own.filter(submitted_at__isnull=False)
    return own.first()


def refuse_unlike(annotation: Annotation, shown: Changes, assignment: Assignment) -> None:
    """Raises AnnotationFinal or AnnotationChanged unless the annotation says exactly what the page shows.

    Somebody with two tabs would otherwise submit what they do not see, or hear "submitted" for labels that are lost.
    """
    scheme = assignment.project.scheme
    # What is no longer asked for is not judged: a page that still shows it would have to be loaded anew.
    said, stored = _shown(shown.with_extras(scheme.asked_extras)), _stored(annotation, assignment)
    if scheme.mode == "stop_at_first_error":
        said, stored = _up_to_first_error(said), _up_to_first_error(stored)
    indices = sorted(said.keys() | stored.keys(), key=lambda index: (index is None, index))
    differing = [index for index in indices if not _is_same(said.get(index), stored.get(index))]
    if not differing:
        return
    places = ["outcome" if index is None else f"step {index + 1}" for index in differing]
    named = ", ".join(places[:8]) + (f" and {len(places) - 8} more" if len(places) > 8 else "")
    if annotation.submitted_at is not None:
        otherwise = f"Not stored: you have submitted this trajectory already, with other labels ({named})."
        raise AnnotationFinal(queue.taken_back(assignment) or otherwise)
    raise AnnotationChanged(
        f"Not submitted: what you saw is no longer what is stored ({named}). "
        "It was changed elsewhere, perhaps in another tab."
    )


def _is_same(shown: dict[str, Any] | None, stored: dict[str, Any] | None) -> bool:
    """Of a plain form only the value is known: what it does not say differs from nothing."""
    if shown is None or stored is None:
        return shown is stored
    return all(shown.get(name, said) == said for name, said in stored.items())


def _up_to_first_error(said: Said) -> Said:
    """What comes after it is not judged and not submitted in that mode, even if it once was labelled."""
    errors = [index for index, label in said.items() if index is not None and label["value"] == -1]
    return {index: label for index, label in said.items() if index is None or not errors or index <= min(errors)}


def _shown(shown: Changes) -> Said:
    said: Said = {
        index: {"value": value, **shown.details.get(index, {})}
        for index, value in shown.steps.items()
        if value is not None
    }
    outcome = shown.outcome.get("outcome")
    return said if outcome is None else {**said, None: {"value": outcome}}


def _stored(annotation: Annotation, assignment: Assignment) -> Said:
    """Of what the assignment asks for, that is of what its page shows."""
    names = ("value", "exit_reason", "local_value", "extras")
    rows = annotation.labels.values("step__index", "root__index", *names)
    asked = assignment.project.scheme.asked_extras
    said = {}
    for row in rows:
        extras = {key: given for key, given in row["extras"].items() if key in asked}
        said[row["step__index"]] = {"root": row["root__index"], **{name: row[name] for name in names}, "extras": extras}
    return {
        index: label
        for index, label in said.items()
        if (assignment.wants_outcome if index is None else assignment.wants_step(index))
    }
