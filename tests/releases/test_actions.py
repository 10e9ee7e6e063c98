"""Publishing releases: what goes in, and that it never changes."""

import hashlib
import io
import json
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from django.db import InternalError, ProgrammingError, connection, transaction
from django.db.models import QuerySet

from annotator import flow, jobs
from annotator.adjudication.actions import DecisionIn
from annotator.errors import InvalidInput, NothingToRelease
from annotator.labelling import actions as labelling
from annotator.models import Assignment, AuditEvent, Dispute, GoldLabel, Job, Project, Release, ReleaseRow, Trajectory
from annotator.queue import actions as queue
from annotator.releases import actions, files, freezing
from annotator.releases.exporters import EXPORTERS, ExportOptions, write
from annotator.releases.policy import SPLITS, ReleasePolicy
from tests.factories import World, judge, label, make_member, make_trajectory, make_world, predict

# A release reads in one REPEATABLE READ transaction of its own, which the transaction of a test would forbid.
pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = (InternalError, ProgrammingError)


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world()


def agreed(world: World, values: list[int], **fields: Any) -> Trajectory:
    """A trajectory that both annotators judge alike."""
    trajectory = make_trajectory(world.project, n_steps=len(values), **fields)
    judge(trajectory, world.annotator, values)
    judge(trajectory, world.second, values)
    return trajectory


def differing(world: World, first: list[int], second: list[int]) -> Trajectory:
    trajectory = make_trajectory(world.project, n_steps=len(first))
    judge(trajectory, world.annotator, first)
    judge(trajectory, world.second, second)
    return trajectory


def decide(world: World, trajectory: Trajectory, value: int | None) -> None:
    for dispute in Dispute.objects.filter(trajectory=trajectory):
        flow.decide(dispute, world.reviewer, DecisionIn(value=value, reason_code="slip"))


def publish(world: World, **policy: Any) -> Release:
    job = flow.publish(world.project, ReleasePolicy.parse(policy), user=world.admin)
    assert job.status == Job.Status.DONE, job.error
    return Release.objects.get(pk=job.result["release"])


def published_bytes(release: Release, format_name: str, split: str | None = None) -> bytes:
    out = io.BytesIO()
    files.export(release, format_name, out, split=split)
    return out.getvalue()


def rows_of(release: Release) -> list[dict[str, Any]]:
    return [json.loads(line) for line in published_bytes(release, "provenance").splitlines()]


def values_of(release: Release) -> dict[str, list[int | None]]:
    """The gold that counts, by external id."""
    return {
        record["external_id"]: [step["value"] if step["counts"] else None for step in record["steps"]]
        for record in files.records(release)
    }


def test_a_release_has_the_settled_labels_and_what_is_behind_them(world: World) -> None:
    trajectory = differing(world, [1, 1, -1], [1, 0, -1])
    decide(world, trajectory, -1)
    release = publish(world)
    assert values_of(release) == {trajectory.external_id: [1, -1, -1]}
    (record,) = files.records(release)
    assert [step["provenance"] for step in record["steps"]] == ["unanimous", "adjudicated", "unanimous"]
    codes = dict(world.project.memberships.values_list("user", "rater_code"))
    disputed = record["steps"][1]
    assert [(label["rater"], label["value"], label["guideline_version"]) for label in disputed["labels"]] == [
        (codes[world.annotator.pk], 1, 1),
        (codes[world.second.pk], 0, 1),
    ]
    assert [(d["reviewer"], d["value"], d["reason_code"]) for d in disputed["decisions"]] == [
        (codes[world.reviewer.pk], -1, "slip")
    ]
    assert world.annotator.username not in json.dumps(record)


