"""A round learns first from what people have settled since the latest fusion."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.test import Client
from django.utils.timezone import now

from annotator import flow, jobs
from annotator.adjudication.actions import weigh_all
from annotator.errors import JobConflict
from annotator.fusion import actions as fusing
from annotator.fusion import fit as fit_module
from annotator.models import Dispute, Fusion, Job, Posterior, Project, SelectionRound, Trajectory
from annotator.projects.actions import change_settings
from annotator.selection import actions
from tests.factories import World, judge, make_trajectory, predict
from tests.fusion.test_actions import fuse, project_with_judges
from tests.selection.test_rounds import ONLY_ERRORS, run

pytestmark = pytest.mark.django_db


def settle(world: World, trajectories: Sequence[Trajectory]) -> None:
    for trajectory in trajectories:
        for person in (world.annotator, world.second):
            judge(trajectory, person, [1, -1, 1])


def believed(project: Project) -> set[tuple[int, int]]:
    """Trajectory and number of the fusion that speaks of it."""
    return set(Posterior.objects.filter(project=project).values_list("trajectory", "fusion__number"))


def test_a_scheduled_project_learns_from_every_batch_by_itself(world: World) -> None:
    made = project_with_judges(world, n=70, n_gold=24)
    policy = {"is_on": True, "shares": ONLY_ERRORS, "n_wanted": 10}
    change_settings(world.project, {"selection_policy": policy}, user=world.admin)

    def next_round() -> SelectionRound:
        assert actions.start_due() == 1
        round_ = SelectionRound.objects.latest("number")
        flow.run_job(round_.job_id)
        round_.refresh_from_db()
        assert round_.job.status == Job.Status.DONE, round_.job.error
        return round_

    first = next_round()  # 24 are too few
    assert (first.is_cold, first.fusion, first.job.result["is_fused"]) == (True, None, False)
    assert not Fusion.objects.exists()

    settle(world, [pick.trajectory for pick in first.picks.all()])
    second = next_round()
    fusion = Fusion.objects.get()
    assert (second.is_cold, second.fusion, second.job.result["is_fused"]) == (False, fusion, True)
    assert (fusion.number, fusion.n_trajectories, fusion.job) == (1, 34, second.job)
    assert believed(world.project) == {(t.pk, 1) for t in made}

    third = run(world)  # nothing has been settled since
    assert (third.fusion, third.job.result["is_fused"]) == (fusion, False)

    settle(world, [third.picks.all()[0].trajectory])
    assert run(world).fusion == Fusion.objects.get(number=2)
    fresh = make_trajectory(world.project, n_steps=3)
    predict(fresh, [1, -1, 1], model="good")
    assert run(world).fusion == Fusion.objects.get(number=3)
    assert believed(world.project) == {(t.pk, 3) for t in [*made, fresh]}
    assert Fusion.objects.get(number=3).n_trajectories == 35


def test_strategies_that_ask_for_no_beliefs_do_not_fuse(world: World) -> None:
    project_with_judges(world, n=40, n_gold=26)
    assert not run(world, shares={"oldest": 50, "random": 50}, n_wanted=5).job.result["is_fused"]
    assert not Fusion.objects.exists()


def test_disputes_are_weighed_by_what_the_round_has_learnt(world: World) -> None:
    made = project_with_judges(world, n=40, n_gold=26)
    judge(made[30], world.annotator, [1, 1, 1])
    judge(made[30], world.second, [1, -1, 1])
    before = Dispute.objects.get().worth
    assert run(world, shares=ONLY_ERRORS, n_wanted=5).job.result["is_fused"]
    after = Dispute.objects.get().worth
    weigh_all(world.project)
    assert after == Dispute.objects.get().worth != before


def test_a_round_and_a_fusion_never_run_beside_each_other(world: World) -> None:
    project_with_judges(world, n=40, n_gold=26)
    change_settings(world.project, {"selection_policy": {"n_wanted": 5}}, user=world.admin)
    job = actions.start(world.project, user=world.admin)
    with pytest.raises(JobConflict, match="A selection round of this project is under way, which fuses first"):
        fusing.start(world.project, user=world.admin)
    assert list(Job.objects.filter(kind__in=["fuse", "select"])) == [job]
    flow.run_job(job.pk)
    job = fusing.start(world.project, user=world.admin)
    with pytest.raises(JobConflict, match="a fusion of this project is under way"):
        actions.start(world.project, user=world.admin)
    change_settings(world.project, {"selection_policy": {"is_on": True}}, user=world.admin)
    settle(world, [pick.trajectory for pick in SelectionRound.objects.get().picks.all()])
    assert actions.start_due() == 0
    assert SelectionRound.objects.count() == 1
    flow.run_job(job.pk)
    assert actions.start_due() == 1


@pytest.mark.parametrize("kind", ["select", "fuse"])
def test_who_takes_over_from_a_dead_worker_goes_on_with_its_fusion(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = project_with_judges(world, n=40, n_gold=26)
    change_settings(world.project, {"selection_policy": {"shares": ONLY_ERRORS, "n_wanted": 5}}, user=world.admin)
    job = (actions if kind == "select" else fusing).start(world.project, user=world.admin)
    with monkeypatch.context() as patched:
        patched.setattr(fusing, "WRITTEN_AT_ONCE", 10)
        write, written = fusing._write, list[Any]()

        def dies(*args: Any) -> None:
            if written:
                raise SystemExit  # a worker that is killed handles nothing
            written.append(args[1])
            write(*args)

        patched.setattr(fusing, "_write", dies)
        with pytest.raises(SystemExit):
            flow.run_job(job.pk)
    assert believed(world.project) == {(t.pk, 1) for t in made[:10]}
    settle(world, made[26:28])  # people do not wait
    Job.objects.filter(pk=job.pk).update(status=Job.Status.QUEUED)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert job.status == Job.Status.DONE, job.error
    fusion = Fusion.objects.get()
    assert (fusion.job, fusion.n_trajectories) == (job, 26)
    assert believed(world.project) == {(t.pk, 1) for t in made}
    assert Posterior.objects.get(trajectory=made[27]).probs == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert fuse(world).n_trajectories == 28


def test_after_a_round_that_failed_the_page_says_that_none_starts_by_itself(world: World, client: Client) -> None:
    client.force_login(world.admin)
    make_trajectory(world.project)
    change_settings(world.project, {"selection_policy": {"is_on": True, "n_wanted": 5}}, user=world.admin)
    assert actions.start_due() == 1
    job = Job.objects.get()

    def says() -> str:
        text = client.get("/projects/demo/selection/").content.decode()
        return text.split("<dt>Starts</dt><dd>")[1].split("</dd>")[0]

    assert says() == "one is under way"
    Job.objects.filter(pk=job.pk).update(status=Job.Status.FAILED, finished_at=now())
    assert says() == (
        f'not by itself, because <a href="/jobs/{job.pk}/">the last one</a> failed: see why, then start one by hand'
    )
    assert actions.start_due() == 0
    run(world)
    assert says() == "by itself, when less than a fifth of the last one waits"


def test_a_fusion_that_was_cancelled_is_written_out_by_the_next_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project_with_judges(world, n=40, n_gold=26)
    change_settings(world.project, {"selection_policy": {"shares": ONLY_ERRORS, "n_wanted": 5}}, user=world.admin)
    job = actions.start(world.project, user=world.admin)
    with monkeypatch.context() as patched:
        patched.setattr(fusing, "WRITTEN_AT_ONCE", 10)
        write = fusing._write

        def is_cancelled_after(*args: Any) -> None:
            write(*args)
            jobs.cancel(job, user=world.admin)

        patched.setattr(fusing, "_write", is_cancelled_after)
        flow.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, SelectionRound.objects.get().is_open) == (Job.Status.CANCELLED, False)
    assert believed(world.project) == {(t.pk, 1) for t in made[:10]}
    assert run(world).fusion == Fusion.objects.get()  # the same: there was nothing new
    assert believed(world.project) == {(t.pk, 1) for t in made}
    assert not fusing.is_worth_it(world.project)


def test_the_page_says_whether_the_next_round_fuses_first(world: World, client: Client) -> None:
    client.force_login(world.admin)

    def says() -> str:
        text = client.get("/projects/demo/selection/").content.decode()
        return " ".join(text.split("<dt>What is believed</dt><dd>")[1].split("</dd>")[0].split())

    made = project_with_judges(world, n=40, n_gold=24)
    assert says() == "nothing yet: the round draws at random"
    fuse(world)
    assert says().endswith("UTC, which has not proved itself on gold: the round draws at random")
    settle(world, made[24:27])
    assert says() == (
        'there is more to learn from than <a href="/projects/demo/beliefs/">fusion 1</a> knew: the round fuses first'
    )
    run(world, n_wanted=5)
    assert says().startswith('<a href="/projects/demo/beliefs/">fusion 2</a>, ')
    assert says().endswith(" UTC")
    change_settings(world.project, {"selection_policy": {"shares": {"random": 100}}}, user=world.admin)
    assert says() == "these strategies do not ask"


def test_gold_of_which_no_model_has_spoken_is_nothing_to_learn_from(world: World) -> None:
    project_with_judges(world, n=40, n_gold=26)
    fuse(world)
    settle(world, [make_trajectory(world.project)])
    assert not fusing.is_worth_it(world.project)


def test_what_is_settled_while_a_fusion_learns_is_for_the_next_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project_with_judges(world, n=40, n_gold=26)
    plain = fit_module.fit

    def slow(*args: Any) -> Any:
        settle(world, made[26:27])
        return plain(*args)

    monkeypatch.setattr(fit_module, "fit", slow)
    fuse(world)
    monkeypatch.undo()
    assert Fusion.objects.get().n_trajectories == 26
    assert fusing.is_worth_it(world.project)
    assert run(world, n_wanted=5).fusion == Fusion.objects.get(number=2)
    assert Fusion.objects.get(number=2).n_trajectories == 27
    assert not fusing.is_worth_it(world.project)
