"""The pages that say how far people agree, and show the steps behind each figure."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotator import access
from annotator.agreement import labels, reading, steps
from annotator.agreement.annotator_rows import annotator_rows
from annotator.agreement.annotators import (
    FEWEST_HURRIED,
    FEWEST_STEPS,
    HURRIED_MS,
    USUAL_ZEROS,
    annotator_reports,
    reading_reports,
)
from annotator.agreement.breakdown import breakdown
from annotator.agreement.forms import LabelFilterForm, StepFilterForm
from annotator.agreement.metrics import agreement_report
from annotator.agreement.sums import VALUES, compare
from annotator.http import Request
from annotator.labelling.conversation import blocks_of
from annotator.labelling.evidence import reading_of
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
    label: Label
    text: str

    @property
    def reading(self) -> str:
        return reading_of(self.label)


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
        "filters": steps.filter_words(wanted, _names(membership.project, filter(None, (wanted.a, wanted.b)))),
    }
    return render(request, "agreement/steps.html", context)


@require_GET
def annotator_list(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    project = membership.project
    compared = compare(labels.submitted_labels(project))
    reports = annotator_reports(
        compared, labels.readings(project), labels.gold_shares(project), labels.n_returned(project)
    )
    rows = annotator_rows(reports, _names(project, [report.rater for report in reports]))
    context = {
        "membership": membership,
        "section": "agreement",
        "rows": rows,
        "flagged": [row for row in rows if row.flags],
        "usual": [f"{100 * share:g}" for share in USUAL_ZEROS],
        "fewest_steps": FEWEST_STEPS,
        "fewest_hurried": FEWEST_HURRIED,
        "hurried_seconds": HURRIED_MS / 1000,
    }
    return render(request, "agreement/annotators.html", context)


@require_GET
def annotator_detail(request: Request, slug: str, pk: int) -> HttpResponse:
    """What one person has labelled, narrowed down to what a flag is about."""
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    project = membership.project
    names = _names(project, [pk])
    if pk not in names:
        raise Http404(f"Nobody with the number {pk} has judged anything in this project.")
    wanted = LabelFilterForm(request.GET).wanted()
    of_person = reading_reports(labels.readings(project, annotator=pk)).get(pk)
    own = steps.labels_by(project, pk, wanted, of_person) if of_person else Label.objects.none()
    page = Paginator(own, PER_PAGE).get_page(request.GET.get("page"))
    messages = steps.with_messages(list(page.object_list))
    context = {
        "membership": membership,
        "section": "agreement",
        "pk": pk,
        "name": names[pk],
        "hurried_seconds": HURRIED_MS / 1000,
        "wanted": wanted,
        "reading": of_person,
        "values": sorted(VALUES, reverse=True),
        "page": page,
        "rows": [StepRow(label, _short(messages.get(label.pk))) for label in page.object_list],
    }
    return render(request, "agreement/annotator_steps.html", context)


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
