"""The fusion of a project: what is learnt, what is written, and that no label gets lost on the way."""

import re
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

from annotator import flow, jobs
from annotator.adjudication.actions import DecisionIn
from annotator.errors import InvalidInput, JobConflict
from annotator.fusion import actions, reading
from annotator.fusion.fit import Fusion as Fitted
from annotator.fusion.panel import MISSING
from annotator.fusion.views import METHODS
from annotator.labelling import actions as labelling
from annotator.models import (
    Assignment,
    Dispute,
    Fusion,
    GoldLabel,
    Job,
    Label,
    ModelVersion,
    Posterior,
    Release,
    Trajectory,
)
from annotator.prelabelling.learning_policy import is_held_out
from annotator.queue import actions as queue
from annotator.raters.actions import compare_models, unfair
from annotator.raters.actions import fit as calibrate
from annotator.raters.blind import keep_reading
from tests.factories import (
    World,
    judge,
    label,
    make_acceptance,
    make_round,
    make_trajectories,
    make_trajectory,
    make_world,
    predict,
    predict_all,
    settle_all,
)

pytestmark = pytest.mark.django_db


def project_with_judges(
    world: World, n: int = 30, n_gold: int = 0, source_of: Callable[[int], str] = lambda i: ""
) -> list[Trajectory]:
    """Two judges: `good` is nearly always right, `poor` says +1 of everything. The truth is +1, −1, +1."""
    fields = [{"group_key": f"task {i % 10}", "metadata": {"data_source": source_of(i)}} for i in range(n)]
    trajectories = make_trajectories(world.project, fields)
    predict_all({t: [1, -1, 1] if i % 10 else [1, 1, 1] for i, t in enumerate(trajectories)}, model="good")
    predict_all({t: [1, 1, 1] for t in trajectories}, model="poor")
    if n_gold:
        settle_all({trajectory: [1, -1, 1] for trajectory in trajectories[:n_gold]}, [world.annotator, world.second])
    return trajectories


def fuse(world: World) -> Fusion:
    job = actions.start(world.project, user=world.admin)
    flow.run_job(job.pk)
    job.refresh_from_db()
    assert job.status == Job.Status.DONE, job.error
    assert job.n_done == job.n_total == Posterior.objects.filter(project=world.project).count()
    return Fusion.objects.latest("number")


def test_without_gold_the_majority_is_written_down(world: World) -> None:
    project_with_judges(world, n=3)
    fusion = fuse(world)
    assert (fusion.number, fusion.method, fusion.n_trajectories) == (1, "majority", 0)
    assert [str(version) for version in fusion.versions.order_by("name")] == ["good v1", "poor v1"]
    posterior = Posterior.objects.latest("trajectory")
    assert posterior.probs == posterior.evidence
    # Both said +1 of the ends; of the middle one said −1 and the other +1, each with 0.8.
    assert np.array(posterior.probs) == pytest.approx(
        np.array([[0.1, 0.1, 0.8], [0.45, 0.1, 0.45], [0.1, 0.1, 0.8]]), abs=1e-6
    )
    assert sum(posterior.first_error) == pytest.approx(1)
    assert posterior.expected_errors == pytest.approx(sum(1 - max(row) for row in posterior.probs))


def test_with_gold_the_good_judge_is_believed_and_settled_steps_are_certain(world: World) -> None:
    trajectories = project_with_judges(world, n=40, n_gold=30)
    fusion = fuse(world)
    assert (fusion.n_trajectories, fusion.n_steps, fusion.method) == (30, 90, "stacker")
    # Of the 90 steps `good` errs on 3, `poor` on every middle one, 30.
    assert {name: round(score["step_acc"], 3) for name, score in fusion.report["scores"].items()} == {
        **dict.fromkeys(("majority", "best_single", "chain", "stacker", "blend"), 0.967),
        **dict.fromkeys(("dawid_skene", "chain_dawid_skene"), 0.667),
    }
    settled = Posterior.objects.get(trajectory=trajectories[0])
    assert settled.probs == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert settled.expected_errors == 0
    assert settled.first_error[1] == pytest.approx(1)
    unsettled = Posterior.objects.get(trajectory=trajectories[35])
    assert np.argmax(unsettled.probs, axis=1).tolist() == [2, 0, 2]
    assert unsettled.expected_errors == pytest.approx(0.032, abs=0.01)


