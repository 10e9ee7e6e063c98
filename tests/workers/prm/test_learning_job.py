"""Training in the loop: the real task functions on a real database, from labels to the version that is used."""

import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils.timezone import now
from pytest_django.fixtures import Settings

from annotator import flow, jobs
from annotator.errors import JobConflict
from annotator.models import (
    Assignment,
    GoldLabel,
    Job,
    Label,
    LearningPoint,
    ModelVersion,
    Prediction,
    PrelabelRun,
    Project,
    SelectionPick,
    SelectionRound,
    Trajectory,
)
from annotator.prelabelling import catalogue, learning, names
from annotator.prelabelling.learning_policy import is_held_out, is_in_half
from annotator.prelabelling.scorer_config import ScorerConfig
from tests.factories import World, judge, label, make_acceptance, make_trajectories, make_world, settle_all
from tests.workers.prm import toy
from workers import learn as learning_worker
from workers import tasks
from workers.prm import scoring
from workers.prm.learn import learn

pytestmark = pytest.mark.django_db(transaction=True)  # a training takes its own snapshot

N_TASKS = 12
HELD_OUT = {number for number in range(N_TASKS) if is_held_out(f"task {number}")}


@pytest.fixture
def models(settings: Settings, tmp_path: Path) -> Path:
    settings.MODELS_FOLDER = tmp_path
    return tmp_path


@pytest.fixture
def toys(transactional_db: None, models: Path) -> World:
    """A project in which one person judges; its scorer is trained for a few epochs."""
    world = make_world("toys", overlap=1)
    learning.change_policy(world.project, {"max_epochs": 2, "every": 5, "at_least": 20}, user=world.admin)
    return world


def add(
    world: World, numbers: range, *, judged: bool = True, lies: bool = False, n_tasks: int = N_TASKS
) -> list[Trajectory]:
    """Toy trajectories with people's gold; `lies`: the labels say the opposite of the words, but not where held out."""
    truth = [toy.values_of(number) for number in numbers]
    added = make_trajectories(
        world.project,
        [
            {
                "messages": toy.messages_of(values, number),
                "group_key": f"task {number % n_tasks}",
                # It decides by a hash which half this belongs to: the same in whatever order tests run.
                "external_id": f"example {number}",
            }
            for number, values in zip(numbers, truth, strict=True)
        ],
    )
    if judged:
        turned = [lies and number % n_tasks not in HELD_OUT for number in numbers]
        said = {t: [-v if turn else v for v in vs] for t, vs, turn in zip(added, truth, turned, strict=True)}
        settle_all(said, [world.annotator])
    return added


def train(world: World) -> Job:
    job = learning.start(Project.objects.get(pk=world.project.pk), user=world.admin)
    tasks.learn(job.pk)
    job.refresh_from_db()
    return job


def main_points() -> list[LearningPoint]:
    return list(LearningPoint.objects.filter(is_baseline=False))


def current() -> ScorerConfig:
    config = catalogue.read("toys").get("toys-scorer")
    assert isinstance(config, ScorerConfig)
    return config


