"""Models as raters: what can be started, runs, and how models compare with gold."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.response import Response

from annotator import access
from annotator.access import SETTLERS, Role
from annotator.agreement.sums import VALUES
from annotator.api.bodies import Body, parse, read_choice, read_json, refuse_body
from annotator.api.pagination import paginate
from annotator.api.requests import ApiRequest, endpoint
from annotator.api.schema import PAGE, describe, page_of
from annotator.api.serializers.common import JobSerializer
from annotator.api.serializers.models import (
    HintReportSerializer,
    LearningPolicySerializer,
    LearningSerializer,
    ModelSerializer,
    PrelabelRequestSerializer,
    PrelabelRunSerializer,
    RatersSerializer,
    ReliabilitiesSerializer,
    TrainingSerializer,
)
from annotator.models import Calibration, PrelabelRun
from annotator.prelabelling import actions, catalogue, learning, learning_reading, reading, training
from annotator.prelabelling.learning_policy import LearningPolicy
from annotator.raters import actions as raters
from annotator.raters import hint_figures, hint_reading, hint_words, reliability_reading
from annotator.raters.reliability_page import RaterRow


@describe("list_models", answers={200: ModelSerializer(many=True)})
@endpoint("GET")
def model_list(request: ApiRequest, slug: str) -> Response:
    """The models that can be started, from their files. For admins."""
    access.get_membership(request.user, slug, Role.ADMIN)
    found = sorted(catalogue.read(slug).models.items())
    models = [{"name": name, "kind": config.kind, "title": config.title} for name, config in found]
    return Response(ModelSerializer(models, many=True).data)


class RunIn(Body):
    """Which model to start, over which trajectories; with `dry_run` it is only estimated."""

    model: str
    filter: dict[str, Any] = {}
    dry_run: bool = False


@describe(
    "list_prelabel_runs",
    method="GET",
    description="The runs of models, newest first. For admins.",
    answers={200: page_of(PrelabelRunSerializer)},
    query=PAGE,
)
@describe(
    "start_prelabel_run",
    method="POST",
    description="Starts a model over the trajectories that it has not scored; watch and cancel its job. For admins.",
    request=PrelabelRequestSerializer,
    answers={200: PrelabelRunSerializer, 202: PrelabelRunSerializer},
    refusals=(400, 403, 404, 409),
)
@endpoint("GET", "POST")
def run_list(request: ApiRequest, slug: str) -> Response:
    """GET lists the runs, newest first; POST starts one. For admins."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    if request.method == "GET":
        runs = project.prelabel_runs.select_related("job", "version").order_by("-id")
        return paginate(request, runs, lambda page: PrelabelRunSerializer(page, many=True).data)
    wanted = parse(RunIn, read_json(request))
    config = catalogue.read(slug).get(wanted.model)
    selection = actions.Selection.parse(wanted.filter)
    estimate = reading.estimate(project, config, selection)
    if wanted.dry_run:
        return Response(PrelabelRunSerializer(PrelabelRun(model_name=config.name, estimate=estimate)).data)
    run = actions.start(project, config, selection, estimate=estimate, user=request.user)
    return Response(PrelabelRunSerializer(run).data, status=202)


@describe(
    "train_scorer",
    description="Has the project's own step scorer trained from a release; its job says how far it is. For admins.",
    request=TrainingSerializer,
    answers={202: JobSerializer},
    refusals=(400, 403, 404),
)
@endpoint("POST")
def scorer_list(request: ApiRequest, slug: str) -> Response:
    """Starts a training; when its job is done, the scorer is a model of the project. For admins."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    job = training.start(project, training.parse(read_json(request)), user=request.user)
    return Response(JobSerializer(job).data, status=202)


@describe(
    "read_learning",
    method="GET",
    description="Training in the loop: the policy, the learning curve, what is in use. For admins.",
    answers={200: LearningSerializer},
)
@describe(
    "start_learning",
    method="POST",
    description="Starts a training from the gold of now, whether one is due or not; watch its job. For admins.",
    answers={202: JobSerializer},
    refusals=(400, 403, 404, 409),
)
@describe(
    "change_learning",
    method="PATCH",
    description="Changes the named fields of the learning policy. For admins.",
    request=LearningPolicySerializer,
    answers={200: LearningSerializer},
    refusals=(400, 403, 404),
)
@endpoint("GET", "POST", "PATCH")
def learning_detail(request: ApiRequest, slug: str) -> Response:
    """GET reads it, POST starts a training, PATCH changes the policy. For admins."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    if request.method == "POST":
        refuse_body(request)
        return Response(JobSerializer(learning.start(project, user=request.user)).data, status=202)
    if request.method == "PATCH":
        wanted = parse(LearningPolicy, read_json(request))
        learning.change_policy(project, wanted.model_dump(mode="json", exclude_unset=True), user=request.user)
    page = learning_reading.read(project)
    due, current = page.due, page.current
    found = {
        "policy": due.policy.model_dump(),
        "name": page.name,
        "n_gold": due.n_gold,
        "n_before": due.n_before,
        "n_missing": due.n_missing,
        "job": page.job,
        "current": current.pk if current else None,
        "points": page.points,
        "concluded": page.conclusions.known,
        "not_concluded": page.conclusions.open,
    }
    return Response(LearningSerializer(found).data)


