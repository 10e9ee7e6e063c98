"""Rounds of selection: the policy, starting one, and what it chose with which probability. For admins."""

from collections.abc import Sequence
from typing import Any

from django.shortcuts import get_object_or_404
from rest_framework.response import Response

from annotator import access
from annotator.access import Role
from annotator.api.bodies import parse, read_json, refuse_body
from annotator.api.pagination import paginate
from annotator.api.requests import ApiRequest, endpoint
from annotator.api.schema import PAGE, describe, page_of
from annotator.api.serializers.common import JobSerializer
from annotator.api.serializers.selection import SelectionPickSerializer, SelectionPolicySerializer, SelectionSerializer
from annotator.models import SelectionPick, SelectionRound
from annotator.projects.actions import change_settings
from annotator.selection import actions
from annotator.selection.policy import SelectionPolicy

N_ROUNDS = 50


@describe(
    "read_selection",
    method="GET",
    description="The selection policy and the latest rounds. For admins.",
    answers={200: SelectionSerializer},
)
@describe(
    "start_selection",
    method="POST",
    description="Starts a round with the policy of now; watch its job. It fuses first if there is more to learn from. "
    "For admins.",
    answers={202: JobSerializer},
    refusals=(400, 403, 404, 409),
)
@describe(
    "change_selection",
    method="PATCH",
    description="Changes the named fields of the selection policy. For admins.",
    request=SelectionPolicySerializer,
    answers={200: SelectionSerializer},
    refusals=(400, 403, 404),
)
@endpoint("GET", "POST", "PATCH")
def selection_detail(request: ApiRequest, slug: str) -> Response:
    """GET reads it, POST starts a round, PATCH changes the policy."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    if request.method == "POST":
        refuse_body(request)
        return Response(JobSerializer(actions.start(project, user=request.user)).data, status=202)
    if request.method == "PATCH":
        wanted = parse(SelectionPolicy, read_json(request))
        changes = {"selection_policy": wanted.model_dump(mode="json", exclude_unset=True)}
        change_settings(project, changes, user=request.user)
        project.refresh_from_db()
    rounds = SelectionRound.objects.filter(project=project).select_related("job", "fusion")
    found = {
        "policy": project.selection.model_dump(),
        "n_pool": actions.untouched(project).count(),
        "rounds": rounds.defer("fusion__parameters", "fusion__report").order_by("-number")[:N_ROUNDS],
    }
    return Response(SelectionSerializer(found).data)


@describe(
    "list_picks",
    method="GET",
    description="What a round chose, in the order in which people get it. For admins.",
    answers={200: page_of(SelectionPickSerializer)},
    query=PAGE,
)
@endpoint("GET")
def pick_list(request: ApiRequest, slug: str, number: int) -> Response:
    """Paged."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    round_ = get_object_or_404(SelectionRound, project=project, number=number)
    picks = round_.picks.select_related("trajectory").defer("trajectory__messages", "trajectory__tools")

    def represent(some: Sequence[SelectionPick]) -> Any:
        return SelectionPickSerializer(some, many=True).data

    return paginate(request, picks, represent)
