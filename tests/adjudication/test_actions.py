"""Holding a trajectory's disputes and deciding them."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils.timezone import now

from annotator import flow
from annotator.adjudication import actions
from annotator.adjudication.actions import DecisionIn
from annotator.agreement import actions as agreement
from annotator.errors import InvalidInput, ReviewHeld
from annotator.fusion import actions as fusion
from annotator.models import (
    Adjudication,
    AuditEvent,
    Dispute,
    GoldLabel,
    Posterior,
    Project,
    Review,
    Trajectory,
    User,
)
from tests.factories import World, judge, make_member, make_project, make_trajectory, predict
from tests.queue.test_concurrency import run_at_once


def decision(value: int | None = 1, reason_code: str = "misread", note: str = "") -> DecisionIn:
    return DecisionIn(value=value, reason_code=reason_code, note=note)


def disputed(project: Project, first: list[int], second: list[int]) -> Trajectory:
    """A trajectory that two people have judged."""
    trajectory = make_trajectory(project, n_steps=len(first))
    judge(trajectory, make_member(project), first)
    judge(trajectory, make_member(project), second)
    return trajectory


def review_of(trajectory: Trajectory) -> Review:
    return Review.objects.get(trajectory=trajectory)


def dispute_of(trajectory: Trajectory, step: int) -> Dispute:
    return Dispute.objects.select_related("trajectory", "step").get(trajectory=trajectory, step__index=step)


def let_run_out(review: Review) -> None:
    Review.objects.filter(pk=review.pk).update(lease_expires_at=now() - timedelta(seconds=1))


def test_the_worst_trajectory_comes_first(world: World) -> None:
    zero = disputed(world.project, [1, 1], [1, 0])
    opposed_twice = disputed(world.project, [1, 1], [-1, -1])
    opposed = disputed(world.project, [1, 1], [1, -1])
    assert [review.trajectory for review in Review.objects.worthiest_first()] == [opposed_twice, opposed, zero]
    claimed = actions.claim_next(world.project, world.reviewer)
    assert claimed is not None
    assert claimed.trajectory == opposed_twice
    other = actions.claim_next(world.project, world.admin)
    assert other is not None
    assert other.trajectory == opposed


def test_claiming_gives_an_hour_and_leaves_an_audit_event(world: World) -> None:
    disputed(world.project, [1], [0])
    before = now()
    review = actions.claim_next(world.project, world.reviewer)
    assert review is not None
    assert (review.status, review.reviewer) == ("claimed", world.reviewer)
    assert review.lease_expires_at is not None
    assert before + actions.LEASE <= review.lease_expires_at <= now() + actions.LEASE
    assert AuditEvent.objects.filter(action="review.claimed", object_id=review.pk, user=world.reviewer).count() == 1


def test_a_reviewer_goes_on_with_what_they_hold(world: World) -> None:
    held = review_of(disputed(world.project, [1], [0]))
    actions.claim(held.pk, world.reviewer)
    disputed(world.project, [1, 1], [-1, -1])
    assert actions.claim_next(world.project, world.reviewer) == held
    assert AuditEvent.objects.filter(action="review.claimed").count() == 1


def test_nothing_is_left_when_others_hold_everything(world: World) -> None:
    disputed(world.project, [1], [0])
    assert actions.claim_next(world.project, world.admin) is not None
    assert actions.claim_next(world.project, world.reviewer) is None


def test_reviews_of_other_projects_are_not_claimed(world: World) -> None:
    disputed(make_project(), [1], [0])
    assert actions.claim_next(world.project, world.reviewer) is None


def test_what_somebody_else_holds_cannot_be_claimed_or_decided(world: World) -> None:
    trajectory = disputed(world.project, [1], [-1])
    held = actions.claim(review_of(trajectory).pk, world.admin)
    with pytest.raises(ReviewHeld, match="Another reviewer holds this trajectory"):
        actions.claim(held.pk, world.reviewer)
    with pytest.raises(ReviewHeld):
        flow.decide(dispute_of(trajectory, 0), world.reviewer, decision())
    review = review_of(trajectory)
    assert (review.status, review.reviewer, review.lease_expires_at) == ("claimed", world.admin, held.lease_expires_at)
    assert not Adjudication.objects.exists()
    assert dispute_of(trajectory, 0).decided_at is None
    assert not GoldLabel.objects.filter(step__isnull=False).exists()


def test_an_expired_claim_is_free_again(world: World) -> None:
    trajectory = disputed(world.project, [1], [-1])
    let_run_out(actions.claim(review_of(trajectory).pk, world.admin))
    claimed = actions.claim_next(world.project, world.reviewer)
    assert claimed is not None
    assert claimed.reviewer == world.reviewer
    with pytest.raises(ReviewHeld):
        flow.decide(dispute_of(trajectory, 0), world.admin, decision())


def test_whoever_comes_back_late_goes_on_if_nobody_took_it(world: World) -> None:
    trajectory = disputed(world.project, [1, 1], [-1, -1])
    let_run_out(actions.claim(review_of(trajectory).pk, world.reviewer))
    flow.decide(dispute_of(trajectory, 0), world.reviewer, decision())
    review = review_of(trajectory)
    assert (review.status, review.reviewer) == ("claimed", world.reviewer)
    assert review.lease_expires_at is not None
    assert review.lease_expires_at > now()


def test_giving_back_frees_the_review(world: World) -> None:
    review = review_of(disputed(world.project, [1], [-1]))
    actions.claim(review.pk, world.reviewer)
    actions.release_claim(review.pk, world.reviewer)
    review.refresh_from_db()
    assert (review.status, review.reviewer, review.lease_expires_at) == ("open", None, None)
    assert AuditEvent.objects.filter(action="review.released").count() == 1


@pytest.mark.parametrize("holder", ["nobody", "admin"])
def test_giving_back_what_one_does_not_hold_changes_nothing(world: World, holder: str) -> None:
    review = review_of(disputed(world.project, [1], [-1]))
    if holder == "admin":
        actions.claim(review.pk, world.admin)
    before = Review.objects.filter(pk=review.pk).values().get()
    n_events = AuditEvent.objects.count()
    actions.release_claim(review.pk, world.reviewer)
    assert Review.objects.filter(pk=review.pk).values().get() == before
    assert AuditEvent.objects.count() == n_events


def test_a_decision_becomes_gold_and_lowers_the_severity(world: World) -> None:
    trajectory = disputed(world.project, [1, 1, 1], [-1, 0, 1])
    flow.decide(dispute_of(trajectory, 0), world.reviewer, decision(-1, "guideline", "  Rule 3.  "))
    stored = Adjudication.objects.get()
    assert (stored.value, stored.reason_code, stored.note, stored.reviewer) == (
        -1,
        "guideline",
        "Rule 3.",
        world.reviewer,
    )
    gold = GoldLabel.objects.get(trajectory=trajectory, step__index=0)
    assert (gold.value, gold.provenance, gold.settled_at) == (-1, "adjudicated", stored.decided_at)
    review = review_of(trajectory)
    assert (review.status, review.severity, review.reviewer) == ("claimed", 1, world.reviewer)
    event = AuditEvent.objects.get(action="dispute.decided")
    data = {"adjudication": stored.pk, "turn": "open", "settles": True, "value": -1}
    assert (event.user, event.data) == (world.reviewer, data)


def test_the_last_decision_ends_the_review(world: World) -> None:
    trajectory = disputed(world.project, [1, 1], [-1, 0])
    for step in (0, 1):
        flow.decide(dispute_of(trajectory, step), world.reviewer, decision(0))
    review = review_of(trajectory)
    assert (review.status, review.severity, review.lease_expires_at) == ("done", 0, None)
    assert actions.claim_next(world.project, world.admin) is None


def test_undecidable_is_gold_without_a_value(world: World) -> None:
    trajectory = disputed(world.project, [1], [-1])
    flow.decide(dispute_of(trajectory, 0), world.reviewer, decision(None, "insufficient"))
    gold = GoldLabel.objects.get(trajectory=trajectory, step__index=0)
    assert (gold.value, gold.provenance) == (None, "adjudicated")


def test_an_outcome_is_decided_like_a_step(world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.annotator, [1], outcome=1)
    judge(trajectory, world.second, [1], outcome=-1)
    dispute = Dispute.objects.select_related("trajectory", "step").get(trajectory=trajectory)
    assert dispute.step is None
    flow.decide(dispute, world.reviewer, decision(-1))
    gold = GoldLabel.objects.get(trajectory=trajectory, step=None)
    assert (gold.value, gold.provenance) == (-1, "adjudicated")
    assert review_of(trajectory).status == "done"


def test_a_later_decision_overrules_and_both_stay(world: World) -> None:
    trajectory = disputed(world.project, [1], [-1])
    dispute = dispute_of(trajectory, 0)
    first = flow.decide(dispute, world.reviewer, decision(1))
    seen = actions.version_now([dispute], world.admin)
    second = flow.decide(dispute, world.admin, DecisionIn(value=-1, reason_code="hindsight", version=seen))
    assert list(dispute.adjudications.values_list("pk", "value")) == [(first.pk, 1), (second.pk, -1)]
    assert GoldLabel.objects.get(trajectory=trajectory, step__index=0).value == -1
    dispute.refresh_from_db()
    assert dispute.decided_at == second.decided_at
    assert review_of(trajectory).status == "done"


def test_a_decision_is_never_changed_or_removed(world: World) -> None:
    trajectory = disputed(world.project, [1], [-1])
    made = flow.decide(dispute_of(trajectory, 0), world.reviewer, decision(1))
    for refused in (lambda: Adjudication.objects.update(value=0), lambda: Adjudication.objects.all().delete()):
        with pytest.raises(Exception, match="Cannot"), transaction.atomic():
            refused()
    assert Adjudication.objects.get() == made
    assert Adjudication.objects.get().value == 1


def test_settling_again_leaves_decisions_alone(world: World) -> None:
    trajectory = disputed(world.project, [1, 1], [-1, 1])
    flow.decide(dispute_of(trajectory, 0), world.reviewer, decision(0))
    gold = list(GoldLabel.objects.order_by("id").values())
    assert agreement.settle(trajectory.pk) is False
    actions.refresh_review(trajectory.pk)
    assert list(GoldLabel.objects.order_by("id").values()) == gold
    assert review_of(trajectory).status == "done"


def test_a_review_opens_again_for_a_new_dispute(world: World) -> None:
    trajectory = disputed(world.project, [1, 1], [-1, 1])
    flow.decide(dispute_of(trajectory, 0), world.reviewer, decision(0))
    Dispute.objects.create(trajectory=trajectory, step=trajectory.steps.get(index=1), severity=2)
    actions.refresh_review(trajectory.pk)
    review = review_of(trajectory)
    assert (review.status, review.severity, review.reviewer) == ("open", 2, None)


@pytest.mark.parametrize(
    ("_case", "data", "fields"),
    [
        ("not an object", 3, ["body"]),
        ("nothing", {}, ["value", "reason_code"]),
        ("a value outside the scale", {"value": 2, "reason_code": "slip"}, ["value"]),
        ("a value as text", {"value": "1", "reason_code": "slip"}, ["value"]),
        ("true is no value", {"value": True, "reason_code": "slip"}, ["value"]),
        ("an unknown reason", {"value": 1, "reason_code": "mood"}, ["reason_code"]),
        ("other needs a note", {"value": 1, "reason_code": "other", "note": "  "}, ["note"]),
        ("a note too long", {"value": 1, "reason_code": "slip", "note": "x" * 10_001}, ["note"]),
        ("an unknown field", {"value": 1, "reason_code": "slip", "reviewer": 3}, ["reviewer"]),
    ],
)
def test_a_wrong_decision_is_refused_with_its_place(_case: str, data: object, fields: list[str]) -> None:
    with pytest.raises(InvalidInput, match="The decision was not stored") as caught:
        actions.parse_decision(data)
    assert list(caught.value.fields) == fields


def test_undecidable_is_null_and_must_be_said() -> None:
    assert actions.parse_decision({"value": None, "reason_code": "ambiguous"}) == decision(None, "ambiguous")


@pytest.mark.django_db(transaction=True)
def test_reviewers_at_once_never_hold_one_trajectory_together() -> None:
    project = make_project(overlap=2)
    people = [make_member(project), make_member(project)]
    for _ in range(12):
        trajectory = make_trajectory(project, n_steps=1)
        for person, value in zip(people, (1, -1), strict=True):
            judge(trajectory, person, [value])
    reviewers = [make_member(project, "reviewer") for _ in range(8)]
    held: list[tuple[int, int]] = []

    def claim_and_decide(user: User) -> None:
        while review := actions.claim_next(project, user):
            held.append((review.pk, user.pk))
            dispute = Dispute.objects.select_related("trajectory", "step").get(trajectory_id=review.trajectory_id)
            flow.decide(dispute, user, decision())

    assert run_at_once([partial(claim_and_decide, user) for user in reviewers]) == []
    assert len(held) == 12
    assert len({review for review, _ in held}) == 12
    assert Adjudication.objects.count() == 12
    assert set(Review.objects.values_list("status", flat=True)) == {"done"}


@pytest.mark.django_db(transaction=True)
def test_of_two_reviewers_who_open_the_same_trajectory_one_gets_it() -> None:
    project = make_project(overlap=2)
    review = review_of(disputed(project, [1], [-1]))
    reviewers = [make_member(project, "reviewer") for _ in range(8)]
    errors = run_at_once([partial(actions.claim, review.pk, user) for user in reviewers])
    assert [type(error) for error in errors] == [ReviewHeld] * 7
    assert AuditEvent.objects.filter(action="review.claimed").count() == 1
    review.refresh_from_db()
    assert review.reviewer in reviewers


@pytest.mark.django_db(transaction=True)
def test_a_claim_survives_a_refresh_that_runs_at_the_same_time() -> None:
    project = make_project(overlap=2)
    trajectory = disputed(project, [1], [-1])
    reviewer = make_member(project, "reviewer")
    review = review_of(trajectory)
    for _ in range(10):
        Review.objects.update(status="open", reviewer=None, lease_expires_at=None)
        refresh = partial(actions.refresh_review, trajectory.pk)
        assert run_at_once([refresh, refresh, refresh, partial(actions.claim, review.pk, reviewer)]) == []
        review.refresh_from_db()
        assert (review.status, review.reviewer) == ("claimed", reviewer)


@pytest.mark.django_db(transaction=True)
def test_a_decision_waits_for_a_trajectory_that_is_being_settled() -> None:
    """Otherwise settling could overwrite the gold of a decision that it has not seen."""
    project = make_project(overlap=2)
    trajectory = disputed(project, [1], [-1])
    reviewer = make_member(project, "reviewer")
    dispute = dispute_of(trajectory, 0)

    def decide_impatiently() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        flow.decide(dispute, reviewer, decision())

    with transaction.atomic():
        Trajectory.objects.select_for_update(no_key=True).get(pk=trajectory.pk)
        errors = run_at_once([decide_impatiently])
    assert [str(error).splitlines()[0] for error in errors] == ["canceling statement due to lock timeout"]
    assert not Adjudication.objects.exists()


def test_a_decision_is_worth_what_it_is_expected_to_set_right(world: World) -> None:
    """The raters of the first step are unsure of it, and sure of the other trajectory's two."""
    unsure, sure = (make_trajectory(world.project, n_steps=2) for _ in range(2))
    for trajectory, values in ((unsure, [-1, 1]), (sure, [-1, -1])):
        predict(trajectory, [1, 1], model="one")
        predict(trajectory, values if trajectory == unsure else [1, 1], model="two")
        judge(trajectory, world.annotator, [1, 1])
    judge(unsure, world.second, [-1, 1])
    judge(sure, world.second, [-1, -1])
    by_severity = [(review.trajectory_id, review.worth) for review in Review.objects.worthiest_first()]
    assert by_severity == [(sure.pk, 1.0), (unsure.pk, 0.5)]
    job = fusion.start(world.project, user=world.admin)
    flow.run_job(job.pk)
    Posterior.objects.filter(trajectory=sure).update(probs=[[0.02, 0.0, 0.98], [0.03, 0.0, 0.97]])
    Posterior.objects.filter(trajectory=unsure).update(probs=[[0.4, 0.1, 0.5], [0.0, 0.0, 1.0]])
    actions.weigh_all(world.project)
    reviews = list(Review.objects.worthiest_first())
    assert [review.trajectory_id for review in reviews] == [unsure.pk, sure.pk]
    assert [review.worth for review in reviews] == pytest.approx([0.5, 0.05])
    assert [dispute.worth for dispute in Dispute.objects.worthiest_first()] == pytest.approx([0.5, 0.03, 0.02])
    # A decision weighs what is left.
    flow.decide(Dispute.objects.get(trajectory=unsure), world.reviewer, DecisionIn(value=1, reason_code="slip"))
    assert Review.objects.get(trajectory=unsure).worth == 0
