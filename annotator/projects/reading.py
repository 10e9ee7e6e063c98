"""What the admin's pages show of members and guidelines."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from django.db.models import Count, Min, Prefetch, Q

from annotator.models import Annotation, Assignment, Guideline, Label, Project
from annotator.models.labelling import AnnotationQuerySet


@dataclass
class Line:
    """One line of a comparison; it has no number on the side on which it is missing."""

    kind: str
    text: str
    old: int | None = None
    new: int | None = None


def compare(old: str, new: str) -> list[Line]:
    """The lines of both texts in order, each once: same, removed or added."""
    return list(_lines(old.splitlines(), new.splitlines()))


def _lines(before: list[str], after: list[str]) -> Iterator[Line]:
    for kind, i, i_end, j, j_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            for offset in range(i_end - i):
                yield Line("same", before[i + offset], i + offset + 1, j + offset + 1)
            continue
        for position in range(i, i_end):
            yield Line("removed", before[position], old=position + 1)
        for position in range(j, j_end):
            yield Line("added", after[position], new=position + 1)


def labels_by_version(project: Project) -> dict[int | None, int]:
    """How many labels that count were given under each version of the guideline (None: there was none yet)."""
    labels = Label.objects.submitted().filter(annotation__assignment__project=project)
    return dict(labels.order_by().values_list("guideline__version").annotate(Count("pk")))


def _is_older(current: Guideline, prefix: str) -> Q:
    return Q(**{f"{prefix}guideline__version__lt": current.version}) | Q(**{f"{prefix}guideline": None})


def given_under_older(project: Project, current: Guideline) -> AnnotationQuerySet:
    """Submitted annotations with labels that were given under an earlier version: `older` holds these labels."""
    older = _is_older(current, "labels__") & Q(labels__isnull=False)
    labels = Label.objects.filter(_is_older(current, "")).select_related("step").order_by("step__index")
    return (
        Annotation.objects.submitted()
        .filter(assignment__project=project)
        .annotate(n_older=Count("labels", filter=older), oldest=Min("labels__guideline__version", filter=older))
        .filter(n_older__gt=0)
        .select_related("assignment", "annotator", "trajectory")
        .only(
            "annotator__username",
            "trajectory__external_id",
            "trajectory__project",
            "submitted_at",
            "assignment__status",
        )
        .prefetch_related(Prefetch("labels", labels, to_attr="older"))
        .order_by("id")
    )


def older_labels(annotation: Annotation) -> list[Label]:
    """The labels that `given_under_older` fetched."""
    labels: list[Label] = annotation.older  # type: ignore[attr-defined]  # by to_attr
    return labels


def is_with_author(annotation: Annotation) -> bool:
    return annotation.assignment.status == Assignment.Status.RETURNED