def test_what_is_half_settled_is_learnt_from_once_it_is_decided(world: World, client: Client) -> None:
    first, second, half = project_with_judges(world, n=3, n_gold=2)
    make_round(world.project, {first: None, second: 0.5, half: None})
    judge(half, world.annotator, [1, -1, 1])
    judge(half, world.second, [1, 1, 1])
    fusion = fuse(world)
    assert (fusion.n_trajectories, fusion.n_steps, fusion.report["n_chosen"]) == (2, 6, 1)
    assert [Posterior.objects.get(trajectory=half).probs[step] for step in (0, 2)] == [[0, 0, 1]] * 2  # certain there
    assert actions.n_settled_since(world.project, fusion) == 0
    client.force_login(world.admin)
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert "1 trajectory is half settled" in text
    assert "<strong>1 of the 2 trajectories</strong> was chosen by a strategy" in text
    assert client.get("/api/v1/projects/demo/fusion/").json()["n_chosen"] == 1
    flow.decide(Dispute.objects.get(), world.reviewer, DecisionIn(value=None, reason_code="no_evidence"))
    assert actions.n_settled_since(world.project, fusion) == 1
    again = fuse(world)
    assert (again.n_trajectories, again.n_steps) == (3, 8)


def test_the_same_data_make_no_second_fusion(world: World) -> None:
    trajectories = project_with_judges(world, n=3)
    first = fuse(world)
    Posterior.objects.filter(trajectory=trajectories[0]).delete()
    assert fuse(world) == first
    assert Posterior.objects.count() == 3
    predict(make_trajectory(world.project), [1, 1, 1], model="good")
    assert fuse(world).number == 2


def test_what_another_method_has_learnt_is_learnt_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project_with_judges(world, n=3)
    with monkeypatch.context() as before:
        before.setattr(actions, "_METHOD", 1)
        first = fuse(world)
    again = fuse(world)
    assert (first.number, again.number) == (1, 2)
    assert first.code_version.endswith("+1")
    assert again.code_version != first.code_version


def test_a_label_and_a_decision_change_what_is_believed_at_once(world: World) -> None:
    trajectories = project_with_judges(world, n=3)
    fuse(world)
    chosen, other = trajectories[1], trajectories[2]
    before = Posterior.objects.get(trajectory=chosen).probs
    beside = Posterior.objects.get(trajectory=other)
    judge(chosen, world.annotator, [1, 1, 1])
    after = Posterior.objects.get(trajectory=chosen).probs
    assert after[1][2] > before[1][2] + 0.2
    judge(chosen, world.second, [1, -1, 1])
    dispute = Dispute.objects.get(trajectory=chosen)
    flow.decide(dispute, world.reviewer, DecisionIn(value=-1, reason_code="misread"))
    decided = Posterior.objects.get(trajectory=chosen)
    assert decided.probs[1] == [1, 0, 0]
    assert Posterior.objects.get(trajectory=other).updated_at == beside.updated_at


@pytest.mark.parametrize(("policy", "n"), [({}, 3), ({"hinted": 100, "model": "good"}, 0)])
def test_a_label_given_after_a_hint_is_no_evidence_of_its_own(policy: dict[str, Any], n: int) -> None:
    world = make_world(hint_policy=policy)
    chosen = project_with_judges(world, n=1)[0]
    judge(chosen, world.annotator, [1, 1, 1])
    assert Label.objects.filter(step__isnull=False, is_after_hint=n == 0).count() == 3
    assert len(reading.labels_of({chosen.pk: 0}, np.array([0, 3]))) == n


