"""Writing the audit trail, in the transaction of what it describes."""

from collections.abc import Sequence
from typing import Any

from django.db import models

from annotator.models import AuditEvent, User


def log(
    action: str,
    subject: models.Model,
    *,
    user: User | None,
    project_id: int | None,
    data: dict[str, Any] | None = None,
) -> None:
    """Records that `user` (None: the system itself) did `action` to `subject`."""
    log_all(action, [subject], user=user, project_id=project_id, data=data)


def log_all(
    action: str,
    subjects: Sequence[models.Model],
    *,
    user: User | None,
    project_id: int | None,
    data: dict[str, Any] | None = None,
) -> None:
    """Records the same event for several objects with one insert."""
    AuditEvent.objects.bulk_create(
        AuditEvent(
            action=action,
            project_id=project_id,
            user=user,
            username=user.username if user else "",
            object_type=subject._meta.model_name or "",
            object_id=subject.pk,
            data=data or {},
        )
        for subject in subjects
    )
