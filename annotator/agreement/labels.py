"""What people submitted in a project, as arrays to compute with."""

from typing import Any, TypedDict

import numpy as np
from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, NullIf

from annotator.agreement.annotators import Readings, Share
from annotator.agreement.breakdown import Given
from annotator.agreement.coefficients import IntArray
from annotator.agreement.sums import Labels, compare
from annotator.models import Adjudication, Annotation, AnnotationReturn, GoldLabel, Label, Project

# What a trajectory is about, as far as its source says; else where it comes from.
DOMAIN = Coalesce(
    NullIf(KeyTextTransform("data_source", "metadata"), Value("")),
    NullIf(KeyTextTransform("domain", "metadata"), Value("")),
    F("source_format"),
    output_field=TextField(),
)
LAST = Max("submitted_at")
# Of a label: a decision about its step is its author's own, so what was decided does not tell whether it is right.
DECIDED_BY_AUTHOR = Exists(
    Adjudication.objects.filter(dispute__step=OuterRef("step"), reviewer=OuterRef("annotation__annotator"))
)


def read(project: Project) -> Given:
    """The submitted step labels of a project, the latest revision of each."""
    submitted = Annotation.objects.submitted().filter(trajectory=OuterRef("pk"))
    domains = project.trajectories.filter(Exists(submitted)).annotate(about=DOMAIN)
    return Given(
        compared=compare(submitted_labels(project)),
        domain_of=dict(domains.values_list("pk", "about")),
        submitted_at=dict(by_trajectory(project).annotate(last=LAST).values_list("trajectory", "last")),
    )


def submitted_labels(project: Project) -> Labels:
    labels = Label.objects.submitted().filter(annotation__trajectory__project=project, step__isnull=False)
    given = columns(
        labels,
        follows=Q(root__isnull=False),
        trajectory="annotation__trajectory_id",
        step="step__index",
        rater="annotation__annotator_id",
        value="value",
        n_in_full="annotation__trajectory__n_steps",
        asks_all=Q(annotation__assignment__wanted_steps=None),
        version=Coalesce("guideline__version", 0),
    )
    asks_all, follows = given.pop("asks_all") == 1, given.pop("follows") == 1
    judgement = given["trajectory"] * (given["rater"].max(initial=0) + 1) + given["rater"]
    # Whoever was asked about the whole trajectory has judged it in full, also if they stopped at its first error.
    _, number, n_labels = np.unique(judgement, return_inverse=True, return_counts=True)
    given["n_in_full"] = np.where(asks_all, n_labels[number], given["n_in_full"])
    # Whoever marks no label as following from an earlier error has not said which are errors of their own.
    marks = np.isin(judgement, judgement[follows])
    return Labels(**given, is_root=marks & (given["value"] == -1) & ~follows)


def columns(labels: QuerySet[Any], **names: str | Combinable | Q) -> dict[str, IntArray]:
    """Numbers of each row as arrays, in one order. PostgreSQL collects them: no row passes through Python."""
    found = labels.order_by().aggregate(**{name: ArrayAgg(column, default=[]) for name, column in names.items()})
    return {name: np.array(numbers, dtype=np.int64) for name, numbers in found.items()}


def readings(project: Project, *, annotator: int | None = None) -> Readings:
    """How people, or this one, read the steps that they labelled, over all revisions."""
    labels = Label.objects.filter(
        annotation__trajectory__project=project, annotation__submitted_at__isnull=False, step__isnull=False
    )
    labels = labels.filter(annotation__annotator=annotator) if annotator else labels
    given = columns(
        labels,
        label="pk",
        assignment="annotation__assignment_id",
        step="step_id",
        rater="annotation__annotator_id",
        active_ms="active_ms",
        is_seen="is_seen",
        is_superseded="annotation__is_superseded",
    )
    is_seen, is_superseded = given.pop("is_seen") == 1, given.pop("is_superseded") == 1
    return Readings(**given, is_seen=is_seen, is_superseded=is_superseded)


def gold_shares(project: Project) -> dict[int, Share]:
    """How often what a person said of a step is what another reviewer decided, by user id.

    Undecidable steps do not count.
    """
    decided = Label.objects.submitted().filter(
        ~DECIDED_BY_AUTHOR,
        annotation__trajectory__project=project,
        step__gold_labels__provenance=GoldLabel.Provenance.ADJUDICATED,
        step__gold_labels__value__isnull=False,
    )
    is_same = Q(value=F("step__gold_labels__value"))
    by_rater = decided.order_by().values_list("annotation__annotator_id")
    rows = by_rater.annotate(n_same=Count("pk", filter=is_same), n=Count("pk"))
    return {rater: Share(n_same, n) for rater, n_same, n in rows}


def n_returned(project: Project) -> dict[int, int]:
    """How many annotations of a person came back, by user id."""
    returns = AnnotationReturn.objects.filter(annotation__trajectory__project=project).order_by()
    return dict(returns.values_list("annotation__annotator_id").annotate(Count("pk")))


class _OfTrajectory(TypedDict):
    trajectory: int


def by_trajectory(project: Project) -> QuerySet[Annotation, _OfTrajectory]:
    """What is submitted, to be summed up by trajectory."""
    return Annotation.objects.submitted().filter(trajectory__project=project).order_by().values("trajectory")