def test_of_a_judgement_with_a_reveal_the_labels_before_it_are_evidence() -> None:
    world = make_world(hint_policy={"reveal_after": 100, "model": "good"}, overlap=1, max_overlap=1)
    chosen = project_with_judges(world, n=2)[1]
    fuse(world)
    slot = Assignment.objects.get(trajectory=chosen)
    label(slot, world.annotator, {0: 1, 1: 1, 2: -1}, 1)
    labelling.show_hints(slot.pk, world.annotator)
    label(slot, world.annotator, {1: -1})
    flow.submit(slot.pk, world.annotator)
    found = reading.labels_of({chosen.pk: 0}, np.array([0, 3]))
    assert sorted(found) == [(step, world.annotator.pk, value) for step, value in enumerate([1, 1, -1])]


def test_in_the_hinted_arm_no_label_is_evidence_also_where_the_model_was_silent() -> None:
    world = make_world(hint_policy={"hinted": 100, "model": "judge"}, overlap=1, max_overlap=1)
    chosen = make_trajectory(world.project, n_steps=3, enqueue=False)
    predict(chosen, [-1, -1, None])
    queue.enqueue(world.project)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    label(slot, world.annotator, {0: -1, 1: -1, 2: -1}, 1)
    flow.submit(slot.pk, world.annotator)
    assert Label.objects.get(step__index=2, value=-1).hint_value is None
    assert reading.labels_of({chosen.pk: 0}, np.array([0, 3])) == []


def test_who_errs_is_weighed_as_such_before_a_reviewer_has_decided_anything(world: World) -> None:
    trajectories = project_with_judges(world, n=60, n_gold=30)
    for trajectory in trajectories[30:50]:
        judge(trajectory, world.annotator, [1, -1, 1])
        judge(trajectory, world.second, [1, 1, 1])
    # All that is gold so far is what the two agree on; there neither has ever been wrong.
    assert not GoldLabel.objects.filter(provenance="adjudicated").exists()
    own = fuse(world).refresh["own"]
    careful, careless = np.array(own[str(world.annotator.pk)]), np.array(own[str(world.second.pk)])
    # How often each says +1 where −1, and where +1, is right.
    assert (careful[0, 2], careless[0, 2]) == pytest.approx((0.047, 0.332), abs=0.01)
    assert (careful[2, 2], careless[2, 2]) == pytest.approx((0.999, 0.999), abs=0.001)


def test_what_a_reviewer_decided_is_no_measure_of_the_reviewer(world: World) -> None:
    project_with_judges(world, n_gold=30)
    for _ in range(5):
        trajectory = make_trajectory(world.project, n_steps=1)
        predict(trajectory, [1], model="good")
        judge(trajectory, world.second, [1])
        judge(trajectory, world.reviewer, [-1])
        flow.decide(
            Dispute.objects.get(trajectory=trajectory), world.reviewer, DecisionIn(value=-1, reason_code="slip")
        )
    own = fuse(world).refresh["own"]
    assert str(world.reviewer.pk) not in own
    assert np.array(own[str(world.second.pk)])[0, 2] > 0.1  # said +1 where -1 was decided


def test_what_was_said_after_reading_the_models_is_no_evidence_of_its_own(world: World) -> None:
    chosen = project_with_judges(world, n=1)[0]
    judge(chosen, world.annotator, [1, 1, 1])
    keep_reading(world.project, [chosen], world.second)
    judge(chosen, world.second, [1, -1, 1])
    found = reading.labels_of({chosen.pk: 0}, np.array([0, 3]))
    assert sorted(found) == [(step, world.annotator.pk, 1) for step in range(3)]


def test_what_cannot_be_fused_is_refused_and_changes_nothing(world: World) -> None:
    make_trajectory(world.project)
    with pytest.raises(InvalidInput, match="no model has given a value to any step yet"):
        actions.start(world.project, user=world.admin)
    assert not Job.objects.filter(kind="fuse").exists()
    project_with_judges(world, n=1)
    actions.start(world.project, user=world.admin)
    with pytest.raises(JobConflict, match="under way"):
        actions.start(world.project, user=world.admin)
    assert Job.objects.filter(kind="fuse").count() == 1


