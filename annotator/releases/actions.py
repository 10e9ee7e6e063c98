"""Freezing a project's gold into a numbered release and publishing it."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.timezone import now

from annotator import audit
from annotator.agreement import actions as agreement
from annotator.bulk import copy_rows
from annotator.errors import NothingToRelease
from annotator.models import Acceptance, GoldLabel, Project, Release, ReleaseRow, User
from annotator.releases.compare import Frozen, TrajectoryChange, compare
from annotator.releases.exporters import EXPORTERS
from annotator.releases.exporters.record import FORMAT_VERSION
from annotator.releases.exporters.views import in_view
from annotator.releases.files import export, file_name
from annotator.releases.freezing import frozen_rows, releasable
from annotator.releases.policy import SPLITS, ReleasePolicy

BATCH = 200


def count_gold_steps(project: Project) -> int:
    return GoldLabel.objects.filter(trajectory__project=project, step__isnull=False).count()


@transaction.atomic
def begin(project: Project, policy: ReleasePolicy, *, user: User | None) -> Release:
    """Takes the project's next number; `freeze_rows` fills the release and `seal` publishes it."""
    # Two admins who publish at once take turns here. It cannot be part of freeze_rows: whoever waits for a lock
    # inside a snapshot does not see the number that the other one took.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    latest = project.releases.first()
    number = latest.number + 1 if latest else 1
    release = Release.objects.create(
        project=project, number=number, policy=policy.model_dump(mode="json"), created_by=user
    )
    audit.log("release.begun", release, user=user, project_id=project.pk, data={"number": number})
    return release


def freeze_rows(release: Release) -> None:
    """Copies the project's gold, with all that is behind it, from one snapshot; call it outside a transaction.

    The release is not published yet: `seal` does that. Raises NothingToRelease when the policy leaves nothing.
    """
    project, policy = release.project, ReleasePolicy.parse(release.policy)
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # One snapshot: labels and decisions that arrive while we read belong to the next release.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        left_out: Counter[str] = Counter()
        trajectory_ids = list(releasable(project).values_list("pk", flat=True))
        left_out["trajectory not settled yet"] = project.trajectories.count() - len(trajectory_ids)
        n_rows = 0
        for start in range(0, len(trajectory_ids), BATCH):
            rows = frozen_rows(release, trajectory_ids[start : start + BATCH], policy, left_out)
            copy_rows(rows)
            n_rows += len(rows)
        if not n_rows:
            raise NothingToRelease(
                "There is nothing to release: no trajectory has all its steps settled in a way that the policy counts. "
                "Label, adjudicate, or widen the policy."
            )
        release.manifest = {
            **_describe(project, release, policy),
            "agreement": _agreement_summary(project),
            **(_promises(project) if "certified" in policy.provenances else {}),
            "left_out": {reason: n for reason, n in left_out.items() if n},
        }
        release.save(update_fields=["manifest"])


def _describe(project: Project, release: Release, policy: ReleasePolicy) -> dict[str, Any]:
    guideline = project.guidelines.first()
    return {
        "format": "stepmark-release",
        "format_version": FORMAT_VERSION,
        "project": project.slug,
        "release": release.number,
        "created_at": release.created_at.isoformat(),
        "policy": policy.model_dump(mode="json"),
        "guideline_version": guideline.version if guideline else None,
    }


def _agreement_summary(project: Project) -> dict[str, Any]:
    report = agreement.report(project)
    names = ("raw_agreement", "cohen_kappa", "fleiss_kappa", "krippendorff_alpha_nominal", "krippendorff_alpha_ordinal")
    figures = {name: getattr(report, name) for name in (*names, "first_error_agreement")}
    return {
        "n_raters": report.n_raters,
        "n_trajectories": report.n_trajectories,
        "n_steps": report.n_steps,
        **{name: {"value": figure.value, "low": figure.low, "high": figure.high} for name, figure in figures.items()},
    }


