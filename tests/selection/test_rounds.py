"""Rounds in the queue: what is chosen, what people get first, and that nobody's work is touched."""

import re
import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.utils.timezone import now

from annotator import flow, jobs
from annotator.errors import InvalidInput, InvalidSettings, JobConflict
from annotator.models import (
    Assignment,
    Fusion,
    Job,
    Membership,
    Posterior,
    Project,
    SelectionPick,
    SelectionRound,
    Trajectory,
)
from annotator.projects.actions import ProjectSettings, change_settings, create_project
from annotator.queue import actions as queue
from annotator.raters import blind
from annotator.selection import actions
from annotator.selection.policy import SelectionPolicy
from annotator.selection.reading import bought
from tests.factories import World, judge, label, make_trajectories, make_trajectory, make_world, predict, predict_all

pytestmark = pytest.mark.django_db
SINGLE = {"unit": "steps", "is_on": True}
ONLY_ERRORS = {"expected_errors": 90, "random": 10}


def make_fusion(project: Project, method: str = "blend", **refresh: Any) -> Fusion:
    job = Job.objects.create(project=project, kind="fuse", unit="trajectories", status="done", finished_at=now())
    return Fusion.objects.create(
        project=project,
        job=job,
        number=project.fusions.count() + 1,
        method=method,
        reason="r",
        parameters=b"",
        refresh={
            "start": [1, 1, 1],
            "transition": [1] * 9,
            "pooled": [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]],
            "own": {},
            **refresh,
        },
        report={},
        n_trajectories=30,
        n_steps=90,
        data_sha256="0",
        code_version="1",
    )


def believe(fusion: Fusion, trajectory: Trajectory, doubts: list[float], clean: float = 0.5) -> None:
    """The fusion holds every step right, but for so much doubt."""
    probs = [[doubt, 0.0, 1 - doubt] for doubt in doubts]
    Posterior.objects.create(
        project=fusion.project,
        trajectory=trajectory,
        fusion=fusion,
        evidence=probs,
        probs=probs,
        first_error=[(1 - clean) / len(doubts)] * len(doubts) + [clean],
        expected_errors=sum(doubts),
        mean_entropy=sum(doubts) / len(doubts),
        first_error_entropy=1 - clean,
        disagreement=doubts[0],
    )


def pool(world: World, n: int = 20, **fields: Any) -> list[Trajectory]:
    """Of which the fusion doubts each a little more than the one before, most in its middle step."""
    fusion = make_fusion(world.project)
    made = make_trajectories(world.project, [fields] * n)
    for i, trajectory in enumerate(made):
        believe(fusion, trajectory, [0.0, 0.4 * (i + 1) / n, 0.01])
    return made


def run(world: World, **policy: Any) -> SelectionRound:
    if policy:
        change_settings(world.project, {"selection_policy": policy}, user=world.admin)
    job = actions.start(world.project, user=world.admin)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert job.status == Job.Status.DONE, job.error
    return SelectionRound.objects.get(job=job)


def run_beside(job: Job) -> None:
    """The job in another connection, while the transaction of this one is open: it must not wait for that."""

    def work() -> None:
        try:
            flow.run_job(job.pk)
        finally:
            connection.close()

    beside = threading.Thread(target=work)
    beside.start()
    beside.join(20)
    assert not beside.is_alive(), "the job has waited"


def test_people_get_first_what_is_most_worth_a_look(world: World) -> None:
    made = pool(world)
    round_ = run(world, shares=ONLY_ERRORS, n_wanted=10)
    assert (round_.number, round_.is_open, round_.is_cold, round_.n_pool) == (1, False, False, 20)
    picks = list(round_.picks.all())
    by_chance = [pick for pick in picks if pick.strategy == "random"]
    assert [pick.probability for pick in by_chance] == [0.05]
    chosen = [pick.trajectory_id for pick in picks if pick.strategy == "expected_errors"]
    left = [t.pk for t in reversed(made) if t.pk != by_chance[0].trajectory_id]
    assert chosen == left[:9]
    first = queue.claim_next(world.project, world.annotator)
    assert first is not None
    assert (first.trajectory_id, first.pick) == (picks[0].trajectory_id, picks[0])
    assert first.priority == pytest.approx(10 / 11)  # escalations, from 1 on, go first
    assert Assignment.objects.filter(priority=0).count() == 2 * 10
    assert picks[1].before == {
        "values": [1, 1, 1],
        "expected_errors": pytest.approx((picks[1].score or 0) * 7, abs=1e-3),
    }