def test_beliefs_tells_whoever_reads_it_when_a_fusion_has_ended(world: World, client: Client) -> None:
    """Nothing else on the page changes by itself: somebody reads it."""
    project_with_judges(world, n=1)
    job = actions.start(world.project, user=world.admin)
    client.force_login(world.reviewer)
    url = "/projects/demo/beliefs/"
    text = client.get(url).content.decode()
    assert f'<p id="fusing" class="notice" hx-get="{url}" hx-trigger="every 5s" hx-select="#fusing"' in text
    assert "A fusion is under way.</p>" in text
    jobs.start(job.pk)
    jobs.finish(job, Job.Status.DONE)
    text = client.get(url, headers={"HX-Request": "true"}).content.decode()
    assert f'<p id="fusing" class="notice">The fusion has ended. <a href="{url}">Show what is believed now</a>' in text
    assert "hx-get" not in text
    assert 'id="fusing"' not in client.get(url).content.decode()


def test_labels_of_models_are_no_gold(world: World) -> None:
    trajectory = project_with_judges(world, n=1)[0]
    place, starts = {trajectory.pk: 0}, np.array([0, 3])
    judge(trajectory, world.annotator, [1, 1, 1])
    judge(trajectory, world.second, [1, 1, 1])
    assert reading.gold_of(place, starts).tolist() == [1, 1, 1]
    promise = make_acceptance(world.project)
    GoldLabel.objects.filter(trajectory=trajectory, step__index=1).update(provenance="certified", acceptance=promise)
    assert reading.gold_of(place, starts).tolist() == [1, MISSING, 1]
    GoldLabel.objects.filter(trajectory=trajectory, step__index=2).update(provenance="adjudicated")
    assert reading.gold_of(place, starts, decided_only=True).tolist() == [MISSING, MISSING, 1]


@pytest.mark.django_db(transaction=True)
def test_a_label_that_arrives_while_beliefs_are_written_is_not_lost(world: World) -> None:
    """The submission has taken the trajectory's row but has not committed when the fusion comes to it."""
    chosen = project_with_judges(world, n=1)[0]
    slot = Assignment.objects.filter(trajectory=chosen).order_by("id").first()
    assert slot is not None
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, 1)
    job = actions.start(world.project, user=world.admin)

    def fuse_beside() -> None:
        try:
            flow.run_job(job.pk)
        finally:
            connection.close()

    with transaction.atomic():
        flow.submit(slot.pk, world.annotator)
        beside = threading.Thread(target=fuse_beside)
        beside.start()
        beside.join(1.5)
        assert beside.is_alive(), "the fusion has not waited for the row"
    beside.join(20)
    job.refresh_from_db()
    assert job.status == Job.Status.DONE, job.error
    posterior = Posterior.objects.get(trajectory=chosen)
    # The majority is undecided about the second step; the person is not.
    assert posterior.probs[1] != posterior.evidence[1]


def test_the_page_says_what_is_believed_and_why(world: World, client: Client) -> None:
    client.force_login(world.admin)
    assert "Nothing has been fused yet" in client.get("/projects/demo/beliefs/").content.decode()
    trajectories = project_with_judges(world, n=40, n_gold=30)
    fusion = fuse(world)
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert fusion.reason.replace("'", "&#x27;") in text
    methods = re.findall(
        r'<th scope="row">([^<]+)', text.split("Method, on tasks it had not seen")[1].split("</table>")[0]
    )
    assert [method.strip() for method in methods] == list(METHODS.values())
    assert text.count('<rect class="bar"') == 10
    low, high = fusion.report["intervals"][fusion.method]
    assert f"{100 * low:.1f} % to {100 * high:.1f} %" in text
    assert text.count('<circle class="dot"') == sum(one["n"] > 0 for one in fusion.report["reliability"]) > 0
    assert trajectories[35].external_id in text
    step = client.get(f"/projects/demo/trajectories/{trajectories[35].pk}/models/").content.decode()
    assert step.count("all raters together") == 3


