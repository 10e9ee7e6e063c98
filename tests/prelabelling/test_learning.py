"""Training in the loop as people meet it: when it is due, the rule that keeps a version, the page, API and command."""

from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils.timezone import now
from pytest_django.fixtures import Settings

from annotator import jobs
from annotator.errors import InvalidInput, InvalidSettings, JobConflict
from annotator.models import AuditEvent, Job, Project
from annotator.prelabelling import learning
from annotator.prelabelling.learning_curve import CurvePoint, Share, conclude, draw
from annotator.prelabelling.learning_figures import Difference, Interval, difference, judge, measure
from annotator.prelabelling.learning_policy import HELD_OUT_SHARE, Due, LearningPolicy, is_held_out, what_is_missing
from annotator.prelabelling.learning_reading import curve_points
from annotator.raters.metrics import GoldTrajectory
from tests.api.client import client_of
from tests.factories import (
    World,
    make_learning_point,
    make_trajectories,
    make_trajectory,
    make_world,
    predict,
    settle_all,
)
from tests.factories import judge as settle
from workers import tasks


@pytest.fixture(autouse=True)
def _own_models(settings: Settings, tmp_path: Any) -> None:
    settings.MODELS_FOLDER = tmp_path


HELD_OUT_BEFORE = [7, 8, 9, 12, 14, 15, 16, 18]

# The policy


def test_a_policy_that_does_not_fit_names_its_fields() -> None:
    with pytest.raises(InvalidSettings, match=r"every: Input should be greater than or equal to 1") as refused:
        LearningPolicy.parse({"every": 0, "name": "Not Good", "days": 3})
    assert set(refused.value.fields) == {"every", "name", "days"}


@pytest.mark.parametrize(
    ("n_gold", "n_before", "n_missing"),
    [(0, None, 50), (49, None, 1), (50, None, 0), (60, 50, 15), (74, 50, 1), (75, 50, 0), (20, 12, 30), (40, 50, 35)],
)
def test_a_training_is_due_after_enough_gold(n_gold: int, n_before: int | None, n_missing: int) -> None:
    found = Due(LearningPolicy(is_on=True), n_gold, n_before)
    assert (found.n_missing, found.is_due) == (n_missing, n_missing == 0)
    assert not Due(LearningPolicy(), n_gold, n_before).is_due  # by default nothing starts by itself


def test_the_name_comes_from_the_slug_unless_one_was_chosen() -> None:
    assert LearningPolicy().name_for("Web_Tasks") == "web_tasks-scorer"
    assert LearningPolicy().name_for("_x") == "x-scorer"
    assert LearningPolicy(name="ours").name_for("x") == "ours"


def test_a_fifth_of_the_tasks_is_held_out_by_a_hash_that_stays() -> None:
    held_out = [n for n in range(10_000) if is_held_out(f"task {n}")]
    assert abs(len(held_out) / 10_000 - HELD_OUT_SHARE) < 0.01
    # Written down once: another hash would move tasks that were learnt from into the test.
    assert held_out[:8] == HELD_OUT_BEFORE


# The rule


def gold(*values: list[int]) -> list[GoldTrajectory]:
    return [GoldTrajectory(np.array(v), np.ones(len(v), bool), f"task {i}") for i, v in enumerate(values)]


def says(*values: list[int], sure: float = 0.8) -> list[np.ndarray]:
    rest = (1 - sure) / 2
    return [np.array([[sure if value == k else rest for k in (-1, 0, 1)] for value in one]) for one in values]


def test_the_difference_of_two_scorers_by_hand() -> None:
    settled = gold([1, 1], [-1], [0, 1, 1])
    new, old = says([1, 1], [-1], [1, 1, 1]), says([1, -1], [1], [1, 1, 1])
    found = difference(settled, new, old)
    assert found.step_acc.value == pytest.approx(2 / 6)  # two more of six steps
    assert found.nll.value == pytest.approx(2 / 6 * (np.log(0.1) - np.log(0.8)))
    # Task 2 alone gives a difference of 0, task 1 alone of 1: no resample is beyond.
    assert found.step_acc.low == 0.0
    assert found.step_acc.high == pytest.approx(1.0, abs=0.3)
    same = difference(settled, old, old)
    assert (same.step_acc, same.nll) == (Interval(0.0, 0.0, 0.0), Interval(0.0, 0.0, 0.0))


