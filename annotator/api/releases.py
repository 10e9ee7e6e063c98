"""Publishing releases and fetching their files."""

from collections.abc import Sequence

from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.decorators import content_negotiation_class
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from annotator import access, flow
from annotator.access import SETTLERS, Role
from annotator.api.bodies import ReleaseIn, parse, read_json
from annotator.api.pagination import paginate
from annotator.api.requests import ApiRequest, endpoint
from annotator.api.schema import PAGE, describe, page_of
from annotator.api.serializers.common import JobSerializer
from annotator.api.serializers.releases import ReleaseDetailSerializer, ReleaseSerializer
from annotator.errors import NothingToRelease
from annotator.models import Job
from annotator.releases.downloads import download
from annotator.releases.exporters import EXPORTERS
from annotator.releases.policy import SPLITS


@describe(
    "list_releases",
    method="GET",
    description="The published releases, newest first. For reviewers and admins.",
    answers={200: page_of(ReleaseSerializer)},
    query=PAGE,
)
@describe(
    "publish_release",
    method="POST",
    description="Publishes the next release of all that is settled now. For admins.",
    request=ReleaseIn,
    answers={
        201: ReleaseDetailSerializer,
        202: OpenApiResponse(
            JobSerializer, "A large release: a worker publishes it; ask for the job until it is done."
        ),
    },
    refusals=(400, 403, 404, 409),
)
@endpoint("GET", "POST")
def release_list(request: ApiRequest, slug: str) -> Response:
    """GET lists the published releases, newest first (reviewers, admins); POST publishes the next one (admins)."""
    if request.method == "POST":
        return _publish(request, slug)
    project = access.get_membership(request.user, slug, *SETTLERS).project
    published = project.releases.published().select_related("project", "created_by").defer("manifest")
    return paginate(request, published, lambda page: ReleaseSerializer(page, many=True).data)


def _publish(request: ApiRequest, slug: str) -> Response:
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    policy = parse(ReleaseIn, read_json(request)).policy
    job = flow.publish(project, policy, user=request.user)
    if job.status == Job.Status.FAILED:
        # The policy was read before: what the job itself can find wrong is that it leaves nothing.
        raise NothingToRelease(job.error)
    if job.status != Job.Status.DONE:
        return Response(JobSerializer(job).data, status=202)
    _, release = access.get_release(request.user, job.result["release"])
    return Response(ReleaseDetailSerializer(release).data, status=201)


@describe("get_release", answers={200: ReleaseDetailSerializer})
@endpoint("GET")
def release_detail(request: ApiRequest, pk: int) -> Response:
    """A release with its manifest. For reviewers and admins."""
    _, release = access.get_release(request.user, pk)
    return Response(ReleaseDetailSerializer(release).data)


class AnyAccept(DefaultContentNegotiation):
    """Whatever the client says it accepts, it gets the format that the address names."""

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: Sequence[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], str(renderers[0].media_type)


@describe(
    "export_release",
    answers={
        (200, "application/x-ndjson"): OpenApiResponse(OpenApiTypes.BINARY, "The file; X-Content-SHA256 has its hash."),
        (200, "application/json"): OpenApiTypes.BINARY,
    },
    refusals=(400, 403, 404),
    query=(OpenApiParameter("format", enum=list(EXPORTERS), required=True), OpenApiParameter("split", enum=SPLITS)),
)
@endpoint("GET")
@content_negotiation_class(AnyAccept)
def release_export(request: ApiRequest, pk: int) -> Response | FileResponse:
    """One file of a release, of one split or of all; always the same bytes. For reviewers and admins."""
    _, release = access.get_release(request.user, pk)
    return download(release, request.query_params.get("format", ""), request.query_params.get("split"))