def test_the_page_says_who_has_spoken_since(world: World, client: Client) -> None:
    client.force_login(world.admin)
    trajectories = project_with_judges(world, n=40, n_gold=26)
    fuse(world)
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert "spoken since" not in text
    assert "No rules have been heard." in text
    assert '<button class="btn">Fuse again' in text
    predict(trajectories[0], [1, 1, 1], model="late & <new>")
    predict(make_trajectory(world.project), [1, 1, 1], model="good")
    predict(trajectories[0], [None] * 3, model="rules", kind=ModelVersion.Kind.RULES)
    assert actions.is_worth_it(world.project)
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert "good v1, late &amp; &lt;new&gt; v1, rules v1 have spoken since." in text
    assert '<button class="btn primary">Fuse again' in text
    fuse(world)
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert " v1, and what rules v1 found." in text
    assert "spoken since" not in text
    assert "No rules" not in text
    assert not actions.is_worth_it(world.project)


def test_a_source_of_which_there_is_hardly_any_gold_is_named(world: World, client: Client) -> None:
    client.force_login(world.admin)
    trajectories = project_with_judges(world, 40, 31, source_of=lambda i: "shop <b>" if i < 30 else "bank")
    sources = [
        {"name": "shop <b>", "n_trajectories": 30, "n_gold": 30},
        {"name": "bank", "n_trajectories": 10, "n_gold": 1},
    ]
    assert fuse(world).report["sources"] == sources
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert "<strong>bank</strong>: 1 of 10 trajectories settled" in text
    assert "shop" not in text  # 30 are enough
    assert client.get("/api/v1/projects/demo/fusion/").json()["sources"] == sources
    for trajectory in trajectories[31:]:
        for person in (world.annotator, world.second):
            judge(trajectory, person, [1, -1, 1])
    assert fuse(world).report["sources"][1] == {"name": "bank", "n_trajectories": 10, "n_gold": 10}
    assert "bank" not in client.get("/projects/demo/beliefs/").content.decode()  # there are no more than these ten


@pytest.mark.parametrize("release", [1, None])
def test_a_scorer_is_not_heard_where_it_may_have_learnt(world: World, release: int | None) -> None:
    tasks = [f"task {number}" for number in range(40)]
    held_out = next(task for task in tasks if is_held_out(task))
    learnt_from = next(task for task in tasks if not is_held_out(task))
    made = [make_trajectory(world.project, group_key=task) for task in (learnt_from, held_out, learnt_from)]
    for trajectory in made[:2]:
        judge(trajectory, world.annotator, [1, -1, 1])
    # The third is in the release by accepted labels alone: no person had judged it.
    published = Release.objects.create(project=world.project, number=1, policy={})
    published.rows.create(trajectory=made[2], split="train", record={})
    version = ModelVersion.objects.create(
        project=world.project, kind="scorer", name="own", number=1, config={"release": release}, config_sha256="x"
    )
    made.append(make_trajectory(world.project, group_key=learnt_from))
    for trajectory in made:
        predict(trajectory, [1, -1, 1], model="own")
        predict(trajectory, [1, 1, 1], model="other")
    for trajectory in made[2:]:
        judge(trajectory, world.annotator, [1, -1, 1])  # only now
    for trajectory in made:
        judge(trajectory, world.second, [1, -1, 1])
    found = reading.read(world.project)
    assert [str(one) for one in found.versions] == ["other v1", "own v1"]
    fair = [False, release is None, release is None, True]
    assert (~np.isnan(found.panel.probs[:, 1, 0])).reshape(4, 3).all(axis=1).tolist() == fair
    assert not np.isnan(found.panel.probs[:, 0]).any()
    assert "why -1" in found.panel.texts[10]
    assert ("why -1" in found.panel.texts[1]) is False
    assert unfair([version], "gold") == [{one.pk for one, is_fair in zip(made, fair, strict=True) if not is_fair}]
    report = compare_models(world.project, "gold")[1]["own v1"].overall
    assert (report.n_trajectories, report.step_acc.value) == (sum(fair), 1.0)  # what is left out is no abstention
    with pytest.raises(InvalidInput, match=f"{sum(fair)} "):
        calibrate(version, "gold", user=None)