def test_one_task_gives_no_interval() -> None:
    found = difference(gold([1, -1]), says([1, -1]), says([1, 1]))
    assert found.step_acc == Interval(0.5, None, None)


def test_steps_without_gold_count_nowhere() -> None:
    partly = [
        GoldTrajectory(np.array([1, 0]), np.array([True, False]), "a"),
        GoldTrajectory(np.array([-1]), np.array([True]), "b"),
    ]
    figures = measure(partly, says([1, -1], [1]))
    assert figures["step_acc"]["value"] == 0.5
    assert figures["nll"]["value"] == pytest.approx(-(np.log(0.8) + np.log(0.1)) / 2)
    assert figures["held_out"] == {"n_trajectories": 2, "n_steps": 2, "n_tasks": 2}
    assert figures["always_positive"]["value"] == 0.5
    assert figures["over_always"]["value"] == 0.0


@pytest.mark.parametrize(
    ("acc", "nll", "is_kept", "words"),
    [
        ((0.05, 0.01, 0.09), (-0.1, -0.2, -0.01), True, "and that is more than chance (StepAcc +5.0 points, 95 %"),
        ((0.05, -0.02, 0.09), (-0.1, -0.2, 0.1), True, "right on more of the held-out steps, though the interval"),
        ((0.0, -0.02, 0.02), (-0.1, -0.2, -0.01), True, "as often right, and likelier on held-out steps, and that"),
        ((0.0, -0.02, 0.02), (0.0, -0.1, 0.1), False, "right on as many held-out steps as the one before, and no"),
        ((0.0, -0.02, 0.02), (0.1, -0.1, 0.2), False, "no likelier (StepAcc +0.0 points"),
        ((-0.01, -0.05, 0.03), (-0.3, -0.4, -0.2), False, "It is right on fewer of the held-out steps"),
        ((0.05, 0.01, 0.09), (0.3, 0.1, 0.5), False, "but its probabilities are clearly worse (StepAcc +5.0 points"),
        ((0.05, None, None), (-0.1, None, None), True, "(StepAcc +5.0 points; negative log likelihood −0.100)"),
    ],
)
def test_a_version_is_kept_only_if_it_is_better(acc: Any, nll: Any, is_kept: bool, words: str) -> None:
    found = judge(Difference(Interval(*acc), Interval(*nll), 20))
    assert found.is_kept is is_kept
    assert words in found.reason


def test_few_tasks_decide_but_prove_nothing() -> None:
    """Two that happen to gain alike do so in every resample, which is no interval."""
    settled = gold([1, 1, -1], [1, 1, -1])
    right, wrong = says([1, 1, -1], [1, 1, -1], sure=0.9), says([1, 1, 1], [1, 1, 1], sure=0.9)
    found = difference(settled, right, wrong)
    assert (found.step_acc.low, found.n_tasks) == (found.step_acc.high, 2)
    assert judge(found).is_kept
    assert judge(found).reason == (
        "It is right on more of the held-out steps, though it takes 20 held-out tasks to tell that from chance, and "
        "there are 2 (StepAcc +33.3 points; negative log likelihood −0.963)."
    )
    likelier = Difference(Interval(0.0, 0.0, 0.0), Interval(-0.1, -0.1, -0.1), 19)
    assert "as often right, and likelier on held-out steps, though it takes 20" in judge(likelier).reason
    worse = judge(Difference(Interval(0.1, 0.1, 0.1), Interval(0.2, 0.1, 0.3), 2))
    assert (worse.is_kept, worse.reason) == (
        False,
        "It is right on more held-out steps, but its probabilities are worse (StepAcc +10.0 points; negative log "
        "likelihood +0.200).",
    )


# The curve


def around(value: float, wide: float = 0.05) -> Share:
    return Share(value, value - wide, value + wide)


def point(n: int, acc: float, **fields: Any) -> CurvePoint:
    """Learnt from n steps, of which a strategy chose some."""
    made = CurvePoint(
        is_baseline=False,
        is_kept=True,
        n_trajectories=n // 5,
        n_steps=n,
        n_chosen=n // 10,
        seconds=60 * n,
        step_acc=around(acc),
        always_positive=around(0.5),
        over_always=around(acc - 0.5),
        over_before=None,
        n_held_out_tasks=30,
        n_held_out_steps=90,
        is_of_now=True,
    )
    return replace(made, **fields)


