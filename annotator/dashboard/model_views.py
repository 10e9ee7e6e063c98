"""What each model version said of one trajectory, for reviewers and admins who ask for it."""

from dataclasses import dataclass

import numpy as np
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotator import access
from annotator.agreement.coefficients import FloatArray
from annotator.fusion.drawing import draw
from annotator.http import Request
from annotator.models import Calibration, GoldLabel, ModelVersion, Posterior, Prediction, Trajectory
from annotator.prelabelling.rules import Finding
from annotator.raters.blind import keep_reading
from annotator.raters.calibrated import calibrated

STEPS_PER_PAGE = 50


@dataclass(frozen=True)
class Said:
    """What one version said of one step; no value: it abstained."""

    version: ModelVersion
    value: int | None
    probs: list[float]
    rationale: str
    findings: list[Finding]
    is_calibrated: bool
    is_shortened: bool
    is_extrapolated: bool

    @property
    def has_words(self) -> bool:
        return bool(self.rationale or self.findings or self.is_shortened or self.is_extrapolated)


@dataclass(frozen=True)
class Belief:
    """What all raters together are taken to say of one step. first: P(the first error is here)."""

    value: int
    probs: list[float]
    first: float


@dataclass(frozen=True)
class StepRow:
    index: int
    gold: GoldLabel | None
    said: list[Said]
    belief: Belief | None


@dataclass(frozen=True)
class Speaker:
    """One version's prediction with its probabilities, calibrated if the version is."""

    prediction: Prediction
    calibration: Calibration | None
    probs: FloatArray

    def of(self, index: int) -> Said:
        prediction, row = self.prediction, self.probs[index]
        has_spoken = not np.isnan(row[0])
        rationales, shortened = prediction.rationales, prediction.first_truncated_step
        extrapolated = prediction.first_extrapolated_step
        return Said(
            version=prediction.version,
            value=int(np.argmax(row)) - 1 if has_spoken else None,
            probs=row.tolist() if has_spoken else [],
            rationale=(rationales[index] if index < len(rationales) else None) or "",
            findings=[Finding(**one) for one in prediction.findings if one["step"] == index],
            is_calibrated=self.calibration is not None,
            is_shortened=shortened is not None and index >= shortened,
            is_extrapolated=extrapolated is not None and index >= extrapolated,
        )


@require_GET
def trajectory_models(request: Request, slug: str, pk: int) -> HttpResponse:
    membership, trajectory = access.get_trajectory(request.user, slug, pk)
    speakers = _speakers(trajectory)
    if speakers:
        keep_reading(membership.project, [trajectory], request.user)
    page = Paginator(range(trajectory.n_steps), STEPS_PER_PAGE).get_page(request.GET.get("page"))
    gold = {one.step.index: one for one in trajectory.gold_labels.select_related("step") if one.step}
    posterior = Posterior.objects.filter(trajectory=trajectory).first()
    # zip: the last of first_error is that there is none.
    believed = [
        Belief(int(np.argmax(row)) - 1, row, first)
        for row, first in (zip(posterior.probs, posterior.first_error, strict=False) if posterior else ())
    ]
    context = {
        "membership": membership,
        "section": "trajectories",
        "trajectory": trajectory,
        "speakers": speakers,
        "page": page,
        "drawing": draw(posterior.probs, posterior.first_error) if posterior else None,
        "rows": [
            StepRow(index, gold.get(index), [one.of(index) for one in speakers], believed[index] if believed else None)
            for index in page.object_list
        ],
    }
    return render(request, "dashboard/trajectory_models.html", context)


def _speakers(trajectory: Trajectory) -> list[Speaker]:
    own = trajectory.predictions.exclude(version__kind=ModelVersion.Kind.FUSION)  # its row is the posterior
    predictions = own.select_related("version").order_by("version__name", "-version__number")
    latest = Calibration.objects.filter(version__predictions__trajectory=trajectory)
    fitted = {one.version_id: one for one in latest.order_by("version_id", "-id").distinct("version_id")}
    return [
        Speaker(one, fitted.get(one.version_id), calibrated(one.probs, fitted.get(one.version_id)))
        for one in predictions
    ]
