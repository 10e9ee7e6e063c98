"""The pages of acceptance: what a promise would be tested on, and each promise with its test and its audit."""

import math
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotator import access
from annotator.acceptance import actions, sample
from annotator.acceptance.forms import PromiseForm
from annotator.acceptance.terms import LEAST_SAMPLE
from annotator.errors import DomainError
from annotator.http import Request, refusals_shown
from annotator.models import Acceptance, GoldLabel, Membership

PER_PAGE = 50
_SEE_BELOW = "Nothing was started: something is missing, see below."


@require_http_methods(["GET", "POST"])
def overview(request: Request, slug: str) -> HttpResponse:
    """Says what there is to test a promise on, lists the promises, and starts one; for admins."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    project = membership.project
    form = PromiseForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                job = actions.start(project, form.terms(), user=request.user)
            except DomainError as error:
                said = _SEE_BELOW if sample.counts(project).missing else error.message
                messages.error(request, said)
                return redirect("acceptance", slug)
            return redirect("acceptance-detail", slug, job.acceptance.number)
    found = sample.counts(project)
    promises = project.acceptances.select_related("job", "created_by").defer("parameters").order_by("-number")
    page = Paginator(promises, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "membership": membership,
        "section": "acceptance",
        "form": form,
        "counts": found,
        "least": LEAST_SAMPLE,
        "missing": found.missing,
        "is_busy": project.acceptances.filter(status="working", job__finished_at=None).exists(),
        "page": page,
    }
    return render(request, "acceptance/overview.html", context, status=status)


@dataclass(frozen=True)
class Row:
    """One rule that was tried. `share`: of the evidence that was needed, in percent, from 0 to 100 for a bar."""

    threshold: float
    most_each: int | None
    n_taken: int
    n_wrong: int
    n_labels: int
    evidence: float
    holds: bool
    is_chosen: bool

    @property
    def wrong_share(self) -> float | None:
        return self.n_wrong / self.n_taken if self.n_taken else None


@require_safe
def detail(request: Request, slug: str, number: int) -> HttpResponse:
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    promises = Acceptance.objects.select_related("job", "created_by").defer("parameters")
    promise = get_object_or_404(promises, project=membership.project, number=number)
    chosen = (promise.threshold, promise.most_each)
    audited = actions.audited(promise)
    needed = math.log(1 / promise.delta)
    withdrawal = actions.withdrawal(promise)
    job = promise.job if promise.status == Acceptance.Status.WORKING else withdrawal
    context: dict[str, Any] = {
        "membership": membership,
        "section": "acceptance",
        "promise": promise,
        "versions": promise.versions.order_by("name"),
        "needed": needed,
        "rows": [
            Row(**one, is_chosen=(one["threshold"], one["most_each"]) == chosen)
            for one in promise.report.get("tried", [])
        ],
        "audited": audited,
        "audit_share": audited.n_wrong / audited.n_taken if audited.n_taken else None,
        "alarm": round(100 * min(max(audited.evidence / needed, 0.0), 1.0)),
        "n_labels": GoldLabel.objects.filter(acceptance=promise).count(),
        "keeps_labels": actions.keeps_labels(promise),
        "audits": promise.audits.select_related("trajectory").defer("trajectory__messages", "trajectory__tools")[
            :PER_PAGE
        ],
        "withdrawal": withdrawal,
        "is_busy": job is not None and not job.is_finished,
    }
    return render(request, "acceptance/detail.html", context)


@require_POST
def stop(request: Request, slug: str, number: int) -> HttpResponse:
    """Ends a promise; its labels go back to people if the form says so, also later."""
    project = access.get_membership(request.user, slug, Membership.Role.ADMIN).project
    promise = get_object_or_404(project.acceptances, number=number)
    withdraws = request.POST.get("labels") == "withdraw"
    with refusals_shown(request):
        actions.stop(promise, withdraws=withdraws, user=request.user)
        said = "Its labels are being taken back." if withdraws else "Its labels stay."
        messages.success(request, f"{str(promise).capitalize()} is over. {said}")
    return redirect("acceptance-detail", slug, number)