def test_the_curve_places_its_marks() -> None:
    curve = draw([point(100, 0.6), point(400, 0.8, is_kept=False), point(200, 0.55, is_baseline=True)], "steps")
    assert curve is not None
    assert [mark.kind for mark in curve.marks] == ["kept", "slice", "tried"]
    xs = [mark.x for mark in curve.marks]
    assert xs[1] - xs[0] == pytest.approx((xs[2] - xs[0]) / 3, abs=0.2)
    assert all(mark.high < mark.y < mark.low for mark in curve.marks)  # y grows downwards
    assert len(curve.line.split()) == 2
    assert curve.baseline == f"{xs[1]},{curve.marks[1].y}"
    assert [tick.text for tick in curve.x_ticks] == ["0", "100", "200", "300", "400", "500"]
    assert curve.marks[2].title == "Not kept: 80.0 % (75.0 to 85.0 %), learnt from 80 trajectories with 400 steps"
    assert curve.line == curve.line_of_all
    hours = draw([point(300, 0.6)], "seconds")
    assert hours is not None
    assert (hours.axis, [tick.text for tick in hours.x_ticks]) == (
        "hours of people's time",
        ["0", "1", "2", "3", "4", "5", "6"],
    )
    assert draw([replace(point(100, 0.6), seconds=0)], "seconds") is None


def test_a_training_without_recorded_time_was_not_free() -> None:
    """It has no place on the axis of time: neither a mark nor a part of the line."""
    timed = [point(100, 0.6), point(400, 0.8), point(200, 0.55, is_baseline=True)]
    untimed = [replace(point(300, 0.3), seconds=0), replace(point(150, 0.2, is_baseline=True), seconds=0)]
    curve, without = draw([*timed, *untimed], "seconds"), draw(timed, "seconds")
    assert curve is not None
    assert without is not None
    assert curve == replace(without, n_left_out=2)
    assert len(curve.marks) == 3
    by_steps = draw([*timed, *untimed], "steps")
    assert by_steps is not None
    assert (len(by_steps.marks), by_steps.n_left_out) == (5, 0)


def test_what_cannot_be_concluded_is_said() -> None:
    nothing = conclude([], has_rounds=False)
    assert (nothing.known, nothing.open) == ([], [])
    one = conclude([point(100, 0.52)], has_rounds=False)
    assert one.known == []
    assert one.open == [
        "Whether the scorer in use is better than saying +1 always: 52.0 % of the held-out steps are right, 50.0 % "
        "saying +1 always, +2.0 points (95 % interval −3.0 to +7.0).",
        "Whether more gold makes it better: it takes a second training, with more gold.",
        "Whether choosing what people label beats chance: no selection round has run, so nothing was chosen yet.",
    ]
    overlapping = [point(100, 0.7), point(150, 0.66, is_baseline=True), point(400, 0.75, over_before=around(0.05))]
    said = conclude(overlapping, has_rounds=True)
    assert [sentence.split(":")[0] for sentence in said.open] == [
        "Whether more gold makes it better",
        "Whether choosing what people label beats chance",
    ]
    less = point(400, 0.3, over_before=around(-0.4))
    worse = conclude([point(100, 0.7), point(150, 0.85, is_baseline=True), less], has_rounds=True)
    assert worse.open == []
    assert worse.known == [
        "The scorer in use is worse than saying +1 always: 30.0 % of the held-out steps are right, 50.0 % saying +1 "
        "always, −20.0 points (95 % interval −25.0 to −15.0).",
        "More gold has made it worse: 30.0 % with 80 trajectories, 70.0 % with 20, on the same held-out steps, −40.0 "
        "points (95 % interval −45.0 to −35.0).",
        "Choosing what people label does worse than chance: 70.0 % of the held-out steps (65.0 to 75.0 %) with 100 "
        "steps against 85.0 % of the held-out steps (80.0 to 90.0 %) with the 150 of the random slice.",
    ]
    assert conclude(APART, has_rounds=True).open == []
    assert [sentence.split(":")[0] for sentence in conclude(APART, has_rounds=True).known] == [
        "The scorer in use is better than saying +1 always",
        "More gold has helped",
        "Choosing what people label beats chance",
    ]


