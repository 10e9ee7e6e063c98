"""Pre-label runs: what is scored, by whom, exactly once."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.utils.timezone import now
from pytest_django.fixtures import Settings

from annotator import jobs
from annotator.celery import app
from annotator.errors import InvalidInput, JobConflict, JobFailed
from annotator.models import (
    AuditEvent,
    GoldLabel,
    Job,
    ModelVersion,
    Prediction,
    PrelabelRun,
)
from annotator.prelabelling import actions, catalogue, reading
from annotator.prelabelling.actions import Identity, Result, Selection
from annotator.prelabelling.judge_config import JudgeConfig
from annotator.prelabelling.rules_config import RulesConfig
from annotator.prelabelling.scores import ScoringError, TrajectoryScores
from annotator.projects.actions import add_guideline
from tests.factories import World, judge, make_trajectory, make_world
from workers.prelabel import run as worker
from workers.prelabel.loading import load

pytestmark = pytest.mark.django_db

RULES = RulesConfig()


def start(world: World, *, config: RulesConfig = RULES, **selection: Any) -> PrelabelRun:
    return actions.start(world.project, config, Selection.parse(selection), estimate={}, user=world.admin)


def begun(world: World, **selection: Any) -> PrelabelRun:
    """A run that a worker has begun, with its targets, none of them claimed."""
    run = start(world, **selection)
    jobs.start(run.job_id)
    actions.attach_version(run, RULES, Identity("c" * 64))
    actions.plan(run)
    return run


def scores(n_steps: int, value: int = 1) -> TrajectoryScores:
    probs = np.zeros((n_steps, 3))
    probs[:, value + 1] = 1
    return TrajectoryScores(probs, None, ["because"] * n_steps, n_tokens=10, n_dropped_tokens=2, first_truncated_step=1)


def left(run: PrelabelRun) -> list[str]:
    return list(run.targets.order_by("id").values_list("status", flat=True))


def test_a_run_scores_what_was_selected_and_a_second_one_what_is_missing(world: World) -> None:
    first, second = make_trajectory(world.project, n_steps=2), make_trajectory(world.project, n_steps=3)
    run = start(world, ids=first.external_id)
    worker.work(run.job_id)
    run.refresh_from_db()
    assert run.job.status == "done"
    assert (run.job.n_done, run.job.n_total, run.job.unit) == (2, 2, "steps")
    assert list(Prediction.objects.values_list("trajectory", "version", "run")) == [(first.pk, run.version_id, run.pk)]
    again = start(world)
    worker.work(again.job_id)
    again.refresh_from_db()
    assert again.version == run.version
    assert again.job.result == {
        "version": "rules v1",
        "n_trajectories": 1,
        "n_failed": 0,
        "n_steps": 3,
        "n_tokens": 0,
        "n_dropped_tokens": 0,
        "cost": "0.000000",
    }
    assert set(Prediction.objects.values_list("trajectory", "run")) == {(first.pk, run.pk), (second.pk, again.pk)}
    worker.work(again.job_id)  # a message that came twice
    assert Prediction.objects.count() == 2
    third = start(world)
    worker.work(third.job_id)
    assert left(third) == []
    third.job.refresh_from_db()
    assert (third.job.status, third.job.n_done, third.job.n_total) == ("done", 0, 0)


def test_the_version_says_what_the_model_was(world: World) -> None:
    make_trajectory(world.project)
    worker.work(start(world).job_id)
    worker.work(start(world, config=RulesConfig(off=["R9"])).job_id)
    blind, seeing = ModelVersion.objects.order_by("-number")
    assert (str(seeing), seeing.kind, seeing.sees_reference) == ("rules v1", "rules", True)
    assert (str(blind), blind.config["off"], blind.sees_reference) == ("rules v2", ["R9"], False)
    assert seeing.config_sha256 != blind.config_sha256
    assert AuditEvent.objects.filter(action="prelabel.started", user=world.admin).count() == 2


def test_findings_are_kept_as_findings(world: World) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "search", "arguments": "{broken"}}
    messages = [
        {"role": "user", "content": "How tall?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "?"},
        {"role": "assistant", "content": "I do not know."},
    ]
    make_trajectory(world.project, messages=messages)
    worker.work(start(world).job_id)
    prediction = Prediction.objects.get()
    assert [(finding["step"], finding["code"]) for finding in prediction.findings] == [(0, "R1")]
    assert prediction.rationales[0].startswith("R1: ")
    assert prediction.values == [None, None]
    assert prediction.probs == [[None] * 3] * 2


def test_a_limit_counts_what_is_missing_so_that_portions_get_to_the_end(world: World) -> None:
    made = [make_trajectory(world.project, n_steps=i + 1).pk for i in range(5)]
    found = []
    for left in ([2, 3], [2, 7], [1, 5], [0, 0]):
        expected = reading.estimate(world.project, RULES, Selection(limit=2))
        assert [expected["n_trajectories"], expected["n_steps"]] == left
        run = start(world, limit=2)
        worker.work(run.job_id)
        found.append(sorted(run.targets.values_list("trajectory", flat=True)))
    assert found == [made[:2], made[2:4], made[4:], []]
    # Another version has everything before it again.
    assert reading.estimate(world.project, RulesConfig(off=["R9"]), Selection())["n_trajectories"] == 5


def test_the_estimate_of_a_judge_counts_no_request_that_it_never_makes(world: World) -> None:
    make_trajectory(world.project, external_id="asked 1", reference="42")
    make_trajectory(world.project, external_id="asked 2", outcome=0.0)
    make_trajectory(world.project, external_id="neither", messages=[{"role": "assistant", "content": "x" * 9_000}])
    price = {"input": 100, "output": 400}
    endpoint = {"base_url_env": "JUDGE_URL"}
    seeing, blind = (
        JudgeConfig.model_validate(
            {"kind": "judge", "name": mode, "model": "m", "mode": mode, "endpoint": endpoint, "price": price}
        )
        for mode in ("with_reference", "blind")
    )
    two = reading.estimate(world.project, blind, Selection(ids="asked"))
    every = reading.estimate(world.project, seeing, Selection())
    assert [every[name] for name in ("n_trajectories", "n_steps", "n_unasked")] == [3, 7, 1]
    assert [every[name] for name in ("n_tokens", "money")] == [two[name] for name in ("n_tokens", "money")]
    assert reading.estimate(world.project, seeing, Selection(ids="neither")) == {
        "n_trajectories": 1, "n_steps": 1, "n_unasked": 1, "n_tokens": 0,
        "money": "0.00", "currency": "USD", "seconds": None,
    }  # fmt: skip
    unseeing = reading.estimate(world.project, blind, Selection())
    assert (unseeing["n_unasked"], float(unseeing["money"]) > float(two["money"]) > 0) == (0, True)


@pytest.mark.parametrize(("gold", "expected"), [("with", [0]), ("without", [1]), ("any", [0, 1])])
def test_gold_selects(world: World, gold: str, expected: list[int]) -> None:
    trajectories = [make_trajectory(world.project), make_trajectory(world.project)]
    for person in (world.annotator, world.second):
        judge(trajectories[0], person, [1, 1, 1])
    assert GoldLabel.objects.count() == 4
    chosen = list(Selection.parse({"gold": gold}).of(world.project))
    assert chosen == [trajectories[number] for number in expected]


def test_nothing_is_started_for_an_empty_selection_or_a_wrong_one(world: World) -> None:
    make_trajectory(world.project)
    with pytest.raises(InvalidInput, match="the selection holds no trajectory of this project"):
        start(world, ids="nowhere")
    with pytest.raises(InvalidInput, match=r"gold: Input should be 'any', 'with', 'without' or 'not_learnt'"):
        Selection.parse({"gold": "some"})
    assert (Job.objects.count(), PrelabelRun.objects.count()) == (0, 0)


def test_a_model_that_is_under_way_is_not_started_a_second_time(world: World) -> None:
    make_trajectory(world.project)
    run = start(world)
    refused = rf"rules is under way already, as run {run.pk}\..*: its job is number {run.job_id}\."
    for config in (RULES, RulesConfig(title="Another title makes no other version")):
        with pytest.raises(JobConflict, match=refused):
            start(world, config=config)
    jobs.start(run.job_id)
    with pytest.raises(JobConflict, match=refused):
        start(world, gold="without")
    assert (PrelabelRun.objects.count(), Job.objects.count()) == (1, 1)
    start(world, config=RulesConfig(off=["R9"]))  # another version
    other = make_world("other")
    make_trajectory(other.project)
    start(other)
    Job.objects.filter(pk=run.job_id).update(status="cancelled", finished_at=now())
    start(world)


def test_judges_have_a_queue_of_their_own_and_one_worker_each(
    world: World, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    """They wait for their endpoints for hours: imports and housekeeping go on meanwhile."""
    make_trajectory(world.project)
    sent: list[tuple[str, str]] = []
    monkeypatch.setattr(app, "send_task", lambda name, _, queue: sent.append((name, queue)))
    configs = [catalogue.read("demo").models[name] for name in ("judge-blind", "rules", "qwen2.5-math-prm-7b")]
    with django_capture_on_commit_callbacks(execute=True):
        runs = [actions.start(world.project, each, Selection(), estimate={}, user=world.admin) for each in configs]
    expected = ["judges", "default", *["gpu"] * settings.PRELABEL_WORKERS]
    assert sent == [("workers.tasks.prelabel", queue) for queue in expected]
    # A message that came twice: what a judge may spend, and ask at once, is counted by one worker alone.
    jobs.start(runs[0].job_id)
    monkeypatch.setattr(worker, "load", lambda *_: pytest.fail("a second worker takes part"))
    worker.work(runs[0].job_id)


def test_nothing_is_handed_out_twice(world: World) -> None:
    for _ in range(3):
        make_trajectory(world.project)
    run = begun(world)
    first = actions.claimed(run, "a", with_reference=False)
    key, text = next(first)
    assert text.n_steps == 3
    assert list(actions.claimed(run, "b", with_reference=False)) == []
    assert left(run) == ["claimed"] * 3
    run.targets.update(lease_expires_at=now() - timedelta(seconds=1))  # "a" has stored nothing for long, but lives
    assert [key for key, _ in first] == list(run.targets.values_list("trajectory", flat=True))[1:]
    actions.release(run, "a")
    assert left(run) == ["waiting"] * 3
    assert next(key for key, _ in actions.claimed(run, "b", with_reference=False)) == key


def test_what_a_dead_worker_held_goes_to_another_and_its_late_answer_counts_for_nothing(world: World) -> None:
    trajectory = make_trajectory(world.project)
    run = begun(world)
    next(actions.claimed(run, "dead", with_reference=False))
    run.targets.update(lease_expires_at=now() - timedelta(seconds=1))
    assert [key for key, _ in actions.claimed(run, "other", with_reference=False)] == [trajectory.pk]
    actions.store(run, "dead", [(trajectory.pk, scores(3, value=-1))])
    assert Prediction.objects.count() == 0
    actions.store(run, "other", [(trajectory.pk, scores(3))])
    prediction = Prediction.objects.get()
    assert prediction.values == [1, 1, 1]
    assert (prediction.n_tokens, prediction.n_dropped_tokens, prediction.first_truncated_step) == (10, 2, 1)
    run.refresh_from_db()
    assert (run.n_steps_done, run.n_tokens, run.n_dropped_tokens) == (3, 10, 2)
    assert (run.job.n_done, left(run)) == (3, ["done"])


def test_a_trajectory_that_cannot_be_scored_says_why_and_stops_no_other(world: World) -> None:
    bad, short, good = (make_trajectory(world.project) for _ in range(3))
    run = begun(world)
    list(actions.claimed(run, "a", with_reference=False))
    failure = ScoringError("A marker occurs in step 2.")
    results: list[Result] = [(bad.pk, failure), (short.pk, scores(2)), (good.pk, scores(3))]
    actions.store(run, "a", results)
    assert list(run.targets.order_by("id").values_list("status", "error")) == [
        ("failed", "A marker occurs in step 2."),
        ("failed", "The model gave 2 scores for 3 steps; none was stored."),
        ("done", ""),
    ]
    assert list(Prediction.objects.values_list("trajectory", flat=True)) == [good.pk]
    assert actions.is_complete(run)
    run.job.refresh_from_db()
    assert run.job.n_done == 9


def test_a_cancelled_run_stores_nothing_more_and_gives_back_what_it_held(world: World) -> None:
    trajectory = make_trajectory(world.project)
    run = begun(world)
    list(actions.claimed(run, "a", with_reference=False))
    jobs.cancel(run.job, user=world.admin)
    with pytest.raises(jobs.JobCancelled):
        actions.store(run, "a", [(trajectory.pk, scores(3))])
    assert Prediction.objects.count() == 0
    assert left(run) == ["claimed"]
    actions.release(run, "a")
    assert left(run) == ["waiting"]


def test_a_run_goes_on_where_a_killed_worker_left_it(world: World) -> None:
    done, open_ = make_trajectory(world.project), make_trajectory(world.project)
    run = start(world)
    config = RulesConfig()
    jobs.start(run.job_id)
    model = load(run, lambda: False)
    actions.attach_version(run, config, model.identity)
    actions.plan(run)
    claimed = list(actions.claimed(run, "killed", with_reference=False))
    actions.store(run, "killed", [next(model.score(claimed[:1]))])
    kept = Prediction.objects.get(trajectory=done)
    run.targets.filter(status="claimed").update(lease_expires_at=now() - timedelta(seconds=1))
    Job.objects.update(status="queued")  # as the beat does with a job that shows no sign of life
    worker.work(run.job_id)
    run.job.refresh_from_db()
    assert (run.job.status, run.job.n_done, run.job.n_total) == ("done", 6, 6)
    assert Prediction.objects.get(trajectory=done) == kept
    assert Prediction.objects.get(trajectory=open_).run == run


def test_another_model_under_the_same_name_does_not_join_a_run(world: World) -> None:
    make_trajectory(world.project)
    run = begun(world)
    with pytest.raises(JobFailed, match=r"is not the one that the run began with: .* the same version of Stepmark"):
        actions.attach_version(run, RULES, Identity("d" * 64))
    run.refresh_from_db()
    assert run.version is not None
    assert run.version.config_sha256 == "c" * 64


def test_a_judge_goes_on_with_the_guideline_that_its_run_began_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("JUDGE_API_KEY", "key")
    config = catalogue.read("demo").models["judge-blind"]
    make_trajectory(world.project)
    add_guideline(world.project, "Be strict.", user=world.admin)

    def began() -> tuple[PrelabelRun, ModelVersion]:
        run = actions.start(world.project, config, Selection(), estimate={}, user=world.admin)
        return run, actions.attach_version(run, config, load(run, lambda: False).identity)

    run, version = began()
    assert actions.expected_version(world.project, config) == version
    add_guideline(world.project, "Be kind.", user=world.admin)
    assert actions.attach_version(run, config, load(run, lambda: False).identity) == version
    assert actions.expected_version(world.project, config) is None  # what it will say now, nobody has asked
    Job.objects.update(status="failed", finished_at=now())
    _, other = began()
    assert (str(version), str(other)) == ("judge-blind v1", "judge-blind v2")
    assert actions.expected_version(world.project, config) == other


@pytest.mark.parametrize(("is_cancelled", "status"), [(False, "failed"), (True, "cancelled")])
def test_a_worker_that_takes_over_knows_what_is_done_and_what_was_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch, is_cancelled: bool, status: str
) -> None:
    """Before it loads the model, which may take minutes or fail."""
    done = make_trajectory(world.project)
    make_trajectory(world.project)
    run = begun(world)
    list(actions.claimed(run, "killed", with_reference=False))
    actions.store(run, "killed", [(done.pk, scores(3))])
    Job.objects.update(status="queued", is_cancel_requested=is_cancelled)

    def fail(*_: object) -> None:
        raise JobFailed("There is no checkpoint.")

    monkeypatch.setattr(worker, "load", fail)
    worker.work(run.job_id)
    run.job.refresh_from_db()
    assert (run.job.status, run.job.n_done, run.job.n_total) == (status, 3, 6)


@pytest.mark.django_db(transaction=True)
def test_workers_share_a_run(world: World) -> None:
    for _ in range(30):
        make_trajectory(world.project, n_steps=1, enqueue=False)
    run = begun(world)
    seen: list[tuple[str, int]] = []
    barrier = threading.Barrier(3)

    def take(name: str) -> None:
        barrier.wait()
        try:
            for key, _ in actions.claimed(run, name, with_reference=False):
                seen.append((name, key))
                actions.store(run, name, [(key, scores(1))])
        finally:
            connection.close()

    actions.CLAIMED_AT_ONCE, before = 4, actions.CLAIMED_AT_ONCE
    try:
        threads = [threading.Thread(target=take, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        actions.CLAIMED_AT_ONCE = before
    assert sorted(key for _, key in seen) == sorted(run.targets.values_list("trajectory", flat=True))
    assert len({name for name, _ in seen}) > 1
    assert Prediction.objects.count() == 30
    run.refresh_from_db()
    assert (run.n_steps_done, run.job.n_done) == (30, 30)


def test_the_catalogue_has_what_ships_and_what_the_operator_adds(settings: Settings, tmp_path: Path) -> None:
    settings.MODELS_FOLDER = tmp_path
    (tmp_path / "mine.yaml").write_text("kind: rules\nname: mine\ntitle: Ours\n")
    (tmp_path / "broken.yaml").write_text("kind: rules\nnaem: x\n")
    found = catalogue.read("demo")
    assert found.models["mine"].title == "Ours"
    assert {"rules", "judge-blind", "qwen2.5-math-prm-7b"} <= set(found.models)
    assert found.wrong == ["broken.yaml: naem: Extra inputs are not permitted"]
    with pytest.raises(InvalidInput, match=r"There is no model 'broken'\. .*\. broken\.yaml: naem: Extra inputs"):
        found.get("broken")
