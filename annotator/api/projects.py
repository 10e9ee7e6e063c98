"""Projects, their trajectories, imports and jobs."""

from drf_spectacular.utils import OpenApiResponse
from rest_framework.decorators import parser_classes
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from annotator import access, flow
from annotator.access import SETTLERS, Role
from annotator.api.bodies import ImportForm, refuse_body
from annotator.api.pagination import paginate
from annotator.api.requests import ApiRequest, endpoint
from annotator.api.schema import PAGE, describe, page_of
from annotator.api.serializers.common import JobSerializer
from annotator.api.serializers.projects import (
    ImportSerializer,
    ProjectDetailSerializer,
    ProjectSerializer,
    TrajectorySerializer,
)
from annotator.importing import uploads
from annotator.models import Job, Membership


@describe("list_projects", answers={200: page_of(ProjectSerializer)}, refusals=(), query=PAGE)
@endpoint("GET")
def project_list(request: ApiRequest) -> Response:
    """The projects that you take part in."""
    memberships = Membership.objects.filter(user=request.user).select_related("project").order_by("project__slug")
    return paginate(request, memberships, lambda page: ProjectSerializer(page, many=True).data)


@describe("get_project", answers={200: ProjectDetailSerializer}, refusals=(404,))
@endpoint("GET")
def project_detail(request: ApiRequest, slug: str) -> Response:
    """One project with its current guideline."""
    return Response(ProjectDetailSerializer(access.get_membership(request.user, slug)).data)


@describe("list_trajectories", answers={200: page_of(TrajectorySerializer)}, query=PAGE)
@endpoint("GET")
def trajectory_list(request: ApiRequest, slug: str) -> Response:
    """The project's trajectories in the order of their import, without their messages. For reviewers and admins."""
    project = access.get_membership(request.user, slug, *SETTLERS).project
    trajectories = project.trajectories.with_progress().defer("messages", "tools", "reference", "metadata")
    return paginate(request, trajectories.order_by("id"), lambda page: TrajectorySerializer(page, many=True).data)


@describe(
    "start_import",
    request={"multipart/form-data": ImportSerializer},
    answers={202: OpenApiResponse(JobSerializer, "The import is queued; ask for the job until it is finished.")},
    refusals=(400, 403, 404, 415),
)
@endpoint("POST")
@parser_classes([MultiPartParser])
def import_start(request: ApiRequest, slug: str) -> Response:
    """Uploads a file of trajectories and queues its import. For admins."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    form = ImportForm(request)
    upload = uploads.store(project, form.file.name or "upload", form.file.chunks(), user=request.user)
    job = flow.request_import(
        upload, format=form.format, on_error=form.on_error, is_dry_run=form.is_dry_run, user=request.user
    )
    return Response(JobSerializer(job).data, status=202)


@describe("get_job", answers={200: JobSerializer})
@endpoint("GET")
def job_detail(request: ApiRequest, pk: int) -> Response:
    """How far a job is, and what came of it. For admins."""
    _, job = access.get_job(request.user, pk)
    return Response(JobSerializer(job).data)


@describe("cancel_job", answers={200: JobSerializer}, refusals=(400, 403, 404, 409))
@endpoint("POST")
def job_cancel(request: ApiRequest, pk: int) -> Response:
    """Stops a queued job at once and a running one at its next step; what was done stays. For admins."""
    _, job = access.get_job(request.user, pk)
    refuse_body(request)
    flow.cancel_job(job, user=request.user)
    return Response(JobSerializer(Job.objects.select_related("project", "created_by").get(pk=pk)).data)