APART = [point(100, 0.7), point(150, 0.55, is_baseline=True), point(400, 0.85, over_before=around(0.15))]


def test_too_few_held_out_tasks_conclude_nothing() -> None:
    found = conclude([replace(one, n_held_out_tasks=19) for one in APART], has_rounds=True)
    assert found.known == []
    too_few = "it takes 20 held-out tasks to tell that from chance, and there are 19."
    assert [sentence.endswith(too_few) for sentence in found.open] == [True, True, True, False]
    assert found.open[1] == (
        "Whether more gold makes it better: 85.0 % with 80 trajectories, 70.0 % with 20, on the same held-out steps, "
        f"+15.0 points; {too_few}"
    )


def test_only_what_was_measured_on_the_same_steps_is_compared() -> None:
    then = [replace(APART[0], is_of_now=False, n_held_out_steps=52), *APART[1:]]
    assert conclude(then, has_rounds=True).open == [
        "Whether more gold makes it better: it takes a second training, with more gold.",
        "Whether choosing what people label beats chance: no training that was measured on the same steps has had as "
        "few to learn from as the random slice, 150.",
    ]
    curve = draw([*then, point(300, 0.8)], "steps")
    assert curve is not None
    assert [mark.is_of_now for mark in curve.marks] == [False, True, True, True]
    assert (len(curve.line.split()), len(curve.line_of_all.split())) == (2, 3)
    assert curve.marks[0].title.endswith("; measured on the 52 held-out steps of then")
    # What chance alone chose says nothing of choosing.
    by_chance = [replace(one, n_chosen=0) for one in APART]
    assert conclude(by_chance, has_rounds=True).open == [
        "Whether choosing what people label beats chance: nothing that the latest trainings learnt from had been "
        "chosen by a strategy."
    ]


# Starting


def add_gold(world: World, n: int) -> None:
    """The first two trajectories are of tasks that are held out, the others of such as are learnt from."""
    before = world.project.trajectories.count()
    tasks_of = [HELD_OUT_BEFORE[number] if number < 2 else number % 5 for number in range(before, before + n)]
    made = make_trajectories(world.project, [{"group_key": f"task {task}"} for task in tasks_of], n_steps=1)
    settle_all({trajectory: [1] for trajectory in made}, [world.annotator])


@pytest.fixture
def solo(db: None) -> World:
    world = make_world("solo", overlap=1)
    learning.change_policy(world.project, {"is_on": True, "every": 2, "at_least": 12}, user=world.admin)
    return world


def end(job: Job, status: str = "done") -> None:
    Job.objects.filter(pk=job.pk).update(status=status, finished_at=now())


@pytest.mark.django_db
def test_the_beat_starts_what_is_due_once(solo: World) -> None:
    add_gold(solo, 11)
    tasks.train_due_scorers()
    assert Job.objects.count() == 0
    add_gold(solo, 1)
    tasks.train_due_scorers()
    tasks.train_due_scorers()
    (job,) = Job.objects.all()
    assert (job.kind, job.queue, job.created_by, job.params["is_scheduled"]) == ("learn", "gpu", None, True)
    assert (job.params["name"], job.params["n_gold"]) == ("solo-scorer", 12)
    with pytest.raises(JobConflict, match=f"job {job.pk} is a training that has not ended yet"):
        learning.start(solo.project, user=solo.admin)
    end(job, "failed")
    add_gold(solo, 1)
    tasks.train_due_scorers()
    assert Job.objects.count() == 1  # one that failed is not tried every minute
    add_gold(solo, 1)
    tasks.train_due_scorers()
    assert Job.objects.count() == 2
    learning.change_policy(solo.project, {"is_on": False}, user=solo.admin)
    end(Job.objects.latest("pk"))
    add_gold(solo, 5)
    assert learning.start_due() == 0


