"""Background work as admins see it."""

from datetime import timedelta

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.timezone import now
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotator import access, flow, jobs
from annotator.dashboard.forms import FORMAT_LABELS
from annotator.http import Request
from annotator.models import AuditEvent, Job, Membership

PER_PAGE = 50
# A worker that is running takes a job within a second or two.
LONG_WAIT = timedelta(seconds=10)

# Jobs that store as they go, and how what a cancelled one has left is done.
GOES_ON = {
    Job.Kind.PRELABEL: "Run it again to go on.",
    Job.Kind.IMPORT_PREDICTIONS: "Import the file again to go on; nothing is added twice.",
    Job.Kind.FUSE: "The next fusion, or the next selection round, goes on.",
    Job.Kind.WITHDRAW: "People are asked about what it took back; try again for the rest.",
    Job.Kind.SELECT: "It chose nothing; the next round goes on with what it believed.",
}


@require_GET
def job_list(request: Request, slug: str) -> HttpResponse:
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    found = membership.project.jobs.select_related("created_by").defer("result").order_by("-id")
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    rows = [(job, progress_text(job)) for job in page.object_list]
    context = {"membership": membership, "section": "jobs", "page": page, "rows": rows}
    return render(request, "dashboard/job_list.html", context)


@never_cache
@require_GET
def job_detail(request: Request, pk: int) -> HttpResponse:
    """One job; while it is not finished its fragment asks for itself again every second."""
    membership, job = access.get_job(request.user, pk)
    report = job.result if job.kind in (Job.Kind.IMPORT, Job.Kind.IMPORT_CHECK) and job.result else None
    context = {
        "membership": membership,
        "section": "jobs",
        "job": job,
        "progress": progress_text(job),
        "waits_long": job.status == Job.Status.QUEUED and now() - job.queued_at > LONG_WAIT,
        "report": report,
        "learnt": job.result if job.kind == Job.Kind.TRAIN_SCORER and job.status == Job.Status.DONE else None,
        "in_loop": job.result if job.kind == Job.Kind.LEARN and job.status == Job.Status.DONE else None,
        "format": FORMAT_LABELS.get(report["format"], report["format"]) if report else "",
        "onward": _onward(job),
        "goes_on": GOES_ON.get(Job.Kind(job.kind)) if job.started_at else None,
        "can_import": _can_import(job),
        "can_retry": jobs.can_retry(job),
        "log": AuditEvent.objects.filter(object_type="job", object_id=job.pk).order_by("id"),
        "n_stored": job.trajectories.count() if job.kind == Job.Kind.IMPORT and job.is_finished else 0,
    }
    return render(request, "dashboard/job.html#job" if request.htmx else "dashboard/job.html", context)


def _onward(job: Job) -> tuple[str, str] | None:
    """Where to see what a job that is done has made: what the link says, and its address."""
    if job.status != Job.Status.DONE:
        return None
    slug, result = job.project.slug, job.result
    match job.kind:
        case Job.Kind.PUBLISH:
            return f"To release {result['number']}", reverse("release-detail", args=[result["release"]])
        case Job.Kind.FUSE:
            return "To what is believed", reverse("beliefs", args=[slug])
        case Job.Kind.SELECT:
            return f"To round {result['number']}", reverse("selection-round", args=[slug, result["number"]])
        case Job.Kind.ACCEPT | Job.Kind.WITHDRAW:
            return f"To promise {result['number']}", reverse("acceptance-detail", args=[slug, result["number"]])
        case Job.Kind.PRELABEL:
            return "To the run", reverse("prelabel-run", args=[job.prelabel_run.pk])
        case Job.Kind.IMPORT_PREDICTIONS:
            return "To the models", reverse("model-list", args=[slug])
    return None


def _can_import(job: Job) -> bool:
    """Whether a check found something that an import with the same choices would bring in."""
    if job.kind != Job.Kind.IMPORT_CHECK or job.status != Job.Status.DONE:
        return False
    return bool(job.result["n_trajectories"]) and not (job.params["on_error"] == "abort" and job.result["n_bad"])


@require_POST
def job_cancel(request: Request, pk: int) -> HttpResponse:
    _, job = access.get_job(request.user, pk)
    flow.cancel_job(job, user=request.user)
    return redirect("job-detail", pk)


@require_POST
def job_retry(request: Request, pk: int) -> HttpResponse:
    _, job = access.get_job(request.user, pk)
    return redirect("job-detail", jobs.retry(job, user=request.user).pk)


def progress_text(job: Job) -> str:
    """How far the job is, in its own unit: `1.2 of 3.2 MB`, `4 of 20 files`."""
    if job.n_total is None:
        return f"{job.n_done} {job.unit}"
    if job.unit != "bytes":
        return f"{job.n_done} of {job.n_total} {job.unit}"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if job.n_total >= factor:
            return f"{job.n_done / factor:.1f} of {job.n_total / factor:.1f} {unit}"
    return f"{job.n_done} of {job.n_total} bytes"