def _promises(project: Project) -> dict[str, Any]:
    """Under which promises labels of models are gold, also one that an admin has ended and whose labels stayed.

    Nothing where there are none.
    """
    labels = GoldLabel.objects.filter(acceptance=OuterRef("pk"))
    found = Acceptance.objects.standing().filter(Exists(labels), project=project)
    fields = ("number", "status", "epsilon", "delta", "threshold", "most_each")
    promises = [{name: getattr(one, name) for name in fields} for one in found.only(*fields)]
    return {"acceptances": promises} if promises else {}


def seal(release: Release, *, progress: Callable[[int, int], None]) -> Release:
    """Writes every file once to learn its sha256, completes the manifest and publishes.

    `progress` is called with the files written so far and in all.
    """
    rows = release.rows.values_list("split", flat=True)
    in_split = Counter(rows)
    files: dict[str, Any] = {}
    wanted: list[tuple[str, str | None]] = [
        (name, split) for name in EXPORTERS for split in (None, *SPLITS) if split is None or in_split[split]
    ]
    for n_done, (name, split) in enumerate(wanted):
        progress(n_done, len(wanted))
        result = export(release, name, cast(BinaryIO, _Discard()), split=split)
        if result.n_rows or split is None:  # an empty split has no file: readers trip over empty ones
            files[file_name(name, split)] = {
                "sha256": result.sha256,
                "n_bytes": result.n_bytes,
                "n_rows": result.n_rows,
                **({"left_out": result.left_out} if result.left_out else {}),
            }
    progress(len(wanted), len(wanted))
    with transaction.atomic():
        release.manifest = {**release.manifest, "counts": _counts(release, in_split), "files": files}
        release.published_at = now()
        release.save(update_fields=["manifest", "published_at"])
        audit.log(
            "release.published",
            release,
            user=release.created_by,
            project_id=release.project_id,
            data={"number": release.number},
        )
    return release


def _counts(release: Release, in_split: Counter[str]) -> dict[str, Any]:
    values: Counter[str] = Counter()
    provenances: Counter[str] = Counter()
    n_steps = n_labels = 0
    error_view = ReleasePolicy.parse(release.policy).error_view
    for record in release.rows.values_list("record", flat=True).iterator(chunk_size=BATCH):
        for step in in_view(record["steps"], error_view):
            n_steps += 1
            n_labels += len(step["labels"])
            provenances[step["provenance"]] += 1
            values[
                f"{step['value']:+d}" if step["counts"] and step["value"] else "0" if step["counts"] else "masked"
            ] += 1
    return {
        "n_trajectories": sum(in_split.values()),
        "n_steps": n_steps,
        "n_labels": n_labels,
        "by_split": {split: in_split[split] for split in SPLITS if in_split[split]},
        "by_value": dict(sorted(values.items())),
        "by_provenance": dict(sorted(provenances.items())),
    }


class _Discard(io.RawIOBase):
    """Takes bytes and keeps none."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def changes(before: Release, after: Release) -> Iterator[TrajectoryChange]:
    """The trajectories that two releases of one project do not hold alike; a few at a time in memory."""
    views = [ReleasePolicy.parse(release.policy).error_view for release in (before, after)]
    rows = [release.rows.select_related("trajectory") for release in (before, after)]
    if views[0] == views[1]:
        # Most rows are the same on both sides: the database passes over them, so that they are never read.
        twin = ReleaseRow.objects.filter(
            trajectory=OuterRef("trajectory"), split=OuterRef("split"), record=OuterRef("record")
        )
        others = (after, before)
        rows = [side.filter(~Exists(twin.filter(release=other))) for side, other in zip(rows, others, strict=True)]
    return compare(_frozen(rows[0]), _frozen(rows[1]), view_before=views[0], view_after=views[1])


def _frozen(rows: QuerySet[ReleaseRow]) -> Iterator[Frozen]:
    wanted = rows.only("release_id", "trajectory__external_id", "split", "record").order_by("trajectory_id")
    for row in wanted.iterator(chunk_size=BATCH):
        yield Frozen(
            row.trajectory_id, row.trajectory.external_id, row.split, row.record["steps"], row.record["outcome"]
        )
