"""The pages of selection: the policy and its rounds, and one round with what it chose, why, and what it bought."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotator import access
from annotator.errors import InvalidSettings
from annotator.fusion import actions as fusion
from annotator.fusion.suggestions import TRUSTED
from annotator.http import Request, refusals_shown, refuse
from annotator.models import Membership, SelectionRound
from annotator.projects.actions import change_settings
from annotator.selection import actions
from annotator.selection.forms import SelectionForm
from annotator.selection.policy import STRATEGIES
from annotator.selection.reading import bought, not_taken, why_short

PER_PAGE = 50


@require_http_methods(["GET", "POST"])
def overview(request: Request, slug: str) -> HttpResponse:
    """Shows the rounds and the policy, and changes the policy; for admins."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    project = membership.project
    form = SelectionForm(project, request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                changed = change_settings(project, form.changes(), user=request.user)
            except InvalidSettings as error:
                refuse(form, error.fields)
            else:
                said = "The selection policy was changed." if changed["new"] else "Nothing was changed."
                messages.success(request, said)
                return redirect("selection", slug)
    rounds = SelectionRound.objects.filter(project=project).select_related("job", "created_by")
    page = Paginator(rounds.annotate(n_picks=Count("picks")).order_by("-number"), PER_PAGE).get_page(
        request.GET.get("page")
    )
    last = rounds.order_by("-number").first()
    latest = project.fusions.defer("parameters", "report").last()
    context = {
        "membership": membership,
        "section": "selection",
        "form": form,
        "policy": project.selection,
        "shares": sorted(
            ((share, STRATEGIES[name][0]) for name, share in project.selection.shares.items() if share), reverse=True
        ),
        "page": page,
        "is_busy": last is not None and last.is_open and not last.job.is_finished,
        "stopped": last.job if last is not None and last.job.status in actions.STOPPED else None,
        "can_ask": actions.can_ask(project, project.selection),
        "n_pool": actions.untouched(project).count(),
        "fusion": latest,
        "fuses_first": project.selection.needs_beliefs and fusion.is_worth_it(project),
        "is_trusted": latest is not None and latest.method in TRUSTED,
    }
    return render(request, "selection/overview.html", context, status=status)


@require_POST
def start(request: Request, slug: str) -> HttpResponse:
    project = access.get_membership(request.user, slug, Membership.Role.ADMIN).project
    with refusals_shown(request):
        job = actions.start(project, user=request.user)
        return redirect("selection-round", slug, job.selection_round.number)
    return redirect("selection", slug)


@require_safe
def round_detail(request: Request, slug: str, number: int) -> HttpResponse:
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    rounds = SelectionRound.objects.select_related("job", "fusion", "created_by").defer(
        "fusion__parameters", "fusion__report"
    )
    round_ = get_object_or_404(rounds, project=membership.project, number=number)
    picks = round_.picks.select_related("trajectory").defer("trajectory__messages", "trajectory__tools")
    page = Paginator(picks, PER_PAGE).get_page(request.GET.get("page"))
    rows_bought = bought(round_)
    context = {
        "membership": membership,
        "section": "selection",
        "round": round_,
        "page": page,
        "rows": [(pick, STRATEGIES[pick.strategy][0], [i + 1 for i in pick.steps or []]) for pick in page],
        "says_asked": round_.picks.filter(steps__isnull=False).exists(),  # else everything is asked whole
        "why_short": why_short(round_),
        "bought": rows_bought,
        "n_in_sight": sum(row.n_in_sight for row in rows_bought),
        "n_waiting": actions.waiting(round_),
        "not_taken": not_taken(round_),
    }
    return render(request, "selection/round.html", context)
