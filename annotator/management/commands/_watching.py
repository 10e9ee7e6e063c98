"""Following a job from the command line until it has ended."""

import time

from django.core.management.base import BaseCommand, CommandError

from annotator.models import Job

LOOK_EVERY_S = 0.5
NO_WORKER_AFTER_S = 15


def watch(command: BaseCommand, job_id: int) -> Job:
    """The job once it has ended, however that was. Interrupted, it says that the job goes on."""
    begun, told = time.monotonic(), False
    try:
        while not (job := Job.objects.get(pk=job_id)).is_finished:
            if job.status == Job.Status.QUEUED and not told and time.monotonic() - begun > NO_WORKER_AFTER_S:
                told = True
                command.stderr.write(f"No worker has taken it yet. Does one listen to the queue {job.queue}?")
            if command.stderr.isatty() and job.n_total:
                command.stderr.write(f"\r{job.n_done} of {job.n_total} {job.unit} ", ending="")
            time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        raise CommandError("Not watched any longer; the job goes on. Cancel it on its page.", returncode=130) from None
    return job
