"""The tables, one module per stage."""

from annotator.models.accounts import LoginAttempt, User
from annotator.models.adjudication import Adjudication, Review
from annotator.models.agreement import Dispute, GoldLabel
from annotator.models.audit import AuditEvent
from annotator.models.importing import ReferenceLabel, Step, Trajectory, Upload, UploadChunk
from annotator.models.jobs import Job
from annotator.models.labelling import Annotation, AnnotationReturn, Label, LabelEvent, StepComment
from annotator.models.prelabelling import Calibration, ModelVersion, Prediction, PrelabelRun, PrelabelTarget
from annotator.models.projects import Guideline, Invitation, Membership, Project
from annotator.models.queue import Assignment
from annotator.models.releases import Release, ReleaseRow

__all__ = [
    "Adjudication",
    "Annotation",
    "AnnotationReturn",
    "Assignment",
    "AuditEvent",
    "Calibration",
    "Dispute",
    "GoldLabel",
    "Guideline",
    "Invitation",
    "Job",
    "Label",
    "LabelEvent",
    "LoginAttempt",
    "Membership",
    "ModelVersion",
    "Prediction",
    "PrelabelRun",
    "PrelabelTarget",
    "Project",
    "ReferenceLabel",
    "Release",
    "ReleaseRow",
    "Review",
    "Step",
    "StepComment",
    "Trajectory",
    "Upload",
    "UploadChunk",
    "User",
]
