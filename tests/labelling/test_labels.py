"""Saving labels and submitting them."""

from collections.abc import Callable

import pytest
from django.db import InternalError, ProgrammingError, transaction

from annotator import flow
from annotator.errors import IncompleteAnnotation, InvalidInput
from annotator.labelling import actions
from annotator.labelling.intake import Changes, parse_labels
from annotator.models import Annotation, Assignment, GoldLabel, Label, LabelEvent
from annotator.projects import actions as projects
from annotator.queue import actions as queue
from tests.factories import World, label, make_trajectory

pytestmark = pytest.mark.django_db


@pytest.fixture
def slot(world: World) -> Assignment:
    make_trajectory(world.project, n_steps=3)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    return claimed


def labels_of(annotation: Annotation) -> dict[int | None, int]:
    return dict(annotation.labels.values_list("step__index", "value"))


def test_labels_and_outcome_are_stored_with_the_guideline_they_were_given_under(slot: Assignment, world: World) -> None:
    annotation = label(slot, world.annotator, {0: 1, 2: -1}, outcome=0)
    assert labels_of(annotation) == {0: 1, 2: -1, None: 0}
    projects.add_guideline(world.project, "Stricter.", user=None)
    label(slot, world.annotator, {1: 0})
    versions = dict(annotation.labels.values_list("step__index", "guideline__version"))
    assert versions == {0: 1, 2: 1, None: 1, 1: 2}


def test_a_changed_label_is_stored_as_changed(slot: Assignment, world: World) -> None:
    annotation = label(slot, world.annotator, {0: 1, 1: 0}, outcome=1)
    label(slot, world.annotator, {0: -1}, outcome=-1)
    assert labels_of(annotation) == {0: -1, 1: 0, None: -1}


def test_saving_the_same_again_changes_nothing(slot: Assignment, world: World) -> None:
    annotation = label(slot, world.annotator, {0: 1})
    first = annotation.labels.get()
    label(slot, world.annotator, {0: 1})
    again = annotation.labels.get()
    assert (again.pk, again.labelled_at) == (first.pk, first.labelled_at)
    assert LabelEvent.objects.count() == 1


def test_every_change_of_a_draft_is_kept_as_an_event(slot: Assignment, world: World) -> None:
    annotation = label(slot, world.annotator, {0: 1})
    label(slot, world.annotator, {0: -1})
    label(slot, world.annotator, {0: None})
    assert labels_of(annotation) == {}
    assert list(LabelEvent.objects.order_by("id").values_list("step__index", "value")) == [(0, 1), (0, -1), (0, None)]


def test_the_outcome_can_be_cleared_without_touching_steps(slot: Assignment, world: World) -> None:
    annotation = label(slot, world.annotator, {0: 1}, outcome=1)
    actions.save_labels(slot.pk, world.annotator, Changes({}, {"outcome": None}))
    assert labels_of(annotation) == {0: 1}


def test_a_step_that_does_not_exist_is_refused_and_nothing_is_stored(slot: Assignment, world: World) -> None:
    with pytest.raises(InvalidInput, match="Step 4: The trajectory has no step with the index 3") as refusal:
        label(slot, world.annotator, {0: 1, 3: 1})
    assert list(refusal.value.fields) == ["step 3"]
    assert Label.objects.count() == 0


def test_a_spot_question_takes_only_the_steps_it_asks_for(slot: Assignment, world: World) -> None:
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[1], wants_outcome=False)
    with pytest.raises(InvalidInput, match="does not ask for this step"):
        label(slot, world.annotator, {0: 1})
    with pytest.raises(InvalidInput, match="does not ask for the outcome"):
        label(slot, world.annotator, {1: 1}, outcome=1)
    assert Label.objects.count() == 0
    annotation = label(slot, world.annotator, {1: 1})
    flow.submit(slot.pk, world.annotator)
    annotation.refresh_from_db()
    assert annotation.submitted_at is not None