@pytest.mark.django_db(transaction=True)
def test_held_out_gold_given_in_sight_of_the_scorer_measures_nothing() -> None:
    world = make_world("solo", overlap=1, hint_policy={"hinted": 50, "model": "solo-scorer"})
    for number in range(30):
        trajectory = make_trajectory(world.project, n_steps=1, group_key=f"task {number}", external_id=f"x-{number}")
        predict(trajectory, [1], model="solo-scorer", kind="scorer")
        settle(trajectory, world.annotator, [1])
    rows = learning.read_snapshot(learning.start(world.project, user=world.admin)).rows
    annotations = world.project.trajectories.values_list("group_key", "assignments__hint_arm")
    hinted = {task for task, arm in annotations if arm == "hinted"}
    held_out = {f"task {number}" for number in range(30) if is_held_out(f"task {number}")}
    assert {str(row.gold.group) for row in rows} == {f"task {n}" for n in range(30)} - (hinted & held_out)
    assert hinted & held_out
    assert held_out - hinted


@pytest.mark.django_db
def test_another_name_begins_another_scorer(solo: World) -> None:
    add_gold(solo, 12)
    end(learning.start(solo.project, user=None))
    assert learning.due(solo.project).n_missing == 2
    learning.change_policy(solo.project, {"name": "second"}, user=solo.admin)
    assert (learning.due(solo.project).n_before, learning.due(solo.project).is_due) == (None, True)


@pytest.mark.django_db
def test_a_training_in_the_loop_is_not_tried_again_but_started_anew(solo: World) -> None:
    add_gold(solo, 12)
    job = learning.start(solo.project, user=None)
    end(job, "failed")
    with pytest.raises(JobConflict, match="Start it again where it was started"):
        jobs.retry(job, user=solo.admin)


@pytest.mark.django_db
def test_the_policy_is_changed_and_logged(solo: World, tmp_path: Any) -> None:
    changed = learning.change_policy(solo.project, {"every": 7, "at_least": 12}, user=solo.admin)
    assert changed == ["every"]
    event = AuditEvent.objects.filter(action="project.changed").latest("pk")
    assert event.data == {"old": {"learning_policy": {"every": 2}}, "new": {"learning_policy": {"every": 7}}}
    (tmp_path / "taken.yaml").write_text("kind: rules\nname: taken\n")
    with pytest.raises(InvalidSettings, match="The name taken belongs to another model"):
        learning.change_policy(solo.project, {"name": "taken"}, user=solo.admin)
    assert Project.objects.get(slug="solo").learning.name is None


@pytest.mark.django_db
def test_without_enough_gold_nothing_is_started_and_the_page_says_what_is_missing(client: Client, solo: World) -> None:
    client.force_login(solo.admin)
    none = (
        "A scorer learns from trajectories that people have settled, and there are none yet. Have some of different "
        "tasks labelled first."
    )
    refused = client.post("/projects/solo/learning/train/", follow=True)
    page = " ".join(refused.content.decode().split())
    assert "Nothing was started: something is missing, see below." in page
    assert page.count(none) == 1
    assert '<button class="btn primary" id="train" disabled>Train now</button>' in page
    answer = client_of(solo.admin).post("/api/v1/projects/solo/learning/")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, f"Nothing was started. {none}")
    add_gold(solo, 11)
    with pytest.raises(InvalidInput, match=r"^Nothing was started\. It takes 10 trajectories .* and there are 9\."):
        learning.start(solo.project, user=None)
    assert Job.objects.count() == 0
    add_gold(solo, 1)
    assert '<button class="btn primary" id="train">' in client.get("/projects/solo/learning/").content.decode()
    assert learning.start(solo.project, user=solo.admin).params["n_gold"] == 12


@pytest.mark.parametrize(
    ("settled", "missing"),
    [
        ([], "there are none yet"),
        ([("task 7", 129)], "there are none yet"),
        ([("task 7", 3)], "Of the 1 task with gold 1 is held out; it takes 2"),
        ([("task 0", 3), ("task 1", 3)], "Of the 2 tasks with gold none are held out; it takes 2"),
        ([("task 7", 3), ("task 8", 3), ("task 0", 3)], "and there is 1. Settle more"),
        ([("task 7", 3), ("task 8", 3), *[("task 0", 128)] * 10], ""),
    ],
)
def test_what_is_missing_is_said_by_tasks(settled: list[tuple[str, int]], missing: str) -> None:
    said = what_is_missing(settled)
    assert missing in said
    assert bool(said) == bool(missing)


