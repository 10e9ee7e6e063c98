"""What people see of training in the loop: points with their figures, the curve, what is in use, what comes next."""

from dataclasses import dataclass
from typing import Any

from annotator.labelling.effort import Effort
from annotator.models import Job, LearningPoint, Project, SelectionRound
from annotator.prelabelling import catalogue, learning
from annotator.prelabelling.learning_curve import Conclusions, Curve, CurvePoint, Share, conclude, draw
from annotator.prelabelling.learning_policy import Due
from annotator.prelabelling.scorer_config import ScorerConfig


@dataclass(frozen=True)
class Row:
    """One training as the table shows it."""

    point: LearningPoint
    figures: list[tuple[str, str]]  # value and interval, in the order of FIGURES

    @property
    def timed(self) -> str:
        """Which share of the labels was timed; empty where all were, or where that was not kept."""
        facts = self.point.facts
        return Effort(facts["n_labels"], facts["n_timed"]).timed if "n_timed" in facts else ""


@dataclass(frozen=True)
class Page:
    due: Due
    missing: str  # what a training of now would lack
    name: str
    job: Job | None  # the latest training
    current: LearningPoint | None  # whose version is in use
    of_current: CurvePoint | None
    is_there: bool  # a model file of the name
    points: list[LearningPoint]  # oldest first
    rows: list[Row]  # newest first, each followed by its baseline
    curves: list[Curve]
    conclusions: Conclusions
    slice_name: str  # what the baseline is called in short
    what_baseline: str
    no_baseline: str  # why the latest training has no baseline


FIGURES = (("step_acc", True), ("first_err_acc", True), ("macro_f1", True), ("ece", False), ("nll", False))


def points_of(project: Project) -> list[LearningPoint]:
    """Every point of the project, oldest first."""
    return list(project.learning_points.select_related("version").order_by("id"))


def current_of(project: Project, points: list[LearningPoint]) -> LearningPoint | None:
    """The point whose version the model file names now."""
    config = catalogue.read(project.slug).models.get(project.learning.name_for(project.slug))
    if not isinstance(config, ScorerConfig):
        return None
    kept = [p for p in points if p.is_kept and p.facts.get("weights_sha256") == config.weights_sha256]
    return kept[-1] if kept else None


def read(project: Project) -> Page:
    points = points_of(project)
    curve = curve_points(points)
    current = current_of(project, points)
    main = [point for point in points if not point.is_baseline]
    baseline = str(main[-1].facts.get("baseline", "")) if main else ""
    is_skipped = baseline.startswith("skipped: ")
    has_rounds = SelectionRound.objects.filter(project=project, picks__isnull=False).exists()
    drawn = [draw(curve, "steps"), draw(curve, "seconds")]
    name = project.learning.name_for(project.slug)
    return Page(
        due=learning.due(project),
        missing=learning.missing(project),
        name=name,
        job=learning.latest_job(project),
        current=current,
        of_current=curve[points.index(current)] if current else None,
        is_there=name in catalogue.read(project.slug).models,
        points=points,
        rows=[Row(p, _figures(p.metrics)) for p in sorted(points, key=lambda p: (-p.facts["job"], p.is_baseline))],
        curves=[one for one in drawn if one],
        conclusions=conclude(curve, has_rounds=has_rounds),
        slice_name="random slice" if has_rounds else "random half",
        what_baseline="" if is_skipped else baseline,
        no_baseline=baseline.removeprefix("skipped: ") if is_skipped else "",
    )


def curve_points(points: list[LearningPoint]) -> list[CurvePoint]:
    """The same points for the curve. The version that the latest training replaced, or not, as measured anew by it."""
    main = [point for point in points if not point.is_baseline]
    return [_curve_point(point, main[-1]) for point in points] if main else []


def _curve_point(point: LearningPoint, latest: LearningPoint) -> CurvePoint:
    metrics, before = point.metrics, latest.metrics["before"]
    is_of_now = point.facts["job"] == latest.facts["job"]
    if not is_of_now and before and point.is_kept and point.facts.get("weights_sha256") == before["weights_sha256"]:
        over = before["step_acc"]["value"] - latest.metrics["always_positive"]["value"]
        # Trainings from before it was kept have no interval of it.
        metrics = {**latest.metrics, "over_always": {"value": over, "low": None, "high": None}, **before}
        is_of_now = True
    difference = point.metrics.get("difference")
    return CurvePoint(
        is_baseline=point.is_baseline,
        is_kept=point.is_kept,
        n_trajectories=point.n_trajectories,
        n_steps=point.n_steps,
        n_chosen=point.facts.get("n_chosen", 0),
        seconds=point.effort_seconds,
        step_acc=_share(metrics["step_acc"]),
        always_positive=_share(metrics["always_positive"]),
        over_always=_share(metrics["over_always"]),
        over_before=_share(difference["step_acc"]) if difference else None,
        n_held_out_tasks=metrics["held_out"]["n_tasks"],
        n_held_out_steps=metrics["held_out"]["n_steps"],
        is_of_now=is_of_now,
    )


def _share(figure: dict[str, Any]) -> Share:
    return Share(figure["value"] or 0.0, figure["low"], figure["high"])


def _figures(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for name, is_share in FIGURES:
        figure = metrics[name]
        shown = [None if figure[part] is None else _text(figure[part], is_share) for part in ("value", "low", "high")]
        found.append((shown[0] or "–", f"{shown[1]} to {shown[2]}" if shown[1] and shown[2] else ""))
    return found


def _text(value: float, is_share: bool) -> str:
    return f"{100 * value:.1f}" if is_share else f"{value:.3f}"
