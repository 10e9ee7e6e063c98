"""Frozen datasets."""

import pgtrigger
from django.db import models

from annotator.models.accounts import User
from annotator.models.importing import Trajectory
from annotator.models.projects import Project
from annotator.models.protection import final_with


class ReleaseQuerySet(models.QuerySet["Release"]):
    def published(self) -> "ReleaseQuerySet":
        return self.filter(published_at__isnull=False)


class Release(models.Model):
    """Version `number` of a project's gold under a stated policy; frozen once published."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="releases")
    number = models.PositiveIntegerField()
    policy = models.JSONField()
    manifest = models.JSONField(default=dict, help_text="Counts, agreement, guideline version, sha256 of each file.")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="release_number_once_per_project")]
        triggers = [
            pgtrigger.Protect(
                name="published_is_final",
                operation=pgtrigger.Update | pgtrigger.Delete,
                condition=pgtrigger.Q(old__published_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"release {self.number} of {self.project}"


class ReleaseRow(models.Model):
    """One trajectory of a release: its gold with every raw label and decision behind it, as they were then."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="rows")
    trajectory = models.ForeignKey(Trajectory, on_delete=models.PROTECT, related_name="release_rows")
    split = models.CharField(max_length=10)
    record = models.JSONField(help_text="releases.exporters.record.ReleaseRecord without what Trajectory holds.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["release", "trajectory"], name="release_row_once")]
        indexes = [models.Index(fields=["release", "split", "trajectory"], name="release_row_order")]
        triggers = final_with(parent_table="annotator_release", parent_key="release_id", final_column="published_at")

    def __str__(self) -> str:
        return f"row {self.pk} of release {self.release_id}"