def test_a_model_is_not_learnt_from_gold_that_people_gave_in_its_sight(client: Client) -> None:
    world = make_world(hint_policy={"hinted": 100, "model": "good"}, overlap=1, max_overlap=1)
    made = project_with_judges(world, n=30)
    for trajectory in made[:28]:
        judge(trajectory, world.annotator, [1, -1, 1])
    panel = reading.read(world.project).panel
    assert panel.seen is not None
    assert panel.seen[:, 0].tolist() == [True] * 28 + [False] * 2
    assert not panel.seen[:, 1].any()
    assert not np.isnan(panel.probs).any()  # it is heard everywhere all the same
    fusion = fuse(world)
    assert fusion.n_trajectories == 28  # of the other model
    assert fusion.report["scores"]["best_single"]["step_acc"] == pytest.approx(2 / 3)  # not that of `good`
    client.force_login(world.admin)
    sentence = "On 28 settled trajectories a model whose word people had in sight was left out."
    assert sentence in client.get("/projects/demo/beliefs/").content.decode()


def test_where_all_gold_was_given_in_sight_of_the_only_model_there_is_nothing_to_learn(client: Client) -> None:
    world = make_world(hint_policy={"hinted": 100, "model": "judge"}, overlap=1, max_overlap=1)
    for number in range(30):
        predict(make_trajectory(world.project, group_key=f"task {number}"), [1, 1, 1])
    for trajectory in Trajectory.objects.all():
        judge(trajectory, world.annotator, [1, 1, 1])
    fusion = fuse(world)
    assert (fusion.method, fusion.n_trajectories) == ("majority", 0)
    client.force_login(world.admin)
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert "on all 30 trajectories that they settled" in text
    assert "Have 25 trajectories of at least 5 tasks settled by people who judge blind" in text
    compared = compare_models(world.project, "gold")[1]["judge v1"].overall
    assert (compared.n_trajectories, compared.step_acc.value) == (0, None)
    with pytest.raises(InvalidInput, match=r"^0 trajectories have gold"):
        calibrate(ModelVersion.objects.get(), "gold", user=None)
    text = client.get("/projects/demo/raters/").content.decode()
    assert "30 of 30 trajectories do not count here: people judged them with its word in sight." in text
    assert "needs 25 trajectories" in text


def test_a_length_counts_among_those_of_its_source_but_a_promise_looks_at_the_length_alone(world: World) -> None:
    def hear_of(n_steps: int, source: str) -> None:
        trajectory = make_trajectory(world.project, n_steps=n_steps, metadata={"data_source": source})
        predict(trajectory, [1] * n_steps, model="good")

    def lengths(*, as_said: bool = False) -> list[float]:
        return [round(one, 3) for one in reading.read(world.project, as_said=as_said).panel.relative_length]

    for n_steps, source in ((2, "qa"), (4, "qa"), (4, "shop"), (9, "shop")):
        hear_of(n_steps, source)
    assert lengths() == [0.25, 0.75, 0.25, 0.75]
    assert lengths(as_said=True) == [0.667, 0.8, 0.8, 0.9]
    hear_of(6, "qa")
    assert lengths() == [0.167, 0.5, 0.25, 0.75, 0.833]
    assert lengths(as_said=True) == [0.667, 0.8, 0.8, 0.9, 0.857]  # an import moves none


def test_of_many_such_sources_the_largest_are_named(world: World, client: Client) -> None:
    client.force_login(world.admin)
    project_with_judges(world, 44, 30, source_of=lambda i: "shop" if i < 30 else f"source {min(i - 30, 12)}")
    fuse(world)
    text = client.get("/projects/demo/beliefs/").content.decode()
    assert text.count("trajectories settled</li>") == 5
    assert "<strong>source 12</strong>: 0 of 2 trajectories settled" in text
    assert "and 8 smaller ones" in text