AGAINST = ("gold", "reference")
ONLY = ("random",)  # what selection rounds drew by chance; of the files' labels all count


@describe(
    "compare_raters",
    answers={200: RatersSerializer},
    refusals=(400, 403, 404),
    query=(OpenApiParameter("against", enum=AGAINST), OpenApiParameter("only", enum=ONLY)),
)
@endpoint("GET")
def rater_list(request: ApiRequest, slug: str) -> Response:
    """Every model's latest version against gold, or against what came with the files. For reviewers and admins."""
    project = access.get_membership(request.user, slug, *SETTLERS).project
    against: raters.Against = "reference" if read_choice(request, "against", AGAINST) == "reference" else "gold"
    only_drawn = read_choice(request, "only", ONLY) is not None and against == "gold"
    gold, compared, versions = raters.compare_models(project, against, only_drawn=only_drawn)
    calibrated = set(Calibration.objects.filter(version__in=versions).values_list("version", flat=True))
    found = [
        {
            "model": version.name,
            "version": version.number,
            "kind": version.kind,
            "sees_reference": version.sees_reference,
            "is_calibrated": version.pk in calibrated or version.config.get("is_calibrated", False),
            "config_sha256": version.config_sha256,
            "weights_sha256": version.weights_sha256,
            "render_sha256": version.render_sha256,
            **asdict(compared[str(version)]),
        }
        for version in versions
    ]
    report = {
        "against": against,
        "values": VALUES,
        "n_trajectories": len(gold.ids),
        "n_steps": gold.n_steps,
        "n_half": gold.n_half,
        "n_chosen": gold.n_chosen,
    }
    return Response(RatersSerializer({**report, "raters": found}).data)


BESIDE = ("gold", "posterior")


@describe(
    "report_reliability",
    answers={200: ReliabilitiesSerializer},
    refusals=(400, 403, 404),
    query=(OpenApiParameter("against", enum=BESIDE),),
)
@endpoint("GET")
def reliability(request: ApiRequest, slug: str) -> Response:
    """How far people and models can be relied on, beside what they had no part in. For reviewers and admins."""
    project = access.get_membership(request.user, slug, *SETTLERS).project
    against: reliability_reading.Against = (
        "posterior" if read_choice(request, "against", BESIDE) == "posterior" else "gold"
    )
    found = reliability_reading.report(project, against)
    silent = [{"name": name, "left_out": why} for name, why in found.silent]
    report = {"against": against, "values": VALUES, "raters": [_reliability(row) for row in found.rows]}
    return Response(ReliabilitiesSerializer({**report, "silent": silent}).data)


def _reliability(row: RaterRow) -> dict[str, Any]:
    drift = row.report.drift
    return {
        **vars(row.report),
        "key": row.key,
        "name": row.name,
        "kind": row.kind,
        "hears_itself": row.hears_itself,
        "change": drift.change,
        "p": drift.p,
        "drift": row.drift,
        "blocks": [{"first": first, "last": last, "right": figure} for first, last, figure in drift.blocks],
        "verdicts": [f"{row.name} {verdict.text}" for verdict in row.verdicts],
        "left_out": row.left_out,
    }


@describe(
    "report_hints",
    answers={200: HintReportSerializer},
    refusals=(400, 403, 404),
    query=(OpenApiParameter("against", enum=AGAINST),),
)
@endpoint("GET")
def hint_report(request: ApiRequest, slug: str) -> Response:
    """What suggestions do to labels: figures per arm, differences from blind, what that allows to say. For admins."""
    project = access.get_membership(request.user, slug, Role.ADMIN).project
    against: raters.Against = "reference" if read_choice(request, "against", AGAINST) == "reference" else "gold"
    found = hint_figures.report(hint_reading.read(project, against))
    conclusions = hint_words.conclude(found, is_own_gold=against == "gold")
    arms = {
        name: {**asdict(arm), "is_enough": arm.is_enough, "differences": found.differences.get(name, {})}
        for name, arm in found.arms.items()
    }
    report = {"policy": project.hints.model_dump(), "against": against, "arms": arms}
    return Response(
        HintReportSerializer({**report, "concluded": conclusions.shown, "not_concluded": conclusions.open}).data
    )
