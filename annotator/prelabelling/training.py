"""Asking for the project's own step scorer to be trained; a worker does it (workers/train_scorer.py)."""

from annotator import jobs
from annotator.errors import InvalidInput, parsed
from annotator.models import Job, Project, Release, User
from annotator.prelabelling import names
from annotator.prelabelling.scorer_config import TrainingOptions


def parse(data: object) -> TrainingOptions:
    """Raises InvalidInput that names each wrong field."""
    return parsed(TrainingOptions, data, "Nothing was started.", raises=InvalidInput)


def start(project: Project, options: TrainingOptions, *, user: User | None) -> Job:
    """Queues the training. Raises InvalidInput for a release that does not exist or a name that is taken."""
    release_of(project, options.release)
    if taken := names.why_no_scorer(project, options.name):
        raise InvalidInput(f"Nothing was started: {taken}", {"name": taken})
    # The same workers score with it: those that have torch and share their models' folder.
    return jobs.enqueue(
        project,
        Job.Kind.TRAIN_SCORER,
        options.model_dump(mode="json"),
        unit="epochs",
        n_total=None,
        user=user,
        queue=Job.Queue.GPU,
    )


def release_of(project: Project, number: int) -> Release:
    """Raises InvalidInput where the project has not published it."""
    release = project.releases.published().filter(number=number).first()
    if release is None:
        there = ", ".join(str(n) for n in project.releases.published().values_list("number", flat=True))
        message = f"There is no release {number}. " + (f"There are: {there}." if there else "Publish one first.")
        raise InvalidInput(f"Nothing was started. {message}", {"release": message})
    return release