# Page, API, command


@pytest.mark.django_db
def test_the_page_tells_a_newcomer_what_happens(client: Client, solo: World) -> None:
    client.force_login(solo.admin)
    page = " ".join(client.get("/projects/solo/learning/").content.decode().split())
    assert "none yet" in page
    assert "in 12 gold trajectories" in page
    assert "20 % of all tasks, chosen by a hash, are held out for good" in page
    make_learning_point(solo.project, 0.8, is_kept=True)
    make_learning_point(solo.project, 0.7, reason="It is right on fewer steps.", n_steps=200, effort_seconds=0)
    make_learning_point(solo.project, 0.6, is_baseline=True, n_steps=60)
    page = " ".join(client.get("/projects/solo/learning/").content.decode().split())
    assert "What cannot be concluded yet" in page
    assert "only 6 tasks are held out, so the intervals are wide" in page
    assert "It is right on fewer steps." in page
    assert page.count("<polyline") == 4  # two curves, each with its baseline
    assert page.count("<title>Not kept: 70.0 %") == 1
    assert "One training of which fewer than half of the labels were timed is not in the curve over time." in page
    assert "The last training has no dot for the random slice alone: the slice is too small." in page
    assert '<td class="num">80.0<div class="muted small nowrap">70.0 to 90.0</div></td>' in page


@pytest.mark.django_db
def test_the_version_in_use_is_shown_as_the_latest_training_measured_it(client: Client, solo: World) -> None:
    """It was right on 80 % of 40 held-out steps; the training after it had more of them."""
    about = {"baseline": "skipped: x", "weights_sha256": "a" * 64}
    first = make_learning_point(solo.project, 0.8, is_kept=True, facts={**about, "job": 1})
    second = make_learning_point(solo.project, 0.6, n_steps=200, n_trajectories=55, facts={**about, "job": 2})
    figure = {"value": 0.7, "low": 0.65, "high": 0.75}
    second.metrics["before"] = {"weights_sha256": "a" * 64, "step_acc": figure, "nll": figure, "over_always": figure}
    second.metrics["difference"] = {"step_acc": {"value": -0.1, "low": -0.2, "high": -0.05}, "nll": figure}
    second.metrics["held_out"] = {"n_trajectories": 40, "n_steps": 130, "n_tasks": 25}
    now_, latest = curve_points([first, second])
    assert (now_.step_acc, now_.over_always, now_.n_held_out_steps, now_.is_of_now) == (
        Share(0.7, 0.65, 0.75),
        Share(0.7, 0.65, 0.75),
        130,
        True,
    )
    assert (latest.step_acc.value, latest.over_before) == (0.6, Share(-0.1, -0.2, -0.05))
    (known,) = conclude([now_, latest], has_rounds=False).known[1:]
    assert known.startswith("More gold has made it worse: 60.0 % with 55 trajectories, 70.0 % with 40, on the same")
    del second.metrics["before"]["over_always"]  # as trainings were recorded before
    assert curve_points([first, second])[0].over_always == Share(0.7 - 0.5, None, None)
    second.metrics["before"] = None
    (then, _) = curve_points([first, second])
    assert (then.step_acc.value, then.n_held_out_steps, then.is_of_now) == (0.8, 40, False)


@pytest.mark.django_db
def test_the_page_changes_the_policy_and_starts(client: Client, solo: World) -> None:
    client.force_login(solo.admin)
    form = {"every": "9", "at_least": "12", "name": "solo-scorer", "encoder": "hashed", "is_on": "on"}
    answer = client.post("/projects/solo/learning/", form)
    assert (answer.status_code, answer["Location"]) == (302, "/projects/solo/learning/")
    policy = Project.objects.get(slug="solo").learning
    assert (policy.every, policy.at_least, policy.name, policy.prelabels_rest) == (9, 12, None, False)
    wrong = client.post("/projects/solo/learning/", {**form, "every": "0", "name": "rules"})
    assert wrong.status_code == 422
    taken = client.post("/projects/solo/learning/", {**form, "name": "rules"})
    assert taken.status_code == 422
    assert "The name rules belongs to another model." in taken.content.decode()
    add_gold(solo, 12)
    started = client.post("/projects/solo/learning/train/")
    job = Job.objects.get()
    assert started["Location"] == f"/jobs/{job.pk}/"
    url = "/projects/solo/learning/"
    assert f'aria-labelledby="now-title" hx-get="{url}" hx-trigger="every 5s"' in client.get(url).content.decode()
    again = client.post("/projects/solo/learning/train/", follow=True)
    assert f"job {job.pk} is a training that has not ended yet" in again.content.decode()
    assert Job.objects.count() == 1
    jobs.start(job.pk)
    jobs.finish(job, Job.Status.DONE)
    page = client.get(url, headers={"HX-Request": "true"}).content.decode()
    assert f'The training has ended. <a href="{url}">Show what it brought</a>' in page
    assert "hx-get" not in page
    assert "has ended" not in client.get(url).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(("who", "status"), [("annotator", 403), ("reviewer", 403), ("outsider", 404)])
