"""The pages that rank the models of a project against gold, and list the steps behind each figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from annotator import access
from annotator.http import Request, number_of, refusals_shown
from annotator.models import Calibration, Membership, ModelVersion, Trajectory
from annotator.raters import actions, hint_figures, hint_reading, hint_words, reading
from annotator.raters.actions import Against
from annotator.raters.blind import keep_reading
from annotator.raters.metrics import verdicts
from annotator.raters.reliability import FEWEST_TASKS

PER_PAGE = 50
AGAINST = {"gold": "what people settled here", "reference": "the labels that the imported files brought along"}
NEED = 25  # trajectories with gold, below which nothing can be calibrated


def _against(request: Request, project_id: int) -> Against:
    """Gold, unless the reader asks for the files' labels or there is no gold yet."""
    given = request.GET.get("against") or request.POST.get("against")
    if given in AGAINST:
        return cast("Against", given)
    settled = Trajectory.objects.filter(project=project_id, gold_labels__step__isnull=False).exists()
    brought = Trajectory.objects.filter(project=project_id, reference_labels__step__isnull=False).exists()
    return "reference" if brought and not settled else "gold"


def _only_drawn(request: Request, against: Against) -> bool:
    """Whether to measure by what rounds drew at random alone; the files' labels are of everything."""
    return against == "gold" and request.GET.get("only") == "random"


@require_GET
def rater_list(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    against = _against(request, membership.project.pk)
    only_drawn = _only_drawn(request, against)
    gold, compared, versions = actions.compare_models(membership.project, against, only_drawn=only_drawn)
    drawn = gold.at_random()
    query = {"against": against} | ({"only": "random"} if only_drawn else {})
    latest = Calibration.objects.filter(version__in=versions).order_by("version_id", "-id").distinct("version_id")
    context = {
        "membership": membership,
        "section": "raters",
        "against": against,
        "choices": AGAINST,
        "n_trajectories": len(gold.ids),
        "n_steps": gold.n_steps,
        "n_half": gold.n_half,
        "only_drawn": only_drawn,
        "n_chosen": gold.n_chosen,
        "n_drawn": len(drawn.ids),
        "n_drawn_tasks": drawn.n_tasks,
        "fewest_tasks": FEWEST_TASKS,
        "rows": reading.model_rows(
            versions, compared, {one.version_id: one for one in latest}, query, n_trajectories=len(gold.ids)
        ),
        "titles": [(one.title, one.meaning) for one in reading.FIGURES],
        "size": reading.SIZE,
        "is_admin": membership.role == Membership.Role.ADMIN,
        "need": NEED,
    }
    return render(request, "raters/list.html", context)


@require_GET
def hint_report(request: Request, slug: str) -> HttpResponse:
    """What suggestions do to the labels of this project, arm by arm."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    project = membership.project
    against = _against(request, project.pk)
    found = hint_figures.report(hint_reading.read(project, against))
    context = {
        "membership": membership,
        "section": "hints",
        "policy": project.hints,
        "against": against,
        "choices": AGAINST,
        "arms": [(hint_words.WORDS[arm], found.arms[arm]) for arm in hint_figures.ARMS],
        "n_judgements": sum(arm.n_judgements for arm in found.arms.values()),
        "conclusions": hint_words.conclude(found, is_own_gold=against == "gold"),
        "rows": hint_reading.rows_of(found),
        "drawings": hint_reading.drawings_of(found),
    }
    return render(request, "raters/hints.html", context)


@require_POST
def calibrate(request: Request, slug: str, pk: int) -> HttpResponse:
    """Fits how a version's numbers become probabilities, on the gold that there is now."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    version = get_object_or_404(ModelVersion.objects.select_related("project"), pk=pk, project=membership.project)
    against = _against(request, membership.project.pk)
    with refusals_shown(request):
        found = actions.fit(version, against, user=request.user)
        said = f"{version} is calibrated on {found.n_trajectories} trajectories with {found.n_steps} steps."
        messages.success(request, said)
    return redirect(f"{reverse('rater-list', args=[slug])}?against={against}#model-{pk}")


class CellForm(forms.Form):
    """A cell of a confusion matrix, as its link names it; what is missing or wrong asks for nothing."""

    gold = forms.TypedChoiceField(choices=[(value, value) for value in (-1, 0, 1)], coerce=int, required=False)
    said = forms.ChoiceField(choices=[(value, value) for value in ("-1", "0", "1", "none")], required=False)


@dataclass(frozen=True)
class StepRow:
    trajectory: Trajectory
    index: int
    gold: int
    said: int | None
    probs: Sequence[float] | None
    rationale: str | None


@require_GET
def rater_steps(request: Request, slug: str) -> HttpResponse:
    """The steps of one cell: what gold says, what the model says and why."""
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    version = get_object_or_404(ModelVersion, pk=number_of(request.GET.get("version")) or 0, project=membership.project)
    form = CellForm(request.GET)
    form.is_valid()
    against = _against(request, membership.project.pk)
    only_drawn = _only_drawn(request, against)
    found = _steps_of(version, against, form.cleaned_data, only_drawn=only_drawn)
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    rows = _with_texts(version, list(page.object_list))
    keep_reading(membership.project, [row.trajectory for row in rows], request.user)
    context = {
        "membership": membership,
        "section": "raters",
        "version": version,
        "against": against,
        "only_drawn": only_drawn,
        "filters": form.cleaned_data,
        "page": page,
        "rows": rows,
    }
    return render(request, "raters/steps.html", context)


# Trajectory, step, gold, verdict (None: it abstained) and probabilities.
Found = tuple[int, int, int, int | None, list[float] | None]


def _steps_of(
    version: ModelVersion, against: Against, wanted: dict[str, Any], *, only_drawn: bool = False
) -> list[Found]:
    """Every step that fits, in the order of trajectories."""
    gold = actions.fair_gold(version, against)
    if only_drawn:
        gold = gold.at_random()
    found: list[Found] = []
    for pk, one, probs in zip(gold.ids, gold.gold, actions.probabilities(version, gold), strict=True):
        said = [None] * len(one.values) if probs is None else [None if v == 3 else int(v) - 1 for v in verdicts(probs)]
        for index, value in enumerate(one.values):
            if not one.has_gold[index]:
                continue
            fits_gold = wanted.get("gold") in ("", None) or int(value) == wanted["gold"]
            fits_said = not wanted.get("said") or wanted["said"] == (
                "none" if said[index] is None else str(said[index])
            )
            if fits_gold and fits_said:
                row = None if probs is None or said[index] is None else probs[index].tolist()
                found.append((pk, index, int(value), said[index], row))
    return found


def _with_texts(version: ModelVersion, rows: Sequence[Found]) -> list[StepRow]:
    ids = {row[0] for row in rows}
    trajectories = Trajectory.objects.only("external_id").in_bulk(ids)
    rationales = dict(version.predictions.filter(trajectory__in=ids).values_list("trajectory", "rationales"))
    return [
        StepRow(trajectories[pk], index, gold, said, probs, (rationales.get(pk) or {index: None})[index])
        for pk, index, gold, said, probs in rows
    ]
