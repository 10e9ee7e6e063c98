"""The trajectories of a project as reviewers and admins look them up; nothing here can be changed."""

from dataclasses import dataclass
from typing import TypedDict

from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_GET

from annotator import access
from annotator.http import Request
from annotator.labelling.conversation import Block, blocks_of
from annotator.models import Assignment, Dispute, GoldLabel, ReferenceLabel, Trajectory

PER_PAGE = 50

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
_held = Exists(_slots.filter(status=Assignment.Status.CLAIMED))
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
    """What is known of a step or of the outcome."""

    gold: GoldLabel | None
    reference: int | None
    is_disputed: bool


@dataclass
class Row:
    """One message of the page; `judged` where it is a step."""

    block: Block
    judged: Judged | None


@require_GET
def trajectory_detail(request: Request, slug: str, pk: int) -> HttpResponse:
    membership, trajectory = access.get_trajectory(request.user, slug, pk)
    gold = {row.step.index if row.step else None: row for row in trajectory.gold_labels.select_related("step")}
    reference: dict[int | None, int] = dict(trajectory.reference_labels.values_list("step__index", "value"))
    disputed = set(Dispute.objects.undecided().filter(trajectory=trajectory).values_list("step__index", flat=True))

    def judged(index: int | None) -> Judged:
        return {"gold": gold.get(index), "reference": reference.get(index), "is_disputed": index in disputed}

    rows = [Row(b, None if b.step is None else judged(b.step)) for b in blocks_of(trajectory.messages)]
    statuses = list(Assignment.objects.live().filter(trajectory=trajectory).values_list("status", flat=True))
    context = {
        "membership": membership,
        "section": "trajectories",
        "trajectory": trajectory,
        "rows": rows,
        "outcome": judged(None),
        "n_wanted": len(statuses),
        "n_submitted": statuses.count(Assignment.Status.SUBMITTED),
        "n_disputes": len(disputed),
        "n_reference": len(reference),
    }
    return render(request, "dashboard/trajectory_detail.html", context)
