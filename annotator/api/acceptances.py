"""Promises under which labels of models become gold: start one, read them, end one. For admins."""

from collections.abc import Sequence
from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework.response import Response

from annotator import access
from annotator.acceptance import actions
from annotator.acceptance.terms import Terms
from annotator.access import Role
from annotator.api.bodies import Body, parse, read_json
from annotator.api.pagination import paginate
from annotator.api.requests import ApiRequest, endpoint
from annotator.api.schema import PAGE, describe, page_of
from annotator.api.serializers.acceptances import AcceptanceSerializer, StopSerializer, TermsSerializer
from annotator.api.serializers.common import JobSerializer
from annotator.models import Acceptance


class StopIn(Body):
    """What becomes of the labels."""

    withdraw: bool


@describe(
    "list_acceptances",
    method="GET",
    description="Every promise with its test and its audit, the latest first. For admins.",
    answers={200: page_of(AcceptanceSerializer)},
    query=PAGE,
)
@describe(
    "start_acceptance",
    method="POST",
    description="Tests a promise and accepts what it allows; watch its job. For admins.",
    request=TermsSerializer,
    answers={202: JobSerializer},
    refusals=(400, 403, 404, 409),
)
@endpoint("GET", "POST")
def acceptance_list(request: ApiRequest, slug: str) -> Response:
    """GET pages through them, POST starts one."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    if request.method == "POST":
        terms = parse(Terms, read_json(request))
        return Response(JobSerializer(actions.start(project, terms, user=request.user)).data, status=202)
    rows = project.acceptances.defer("parameters").prefetch_related("audits").order_by("-number")

    def represent(some: Sequence[Acceptance]) -> Any:
        return [_represent(one) for one in some]

    return paginate(request, rows, represent)


@describe(
    "stop_acceptance",
    method="POST",
    description="Ends a promise; its labels are taken back, or stay gold that nobody audits. Labels that stayed can be "
    "taken back later. For admins.",
    request=StopSerializer,
    answers={200: AcceptanceSerializer},
    refusals=(400, 403, 404, 409),
)
@endpoint("POST")
def acceptance_stop(request: ApiRequest, slug: str, number: int) -> Response:
    """Answers with the promise as it is then; a job takes the labels back."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    promise = get_object_or_404(project.acceptances.defer("parameters"), number=number)
    actions.stop(promise, withdraws=parse(StopIn, read_json(request)).withdraw, user=request.user)
    promise.refresh_from_db(fields=["status", "stop_reason", "stopped_at"])
    return Response(_represent(promise))


def _represent(promise: Acceptance) -> Any:
    fields = ("number", "job_id", "status", "epsilon", "delta", "audit_share", "threshold", "most_each", "report")
    found = {name: getattr(promise, name) for name in (*fields, "stop_reason", "created_at", "stopped_at")}
    return AcceptanceSerializer({**found, "audit": actions.audited(promise)}).data
