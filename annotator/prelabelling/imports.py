"""Judgements that another tool made, read from its file into predictions of one model version."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from django.db import transaction
from django.db.models import Exists, OuterRef

from annotator import jobs
from annotator.errors import JobFailed
from annotator.importing.formats import BadRecord
from annotator.importing.schema import FieldError
from annotator.models import Job, ModelVersion, Prediction, Project, Step, Trajectory
from annotator.prelabelling.actions import Identity, prediction_of, version_of
from annotator.prelabelling.imported import Judgement, latest, read_judgements, scores_of

BATCH = 500
MAX_LISTED = 100


@dataclass
class JudgementsReport:
    """What a file of judgements brought. `n_steps` are labels; a step without one is an abstention."""

    version: str = ""
    n_rows: int = 0  # one for each record, the latest
    n_imported: int = 0
    n_already: int = 0  # this version has spoken of the trajectory before
    n_unknown: int = 0  # no such trajectory in the project
    n_only_before: int = 0  # the version before has spoken of the trajectory, this one does not
    n_failed_rows: int = 0  # its tool marked them as failed: abstentions
    n_steps: int = 0
    n_bad: int = 0
    bad: list[dict[str, object]] = field(default_factory=list)

    def add_bad(self, record: BadRecord) -> None:
        self.n_bad += 1
        if len(self.bad) < MAX_LISTED:
            self.bad.append(asdict(record))


def import_predictions(job: Job, file: BinaryIO, *, name: str) -> dict[str, Any]:
    """Reads a (seekable) `step_labels` file into the model version `name` with this very content.

    A record is found by its external id, or by data source, query and sample. Importing the same file again adds
    nothing; another file under the same name is another version. Raises JobFailed for a file without a single
    judgement, or of which no record is in the project.
    """
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # opened files have readinto
    file.seek(0)
    judgements, bad = latest(read_judgements(file))
    report = JudgementsReport(n_rows=len(judgements))
    for record in bad:
        report.add_bad(record)
    if not judgements:
        raise JobFailed(
            "The file holds no judgement: every row needs `step_labels` and the id of a record.", asdict(report)
        )
    if not any(_trajectories(job.project, batch) for batch in _batches(judgements)):
        report.n_unknown = len(judgements)
        raise JobFailed(
            f"Nothing was stored: none of the file's {len(judgements)} records is in this project. Import the "
            "trajectories first, or see that the ids of both files are the same.",
            asdict(report),
        )
    with transaction.atomic():
        config = {"file": str(job.params["name"])}
        identity = Identity(config_sha256=hashlib.sha256(b"imported").hexdigest(), weights_sha256=sha256)
        kind = ModelVersion.Kind.IMPORTED
        # Whether another tool's judge saw the reference is not in the file; AgentProcessBench's judges do not.
        version = version_of(job.project_id, kind, name, config, identity, sees_reference=False)
    report.version = str(version)
    Job.objects.filter(pk=job.pk).update(n_total=len(judgements))
    n_done = 0
    for batch in _batches(judgements):
        _store(version, job.project, batch, report)
        n_done += len(batch)
        jobs.report(job, n_done)
    report.n_only_before = _only_before(version)
    return asdict(report)


def _batches(judgements: list[Judgement]) -> Iterator[list[Judgement]]:
    return (judgements[at : at + BATCH] for at in range(0, len(judgements), BATCH))


def _only_before(version: ModelVersion) -> int:
    before = ModelVersion.objects.filter(project=version.project_id, name=version.name, number=version.number - 1)
    here = Prediction.objects.filter(version=version, trajectory=OuterRef("trajectory"))
    return Prediction.objects.filter(~Exists(here), version__in=before).count()


@transaction.atomic
def _store(version: ModelVersion, project: Project, batch: list[Judgement], report: JudgementsReport) -> None:
    trajectories = _trajectories(project, batch)
    step_messages: dict[int, list[int]] = {}
    steps = Step.objects.filter(trajectory__in=trajectories.values()).order_by("trajectory_id", "index")
    for trajectory_id, message_index in steps.values_list("trajectory", "message_index"):
        step_messages.setdefault(trajectory_id, []).append(message_index)
    spoken = Prediction.objects.filter(version=version, trajectory__in=trajectories.values())
    already = set(spoken.values_list("trajectory", flat=True))
    predictions = []
    for judgement in batch:
        if judgement.key not in trajectories:
            report.n_unknown += 1
            continue
        trajectory_id = trajectories[judgement.key]
        if trajectory_id in already:
            report.n_already += 1
        else:
            try:
                scores = scores_of(judgement, step_messages[trajectory_id])
            except FieldError as error:
                report.add_bad(BadRecord(judgement.line, error.field, error.reason, judgement.unit))
                continue
            predictions.append(prediction_of(version.pk, trajectory_id, scores, outcome=judgement.final))
            report.n_imported += 1
            report.n_failed_rows += bool(judgement.failure)
            report.n_steps += len(judgement.values)
    Prediction.objects.bulk_create(predictions, ignore_conflicts=True)


def _trajectories(project: Project, batch: list[Judgement]) -> dict[str, int]:
    """Trajectory ids by the keys of the judgements that speak of one."""
    keys = {judgement.key: list(_names(judgement)) for judgement in batch}
    names = [name for given in keys.values() for name in given]
    found = dict(Trajectory.objects.filter(project=project, external_id__in=names).values_list("external_id", "pk"))
    return {key: found[name] for key, given in keys.items() for name in given if name in found}


def _names(judgement: Judgement) -> Iterator[str]:
    """What the trajectory may be called here; the last one that is known counts."""
    if judgement.sample is not None:
        yield ":".join(map(str, judgement.sample))
    if judgement.external_id:
        yield judgement.external_id
