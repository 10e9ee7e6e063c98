"""The trajectories of a project as reviewers and admins look them up, each with all that is known of it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET

from annotator import access
from annotator.adjudication import actions as adjudication
from annotator.adjudication.reading import letters_of
from annotator.adjudication.turns import Shown, is_withheld, knows_reviewers, shown_to
from annotator.http import Request, number_of
from annotator.labelling.conversation import Block, blocks_of
from annotator.models import (
    Annotation,
    Assignment,
    AuditEvent,
    Dispute,
    GoldLabel,
    Label,
    Membership,
    ReferenceLabel,
    ReleaseRow,
    Review,
    Trajectory,
    User,
)

PER_PAGE = 50
MOST_EVENTS = 200
MOST_SIBLINGS = 50

ORDERINGS = {
    "imported": ("As imported", "id"),
    "newest": ("Newest first", "-id"),
    "id": ("By id", "external_id"),
    "longest": ("Most steps first", "-n_steps"),
    "shortest": ("Fewest steps first", "n_steps"),
}

_slots = Assignment.objects.live().filter(trajectory=OuterRef("pk"))
_submitted = Exists(_slots.filter(status=Assignment.Status.SUBMITTED))
_not_submitted = Exists(_slots.exclude(status=Assignment.Status.SUBMITTED))
_held = Exists(_slots.filter(status__in=[Assignment.Status.CLAIMED, Assignment.Status.RETURNED]))
_disputed = Exists(Dispute.objects.undecided().filter(trajectory=OuterRef("pk")))

FILTERS = {
    "all": ("All", Q()),
    "untouched": ("Not judged", Q(~_submitted)),
    "in-work": ("In work", Q(_not_submitted) & (Q(_submitted) | Q(_held))),
    "judged": ("Judged", Q(_submitted) & ~Q(_not_submitted)),
    "disputed": ("Disputed", Q(_disputed)),
}


@require_GET
def trajectory_list(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    query = request.GET.get("q", "").replace("\0", "").strip()
    show = request.GET.get("show", "all")
    order = request.GET.get("order", "imported")
    show, order = show if show in FILTERS else "all", order if order in ORDERINGS else "imported"
    found = membership.project.trajectories.filter(FILTERS[show][1]).order_by(ORDERINGS[order][1], "id")
    if query:
        found = found.filter(Q(external_id__icontains=query) | Q(instruction__icontains=query))
    page = Paginator(found.values_list("pk", flat=True), PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "section": "trajectories",
        "page": page,
        "rows": _rows(list(page.object_list)),
        "query": query,
        "show": show,
        "order": order,
        "filters": {key: label for key, (label, _) in FILTERS.items()},
        "orderings": {key: label for key, (label, _) in ORDERINGS.items()},
        "is_empty_project": not query and show == "all" and not page.paginator.count,
    }
    # Going back in the browser asks for the whole page, whether htmx asks (its history) or the browser's cache.
    is_fragment = request.htmx and not request.htmx.history_restore_request
    template = "dashboard/trajectory_list.html#rows" if is_fragment else "dashboard/trajectory_list.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _rows(ids: list[int]) -> list[Trajectory]:
    """What the table shows of these trajectories, in their order. Counting after paging: it reads fifty, not all."""
    has_reference = Exists(ReferenceLabel.objects.filter(trajectory=OuterRef("pk")))
    rows = Trajectory.objects.filter(pk__in=ids).with_progress().annotate(has_reference=has_reference)
    by_id = {row.pk: row for row in rows.only("external_id", "instruction", "source_format", "n_steps")}
    return [by_id[pk] for pk in ids]


class Judged(TypedDict):
    """What the reader may know of a step or of the outcome.

    `said` has one entry per rater, None where they gave no label. A decision is withheld from a second reviewer.
    """

    gold: GoldLabel | None
    reference: int | None
    is_disputed: bool
    dispute: Dispute | None
    decisions: list[Shown]
    is_withheld: bool
    said: list[Label | None]


@dataclass
class Row:
    """One message of the page; `judged` where it is a step."""

    block: Block
    judged: Judged | None


@dataclass(frozen=True)
class Judgement:
    """One submitted revision of somebody's judgement, under the name by which the reader may know them."""

    rater: str
    annotation: Annotation
    labels: list[Label]

    @property
    def state(self) -> str:
        if self.annotation.is_superseded:
            return "replaced by a later revision"
        return "back with its author" if self.is_returned else "counts"

    @property
    def is_returned(self) -> bool:
        status = self.annotation.assignment.status
        return status == Assignment.Status.RETURNED and not self.annotation.is_superseded

    @property
    def suggestions(self) -> str:
        """What of a model its rater was shown, and how many labels came after that."""
        if self.annotation.hints_shown_at is None:
            return "none shown"
        n_after = sum(label.is_after_hint for label in self.labels)
        arm = self.annotation.assignment.get_hint_arm_display()
        return f"{arm}: {n_after} of {len(self.labels)} labels given or changed in sight of them"

    @property
    def can_be_returned(self) -> bool:
        return self.state == "counts"


