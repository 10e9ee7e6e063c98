"""What annotators see of their own work: what they submitted, what came back and why, what was said about it."""

from collections import defaultdict
from dataclasses import dataclass

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from annotator import access
from annotator.http import Request, number_of, refusals_shown
from annotator.labelling import revisions
from annotator.models import (
    Annotation,
    AnnotationReturn,
    Assignment,
    Dispute,
    GoldLabel,
    Label,
    Membership,
    Step,
    StepComment,
    User,
)

PER_PAGE = 25


@dataclass(frozen=True)
class Fate:
    """What became of one label in the end."""

    place: str
    value: int
    settled: int | None

    @property
    def is_kept(self) -> bool:
        return self.value == self.settled


@dataclass(frozen=True)
class Thread:
    """What was said about one step of one judgement, oldest first."""

    place: str
    step: Step | None
    comments: list[StepComment]


@dataclass(frozen=True)
class Work:
    """One submitted judgement of the reader's, with what concerns it."""

    annotation: Annotation
    labels: list[Label]
    outcome: Label | None
    threads: list[Thread]
    returns: list[AnnotationReturn]
    can_reopen: bool
    fates: list[Fate]

    @property
    def is_returned(self) -> bool:
        return self.annotation.assignment.status == Assignment.Status.RETURNED

    @property
    def last_return(self) -> AnnotationReturn | None:
        """Why a reviewer sent this very revision back; none if the reader reopened it."""
        own = [row for row in self.returns if row.annotation_id == self.annotation.pk]
        return own[-1] if own else None

    @property
    def asked_again(self) -> list[int]:
        """Numbers of steps that are wanted now and were not when this was submitted: accepted labels taken back."""
        given = {label.step and label.step.index for label in self.labels}
        return [index + 1 for index in self.annotation.assignment.wanted_steps or [] if index not in given]


@require_GET
def history(request: Request, slug: str) -> HttpResponse:
    """The reader's own submitted judgements, what is back with them first; never anybody else's labels."""
    membership = access.get_membership(request.user, slug)
    own = (
        Annotation.objects.submitted()
        .filter(annotator=request.user, assignment__project=membership.project)
        .select_related("assignment", "trajectory")
        .only(
            "revision",
            "submitted_at",
            "assignment__status",
            "assignment__wanted_steps",
            "trajectory__external_id",
            "trajectory__instruction",
            "trajectory__n_steps",
        )
        .prefetch_related(Prefetch("labels", Label.objects.select_related("step").order_by("step__index")))
    )
    returned = own.filter(assignment__status=Assignment.Status.RETURNED).order_by("submitted_at", "id")
    rest = own.exclude(assignment__status=Assignment.Status.RETURNED).order_by("-submitted_at", "-id")
    page = Paginator(rest, PER_PAGE).get_page(request.GET.get("page"))
    works = _works([*returned, *page], request.user, membership)
    context = {
        "membership": membership,
        "section": "history",
        "page": page,
        "returned": [work for work in works if work.is_returned],
        "works": [work for work in works if not work.is_returned],
    }
    return render(request, "labelling/history.html", context)


def _works(annotations: list[Annotation], reader: User, membership: Membership) -> list[Work]:
    trajectory_ids = {annotation.trajectory_id for annotation in annotations}
    assignment_ids = {annotation.assignment_id for annotation in annotations}
    returns: dict[int, list[AnnotationReturn]] = defaultdict(list)
    own = {"annotation__assignment__in": assignment_ids, "annotation__annotator": reader}
    for row in AnnotationReturn.objects.filter(**own).select_related("annotation").order_by("id"):
        returns[row.annotation.assignment_id].append(row)
    said: dict[int, dict[Step | None, list[StepComment]]] = defaultdict(lambda: defaultdict(list))
    for comment in StepComment.objects.filter(**own).select_related("annotation", "step"):
        said[comment.annotation.assignment_id][comment.step].append(comment)
    gold: dict[int, dict[int | None, int | None]] = defaultdict(dict)
    for row_ in GoldLabel.objects.by_people().filter(trajectory__in=trajectory_ids):
        gold[row_.trajectory_id][row_.step_id] = row_.value
    in_question = {
        *gold,
        *Dispute.objects.filter(trajectory__in=trajectory_ids).values_list("trajectory_id", flat=True),
    }
    shows_fate = membership.project.scheme.shows_fate
    works = []
    for annotation in annotations:
        labels = list(annotation.labels.all())
        settled = gold.get(annotation.trajectory_id, {})
        # Not before everything is settled, nor while they correct their labels: it would say what colleagues said.
        is_over = annotation.assignment.status == Assignment.Status.SUBMITTED and all(
            label.step_id in settled for label in labels
        )
        works.append(
            Work(
                annotation,
                labels=[label for label in labels if label.step is not None],
                outcome=next((label for label in labels if label.step is None), None),
                threads=[Thread(_place(step), step, rows) for step, rows in said[annotation.assignment_id].items()],
                returns=returns[annotation.assignment_id],
                can_reopen=annotation.trajectory_id not in in_question,
                fates=[Fate(_place(label.step), label.value, settled[label.step_id]) for label in labels]
                if shows_fate and is_over
                else [],
            )
        )
    return works


def _place(step: Step | None) -> str:
    return "Outcome" if step is None else f"Step {step.index + 1}"


@require_POST
def reopen(request: Request, pk: int) -> HttpResponse:
    """Opens the reader's own judgement again, as a new revision, and goes on to it."""
    assignment = access.get_assignment(request.user, pk)
    with refusals_shown(request):
        revisions.reopen(assignment.pk, request.user)
        return redirect("assignment-detail", assignment.pk)
    return redirect("history", assignment.project.slug)


@require_POST
def answer(request: Request, pk: int) -> HttpResponse:
    """The author's answer to a comment on one step of their judgement; `step` is its id, empty for the outcome."""
    membership, annotation = access.get_own_annotation(request.user, pk)
    given = request.POST.get("step", "")
    step = None
    if given:
        of_trajectory = Step.objects.filter(trajectory=annotation.trajectory_id)
        step = of_trajectory.filter(pk=number_of(given) or 0).first()
        if step is None:
            raise Http404("The trajectory has no such step.")
    project = membership.project
    with refusals_shown(request):
        revisions.comment(annotation, step, request.user, request.POST.get("text", ""), project_id=project.pk)
        messages.success(request, "Your answer is stored; reviewers see it beside the step.")
    return redirect(f"{reverse('history', args=[project.slug])}#annotation-{annotation.pk}")