def test_the_manifest_says_what_the_release_holds(world: World) -> None:
    agreed(world, [1, 0, -1])
    make_trajectory(world.project)
    release = publish(world, splits={"train": 1.0})
    manifest = release.manifest
    assert manifest["counts"] == {
        "n_trajectories": 1,
        "n_steps": 3,
        "n_labels": 6,
        "by_split": {"train": 1},
        "by_value": {"+1": 1, "-1": 1, "0": 1},
        "by_provenance": {"unanimous": 3},
    }
    assert manifest["left_out"] == {"trajectory not settled yet": 1}
    assert (manifest["project"], manifest["release"], manifest["guideline_version"]) == ("demo", 1, 1)
    assert manifest["policy"]["splits"] == {"train": 1.0}
    assert manifest["agreement"]["raw_agreement"]["value"] == 1.0
    assert set(manifest["files"]) == {files.file_name(name, split) for name in EXPORTERS for split in (None, "train")}


def test_the_manifest_names_the_bytes_of_every_file(world: World) -> None:
    for number in range(6):
        agreed(world, [1, -1, 0], group_key=f"group {number}")
    release = publish(world, splits={"train": 0.5, "validation": 0.0, "test": 0.5})
    in_manifest = release.manifest["files"]
    assert len(in_manifest) >= 2 * len(EXPORTERS)
    for format_name in EXPORTERS:
        for split in (None, *SPLITS):
            about = in_manifest.get(files.file_name(format_name, split))
            content = published_bytes(release, format_name, split)
            if about:
                assert (about["sha256"], about["n_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
            else:
                assert split == "validation"


def test_two_exports_of_a_release_are_byte_for_byte_equal(world: World, tmp_path: Path) -> None:
    agreed(world, [1, -1])
    release = publish(world)
    before = {name: published_bytes(release, name) for name in EXPORTERS}
    agreed(world, [1, 1])
    assert {name: published_bytes(release, name) for name in EXPORTERS} == before
    written = files.export_directory(release, "trl_stepwise", tmp_path)
    again = files.export_directory(release, "trl_stepwise", tmp_path / "again")
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
    assert written[-1].read_text() == files.manifest_text(release)


@pytest.mark.parametrize("format_name", ["prm800k", "processbench"])
def test_a_format_without_what_tools_answer_leaves_it_in_the_database(world: World, format_name: str) -> None:
    """The bytes are those of the whole trajectory, wherever its messages stand."""
    said = {"role": "assistant", "content": "Let me see."}
    asked, answered = {"role": "user", "content": "And now?"}, {"role": "tool", "content": "300 metres"}
    chats = (
        [said],
        [asked, said, answered, answered, said, asked],
        [said, asked, said],
        [asked, answered, said, asked],
    )
    for number, messages in enumerate(chats):
        unique = {"role": "system", "content": str(number)}
        n_steps = sum(message["role"] == "assistant" for message in messages)
        agreed(world, [1] * n_steps, messages=[*messages, unique] if number % 2 else [unique, *messages])
    release = publish(world)
    slim = list(files.records(release, whole=False))
    assert [message and message["role"] for message in slim[1]["messages"]] == [
        "user", "assistant", None, None, "assistant", None, None,
    ]  # fmt: skip
    assert all(row["tools"] == whole["tools"] for row, whole in zip(slim, files.records(release), strict=True))
    out = io.BytesIO()
    write(format_name, files.records(release), out, ExportOptions())
    assert published_bytes(release, format_name) == out.getvalue()


@pytest.mark.parametrize(("format_name", "split"), [("csv", None), ("provenance", "dev"), ("", None)])
def test_an_unknown_format_or_split_is_refused(world: World, format_name: str, split: str | None) -> None:
    agreed(world, [1])
    with pytest.raises(InvalidInput, match="Choose one of"):
        files.export(publish(world), format_name, io.BytesIO(), split=split)


@pytest.mark.parametrize("change", ["update row", "delete row", "add row", "update release", "delete release"])
def test_the_database_refuses_to_change_a_published_release(world: World, change: str) -> None:
    agreed(world, [1])
    release = publish(world)
    row = release.rows.get()
    other = make_trajectory(world.project)

    def act() -> object:
        if change == "update row":
            return ReleaseRow.objects.filter(pk=row.pk).update(split="test")
        if change == "delete row":
            return ReleaseRow.objects.filter(pk=row.pk).delete()
        if change == "add row":
            return ReleaseRow.objects.create(release=release, trajectory=other, split="train", record={})
        if change == "update release":
            return Release.objects.filter(pk=release.pk).update(manifest={})
        return QuerySet(Release).filter(pk=release.pk)._raw_delete(using="default")

    before = (Release.objects.values().get(), ReleaseRow.objects.values().get())
    with pytest.raises(REFUSED), transaction.atomic():
        act()
    assert (Release.objects.values().get(), ReleaseRow.objects.values().get()) == before


def test_versions_count_up_within_a_project(world: World) -> None:
    agreed(world, [1])
    other = make_world("other")
    agreed(other, [1])
    assert [publish(world).number, publish(world).number, publish(other).number] == [1, 2, 1]
    assert AuditEvent.objects.filter(action="release.published", user=world.admin).count() == 2


def test_two_who_publish_at_once_get_two_versions(world: World) -> None:
    agreed(world, [1, 1])
    barrier = threading.Barrier(2)
    statuses: list[str] = []

    def run() -> None:
        try:
            barrier.wait()
            statuses.append(flow.publish(world.project, ReleasePolicy(), user=world.admin).status)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == ["done", "done"]
    assert sorted(Release.objects.published().values_list("number", flat=True)) == [1, 2]


def test_nothing_settled_is_nothing_to_release(world: World) -> None:
    make_trajectory(world.project)
    job = flow.publish(world.project, ReleasePolicy(), user=world.admin)
    assert job.status == Job.Status.FAILED
    assert job.error.startswith("There is nothing to release: no trajectory has all its steps settled")
    assert not Release.objects.exists()
    agreed(world, [1])
    assert publish(world).number == 1


def test_a_half_settled_trajectory_is_left_out(world: World) -> None:
    whole = agreed(world, [1, 1])
    half = differing(world, [1, 1], [1, -1])
    assert GoldLabel.objects.filter(trajectory=half, step__isnull=False).count() == 1
    release = publish(world)
    assert set(values_of(release)) == {whole.external_id}
    assert release.manifest["left_out"] == {"trajectory not settled yet": 1}


def test_a_disputed_outcome_holds_no_steps_back(world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.annotator, [1], outcome=1)
    judge(trajectory, world.second, [1], outcome=-1)
    (record,) = files.records(publish(world))
    assert record["outcome"] is None
    assert record["steps"][0]["value"] == 1


def test_only_the_provenances_of_the_policy_count(world: World) -> None:
    trajectory = differing(world, [1, 1], [1, -1])
    decide(world, trajectory, -1)
    release = publish(world, provenances=["unanimous"])
    assert values_of(release) == {trajectory.external_id: [1, None]}
    assert release.manifest["counts"]["by_value"] == {"+1": 1, "masked": 1}


def test_a_trajectory_without_a_step_that_counts_is_left_out(world: World) -> None:
    agreed(world, [1, 1])
    decide(world, differing(world, [1, 1], [-1, -1]), 1)
    release = publish(world, provenances=["unanimous"])
    assert release.manifest["left_out"] == {"trajectory has no step that the policy counts": 1}
    assert release.rows.count() == 1


@pytest.mark.parametrize(("choice", "n_rows"), [("mask", 2), ("leave_out", 1)])
def test_an_undecidable_step_is_masked_or_takes_its_trajectory_along(world: World, choice: str, n_rows: int) -> None:
    agreed(world, [1, 1])
    undecided = differing(world, [1, 1], [1, -1])
    decide(world, undecided, None)
    release = publish(world, undecidable=choice)
    assert release.rows.count() == n_rows
    if choice == "mask":
        assert values_of(release)[undecided.external_id] == [1, None]
    else:
        assert release.manifest["left_out"] == {"trajectory has an undecidable step": 1}


@pytest.mark.parametrize(("choice", "n_rows"), [("mask", 2), ("leave_out", 1)])
def test_a_discarded_step_is_masked_or_takes_its_trajectory_along(world: World, choice: str, n_rows: int) -> None:
    Project.objects.filter(pk=world.project.pk).update(on_unsettled=Project.OnUnsettled.DISCARD)
    agreed(world, [1, 1])
    discarded = differing(world, [1, 1], [1, -1])
    release = publish(world, discarded=choice)
    assert release.rows.count() == n_rows
    if choice == "mask":
        assert values_of(release)[discarded.external_id] == [1, None]
    else:
        assert release.manifest["left_out"] == {"trajectory has a discarded step": 1}


def test_no_group_is_torn_between_splits(world: World) -> None:
    for number in range(24):
        agreed(world, [1], group_key=f"group {number % 8}")
    release = publish(world, splits={"train": 0.4, "validation": 0.3, "test": 0.3})
    splits_of: dict[str, set[str]] = defaultdict(set)
    for record in files.records(release):
        splits_of[record["group_key"]].add(record["split"])
    assert len(splits_of) == 8
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert len(set.union(*splits_of.values())) > 1


def test_a_label_that_arrives_meanwhile_belongs_to_the_next_release(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed(world, [1])
    late = make_trajectory(world.project, n_steps=1)
    judge(late, world.annotator, [1])
    rows = freezing.frozen_rows

    def judge_late() -> None:
        try:
            judge(late, world.second, [1])
        finally:
            connection.close()

    def rows_while_somebody_submits(*args: Any) -> list[ReleaseRow]:
        thread = threading.Thread(target=judge_late)
        thread.start()
        thread.join()
        assert Assignment.objects.open().count() == 1  # this snapshot does not see it
        return rows(*args)

    monkeypatch.setattr(actions, "frozen_rows", rows_while_somebody_submits)
    first = publish(world)
    monkeypatch.undo()
    assert not Assignment.objects.open().exists()
    assert late.external_id not in values_of(first)
    assert first.manifest["counts"]["n_labels"] == 2
    assert first.manifest["agreement"]["n_trajectories"] == 1
    assert late.external_id in values_of(publish(world))


def test_a_later_decision_changes_the_next_release_and_not_the_first(world: World) -> None:
    trajectory = differing(world, [1, 1], [1, -1])
    decide(world, trajectory, -1)
    first = publish(world)
    before = published_bytes(first, "provenance")
    decide(world, trajectory, 1)
    second = publish(world)
    assert values_of(first) == {trajectory.external_id: [1, -1]}
    assert values_of(second) == {trajectory.external_id: [1, 1]}
    assert published_bytes(first, "provenance") == before
    (record,) = files.records(second)
    assert [decision["value"] for decision in record["steps"][1]["decisions"]] == [-1, 1]


class Killed(BaseException):
    """The worker dies here; nothing after it runs."""


def killed(*args: object, **kwargs: object) -> None:
    raise Killed


def crash(world: World, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> Job:
    """A publish job whose worker died in owner.name and that was put back into the queue."""
    job = jobs.create(world.project, Job.Kind.PUBLISH, {"policy": {}}, unit="files", n_total=None, user=world.admin)
    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(Killed):
        flow.run_job(job.pk)
    monkeypatch.undo()
    Job.objects.filter(pk=job.pk).update(status=Job.Status.QUEUED)
    return job


@pytest.mark.parametrize(
    ("owner", "name"), [(actions, "_agreement_summary"), (actions, "seal"), (actions, "_counts"), (jobs, "finish")]
)
def test_a_worker_that_takes_over_publishes_the_same_version_once(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    agreed(world, [1])
    job = crash(world, monkeypatch, owner, name)
    agreed(world, [1, 1])
    was_frozen = bool(Release.objects.get().manifest)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.result["number"]) == (Job.Status.DONE, 1)
    release = Release.objects.published().get()
    assert release.rows.count() == (1 if was_frozen else 2)
    assert publish(world).number == 2


def test_a_cancelled_publication_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agreed(world, [1])
    job = jobs.create(world.project, Job.Kind.PUBLISH, {"policy": {}}, unit="files", n_total=None, user=world.admin)
    freeze = actions.freeze_rows

    def freeze_and_cancel(release: Release) -> None:
        freeze(release)
        jobs.cancel(job, user=world.admin)

    monkeypatch.setattr(actions, "freeze_rows", freeze_and_cancel)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert job.status == Job.Status.CANCELLED
    assert not Release.objects.exists()
    assert not ReleaseRow.objects.exists()


def test_a_large_release_is_left_to_a_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agreed(world, [1])
    monkeypatch.setattr(flow, "PUBLISH_AT_ONCE_STEPS", 0)
    job = flow.publish(world.project, ReleasePolicy(), user=world.admin)
    assert job.status == Job.Status.QUEUED
    flow.run_job(job.pk)
    assert Release.objects.published().get().number == 1


def test_an_empty_policy_result_is_refused_by_the_action(world: World) -> None:
    release = actions.begin(world.project, ReleasePolicy(), user=None)
    with pytest.raises(NothingToRelease):
        actions.freeze_rows(release)
    assert not release.rows.exists()


def test_who_has_left_keeps_a_code(world: World) -> None:
    gone = make_member(world.project)
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, gone, [1])
    judge(trajectory, world.annotator, [1])
    code = world.project.memberships.get(user=gone).rater_code
    world.project.memberships.filter(user=gone).delete()
    (record,) = files.records(publish(world))
    first = record["steps"][0]["labels"][0]["rater"]
    assert first != code
    assert first == f"r-former-{gone.pk}"


def test_a_label_says_what_its_rater_was_shown() -> None:
    world = make_world(overlap=1, asks_outcome=False, hint_policy={"reveal_after": 100, "model": "judge"})
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, -1, None])
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1})
    labelling.show_hints(slot.pk, world.annotator)
    label(slot, world.annotator, {1: -1})
    flow.submit(slot.pk, world.annotator)
    judge(make_trajectory(world.project), world.second, [1, 1, 1])  # of which the model has said nothing
    release = publish(world)
    assert release.manifest["format_version"] == 2
    shown, blind = rows_of(release)
    assert shown["format_version"] == 2
    keys = ("hint_arm", "hint_version", "hint_value", "is_after_hint")
    assert [[each[key] for key in keys] for step in shown["steps"] for each in step["labels"]] == [
        ["reveal_after", "judge v1", 1, False],
        ["reveal_after", "judge v1", -1, True],
        ["reveal_after", "judge v1", None, False],
    ]
    assert [[each[key] for key in keys] for step in blind["steps"] for each in step["labels"]] == [
        ["blind", None, None, False]
    ] * 3