def test_the_gold_of_now_becomes_a_scorer_that_prelabels_the_rest(toys: World, models: Path) -> None:
    assert HELD_OUT  # or the tests would measure nothing
    trained = add(toys, range(36))
    rest = add(toys, range(1000, 1006), judged=False)
    job = train(toys)
    assert (job.status, job.error, job.queue, job.unit) == ("done", "", "gpu", "percent")

    (point,) = main_points()
    learnt_from = [t for t in trained if not is_held_out(t.group_key)]
    held_out = [t for t in trained if is_held_out(t.group_key)]
    assert point.n_trajectories == len(learnt_from) == 36 - 3 * len(HELD_OUT)
    assert point.n_steps == sum(t.n_steps for t in learnt_from)
    assert point.facts["n_labels"] == point.n_steps  # one person judged each
    assert point.metrics["held_out"] == {
        "n_trajectories": len(held_out),
        "n_steps": sum(t.n_steps for t in held_out),
        "n_tasks": len(HELD_OUT),
    }
    for name in ("step_acc", "macro_f1", "first_err_acc", "ece", "brier", "nll"):
        figure = point.metrics[name]
        assert figure["low"] <= figure["value"] <= figure["high"], name
    assert (point.is_kept, point.metrics["before"], point.metrics["difference"]) == (True, None, None)
    assert point.reason.startswith("It is the first one, so there is none to compare it with.")
    assert set(point.facts) >= {"data_sha256", "seed", "code_version", "split", "weights_sha256", "job"}

    config = current()
    assert (config.release, config.project, config.weights_sha256) == (None, "toys", point.facts["weights_sha256"])
    assert config.data_sha256 == point.facts["data_sha256"]
    assert point.version == ModelVersion.objects.get()
    folder = models / "checkpoints/toys-scorer" / config.weights_sha256[:16]
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "scorer.json"]

    run = PrelabelRun.objects.get(pk=job.result["prelabel_run"])
    tasks.prelabel(run.job_id)
    run = PrelabelRun.objects.get(pk=run.pk)
    assert (run.job.status, run.job.error, run.version_id) == ("done", "", point.version_id)
    said = {p.trajectory_id: p for p in Prediction.objects.all()}
    assert set(said) == {t.pk for t in (*rest, *held_out)}  # of what it learnt from it says nothing
    for prediction in said.values():  # the ensemble's disagreement, for whoever chooses what people look at next
        assert prediction.spread is not None
        assert all(spread is not None and spread > 0 for spread in prediction.spread)


def test_the_time_of_people_is_counted_on_what_it_learnt_from(toys: World) -> None:
    for number, trajectory in enumerate(add(toys, range(30), judged=False)):
        slot = Assignment.objects.claimable_by(toys.annotator).get(trajectory=trajectory)
        annotation = label(slot, toys.annotator, dict(enumerate(toy.values_of(number))), 1)
        if number % 3:
            Label.objects.filter(annotation=annotation).update(active_ms=2_500)  # also of the outcome, which counts not
        flow.submit(slot.pk, toys.annotator)
    train(toys)
    (point,) = main_points()
    assert point.effort_seconds == round(2.5 * point.n_steps)  # as if the others had taken as long
    assert point.facts["n_labels"] == point.n_steps
    assert point.n_steps / 2 < point.facts["n_timed"] < point.n_steps


