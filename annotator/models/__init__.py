"""The tables, one module per stage."""

from annotator.models.accounts import User
from annotator.models.adjudication import Adjudication, Review
from annotator.models.agreement import Dispute, GoldLabel
from annotator.models.audit import AuditEvent
from annotator.models.importing import ReferenceLabel, Step, Trajectory, Upload, UploadChunk
from annotator.models.jobs import Job
from annotator.models.labelling import Annotation, Label, LabelEvent
from annotator.models.projects import Guideline, Membership, Project
from annotator.models.queue import Assignment
from annotator.models.releases import Release, ReleaseRow

__all__ = [
    "Adjudication",
    "Annotation",
    "Assignment",
    "AuditEvent",
    "Dispute",
    "GoldLabel",
    "Guideline",
    "Job",
    "Label",
    "LabelEvent",
    "Membership",
    "Project",
    "ReferenceLabel",
    "Release",
    "ReleaseRow",
    "Review",
    "Step",
    "Trajectory",
    "Upload",
    "UploadChunk",
    "User",
]
