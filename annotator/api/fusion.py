"""What all raters together are taken to say: for reviewers and admins, never for annotators."""

from collections.abc import Sequence
from typing import Any

from django.http import Http404
from rest_framework.response import Response

from annotator import access
from annotator.access import SETTLERS, Role
from annotator.api.bodies import refuse_body
from annotator.api.pagination import paginate
from annotator.api.requests import ApiRequest, endpoint
from annotator.api.schema import PAGE, describe, page_of
from annotator.api.serializers.common import JobSerializer
from annotator.api.serializers.fusion import FusionSerializer, PosteriorSerializer
from annotator.fusion import actions
from annotator.models import Posterior


@describe(
    "read_fusion",
    method="GET",
    description="The latest fusion: its method, why, and every method on held-out tasks. For reviewers and admins.",
    answers={200: FusionSerializer},
)
@describe(
    "start_fusion",
    method="POST",
    description="Starts a fusion of everything that is there now; watch its job. For admins.",
    answers={202: JobSerializer},
    refusals=(400, 403, 404, 409),
)
@endpoint("GET", "POST")
def fusion_detail(request: ApiRequest, slug: str) -> Response:
    """GET reads the latest, POST starts a new one."""
    roles = [Role.ADMIN] if request.method == "POST" else SETTLERS
    project = access.get_membership(request.user, slug, *roles).project
    if request.method == "POST":
        refuse_body(request)
        return Response(JobSerializer(actions.start(project, user=request.user)).data, status=202)
    fusion = project.fusions.defer("parameters").last()
    if fusion is None:
        raise Http404("The raters of this project have not been fused yet. Start it with a POST to this address.")
    found = {
        **{name: getattr(fusion, name) for name in ("number", "method", "reason", "n_trajectories", "n_steps")},
        "data_sha256": fusion.data_sha256,
        "created_at": fusion.created_at,
        "n_chosen": fusion.report.get("n_chosen", 0),
        "sources": fusion.report.get("sources", []),
        "raters": [str(version) for version in fusion.versions.order_by("name")],
        "scores": {
            name: {**score, "step_acc_interval": fusion.report.get("intervals", {}).get(name)}
            for name, score in fusion.report["scores"].items()
        },
    }
    return Response(FusionSerializer(found).data)


@describe(
    "list_posteriors",
    method="GET",
    description="What is believed about every step now, the most doubtful trajectories first. For settlers.",
    answers={200: page_of(PosteriorSerializer)},
    query=PAGE,
)
@endpoint("GET")
def posterior_list(request: ApiRequest, slug: str) -> Response:
    """Paged."""
    project = access.get_membership(request.user, slug, *SETTLERS).project
    rows = Posterior.objects.filter(project=project).select_related("trajectory", "fusion").order_by(
        "-expected_errors", "trajectory"
    )  # fmt: skip
    rows = rows.only(
        "trajectory__external_id", "fusion__number", "probs", "first_error", "expected_errors", "updated_at"
    )

    def represent(some: Sequence[Posterior]) -> Any:
        return PosteriorSerializer(
            [
                {
                    "trajectory": row.trajectory_id,
                    "external_id": row.trajectory.external_id,
                    "fusion": row.fusion.number,
                    "probs": row.probs,
                    "first_error": row.first_error,
                    "expected_errors": row.expected_errors,
                    "updated_at": row.updated_at,
                }
                for row in some
            ],
            many=True,
        ).data

    return paginate(request, rows, represent)
