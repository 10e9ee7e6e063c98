"""What a worker does with a training job: read the release, learn, write the checkpoint, then the model file."""

from functools import partial
from typing import Any

import yaml

from annotator import flow, jobs
from annotator.errors import JobFailed
from annotator.models import Job
from annotator.prelabelling import catalogue, names, training
from annotator.prelabelling.scorer_config import ScorerConfig
from annotator.releases import files
from annotator.releases.policy import ReleasePolicy
from workers.prm import checkpoint
from workers.prm.data import example_of
from workers.prm.encoder import find_encoder
from workers.prm.errors import ScorerError
from workers.prm.learn import learn


def work(job_id: int) -> None:
    flow.run_job(job_id, _train)


def _train(job: Job) -> dict[str, Any]:
    """The same job may run twice: the same release and options give the same weights."""
    options = training.parse(job.params)
    names.check_scorer(job.project, options.name)
    release = training.release_of(job.project, options.release)
    error_view = ReleasePolicy.parse(release.policy).error_view
    examples = [example_of(record, error_view) for record in files.records(release)]
    try:
        encoder = find_encoder(options.encoder, catalogue.encoders_folder())
        learnt = learn(examples, options, encoder, partial(jobs.report, job))
    except ScorerError as error:
        raise JobFailed(str(error)) from None
    config = learnt.model_file(job.project.slug)
    checkpoint.write(
        catalogue.checkpoint_folder(config.name), learnt.checkpoint, {"release": config.release, **learnt.story}
    )
    # The model file names the weights, so it goes last: until then the scorer is the one before, or none.
    write_model_file(config)
    counts = ("n_trajectories", "n_steps", "n_tasks", "n_left_out", "n_epochs")
    shown = (*counts, "encoder", "calibration", "held_out", "test")
    return {"model": config.name, "weights_sha256": config.weights_sha256, **{key: learnt.story[key] for key in shown}}


def write_model_file(config: ScorerConfig) -> None:
    """From now on the name of the scorer means this version."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    checkpoint.replace_file(catalogue.model_file(config.name), text.encode())