@pytest.fixture
def no_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take as long again, and these tests do not look at it."""
    monkeypatch.setattr(learning_worker, "MIN_TRAJECTORIES", 10_000)


@pytest.mark.usefixtures("no_baseline")
def test_a_worse_version_does_not_replace_the_one_before(toys: World, models: Path) -> None:
    learning.change_policy(toys.project, {"max_epochs": 12, "prelabels_rest": False}, user=toys.admin)
    add(toys, range(36))
    train(toys)
    first = current()
    before = scoring.load(first, catalogue.checkpoint_folder(first.name), catalogue.encoders_folder())
    # Many more labels that are wrong, none of them in a held-out task.
    add(toys, range(36, 108), lies=True)
    job = train(toys)
    assert (job.status, job.error) == ("done", "")
    kept, rejected = main_points()
    assert rejected.n_trajectories > kept.n_trajectories
    assert rejected.metrics["step_acc"]["value"] < kept.metrics["step_acc"]["value"] - 0.2
    assert (kept.is_kept, rejected.is_kept, rejected.version) == (True, False, None)
    assert rejected.reason.startswith("It is right on fewer of the held-out steps than the one before (StepAcc −")
    assert rejected.metrics["before"]["weights_sha256"] == first.weights_sha256
    assert set(rejected.metrics["before"]) == {"weights_sha256", "step_acc", "nll", "over_always"}
    difference = rejected.metrics["difference"]["step_acc"]
    assert difference["high"] < 0
    assert difference["value"] == pytest.approx(
        rejected.metrics["step_acc"]["value"] - rejected.metrics["before"]["step_acc"]["value"]
    )
    assert current() == first
    assert ModelVersion.objects.count() == 1
    assert [path.name for path in (models / "checkpoints/toys-scorer").iterdir()] == [first.weights_sha256[:16]]
    again = scoring.load(current(), catalogue.checkpoint_folder(first.name), catalogue.encoders_folder())
    text = toy.example(5).text
    (_, one), (_, other) = next(before.score([(0, text)])), next(again.score([(0, text)]))
    assert one.probs.tolist() == other.probs.tolist()  # type: ignore[union-attr]


@pytest.mark.usefixtures("no_baseline")
def test_a_better_version_replaces_it_and_the_old_weights_stay(toys: World, models: Path) -> None:
    learning.change_policy(toys.project, {"max_epochs": 1}, user=toys.admin)
    add(toys, range(24))
    train(toys)
    first = current()
    learning.change_policy(toys.project, {"max_epochs": 12}, user=toys.admin)
    add(toys, range(24, 60))
    train(toys)
    old, new = main_points()
    assert (old.is_kept, new.is_kept) == (True, True)
    # Of the twelve tasks three are held out.
    assert new.reason.startswith("It is right on more of the held-out steps, though it takes 20 held-out tasks to tell")
    assert str(new.version) == "toys-scorer v2"
    assert current().weights_sha256 == new.facts["weights_sha256"] != first.weights_sha256
    # A run that began with the version before still finds its weights.
    assert scoring.load(first, catalogue.checkpoint_folder(first.name), catalogue.encoders_folder())


def test_the_same_gold_again_is_not_better(toys: World) -> None:
    add(toys, range(30))
    train(toys)
    train(toys)
    first, again = main_points()
    assert first.facts["data_sha256"] == again.facts["data_sha256"]
    assert first.facts["weights_sha256"] == again.facts["weights_sha256"]
    assert (again.is_kept, again.reason[:61]) == (
        False,
        "It is right on as many held-out steps as the one before, and ",
    )


def test_what_is_settled_during_a_training_belongs_to_the_next_one(
    toys: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole trajectories are settled by another connection: between two reads of the snapshot, and while it trains."""
    add(toys, range(24))
    late = add(toys, range(24, 26), judged=False)
    report, efforts, waiting = jobs.report, learning._efforts, list(late)

    def settle_one() -> None:
        if waiting:
            trajectory = waiting.pop()
            judge(trajectory, toys.annotator, [1] * trajectory.n_steps)
        connection.close()

    def elsewhere() -> None:
        thread = threading.Thread(target=settle_one)
        thread.start()
        thread.join()

    def while_it_reads(chosen: Any) -> Any:
        elsewhere()
        return efforts(chosen)

    def while_it_trains(job: Job, n_done: int, n_total: int | None = None) -> None:
        if n_done >= 20:
            elsewhere()
        report(job, n_done, n_total)

    monkeypatch.setattr(learning, "_efforts", while_it_reads)
    monkeypatch.setattr(jobs, "report", while_it_trains)
    job = train(toys)
    monkeypatch.undo()
    assert not waiting
    (point,) = main_points()
    held_out = point.metrics["held_out"]["n_trajectories"]
    assert point.n_trajectories + held_out == 24 == job.params["n_gold"]
    assert GoldLabel.objects.filter(trajectory__in=late, step__isnull=False).count() == sum(t.n_steps for t in late)
    found = learning.due(toys.project)
    assert (found.n_gold, found.n_before, found.n_missing) == (26, 24, 3)
    train(toys)
    first, second = main_points()
    held_out = second.metrics["held_out"]["n_trajectories"]
    assert second.n_trajectories + held_out == 26
    assert first.facts["data_sha256"] != second.facts["data_sha256"]


