"""The admins' page of training in the loop: when it happens, what came of it, and what that allows to say."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotator import access
from annotator.errors import DomainError, InvalidSettings
from annotator.http import Request, refuse
from annotator.models import Membership
from annotator.prelabelling import learning, learning_reading
from annotator.prelabelling.forms import LearningForm
from annotator.prelabelling.learning_policy import HELD_OUT_SHARE

_SEE_BELOW = "Nothing was started: something is missing, see below."


@never_cache
@require_http_methods(["GET", "POST"])
def learning_detail(request: Request, slug: str) -> HttpResponse:
    """The learning curve and the policy; a POST changes the policy."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    project = membership.project
    form = LearningForm(project, request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        if form.is_valid():
            try:
                changed = learning.change_policy(project, form.changes(), user=request.user)
            except InvalidSettings as error:
                refuse(form, error.fields)
            else:
                said = "The learning policy was changed." if changed else "Nothing was changed."
                messages.success(request, said)
                return redirect("learning", slug)
        status = 422
    return render(request, "prelabelling/learning.html", _page(membership, form), status=status)


@require_POST
def learning_start(request: Request, slug: str) -> HttpResponse:
    """Starts a training now, whether one is due or not; its job's page shows how far it is."""
    project = access.get_membership(request.user, slug, Membership.Role.ADMIN).project
    try:
        job = learning.start(project, user=request.user)
    except DomainError as error:
        said = _SEE_BELOW if learning.missing(project) else error.message
        messages.error(request, said)
        return redirect("learning", slug)
    return redirect("job-detail", job.pk)


def _page(membership: Membership, form: LearningForm) -> dict[str, Any]:
    page = learning_reading.read(membership.project)
    return {
        "membership": membership,
        "section": "learning",
        "form": form,
        "page": page,
        "is_busy": page.job is not None and not page.job.is_finished,
        "held_out_percent": round(100 * HELD_OUT_SHARE),
    }
