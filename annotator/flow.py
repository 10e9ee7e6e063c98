"""Where the end of one stage starts the next, and what a Job of each kind runs.

The stages never call the one after them; whoever finishes a stage (a page, the API, a command, a worker) goes through
here, so that the queue is filled, steps are settled and reviews are opened in the same transaction.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO

from django.db import transaction
from django.db.models import Exists, OuterRef

from annotator import jobs
from annotator.acceptance import actions as acceptance
from annotator.acceptance.asking import ask_again
from annotator.adjudication import actions as adjudication
from annotator.adjudication.actions import DecisionIn
from annotator.agreement import actions as agreement
from annotator.errors import DomainError, JobFailed
from annotator.fusion import actions as fusion
from annotator.importing import actions as importing
from annotator.importing import uploads
from annotator.labelling import actions as labelling
from annotator.labelling import revisions
from annotator.labelling.intake import Changes
from annotator.models import (
    Adjudication,
    Annotation,
    Assignment,
    Dispute,
    Job,
    Membership,
    Project,
    Release,
    Upload,
    User,
)
from annotator.prelabelling import names
from annotator.prelabelling.imports import import_predictions
from annotator.queue import actions as queue
from annotator.releases import actions as releases
from annotator.releases.policy import ReleasePolicy
from annotator.selection import actions as selection

logger = logging.getLogger(__name__)

Handler = Callable[[Job], dict[str, Any]]

# A release of up to so many steps is published while the person waits (about a second); a larger one by a worker.
PUBLISH_AT_ONCE_STEPS = 5_000


@transaction.atomic
def submit(
    assignment_id: int, annotator: User, *, shown: Changes | None = None, heeds_warnings: bool = False
) -> Annotation:
    """Submits an annotation and, if it was the last one wanted, settles the trajectory's steps."""
    annotation = labelling.submit(assignment_id, annotator, shown=shown, heeds_warnings=heeds_warnings)
    _settle(annotation.trajectory_id)
    return annotation


def _settle(trajectory_id: int) -> None:
    """What a judgement that is in, or that is waited for no longer, changes."""
    if agreement.settle(trajectory_id):
        adjudication.refresh_review(trajectory_id)
    _take_in(trajectory_id)


def _take_in(trajectory_id: int) -> None:
    """What was said or decided of a trajectory changes what is believed of it, and what its disputes are worth."""
    fusion.refresh(trajectory_id)
    adjudication.weigh([trajectory_id])
    acceptance.look(trajectory_id)


@transaction.atomic
def take_back(annotation_id: int, reviewer: User) -> Assignment:
    """Takes a returned annotation back from its author and, if no other judgement is out, settles the trajectory.

    Of the steps that were asked of the author since they submitted it, others are asked.
    """
    assignment, steps = revisions.take_back(annotation_id, reviewer)
    if steps:
        slots = list(Assignment.objects.live().filter(trajectory=assignment.trajectory_id).order_by("slot"))
        ask_again(assignment.project, {assignment.trajectory_id: slots}, {assignment.trajectory_id: steps})
    _settle(assignment.trajectory_id)
    return assignment


def decide(dispute: Dispute, reviewer: User, decision: DecisionIn) -> Adjudication:
    """Stores a reviewer's decision, and takes it into what is believed about the trajectory."""
    return decide_run(dispute.trajectory_id, [dispute.pk], reviewer, decision)[0]


@transaction.atomic
def decide_run(
    trajectory_id: int, dispute_ids: Sequence[int], reviewer: User, decision: DecisionIn
) -> list[Adjudication]:
    """The same for several disputes of one trajectory, all or none."""
    decided = adjudication.decide_run(trajectory_id, dispute_ids, reviewer, decision)
    _take_in(trajectory_id)
    return decided


@transaction.atomic
def take_back_all(project: Project, former: str, reviewer: User) -> int:
    """Takes back every annotation that waits for somebody who is no longer a member; returns how many.

    Whoever has none here, and a name that nobody has, are one and the same: a reviewer sees no account of elsewhere.
    """
    left = ~Exists(Membership.objects.filter(project=project, user=OuterRef("annotator")))
    waiting = Annotation.objects.submitted().filter(
        left,
        annotator__username=former.replace("\0", ""),  # PostgreSQL knows no NUL
        assignment__project=project,
        assignment__status=Assignment.Status.RETURNED,
    )
    # In the order in which whoever takes several trajectories takes them.
    ids = list(waiting.order_by("trajectory_id", "assignment_id").values_list("pk", flat=True))
    for annotation_id in ids:
        take_back(annotation_id, reviewer)
    return len(ids)


def request_import(
    upload: Upload,
    *,
    format: str | None,
    on_error: str,
    is_dry_run: bool,
    user: User,
) -> Job:
    """Queues the import of an uploaded file, or the check of what it would bring."""
    kind = Job.Kind.IMPORT_CHECK if is_dry_run else Job.Kind.IMPORT
    params = {"upload": upload.pk, "name": upload.name, "format": format, "on_error": on_error}
    return jobs.enqueue(upload.project, kind, params, unit="bytes", n_total=upload.n_bytes, user=user)