def test_what_is_half_settled_or_accepted_without_a_person_teaches_nothing(toys: World) -> None:
    add(toys, range(24))
    world = toys
    world.project.overlap = world.project.max_overlap = world.project.required_agreement = 2
    world.project.save()
    half = add(world, range(24, 25), judged=False)[0]
    judge(half, world.annotator, [1] * half.n_steps)
    assert half.pk not in learning.gold_trajectories(world.project).values_list("pk", flat=True)
    judge(half, world.second, [-1] + [1] * (half.n_steps - 1))  # all but its first step are settled
    assert GoldLabel.objects.filter(trajectory=half, step__isnull=False).count() == half.n_steps - 1
    assert half.pk not in learning.gold_trajectories(world.project).values_list("pk", flat=True)
    assert learning.due(world.project).n_gold == 24
    accepted = add(world, range(25, 26), judged=False)[0]
    promise = make_acceptance(world.project)
    for step in accepted.steps.all():
        GoldLabel.objects.create(
            trajectory=accepted, step=step, value=1, provenance="certified", acceptance=promise, settled_at=now()
        )
    assert learning.due(world.project).n_gold == 24


def test_held_out_tasks_stay_held_out_as_gold_grows(toys: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[set[str], set[str]]] = []
    real = learn

    def remembering(examples: Any, *args: Any) -> Any:
        tested = {str(one.gold.group) for one in examples if one.is_test}
        seen.append((tested, {str(one.gold.group) for one in examples if not one.is_test}))
        return real(examples, *args)

    monkeypatch.setattr(learning_worker, "learn", remembering)
    learning.change_policy(toys.project, {"max_epochs": 1}, user=toys.admin)
    for begin, end in ((0, 24), (24, 40)):
        add(toys, range(begin, end))
        train(toys)
    mains = [pair for pair in seen if pair[0]]
    assert len(mains) == 2
    assert (
        mains[0]
        == mains[1]
        == (
            {f"task {n}" for n in HELD_OUT},
            {f"task {n}" for n in range(N_TASKS) if n not in HELD_OUT},
        )
    )
    baselines = [pair for pair in seen if not pair[0]]
    assert all(not learning_from & mains[0][0] for _, learning_from in baselines)


def test_the_baseline_is_one_half_where_no_round_has_run(toys: World) -> None:
    trained = add(toys, range(36))
    train(toys)
    baseline = LearningPoint.objects.get(is_baseline=True)
    half = [t for t in trained if is_in_half(t.external_id) and not is_held_out(t.group_key)]
    assert (baseline.n_trajectories, baseline.is_kept, baseline.version) == (len(half), False, None)
    assert baseline.facts["baseline"].startswith("one half of the trajectories, by a hash: no selection round has run")
    (point,) = main_points()
    assert baseline.metrics["held_out"] == point.metrics["held_out"]
    assert current().weights_sha256 == point.facts["weights_sha256"]


@pytest.mark.parametrize("n_random", [16, 4])
def test_the_baseline_is_the_random_slice_once_rounds_have_run(toys: World, n_random: int) -> None:
    trained = add(toys, range(36))
    job = Job.objects.create(project=toys.project, kind="select", unit="trajectories", status="done")
    made = SelectionRound.objects.create(
        project=toys.project, job=job, number=1, unit="trajectories", settings={}, seed=1, is_open=False
    )
    learnable = [t for t in trained if not is_held_out(t.group_key)]
    for rank, trajectory in enumerate(learnable[:20]):
        probability = 0.3 if rank < n_random else None
        pick = SelectionPick.objects.create(
            round=made, trajectory=trajectory, rank=rank, strategy="random", probability=probability, reason="."
        )
        trajectory.assignments.update(pick=pick)
    # Drawn, and put back into the pool by a later round: people judged it for another reason.
    SelectionPick.objects.create(
        round=made, trajectory=learnable[20], rank=20, strategy="random", probability=0.3, reason="."
    )
    train(toys)
    (point,) = main_points()
    baseline = LearningPoint.objects.filter(is_baseline=True).first()
    assert point.facts["n_chosen"] == 20 - n_random
    if n_random == 16:
        assert baseline is not None
        assert (baseline.n_trajectories, baseline.n_steps) == (16, sum(t.n_steps for t in learnable[:16]))
        assert baseline.facts["baseline"] == "what selection rounds chose at random"
    else:
        assert baseline is None
        assert point.facts["baseline"] == (
            "skipped: 4 trajectories to learn from are too few, it takes 10 (what selection rounds chose at random)"
        )


