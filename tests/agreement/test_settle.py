"""From submitted judgements to gold, further slots and disputes."""

from functools import partial
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.agreement import actions as agreement
from annotator.labelling import revisions
from annotator.models import Annotation, Assignment, AuditEvent, Dispute, GoldLabel, Project, Review, Trajectory, User
from annotator.queue import actions as queue
from tests.factories import judge, label, make_member, make_project, make_trajectory
from tests.queue.test_concurrency import run_at_once

THREE_AT_MOST = {"overlap": 2, "max_overlap": 3, "required_agreement": 2}


def gold_of(trajectory: Trajectory) -> dict[int | None, tuple[int | None, str]]:
    """Step index (None: the outcome) → value and provenance."""
    rows = GoldLabel.objects.filter(trajectory=trajectory).values_list("step__index", "value", "provenance")
    return {index: (value, provenance) for index, value, provenance in rows}


def disputes_of(trajectory: Trajectory) -> dict[int | None, int]:
    """Step index (None: the outcome) → severity."""
    return dict(Dispute.objects.filter(trajectory=trajectory).values_list("step__index", "severity"))


def judged(
    values: list[list[int]],
    *,
    outcomes: list[int] | None = None,
    settings: dict[str, Any] | None = None,
    n_steps: int | None = None,
) -> Trajectory:
    """A trajectory that one person after the other has judged."""
    project = make_project(**(settings or {}))
    trajectory = make_trajectory(project, n_steps=n_steps or len(values[0]))
    for number, given in enumerate(values):
        judge(trajectory, make_member(project), given, outcomes[number] if outcomes else 1)
    return trajectory


@pytest.mark.django_db
def test_steps_on_which_all_agree_become_gold_and_the_others_disputes() -> None:
    trajectory = judged([[1, 0, -1], [1, 1, 1]])
    assert gold_of(trajectory) == {0: (1, "unanimous"), None: (1, "unanimous")}
    assert disputes_of(trajectory) == {1: 1, 2: 2}
    review = Review.objects.get(trajectory=trajectory)
    assert (review.status, review.severity) == ("open", 3)


@pytest.mark.django_db
def test_full_agreement_opens_no_review() -> None:
    trajectory = judged([[1, 0, -1], [1, 0, -1]])
    assert gold_of(trajectory) == {
        0: (1, "unanimous"),
        1: (0, "unanimous"),
        2: (-1, "unanimous"),
        None: (1, "unanimous"),
    }
    assert not Dispute.objects.exists()
    assert not Review.objects.exists()


@pytest.mark.django_db
def test_nothing_is_settled_while_a_wanted_judgement_is_out() -> None:
    trajectory = judged([[1, 1, 1]])
    assert gold_of(trajectory) == {}
    assert agreement.settle(trajectory.pk) is False
    assert gold_of(trajectory) == {}


@pytest.mark.django_db
def test_the_third_person_is_asked_only_about_what_is_unsettled() -> None:
    trajectory = judged([[1, 0, -1], [1, 1, 1]], settings=THREE_AT_MOST)
    spot = Assignment.objects.get(trajectory=trajectory, status="open")
    assert (spot.slot, spot.wanted_steps, spot.wants_outcome) == (2, [1, 2], False)
    assert spot.priority == 1.0
    assert gold_of(trajectory) == {0: (1, "unanimous"), None: (1, "unanimous")}
    assert disputes_of(trajectory) == {}
    assert not Review.objects.exists()


@pytest.mark.django_db
def test_a_disputed_outcome_alone_is_asked_about_without_any_step() -> None:
    trajectory = judged([[1, 0], [1, 0]], outcomes=[1, -1], settings=THREE_AT_MOST)
    spot = Assignment.objects.get(trajectory=trajectory, status="open")
    assert (spot.wanted_steps, spot.wants_outcome) == ([], True)
    annotation = judge(trajectory, make_member(trajectory.project), [1, 0], outcome=-1)
    given = annotation.labels.get()
    assert (given.step, given.value) == (None, -1)
    assert gold_of(trajectory)[None] == (-1, "majority")


@pytest.mark.django_db
def test_after_escalation_the_majority_is_gold_and_a_three_way_split_a_dispute() -> None:
    trajectory = judged([[1, 0, -1], [1, 1, 1], [0, 1, 0]], settings=THREE_AT_MOST)
    assert gold_of(trajectory) == {0: (1, "unanimous"), 1: (1, "majority"), None: (1, "unanimous")}
    assert disputes_of(trajectory) == {2: 2}
    assert list(Assignment.objects.filter(trajectory=trajectory).values_list("status", flat=True)) == ["submitted"] * 3


