"""The hint arm of a slot, drawn when it is claimed for the first time, and what it is drawn for."""

from annotator.models import Assignment, ModelVersion, Prediction, Project, Trajectory

NoHints = Assignment.NoHints

FIELDS = ("hint_arm", "hint_version", "hint_calibration", "no_hints")


def draw(slot: Assignment, project: Project) -> None:
    """Gives a slot that is being claimed its arm, if it has none yet; the caller saves FIELDS.

    A slot can be drawn into an arm only where the model has something to show. Then it keeps the version also in the
    blind arm, so that the arms are compared on trajectories of one kind. Who claims it has no part in this: what
    somebody has seen in another slot is theirs (raters.blind), and the slot may yet go to somebody else.
    """
    if slot.hint_arm:
        return
    slot.hint_arm = Assignment.HintArm.BLIND
    if project.hints.is_blind:
        return
    version = ModelVersion.objects.filter(project=project, name=project.hints.model).order_by("-number").first()
    slot.no_hints = _why_none(slot, version)
    if not slot.no_hints:
        assert version is not None
        external_id = Trajectory.objects.values_list("external_id", flat=True).get(pk=slot.trajectory_id)
        slot.hint_arm = project.hints.draw(project.slug, external_id, slot.slot)
        slot.hint_version = version
        slot.hint_calibration = version.calibrations.last()


def _why_none(slot: Assignment, version: ModelVersion | None) -> str:
    """Why nothing can be shown, or an empty text."""
    if slot.wanted_steps is not None:
        return NoHints.SPOT_QUESTION  # people differ there: the model would decide
    if slot.pick is not None and slot.pick.probability is not None:
        return NoHints.RANDOM_SAMPLE  # estimates and promises rest on it
    if version is None:
        return NoHints.NO_PREDICTION
    if version.sees_reference:
        return NoHints.SEES_REFERENCE
    said = Prediction.objects.filter(version=version, trajectory=slot.trajectory_id).values_list("probs", flat=True)
    probs = said.first()
    if probs is None:
        return NoHints.NO_PREDICTION
    return NoHints.ABSTAINED if all(row[0] is None for row in probs) else ""
