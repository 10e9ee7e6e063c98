"""What an annotator is shown of what the model of their assignment said, and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotator.agreement.coefficients import BoolArray
from annotator.fusion import suggest
from annotator.fusion.reading import turns_of
from annotator.models import Annotation, Assignment, Calibration, ModelVersion, Prediction
from annotator.prelabelling.rules import Finding
from annotator.raters.calibrated import calibrated

HintArm = Assignment.HintArm

# Rules whose findings speak against +1 so plainly that a person is asked once (V7).
DOUBTS = {"R1", "R2", "R3", "R4"}


@dataclass(frozen=True)
class Hint:
    """What the model says of one step. Not a label: nobody's judgement until a person confirms it."""

    value: int
    certainty: float | None  # the probability of the value; None for the outcome, which models only name
    rationale: str
    is_calibrated: bool
    is_shortened: bool  # the model had not read everything up to this step
    own_value: int  # what the model says without knowing the annotator's labels
    evidence: tuple[float, ...] = ()  # the probabilities of -1, 0, +1 that labels act upon; () for the outcome

    @property
    def percent(self) -> int | None:
        return None if self.certainty is None else round(100 * self.certainty)


def are_shown(assignment: Assignment, annotation: Annotation | None) -> bool:
    """Whether the annotator has, or may have, what the model said before them."""
    if assignment.hint_arm == HintArm.HINTED:
        return True
    return (
        assignment.hint_arm == HintArm.REVEAL_AFTER and annotation is not None and annotation.hints_shown_at is not None
    )


def shown(
    assignment: Assignment, annotation: Annotation | None, labels: Mapping[int, int] | None = None
) -> dict[int | None, Hint]:
    """By step index (None: the outcome); a step of which the model said nothing has none. Nothing before its time.

    labels: the annotator's own by step index. In the hinted arm they change what is suggested for the steps after them.
    """
    return hints_of(assignment, labels) if are_shown(assignment, annotation) else {}


def hints_of(assignment: Assignment, labels: Mapping[int, int] | None = None) -> dict[int | None, Hint]:
    """All that the version of the assignment says of what it asks for, as it was when the assignment was claimed."""
    rows = Prediction.objects.filter(version=assignment.hint_version_id, trajectory=assignment.trajectory_id)
    prediction = rows.select_related("version").first()
    if prediction is None:
        return {}
    calibration_id = assignment.hint_calibration_id
    calibration = None if calibration_id is None else Calibration.objects.get(pk=calibration_id)
    is_calibrated = calibration is not None or prediction.version.kind == ModelVersion.Kind.FUSION
    own = probs = evidence = calibrated(prediction.probs, calibration)
    if follows(assignment):
        # Of steps that are not asked for nothing is shown, and nothing told by what follows from them.
        is_wanted = np.array([[assignment.wants_step(index)] for index in range(len(own))])
        evidence = np.where(is_wanted, suggest.trusted(own, is_calibrated=is_calibrated), np.nan)
        probs = suggest.conditioned(evidence, _turns(assignment, len(own)), labels or {})
    shortened = prediction.first_truncated_step
    found: dict[int | None, Hint] = {
        index: Hint(
            value=int(np.argmax(row)) - 1,
            certainty=float(row.max()),
            rationale=(prediction.rationales[index] if index < len(prediction.rationales) else None) or "",
            is_calibrated=is_calibrated,
            is_shortened=shortened is not None and index >= shortened,
            own_value=int(np.argmax(own[index])) - 1,
            evidence=tuple(evidence[index].tolist()),
        )
        for index, row in enumerate(probs)
        if assignment.wants_step(index) and not np.isnan(row[0])
    }
    if prediction.outcome is not None and assignment.wants_outcome:
        said = prediction.outcome
        found[None] = Hint(said, None, "", False, is_shortened=shortened is not None, own_value=said)
    return found


def follows(assignment: Assignment) -> bool:
    """Whether each label changes what is suggested for the steps after it."""
    return assignment.hint_arm == HintArm.HINTED


def _turns(assignment: Assignment, n_steps: int) -> BoolArray:
    """(n_steps,) which of the trajectory's steps begin a turn."""
    return turns_of({assignment.trajectory_id: 0}, np.array([0, n_steps]))


def for_script(assignment: Assignment, shown: Mapping[int | None, Hint]) -> dict[str, Any] | None:
    """What the page needs to compute the same suggestions as `hints_of`, or None where they stay as they are."""
    evidence = {index: hint.evidence for index, hint in shown.items() if index is not None}
    if not follows(assignment) or not evidence:
        return None
    # Up to the last step with a suggestion; behind it there is nothing to be changed.
    heard = np.array([evidence.get(index, (np.nan,) * 3) for index in range(max(evidence) + 1)])
    return {
        "expected": suggest.expected(heard).tolist(),
        "pull": suggest.PULL.tolist(),
        "memory": suggest.MEMORY,
        "beginsTurn": _turns(assignment, assignment.trajectory.n_steps).tolist(),
        "turn": suggest.TURN,
    }


def doubts_about(assignment: Assignment, annotation: Annotation) -> Mapping[int, str]:
    """Step index -> what the project's rules found there that speaks against +1, where the annotator may be told."""
    if not are_shown(assignment, annotation):
        return {}
    rules = ModelVersion.objects.filter(project=assignment.project_id, kind=ModelVersion.Kind.RULES)
    said = Prediction.objects.filter(version__in=rules, trajectory=assignment.trajectory_id)
    findings = said.order_by("-version_id").values_list("findings", flat=True).first() or []
    doubts: dict[int, str] = {}
    for finding in (Finding(**one) for one in findings):
        if finding.code in DOUBTS:
            doubts.setdefault(finding.step, finding.sentence)
    return doubts