def test_a_start_without_trusted_beliefs_is_at_random_by_source_and_length(world: World) -> None:
    fields = [{"metadata": {"data_source": "a" if i < 10 else "b"}} for i in range(40)]
    make_trajectories(world.project, fields, n_steps=2)
    round_ = run(world, n_wanted=8)
    assert (round_.is_cold, round_.fusion) == (True, None)
    sources = [pick.trajectory.metadata["data_source"] for pick in round_.picks.all()]
    assert sorted(sources) == ["a"] * 2 + ["b"] * 6
    assert {(pick.strategy, pick.probability) for pick in round_.picks.all()} == {("random", 0.2)}
    make_fusion(world.project, "best_single")
    assert run(world).is_cold


def test_single_steps_are_asked_where_doubt_is_and_chance_is_asked_whole(world: World) -> None:
    pool(world)
    round_ = run(world, shares=ONLY_ERRORS, n_wanted=10, unit="steps", steps_each=1)
    for pick in round_.picks.all():
        wanted = None if pick.strategy == "random" else [1]
        assert pick.steps == wanted
        slots = pick.assignments.values_list("wanted_steps", "wants_outcome", "status")
        assert list(slots) == [(wanted, wanted is None, "open")] * 2
    pick = round_.picks.filter(strategy="expected_errors")[0]
    # Of that step alone, for reading in and one step.
    doubts = [1 - max(row) for row in Posterior.objects.get(trajectory=pick.trajectory).probs]
    assert pick.score == pytest.approx(doubts[1] / 5)
    for person in (world.annotator, world.second):
        judge(pick.trajectory, person, [1, -1, 1])
    assert list(pick.trajectory.gold_labels.values_list("step__index", "value")) == [(1, -1)]
    found = {row.strategy: row for row in bought(round_)}
    assert (found["expected_errors"].n_settled, found["expected_errors"].n_compared) == (1, 1)
    assert found["expected_errors"].wrong_share == 1
    assert found["random"].wrong_share is None


@pytest.mark.parametrize("first", [{"label_scheme": {"mode": "stop_at_first_error"}}, {"selection_policy": SINGLE}, {}])
def test_stopping_at_the_first_error_and_rounds_of_single_steps_exclude_each_other(
    world: World, client: Client, first: dict[str, Any]
) -> None:
    change_settings(world.project, first, user=world.admin)
    before = Project.objects.values().get()
    both = {"label_scheme": {"mode": "stop_at_first_error"}, "selection_policy": SINGLE}
    for rest in (both, {name: both[name] for name in both.keys() - first.keys()}):
        with pytest.raises(InvalidSettings, match="cannot ask for single steps") as refused:
            change_settings(world.project, rest, user=world.admin)
        assert list(refused.value.fields) == ["selection_policy"]
    with pytest.raises(InvalidSettings, match="cannot ask for single steps"):
        create_project("other", ProjectSettings.parse(both), user=world.admin)
    assert Project.objects.values().get() == before
    client.force_login(world.admin)
    page = client.get("/projects/demo/selection/").content.decode()
    assert ("by itself, when less than" in page) == ("selection_policy" in first)


def test_a_project_that_stops_at_the_first_error_is_asked_whole(world: World, client: Client) -> None:
    """Also one whose settings were saved before these excluded each other; its page says so."""
    pool(world, 2)
    policy = SelectionPolicy.parse(SINGLE).model_dump(mode="json")
    Project.objects.update(label_scheme={"mode": "stop_at_first_error"}, selection_policy=policy)
    change_settings(world.project, {"name": "Anything else"}, user=world.admin)
    client.force_login(world.admin)
    page = client.get("/projects/demo/selection/").content.decode()
    assert "not by itself, because this project stops at the first error" in page
    with pytest.raises(InvalidInput, match="stops at the first error"):
        actions.start(world.project, user=world.admin)
    assert not SelectionRound.objects.exists()
    assert not Job.objects.filter(kind="select").exists()


