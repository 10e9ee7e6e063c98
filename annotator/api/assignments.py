"""Claiming, labelling and submitting: the API's side of an annotator's work."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework.response import Response

from annotator import access, flow
from annotator.access import Role
from annotator.api.bodies import SkipIn, parse, read_json, refuse_body
from annotator.api.requests import ApiRequest, endpoint
from annotator.api.schema import describe
from annotator.api.serializers.assignments import AssignmentSerializer, AssignmentStateSerializer, HintsSerializer
from annotator.errors import InvalidInput
from annotator.labelling import actions as labelling
from annotator.labelling import completeness, hints, intake
from annotator.labelling.hints import Hint
from annotator.labelling.shown import newest
from annotator.models import Annotation, Assignment, Guideline, Step, User
from annotator.queue import actions as queue


@describe(
    "claim_assignment",
    answers={200: AssignmentSerializer, 204: OpenApiResponse(description="Nothing is left for you to label.")},
    refusals=(400, 403, 404),
)
@endpoint("POST")
def claim(request: ApiRequest, slug: str) -> Response:
    """Claims the best open slot for you; each call claims one more. For annotators."""
    project = access.get_membership(request.user, slug, Role.ANNOTATOR).project
    refuse_body(request)
    assignment = queue.claim_next(project, request.user)
    if assignment is None:
        return Response(status=204)
    return Response(_whole(assignment, request.user))


@describe("get_assignment", answers={200: AssignmentSerializer}, refusals=(404,))
@endpoint("GET")
def assignment_detail(request: ApiRequest, pk: int) -> Response:
    """An assignment of yours: the trajectory, what is asked, and what you have said so far."""
    return Response(_whole(access.get_assignment(request.user, pk), request.user))


@describe(
    "save_labels",
    request=intake.LabelsIn,
    answers={200: AssignmentStateSerializer},
    refusals=(400, 404, 409),
)
@endpoint("PUT")
def save_labels(request: ApiRequest, pk: int) -> Response:
    """Saves labels into your draft. What is not named stays; saving the same again changes nothing."""
    basis = access.get_basis(request.user, pk)
    data = read_json(request)
    changes = intake.parse_labels(data)
    try:
        basis = labelling.save(basis, request.user, changes)
    except InvalidInput as error:
        raise _placed(error, data) from None
    values = {index: label.value for index, label in basis.labels_by_index.items()}
    return Response(_as_data(basis.assignment, basis.draft, values, completeness.missing_in(basis), request.user))


@describe("submit_assignment", answers={200: AssignmentStateSerializer}, refusals=(400, 404, 409, 422))
@endpoint("POST")
def submit(request: ApiRequest, pk: int) -> Response:
    """Makes your labels final. Submitting again is harmless."""
    access.get_assignment(request.user, pk)
    refuse_body(request)
    flow.submit(pk, request.user)
    return _state_response(pk, request.user)


@describe("skip_assignment", request=SkipIn, answers={200: AssignmentStateSerializer}, refusals=(400, 404, 409))
@endpoint("POST")
def skip(request: ApiRequest, pk: int) -> Response:
    """Leaves the trajectory to somebody else for good; you are not offered it again."""
    access.get_assignment(request.user, pk)
    queue.skip(pk, request.user, parse(SkipIn, read_json(request)).reason)
    return _state_response(pk, request.user)


@describe("release_assignment", answers={200: AssignmentStateSerializer}, refusals=(400, 404, 409))
@endpoint("POST")
def release_claim(request: ApiRequest, pk: int) -> Response:
    """Gives the claim back; your draft stays, and you may be offered the trajectory again."""
    access.get_assignment(request.user, pk)
    refuse_body(request)
    queue.release_claim(pk, request.user)
    return _state_response(pk, request.user)


@describe("show_hints", answers={200: HintsSerializer}, refusals=(400, 404, 409))
@endpoint("POST")
def show_hints(request: ApiRequest, pk: int) -> Response:
    """What the model says of the steps. With the arm `reveal_after` only when all that is wanted has your label.

    Labels that you change afterwards are recorded as changed after it. Nothing is shown in the arm `blind`.
    """
    access.get_assignment(request.user, pk)
    refuse_body(request)
    return Response(HintsSerializer({"hints": _as_rows(labelling.show_hints(pk, request.user))}).data)


def _as_rows(shown: Mapping[int | None, Hint]) -> list[dict[str, Any]]:
    return [{"step": index, **asdict(hint)} for index, hint in shown.items()]


def _state_response(pk: int, user: User) -> Response:
    return Response(_state(Assignment.objects.select_related("project").get(pk=pk), user))


def _state(assignment: Assignment, user: User) -> dict[str, Any]:
    """What the person said last and where the assignment stands."""
    return _state_of(assignment, newest(assignment, user), user)


def _state_of(assignment: Assignment, annotation: Annotation | None, user: User) -> dict[str, Any]:
    values: dict[int | None, int] = {}
    if annotation is not None:
        values = dict(annotation.labels.order_by("step__index").values_list("step__index", "value"))
    return _as_data(assignment, annotation, values, completeness.missing_labels(assignment, annotation), user)


def _as_data(
    assignment: Assignment,
    annotation: Annotation | None,
    values: Mapping[int | None, int],
    missing: list[str],
    user: User,
) -> dict[str, Any]:
    """An AssignmentState, ready for JSON; of another holder only that there is one."""
    is_mine = assignment.annotator_id == user.pk
    return {
        "id": assignment.pk,
        "status": assignment.status,
        "lease_expires_at": assignment.lease_expires_at if is_mine else None,
        "submitted_at": annotation.submitted_at if annotation else None,
        "labels": [{"step": index, "value": value} for index, value in values.items() if index is not None],
        "outcome": values.get(None),
        "missing": missing,
    }


def _whole(assignment: Assignment, user: User) -> Mapping[str, Any]:
    trajectory, annotation = assignment.trajectory, newest(assignment, user)
    are_shown = hints.are_shown(assignment, annotation)
    steps = list(Step.objects.filter(trajectory=trajectory).order_by("index"))
    for step in steps:
        step.is_wanted = assignment.wants_step(step.index)  # type: ignore[attr-defined]
    state = _state_of(assignment, annotation, user)
    labels = {label["step"]: label["value"] for label in state["labels"]}
    everything = {
        **state,
        "hint_arm": assignment.hint_arm or Assignment.HintArm.BLIND,
        "hints": _as_rows(hints.hints_of(assignment, labels)) if are_shown else None,
        "project": assignment.project.slug,
        "wanted_steps": assignment.wanted_steps,
        "wants_outcome": assignment.wants_outcome,
        "guideline": Guideline.objects.filter(project=assignment.project_id).first(),
        "trajectory": trajectory,
        "external_id": trajectory.external_id,
        "instruction": trajectory.instruction,
        "messages": trajectory.messages,
        "tools": trajectory.tools,
        "steps": steps,
    }
    return AssignmentSerializer(everything).data


def _placed(error: InvalidInput, data: object) -> InvalidInput:
    """The refusal with `step 7` replaced by where the request says so, e.g. `labels[0].step`."""
    body: dict[str, Any] = data if isinstance(data, dict) else {}
    places = {f"step {label['step']}": f"labels[{i}].step" for i, label in enumerate(body.get("labels", []))}
    places |= {f"step {index}": f"cleared[{i}]" for i, index in enumerate(body.get("cleared", []))}
    return InvalidInput(error.message, {places.get(name, name): said for name, said in error.fields.items()})
