"""Who did what to which object, when."""

from django.db import models
from django.utils.timezone import now

from annotator.models.accounts import User
from annotator.models.projects import Project
from annotator.models.protection import append_only


class AuditEvent(models.Model):
    """One event, dotted name `noun.verbed`. It outlives what it describes, so the names are copied."""

    action = models.CharField(max_length=60)
    project = models.ForeignKey(
        Project, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="audit_events"
    )
    user = models.ForeignKey(User, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+")
    username = models.CharField(max_length=150, blank=True)
    object_type = models.CharField(max_length=40)
    object_id = models.BigIntegerField()
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=now)

    class Meta:
        indexes = [
            models.Index(fields=["project", "-id"], name="audit_by_project"),
            models.Index(fields=["object_type", "object_id"], name="audit_by_object"),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.action} {self.object_type} {self.object_id}"
