"""The admins' pages of models: start one, watch it, see which versions have spoken."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotator import access
from annotator.errors import InvalidInput
from annotator.http import Request
from annotator.models import Job, Membership, PrelabelRun, PrelabelTarget
from annotator.prelabelling import actions, catalogue, reading, training
from annotator.prelabelling.configs import from_data
from annotator.prelabelling.forms import RunForm, TrainForm

MOST_RUNS = 20


@require_http_methods(["GET", "POST"])
def model_list(request: Request, slug: str) -> HttpResponse:
    """What has run and what can be started; a POST starts a run, with `estimate` it only says what one would take."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    project = membership.project
    found = catalogue.read(slug)
    form = RunForm(found.models, request.POST or None)
    estimate = None
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            config = found.get(form.cleaned_data["model"])
            estimate = reading.estimate(project, config, form.selection)
            if "estimate" not in request.POST:
                run = actions.start(project, config, form.selection, estimate=estimate, user=request.user)
                return redirect("prelabel-run", run.pk)
            status = 200
    context = {**_page(membership, found), "form": form, "estimate": estimate, "train_form": TrainForm(project)}
    template = "prelabelling/models.html#start" if request.htmx else "prelabelling/models.html"
    return render(request, template, context, status=status)


@require_POST
def scorer_train(request: Request, slug: str) -> HttpResponse:
    """Has the project's own step scorer trained; the job's page shows how far it is."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    form = TrainForm(membership.project, request.POST)
    if form.is_valid():
        try:
            job = training.start(membership.project, training.parse(form.cleaned_data), user=request.user)
        except InvalidInput as error:
            form.add_error(None, error.message)
        else:
            return redirect("job-detail", job.pk)
    found = catalogue.read(slug)
    start = RunForm(found.models)
    context = {**_page(membership, found), "form": start, "estimate": None, "train_form": form}
    return render(request, "prelabelling/models.html", context, status=422)


def _page(membership: Membership, found: catalogue.Catalogue) -> dict[str, Any]:
    """What the page of models shows beside its forms."""
    return {
        "membership": membership,
        "section": "models",
        "wrong": found.wrong,
        "folder": settings.MODELS_FOLDER,
        "versions": reading.versions_of(membership.project),
        "runs": reading.runs_of(membership.project, MOST_RUNS),
    }


@never_cache
@require_GET
def run_detail(request: Request, pk: int) -> HttpResponse:
    """One run; while it is not finished its fragment asks for itself again every second."""
    membership, run = access.get_prelabel_run(request.user, pk)
    page = reading.run_page(run)
    context = {
        "membership": membership,
        "section": "models",
        "page": page,
        "stalled_after": settings.JOB_STALLED_SECONDS,
    }
    template = "prelabelling/run.html#run" if request.htmx else "prelabelling/run.html"
    return render(request, template, context)


@require_POST
def run_again(request: Request, pk: int) -> HttpResponse:
    """Starts the same model over the same selection; what its version has scored already is left out."""
    _, run = access.get_prelabel_run(request.user, pk)
    return redirect("prelabel-run", _again(run, request).pk)


def _again(run: PrelabelRun, request: Request) -> PrelabelRun:
    # The model file as it is now: that it was mended may be why somebody tries again.
    current = catalogue.read(run.project.slug).models.get(run.model_name)
    config = current or from_data(run.config, "the model file of the run")
    selection = actions.Selection.parse(run.selection)
    n_left = run.targets.exclude(status=PrelabelTarget.Status.DONE).count()
    if selection.limit and n_left and run.job.status != Job.Status.DONE:
        selection = selection.model_copy(update={"limit": n_left})  # goes on, and takes no further portion
    estimate = reading.estimate(run.project, config, selection)
    return actions.start(run.project, config, selection, estimate=estimate, user=request.user)