@pytest.mark.parametrize(
    ("_case", "data", "place"),
    [
        ("a value outside -1, 0, 1", {"labels": [{"step": 0, "value": 2}]}, "labels[0].value"),
        ("a fraction", {"labels": [{"step": 0, "value": 0.5}]}, "labels[0].value"),
        ("a float that is whole", {"labels": [{"step": 0, "value": 1.0}]}, "labels[0].value"),
        ("true is not 1", {"labels": [{"step": 0, "value": True}]}, "labels[0].value"),
        ("text", {"labels": [{"step": 0, "value": "1"}]}, "labels[0].value"),
        ("null is not a label", {"labels": [{"step": 0, "value": None}]}, "labels[0].value"),
        ("a negative step", {"labels": [{"step": -1, "value": 1}]}, "labels[0].step"),
        ("a step as text", {"labels": [{"step": 0, "value": 1}, {"step": "1", "value": 1}]}, "labels[1].step"),
        ("a missing value", {"labels": [{"step": 0}]}, "labels[0].value"),
        ("an unknown field", {"labels": [{"step": 0, "value": 1, "note": "x"}]}, "labels[0].note"),
        ("an unknown field outside", {"labels": [], "result": 1}, "result"),
        ("an outcome outside -1, 0, 1", {"outcome": 3}, "outcome"),
        ("a step named twice", {"labels": [{"step": 0, "value": 1}, {"step": 0, "value": -1}]}, "labels[1].step"),
        ("no object", [1], "body"),
    ],
)
def test_what_is_no_label_is_refused_with_its_place(_case: str, data: object, place: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_labels(data)
    assert list(refusal.value.fields) == [place]


def test_submit_names_what_is_missing(slot: Assignment, world: World) -> None:
    label(slot, world.annotator, {0: 1})
    with pytest.raises(IncompleteAnnotation, match=r"Label steps 2, 3 and the outcome before submitting\.") as refusal:
        flow.submit(slot.pk, world.annotator)
    assert list(refusal.value.fields) == ["step 1", "step 2", "outcome"]
    assert Annotation.objects.submitted().count() == 0
    slot.refresh_from_db()
    assert slot.status == "claimed"


def test_submit_without_any_label_names_everything(slot: Assignment, world: World) -> None:
    with pytest.raises(IncompleteAnnotation, match=r"Label steps 1, 2, 3 and the outcome"):
        flow.submit(slot.pk, world.annotator)


def test_a_project_that_does_not_ask_for_the_outcome_does_not_miss_it(world: World) -> None:
    world.project.asks_outcome = False
    world.project.save()
    make_trajectory(world.project, n_steps=1)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    label(slot, world.annotator, {0: 1})
    assert flow.submit(slot.pk, world.annotator).submitted_at is not None


def test_submitting_twice_is_harmless(slot: Assignment, world: World) -> None:
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    first = flow.submit(slot.pk, world.annotator)
    again = flow.submit(slot.pk, world.annotator)
    assert (again.pk, again.submitted_at) == (first.pk, first.submitted_at)


def test_a_half_labelled_trajectory_counts_nowhere(slot: Assignment, world: World) -> None:
    label(slot, world.annotator, {0: 1, 1: 1})
    assert Label.objects.submitted().count() == 0
    assert GoldLabel.objects.count() == 0


@pytest.mark.parametrize(
    ("_case", "statement"),
    [
        ("a label cannot change", lambda annotation: annotation.labels.update(value=0)),
        ("a label cannot go", lambda annotation: annotation.labels.all()._raw_delete("default")),
        (
            "no label can be added",
            lambda annotation: Label.objects.create(
                annotation=annotation, step=annotation.trajectory.steps.get(index=2), value=1
            ),
        ),
        ("it cannot become a draft again", lambda a: Annotation.objects.filter(pk=a.pk).update(submitted_at=None)),
        ("its history cannot change", lambda annotation: annotation.label_events.update(value=0)),
    ],
)
def test_the_database_refuses_to_change_what_was_submitted(
    _case: str, statement: Callable[[Annotation], object], slot: Assignment, world: World
) -> None:
    Assignment.objects.filter(pk=slot.pk).update(wanted_steps=[0, 1])
    annotation = label(slot, world.annotator, {0: 1, 1: -1}, outcome=1)
    flow.submit(slot.pk, world.annotator)
    with pytest.raises((ProgrammingError, InternalError)), transaction.atomic():
        statement(annotation)
    assert labels_of(annotation) == {0: 1, 1: -1, None: 1}
    annotation.refresh_from_db()
    assert annotation.submitted_at is not None
