"""Agreement, disputes and reviewers' decisions."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.response import Response

from annotator import access, flow
from annotator.access import SETTLERS
from annotator.adjudication import actions as adjudication
from annotator.adjudication.reading import letters_of
from annotator.adjudication.turns import is_withheld, knows_reviewers, turn_of, version_of, wants_of
from annotator.agreement import actions as agreement
from annotator.agreement.sums import VALUES
from annotator.api.bodies import read_choice, read_json
from annotator.api.pagination import paginate
from annotator.api.requests import ApiRequest, endpoint
from annotator.api.schema import PAGE, describe, page_of
from annotator.api.serializers.disputes import (
    AgreementSerializer,
    DecisionRequestSerializer,
    DecisionSerializer,
    DisputeSerializer,
)
from annotator.models import Adjudication, Assignment, Dispute, Label, Project, User
from annotator.projects import actions as projects

TARGETS = ("steps", "outcome", "all")
STATUSES = ("open", "decided")


@describe("get_agreement", answers={200: AgreementSerializer})
@endpoint("GET")
def agreement_detail(request: ApiRequest, slug: str) -> Response:
    """How far people agree, over all and per pair, from what is submitted now. For reviewers and admins."""
    project = access.get_membership(request.user, slug, *SETTLERS).project
    report = asdict(agreement.report(project))
    named = _raters(project, {rater for pair in report["pairs"] for rater in pair["raters"]})
    for pair in report["pairs"]:
        pair["raters"] = [named[rater] for rater in pair["raters"]]
    return Response(AgreementSerializer({"values": VALUES, **report}).data)


def _raters(project: Project, user_ids: set[int]) -> dict[int, dict[str, str]]:
    codes = projects.rater_codes(project)
    names = User.objects.filter(pk__in=user_ids).values_list("pk", "username")
    return {pk: {"rater_code": codes.get(pk, f"r-former-{pk}"), "username": username} for pk, username in names}


@describe(
    "list_disputes",
    answers={200: page_of(DisputeSerializer)},
    refusals=(400, 403, 404),
    query=(OpenApiParameter("target", enum=TARGETS), OpenApiParameter("status", enum=STATUSES), *PAGE),
)
@endpoint("GET")
def dispute_list(request: ApiRequest, slug: str) -> Response:
    """Disputes, worthiest first: of steps unless `target` says otherwise, open and decided. For reviewers and admins.

    Where two reviewers decide blind, the first decision is not in the answer until the second is stored. Disputes of a
    trajectory that you are labelling yourself are left out until you have submitted.
    """
    project = access.get_membership(request.user, slug, *SETTLERS).project
    target, status = read_choice(request, "target", TARGETS), read_choice(request, "status", STATUSES)
    in_work = Assignment.objects.in_work_by(request.user).values("trajectory")
    disputes = Dispute.objects.filter(trajectory__project=project).exclude(trajectory__in=in_work).worthiest_first()
    if target != "all":
        disputes = disputes.filter(step__isnull=target == "outcome")
    if status is not None:
        disputes = disputes.filter(decided_at__isnull=status == "open")
    disputes = disputes.select_related("step", "trajectory__review").prefetch_related("adjudications__reviewer")
    light = disputes.only(
        "severity",
        "decided_at",
        "step",
        "trajectory__external_id",
        "trajectory__review__needs_second",
        "trajectory__review__status",
    )
    return paginate(request, light, partial(_represent, reader=request.user))


def _represent(disputes: Sequence[Dispute], *, reader: User) -> Any:
    letters = letters_of({dispute.trajectory_id for dispute in disputes})
    labels = _labels(letters)
    rows = []
    for dispute in disputes:
        here = labels[dispute.trajectory_id, dispute.step_id]
        values = [{"rater": letters[label.annotation_id], "value": label.value} for label in here]
        rows.append(
            {
                "id": dispute.pk,
                "trajectory": dispute.trajectory,
                "step": dispute.step,
                "severity": dispute.severity,
                "status": "open" if dispute.decided_at is None else "decided",
                "values": sorted(values, key=lambda said: (len(str(said["rater"])), str(said["rater"]))),
                "version": version_of(list(dispute.adjudications.all()), here, reader),
                **_as_seen_by(reader, dispute),
            }
        )
    return DisputeSerializer(rows, many=True).data


def _as_seen_by(reader: User, dispute: Dispute) -> dict[str, object]:
    """What was decided, as far as it would not sway the reader, and what they are asked for.

    Where two decide blind, other reviewers have no name before all of the trajectory's disputes are settled.
    """
    decisions = list(dispute.adjudications.all())
    review = dispute.trajectory.review
    turn = turn_of(decisions, reader, needs_second=review.needs_second)
    is_named = knows_reviewers(reader, review, [], has_asked=False)
    seen = [] if is_withheld(decisions, reader) else decisions
    return {
        "decisions": [_decision(made, is_named=is_named or made.reviewer_id == reader.pk) for made in seen],
        "wants": wants_of(turn),
    }


def _decision(made: Adjudication, *, is_named: bool) -> dict[str, object]:
    names = ("value", "reason_code", "note", "decided_at", "turn")
    reviewer = made.reviewer.username if is_named else None
    return {"id": made.pk, "reviewer": reviewer, **{name: getattr(made, name) for name in names}}


def _labels(annotation_ids: Collection[int]) -> dict[tuple[int, int | None], list[Label]]:
    """Those of current revisions, by trajectory and step."""
    labels: dict[tuple[int, int | None], list[Label]] = defaultdict(list)
    # Not by the trajectory: what is submitted at this moment has no letter yet.
    for label in Label.objects.submitted().filter(annotation__in=annotation_ids).select_related("annotation"):
        labels[label.annotation.trajectory_id, label.step_id].append(label)
    return labels


@describe(
    "decide_dispute",
    request=DecisionRequestSerializer,
    answers={201: DecisionSerializer},
    refusals=(400, 403, 404, 409),
)
@endpoint("POST")
def decision_create(request: ApiRequest, pk: int) -> Response:
    """Decides a dispute; a later decision overrules, and both stay. For reviewers and admins.

    Where two reviewers decide blind, the dispute is settled by the second decision if it is like the first one, else by
    the one after it.
    """
    _, dispute = access.get_dispute(request.user, pk)
    decision = flow.decide(dispute, request.user, adjudication.parse_decision(read_json(request)))
    return Response(DecisionSerializer(_decision(decision, is_named=True)).data, status=201)