@dataclass(frozen=True)
class Event:
    """One line of the audit trail; who did it is said as the reader may know it."""

    who: str
    event: AuditEvent


@dataclass(frozen=True)
class Whole:
    """One trajectory with everything that people said of it."""

    trajectory: Trajectory
    rows: list[Row]
    outcome: Judged
    judgements: list[Judgement]
    disputes: list[Dispute]
    slots: list[Assignment]
    review: Review | None
    is_named: bool
    n_reference: int
    who: Mapping[int, str]
    names_reviewers: bool

    @property
    def raters(self) -> list[str]:
        """The columns: whose labels count now."""
        return [judgement.rater for judgement in self.judgements if not judgement.annotation.is_superseded]

    @property
    def n_wanted(self) -> int:
        return sum(slot.status != Assignment.Status.SKIPPED for slot in self.slots)

    @property
    def n_submitted(self) -> int:
        return sum(slot.status == Assignment.Status.SUBMITTED for slot in self.slots)

    @property
    def n_disputes(self) -> int:
        return sum(dispute.decided_at is None for dispute in self.disputes)


def _whole(trajectory: Trajectory, membership: Membership, reader: User) -> Whole:
    """Admins see names; reviewers see letters, until they have asked for the names on the trajectory's review."""
    review = Review.objects.filter(trajectory=trajectory).first()
    asked_for_names = review is not None and adjudication.has_revealed(review, reader)
    is_named = membership.role == Membership.Role.ADMIN or asked_for_names
    letters = letters_of([trajectory.pk])
    # Not by the trajectory: what is submitted at this moment has no letter yet.
    submitted = Annotation.objects.filter(pk__in=letters)
    annotations = list(submitted.select_related("assignment", "annotator"))
    annotations.sort(key=lambda a: (len(letters[a.pk]), letters[a.pk], a.revision))
    labels: dict[int, list[Label]] = defaultdict(list)
    given = Label.objects.filter(annotation__in=annotations).select_related("step").order_by("step__index")
    for label in given:
        labels[label.annotation_id].append(label)
    judgements = [Judgement(a.annotator.username if is_named else letters[a.pk], a, labels[a.pk]) for a in annotations]
    current = [
        {label.step_id: label for label in judgement.labels}
        for judgement in judgements
        if not judgement.annotation.is_superseded
    ]
    gold = {row.step_id: row for row in trajectory.gold_labels.all()}
    reference: dict[int | None, int] = dict(trajectory.reference_labels.values_list("step_id", "value"))
    disputes = list(trajectory.disputes.select_related("step").prefetch_related("adjudications__reviewer"))
    names_reviewers = review is None or knows_reviewers(reader, review, disputes, has_asked=asked_for_names)
    dispute_of = {dispute.step_id: dispute for dispute in disputes}
    steps: dict[int, int] = dict(trajectory.steps.values_list("index", "pk"))

    def judged(step_id: int | None) -> Judged:
        dispute = dispute_of.get(step_id)
        return {
            "gold": gold.get(step_id),
            "reference": reference.get(step_id),
            "is_disputed": dispute is not None and dispute.decided_at is None,
            "dispute": dispute,
            "decisions": shown_to(reader, dispute, is_named=names_reviewers) if dispute else [],
            "is_withheld": dispute is not None and is_withheld(list(dispute.adjudications.all()), reader),
            "said": [labels_of.get(step_id) for labels_of in current],
        }

    return Whole(
        trajectory=trajectory,
        rows=[Row(b, None if b.step is None else judged(steps[b.step])) for b in blocks_of(trajectory.messages)],
        outcome=judged(None),
        judgements=judgements,
        disputes=disputes,
        slots=list(Assignment.objects.filter(trajectory=trajectory)),
        review=review,
        is_named=is_named,
        n_reference=len(reference),
        who={judgement.annotation.annotator_id: judgement.rater for judgement in judgements},
        names_reviewers=names_reviewers,
    )


