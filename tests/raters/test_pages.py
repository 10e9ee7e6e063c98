"""Models against gold, through the database: the page, the steps behind a cell, calibration, the API."""

import io
import json
from typing import Any

import numpy as np
import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from sklearn.metrics import accuracy_score, f1_score

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.errors import InvalidInput
from annotator.models import Calibration, Dispute, ModelVersion, Prediction, ReferenceLabel, Trajectory
from annotator.raters import actions, views
from tests.factories import World, judge, make_round, make_trajectories, make_trajectory, predict, settle_all

pytestmark = pytest.mark.django_db


def rated(world: World, said: dict[str, list[list[int | None]]]) -> list[Trajectory]:
    """Trajectories whose people agree on +1, 0, −1, and models that say what is given per trajectory."""
    trajectories = []
    for first in next(iter(said.values())):
        trajectory = make_trajectory(world.project, n_steps=len(first))
        for person in (world.annotator, world.second):
            judge(trajectory, person, [1, 0, -1][: len(first)], outcome=-1)
        trajectories.append(trajectory)
    for name, rows in said.items():
        lines = []
        for trajectory, values in zip(trajectories, rows, strict=True):
            indices = trajectory.steps.values_list("message_index", flat=True)
            labels = {str(i): v for i, v in zip(indices, values, strict=True) if v is not None}
            why = {"steps": dict.fromkeys(labels, f"{name} says so")}
            lines.append({"record_id": trajectory.external_id, "step_labels": labels, "explanations": why})
        file = io.BytesIO("\n".join(map(json.dumps, lines)).encode())
        flow.import_predictions_now(world.project, file, f"{name}.jsonl", model=name)
    return trajectories


GOOD: list[list[int | None]] = [[1, 0, -1], [1, 1, -1]]
POOR: list[list[int | None]] = [[1, 1, 1], [None, 1, 0]]


def test_the_figures_are_those_of_an_independent_computation(world: World) -> None:
    rated(world, {"good": GOOD, "poor": POOR})
    gold, compared, versions = actions.compare_models(world.project, "gold")
    assert [str(version) for version in versions] == ["good v1", "poor v1"]
    assert gold.n_steps == 6
    truth = [1, 0, -1] * 2
    said = [value for row in GOOD for value in row]
    report = compared["good v1"].overall
    assert report.step_acc.value == pytest.approx(accuracy_score(truth, said), abs=1e-9)
    assert report.macro_f1.value == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-9)
    assert compared["poor v1"].overall.step_acc.value == pytest.approx(1 / 6, abs=1e-9)
    assert compared["poor v1"].overall.coverage.value == pytest.approx(5 / 6, abs=1e-9)


