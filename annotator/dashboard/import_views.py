"""Import of a file: upload, check, and then the import itself as a job."""

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from annotator import access, flow
from annotator.dashboard.forms import ImportForm
from annotator.errors import JobConflict
from annotator.http import Request
from annotator.importing import uploads
from annotator.models import Job, Membership, Upload


@require_http_methods(["GET", "POST"])
def import_new(request: Request, slug: str) -> HttpResponse:
    """Takes a file and queues the check of what it would bring; nothing is imported yet."""
    membership = access.get_membership(request.user, slug, Membership.Role.ADMIN)
    form = ImportForm(request.POST or None, request.FILES or None, label_suffix="")
    if request.method == "POST" and form.is_valid():
        file: UploadedFile[bytes] = form.cleaned_data["file"]
        upload = uploads.store(membership.project, file.name or "file", file.chunks(), user=request.user)
        job = flow.request_import(
            upload,
            format=form.cleaned_data["format"] or None,
            on_error=form.cleaned_data["on_error"],
            is_dry_run=True,
            user=request.user,
        )
        return redirect("job-detail", job.pk)
    context = {"membership": membership, "section": "import", "form": form}
    status = 422 if request.method == "POST" else 200
    return render(request, "dashboard/import_new.html", context, status=status)


@require_POST
@transaction.atomic
def import_checked(request: Request, pk: int) -> HttpResponse:
    """Queues the import of a file that was checked; asked twice, it leads to the same job."""
    membership, check = access.get_job(request.user, pk)
    if check.kind != Job.Kind.IMPORT_CHECK or check.status != Job.Status.DONE:
        raise JobConflict("Only a file that was checked to its end can be imported. Wait for the check, or repeat it.")
    upload_id = check.params["upload"]
    # The second click of a double click waits here and then finds the job of the first.
    upload = Upload.objects.select_for_update().filter(pk=upload_id, project=membership.project).first()
    job = (
        membership.project.jobs.filter(kind=Job.Kind.IMPORT, params__upload=upload_id)
        .exclude(status__in=[Job.Status.FAILED, Job.Status.CANCELLED])
        .first()
    )
    if job is None:
        if upload is None:
            raise JobConflict("The file is no longer there: uploads are kept for a week. Upload and check it again.")
        job = flow.request_import(
            upload,
            format=check.params["format"],
            on_error=check.params["on_error"],
            is_dry_run=False,
            user=request.user,
        )
    return redirect("job-detail", job.pk)
