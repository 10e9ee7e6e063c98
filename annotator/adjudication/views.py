"""The reviewers' pages: which trajectories have disputes, and one trajectory's disputes to decide."""

from urllib.parse import urlsplit

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import reselect, reswap, retarget

from annotator import access, flow
from annotator.adjudication import actions, listing, reading
from annotator.adjudication.forms import DecisionForm
from annotator.adjudication.turns import Turn
from annotator.errors import DomainError, ReviewHeld
from annotator.http import Request, number_of, refusals_shown
from annotator.labelling import revisions
from annotator.models import Dispute, Membership, Review

PER_PAGE = 50


@require_GET
def review_list(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    found = listing.open_reviews(membership.project, request.user)
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "section": "reviews",
        "page": page,
        "rows": [listing.listed(review) for review in page],
        "held": actions.held_by(membership.project, request.user),
        "decided": listing.recently_decided(membership.project),
        "second": listing.second_decisions(membership.project),
    }
    return render(request, "adjudication/review_list.html", context)


@require_POST
def claim(request: Request, slug: str) -> HttpResponse:
    """Holds the worthiest trajectory, or the one that the form names; first the one that is held already."""
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    wanted = request.POST.get("review")
    review = _claim_one(request, wanted) if wanted else actions.claim_next(membership.project, request.user)
    if review is None:
        messages.info(request, "No trajectory with disputes is free at the moment.")
        return redirect("review-list", slug)
    return redirect("review-detail", review.pk)


def _claim_one(request: Request, wanted: str) -> Review:
    _, review = access.get_review(request.user, number_of(wanted) or 0)
    try:
        return actions.claim(review.pk, request.user)
    except ReviewHeld as error:
        messages.warning(request, error.message)
        return review


@require_GET
def review_detail(request: Request, pk: int) -> HttpResponse:
    membership, review = access.get_review(request.user, pk)
    review.project = membership.project
    page = reading.review_page(review, request.user, is_split=_is_split(request))
    return _render_page(request, membership, page)


def _is_split(request: Request) -> bool:
    """Whether the reviewer wants to decide each step of a run; htmx asks on behalf of the page that it is on."""
    shown = QueryDict(urlsplit(request.htmx.current_url or "").query if request.htmx else "")
    return "1" in (request.GET.get("split"), shown.get("split"))


@require_POST
def release_claim(request: Request, pk: int) -> HttpResponse:
    membership, review = access.get_review(request.user, pk)
    actions.release_claim(review.pk, request.user)
    messages.success(request, "Others can review the trajectory now; your decisions stay.")
    return redirect("review-list", membership.project.slug)


@require_POST
def decide(request: Request, pk: int, dispute_pk: int) -> HttpResponse:
    """Stores a decision and goes on to the next dispute that has none.

    The URL names the dispute, of a run the first one, and the form the others. It is not looked up by itself: if the
    raters agree by now, it is gone.
    """
    membership, review = access.get_review(request.user, pk)
    review.project = membership.project
    given = (number_of(each) for each in request.POST.getlist("dispute"))
    ids = list(dict.fromkeys([dispute_pk, *(each for each in given if each is not None)]))
    form = DecisionForm(dispute_pk, request.POST)
    if not form.is_valid():
        return _refuse(request, membership, review, ids, form, 422)
    try:
        decided = flow.decide_run(review.trajectory_id, ids, request.user, form.decision)
    except DomainError as error:
        form.add_error(None, error.message)
        return _refuse(request, membership, review, ids, form, error.status)
    if len(decided) > 1:
        after = "; each can be decided again" if decided[0].turn == Turn.OPEN else ""
        messages.success(request, f"{len(decided)} steps decided at once{after}.")
    review.refresh_from_db(fields=["status", "reviewer", "lease_expires_at"])
    page = reading.review_page(review, request.user, is_split=_is_split(request))
    last = decided[-1].dispute
    if not request.htmx:
        return redirect(_place(page, last))
    if len(decided) > 1:
        return _render_page(request, membership, page, next_place=page.next_place(last))
    return _render_decision(request, membership, page, last.pk, next_place=page.next_place(last))


@require_POST
def reveal_raters(request: Request, pk: int) -> HttpResponse:
    """Shows this reviewer who the raters are; the audit trail says that they asked."""
    _, review = access.get_review(request.user, pk)
    actions.reveal_raters(review.pk, request.user)
    return redirect("review-detail", pk)


@require_POST
def return_annotation(request: Request, pk: int) -> HttpResponse:
    """Sends an annotation back to its author with a message."""
    membership, annotation = access.get_annotation(request.user, pk)
    back = _back(membership, annotation.trajectory_id)
    with refusals_shown(request):
        actions.return_to_author(annotation.pk, request.user, request.POST.get("message", ""))
        messages.success(request, "The annotation is back with its author; the review waits for it.")
    return redirect(back)


