"""Label schemes: what a project asks beside the value, error propagation, reveal, stop at the first error."""

from typing import Any

import pytest

from annotator import flow
from annotator.errors import (
    IncompleteAnnotation,
    InconsistentAnnotation,
    InvalidInput,
    InvalidSettings,
    UnconfirmedWarnings,
)
from annotator.labelling import actions, completeness
from annotator.labelling.intake import Changes
from annotator.models import Annotation, Assignment, Label, LabelEvent
from annotator.projects.scheme import LabelScheme
from annotator.queue import actions as queue
from tests.factories import World, make_trajectory, make_world

pytestmark = pytest.mark.django_db


def claim(n_steps: int = 3, **scheme: Any) -> tuple[World, Assignment]:
    world = make_world(overlap=1, label_scheme=scheme)
    make_trajectory(world.project, n_steps=n_steps)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    return world, slot


def save(world: World, slot: Assignment, values: dict[int, int | None], **details: dict[str, Any]) -> Annotation:
    """`s1={...}` are the details of step index 1."""
    by_step = {int(name[1:]): said for name, said in details.items()}
    return actions.save_labels(slot.pk, world.annotator, Changes(values, {"outcome": -1}, by_step))


def test_an_inherited_error_is_stored_with_its_root_and_local_judgement() -> None:
    world, slot = claim(mode="carry_errors")
    save(
        world,
        slot,
        {0: -1, 1: -1, 2: 1},
        s1={"root": 0, "local_value": 1},
        s2={"exit_reason": "corrected"},
    )
    rows = Label.objects.filter(step__isnull=False).order_by("step__index")
    assert list(rows.values_list("value", "root__index", "exit_reason", "local_value")) == [
        (-1, None, "", None),
        (-1, 0, "", 1),
        (1, None, "corrected", None),
    ]
    assert flow.submit(slot.pk, world.annotator, heeds_warnings=True).submitted_at is not None


@pytest.mark.parametrize(
    ("_case", "values", "root"),
    [("a later step", {0: -1, 1: 1}, 1), ("itself", {0: -1}, 0), ("no step at all", {0: -1}, 9)],
)
def test_a_root_must_be_an_earlier_step(_case: str, values: dict[int, int | None], root: int) -> None:
    world, slot = claim(mode="carry_errors")
    with pytest.raises(InvalidInput, match="only from an earlier step"):
        save(world, slot, values, s0={"root": root})
    assert Label.objects.count() == 0


def test_a_new_value_forgets_what_the_old_one_followed_from() -> None:
    world, slot = claim(mode="carry_errors")
    save(world, slot, {0: -1, 1: -1}, s1={"root": 0, "extras": {"rationale": "Builds on it."}})
    save(world, slot, {1: 1})
    label = Label.objects.get(step__index=1)
    assert (label.value, label.root, label.extras) == (1, None, {"rationale": "Builds on it."})


def test_contradictions_block_and_oddities_ask_once() -> None:
    world, slot = claim(mode="carry_errors")
    save(world, slot, {0: -1, 1: 1, 2: 1}, s1={"exit_reason": "corrected"})
    save(world, slot, {0: 1})
    with pytest.raises(InconsistentAnnotation, match="Step 2 is marked as fixed here, but no error is left") as refusal:
        flow.submit(slot.pk, world.annotator)
    assert list(refusal.value.fields) == ["step 1"]
    save(world, slot, {0: -1, 1: -1, 2: 1}, s1={"root": 0})
    save(world, slot, {0: 1})
    with pytest.raises(InconsistentAnnotation, match="Step 2 follows from step 1, which is no error"):
        flow.submit(slot.pk, world.annotator)
    save(world, slot, {0: -1})
    with pytest.raises(UnconfirmedWarnings, match="Step 3 ends an error, but not how"):
        flow.submit(slot.pk, world.annotator, heeds_warnings=True)
    assert Annotation.objects.submitted().count() == 0
    assert flow.submit(slot.pk, world.annotator).submitted_at is not None


def test_extras_are_checked_against_the_scheme() -> None:
    world, slot = claim(
        categories="required_on_error",
        severity=True,
        rationale="required_on_error",
        dimensions=[{"key": "helpfulness", "name": "Helpfulness", "low": 1, "high": 5}],
    )
    for wrong in (
        {"category": "no such"},
        {"severity": "huge"},
        {"helpfulness": 6},
        {"helpfulness": True},
        {"unsure": True},
        {"correction": "not asked for"},
        {"anything": 1},
        {"category": ["wrong_tool"]},
    ):
        with pytest.raises(InvalidInput, match="The labels were not saved"):
            save(world, slot, {0: -1}, s0={"extras": wrong})
    assert Label.objects.count() == 0
    save(world, slot, {0: -1, 1: 1, 2: 1}, s0={"extras": {"severity": "major", "helpfulness": 2}})
    with pytest.raises(IncompleteAnnotation, match=r"Step 1 needs a kind of error\. Step 1 needs a note\.") as refusal:
        flow.submit(slot.pk, world.annotator)
    assert list(refusal.value.fields) == ["step 0: category", "step 0: rationale"]
    full = {"category": "wrong_tool", "rationale": "It should have searched.", "severity": "major"}
    save(world, slot, {0: -1}, s0={"extras": full})
    assert flow.submit(slot.pk, world.annotator).submitted_at is not None
    assert Label.objects.get(step__index=0).extras == full


def test_a_scheme_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="taxonomy must be one of"):
        LabelScheme.parse({"taxonomy": "mine"})
    with pytest.raises(InvalidSettings, match="two dimensions have the same key"):
        LabelScheme.parse({"dimensions": [{"key": "a", "name": "A"}, {"key": "a", "name": "B"}]})
    with pytest.raises(InvalidSettings, match="mode"):
        LabelScheme.parse({"mode": "whatever"})