def test_a_label_says_what_its_rater_had_been_shown_in_another_slot() -> None:
    world = make_world(overlap=2, asks_outcome=False, hint_policy={"hinted": 100, "model": "judge"})
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, -1, None])
    seen = queue.claim_next(world.project, world.annotator)
    assert seen is not None
    queue.release_claim(seen.pk, world.annotator)
    trajectory.assignments.exclude(pk=seen.pk).update(hint_arm="blind")
    judge(trajectory, world.second, [1, -1, 1])
    judge(trajectory, world.annotator, [1, -1, 1])
    [row] = rows_of(publish(world))
    keys = ("hint_arm", "hint_version", "hint_value", "is_after_hint")
    assert [[each[key] for key in keys] for each in row["steps"][1]["labels"]] == [
        ["hinted", "judge v1", -1, True],
        ["blind", "judge v1", None, False],
    ]


def test_a_release_of_an_earlier_version_gives_the_bytes_that_it_gave_then(world: World) -> None:
    agreed(world, [1, 0, -1])
    release = actions.begin(world.project, ReleasePolicy(), user=world.admin)
    actions.freeze_rows(release)
    release.manifest["format_version"] = 1
    for row in release.rows.all():
        for step in row.record["steps"]:
            step["labels"] = [
                {key: value for key, value in each.items() if "hint" not in key} for each in step["labels"]
            ]
        row.record["outcome"]["labels"] = []
        row.save()
    actions.seal(release, progress=lambda n_done, n_total: None)
    out = published_bytes(release, "provenance")
    assert b'"format_version":1,' in out
    assert b"hint" not in out
    assert hashlib.sha256(out).hexdigest() == release.manifest["files"]["provenance.jsonl"]["sha256"]