@pytest.mark.django_db
def test_a_project_that_discards_leaves_the_split_step_without_a_value() -> None:
    trajectory = judged([[1, 0, -1], [1, 1, 1], [0, 1, 0]], settings={**THREE_AT_MOST, "on_unsettled": "discard"})
    assert gold_of(trajectory)[2] == (None, "discarded")
    assert gold_of(trajectory)[1] == (1, "majority")
    assert disputes_of(trajectory) == {}
    assert not Review.objects.exists()


@pytest.mark.django_db
def test_an_outcome_on_which_people_differ_is_a_dispute_of_its_own() -> None:
    trajectory = judged([[1, 1], [1, 1]], outcomes=[1, -1])
    assert disputes_of(trajectory) == {None: 2}
    assert gold_of(trajectory) == {0: (1, "unanimous"), 1: (1, "unanimous")}


@pytest.mark.django_db
def test_a_project_that_does_not_ask_for_the_outcome_settles_only_steps() -> None:
    trajectory = judged([[1, 1], [1, 1]], settings={"asks_outcome": False})
    assert gold_of(trajectory) == {0: (1, "unanimous"), 1: (1, "unanimous")}


@pytest.mark.django_db
def test_settling_again_changes_nothing() -> None:
    trajectory = judged([[1, 0, -1], [1, 1, 1]])
    gold = list(GoldLabel.objects.order_by("id").values())
    disputes = list(Dispute.objects.order_by("id").values())
    n_events = AuditEvent.objects.count()
    assert agreement.settle(trajectory.pk) is False
    assert list(GoldLabel.objects.order_by("id").values()) == gold
    assert list(Dispute.objects.order_by("id").values()) == disputes
    assert AuditEvent.objects.count() == n_events


@pytest.mark.django_db
def test_a_submission_that_is_sent_twice_settles_once() -> None:
    trajectory = judged([[1, 0, -1], [1, 1, 1]])
    gold = list(GoldLabel.objects.order_by("id").values())
    slot = Assignment.objects.filter(trajectory=trajectory).latest("finished_at")
    assert slot.annotator is not None
    flow.submit(slot.pk, slot.annotator)
    assert list(GoldLabel.objects.order_by("id").values()) == gold
    assert AuditEvent.objects.filter(action="trajectory.settled").count() == 1


@pytest.mark.django_db
def test_a_draft_counts_nowhere() -> None:
    trajectory = judged([[1, 1, 1]])
    project = trajectory.project
    second = make_member(project)
    slot = queue.claim_next(project, second)
    assert slot is not None
    label(slot, second, {0: -1, 1: -1}, outcome=-1)
    assert agreement.settle(trajectory.pk) is False
    assert gold_of(trajectory) == {}
    assert disputes_of(trajectory) == {}
    assert agreement.report(project).n_raters == 0


@pytest.mark.django_db
def test_a_skipped_slot_is_replaced_and_does_not_count() -> None:
    project = make_project(overlap=2)
    trajectory = make_trajectory(project, n_steps=1)
    skipper = make_member(project)
    slot = queue.claim_next(project, skipper)
    assert slot is not None
    queue.skip(slot.pk, skipper, "I know the author.")
    judge(trajectory, make_member(project), [1])
    assert gold_of(trajectory) == {}
    judge(trajectory, make_member(project), [1])
    assert gold_of(trajectory) == {0: (1, "unanimous"), None: (1, "unanimous")}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_attempt", range(3))
def test_the_last_two_submissions_at_once_settle_exactly_once(_attempt: int) -> None:
    project = make_project(overlap=2, max_overlap=3)
    trajectory = make_trajectory(project, n_steps=3)
    work = []
    for values in ([1, 0, -1], [1, 1, 1]):
        person = make_member(project)
        slot = queue.claim_next(project, person)
        assert slot is not None
        label(slot, person, dict(enumerate(values)), outcome=1)
        work.append(partial(flow.submit, slot.pk, person))
    assert run_at_once(work) == []
    assert gold_of(trajectory) == {0: (1, "unanimous"), None: (1, "unanimous")}
    assert Assignment.objects.filter(trajectory=trajectory, status="open").count() == 1
    assert AuditEvent.objects.filter(action="trajectory.settled").count() == 1


# After a later revision.


