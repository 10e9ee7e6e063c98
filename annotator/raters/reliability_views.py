"""How far people and models can be relied on, and the steps behind each figure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from django import forms
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotator import access
from annotator.agreement.coefficients import FloatArray
from annotator.agreement.sums import VALUES
from annotator.http import Request
from annotator.models import Trajectory
from annotator.raters import reliability_page as page
from annotator.raters.blind import keep_reading
from annotator.raters.reliability import EARLY, FEWEST, FEWEST_OF_TREND, FEWEST_TASKS, MISSED, Said, deciding_weights
from annotator.raters.reliability_reading import Against, read, report

PER_PAGE = 50
_NOTHING = 1e-9  # by which sums of shares may miss 0 or 1
AGAINST = {"gold": "Gold", "posterior": "What Stepmark believes"}
_CHOICES = [(value, str(value)) for value in VALUES]


def _against(request: Request) -> Against:
    return "posterior" if request.GET.get("against") == "posterior" else "gold"


@require_GET
def reliability(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    against, sort = _against(request), request.GET.get("sort", "name")
    found = report(membership.project, against)
    rows = page.in_order(found.rows, sort)
    context = {
        "membership": membership,
        "section": "raters",
        "against": against,
        "choices": AGAINST,
        "n_half": found.n_half,
        "n_trajectories": found.n_trajectories,
        "n_chosen": found.n_chosen,
        "rows": rows,
        "verdicts": [(row, verdict) for row in rows for verdict in row.verdicts],
        "own_voice": [row.name for row in rows if row.hears_itself],
        "silent": found.silent,
        "columns": [_column(key, title, sort) for key, title in page.SORTS.items()],
        "spark_height": page.SPARK_HEIGHT,
        "limits": {
            "fewest": FEWEST,
            "tasks": FEWEST_TASKS,
            "labels": FEWEST_OF_TREND,
            "points": f"{100 * page.LEAST_DIFFERENCE:g}",
            "missed": f"{100 * page.MISSED:g}",
            "early": f"{100 * page.EARLY:g}",
        },
    }
    return render(request, "raters/reliability.html", context)


def _column(key: str, title: str, sort: str) -> dict[str, str]:
    """Where a heading leads: to this order or, from there, to the reverse."""
    is_now, is_reversed = sort.removeprefix("-") == key, sort.startswith("-")
    aria = ("descending" if is_reversed else "ascending") if is_now else ""
    return {"key": key, "title": title, "to": f"-{key}" if is_now and not is_reversed else key, "aria": aria}


class StepsForm(forms.Form):
    """Which steps of a rater, as a figure's link names them; what is missing or wrong asks for nothing."""

    truth = forms.TypedChoiceField(choices=_CHOICES, coerce=int, required=False, empty_value=None)
    said = forms.TypedChoiceField(choices=_CHOICES, coerce=int, required=False, empty_value=None)
    show = forms.ChoiceField(choices=[(one, one) for one in ("wrong", "missed", "early")], required=False)


@dataclass(frozen=True)
class StepRow:
    trajectory: Trajectory
    index: int
    said: int
    truth: list[float]
    weight: float

    @property
    def settled(self) -> int | None:
        """The value that the yardstick is sure of."""
        return next((value for value, share in self.shares if share > 1 - _NOTHING), None)

    @property
    def shares(self) -> list[tuple[int, float]]:
        return [(value, share) for value, share in zip(VALUES, self.truth, strict=True) if share > 0][::-1]


@require_GET
def reliability_steps(request: Request, slug: str) -> HttpResponse:
    """What a rater said, step by step, beside what it is compared with."""
    membership = access.get_membership(request.user, slug, *access.SETTLERS)
    against = _against(request)
    found = read(membership.project, against)
    numbers = {rater.key: number for number, rater in enumerate(found.raters)}
    key = request.GET.get("rater", "")
    if key not in numbers:
        raise Http404("Nobody of that name has judged anything in this project.")
    form = StepsForm(request.GET)
    form.is_valid()
    own = found.said.where(found.said.rater == numbers[key])
    weights = _weights(own, form.cleaned_data)
    order = np.lexsort((own.step, own.trajectory, -weights.round(9)))
    chosen = order[weights[order] > _NOTHING]  # the heaviest first
    rows, weights = own.where(chosen), weights[chosen]
    paged = Paginator(range(len(rows.value)), PER_PAGE).get_page(request.GET.get("page"))
    places = np.array(list(paged.object_list), dtype=np.int64)
    on_page = rows.where(places)
    trajectories = Trajectory.objects.only("external_id").in_bulk(on_page.trajectory.tolist())
    rater = found.raters[numbers[key]]
    says_models_word = rater.kind == "model" or against == "posterior"
    if says_models_word:
        keep_reading(membership.project, trajectories.values(), request.user)
    context = {
        "membership": membership,
        "section": "raters",
        "against": against,
        "rater": rater,
        "says_models_word": says_models_word,
        "filters": form.cleaned_data,
        "page": paged,
        "weight": float(weights.sum()) if (weights < 1 - _NOTHING).any() else None,
        "rows": [
            StepRow(trajectories[int(pk)], int(step), int(value), truth.tolist(), float(weight))
            for pk, step, value, truth, weight in zip(
                on_page.trajectory, on_page.step, on_page.value, on_page.truth, weights[places], strict=True
            )
        ],
    }
    return render(request, "raters/reliability_steps.html", context)


def _weights(own: Said, wanted: dict[str, Any]) -> FloatArray:
    """(n,) how much each step adds to the figure that asks for it: in part where what counts is divided."""
    values = np.array(VALUES)
    counts = np.ones(own.truth.shape, dtype=bool)
    if wanted.get("truth") is not None:
        counts &= values == wanted["truth"]
    if wanted.get("show") == "wrong":
        counts &= values != own.value[:, None]
    weights = np.where(counts, own.truth, 0.0).sum(axis=1)
    if wanted.get("said") is not None:
        weights = weights * (own.value == wanted["said"])
    if wanted.get("show") in ("missed", "early"):
        weights = weights * deciding_weights(own, MISSED if wanted["show"] == "missed" else EARLY)
    return np.asarray(weights)