def test_only_admins_see_and_start_it(client: Client, solo: World, who: str, status: int) -> None:
    client.force_login(solo.user(who))
    assert client.get("/projects/solo/learning/").status_code == status
    assert client.post("/projects/solo/learning/", {"every": "3"}).status_code == status
    assert client.post("/projects/solo/learning/train/").status_code == status
    assert client_of(solo.user(who)).patch("/api/v1/projects/solo/learning/", {}, "json").status_code == status
    assert Job.objects.count() == 0
    assert Project.objects.get(slug="solo").learning.every == 2


@pytest.mark.django_db
def test_the_api_reads_changes_and_starts(solo: World) -> None:
    client, address = client_of(solo.admin), "/api/v1/projects/solo/learning/"
    kept = make_learning_point(solo.project, 0.8, is_kept=True)
    add_gold(solo, 3)
    found = client.get(address).json()
    assert (found["n_gold"], found["n_before"], found["n_missing"], found["job"]) == (3, None, 9, None)
    assert (found["name"], found["current"]) == ("solo-scorer", None)  # there is no model file
    assert [(p["id"], p["is_kept"], p["version"]) for p in found["points"]] == [(kept.pk, True, None)]
    assert found["points"][0]["metrics"]["step_acc"]["value"] == 0.8
    assert found["not_concluded"][0].startswith("Whether the scorer in use is better than saying +1 always: 80.0 %")
    assert len(found["not_concluded"]) == 4
    assert found["concluded"] == []  # on six tasks
    changed = client.patch(address, {"every": 5}, "json")
    assert (changed.status_code, changed.json()["policy"]["every"], changed.json()["policy"]["is_on"]) == (200, 5, True)
    refused = client.patch(address, {"every": 0, "days": 1}, "json")
    assert (refused.status_code, set(refused.json()["error"]["fields"])) == (400, {"every", "days"})
    add_gold(solo, 9)
    started = client.post(address)
    assert (started.status_code, started.json()["kind"]) == (202, "learn")
    assert client.post(address).status_code == 409
    assert client.get(address).json()["job"]["id"] == started.json()["id"]


@pytest.mark.django_db
def test_the_command_says_what_came_of_it(solo: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_gold(solo, 12)
    acc = {"value": 0.75, "low": 0.7, "high": 0.8}
    result = {"model": "solo-scorer", "version": None, "is_kept": False, "reason": "It is no better.", "step_acc": acc}

    def finish(job_id: int, **fields: Any) -> None:
        Job.objects.filter(pk=job_id).update(status="done", finished_at=now(), result=result)

    monkeypatch.setattr("annotator.jobs.send", finish)
    monkeypatch.setattr("django.db.transaction.on_commit", lambda run: run())
    out = StringIO()
    call_command("learn", "solo", stdout=out)
    assert out.getvalue().splitlines()[1:] == [
        "Steps right, on tasks that are held out: 75.0% (95 % interval 70.0% to 80.0%)",
        "Not kept; the version before goes on. It is no better.",
    ]
    monkeypatch.setattr("annotator.jobs.send", lambda job_id: None)
    call_command("learn", "solo", "--no-wait", stdout=out)
    with pytest.raises(CommandError, match="is a training that has not ended yet"):
        call_command("learn", "solo")
    with pytest.raises(CommandError, match="There is no project 'nowhere'"):
        call_command("learn", "nowhere")
