"""What a release freezes: a project's settled trajectories with everything behind their gold."""

from collections import Counter, defaultdict
from typing import Any

from django.db.models import Exists, F, OuterRef, Q

from annotator.models import (
    Acceptance,
    Adjudication,
    Assignment,
    GoldLabel,
    Label,
    Project,
    ReferenceLabel,
    Release,
    ReleaseRow,
    Step,
    Trajectory,
)
from annotator.models.importing import TrajectoryQuerySet
from annotator.projects import actions as projects
from annotator.raters import blind
from annotator.releases.exporters.record import Decision, GoldOutcome, GoldStep, RawLabel
from annotator.releases.policy import ReleasePolicy, split_of


def releasable(project: Project) -> TrajectoryQuerySet:
    """Trajectories whose every step is settled; a half-settled one counts nowhere.

    Nor does one with accepted labels that are still being written, or are to be taken back.
    """
    standing = list(Acceptance.objects.standing().filter(project=project).values_list("pk", flat=True))
    gold = GoldLabel.objects.filter(Q(acceptance=None) | Q(acceptance__in=standing), step=OuterRef("pk"))
    unsettled = Step.objects.filter(~Exists(gold), trajectory=OuterRef("pk"))
    any_gold = GoldLabel.objects.filter(trajectory=OuterRef("pk"), step__isnull=False)
    return project.trajectories.filter(Exists(any_gold), ~Exists(unsettled)).order_by("id")


def frozen_rows(
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


def _versions_shown(trajectory_ids: list[int]) -> dict[tuple[int, int], str]:
    """By trajectory and annotator: the model version whose suggestions they were shown, in whichever slot."""
    sights = sorted(blind.in_slots(Trajectory.objects.filter(pk__in=trajectory_ids)), key=lambda one: one.at)
    slots = Assignment.objects.select_related("hint_version").in_bulk({one.slot for one in sights})
    return {(one.trajectory, one.person): str(slots[one.slot].hint_version) for one in sights if one.slot}


class _Behind:
    """Everything behind the gold of some trajectories, read with one query per table."""

    def __init__(self, project: Project, trajectory_ids: list[int]) -> None:
        self._code_of = projects.rater_codes(project)
        self._steps: dict[int, list[Step]] = defaultdict(list)
        for step in Step.objects.filter(trajectory__in=trajectory_ids).order_by("trajectory", "index"):
            self._steps[step.trajectory_id].append(step)
        golds = GoldLabel.objects.filter(trajectory__in=trajectory_ids).select_related("acceptance")
        self._gold = {(gold.trajectory_id, gold.step_id): gold for gold in golds}
        self._shown = _versions_shown(trajectory_ids)
        self._labels: dict[tuple[int, int | None], list[RawLabel]] = defaultdict(list)
        labels = Label.objects.submitted().filter(annotation__trajectory__in=trajectory_ids)
        for label in labels.select_related("annotation__assignment", "guideline", "root").order_by(
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
            if gold.acceptance is not None:
                steps[-1]["acceptance"] = gold.acceptance.number
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
        rater = label.annotation.trajectory_id, label.annotation.annotator_id
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
            "hint_version": self._shown.get(rater),
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