def _events(whole: Whole, membership: Membership, reader: User) -> list[Event]:
    """What happened to the trajectory and to everything that belongs to it, the latest first."""
    trajectory = whole.trajectory
    of = {
        "trajectory": [trajectory.pk],
        "assignment": [slot.pk for slot in whole.slots],
        "annotation": list(Annotation.objects.filter(trajectory=trajectory).values_list("pk", flat=True)),
        "dispute": [dispute.pk for dispute in whole.disputes],
        "review": [whole.review.pk] if whole.review else [],
    }
    about = Q()
    for object_type, ids in of.items():
        about |= Q(object_type=object_type, object_id__in=ids)
    settlers = set(
        Membership.objects.filter(project=membership.project, role__in=access.SETTLERS).values_list("user", flat=True)
    )

    def who(event: AuditEvent) -> str:
        if event.user_id is None:
            return "Stepmark"
        is_reviewers = event.object_type in ("dispute", "review") or event.user_id not in whole.who
        if is_reviewers and not whole.names_reviewers and event.user_id != reader.pk:
            return "a colleague"
        if whole.is_named:
            return event.username
        return whole.who.get(event.user_id) or (event.username if event.user_id in settlers else "an annotator")

    return [Event(who(event), event) for event in AuditEvent.objects.filter(about).order_by("-id")[:MOST_EVENTS]]


@require_GET
def trajectory_detail(request: Request, slug: str, pk: int) -> HttpResponse:
    membership, trajectory = access.get_trajectory(request.user, slug, pk)
    whole = _whole(trajectory, membership, request.user)
    siblings = membership.project.trajectories.filter(group_key=trajectory.group_key).exclude(pk=trajectory.pk)
    beside = None
    if wanted := request.GET.get("beside"):
        other = siblings.filter(pk=number_of(wanted) or 0).first()
        if other is None:
            raise Http404("There is no such trajectory of the same task.")
        access.refuse_while_judging(request.user, other.pk)
        beside = _whole(other, membership, request.user)
    rows = ReleaseRow.objects.filter(trajectory=trajectory, release__published_at__isnull=False)
    context = {
        "membership": membership,
        "section": "trajectories",
        "trajectory": trajectory,
        "whole": whole,
        "beside": beside,
        "siblings": siblings.only("project", "external_id", "n_steps").order_by("id")[:MOST_SIBLINGS],
        "events": _events(whole, membership, request.user),
        "n_models": trajectory.predictions.count(),
        "releases": rows.select_related("release").only("split", "release__number").order_by("release__number"),
    }
    return render(request, "dashboard/trajectory_detail.html", context)