def corrected(trajectory: Trajectory, person: User, values: dict[int, int], outcome: int | None = None) -> None:
    """A reviewer sends this person's annotation back; they change these labels and submit again."""
    annotation = Annotation.objects.submitted().get(trajectory=trajectory, annotator=person)
    revisions.return_annotation(annotation.pk, make_member(trajectory.project, "reviewer"), "Look again.")
    label(annotation.assignment, person, values, outcome)
    flow.submit(annotation.assignment_id, person)


def raters_of(trajectory: Trajectory) -> list[User]:
    slots = Assignment.objects.filter(trajectory=trajectory).order_by("slot").select_related("annotator")
    return [slot.annotator for slot in slots if slot.annotator]


@pytest.mark.django_db
def test_nothing_is_settled_while_an_annotation_is_back_with_its_author() -> None:
    trajectory = judged([[1, 0], [1, 1]])
    first, _ = raters_of(trajectory)
    annotation = Annotation.objects.get(trajectory=trajectory, annotator=first)
    before = gold_of(trajectory), disputes_of(trajectory)
    revisions.return_annotation(annotation.pk, make_member(trajectory.project, "reviewer"), "Look again.")
    assert agreement.settle(trajectory.pk) is False
    assert (gold_of(trajectory), disputes_of(trajectory)) == before


@pytest.mark.django_db
def test_a_revision_turns_gold_into_disputes_and_disputes_into_gold() -> None:
    trajectory = judged([[1, 0, -1], [1, 1, 1]])
    first, _ = raters_of(trajectory)
    corrected(trajectory, first, {0: -1, 1: 1}, outcome=-1)
    assert gold_of(trajectory) == {1: (1, "unanimous")}
    assert disputes_of(trajectory) == {0: 2, 2: 2, None: 2}
    assert Review.objects.get(trajectory=trajectory).severity == 6


@pytest.mark.django_db
def test_a_review_is_done_when_the_revision_leaves_no_dispute() -> None:
    trajectory = judged([[1, -1], [1, 1]])
    first, _ = raters_of(trajectory)
    corrected(trajectory, first, {1: 1})
    assert disputes_of(trajectory) == {}
    assert gold_of(trajectory)[1] == (1, "unanimous")
    assert Review.objects.get(trajectory=trajectory).status == "done"


@pytest.mark.django_db
def test_a_decided_dispute_stays_decided_whatever_a_revision_says() -> None:
    trajectory = judged([[1, -1], [1, 1]])
    first, _ = raters_of(trajectory)
    dispute = Dispute.objects.get(trajectory=trajectory)
    reviewer = make_member(trajectory.project, "reviewer")
    flow.decide(dispute, reviewer, DecisionIn(value=0, reason_code="ambiguous"))
    corrected(trajectory, first, {1: 1})
    assert gold_of(trajectory)[1] == (0, "adjudicated")
    assert Dispute.objects.get(trajectory=trajectory) == dispute


@pytest.mark.django_db
def test_a_revision_may_ask_for_one_more_person() -> None:
    trajectory = judged([[1, 1], [1, 1]], settings=THREE_AT_MOST)
    first, _ = raters_of(trajectory)
    corrected(trajectory, first, {0: -1})
    assert gold_of(trajectory) == {1: (1, "unanimous"), None: (1, "unanimous")}
    spot = Assignment.objects.get(trajectory=trajectory, status="open")
    assert (spot.slot, spot.wanted_steps, spot.wants_outcome) == (2, [0], False)


@pytest.mark.django_db
def test_resubmitting_unchanged_settles_nothing_new() -> None:
    trajectory = judged([[1, 0], [1, 1]])
    first, _ = raters_of(trajectory)
    before = list(GoldLabel.objects.order_by("id").values()), list(Dispute.objects.order_by("id").values())
    corrected(trajectory, first, {})
    assert (list(GoldLabel.objects.order_by("id").values()), list(Dispute.objects.order_by("id").values())) == before
    assert AuditEvent.objects.filter(action="trajectory.settled").count() == 1


@pytest.mark.django_db
def test_what_only_some_have_judged_because_others_stopped_at_an_error_stays_without_gold() -> None:
    settings = {"label_scheme": {"mode": "stop_at_first_error"}}
    trajectory = judged([[1, -1, 1, 1], [1, 1, 1, -1]], settings=settings)
    assert gold_of(trajectory) == {
        0: (1, "unanimous"),
        2: (None, "discarded"),
        3: (None, "discarded"),
        None: (1, "unanimous"),
    }
    assert disputes_of(trajectory) == {1: 2}


