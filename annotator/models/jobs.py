"""Background work that a person can see."""

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils.timezone import now

from annotator.models.accounts import User
from annotator.models.projects import Project


class JobQuerySet(models.QuerySet["Job"]):
    def stalled(self) -> "JobQuerySet":
        """Running, but no sign of life for so long that its worker must have died."""
        limit = timedelta(seconds=settings.JOB_STALLED_SECONDS)
        return self.filter(status=Job.Status.RUNNING, heartbeat_at__lt=now() - limit)

    def forgotten(self) -> "JobQuerySet":
        """Queued for a while: the message that should have started it was lost (Redis down or emptied)."""
        limit = timedelta(seconds=settings.JOB_RESEND_SECONDS)
        return self.filter(status=Job.Status.QUEUED, queued_at__lt=now() - limit)


class Job(models.Model):
    """queued → running → done / failed / cancelled, with progress in units the user knows."""

    class Kind(models.TextChoices):
        IMPORT_CHECK = "import_check", "check of a file"
        IMPORT = "import", "import"
        PUBLISH = "publish", "release"
        PRELABEL = "prelabel", "pre-labelling"
        IMPORT_PREDICTIONS = "import_predictions", "import of judgements"
        TRAIN_SCORER = "train_scorer", "training of a step scorer"
        FUSE = "fuse", "fusion of all raters"
        SELECT = "select", "selection round"
        LEARN = "learn", "training in the loop"
        ACCEPT = "accept", "acceptance of models' labels"
        WITHDRAW = "withdraw", "withdrawal of accepted labels"

    class Queue(models.TextChoices):
        """Which workers take it: those on a machine with a GPU listen to `gpu`, those that ask judges to `judges`."""

        DEFAULT = "default"
        JUDGES = "judges"
        GPU = "gpu"

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=20, choices=Kind)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    queue = models.CharField(max_length=10, choices=Queue, default=Queue.DEFAULT)
    params = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    n_done = models.PositiveBigIntegerField(default=0)
    n_total = models.PositiveBigIntegerField(null=True)
    unit = models.CharField(max_length=40, help_text="What n_done counts, e.g. bytes or trajectories.")
    error = models.TextField(blank=True)
    is_cancel_requested = models.BooleanField(default=False)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    queued_at = models.DateTimeField(default=now)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [
            # For the beat's look at what is stuck; finished jobs stay out of it.
            models.Index(fields=["status"], name="job_unfinished", condition=models.Q(finished_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"job {self.pk}: {self.get_kind_display()}"

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None
