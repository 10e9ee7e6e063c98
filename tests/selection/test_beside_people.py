"""Rounds beside what people do: whose slots they leave alone, what they count, and when the next one starts."""

from itertools import pairwise
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from annotator import flow, jobs
from annotator.acceptance.sample import drawn
from annotator.agreement.actions import ESCALATION_BONUS
from annotator.errors import InvalidInput
from annotator.models import Assignment, GoldLabel, Job, Posterior, SelectionRound
from annotator.projects.actions import change_settings
from annotator.queue import actions as queue
from annotator.selection import actions
from annotator.selection.reading import bought
from tests.factories import World, judge, label, make_acceptance, make_trajectory, predict
from tests.selection.test_rounds import ONLY_ERRORS, pool, run, run_beside

pytestmark = pytest.mark.django_db
ALL_AT_RANDOM = {"random": 100}


@pytest.mark.django_db(transaction=True)
def test_a_round_beside_a_claim_leaves_all_slots_of_that_trajectory_as_they_are(world: World) -> None:
    """Else the two people of one trajectory would be asked for different steps, and each would settle some alone."""
    made = pool(world, 4)
    first = run(world, shares=ONLY_ERRORS, n_wanted=4, unit="steps", steps_each=1)
    job = actions.start(world.project, user=world.admin)
    with transaction.atomic():
        slot = queue.claim_next(world.project, world.annotator)
        assert slot is not None
        run_beside(job)
    slots = Assignment.objects.filter(trajectory=slot.trajectory_id)
    assert set(slots.values_list("pick__round", "priority")) == {(first.pk, slot.priority)}
    assert len({str(one.wanted_steps) for one in slots}) == 1
    second = SelectionRound.objects.get(job=job)
    assert {p.trajectory_id for p in second.picks.all()} == {t.pk for t in made} - {slot.trajectory_id}


def test_what_somebody_has_had_keeps_what_is_asked_although_they_let_it_go(world: World) -> None:
    made = pool(world, 4)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    queue.release_claim(slot.pk, world.annotator)
    round_ = run(world, shares=ONLY_ERRORS, n_wanted=4, unit="steps", steps_each=1)
    assert (round_.n_pool, {p.trajectory_id for p in round_.picks.all()}) == (3, {t.pk for t in made[1:]})
    slot.refresh_from_db()
    assert (slot.trajectory_id, slot.status, slot.wanted_steps, slot.pick) == (made[0].pk, "open", None, None)
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1})  # on the page that is still open


