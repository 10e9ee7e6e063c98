"""The page that says how far people agree."""

from collections.abc import Hashable

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotator import access
from annotator.agreement import actions, reading
from annotator.http import Request
from annotator.models import Annotation, User


@require_GET
def agreement(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    report = actions.report(membership.project)
    raters = User.objects.filter(annotations__trajectory__project=membership.project).distinct()
    names: dict[Hashable, str] = {rater.pk: rater.username for rater in raters}
    context = {
        "membership": membership,
        "section": "agreement",
        "page": reading.agreement_page(report, names),
        "n_submitted": Annotation.objects.submitted().filter(trajectory__project=membership.project).count(),
    }
    return render(request, "agreement/agreement.html", context)