def test_what_somebody_has_begun_is_not_touched(world: World) -> None:
    made = pool(world, 6)
    claimed = queue.claim_next(world.project, world.annotator)
    assert claimed is not None
    judge(made[1], world.second, [1, 1, 1])
    drafted = Assignment.objects.filter(trajectory=made[2])[0]
    label(drafted, world.second, {0: 1})
    queue.release_claim(drafted.pk, world.second)
    before = list(Assignment.objects.filter(trajectory__in=made[:3]).order_by("id").values())
    round_ = run(world, n_wanted=10)
    assert {pick.trajectory_id for pick in round_.picks.all()} == {t.pk for t in made[3:]}
    assert list(Assignment.objects.filter(trajectory__in=made[:3]).order_by("id").values()) == before


def test_a_new_round_forgets_what_the_one_before_chose_and_nobody_took(world: World) -> None:
    pool(world)
    first = run(world, shares=ONLY_ERRORS, n_wanted=4, unit="steps", steps_each=1)
    taken = queue.claim_next(world.project, world.annotator)
    assert taken is not None
    second = run(world, shares={"oldest": 90, "random": 10}, n_wanted=4, unit="trajectories")
    assert second.number == 2
    open_slots = Assignment.objects.open()
    kept = open_slots.get(pick__round=first)
    assert kept.trajectory_id == taken.trajectory_id
    assert open_slots.filter(pick__round=second).count() == 2 * 4
    assert not open_slots.filter(pick=None).exclude(priority=0, wanted_steps=None, wants_outcome=True).exists()


def test_rounds_leave_it_to_the_import_whether_the_outcome_is_asked(world: World) -> None:
    """Of single steps it is left out meanwhile, and asked again once the trajectory is back in the pool."""
    with_outcome = {trajectory.pk for trajectory in pool(world, 6)}
    change_settings(world.project, {"asks_outcome": False}, user=world.admin)
    world.project.refresh_from_db()
    pool(world, 6)
    by_pick = Assignment.objects.filter(pick__steps__isnull=False)
    for asks, unit in ((False, "trajectories"), (True, "steps"), (False, "steps"), (True, "trajectories")):
        change_settings(world.project, {"asks_outcome": asks}, user=world.admin)
        run(world, shares=ONLY_ERRORS, n_wanted=8, unit=unit, steps_each=1)
        single = set(by_pick.values_list("trajectory", flat=True))
        assert len(single) == (7 if unit == "steps" else 0)
        asked = Assignment.objects.filter(wants_outcome=True).values_list("trajectory", flat=True)
        assert set(asked) == with_outcome - single
        assert len(asked) == 2 * len(set(asked))


def test_what_a_later_round_brought_is_not_of_the_earlier_one(world: World) -> None:
    pool(world, 4)
    first = run(world, shares={"oldest": 50, "random": 50}, n_wanted=4)
    second = run(world)
    for person in (world.annotator, world.second):
        judge(second.picks.all()[0].trajectory, person, [1, 1, 1])
    assert sum(row.n_settled for row in bought(first)) == 0
    assert sum(row.n_picks for row in bought(first)) == 4
    assert sum(row.n_settled for row in bought(second)) == 1


def test_what_people_settled_with_a_models_word_in_sight_says_nothing_of_how_often_it_was_wrong(
    world: World, client: Client
) -> None:
    """Strategies choose what is shown with suggestions, and chance what is blind, unless somebody opened its page."""
    predict_all({trajectory: [1, 1, 1] for trajectory in pool(world)})
    change_settings(world.project, {"hint_policy": {"hinted": 100, "model": "judge"}}, user=world.admin)
    world.project.refresh_from_db()
    round_ = run(world, shares={"oldest": 50, "random": 50}, n_wanted=8)
    by_chance = [pick.trajectory for pick in round_.picks.filter(strategy="random")]
    blind.keep_reading(world.project, by_chance[:1], world.second)
    for _ in round_.picks.all():
        for person in (world.annotator, world.second):
            slot = queue.claim_next(world.project, person)
            assert slot is not None
            label(slot, person, {0: -1, 1: 1, 2: 1}, 1)
            flow.submit(slot.pk, person)
    found = {row.strategy: row for row in bought(round_)}
    figures = {name: (row.n_settled, row.n_steps, row.n_in_sight, row.n_compared) for name, row in found.items()}
    assert figures == {"oldest": (4, 12, 12, 0), "random": (4, 12, 3, 9)}
    assert (found["oldest"].wrong_share, found["oldest"].against_random) == (None, None)
    assert (found["random"].n_wrong, found["random"].wrong_share) == (3, 1 / 3)
    client.force_login(world.admin)
    text = client.get("/projects/demo/selection/1/").content.decode()
    assert "15 settled steps are left out of these two figures" in text
    assert re.search(r"3 of 9 \(33\.3\W*%\)", text)