@pytest.mark.django_db
def test_it_stays_without_gold_also_where_the_label_scheme_has_changed_since() -> None:
    trajectory = judged([[1, -1], [1, -1]], settings={"label_scheme": {"mode": "stop_at_first_error"}}, n_steps=4)
    first, _ = raters_of(trajectory)
    Project.objects.update(label_scheme={"mode": "every_step"})
    corrected(trajectory, first, {2: 1, 3: -1})
    assert gold_of(trajectory) == {
        0: (1, "unanimous"),
        1: (-1, "unanimous"),
        2: (None, "discarded"),
        3: (None, "discarded"),
        None: (1, "unanimous"),
    }
    assert disputes_of(trajectory) == {}


@pytest.mark.django_db
def test_a_label_more_than_is_asked_for_makes_up_for_none_that_is_lacking() -> None:
    project = make_project(overlap=2, max_overlap=2, asks_outcome=False, label_scheme={"mode": "stop_at_first_error"})
    trajectory, people = make_trajectory(project, n_steps=3), [make_member(project) for _ in range(2)]
    judge(trajectory, people[0], [1, -1])
    Assignment.objects.open().filter(trajectory=trajectory).update(wanted_steps=[1, 2])
    judge(trajectory, people[1], [1, 1, 1])
    assert gold_of(trajectory) == {0: (1, "unanimous"), 2: (None, "discarded")}
    # What is asked of somebody may have become less since.
    Assignment.objects.filter(trajectory=trajectory, annotator=people[1]).update(wanted_steps=[2])
    assert not agreement.settle(trajectory.pk)
    assert gold_of(trajectory) == {0: (1, "unanimous"), 2: (None, "discarded")}


@pytest.mark.django_db
def test_what_a_reviewer_has_decided_stays_where_somebody_stops_before_it_later() -> None:
    trajectory = judged([[1, 1, 1], [1, 1, -1]], settings={"label_scheme": {"mode": "stop_at_first_error"}})
    dispute = Dispute.objects.get(trajectory=trajectory)
    reviewer = make_member(trajectory.project, "reviewer")
    flow.decide(dispute, reviewer, DecisionIn(value=-1, reason_code="clear_error"))
    first, _ = raters_of(trajectory)
    corrected(trajectory, first, {1: -1})
    assert gold_of(trajectory) == {0: (1, "unanimous"), 2: (-1, "adjudicated"), None: (1, "unanimous")}
    assert disputes_of(trajectory) == {1: 2, 2: 2}


@pytest.mark.django_db
def test_who_stopped_at_the_first_error_has_judged_in_full() -> None:
    project = make_project(overlap=2, max_overlap=3, label_scheme={"mode": "stop_at_first_error"})
    people = [make_member(project) for _ in range(3)]
    judged = [([1, 1, -1], [1, -1])] * 4 + [([1, 1, -1], [1, 1, -1]), ([1, 1, -1], [1] * 4)] + [([1] * 4, [1] * 4)] * 2
    for given in judged:
        trajectory = make_trajectory(project, n_steps=4)
        for person, values in zip(people, given, strict=False):
            judge(trajectory, person, values)
    report = agreement.report(project)
    same, near = report.first_error_agreement, report.first_error_within_one
    assert (same.value, same.n, near.value, near.n) == (3 / 8, 8, 7 / 8, 8)
    # Whoever is asked about single steps has not, whatever they say of the first one.
    disputed = make_trajectory(project, n_steps=4)
    for person, first in zip(people, ([-1], [1] * 4, [-1]), strict=True):
        judge(disputed, person, first)
    spot = Assignment.objects.get(trajectory=disputed, annotator=people[2])
    assert spot.wanted_steps == [0]
    assert agreement.report(project).first_error_agreement.n == 9


@pytest.mark.django_db
@pytest.mark.parametrize("n_steps", [3, 12])
def test_a_submission_that_settles_reads_no_row_of_the_stages_twice(
    n_steps: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    project = make_project()
    trajectory = make_trajectory(project, n_steps=n_steps)
    judge(trajectory, make_member(project), [1] * n_steps)
    last = make_member(project)
    slot = Assignment.objects.claimable_by(last).get(trajectory=trajectory)
    label(slot, last, dict.fromkeys(range(n_steps), -1), 1)
    with django_assert_num_queries(34):
        flow.submit(slot.pk, last)
    assert disputes_of(trajectory) == dict.fromkeys(range(n_steps), 2)