def test_where_all_come_from_one_source_none_is_named(world: World, client: Client) -> None:
    client.force_login(world.admin)
    project_with_judges(world, 40, 26, source_of=lambda i: "shop")
    fusion = fuse(world)
    assert fusion.report["sources"] == [{"name": "shop", "n_trajectories": 40, "n_gold": 26}]
    assert "People have settled little" not in client.get("/projects/demo/beliefs/").content.decode()


def test_gold_of_single_steps_alone_is_enough_though_no_first_error_is_known(world: World, client: Client) -> None:
    trajectories = project_with_judges(world, n=40, n_gold=30)
    GoldLabel.objects.filter(trajectory__in=trajectories, step__index=0).delete()
    fusion = fuse(world)
    assert {score["first_err_acc"] for score in fusion.report["scores"].values()} == {None}
    client.force_login(world.admin)
    assert client.get("/projects/demo/beliefs/").status_code == 200
    scores = client.get("/api/v1/projects/demo/fusion/").json()["scores"]
    assert scores[fusion.method]["first_err_acc"] is None


@pytest.mark.parametrize(
    ("who", "page", "start"),
    [("annotator", 403, 403), ("reviewer", 200, 403), ("admin", 200, 302), ("outsider", 404, 404)],
)
def test_who_may_see_and_start_it(world: World, client: Client, who: str, page: int, start: int) -> None:
    project_with_judges(world, n=1)
    fuse(world)
    client.force_login(world.outsider if who == "outsider" else world.user(who))
    assert client.get("/projects/demo/beliefs/").status_code == page
    for path in ("fusion", "posteriors"):
        assert client.get(f"/api/v1/projects/demo/{path}/").status_code == page
    predict(make_trajectory(world.project), [1, 1, 1], model="good")
    n = Job.objects.count()
    assert client.post("/projects/demo/beliefs/").status_code == start
    assert Job.objects.count() == n + (start == 302)


def test_the_api_says_the_same(world: World, client: Client) -> None:
    client.force_login(world.admin)
    assert client.get("/api/v1/projects/demo/fusion/").status_code == 404
    trajectories = project_with_judges(world, n=40, n_gold=30)
    fusion = fuse(world)
    found = client.get("/api/v1/projects/demo/fusion/").json()
    assert (found["number"], found["method"], found["raters"]) == (1, fusion.method, ["good v1", "poor v1"])
    assert set(found["scores"]) == set(fusion.report["scores"])
    assert found["scores"][fusion.method]["step_acc_interval"] == fusion.report["intervals"][fusion.method]
    rows = client.get("/api/v1/projects/demo/posteriors/").json()
    assert rows["count"] == 40
    first = rows["results"][0]
    assert first["expected_errors"] == max(row["expected_errors"] for row in rows["results"])
    stored = Posterior.objects.get(trajectory=first["trajectory"])
    assert (first["probs"], first["first_error"]) == (stored.probs, stored.first_error)
    assert trajectories[0].external_id not in [row["external_id"] for row in rows["results"][:5]]


@pytest.mark.django_db(transaction=True)
def test_the_command_starts_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    project_with_judges(world, n=1)
    call_command("fuse", "demo", "--no-wait")
    job = Job.objects.latest("id")
    assert (job.kind, job.status) == ("fuse", "queued")
    assert capsys.readouterr().out == f"Started as job {job.pk}.\n"


def test_evidence_about_what_was_learnt_from_is_of_a_fit_that_has_not(world: World) -> None:
    made = project_with_judges(world, n=40, n_gold=30)
    fuse(world)
    fitted = Fitted.from_bytes(bytes(Fusion.objects.get().parameters))
    assert sorted(fitted.held_ids.tolist()) == sorted(t.pk for t in made[:30])
    evidence = dict(Posterior.objects.values_list("trajectory", "evidence"))
    for pk, (a, b) in zip(fitted.held_ids.tolist(), pairwise(fitted.held_starts), strict=True):
        assert np.array(evidence[pk]) == pytest.approx(fitted.held_probs[a:b])
    # Also when nothing is learnt anew.
    fuse(world)
    assert dict(Posterior.objects.values_list("trajectory", "evidence")) == evidence
