"""What the admin's pages show of members and guidelines."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from django.db.models import Count, Exists, OuterRef, Prefetch, Q

from annotator.models import Annotation, Assignment, Guideline, Label, Project
from annotator.models.labelling import AnnotationQuerySet

# So many labels of one annotation are written out in the list of labels given under an earlier guideline.
MOST_LABELS = 40


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


def given_under_older(project: Project, current: Guideline) -> AnnotationQuerySet:
    """Submitted annotations with labels that were given under an earlier version: `older` holds these labels."""
    older = Label.objects.filter(Q(guideline__version__lt=current.version) | Q(guideline=None))
    labels = older.select_related("step", "guideline").defer("guideline__text").order_by("step__index")
    return (
        Annotation.objects.submitted()
        .filter(Exists(older.filter(annotation=OuterRef("pk"))), assignment__project=project)
        .annotate(has_author=Exists(project.memberships.filter(user=OuterRef("annotator"))))
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


@dataclass(frozen=True)
class Older:
    """An annotation with its labels that were given under an earlier version."""

    annotation: Annotation
    labels: list[Label]
    has_author: bool  # who is still a member; to nobody else it can be sent back

    @property
    def listed(self) -> list[Label]:
        return self.labels[:MOST_LABELS]

    @property
    def n_more(self) -> int:
        return len(self.labels) - len(self.listed)

    @property
    def oldest_version(self) -> int | None:
        """The earliest version among them; None: one was given before there was any."""
        versions = [label.guideline.version if label.guideline else 0 for label in self.labels]
        return min(versions, default=0) or None

    @property
    def is_with_author(self) -> bool:
        return self.annotation.assignment.status == Assignment.Status.RETURNED


def older_of(annotations: Iterable[Annotation]) -> list[Older]:
    """Annotations of `given_under_older`, with the labels that it fetched."""
    return [Older(one, one.older, one.has_author) for one in annotations]  # type: ignore[attr-defined]  # annotated