def test_what_comes_after_the_first_error_is_not_judged_in_that_mode() -> None:
    world, slot = claim(n_steps=4, mode="stop_at_first_error")
    save(world, slot, {0: 1, 1: 1, 2: 1})
    assert completeness.missing_labels(slot, actions.draft_of(slot, world.annotator)) == ["step 3"]
    save(world, slot, {1: -1})
    flow.submit(slot.pk, world.annotator)
    labels = Label.objects.submitted().filter(step__isnull=False).order_by("step__index")
    assert list(labels.values_list("step__index", "value")) == [(0, 1), (1, -1)]


def test_the_reference_is_shown_after_labelling_and_later_changes_are_marked() -> None:
    world, slot = claim(n_steps=2, reveal="after_labels")
    save(world, slot, {0: 1})
    with pytest.raises(InvalidInput, match="Label step 2 before looking at the reference"):
        actions.reveal(slot.pk, world.annotator)
    annotation = save(world, slot, {1: 1})
    actions.reveal(slot.pk, world.annotator)
    annotation.refresh_from_db()
    assert annotation.revealed_at is not None
    save(world, slot, {1: -1})
    marks = dict(Label.objects.filter(step__isnull=False).values_list("step__index", "is_after_reveal"))
    assert marks == {0: False, 1: True}
    assert list(LabelEvent.objects.filter(is_after_reveal=True).values_list("step__index", "value")) == [(1, -1)]


def test_what_is_said_in_another_slot_after_the_reference_was_shown_is_marked_too() -> None:
    world, slot = claim(n_steps=2, reveal="after_labels")
    save(world, slot, {0: 1, 1: 1})
    actions.reveal(slot.pk, world.annotator)
    queue.release_claim(slot.pk, world.annotator)
    assert queue.claim_next(world.project, world.second) == slot
    actions.save_labels(slot.pk, world.second, Changes({0: 1}, {}))
    Assignment.objects.create(project=world.project, trajectory=slot.trajectory, slot=1)
    other = queue.claim_next(world.project, world.annotator)
    assert other is not None
    draft = save(world, other, {0: -1, 1: 1})
    assert draft.revealed_at is None  # it is not shown again before all is labelled
    assert set(draft.labels.values_list("is_after_reveal", flat=True)) == {True}
    assert set(draft.label_events.values_list("is_after_reveal", flat=True)) == {True}
    assert not Label.objects.get(annotation__annotator=world.second).is_after_reveal


def test_a_project_that_never_reveals_refuses_to() -> None:
    world, slot = claim(n_steps=1)
    save(world, slot, {0: 1})
    with pytest.raises(InvalidInput, match="does not show the reference"):
        actions.reveal(slot.pk, world.annotator)
    assert Annotation.objects.get().revealed_at is None


def test_evidence_of_reading_only_grows_and_is_no_change_of_the_label() -> None:
    world, slot = claim(n_steps=1)
    save(world, slot, {0: 1}, s0={"active_ms": 5000, "is_seen": True})
    before = Label.objects.get(step__index=0)
    save(world, slot, {0: 1}, s0={"active_ms": 3000, "has_opened": True})
    label = Label.objects.get(step__index=0)
    assert (label.active_ms, label.is_seen, label.has_opened) == (5000, True, True)
    assert label.labelled_at == before.labelled_at
    assert LabelEvent.objects.filter(step__isnull=False).count() == 1


def test_what_belongs_to_an_error_goes_with_it() -> None:
    world, slot = claim(categories="optional", severity=True, recoverable=True, correction=True, unsure=True)
    error = {"category": "wrong_tool", "severity": "critical", "recoverable": False, "correction": "Ask first."}
    for_any = {"rationale": "See line 3.", "unsure": True}
    save(world, slot, {0: -1}, s0={"extras": error | for_any})
    save(world, slot, {0: 1})
    label = Label.objects.get(step__index=0)
    assert (label.value, label.extras) == (1, for_any)
    # Also for whoever sends it along, and sends it twice.
    for _ in range(2):
        save(world, slot, {1: 0, 2: -1}, s1={"extras": error | for_any}, s2={"extras": error})
        assert [extras for (extras,) in labelled(slot)] == [for_any, for_any, error]
    assert LabelEvent.objects.filter(step__isnull=False).count() == 4


def test_what_is_no_longer_asked_for_goes_when_the_step_is_labelled_anew() -> None:
    scale = {"key": "helpful", "name": "Helpfulness"}
    world, slot = claim(severity=True, dimensions=[scale])
    extras = {"rationale": "Wrong tower.", "severity": "major", "helpful": 2}
    save(world, slot, {0: -1, 1: -1, 2: -1}, s0={"extras": extras}, s1={"extras": extras}, s2={"extras": extras})
    world.project.label_scheme = {"severity": True, "rationale": "off"}
    world.project.save(update_fields=["label_scheme"])
    save(world, slot, {0: 1, 1: -1, 2: -1}, s1={"extras": extras}, s2={"active_ms": 500})
    assert [extras for (extras,) in labelled(slot)] == [{}, {"severity": "major"}, extras]
    # What the label never had is a mistake.
    with pytest.raises(InvalidInput, match=r"Step 1: rationale: The project does not ask for this\."):
        save(world, slot, {0: -1}, s0={"extras": {"rationale": "New."}})


def labelled(slot: Assignment) -> list[tuple[dict[str, object]]]:
    labels = Label.objects.filter(annotation__assignment=slot, step__isnull=False)
    return list(labels.order_by("step__index").values_list("extras"))