def import_file(job: Job, file: BinaryIO) -> dict[str, Any]:
    """What an import job does with its (seekable) file; raises JobFailed if the file may not go in."""
    name, format_, on_error = job.params["name"], job.params["format"], job.params["on_error"]
    read = partial(importing.import_trajectories, job.project, name=name, format=format_)
    if job.kind == Job.Kind.IMPORT_CHECK:
        return read(file, stores=False, progress=partial(jobs.report, job)).as_json()
    if on_error == "abort":
        check = read(file, stores=False, progress=partial(jobs.report, job))
        if check.n_bad:
            raise JobFailed(
                f"Nothing was imported, because {check.n_bad} record{'s are' if check.n_bad > 1 else ' is'} bad "
                "and the import was told to stop at errors. Mend the file, or import with errors skipped.",
                check.as_json(),
            )
        file.seek(0)
    try:
        report = read(file, stores=True, job=job, progress=partial(jobs.report, job))
    except jobs.JobCancelled:
        queue.enqueue(job.project)  # what is in already stays, so it has to be judged
        raise
    queue.enqueue(job.project)
    return report.as_json()


def _import_upload(job: Job) -> dict[str, Any]:
    upload = Upload.objects.filter(pk=job.params.get("upload")).first()
    if upload is None:
        raise JobFailed("The file is no longer there. Upload it again; what was imported already is not added twice.")
    with uploads.open_upload(upload) as file:
        return import_file(job, file)


def publish(project: Project, policy: ReleasePolicy, *, user: User | None) -> Job:
    """Publishes a release: at once if it is small (the job is finished on return), else by a worker."""
    params = {"policy": policy.model_dump(mode="json")}
    job = jobs.create(project, Job.Kind.PUBLISH, params, unit="files", n_total=None, user=user)
    if releases.count_gold_steps(project) <= PUBLISH_AT_ONCE_STEPS:
        run_job(job.pk)
        job.refresh_from_db()
    else:
        jobs.send(job.pk)
    return job


def _publish(job: Job) -> dict[str, Any]:
    release = Release.objects.filter(pk=job.params.get("release")).select_related("project", "created_by").first()
    if release is None:
        policy = ReleasePolicy.parse(job.params["policy"])
        with transaction.atomic():
            release = releases.begin(job.project, policy, user=job.created_by)
            # A worker that takes over after a crash goes on with this release instead of taking a new number.
            jobs.remember(job, release=release.pk)
    try:
        if not release.manifest:
            releases.freeze_rows(release)
        if release.published_at is None:
            releases.seal(release, progress=partial(jobs.report, job))
    except Exception:  # refused, cancelled or broken, but not killed: nobody will go on with it
        release.delete()
        raise
    return {"release": release.pk, "number": release.number}


def _fuse(job: Job) -> dict[str, Any]:
    result = fusion.fuse(job)
    adjudication.weigh_all(job.project)
    return result


def _select(job: Job) -> dict[str, Any]:
    result = selection.choose_next(job)
    if result["is_fused"]:
        adjudication.weigh_all(job.project)
    return result


HANDLERS: dict[str, Handler] = {
    Job.Kind.IMPORT_CHECK: _import_upload,
    Job.Kind.IMPORT: _import_upload,
    Job.Kind.PUBLISH: _publish,
    Job.Kind.FUSE: _fuse,
    Job.Kind.SELECT: _select,
    Job.Kind.ACCEPT: acceptance.accept,
    Job.Kind.WITHDRAW: acceptance.withdraw,
}


def run_job(job_id: int, handler: Handler | None = None) -> None:
    """Runs a queued job to its end; does nothing for one that somebody else has started."""
    job = jobs.start(job_id)
    if job is None:
        return
    try:
        result = (handler or HANDLERS[job.kind])(job)
    except jobs.JobCancelled:
        jobs.finish(job, Job.Status.CANCELLED)
    except DomainError as error:
        jobs.finish(job, Job.Status.FAILED, error=error.message, result=getattr(error, "result", None))
    except Exception as error:
        if jobs.is_outage(error):
            logger.warning("Job %s lost PostgreSQL; the beat sends it again once it counts as abandoned.", job_id)
            raise
        logger.exception("Job %s failed.", job_id)
        jobs.finish(job, Job.Status.FAILED, error=f"Unexpected {type(error).__name__}: {error}. The log has the rest.")
        raise
    else:
        jobs.finish(job, Job.Status.DONE, result=result)
        if job.kind == Job.Kind.IMPORT:
            # After the end is stored: a worker that takes over from one that died in between still finds the file.
            Upload.objects.filter(pk=job.params.get("upload")).delete()


def cancel_job(job: Job, *, user: User) -> None:
    """Stops a job, and ends what would have waited for a worker to end it. Raises JobConflict if it has ended."""
    jobs.cancel(job, user=user)
    acceptance.end_lost(job.project)


def recover_jobs() -> None:
    """Sends again what workers that died have left, and ends what no worker will take up again."""
    jobs.recover()
    acceptance.end_lost()


def import_predictions_now(project: Project, file: BinaryIO, name: str, *, model: str) -> Job:
    """Imports another tool's judgements in this process (the command line), as a job that everybody can see."""
    model = names.check_imported(project, model)
    params = {"name": name, "model": model}
    job = jobs.create(project, Job.Kind.IMPORT_PREDICTIONS, params, unit="records", n_total=None, user=None)
    run_job(job.pk, lambda job: import_predictions(job, file, name=model))
    job.refresh_from_db()
    return job


def import_now(project: Project, file: BinaryIO, params: dict[str, Any], *, kind: Job.Kind, n_total: int) -> Job:
    """Imports a local file in this process (the command line), as a job that everybody can see."""
    job = jobs.create(project, kind, params, unit="bytes", n_total=n_total, user=None)
    run_job(job.pk, lambda job: import_file(job, file))
    job.refresh_from_db()
    return job
