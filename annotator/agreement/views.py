"""The pages that say how far people agree, and show the steps behind each figure."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotator import access
from annotator.agreement import labels, reading, steps
from annotator.agreement.breakdown import breakdown
from annotator.agreement.forms import StepFilterForm
from annotator.agreement.metrics import agreement_report
from annotator.http import Request
from annotator.labelling.conversation import blocks_of
from annotator.models import Annotation, Label, Project, User

PER_PAGE = 50


@require_GET
def agreement(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    given = labels.read(membership.project)
    report = agreement_report(given.compared)
    names = _names(membership.project, {rater for pair in report.pairs for rater in pair.raters})
    context = {
        "membership": membership,
        "section": "agreement",
        "page": reading.agreement_page(report, breakdown(given), names),
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
    pairs = steps.pairs_of_labels(membership.project, wanted)
    page = Paginator(pairs, PER_PAGE).get_page(request.GET.get("page"))
    messages = steps.with_messages(list(page.object_list))
    context = {
        "membership": membership,
        "section": "agreement",
        "page": page,
        "rows": [StepRow(pair, _short(messages.get(pair.pk))) for pair in page.object_list],
        "filters": reading.filter_words(wanted, _names(membership.project, filter(None, (wanted.a, wanted.b)))),
    }
    return render(request, "agreement/steps.html", context)


def _names(project: Project, users: Iterable[int]) -> dict[Hashable, str]:
    """Of those of the users who have judged something in the project."""
    has_judged = Exists(Annotation.objects.filter(annotator=OuterRef("pk"), trajectory__project=project))
    return dict(User.objects.filter(has_judged, pk__in=users).values_list("pk", "username"))


def _short(message: object) -> str:
    """The first words of a step: what the agent says, else what it calls."""
    blocks = blocks_of([message]) if isinstance(message, dict) else []
    if not blocks:
        return ""
    words = blocks[0].text.full.strip() or ", ".join(f"calls {call.name}" for call in blocks[0].calls)
    return words[:400]
