"""What a worker does with a training in the loop: learn from the gold of now, measure, and keep what is better."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import JsonValue

from annotator import flow, jobs
from annotator.agreement.coefficients import FloatArray
from annotator.errors import JobFailed
from annotator.labelling.effort import Effort
from annotator.models import Job, LearningPoint
from annotator.prelabelling import catalogue, learning, names
from annotator.prelabelling.learning_figures import Verdict, difference, judge, measure
from annotator.prelabelling.learning_policy import HELD_OUT_SHARE, LearningPolicy, is_held_out, what_is_missing
from annotator.prelabelling.rules_config import RULES_VERSION
from annotator.prelabelling.scorer_config import FEATURES_VERSION, MIN_TRAJECTORIES, ScorerConfig, ScorerOptions
from annotator.prelabelling.scores import ScoringError
from annotator.version import app_version
from workers.prelabel.loading import scorer_identity
from workers.prm import checkpoint, scoring
from workers.prm.data import Example
from workers.prm.encoder import Encoder, find_encoder
from workers.prm.errors import ScorerError
from workers.prm.learn import Learnt, learn
from workers.prm.scoring import Scorer
from workers.train_scorer import write_model_file


def work(job_id: int) -> None:
    flow.run_job(job_id, _learn)


def _learn(job: Job) -> dict[str, Any]:
    """The same job may run twice: what one worker had decided before it died, the next one carries out."""
    policy = LearningPolicy.model_validate(job.params["policy"])
    names.check_scorer(job.project, job.params["name"], in_loop=True)
    try:
        point = learning.recorded(job) or _train(job, policy)
    except ScorerError as error:
        raise JobFailed(str(error)) from None
    run = None
    if point.version is not None:
        config = ScorerConfig.model_validate(point.version.config)
        write_model_file(config)  # from here on the name means the new version
        run = learning.prelabel_rest(job, config) if policy.prelabels_rest else None
    return {
        "model": job.params["name"],
        "version": str(point.version) if point.version else None,
        "is_kept": point.is_kept,
        "reason": point.reason,
        "step_acc": point.metrics["step_acc"],
        "baseline": point.facts["baseline"],
        "prelabel_run": run and run.pk,
    }


def _train(job: Job, policy: LearningPolicy) -> LearningPoint:
    snapshot = learning.read_snapshot(job)
    options = ScorerOptions(
        name=job.params["name"], encoder=policy.encoder, max_epochs=policy.max_epochs, seed=policy.seed
    )
    encoder = find_encoder(options.encoder, catalogue.encoders_folder())
    examples = [Example(r.text, r.gold, r.content_sha256, is_held_out(str(r.gold.group))) for r in snapshot.rows]
    if missing := what_is_missing((str(row.gold.group), len(row.gold.values)) for row in snapshot.rows):
        raise ScorerError(missing)
    chosen = [i for i, row in enumerate(snapshot.rows) if row.is_baseline and not examples[i].is_test]
    skipped = "" if len(chosen) >= MIN_TRAJECTORIES else _too_small(snapshot, len(chosen))
    progress = _Progress(job, 1 if skipped else 2)

    learnt = learn(examples, options, encoder, progress.phase(0))
    config = learnt.model_file(job.project.slug)
    scorer = Scorer(config, learnt.checkpoint, learnt.encoder)
    said = _said(scorer, [one for one in examples if one.is_test and one.gold.has_gold.any()])
    metrics, verdict = _compared(job, said)

    baseline = None
    if not skipped:
        try:
            baseline = _baseline(snapshot, examples, chosen, [one for one, _ in said], encoder, learnt, progress)
        except ScorerError as error:
            skipped = f"skipped: {error}"
    facts = {**_facts(learnt), "weights_sha256": config.weights_sha256}
    facts["baseline"] = skipped or snapshot.what_baseline
    made = _made(snapshot.rows, examples, metrics, facts, reason=verdict.reason, is_kept=verdict.is_kept)
    if verdict.is_kept:
        # Beside the versions before it: nothing uses it until the model file names it.
        folder = checkpoint.version_folder(catalogue.checkpoint_folder(config.name), config.weights_sha256)
        checkpoint.write(folder, learnt.checkpoint, learnt.story)
    return learning.record(job, made, baseline, config, scorer_identity(config))


def _baseline(
    snapshot: learning.Snapshot,
    examples: Sequence[Example],
    chosen: Sequence[int],
    held_out: Sequence[Example],
    encoder: Encoder,
    main: Learnt,
    progress: "_Progress",
) -> learning.Made:
    """The same training on the slice alone, measured on the same held-out trajectories."""
    part = [examples[i] for i in chosen]
    learnt = learn(part, main.options, encoder, progress.phase(1))
    said = _said(Scorer(learnt.model_file(None), learnt.checkpoint, learnt.encoder), held_out)
    metrics = measure([one.gold for one, _ in said], [probs for _, probs in said])
    facts: dict[str, JsonValue] = {**_facts(learnt), "baseline": snapshot.what_baseline}
    reason = f"Learnt from {snapshot.what_baseline}, to compare with; it is never used."
    return _made([snapshot.rows[i] for i in chosen], part, metrics, facts, reason=reason, is_kept=False)


def _said(scorer: Scorer, held_out: Sequence[Example]) -> list[tuple[Example, FloatArray]]:
    """(n_steps, 3) for each that can be scored: one that is too long or nested too deep is so for every version."""
    scored = zip(held_out, scorer.score(enumerate(one.text for one in held_out)), strict=True)
    return [(one, scores.probs) for one, (_, scores) in scored if not isinstance(scores, ScoringError)]


def _compared(job: Job, said: Sequence[tuple[Example, FloatArray]]) -> tuple[dict[str, Any], Verdict]:
    """The figures of the new version, and whether it replaces the one that is used now."""
    held_out, new = [one for one, _ in said], [probs for _, probs in said]
    gold = [one.gold for one in held_out]
    metrics = {**measure(gold, new), "before": None, "difference": None}
    now = catalogue.read(job.project.slug).models.get(job.params["name"])
    if not isinstance(now, ScorerConfig):
        figures = metrics["step_acc"]["value"], metrics["always_positive"]["value"]
        note = "" if figures[0] > figures[1] else " It is not right more often than saying +1 always."
        return metrics, Verdict(True, f"It is the first one, so there is none to compare it with.{note}")
    if (now.features_version, now.rules_version) != (FEATURES_VERSION, RULES_VERSION):
        return metrics, Verdict(True, "The one before was made for features of another version and scores no more.")
    old = scoring.load(now, catalogue.checkpoint_folder(now.name), catalogue.encoders_folder())
    said_before = [probs for _, probs in _said(old, held_out)]
    found = difference(gold, new, said_before)
    before = measure(gold, said_before)
    shown = {name: before[name] for name in ("step_acc", "nll", "over_always")}
    metrics["before"] = {"weights_sha256": now.weights_sha256, **shown}
    metrics["difference"] = asdict(found)
    return metrics, judge(found)


def _facts(learnt: Learnt) -> dict[str, JsonValue]:
    story = learnt.story
    names = ("data_sha256", "n_tasks", "n_left_out", "n_epochs", "encoder", "calibration", "versions")
    return {
        **{name: story[name] for name in names},
        "seed": learnt.options.seed,
        "code_version": app_version(),
        "split": f"{HELD_OUT_SHARE:.0%} of all tasks are held out, by a hash of the task alone",
    }


def _made(
    rows: Sequence[learning.GoldRow],
    examples: Sequence[Example],
    metrics: dict[str, Any],
    facts: dict[str, JsonValue],
    *,
    reason: str,
    is_kept: bool,
) -> learning.Made:
    """With the sizes of what was learnt from: what is held out cost people time, too, but taught nothing."""
    learning_from = [row for row, one in zip(rows, examples, strict=True) if not one.is_test]
    effort = sum((row.effort for row in learning_from), Effort())
    return learning.Made(
        n_trajectories=len(learning_from),
        n_steps=sum(int(row.gold.has_gold.sum()) for row in learning_from),
        effort_seconds=effort.seconds or 0,
        metrics=metrics,
        facts={
            **facts,
            "n_labels": effort.n_labels,
            "n_timed": effort.n_timed,
            "n_chosen": sum(row.is_chosen for row in learning_from),
        },
        reason=reason,
        is_kept=is_kept,
    )


def _too_small(snapshot: learning.Snapshot, n: int) -> str:
    return (
        f"skipped: {n} trajectories to learn from are too few, it takes {MIN_TRAJECTORIES} ({snapshot.what_baseline})"
    )


class _Progress:
    """The trainings of one job as percent of all of it."""

    def __init__(self, job: Job, n_phases: int) -> None:
        self._job, self._n_phases = job, n_phases

    def phase(self, number: int) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            jobs.report(self._job, int((number + done / max(total, 1)) / self._n_phases * 100))

        return report
