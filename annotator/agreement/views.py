"""The pages that say how far people agree, and show the steps behind each figure."""

from collections.abc import Hashable
from dataclasses import dataclass

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotator import access
from annotator.agreement import actions, breakdown, reading
from annotator.agreement.forms import StepFilterForm
from annotator.http import Request
from annotator.labelling.conversation import blocks_of
from annotator.models import Annotation, Label, Project, User

PER_PAGE = 50


@require_GET
def agreement(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    given = breakdown.read(membership.project)
    context = {
        "membership": membership,
        "section": "agreement",
        "page": reading.agreement_page(
            actions.report_of(given), breakdown.breakdown(given), _names(membership.project)
        ),
        "n_submitted": Annotation.objects.submitted().filter(trajectory__project=membership.project).count(),
    }
    return render(request, "agreement/agreement.html", context)


@dataclass(frozen=True)
class StepRow:
    pair: Label
    text: str


@require_GET
def agreement_steps(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    wanted = StepFilterForm(request.GET).wanted()
    pairs = breakdown.pairs_of_labels(membership.project, wanted)
    page = Paginator(pairs, PER_PAGE).get_page(request.GET.get("page"))
    messages = breakdown.with_messages(list(page.object_list))
    context = {
        "membership": membership,
        "section": "agreement",
        "page": page,
        "rows": [StepRow(pair, _short(messages.get(pair.pk))) for pair in page.object_list],
        "filters": reading.filter_words(wanted, _names(membership.project)),
    }
    return render(request, "agreement/steps.html", context)


def _names(project: Project) -> dict[Hashable, str]:
    raters = User.objects.filter(annotations__trajectory__project=project).distinct()
    return dict(raters.values_list("pk", "username"))


def _short(message: object) -> str:
    """The first words of a step: what the agent says, else what it calls."""
    blocks = blocks_of([message]) if isinstance(message, dict) else []
    if not blocks:
        return ""
    words = blocks[0].text.full.strip() or ", ".join(f"calls {call.name}" for call in blocks[0].calls)
    return words[:400]