def test_what_is_left_of_an_accepted_trajectory_is_asked_also_by_a_round_of_single_steps(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every step is accepted that is the outcome; a slot that asks for nothing would help nobody."""
    monkeypatch.setattr("secrets.randbits", lambda _: 1)  # those that are drawn are others
    made = pool(world)
    promise = make_acceptance(world.project)
    for trajectory, accepted in ((made[18], (0, 1)), (made[19], (0, 1, 2))):
        for step in trajectory.steps.filter(index__in=accepted):
            about: dict[str, Any] = {"provenance": "certified", "acceptance": promise, "settled_at": promise.created_at}
            GoldLabel.objects.create(trajectory=trajectory, step=step, value=1, **about)
        rest = sorted({0, 1, 2} - set(accepted))
        Assignment.objects.filter(trajectory=trajectory).update(wanted_steps=rest)
    run(world, shares=ONLY_ERRORS, n_wanted=20, unit="steps", steps_each=1)
    slots = Assignment.objects.filter(trajectory__in=made[18:], pick__steps__isnull=False)
    wanted = {(slot.trajectory_id, str(slot.wanted_steps), slot.wants_outcome) for slot in slots}
    assert wanted == {(made[18].pk, "[2]", False), (made[19].pk, "[]", True)}
    people = (world.annotator, world.second)
    for person in people:
        judge(made[19], person, [], outcome=-1)
    rows = made[19].gold_labels.values_list("provenance", flat=True)
    assert sorted(rows) == ["certified"] * 3 + ["unanimous"]


def test_nothing_is_drawn_at_random_of_which_somebody_has_seen_the_suggestions(world: World) -> None:
    for _ in range(3):
        predict(make_trajectory(world.project), [1, 1, 1])
    change_settings(world.project, {"hint_policy": {"hinted": 100, "model": "judge"}}, user=world.admin)
    world.project.refresh_from_db()
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    assert slot.hint_arm == "hinted"
    queue.release_claim(slot.pk, world.annotator)
    run(world, shares=ALL_AT_RANDOM, n_wanted=3)
    picked = Assignment.objects.filter(pick__probability__isnull=False)
    assert slot.trajectory_id not in set(picked.values_list("trajectory", flat=True))
    while (taken := queue.claim_next(world.project, world.second)) is not None:
        expected = ("hinted", "") if taken.trajectory_id == slot.trajectory_id else ("blind", "random_sample")
        assert (taken.hint_arm, taken.no_hints) == expected


def test_a_skipped_pick_stays_of_its_round_and_is_counted_once(world: World) -> None:
    trajectory = make_trajectory(world.project)
    other = make_trajectory(world.project)
    first = run(world, shares=ALL_AT_RANDOM, n_wanted=2)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    queue.skip(slot.pk, world.annotator, "too long")
    second = run(world)
    left = {trajectory.pk, other.pk} - {slot.trajectory_id}
    assert {p.trajectory_id for p in second.picks.all()} == left
    for person in (world.second, world.reviewer):
        judge(slot.trajectory, person, [1, 1, 1])
    assert [sum(row.n_settled for row in bought(r)) for r in (first, second)] == [1, 0]
    assert drawn(world.project).ids == [slot.trajectory_id]
    assert drawn(world.project).is_known.tolist() == [True]


def test_a_sampled_trajectory_that_is_given_back_stays_in_the_sample(world: World) -> None:
    """People give back what is hard: without those the rest would look better than the pool."""
    make_trajectory(world.project)
    run(world, shares=ALL_AT_RANDOM, n_wanted=1)
    assert drawn(world.project).ids == []
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    queue.release_claim(slot.pk, world.annotator)
    found = drawn(world.project)
    assert (found.ids, found.is_known.tolist()) == ([slot.trajectory_id], [False])


def test_after_a_cancelled_round_none_starts_by_itself(world: World, client: Client) -> None:
    pool(world, 4)
    client.force_login(world.admin)
    run(world, is_on=True, n_wanted=2)
    job = actions.start(world.project, user=world.admin)
    jobs.cancel(job, user=world.admin)
    before = set(Assignment.objects.filter(pick__isnull=False).values_list("pk", "pick"))
    assert actions.start_due() == 0
    assert set(Assignment.objects.filter(pick__isnull=False).values_list("pk", "pick")) == before
    text = client.get("/projects/demo/selection/").content.decode()
    assert text.split("<dt>Starts</dt><dd>")[1].split("</dd>")[0] == (
        f'not by itself, because <a href="/jobs/{job.pk}/">the last one</a> was cancelled: start the next one by hand'
    )
    assert "This round was cancelled and chose nothing." in client.get("/projects/demo/selection/2/").content.decode()


def test_what_everybody_has_skipped_waits_for_nobody(world: World) -> None:
    pool(world, 3)
    round_ = run(world, is_on=True, n_wanted=2)
    assert actions.waiting(round_) == 2
    annotators = [world.annotator, world.second]  # reviewers and admins cannot claim
    for person in annotators:
        for _ in range(2):
            slot = queue.claim_next(world.project, person)
            assert slot is not None
            queue.skip(slot.pk, person, "not mine")
        assert actions.waiting(round_) == (0 if person == annotators[-1] else 2)
    assert actions.start_due() == 1


def test_mean_entropy_is_told_as_it_is_and_lies_far_apart(world: World) -> None:
    """Whatever chance and the other strategies have taken before it."""
    made = pool(world, 20)
    round_ = run(world, shares={"expected_errors": 40, "mean_entropy": 40, "random": 20}, n_wanted=10)
    scores = {p.trajectory_id: p.score for p in round_.picks.filter(strategy="mean_entropy")}
    assert len(scores) == 4
    entropies = dict(Posterior.objects.filter(trajectory__in=made).values_list("trajectory", "mean_entropy"))
    assert scores == {pk: entropies[pk] for pk in scores}
    ranks = [number for number, one in enumerate(made) if one.pk in scores]
    assert max(b - a for a, b in pairwise(ranks)) > 1  # and not the four most unsure


def test_settings_that_changed_while_a_round_waited_are_kept_to(world: World) -> None:
    pool(world, 4)
    change_settings(world.project, {"selection_policy": {"unit": "steps"}}, user=world.admin)
    job = actions.start(world.project, user=world.admin)
    change_settings(world.project, {"selection_policy": {"unit": "trajectories"}}, user=world.admin)
    change_settings(world.project, {"label_scheme": {"mode": "stop_at_first_error"}}, user=world.admin)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, SelectionRound.objects.get().picks.count()) == (Job.Status.FAILED, 0)
    assert job.error.startswith("Nothing was chosen: this project stops at the first error")
    assert not Assignment.objects.exclude(wanted_steps=None).exists()


def test_an_escalation_goes_before_what_a_round_chose(world: World) -> None:
    pool(world, 2)
    judged = make_trajectory(world.project)
    for person in (world.annotator, world.second):
        judge(judged, person, [1, 1, 1])
    run(world, n_wanted=2)
    spot = queue.enqueue_spot(judged, slot=2, priority=ESCALATION_BONUS, wanted_steps=[1], wants_outcome=False)
    assert queue.claim_next(world.project, world.reviewer) == spot


def test_an_empty_queue_is_told_from_one_that_people_have_begun(world: World) -> None:
    with pytest.raises(InvalidInput, match=r"there is no trajectory in the queue\. Import some first"):
        actions.start(world.project, user=world.admin)
    make_trajectory(world.project)
    assert queue.claim_next(world.project, world.annotator)
    with pytest.raises(InvalidInput, match="somebody has begun every trajectory"):
        actions.start(world.project, user=world.admin)
    assert not Job.objects.filter(kind="select").exists()


def test_the_api_names_a_policy_that_does_not_add_up(world: World, client: Client) -> None:
    client.force_login(world.admin)
    answer = client.patch(
        "/api/v1/projects/demo/selection/", {"shares": {"random": 20}}, content_type="application/json"
    )
    assert answer.status_code == 400
    assert "The shares are 20 % in all; they have to be 100" in answer.content.decode()
    assert "Value error" not in answer.content.decode()
    assert ".." not in answer.content.decode()


def test_the_page_of_an_earlier_round_says_what_went_back(world: World, client: Client) -> None:
    pool(world, 4)
    client.force_login(world.admin)
    run(world, n_wanted=3)
    assert queue.claim_next(world.project, world.annotator)
    run(world)
    text = client.get("/projects/demo/selection/1/").content.decode()
    assert "<dt>Still waiting</dt><dd>1</dd>" in text
    assert "<dt>Not taken by anybody</dt><dd>2 went back to the pool</dd>" in text