def test_what_a_cold_round_settled_is_counted_though_nothing_had_been_believed(world: World) -> None:
    for _ in range(4):
        make_trajectory(world.project)
    round_ = run(world, n_wanted=3)
    for pick in round_.picks.all():
        for person in (world.annotator, world.second):
            judge(pick.trajectory, person, [1, -1, 1])
    (row,) = bought(round_)
    assert (row.n_settled, row.n_steps, row.n_compared, row.wrong_share) == (3, 9, 0, None)


def test_what_is_chosen_at_random_is_judged_blind_also_after_a_skip(world: World) -> None:
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, 1, 1])
    change_settings(world.project, {"hint_policy": {"hinted": 100, "model": "judge"}}, user=world.admin)
    world.project.refresh_from_db()
    run(world, n_wanted=1)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    assert (slot.hint_arm, slot.no_hints, slot.hint_version) == ("blind", "random_sample", None)
    queue.skip(slot.pk, world.annotator, "not mine")
    other = queue.claim_next(world.project, world.second)
    assert other is not None
    assert (other.hint_arm, other.pick) == ("blind", slot.pick)


def test_one_round_at_a_time(world: World) -> None:
    pool(world, 2)
    job = actions.start(world.project, user=world.admin)
    with pytest.raises(JobConflict, match="round 1 has not ended yet"):
        actions.start(world.project, user=world.admin)
    jobs.cancel(job, user=world.admin)
    assert run(world).number == 2
    assert SelectionRound.objects.get(number=1).is_open is False
    flow.run_job(job.pk)
    assert SelectionPick.objects.filter(round__number=1).count() == 0


def test_a_round_that_runs_again_after_a_crash_writes_nothing_twice(world: World) -> None:
    pool(world, 4)
    round_ = run(world)
    before = list(SelectionPick.objects.values())
    Job.objects.filter(pk=round_.job_id).update(status=Job.Status.QUEUED)
    flow.run_job(round_.job_id)
    assert list(SelectionPick.objects.values()) == before


@pytest.mark.django_db(transaction=True)
def test_a_claim_under_way_keeps_its_slot_and_is_not_waited_for(world: World) -> None:
    """Somebody has locked a slot and not committed yet: the round passes that trajectory over at once."""
    made = pool(world, 4)
    job = actions.start(world.project, user=world.admin)
    with transaction.atomic():
        slot = queue.claim_next(world.project, world.annotator)
        assert slot is not None
        run_beside(job)
    round_ = SelectionRound.objects.get(job=job)
    assert {pick.trajectory_id for pick in round_.picks.all()} == {t.pk for t in made} - {slot.trajectory_id}
    assert round_.report["n_taken_meanwhile"] == 1
    slot.refresh_from_db()
    assert (slot.status, slot.annotator, slot.pick) == ("claimed", world.annotator, None)


def test_the_schedule_starts_a_round_when_the_last_one_is_nearly_taken(world: World) -> None:
    pool(world)
    assert actions.start_due() == 0
    change_settings(world.project, {"selection_policy": {"is_on": True, "n_wanted": 5}}, user=world.admin)
    assert actions.start_due() == 1
    assert actions.start_due() == 0
    round_ = SelectionRound.objects.get()
    assert (round_.is_scheduled, round_.created_by) == (True, None)
    flow.run_job(round_.job_id)
    assert actions.start_due() == 0
    for pick in round_.picks.all():
        for person in (world.annotator, world.second):
            judge(pick.trajectory, person, [1, 1, 1])
    assert actions.start_due() == 1


def test_a_slot_that_only_a_reviewer_or_an_admin_is_left_for_waits_for_nobody(world: World) -> None:
    """With fewer annotators than judgements are wanted of each: only annotators can claim."""
    pool(world)
    Membership.objects.filter(user=world.second).delete()
    round_ = run(world, is_on=True, n_wanted=5)
    picks = list(round_.picks.all())
    for pick in picks[:3]:
        judge(pick.trajectory, world.annotator, [1, 1, 1])
    assert (actions.waiting(round_), actions.start_due()) == (2, 0)
    for pick in picks[3:]:
        judge(pick.trajectory, world.annotator, [1, 1, 1])
    assert (actions.waiting(round_), actions.start_due()) == (0, 1)


