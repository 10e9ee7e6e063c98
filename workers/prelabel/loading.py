"""From a model file to a model that scores: one function per kind."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from annotator.errors import JobFailed
from annotator.models import Guideline, PrelabelRun
from annotator.prelabelling import catalogue
from annotator.prelabelling.actions import Identity, Result
from annotator.prelabelling.configs import ModelConfig, from_data, json_sha256
from annotator.prelabelling.discriminative import DiscriminativeConfig
from annotator.prelabelling.judge_config import JudgeConfig
from annotator.prelabelling.rules import find, scores_of
from annotator.prelabelling.rules_config import RulesConfig
from annotator.prelabelling.scorer_config import ScorerConfig
from annotator.prelabelling.scores import ScoringError, TrajectoryText

Trajectories: TypeAlias = Iterable[tuple[int, TrajectoryText]]


@dataclass
class Model:
    """A loaded model of any kind."""

    config: ModelConfig
    identity: Identity
    score: Callable[[Trajectories], Iterator[Result]]  # raises JobFailed when nothing more can be scored
    spent: Callable[[], Decimal] = lambda: Decimal(0)  # by the run so far, in the currency of the model file


def load(run: PrelabelRun, should_stop: Callable[[], bool]) -> Model:
    """The model of a run, on this machine. `should_stop` is asked now and then where scoring takes long.

    Raises JobFailed, saying what to do.
    """
    config = from_data(run.config, "the model file of the run")
    if isinstance(config, DiscriminativeConfig):
        return _discriminative(config)
    if isinstance(config, JudgeConfig):
        return _judge(config, run, should_stop)
    if isinstance(config, ScorerConfig):
        return _scorer(config)
    return _rules(config)


def _discriminative(config: DiscriminativeConfig) -> Model:
    from workers.prelabel import discriminative  # torch is loaded only where a model needs it
    from workers.prelabel.discriminative.errors import ModelError

    try:
        scorer = discriminative.load(config, catalogue.checkpoint_folder(config.name))
    except ModelError as error:
        raise JobFailed(str(error)) from None
    made_of = scorer.provenance
    identity = Identity(made_of.config_sha256, made_of.weights_sha256, made_of.render_sha256)
    return Model(config, identity, scorer.score)


def _judge(config: JudgeConfig, run: PrelabelRun, should_stop: Callable[[], bool]) -> Model:
    from workers.prelabel.judge.client import EndpointClosed
    from workers.prelabel.judge.prompts import prompt_sha256
    from workers.prelabel.judge.scoring import Judge

    # As it was when the run was started, whichever worker takes it up, and when.
    latest = Guideline.objects.filter(project=run.project_id, created_at__lte=run.job.queued_at).first()
    guideline = latest.text if latest else ""
    try:
        judge = Judge.from_environment(config, guideline=guideline, spent_before=run.cost)
    except EndpointClosed as error:
        raise JobFailed(str(error)) from None

    def score(trajectories: Trajectories) -> Iterator[Result]:
        try:
            yield from judge.score(trajectories, should_stop=should_stop)
        except EndpointClosed as error:
            raise JobFailed(str(error)) from None
        if judge.stopped_because:
            raise JobFailed(judge.stopped_because)

    identity = Identity(json_sha256(config.identity()), render_sha256=prompt_sha256(config, guideline))
    return Model(config, identity, score, lambda: judge.spent.money or Decimal(0))


def _scorer(config: ScorerConfig) -> Model:
    from workers.prm import scoring  # torch is loaded only where a model needs it
    from workers.prm.errors import ScorerError

    try:
        scorer = scoring.load(config, catalogue.checkpoint_folder(config.name), catalogue.encoders_folder())
    except ScorerError as error:
        raise JobFailed(str(error)) from None
    return Model(config, scorer_identity(config), scorer.score)


def scorer_identity(config: ScorerConfig) -> Identity:
    """What the version of a trained scorer is known by."""
    features = json_sha256([config.features_version, config.rules_version, list(config.features)])
    return Identity(json_sha256(config.identity()), config.weights_sha256, features)


def _rules(config: RulesConfig) -> Model:
    def score(trajectories: Trajectories) -> Iterator[Result]:
        for key, trajectory in trajectories:
            try:
                findings = find(trajectory.messages, trajectory.tools, trajectory.reference, config)
                yield key, scores_of(findings, trajectory.n_steps)
            except RecursionError:
                yield key, ScoringError("The trajectory is nested too deep for the rules.")

    return Model(config, Identity(json_sha256(config.identity())), score)
