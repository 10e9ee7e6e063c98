"""The labelling page and what its buttons and its script post to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotator import access, flow
from annotator.errors import DomainError, InvalidInput
from annotator.http import Request, number_of
from annotator.labelling import actions, hints
from annotator.labelling.conversation import Block, blocks_of, deferred_with, text_of_part
from annotator.labelling.hints import Hint
from annotator.labelling.intake import Changes, parse_labels
from annotator.labelling.shown import newest
from annotator.models import Annotation, AnnotationReturn, Assignment, Label, Membership
from annotator.projects.scheme import LabelScheme
from annotator.queue import actions as queue

# Each needs those before it.
SCRIPTS = [
    f"js/{name}.js"
    for name in (
        "account",
        "outbox",
        "marks",
        "reading",
        "sight",
        "search",
        "about",
        "drafts",
        "following",
        "notices",
        "hints",
        "rules",
        "keys",
        "submitting",
        "labelling",
    )
]
CHOICES = [(1, "+1", "correct", "1"), (0, "0", "neutral", "0"), (-1, "−1", "incorrect", "-")]


@dataclass
class Turn:
    """One step of the page: what came before it, the step, what the annotator has said of it and, if shown, a model."""

    before: list[Block]
    step: Block
    is_wanted: bool
    value: int | None
    hint: Hint | None


@dataclass
class Page:
    """A trajectory cut into turns, and what stands after the last step."""

    turns: list[Turn] = field(default_factory=list)
    after: list[Block] = field(default_factory=list)


def _page_of(assignment: Assignment, labels: Mapping[int | None, Label], shown: Mapping[int | None, Hint]) -> Page:
    page = Page()
    waiting: list[Block] = []
    for block in blocks_of(assignment.trajectory.messages):
        if block.step is None:
            waiting.append(block)
            continue
        label = labels.get(block.step)
        is_wanted = assignment.wants_step(block.step)
        value = label.value if label else None
        page.turns.append(Turn(waiting, block, is_wanted, value, shown.get(block.step)))
        waiting = []
    page.after = waiting
    return page


def _as_data(assignment: Assignment, label: Label) -> dict[str, object]:
    """A step label as the page's script keeps it. Its suggestion goes back only where it could have changed since."""
    follows = hints.follows(assignment) and label.hint_value is not None
    return {
        "value": label.value,
        **({"hint_value": label.hint_value} if follows else {}),
        "root": label.root.index if label.root else None,
        "exit_reason": label.exit_reason,
        "local_value": label.local_value,
        "extras": label.extras,
        "active_ms": label.active_ms,
    }


@never_cache
@require_http_methods(["GET", "POST"])
def assignment_detail(request: Request, pk: int) -> HttpResponse:
    """The page on which one assignment is labelled; a POST saves the form as a draft (without JavaScript)."""
    assignment = access.get_assignment(request.user, pk)
    if request.method == "POST":
        actions.save_labels(pk, request.user, _read_form(request)[1])
        messages.success(request, "Your labels are saved as a draft.")
        return redirect("assignment-detail", pk)
    return _render_page(request, assignment)


def _render_page(request: Request, assignment: Assignment, error: DomainError | None = None) -> HttpResponse:
    annotation = newest(assignment, request.user)
    rows = annotation.labels.select_related("step", "root") if annotation else []
    labels = {label.step.index if label.step else None: label for label in rows}
    given = {index: label.value for index, label in labels.items() if index is not None}
    shown = hints.shown(assignment, annotation, given)
    page = _page_of(assignment, labels, shown)
    membership = Membership.objects.select_related("project").get(project=assignment.project, user=request.user)
    scheme = assignment.project.scheme
    is_mine = assignment.annotator_id == request.user.pk
    status = Assignment.Status
    elsewhere = None if is_mine else queue.held_elsewhere(assignment, request.user)
    # A lapsed claim that nobody took is taken up again by the first save, unless the trajectory came back another way.
    is_free = assignment.status == status.OPEN and elsewhere is None
    is_open = is_free or (is_mine and assignment.status in (status.CLAIMED, status.RETURNED))
    is_revealed = scheme.reveal == "always" or bool(annotation and annotation.revealed_at)
    context = {
        "membership": membership,
        "section": "label",
        "assignment": assignment,
        "trajectory": assignment.trajectory,
        "page": page,
        "outcome": labels[None].value if None in labels else None,
        "choices": CHOICES,
        "guideline": assignment.project.guidelines.first(),
        "has_context": not all(turn.is_wanted for turn in page.turns),
        "n_wanted": sum(turn.is_wanted for turn in page.turns) + assignment.wants_outcome,
        "is_open": is_open,
        "is_mine": is_mine,
        "elsewhere": elsewhere,
        "taken_back": queue.taken_back(assignment) if is_mine else "",
        "is_revealed": is_revealed,
        "has_hints": assignment.hint_arm in (Assignment.HintArm.REVEAL_AFTER, Assignment.HintArm.HINTED),
        "hints_are_shown": hints.are_shown(assignment, annotation),
        "outcome_hint": shown.get(None),
        "scheme": scheme,
        "scripts": SCRIPTS,
        "texts_url": f"/assignments/{assignment.pk}/texts/",
        "sent_back": _sent_back(annotation),
        "error": error,
        "data": {
            "asked": _asked(scheme, assignment),
            "mode": scheme.mode,
            "required": [name for name in ("category", "rationale") if scheme.missing_extras(-1, {}).count(name)],
            "labels": {index: _as_data(assignment, label) for index, label in labels.items() if index is not None},
            "suggestions": hints.for_script(assignment, shown),
            "n_saves": assignment.n_saves,
        },
    }
    return render(request, "labelling/page.html", context, status=error.status if error else 200)