@require_POST
def take_back(request: Request, pk: int) -> HttpResponse:
    """Ends the wait for an annotation that is back with its author: what was submitted counts again."""
    membership, annotation = access.get_annotation(request.user, pk)
    with refusals_shown(request):
        flow.take_back(annotation.pk, request.user)
        messages.success(request, "The annotation counts again as it was submitted.")
    return redirect(_back(membership, annotation.trajectory_id))


@require_POST
def take_back_all(request: Request, slug: str) -> HttpResponse:
    """The same for all that waits for one person who has left the project."""
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    n = flow.take_back_all(membership.project, request.POST.get("annotator", ""), request.user)
    said = f"{n} annotation{' counts' if n == 1 else 's count'} again as submitted." if n else "Nothing had to be done."
    messages.success(request, said)
    return redirect("project-overview", slug)


@require_POST
def comment(request: Request, pk: int) -> HttpResponse:
    """A word to the author of one judgement about a disputed step."""
    membership, dispute = access.get_dispute(request.user, pk)
    _, annotation = access.get_annotation(request.user, number_of(request.POST.get("annotation")) or 0)
    if annotation.trajectory_id != dispute.trajectory_id:
        raise Http404("The annotation is of another trajectory.")
    with refusals_shown(request):
        text = request.POST.get("text", "")
        revisions.comment(annotation, dispute.step, request.user, text, project_id=membership.project.pk)
    review = _review_of(membership, dispute)
    return redirect(f"{reverse('review-detail', args=[review.pk])}#dispute-{dispute.pk}")


def _back(membership: Membership, trajectory_id: int) -> str:
    """The trajectory's review or, where nothing was ever disputed, its page."""
    review = Review.objects.filter(trajectory=trajectory_id).first()
    if review is not None:
        return reverse("review-detail", args=[review.pk])
    return reverse("trajectory-detail", args=[membership.project.slug, trajectory_id])


def _place(page: reading.ReviewPage, dispute: Dispute) -> str:
    split = "?split=1" if page.is_split else ""
    return f"{reverse('review-detail', args=[page.review.pk])}{split}#{page.next_place(dispute)}"


def _review_of(membership: Membership, dispute: Dispute) -> Review:
    review = Review.objects.get(trajectory_id=dispute.trajectory_id)
    review.trajectory, review.project = dispute.trajectory, membership.project
    return review


def _refuse(
    request: Request, membership: Membership, review: Review, ids: list[int], form: DecisionForm, status: int
) -> HttpResponse:
    """Shows the form again with what is wrong; if its question is gone, the page says so at its top."""
    page = reading.review_page(review, request.user, refused=(ids[0], form), is_split=_is_split(request))
    asked = [group.ids for group in page.groups]
    if request.htmx and ids in asked and not form.non_field_errors():
        return _render_decision(request, membership, page, ids[0], status=422)
    if all(group[0] != ids[0] for group in asked):
        said = form.non_field_errors() or [
            "Nothing was stored, because what is disputed has changed. Read what is left."
        ]
        messages.error(request, str(said[0]))
    return _render_page(request, membership, page, status=status)


def _render_page(
    request: Request, membership: Membership, page: reading.ReviewPage, *, status: int = 200, next_place: str = ""
) -> HttpResponse:
    """The whole page; htmx swaps in what lies below the bar, and goes to `next_place` or to what is wrong."""
    context = {
        "membership": membership,
        "section": "reviews",
        "trajectory": page.review.trajectory,
        "guideline": membership.project.guidelines.first(),
        "page": page,
        "is_swapped": bool(request.htmx),
        "next_place": next_place,
        "is_fragment": False,
    }
    # htmx swaps no other refusal than a 422 (see htmx-config in _base.html).
    response = render(
        request, "adjudication/review_detail.html", context, status=422 if request.htmx and status != 200 else status
    )
    if request.htmx:
        reswap(reselect(retarget(response, "#review"), "#review"), "outerHTML")
    return response


def _render_decision(
    request: Request,
    membership: Membership,
    page: reading.ReviewPage,
    dispute_id: int,
    *,
    status: int = 200,
    next_place: str = "",
) -> HttpResponse:
    """What htmx swaps in: the form and decisions of a dispute, the progress, and what a screen reader should say."""
    group = next((group for group in page.groups if group.first.dispute.pk == dispute_id), None)
    context = {
        "membership": membership,
        "page": page,
        "case": page.case_of(dispute_id),
        "run": group if group and group.is_run else None,
        "next_place": next_place,
        "is_fragment": True,
    }
    return render(request, "adjudication/review_detail.html#decided", context, status=status)
