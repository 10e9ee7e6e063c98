"""What a worker does with a training job: read the release, learn, write the checkpoint, then the model file."""

from functools import partial
from typing import Any

import yaml

from annotator import flow, jobs
from annotator.errors import JobFailed
from annotator.models import Job
from annotator.prelabelling import catalogue, training
from annotator.prelabelling.scorer_config import ScorerConfig
from annotator.releases import actions as releases
from annotator.releases.policy import ReleasePolicy
from workers.prm import checkpoint
from workers.prm.data import example_of
from workers.prm.errors import ScorerError
from workers.prm.learn import Learnt, learn


def work(job_id: int) -> None:
    flow.run_job(job_id, _train)


def _train(job: Job) -> dict[str, Any]:
    """The same job may run twice: the same release and options give the same weights."""
    options = training.parse(job.params)
    training.check_name_is_free(job.project, options.name)
    release = training.release_of(job.project, options.release)
    error_view = ReleasePolicy.parse(release.policy).error_view
    examples = [example_of(record, error_view) for record in releases.records(release)]
    try:
        learnt = learn(examples, options, catalogue.encoders_folder(), partial(jobs.report, job))
    except ScorerError as error:
        raise JobFailed(str(error)) from None
    weights = learnt.checkpoint.weights()
    config = _model_file(job, learnt, checkpoint.sha256_of(weights))
    folder = catalogue.checkpoint_folder(config.name)
    checkpoint.write(folder, weights, learnt.checkpoint.model.shape, {"release": config.release, **learnt.story})
    # The model file names the weights, so it goes last: until then the scorer is the one before, or none.
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    checkpoint.replace_file(catalogue.model_file(config.name), text.encode())
    shown = ("n_trajectories", "n_steps", "n_tasks", "n_left_out", "n_epochs", "calibration", "held_out", "test")
    return {"model": config.name, "weights_sha256": config.weights_sha256, **{key: learnt.story[key] for key in shown}}


def _model_file(job: Job, learnt: Learnt, weights_sha256: str) -> ScorerConfig:
    story = learnt.story
    options = training.parse(job.params)
    return ScorerConfig.model_validate(
        {
            "kind": "scorer",
            "name": options.name,
            "title": f"{options.name}: step scorer from release {options.release}",
            "project": job.project.slug,
            "release": options.release,
            "mask": options.mask,
            "mode": options.mode,
            **{key: story[key] for key in ("encoder", "features", "features_version", "rules_version", "data_sha256")},
            "weights_sha256": weights_sha256,
        }
    )