def _sent_back(annotation: Annotation | None) -> AnnotationReturn | None:
    """Why a reviewer sent back the revision that this one corrects, if one did: its author may have reopened it."""
    if annotation is None or annotation.revision == 1:
        return None
    before = {"annotation__assignment": annotation.assignment_id, "annotation__revision": annotation.revision - 1}
    return AnnotationReturn.objects.filter(**before, annotation__annotator=annotation.annotator_id).last()


@require_GET
def assignment_text(request: Request, pk: int, message_index: int, part: str) -> HttpResponse:
    """A text that was too long for the page, as plain text."""
    messages_ = access.get_assignment(request.user, pk).trajectory.messages
    text = text_of_part(messages_[message_index], part) if message_index < len(messages_) else None
    if text is None:
        raise Http404("This message has no such text.")
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@require_GET
def assignment_search(request: Request, pk: int) -> HttpResponse:
    """Which of the texts that are too long for the page hold the words `q`, by the addresses they are fetched from."""
    messages_ = access.get_assignment(request.user, pk).trajectory.messages
    found = deferred_with(messages_, request.GET.get("q", "").strip())
    return JsonResponse({"texts": [reverse("assignment-text", args=[pk, *place]) for place in found]})


@require_POST
def reveal(request: Request, pk: int) -> HttpResponse:
    access.get_assignment(request.user, pk)
    actions.reveal(pk, request.user)
    return redirect("assignment-detail", pk)


@require_POST
def show_hints(request: Request, pk: int) -> HttpResponse:
    """What the model says, once the annotator's own labels are stored: for the script the hints alone."""
    access.get_assignment(request.user, pk)
    shown = actions.show_hints(pk, request.user)
    if _wants_json(request):
        return render(request, "labelling/_hints.html", {"hints": shown.items()})
    return redirect("assignment-detail", pk)


@require_http_methods(["PUT"])
def save_labels(request: Request, pk: int) -> HttpResponse:
    """What the outbox of the page sends: the API's JSON, and in `X-Saves` how many saves of the assignment it knows of.

    So a request that was under way for so long that the page has sent a later one meanwhile is refused. The page may be
    older than what is asked for: what the label scheme no longer wants is left out, and the page is told.
    """
    basis = access.get_basis(request.user, pk)
    changes = _read_json(request.body).with_extras(basis.scheme.asked_extras)
    changes = replace(changes, n_saves=number_of(request.headers.get("X-Saves")))
    try:
        basis = actions.save(basis, request.user, changes)
    except DomainError as error:
        return _refuse(error, basis.scheme, basis.assignment)
    said = {
        "annotation": basis.draft and basis.draft.pk,
        "guideline": basis.guideline_version,
        "n_saves": basis.assignment.n_saves,
        "asked": _asked(basis.scheme, basis.assignment),
    }
    return JsonResponse(said)


@require_POST
def submit(request: Request, pk: int) -> HttpResponse:
    """Makes final what the page shows and goes on to the next trajectory. A plain form is stored before."""
    assignment = access.get_assignment(request.user, pk)
    try:
        if "labels" in request.POST:  # the script has stored them and says what it shows
            shown = _read_json(request.POST["labels"])
        else:
            shown, changes = _read_form(request)
            if assignment.status != Assignment.Status.SUBMITTED:
                actions.save_labels(pk, request.user, changes)
        flow.submit(pk, request.user, shown=shown, heeds_warnings=request.POST.get("confirmed") != "1")
    except DomainError as error:
        if _wants_json(request):
            return _refuse(error, assignment.project.scheme, assignment)
        return _render_page(request, assignment, error)
    return _go_to_next(request, assignment, "Submitted.")