@pytest.mark.parametrize(("who", "status"), [("annotator", 403), ("reviewer", 403), ("outsider", 404)])
def test_only_admins_see_and_start_rounds(world: World, client: Client, who: str, status: int) -> None:
    pool(world, 2)
    run(world)
    client.force_login(world.outsider if who == "outsider" else world.user(who))
    for path in ("selection/", "selection/1/"):
        assert client.get(f"/projects/demo/{path}").status_code == status
    assert client.post("/projects/demo/selection/start/").status_code == status
    assert client.post("/projects/demo/selection/", {}).status_code == status
    assert SelectionRound.objects.count() == 1


def test_the_pages_say_what_was_chosen_why_and_what_it_bought(world: World, client: Client) -> None:
    client.force_login(world.admin)
    text = client.get("/projects/demo/selection/").content.decode()
    assert "There has been none yet" in text
    pool(world)
    change_settings(world.project, {"selection_policy": {"shares": {"random": 50, "oldest": 50}}}, user=world.admin)
    answer = client.post("/projects/demo/selection/start/")
    assert answer.headers["Location"] == "/projects/demo/selection/1/"
    said = "It is being chosen: this page shows what, once that is done."
    assert said in client.get("/projects/demo/selection/1/").content.decode()
    flow.run_job(SelectionRound.objects.get().job_id)
    for pick in SelectionPick.objects.all():
        value = -1 if pick.strategy == "oldest" else 1
        for person in (world.annotator, world.second):
            judge(pick.trajectory, person, [1, value, 1])
    text = client.get("/projects/demo/selection/1/").content.decode()
    assert "20 of 20 trajectories" in text
    assert "drawn at random; one of 20 with probability 0.5" in text
    # Three steps, and what was expected to be wrong of the most doubtful one when the round chose.
    assert '<td class="num">3</td><td class="num">0.41</td>' in text
    assert re.search(r"10 of 30 \(33\.3\W*%\)", text)
    assert (
        '<a href="/projects/demo/selection/1/">Round 1</a>' in client.get("/projects/demo/selection/").content.decode()
    )
    assert client.get("/projects/demo/selection/2/").status_code == 404


def test_the_form_changes_the_policy_and_says_what_is_wrong(world: World, client: Client) -> None:
    client.force_login(world.admin)
    shares = dict.fromkeys(
        ("contradiction", "mean_entropy", "first_error_entropy", "disagreement", "oldest", "expected_errors"), "0"
    )
    data = {"n_wanted": "30", "unit": "steps", "steps_each": "2", "most_siblings": "1", "shows_why": "on"}
    data |= {f"share_{name}": share for name, share in shares.items()} | {"share_random": "90"}
    answer = client.post("/projects/demo/selection/", data)
    assert answer.status_code == 422
    assert "The shares are 90 % in all; they have to be 100." in answer.content.decode()
    world.project.refresh_from_db()
    assert (world.project.selection, world.project.shows_why) == (SelectionPolicy(), False)
    assert client.post("/projects/demo/selection/", data | {"share_random": "100"}).status_code == 302
    world.project.refresh_from_db()
    assert world.project.selection.shares == {"random": 100}
    assert (world.project.selection.n_wanted, world.project.selection.unit) == (30, "steps")
    assert world.project.shows_why is True


@pytest.mark.parametrize("shows_why", [False, True])
def test_annotators_read_how_it_was_chosen_only_if_the_project_says_so(
    world: World, client: Client, shows_why: bool
) -> None:
    pool(world, 3)
    change_settings(world.project, {"shows_why": shows_why}, user=world.admin)
    run(world, shares={"random": 100})
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    client.force_login(world.annotator)
    text = client.get(f"/assignments/{slot.pk}/").content.decode()
    assert ("chosen at random" in text) is shows_why
    assert "probability" not in text


@pytest.mark.django_db(transaction=True)
def test_the_command_starts_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    pool(make_world(), 1)
    call_command("select", "demo", "--no-wait")
    job = Job.objects.latest("id")
    assert (job.kind, job.status) == ("select", "queued")
    assert capsys.readouterr().out == f"Started as job {job.pk}.\n"