def test_the_page_ranks_and_its_cells_open_their_steps(
    world: World, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    first, second = rated(world, {"good": GOOD, "poor": POOR})
    client.force_login(world.reviewer)
    with django_assert_max_num_queries(20):
        text = client.get("/projects/demo/raters/").content.decode()
    assert text.index(">good v1</a>") < text.index(">poor v1</a>")
    poor = ModelVersion.objects.get(name="poor")
    cell = f"/projects/demo/raters/steps/?version={poor.pk}&gold=-1&said=1&against=gold"
    assert cell.replace("&", "&amp;") in text
    text = client.get(cell).content.decode()
    assert "poor v1: 1 step" in text
    assert first.external_id in text
    assert second.external_id not in text
    assert "poor says so" in text
    nothing = client.get(f"/projects/demo/raters/steps/?version={poor.pk}&gold=1&said=none&against=gold")
    assert second.external_id in nothing.content.decode()


def test_what_is_half_settled_measures_nobody_until_it_is_decided(world: World, client: Client) -> None:
    rated(world, {"good": GOOD})
    half = make_trajectory(world.project)
    predict(half, [1, 1, 1], model="good")
    judge(half, world.annotator, [1, -1, 1])
    judge(half, world.second, [1, 1, 1])  # two steps are settled, and easy; the third is in dispute
    client.force_login(world.admin)

    def figures() -> tuple[int, int, Any, int]:
        answer = client.get("/api/v1/projects/demo/raters/").json()
        told = {
            row["name"]: row["n_steps"] for row in client.get("/api/v1/projects/demo/reliability/").json()["raters"]
        }
        (rater,) = answer["raters"]
        return answer["n_half"], answer["n_steps"], rater["overall"]["step_acc"]["value"], told["good v1"]

    assert figures() == (1, 6, pytest.approx(5 / 6), 6)
    for page in ("raters/", "raters/reliability/"):
        assert (
            "1 trajectory is half settled and does not count" in client.get(f"/projects/demo/{page}").content.decode()
        )
    decision = DecisionIn(value=-1, reason_code="misread")
    flow.decide(Dispute.objects.get(trajectory=half), world.reviewer, decision)
    assert figures() == (0, 9, pytest.approx(7 / 9), 9)
    assert "half settled" not in client.get("/projects/demo/raters/").content.decode()


def test_where_strategies_chose_the_pages_say_so_and_chance_alone_can_be_measured_by(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, drawn = rated(world, {"poor": POOR})
    make_round(world.project, {chosen: None, drawn: 0.5})
    client.force_login(world.admin)

    def figures(query: str) -> tuple[int, int, Any]:
        found = client.get(f"/api/v1/projects/demo/raters/?{query}").json()
        return found["n_trajectories"], found["n_chosen"], found["raters"][0]["overall"]["step_acc"]["value"]

    assert figures("") == (2, 1, pytest.approx(1 / 6))
    assert figures("only=random") == (1, 0, 0)
    assert client.get("/api/v1/projects/demo/raters/?only=chosen").status_code == 400
    caveat = "<strong>1 of the 2 trajectories</strong> was chosen by a strategy"
    for page in ("raters/", "raters/reliability/"):
        assert caveat in client.get(f"/projects/demo/{page}").content.decode()
    assert (
        "at random 1 trajectory of 1 task counts; from 20 tasks on"
        in client.get("/projects/demo/raters/").content.decode()
    )
    monkeypatch.setattr(views, "FEWEST_TASKS", 1)
    link = "?against=gold&amp;only=random"
    assert link in client.get("/projects/demo/raters/").content.decode()
    text = client.get("/projects/demo/raters/?against=gold&only=random").content.decode()
    assert "measured on 3 steps of 1 trajectory:" in text
    assert caveat not in text
    cell = f"version={ModelVersion.objects.get().pk}&gold=-1&said=0&against=gold&only=random"
    assert cell.replace("&", "&amp;") in text
    listed = client.get(f"/projects/demo/raters/steps/?{cell.replace('gold=-1&said=0', 'gold=-1')}").content.decode()
    assert "poor v1: 1 step" in listed
    assert drawn.external_id in listed


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
    rated(world, {"good": GOOD})
    version = ModelVersion.objects.get()
    if who:
        client.force_login(world.user(who))
    for path in ("/projects/demo/raters/", f"/projects/demo/raters/steps/?version={version.pk}"):
        assert client.get(path).status_code == status
    if who:
        assert client.get("/api/v1/projects/demo/raters/").status_code == status


def test_a_version_of_another_project_is_not_there(world: World, client: Client) -> None:
    from tests.factories import make_world

    other = make_world("other")
    rated(other, {"good": GOOD})
    client.force_login(world.admin)
    version = ModelVersion.objects.get()
    assert client.get(f"/projects/demo/raters/steps/?version={version.pk}").status_code == 404
    assert client.post(f"/projects/demo/raters/{version.pk}/calibrate/").status_code == 404


def test_what_the_files_brought_along_can_be_measured_by(world: World, client: Client) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    steps = list(trajectory.steps.order_by("index"))
    ReferenceLabel.objects.bulk_create(
        ReferenceLabel(trajectory=trajectory, step=step, value=value)
        for step, value in zip(steps, (1, -1), strict=True)
    )
    lines = {"record_id": trajectory.external_id, "step_labels": {str(step.message_index): 1 for step in steps}}
    flow.import_predictions_now(world.project, io.BytesIO(json.dumps(lines).encode()), "f", model="m")
    client.force_login(world.admin)
    answer = client.get("/api/v1/projects/demo/raters/?against=reference").json()
    assert (answer["against"], answer["n_steps"]) == ("reference", 2)
    assert answer["raters"][0]["overall"]["step_acc"]["value"] == 0.5
    assert answer["raters"][0]["overall"]["confusion"] == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert client.get("/api/v1/projects/demo/raters/").json()["n_steps"] == 0
    # Without gold, the page takes what there is.
    assert "the labels that the imported files brought along" in client.get("/projects/demo/raters/").content.decode()


def test_calibration_needs_gold_and_is_kept_with_its_quality(world: World, client: Client) -> None:
    rng = np.random.default_rng(3)
    rated(world, {"good": GOOD})
    with pytest.raises(InvalidInput, match="25"):
        actions.fit(ModelVersion.objects.get(), "gold", user=world.admin)
    assert Calibration.objects.count() == 0
    more = make_trajectories(world.project, [{}] * 28)
    truth = {trajectory: [int(value) for value in rng.choice([-1, 0, 1], size=3)] for trajectory in more}
    settle_all(truth, [world.annotator, world.second])
    version = ModelVersion.objects.get()
    for trajectory in more:
        probs = rng.dirichlet([1, 1, 1], size=3)
        Prediction.objects.create(version=version, trajectory=trajectory, probs=probs.tolist(), rationales=[None] * 3)
    client.force_login(world.admin)
    answer = client.post(f"/projects/demo/raters/{version.pk}/calibrate/", {"against": "gold"}, follow=True)
    assert "good v1 is calibrated on" in answer.content.decode()
    calibration = Calibration.objects.get()
    assert (calibration.method, calibration.n_trajectories) == (
        "temperature",
        len(actions.read_gold(world.project, "gold").ids),
    )
    assert calibration.report["after"]["nll"] < calibration.report["before"]["nll"]
    assert "Out of fold, calibration takes the ECE from" in answer.content.decode()
    ece = actions.compare_models(world.project, "gold")[1]["good v1"].overall.ece
    assert ece.value == pytest.approx(calibration.report["after"]["ece"], abs=1e-12)  # not of what it was fitted on
    assert (ece.low or 0) < (ece.value or 0) < (ece.high or 0)
    assert client.get("/api/v1/projects/demo/raters/").json()["raters"][0]["is_calibrated"] is True
    client.force_login(world.reviewer)
    refused: Any = client.post(f"/projects/demo/raters/{version.pk}/calibrate/", {"against": "gold"})
    assert refused.status_code == 403
    assert Calibration.objects.count() == 1


def test_beside_a_scorer_stands_what_of_its_word_does_not_count(world: World, client: Client) -> None:
    rated(world, {"judge": [[1, 0, -1]]})
    client.force_login(world.admin)
    sentence = "What it says of trajectories that were judged before it was trained does not count here"
    assert sentence not in client.get("/projects/demo/raters/").content.decode()
    predict(Trajectory.objects.get(), [1, 0, -1], model="own", kind=ModelVersion.Kind.SCORER)
    assert client.get("/projects/demo/raters/").content.decode().count(sentence) == 1
