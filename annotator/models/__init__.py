"""The tables, one module per stage."""

from annotator.models.accounts import LoginAttempt, User
from annotator.models.adjudication import Adjudication, Review
from annotator.models.agreement import Dispute, GoldLabel
from annotator.models.audit import AuditEvent
from annotator.models.fusion import Acceptance, AcceptanceAudit, Fusion, LearningPoint, Posterior
from annotator.models.importing import ReferenceLabel, Step, Trajectory, Upload, UploadChunk
from annotator.models.jobs import Job
from annotator.models.labelling import Annotation, AnnotationReturn, Label, LabelEvent, StepComment
from annotator.models.prelabelling import Calibration, ModelVersion, Prediction, PrelabelRun, PrelabelTarget
from annotator.models.projects import Guideline, Invitation, Membership, Project
from annotator.models.queue import Assignment
from annotator.models.releases import Release, ReleaseRow
from annotator.models.selection import SelectionPick, SelectionRound

__all__ = [
    "Acceptance",
    "AcceptanceAudit",
    "Adjudication",
    "Annotation",
    "AnnotationReturn",
    "Assignment",
    "AuditEvent",
    "Calibration",
    "Dispute",
    "Fusion",
    "GoldLabel",
    "Guideline",
    "Invitation",
    "Job",
    "Label",
    "LabelEvent",
    "LearningPoint",
    "LoginAttempt",
    "Membership",
    "ModelVersion",
    "Posterior",
    "Prediction",
    "PrelabelRun",
    "PrelabelTarget",
    "Project",
    "ReferenceLabel",
    "Release",
    "ReleaseRow",
    "Review",
    "SelectionPick",
    "SelectionRound",
    "Step",
    "StepComment",
    "Trajectory",
    "Upload",
    "UploadChunk",
    "User",
]
