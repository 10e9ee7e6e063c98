"""The page that says what is believed about the steps, why, and where it is most likely wrong."""

from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from annotator import access
from annotator.fusion import actions
from annotator.fusion.panel import LEAST_GOLD
from annotator.fusion.suggestions import TRUSTED
from annotator.http import Request, refusals_shown
from annotator.models import Fusion, Job, Membership, Posterior
from annotator.raters.reading import SIZE, points

PER_PAGE = 25
# How each method is called, in the order of the table.
METHODS = {
    "blend": "stacker and chain, blended",
    "stacker": "stacker",
    "chain": "gold-anchored chain",
    "best_single": "the best single model",
    "majority": "majority of the models",
    "dawid_skene": "Dawid-Skene",
    "chain_dawid_skene": "Dawid-Skene with a chain",
}


@dataclass(frozen=True)
class MethodRow:
    """Shares from 0 to 1; the first error is None where no trajectory has gold in full."""

    title: str
    is_chosen: bool
    scores: dict[str, float | None]
    interval: list[float] | None


@dataclass(frozen=True)
class Bar:
    """One column of the histogram of certainty; x, y and height in a drawing of 300 by 100."""

    x: float
    y: float
    height: float
    title: str


@require_http_methods(["GET", "POST"])
def beliefs(request: Request, slug: str) -> HttpResponse:
    roles = [Membership.Role.ADMIN] if request.method == "POST" else access.SETTLERS
    membership = access.get_membership(request.user, slug, *roles)
    project = membership.project
    if request.method == "POST":
        with refusals_shown(request):
            return redirect("job-detail", actions.start(project, user=request.user).pk)
        return redirect("beliefs", slug)
    fusion = project.fusions.defer("parameters").select_related("job").last()
    rows = (
        Posterior.objects.filter(project=project)
        .select_related("trajectory")
        .order_by("-expected_errors", "trajectory")
    )
    fields = (
        "trajectory__external_id",
        "trajectory__n_steps",
        "expected_errors",
        "mean_entropy",
        "updated_at",
    )
    page = Paginator(rows.only(*fields), PER_PAGE).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "membership": membership,
        "section": "beliefs",
        "fusion": fusion,
        "page": page,
        "is_admin": membership.role == Membership.Role.ADMIN,
        "job": project.jobs.filter(kind=Job.Kind.FUSE, finished_at=None).first(),
    }
    if fusion is not None:
        context |= {
            "methods": _methods(fusion),
            "points": points(fusion.report.get("reliability", [])),
            "size": SIZE,
            "bars": _bars(fusion.report["certainty"]),
            "n_new": actions.n_settled_since(project, fusion),
            "n_half": project.trajectories.half_settled().count(),
            "spoken": actions.spoken_since(project, fusion),
            "is_trusted": fusion.method in TRUSTED,
            "strange": _strange(fusion),
            "versions": fusion.versions.order_by("name"),
        }
    return render(request, "fusion/beliefs.html", context)


def _methods(fusion: Fusion) -> list[MethodRow]:
    scores, intervals = fusion.report["scores"], fusion.report.get("intervals", {})
    return [
        MethodRow(title, name == fusion.method, scores[name], intervals.get(name))
        for name, title in METHODS.items()
        if name in scores
    ]


def _bars(counts: list[int]) -> list[Bar]:
    most, total = max([*counts, 1]), max(sum(counts), 1)
    return [
        Bar(
            x=30.0 * i,
            y=round(100 - 100 * n / most, 1),
            height=round(100 * n / most, 1),
            title=f"{10 * i} to {10 * i + 10} % sure: {n} steps, {100 * n / total:.0f} %",
        )
        for i, n in enumerate(counts)
    ]


def _strange(fusion: Fusion) -> list[dict[str, Any]]:
    """Sources beside others of which the fusion has seen hardly any gold."""
    sources = fusion.report.get("sources", [])  # of older fusions nothing is known
    few = [one for one in sources if one["n_gold"] < min(LEAST_GOLD, one["n_trajectories"])]
    return few if len(sources) > 1 else []