def test_two_that_start_it_at_once_start_one(toys: World) -> None:
    add(toys, range(20))
    answers: list[str] = []
    both = threading.Barrier(2)

    def start() -> None:
        try:
            both.wait()
            learning.start(toys.project, user=None)
            answers.append("started")
        except JobConflict:
            answers.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["refused", "started"]
    assert Job.objects.filter(kind="learn").count() == 1


def test_a_cancelled_training_changes_nothing(toys: World, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(toys, range(24))
    report = jobs.report

    def cancels_half_way(job: Job, n_done: int, n_total: int | None = None) -> None:
        if n_done >= 50:
            jobs.cancel(job, user=toys.admin)
        report(job, n_done, n_total)

    monkeypatch.setattr(jobs, "report", cancels_half_way)
    job = train(toys)
    assert (job.status, LearningPoint.objects.count(), list(models.iterdir())) == ("cancelled", 0, [])
    assert learning.due(toys.project).n_missing == 5  # whoever cancelled it does not want it again in a minute


def test_a_worker_that_died_after_deciding_is_followed_by_one_that_carries_it_out(
    toys: World, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(toys, range(24))
    add(toys, range(100, 102), judged=False)

    class Killed(BaseException):
        pass

    def dies(config: ScorerConfig) -> None:
        raise Killed

    job = learning.start(toys.project, user=toys.admin)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(learning_worker, "write_model_file", dies)
        tasks.learn(job.pk)
    assert Job.objects.get(pk=job.pk).status == "running"
    assert "toys-scorer" not in catalogue.read("toys").models
    n_points = LearningPoint.objects.count()
    with monkeypatch.context() as patch:
        patch.setattr(learning_worker, "learn", lambda *args: pytest.fail("it was trained already"))
        Job.objects.filter(pk=job.pk).update(status="queued")  # as recover() does it
        tasks.learn(job.pk)
    job.refresh_from_db()
    assert (job.status, job.error, LearningPoint.objects.count()) == ("done", "", n_points)
    assert current().weights_sha256 == main_points()[0].facts["weights_sha256"]
    assert PrelabelRun.objects.count() == 1


def test_too_few_held_out_tasks_fail_with_a_sentence(
    toys: World, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(toys, range(20), n_tasks=3)
    monkeypatch.setattr(learning, "missing", lambda project: "")  # there was enough when the job was queued
    job = train(toys)
    assert job.status == "failed"
    assert "held out; it takes 2 to compare a new version with the one before" in job.error
    assert list(models.iterdir()) == []


def test_the_weights_of_the_version_in_use_must_be_there(toys: World, models: Path) -> None:
    add(toys, range(24))
    train(toys)
    for path in (models / "checkpoints/toys-scorer").rglob("*.*"):
        path.unlink()
    job = train(toys)
    assert job.status == "failed"
    assert job.error.startswith("This worker has no weights of the scorer toys-scorer: it was trained on another")
    assert len(main_points()) == 1


def test_a_scorer_from_a_release_and_one_in_the_loop_do_not_share_a_name(toys: World, models: Path) -> None:
    add(toys, range(24))
    train(toys)
    assert names.why_no_scorer(toys.project, "toys-scorer") == (
        "The name toys-scorer belongs to the project's scorer that learns in the loop. Choose another one."
    )
    assert names.why_no_scorer(toys.project, "toys-scorer", in_loop=True) == ""
