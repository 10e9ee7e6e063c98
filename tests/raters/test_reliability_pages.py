"""Reliability through the database: what counts and what must not, the page, the steps behind a figure, the API."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator import flow, jobs
from annotator.adjudication.actions import DecisionIn
from annotator.labelling import actions as labelling
from annotator.labelling import revisions
from annotator.models import (
    Annotation,
    Dispute,
    Fusion,
    GoldLabel,
    Job,
    Label,
    ModelVersion,
    Posterior,
    Project,
    Trajectory,
    User,
)
from annotator.queue import actions as queue
from annotator.raters.reliability_reading import Against, Rater, read, report
from tests.factories import World, judge, label, make_acceptance, make_member, make_trajectory, make_world, predict

pytestmark = pytest.mark.django_db

# Trajectory, step, what was said, what it is held against.
Row = tuple[int, int, int, tuple[float, ...]]


def compared(project: Project, against: Against = "gold") -> dict[str, list[Row]]:
    """By rater, all that counts."""
    found = read(project, against)
    said = found.said
    rows: dict[str, list[Row]] = {rater.name: [] for rater in found.raters}
    for rater, trajectory, step, value, truth in zip(
        said.rater, said.trajectory, said.step, said.value, said.truth, strict=True
    ):
        row = (int(trajectory), int(step), int(value), tuple(round(float(p), 6) for p in truth))
        rows[found.raters[int(rater)].name].append(row)
    return {name: sorted(mine) for name, mine in rows.items()}


def raters(project: Project, against: Against = "gold") -> dict[str, Rater]:
    return {rater.name: rater for rater in read(project, against).raters}


MINUS, ZERO, PLUS = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
ANN, BOB = "demo-ann", "demo-bob"


def both(world: World, first: Sequence[int], second: Sequence[int]) -> Trajectory:
    trajectory = make_trajectory(world.project, n_steps=len(first))
    judge(trajectory, world.annotator, first)
    judge(trajectory, world.second, second)
    return trajectory


def decide(trajectory: Trajectory, step: int, value: int | None, reviewer: User) -> None:
    dispute = Dispute.objects.get(trajectory=trajectory, step__index=step)
    flow.decide(dispute, reviewer, DecisionIn(value=value, reason_code="misread"))


def believe(trajectory: Trajectory, fusion: Fusion, evidence: list[list[float]], probs: list[list[float]]) -> None:
    numbers = dict.fromkeys(("expected_errors", "mean_entropy", "first_error_entropy", "disagreement"), 0.5)
    n = len(probs)
    first_error = [0.5 / n] * n + [0.5]
    Posterior.objects.create(
        trajectory=trajectory,
        project_id=trajectory.project_id,
        fusion=fusion,
        evidence=evidence,
        probs=probs,
        first_error=first_error,
        **numbers,
    )


def make_fusion(project: Project, *versions: ModelVersion) -> Fusion:
    job = jobs.create(project, Job.Kind.FUSE, {}, unit="steps", n_total=None, user=None)
    fusion = Fusion.objects.create(
        project=project,
        job=job,
        number=1,
        method="chain",
        reason="It was best.",
        parameters=b"",
        refresh={},
        report={},
        n_trajectories=1,
        n_steps=1,
        data_sha256="0" * 64,
        code_version="test",
    )
    fusion.versions.set(versions)
    return fusion


# People.


def test_a_person_is_held_against_what_the_others_said(world: World) -> None:
    trajectory = both(world, [1, 0, -1], [1, 1, -1])
    pk = trajectory.pk
    assert compared(world.project) == {
        ANN: [(pk, 0, 1, PLUS), (pk, 1, 0, PLUS), (pk, 2, -1, MINUS)],
        BOB: [(pk, 0, 1, PLUS), (pk, 1, 1, ZERO), (pk, 2, -1, MINUS)],
    }


def test_what_a_reviewer_decided_goes_before_the_others_and_undecidable_counts_not(world: World) -> None:
    trajectory = both(world, [1, 0, -1], [1, 1, 1])
    decide(trajectory, 1, 0, world.reviewer)
    decide(trajectory, 2, None, world.reviewer)
    pk = trajectory.pk
    assert compared(world.project) == {
        ANN: [(pk, 0, 1, PLUS), (pk, 1, 0, ZERO)],
        BOB: [(pk, 0, 1, PLUS), (pk, 1, 1, ZERO)],
    }


def test_nobody_is_judged_by_their_own_decision(world: World) -> None:
    trajectory = both(world, [1, 0], [1, 1])
    decide(trajectory, 1, 0, world.annotator)  # who said so before
    pk = trajectory.pk
    assert compared(world.project) == {
        ANN: [(pk, 0, 1, PLUS), (pk, 1, 0, PLUS)],  # still against what the other one said
        BOB: [(pk, 0, 1, PLUS), (pk, 1, 1, ZERO)],
    }


def test_gold_that_ones_own_label_alone_decided_changes_nothing() -> None:
    world = make_world(overlap=1, max_overlap=2, required_agreement=1)
    alone = make_trajectory(world.project, n_steps=3)
    judge(alone, world.annotator, [1, 0, -1])
    assert set(GoldLabel.objects.filter(step__isnull=False).values_list("provenance", flat=True)) == {"unanimous"}
    assert compared(world.project) == {ANN: []}
    assert raters(world.project)[ANN].n_without == 3
    found = report(world.project, "gold")
    assert found.rows == []
    assert found.silent == [(ANN, ["3 labels on steps that nobody else has judged or decided."])]


def test_a_majority_that_ones_own_label_made_counts_as_the_divided_word_of_the_others() -> None:
    world = make_world(overlap=2, max_overlap=3, required_agreement=2)
    third = make_member(world.project, username="demo-cy")
    trajectory = both(world, [1], [0])
    judge(trajectory, third, [1])
    assert GoldLabel.objects.get(step__isnull=False).provenance == "majority"
    pk = trajectory.pk
    half = (0.0, 0.5, 0.5)
    assert compared(world.project) == {ANN: [(pk, 0, 1, half)], BOB: [(pk, 0, 0, PLUS)], "demo-cy": [(pk, 0, 1, half)]}


def test_drafts_and_earlier_revisions_count_nowhere(world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.second, [1])
    annotation = judge(trajectory, world.annotator, [-1])
    revisions.return_annotation(annotation.pk, world.reviewer, "Look again.")
    slot = annotation.assignment
    label(slot, world.annotator, {0: 1})
    assert compared(world.project)[ANN] == [(trajectory.pk, 0, -1, PLUS)]
    flow.submit(slot.pk, world.annotator)
    assert compared(world.project)[ANN] == [(trajectory.pk, 0, 1, PLUS)]


def hinted_world(arm: str) -> World:
    return make_world(hint_policy={arm: 100, "model": "judge"})


def test_labels_given_after_seeing_the_model_change_nothing() -> None:
    world = hinted_world("hinted")
    blind = both(world, [1, 0, -1], [1, 1, -1])  # the model has said nothing of it
    before = compared(world.project)
    figures = {row.name: asdict(row.report) for row in report(world.project, "gold").rows}
    hinted = make_trajectory(world.project, n_steps=3, enqueue=False)
    predict(hinted, [-1, -1, None])
    queue.enqueue(world.project)
    for person in (world.annotator, world.second):
        slot = queue.claim_next(world.project, person)
        assert slot is not None
        assert (slot.trajectory_id, slot.hint_arm) == (hinted.pk, "hinted")
        label(slot, person, {0: -1, 1: -1, 2: 0}, outcome=1)
        flow.submit(slot.pk, person)
    # Step 3 as well: the model says nothing of it, but what it says of the others was in sight.
    assert Label.objects.get(annotation__annotator=world.second, step__index=2, value=0).hint_value is None
    after = compared(world.project)
    assert {name: after[name] for name in before} == before
    assert {row[0] for rows in after.values() for row in rows} == {blind.pk}
    assert {row.name: asdict(row.report) for row in report(world.project, "gold").rows} == figures
    assert raters(world.project)[ANN].n_after_hints == 3
    (ann,) = (row for row in report(world.project, "gold").rows if row.name == ANN)
    assert ann.left_out == ["3 labels given with a model's word in sight."]


def test_of_a_judgement_with_a_reveal_what_stood_before_counts() -> None:
    world = hinted_world("reveal_after")
    trajectory = make_trajectory(world.project, n_steps=3, enqueue=False)
    predict(trajectory, [-1, -1, None])
    queue.enqueue(world.project)
    for person, own in ((world.annotator, [1, 0, 1]), (world.second, [1, 1, 1])):
        slot = queue.claim_next(world.project, person)
        assert slot is not None
        label(slot, person, {0: 0}, outcome=1)
        label(slot, person, dict(enumerate(own)))
        labelling.show_hints(slot.pk, person)
        label(slot, person, {0: -1, 1: -1, 2: -1})
        flow.submit(slot.pk, person)
    assert set(Label.objects.filter(step__isnull=False).values_list("value", flat=True)) == {-1}
    pk = trajectory.pk
    assert compared(world.project)[ANN] == [(pk, 0, 1, PLUS), (pk, 1, 0, PLUS), (pk, 2, 1, PLUS)]
    assert compared(world.project)[BOB] == [(pk, 0, 1, PLUS), (pk, 1, 1, ZERO), (pk, 2, 1, PLUS)]
    assert raters(world.project)[ANN].n_after_hints == 0


# Models.


def test_a_model_is_held_against_gold_and_what_it_abstains_from_does_not_count(world: World) -> None:
    trajectory = both(world, [1, 0, -1], [1, 0, 1])
    predict(trajectory, [1, None, -1])
    pk = trajectory.pk
    assert compared(world.project)["judge v1"] == []  # step 3 waits for a reviewer, and the others are the easy half
    assert raters(world.project)["judge v1"].n_without == 2
    decide(trajectory, 2, -1, world.reviewer)
    assert compared(world.project)["judge v1"] == [(pk, 0, 1, PLUS), (pk, 2, -1, MINUS)]


def test_accepted_labels_of_models_judge_nobody(world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    judge(trajectory, world.annotator, [1, -1])
    predict(trajectory, [1, -1])
    before = compared(world.project)
    acceptance = make_acceptance(world.project)
    for step, value in zip(trajectory.steps.order_by("index"), (1, -1), strict=True):
        GoldLabel.objects.create(
            trajectory=trajectory,
            step=step,
            value=value,
            provenance="certified",
            acceptance=acceptance,
            settled_at=now(),
        )
    assert compared(world.project) == before == {ANN: [], "judge v1": []}


def test_a_model_is_not_judged_by_people_who_had_seen_what_it_says_but_others_are() -> None:
    world = hinted_world("hinted")
    seen = make_trajectory(world.project, n_steps=2, enqueue=False)
    predict(seen, [-1, -1])
    predict(seen, [1, 1], model="other")
    queue.enqueue(world.project)
    judge_as_told(world, seen, [-1, -1])
    unseen = both(world, [1, 1], [1, 1])
    predict(unseen, [1, 1])
    assert GoldLabel.objects.filter(trajectory=seen, step__isnull=False).count() == 2
    assert {row[0] for row in compared(world.project)["judge v1"]} == {unseen.pk}
    assert {row[0] for row in compared(world.project)["other v1"]} == {seen.pk}
    assert raters(world.project)["judge v1"].n_shown == 1


def judge_as_told(world: World, trajectory: Trajectory, values: list[int]) -> None:
    for person in (world.annotator, world.second):
        slot = queue.claim_next(world.project, person)
        assert slot is not None
        assert slot.trajectory_id == trajectory.pk
        label(slot, person, dict(enumerate(values)), outcome=1)
        flow.submit(slot.pk, person)


def test_a_scorer_is_not_judged_by_what_it_may_have_learnt_from(world: World) -> None:
    learnt = both(world, [1, -1], [1, -1])
    version = ModelVersion.objects.create(
        project=world.project, kind="scorer", name="own", number=1, config_sha256="x", created_at=now()
    )
    later = both(world, [1, -1], [1, -1])
    for trajectory in (learnt, later):
        predict(trajectory, [1, -1], model="own")
    assert {row[0] for row in compared(world.project)["own v1"]} == {later.pk}
    assert raters(world.project)["own v1"].n_learnt == 1
    assert Annotation.objects.filter(submitted_at__lt=version.created_at - timedelta(hours=1)).count() == 0


# The posterior.


def test_people_are_held_against_what_the_models_alone_say_and_models_against_the_belief(world: World) -> None:
    trajectory = both(world, [1, -1], [1, -1])
    prediction = predict(trajectory, [1, -1])
    fusion = make_fusion(world.project, prediction.version)
    believe(trajectory, fusion, [[0.2, 0.1, 0.7], [0.1, 0.1, 0.8]], [[0.1, 0.1, 0.8], [0.9, 0.05, 0.05]])
    pk = trajectory.pk
    found = compared(world.project, "posterior")
    assert found[ANN] == [(pk, 0, 1, (0.2, 0.1, 0.7)), (pk, 1, -1, (0.1, 0.1, 0.8))]
    assert found["judge v1"] == [(pk, 0, 1, (0.1, 0.1, 0.8)), (pk, 1, -1, (0.9, 0.05, 0.05))]
    assert raters(world.project, "posterior")["judge v1"].hears_itself
    said = read(world.project, "posterior").said
    # First errors: P(step 1) = .25, P(step 2) = .25 of what is left, .75. Of people nothing is known.
    assert [round(float(h), 6) for h in said.hazard[-2:]] == [0.25, round(0.25 / 0.75, 6)]
    assert all(hazard != hazard for hazard in said.hazard[:-2])


def test_the_page_concludes_nothing_about_a_model_from_a_belief_that_it_made(world: World, client: Client) -> None:
    fusion: Fusion | None = None
    for trajectory in overuser(world):
        prediction = predict(trajectory, [0, 0, 0, 0], model="lazy")
        predict(trajectory, [0, 0, 0, 0], model="unheard")
        fusion = fusion or make_fusion(world.project, prediction.version)
        believe(trajectory, fusion, [[0.1, 0.2, 0.7]] * 4, [[0.1, 0.1, 0.8]] * 4)
    rows = {row.name: row for row in report(world.project, "posterior").rows}
    assert [verdict.short for verdict in rows["unheard v1"].verdicts] == ["overuses 0"]
    assert rows["lazy v1"].verdicts == []
    assert rows[ANN].accuracy.value == "57.5 %"  # three times .7 and once .2
    assert rows[ANN].reachable == "70.0 %"
    assert rows[ANN].missed.reason == "What the models alone say of each step does not say where errors begin."
    client.force_login(world.reviewer)
    text = client.get("/projects/demo/raters/reliability/?against=posterior").content.decode()
    assert "Nothing is concluded about lazy v1 here" in text
    steps = client.get(f"/projects/demo/raters/reliability/steps/?rater={rows[ANN].key}&against=posterior&show=wrong")
    assert "70.0 %" in steps.content.decode()


def test_without_a_belief_nothing_is_compared(world: World, client: Client) -> None:
    both(world, [1, -1], [1, -1])
    assert compared(world.project, "posterior") == {ANN: [], BOB: []}
    client.force_login(world.reviewer)
    text = client.get("/projects/demo/raters/reliability/?against=posterior").content.decode()
    assert "Nothing is believed about any step yet" in text
    assert "Left out: 2 labels on steps about which nothing is believed yet." in text


# The page.


def overuser(world: World, n: int = 24) -> list[Trajectory]:
    """One person gives 0 where the other and the reviewer say −1, on n tasks."""
    trajectories = [both(world, [1, 0, 1, 1], [1, -1, 1, 1]) for _ in range(n)]
    for trajectory in trajectories:
        decide(trajectory, 1, -1, world.reviewer)
        predict(trajectory, [1, -1, 1, 1])
    return trajectories


def test_the_page_says_it_in_words_and_its_figures_open_their_steps(
    world: World, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    first, *_ = overuser(world)
    client.force_login(world.reviewer)
    with django_assert_max_num_queries(19):
        text = client.get("/projects/demo/raters/reliability/").content.decode()
    assert "overuses 0: gives 0 to 25.0 % of the steps, where 0.0 % are 0: +25.0 points (+25.0 to +25.0)." in text
    assert "misses first errors: passes over 100.0 % (86.2 to 100.0) of them, and says +1 to 0.0 %." in text
    assert f'id="person-{world.annotator.pk}"' in text
    for show, n, value in (("said=0", 24, "0"), ("show=missed", 24, "0"), ("truth=-1&show=wrong", 24, "0")):
        address = f"/projects/demo/raters/reliability/steps/?rater=person-{world.annotator.pk}&{show}&against=gold"
        assert address.replace("&", "&amp;") in text
        steps = client.get(address).content.decode()
        assert f"demo-ann: {n} steps" in steps
        assert first.external_id in steps
        assert f'<span class="value neutral">{value}</span>' in steps
    nobody = client.get(f"/projects/demo/raters/reliability/steps/?rater=person-{world.second.pk}&show=wrong")
    assert "No step fits." in nobody.content.decode()
    assert client.get("/projects/demo/raters/reliability/steps/?rater=person-0").status_code == 404
    assert client.get("/projects/demo/raters/reliability/steps/").status_code == 404


@pytest.mark.parametrize(
    ("show", "figure", "n", "weight"),
    [
        ("show=wrong", "75.0 %", 6, "3.0"),
        ("truth=1&show=wrong", "66.7 %", 6, "3.0"),
        ("show=early", "50.0 %", 6, "3.0"),
    ],
)
def test_where_others_are_divided_a_figure_opens_all_that_adds_to_it_with_its_weight(
    client: Client, show: str, figure: str, n: int, weight: str
) -> None:
    """Who said −1 of each first step is half right: one of two others says so, the other +1."""
    world = make_world(overlap=3, max_overlap=3)
    third = make_member(world.project)
    for _ in range(6):
        trajectory = make_trajectory(world.project, n_steps=2)
        for person, values in ((world.annotator, [-1, 1]), (world.second, [1, 1]), (third, [-1, 1])):
            judge(trajectory, person, values)
    client.force_login(world.reviewer)
    text = client.get("/projects/demo/raters/reliability/").content.decode()
    query = f"?rater=person-{world.annotator.pk}&{show}&against=gold"
    links = re.findall(rf'<a href="[^"]*{re.escape(query.replace("&", "&amp;"))}"[^>]*>(.*?)</a>', text)
    assert any(figure in link for link in links)
    steps = client.get(f"/projects/demo/raters/reliability/steps/{query}").content.decode()
    assert f"demo-ann: {n} steps" in steps
    assert f"They weigh {weight} in all" in steps
    assert steps.count('<td class="num">50.0 %</td>') == n


def test_the_heaviest_steps_come_first_and_whole_ones_need_no_weight(client: Client) -> None:
    world = make_world(overlap=3, max_overlap=3)
    third = make_member(world.project)
    for divided in (True, False):
        trajectory = make_trajectory(world.project, n_steps=1)
        for person, value in ((world.annotator, -1), (world.second, 1), (third, -1 if divided else 1)):
            judge(trajectory, person, [value])
    client.force_login(world.reviewer)
    url = f"/projects/demo/raters/reliability/steps/?rater=person-{world.annotator.pk}&show=wrong"
    weights = re.findall(r'<td class="num">([^<]*)</td>', client.get(url).content.decode())
    assert weights == ["100.0 %", "50.0 %"]
    whole = client.get(url.replace(str(world.annotator.pk), str(third.pk)) + "&said=0").content.decode()
    assert "They weigh" not in whole


def test_the_table_is_sorted_by_links(world: World, client: Client) -> None:
    overuser(world, 3)
    client.force_login(world.reviewer)

    def order(query: str) -> list[str]:
        text = client.get(f"/projects/demo/raters/reliability/?{query}").content.decode()
        table = text[text.index("raters-title") :]
        names = (ANN, BOB, "judge v1")
        return sorted(names, key=lambda name: table.index(f">{name}</a>"))

    assert order("") == [ANN, BOB, "judge v1"]
    assert order("sort=-name") == ["judge v1", BOB, ANN]
    assert order("sort=accuracy")[0] == ANN
    assert order("sort=-accuracy")[-1] == ANN
    assert order("sort=nonsense") == [ANN, BOB, "judge v1"]


@pytest.mark.parametrize(
    ("_case", "who", "status"),
    [
        ("anonymous is sent to login", None, 302),
        ("outsiders learn nothing", "outsider", 404),
        ("annotators are told", "annotator", 403),
        ("reviewers may", "reviewer", 200),
        ("admins may", "admin", 200),
    ],
)
def test_who_sees_the_pages(world: World, client: Client, _case: str, who: str | None, status: int) -> None:
    both(world, [1, 0], [1, 1])
    if who:
        client.force_login(world.user(who))
    steps = f"/projects/demo/raters/reliability/steps/?rater=person-{world.annotator.pk}"
    for path in ("/projects/demo/raters/reliability/", steps):
        assert client.get(path).status_code == status


def test_an_empty_project_and_another_ones_people(world: World, client: Client) -> None:
    other = make_world("other")
    both(other, [1, 0], [1, 1])
    client.force_login(world.admin)
    text = client.get("/projects/demo/raters/reliability/").content.decode()
    assert "Nothing can be compared yet." in text
    assert "other-ann" not in text
    stranger = f"/projects/demo/raters/reliability/steps/?rater=person-{other.annotator.pk}"
    assert client.get(stranger).status_code == 404


def test_the_api_gives_the_same(world: World, client: Client) -> None:
    overuser(world)
    client.force_login(world.reviewer)
    answer: Any = client.get("/api/v1/projects/demo/reliability/").json()
    assert (answer["against"], answer["values"]) == ("gold", [-1, 0, 1])
    ann, bob, model = answer["raters"]
    assert (ann["name"], ann["kind"], ann["n_steps"], ann["n_tasks"]) == (ANN, "person", 96, 24)
    assert ann["accuracy"]["value"] == 0.75
    assert [figure["value"] for figure in ann["of_value"]] == [0.0, None, 1.0]
    assert ann["excess_zeros"]["value"] == 0.25
    assert (ann["drift"], ann["p"]) == ("too little to say", None)
    assert len(ann["verdicts"]) == 2
    assert ann["verdicts"][0].startswith("demo-ann overuses 0: gives 0 to 25.0 %")
    assert [block["last"] for block in ann["blocks"]] == [25, 50, 96]
    assert (bob["accuracy"]["value"], bob["verdicts"]) == (1.0, [])
    assert (model["name"], model["kind"], model["accuracy"]["value"]) == ("judge v1", "model", 1.0)
    assert client.get("/api/v1/projects/demo/reliability/?against=nobody").status_code == 400
