"""Freezing a project's gold into a numbered release and writing its files."""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils.timezone import now

from annotator import audit
from annotator.agreement import actions as agreement
from annotator.errors import InvalidInput, NothingToRelease
from annotator.models import (
    Adjudication,
    GoldLabel,
    Label,
    Project,
    ReferenceLabel,
    Release,
    ReleaseRow,
    Step,
    Trajectory,
    User,
)
from annotator.models.importing import TrajectoryQuerySet
from annotator.projects import actions as projects
from annotator.releases.compare import Frozen, TrajectoryChange, compare
from annotator.releases.exporters import EXPORTERS, ExportOptions, WriteResult, write
from annotator.releases.exporters.record import FORMAT_VERSION, Decision, GoldOutcome, GoldStep, RawLabel, ReleaseRecord
from annotator.releases.exporters.views import in_view
from annotator.releases.policy import SPLITS, ReleasePolicy, split_of

BATCH = 200


def count_gold_steps(project: Project) -> int:
    return GoldLabel.objects.filter(trajectory__project=project, step__isnull=False).count()


def releasable(project: Project) -> TrajectoryQuerySet:
    """Trajectories whose every step is settled; a half-settled one counts nowhere."""
    gold = GoldLabel.objects.filter(step=OuterRef("pk"))
    unsettled = Step.objects.filter(~Exists(gold), trajectory=OuterRef("pk"))
    any_gold = GoldLabel.objects.filter(trajectory=OuterRef("pk"), step__isnull=False)
    return project.trajectories.filter(Exists(any_gold), ~Exists(unsettled)).order_by("id")


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
            rows = _rows(release, trajectory_ids[start : start + BATCH], policy, left_out)
            n_rows += len(ReleaseRow.objects.bulk_create(rows))
        if not n_rows:
            raise NothingToRelease(
                "There is nothing to release: no trajectory has all its steps settled in a way that the policy counts. "
                "Label, adjudicate, or widen the policy."
            )
        release.manifest = {
            **_describe(project, release, policy),
            "agreement": _agreement_summary(project),
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


def _rows(
    release: Release, trajectory_ids: list[int], policy: ReleasePolicy, left_out: Counter[str]
) -> list[ReleaseRow]:
    behind = _Behind(release.project, trajectory_ids)
    rows = []
    for trajectory in Trajectory.objects.filter(pk__in=trajectory_ids).defer("messages", "tools").order_by("id"):
        steps, outcome = behind.steps(trajectory, policy), behind.outcome(trajectory, policy)
        reason = _reason_to_leave_out(steps, policy)
        if reason:
            left_out[reason] += 1
            continue
        record = {"steps": steps, "outcome": outcome, **behind.reference(trajectory)}
        split = split_of(trajectory.group_key, policy)
        rows.append(ReleaseRow(release=release, trajectory=trajectory, split=split, record=record))
    return rows


def _reason_to_leave_out(steps: list[GoldStep], policy: ReleasePolicy) -> str | None:
    valueless = {step["provenance"] for step in steps if step["value"] is None}
    if policy.undecidable == "leave_out" and "adjudicated" in valueless:
        return "trajectory has an undecidable step"
    if policy.discarded == "leave_out" and "discarded" in valueless:
        return "trajectory has a discarded step"
    if not any(step["counts"] for step in steps):
        return "trajectory has no step that the policy counts"
    return None


class _Behind:
    """Everything behind the gold of some trajectories, read with one query per table."""

    def __init__(self, project: Project, trajectory_ids: list[int]) -> None:
        self._code_of = projects.rater_codes(project)
        self._steps: dict[int, list[Step]] = defaultdict(list)
        for step in Step.objects.filter(trajectory__in=trajectory_ids).order_by("trajectory", "index"):
            self._steps[step.trajectory_id].append(step)
        golds = GoldLabel.objects.filter(trajectory__in=trajectory_ids)
        self._gold = {(gold.trajectory_id, gold.step_id): gold for gold in golds}
        self._labels: dict[tuple[int, int | None], list[RawLabel]] = defaultdict(list)
        labels = Label.objects.submitted().filter(annotation__trajectory__in=trajectory_ids)
        for label in labels.select_related("annotation__assignment__hint_version", "guideline", "root").order_by(
            "annotation__submitted_at", "id"
        ):
            self._labels[label.annotation.trajectory_id, label.step_id].append(self._label(label))
        self._decisions: dict[tuple[int, int | None], list[Decision]] = defaultdict(list)
        decisions = Adjudication.objects.filter(dispute__trajectory__in=trajectory_ids).select_related("dispute")
        for decision in decisions.order_by("id"):
            dispute = decision.dispute
            self._decisions[dispute.trajectory_id, dispute.step_id].append(self._decision(decision))
        self._references: dict[int, dict[int | None, int]] = defaultdict(dict)
        references = ReferenceLabel.objects.filter(trajectory__in=trajectory_ids)
        for trajectory_id, message_index, value in references.order_by(
            "trajectory", F("step__index").asc(nulls_last=True)
        ).values_list("trajectory_id", "step__message_index", "value"):
            self._references[trajectory_id][message_index] = value

    def steps(self, trajectory: Trajectory, policy: ReleasePolicy) -> list[GoldStep]:
        steps: list[GoldStep] = []
        for step in self._steps[trajectory.pk]:
            gold = self._gold[trajectory.pk, step.pk]
            steps.append(
                {
                    "index": step.index,
                    "message_index": step.message_index,
                    "value": gold.value,
                    "provenance": gold.provenance,
                    "counts": gold.value is not None and gold.provenance in policy.provenances,
                    "labels": self._labels[trajectory.pk, step.pk],
                    "decisions": self._decisions[trajectory.pk, step.pk],
                }
            )
        return steps

    def outcome(self, trajectory: Trajectory, policy: ReleasePolicy) -> GoldOutcome | None:
        gold = self._gold.get((trajectory.pk, None))
        if gold is None:
            return None
        return {
            "value": gold.value,
            "provenance": gold.provenance,
            "counts": gold.value is not None and gold.provenance in policy.provenances,
            "labels": self._labels[trajectory.pk, None],
            "decisions": self._decisions[trajectory.pk, None],
        }

    def reference(self, trajectory: Trajectory) -> dict[str, Any]:
        given = self._references[trajectory.pk]
        by_message = {str(index): value for index, value in given.items() if index is not None}
        return {"reference_labels": by_message, "reference_outcome": given.get(None)}

    def _code(self, user_id: int) -> str:
        """A person who has left the project keeps a code that says no more than theirs did."""
        return self._code_of.get(user_id, f"r-former-{user_id}")

    def _label(self, label: Label) -> RawLabel:
        submitted_at, assignment = label.annotation.submitted_at, label.annotation.assignment
        assert submitted_at is not None  # only submitted labels are read
        was_shown = label.annotation.hints_shown_at is not None
        return {
            "rater": self._code(label.annotation.annotator_id),
            "value": label.value,
            "guideline_version": label.guideline.version if label.guideline else None,
            "annotation": label.annotation_id,
            "labelled_at": label.labelled_at.isoformat(),
            "submitted_at": submitted_at.isoformat(),
            "root": label.root.index if label.root else None,
            "exit_reason": label.exit_reason,
            "local_value": label.local_value,
            "extras": label.extras,
            "hint_arm": assignment.hint_arm,
            "hint_version": str(assignment.hint_version) if was_shown else None,
            "hint_value": label.hint_value,
            "is_after_hint": label.is_after_hint,
        }

    def _decision(self, decision: Adjudication) -> Decision:
        return {
            "id": decision.pk,
            "reviewer": self._code(decision.reviewer_id),
            "value": decision.value,
            "reason_code": decision.reason_code,
            "note": decision.note,
            "decided_at": decision.decided_at.isoformat(),
            "turn": decision.turn,
        }


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


def file_name(format_name: str, split: str | None) -> str:
    """`trl_stepwise/train.jsonl`, or `trl_stepwise.jsonl` for all splits together."""
    extension = EXPORTERS[format_name].extension
    return f"{format_name}/{split}.{extension}" if split else f"{format_name}.{extension}"


class _Discard(io.RawIOBase):
    """Takes bytes and keeps none."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def export(release: Release, format_name: str, out: BinaryIO, *, split: str | None = None) -> WriteResult:
    """Writes one file of a release (no split: all of it); the same release gives the same bytes every time.

    Raises InvalidInput for an unknown format or split.
    """
    check_export(format_name, split)
    policy = ReleasePolicy.parse(release.policy)  # one of before `error_view` has the default
    options = ExportOptions(policy.neutral, policy.error_view, release.manifest.get("format_version", 1))
    return write(format_name, records(release, split), out, options)


def check_export(format_name: str, split: str | None) -> None:
    """Raises InvalidInput for a format or split that does not exist."""
    if format_name not in EXPORTERS:
        raise InvalidInput(
            f"There is no format {format_name!r}. Choose one of {', '.join(EXPORTERS)}.", {"format": "Unknown."}
        )
    if split is not None and split not in SPLITS:
        raise InvalidInput(f"There is no split {split!r}. Choose one of {', '.join(SPLITS)}.", {"split": "Unknown."})


def records(release: Release, split: str | None = None) -> Iterator[ReleaseRecord]:
    """The release's rows with their trajectories, by trajectory; a few at a time in memory."""
    rows = release.rows.select_related("trajectory").order_by("trajectory_id")
    for row in rows.filter(Q(split=split) if split else Q()).iterator(chunk_size=50):
        trajectory = row.trajectory
        yield cast(
            ReleaseRecord,
            {
                "trajectory_id": trajectory.pk,
                "external_id": trajectory.external_id,
                "group_key": trajectory.group_key,
                "split": row.split,
                "content_sha256": trajectory.content_sha256,
                "source_format": trajectory.source_format,
                "instruction": trajectory.instruction,
                "reference": trajectory.reference,
                "environment_outcome": trajectory.outcome,
                "metadata": trajectory.metadata,
                "tools": trajectory.tools,
                "messages": trajectory.messages,
                **row.record,
            },
        )


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


def export_directory(release: Release, format_name: str, directory: Path) -> list[Path]:
    """Writes one format as `directory/<split>.<ext>` with the manifest beside it; returns the files written.

    The layout is the one that `datasets.load_dataset(directory)` reads without being told.
    """
    check_export(format_name, None)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for split in SPLITS:
        name = file_name(format_name, split)
        if name not in release.manifest["files"]:
            continue
        path = directory / Path(name).name
        with path.open("wb") as out:
            result = export(release, format_name, out, split=split)
        if result.sha256 != release.manifest["files"][name]["sha256"]:
            raise RuntimeError(f"{path} differs from the manifest of {release}: report this as a bug.")
        written.append(path)
    manifest = directory / "manifest.json"
    manifest.write_text(manifest_text(release), encoding="utf-8")
    return [*written, manifest]


def manifest_text(release: Release) -> str:
    return json.dumps(release.manifest, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def manifest_sha256(release: Release) -> str:
    return hashlib.sha256(manifest_text(release).encode()).hexdigest()
