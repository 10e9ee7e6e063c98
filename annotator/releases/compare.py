"""What changed from one release of a project to another, and why. Pure.

Both sides come as `Frozen` rows in the order of `trajectory_id`, so that two long releases are compared row by row.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from annotator.releases.exporters.record import GoldOutcome, GoldStep
from annotator.releases.exporters.views import in_view
from annotator.releases.policy import ErrorView

Why = Literal["decision", "revision", "label", "withdrawn", "policy", "earlier", "rule"]
Value = int | None


@dataclass(frozen=True)
class Frozen:
    """One trajectory of a release."""

    trajectory_id: int
    external_id: str
    split: str
    steps: list[GoldStep]
    outcome: GoldOutcome | None


@dataclass(frozen=True)
class State:
    """What a release says of one step. `value` is what its files carry: None where the step is masked."""

    value: Value
    settled: Value
    provenance: str | None


@dataclass(frozen=True)
class Reason:
    """Why a step changed. A decision, revision or label says whose it is, when it came and what it said.

    decision   a reviewer decided
    revision   a rater submitted a later revision
    label      a rater judged who had not judged before
    withdrawn  a rater's judgement counts no more
    policy     the policies count or show the same settled value differently
    earlier    both releases stop at the first error, and that is another step now
    rule       nothing of this: the step was settled anew, by another rule
    """

    why: Why
    by: str = ""
    at: str = ""
    value: Value = None
    reason_code: str = ""
    note: str = ""


@dataclass(frozen=True)
class Change:
    """One step (`index` None: the outcome) of which the two releases say different things."""

    index: int | None
    before: State
    after: State
    reasons: list[Reason]


@dataclass(frozen=True)
class TrajectoryChange:
    """One trajectory that the two releases do not hold alike; a split is None where a release does not have it."""

    kind: Literal["added", "removed", "changed"]
    trajectory_id: int
    external_id: str
    split_before: str | None
    split_after: str | None
    changes: list[Change]


@dataclass
class Counts:
    """How much changed, over all trajectories. `transitions` counts steps by (value before, value after)."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    moved: int = 0
    steps: int = 0
    outcomes: int = 0
    transitions: Counter[tuple[Value, Value]] = field(default_factory=Counter)
    reasons: Counter[Why] = field(default_factory=Counter)

    def add(self, trajectory: TrajectoryChange) -> None:
        if trajectory.kind == "added":
            self.added += 1
            return
        if trajectory.kind == "removed":
            self.removed += 1
            return
        self.changed += 1
        self.moved += trajectory.split_before != trajectory.split_after
        for change in trajectory.changes:
            if change.index is None:
                self.outcomes += 1
            else:
                self.steps += 1
                self.transitions[change.before.value, change.after.value] += 1
            self.reasons.update({reason.why for reason in change.reasons})


def compare(
    before: Iterable[Frozen], after: Iterable[Frozen], *, view_before: ErrorView, view_after: ErrorView
) -> Iterator[TrajectoryChange]:
    """The trajectories that differ, by id; alike ones are passed over."""
    olds, news = iter(before), iter(after)
    old, new = next(olds, None), next(news, None)
    while old or new:
        if new is None or (old and old.trajectory_id < new.trajectory_id):
            assert old is not None
            yield TrajectoryChange("removed", old.trajectory_id, old.external_id, old.split, None, [])
            old = next(olds, None)
        elif old is None or new.trajectory_id < old.trajectory_id:
            yield TrajectoryChange("added", new.trajectory_id, new.external_id, None, new.split, [])
            new = next(news, None)
        else:
            changes = list(_changes(old, new, view_before, view_after))
            if changes or old.split != new.split:
                yield TrajectoryChange("changed", new.trajectory_id, new.external_id, old.split, new.split, changes)
            old, new = next(olds, None), next(news, None)


def _changes(old: Frozen, new: Frozen, view_before: ErrorView, view_after: ErrorView) -> Iterator[Change]:
    # An imported trajectory never changes, so both sides have the same steps.
    settled_before, settled_after = in_view(old.steps, "as_labelled"), in_view(new.steps, "as_labelled")
    shown_before, shown_after = in_view(old.steps, view_before), in_view(new.steps, view_after)
    for was, now, shown_was, shown_now in zip(settled_before, settled_after, shown_before, shown_after, strict=True):
        states = _state(was, shown_was), _state(now, shown_now)
        if states[0] != states[1]:
            yield Change(now["index"], *states, _reasons(was, now, *states, (view_before, view_after)))
    outcomes = _state(old.outcome, old.outcome), _state(new.outcome, new.outcome)
    if outcomes[0] != outcomes[1]:
        yield Change(None, *outcomes, _reasons(old.outcome, new.outcome, *outcomes, (view_before, view_after)))


def _state(settled: GoldStep | GoldOutcome | None, shown: GoldStep | GoldOutcome | None) -> State:
    if settled is None or shown is None:
        return State(None, None, None)
    return State(shown["value"] if shown["counts"] else None, settled["value"], settled["provenance"])


def _reasons(
    was: GoldStep | GoldOutcome | None,
    now: GoldStep | GoldOutcome | None,
    before: State,
    after: State,
    views: tuple[ErrorView, ErrorView],
) -> list[Reason]:
    is_settled_alike = (before.settled, before.provenance) == (after.settled, after.provenance)
    if is_settled_alike and was and now and (was["counts"] != now["counts"] or views[0] != views[1]):
        return [Reason("policy")]
    if is_settled_alike and views[1] == "stop_at_first":
        return [Reason("earlier")]
    # Strict shows what the raters thought of the step alone, so that a revision may change it and not what is settled.
    return [*_decided(was, now), *_judged(was, now)] or [Reason("rule")]


def _decided(was: GoldStep | GoldOutcome | None, now: GoldStep | GoldOutcome | None) -> Iterator[Reason]:
    known = {decision["id"] for decision in (was["decisions"] if was else [])}
    for made in now["decisions"] if now else []:
        if made["id"] not in known:
            yield Reason(
                "decision", made["reviewer"], made["decided_at"], made["value"], made["reason_code"], made["note"]
            )


def _judged(was: GoldStep | GoldOutcome | None, now: GoldStep | GoldOutcome | None) -> Iterator[Reason]:
    labels = was["labels"] if was else []
    old_annotations, old_raters = {label["annotation"] for label in labels}, {label["rater"] for label in labels}
    new_labels = now["labels"] if now else []
    for label in new_labels:
        if label["annotation"] not in old_annotations:
            why: Why = "revision" if label["rater"] in old_raters else "label"
            yield Reason(why, label["rater"], label["submitted_at"], label["value"])
    for rater in sorted(old_raters - {label["rater"] for label in new_labels}):
        yield Reason("withdrawn", rater)