@require_POST
def load_ahead(request: Request, pk: int) -> HttpResponse:
    """The page of the trajectory that follows this one, claimed and rendered before it is asked for; 204: none left."""
    assignment = access.get_assignment(request.user, pk)
    access.get_membership(request.user, assignment.project.slug, Membership.Role.ANNOTATOR)
    following = queue.claim_ahead(assignment.project, request.user)
    return HttpResponse(status=204) if following is None else _render_page(request, following)


@require_POST
def skip(request: Request, pk: int) -> HttpResponse:
    assignment = access.get_assignment(request.user, pk)
    queue.skip(pk, request.user, request.POST.get("reason", ""))
    return _go_to_next(request, assignment, "Skipped.")


@require_POST
def release_claim(request: Request, pk: int) -> HttpResponse:
    assignment = access.get_assignment(request.user, pk)
    queue.release_claim(pk, request.user)
    messages.success(request, "The trajectory is back in the queue; your draft is kept.")
    return redirect("project-overview", assignment.project.slug)


@require_POST
def claim(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, Membership.Role.ANNOTATOR)
    assignment = queue.claim_next(membership.project, request.user)
    if assignment is None:
        return _nothing_left(request, slug)
    return redirect("assignment-detail", assignment.pk)


def _go_to_next(request: Request, done: Assignment, said: str) -> HttpResponse:
    """On to the next trajectory. A script is told where it is and shows it, with what is said, without a page load."""
    # Whoever is no annotator any more may finish what they hold, and gets nothing new.
    is_annotator = access.get_membership(request.user, done.project.slug).role == Membership.Role.ANNOTATOR
    following = queue.claim_next(done.project, request.user) if is_annotator else None
    if following is None:
        response = _nothing_left(request, done.project.slug)
        return JsonResponse({"next": response.url, "said": None}) if _wants_json(request) else response
    said = f"{said} This is the next trajectory."
    if _wants_json(request):
        return JsonResponse({"next": reverse("assignment-detail", args=[following.pk]), "said": said})
    messages.success(request, said)
    return redirect("assignment-detail", following.pk)


def _nothing_left(request: Request, slug: str) -> HttpResponseRedirect:
    messages.info(request, "Nothing is left to label for you at the moment. Thank you.")
    return HttpResponseRedirect(reverse("project-overview", args=[slug]))


def _wants_json(request: Request) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _asked(scheme: LabelScheme, assignment: Assignment) -> str:
    """Equal as long as the same is asked for in the same way: by it an open page knows that it shows something else."""
    return f"{scheme.fingerprint} {assignment.wanted_steps} {assignment.wants_outcome}"


def _refuse(error: DomainError, scheme: LabelScheme, assignment: Assignment) -> JsonResponse:
    """Told to the script, with what is asked for now: that it is something else than the page shows may be why."""
    return JsonResponse({**error.as_json(), "asked": _asked(scheme, assignment)}, status=error.status)


def _read_json(body: str | bytes) -> Changes:
    try:
        data = json.loads(body)
    except ValueError:
        raise InvalidInput("The labels were not saved. The body is not valid JSON.", {"body": "Not JSON."}) from None
    return parse_labels(data)


def _read_form(request: Request) -> tuple[Changes, Changes]:
    """What the plain form shows, and what of it was chosen on this page: the rest may have changed elsewhere.

    Its fields are `step-3` and `outcome`; `was-step-3` is the value that the page came with, `hint-step-3` what it
    suggested where suggestions follow the labels, `guideline` the version that it showed.
    """
    steps: dict[int, int | None] = {}
    outcome: dict[str, int | None] = {}
    chosen = set()
    for name, given in request.POST.items():
        index = number_of(name.removeprefix("step-")) if name.startswith("step-") else None
        if name != "outcome" and index is None:
            continue
        value = _value_of(name, str(given))
        if index is None:
            outcome[name] = value
        else:
            steps[index] = value
        if request.POST.get(f"was-{name}") != given:
            chosen.add(name)
    changed = {index: value for index, value in steps.items() if f"step-{index}" in chosen}
    details = {
        index: {"hint_value": _value_of(name, str(request.POST[name]))}
        for index in changed
        if (name := f"hint-step-{index}") in request.POST
    }
    read = number_of(request.POST.get("guideline"))
    return Changes(steps, outcome), Changes(changed, outcome if "outcome" in chosen else {}, details, read)


def _value_of(name: str, given: str) -> int:
    values = {str(value): value for value in Label.Value.values}
    if given not in values:
        raise InvalidInput(f"{name}: choose +1, 0 or −1.", {name: "Not a value."})
    return values[given]
