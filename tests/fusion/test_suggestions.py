"""What all raters together say, suggested like the word of one model."""

from typing import Any

import pytest
from django.test import Client

from annotator.errors import InvalidInput
from annotator.flow import import_predictions_now
from annotator.fusion.suggestions import write
from annotator.labelling.hints import shown
from annotator.models import Assignment, Fusion, ModelVersion, Posterior, Prediction, Project, Trajectory
from annotator.projects.actions import change_settings
from annotator.queue import actions as queue
from annotator.raters.actions import fit, latest_versions, unfair
from annotator.raters.blind import in_sight
from tests.factories import World, judge, make_world, predict
from tests.fusion.test_actions import fuse, project_with_judges

pytestmark = pytest.mark.django_db

POLICY = {"hinted": 100, "model": "all-raters"}


@pytest.fixture
def hinted(db: None) -> World:
    return make_world(hint_policy=POLICY)


def said(project: Project) -> dict[int, Any]:
    rows = Prediction.objects.filter(version__project=project, version__kind="fusion")
    return dict(rows.values_list("trajectory", "probs"))


def test_a_fusion_suggests_where_nobody_has_begun(hinted: World) -> None:
    trajectories = project_with_judges(hinted, n=40, n_gold=30)
    fusion = fuse(hinted)
    assert fusion.method == "stacker"
    version = ModelVersion.objects.get(kind="fusion")
    assert (str(version), version.config, version.sees_reference) == (
        "all-raters v1", {"fusion": 1, "hears": ["good v1", "poor v1"]}, False
    )  # fmt: skip
    assert set(said(hinted.project)) == {trajectory.pk for trajectory in trajectories[30:]}
    for pk, probs in said(hinted.project).items():
        for step, believed in zip(probs, Posterior.objects.get(trajectory=pk).evidence, strict=True):
            assert step == pytest.approx(believed)  # the last digit hangs on how many are reckoned at once
    slot = queue.claim_next(hinted.project, hinted.annotator)
    assert slot is not None
    assert (slot.hint_arm, slot.hint_version, slot.hint_calibration) == ("hinted", version, None)
    hints = shown(slot, None)
    assert all(hint.is_calibrated for hint in hints.values())
    probs = said(hinted.project)[slot.trajectory_id]
    assert [hints[index].certainty for index in range(3)] == pytest.approx([max(row) for row in probs])
    assert [hints[index].value for index in range(3)] == [row.index(max(row)) - 1 for row in probs]
    other = said(hinted.project)[trajectories[31].pk]
    assert [row.index(max(row)) - 1 for row in other] == [1, -1, 1]
    fuse(hinted)  # the same again
    assert Prediction.objects.filter(version__kind="fusion").count() == 10
    fresh = next(trajectory for trajectory in trajectories[30:] if trajectory.pk != slot.trajectory_id)
    queue.release_claim(slot.pk, hinted.annotator)
    for person in (hinted.annotator, hinted.second):
        judge(fresh, person, [1, -1, 1])
    assert fuse(hinted).number == 2
    assert list(ModelVersion.objects.filter(kind="fusion").values_list("number", flat=True)) == [1, 2]
    assert Prediction.objects.filter(version__kind="fusion", version__number=2).count() == 9  # the other slot is free


def test_nothing_is_written_where_nobody_wants_it_or_it_is_no_belief_to_build_on(hinted: World) -> None:
    project_with_judges(hinted, n=12, n_gold=2)
    assert fuse(hinted).method == "best_single"
    assert not ModelVersion.objects.filter(kind="fusion").exists()
    assert queue.claim_next(hinted.project, hinted.annotator).no_hints == "no_prediction"  # type: ignore[union-attr]
    change_settings(hinted.project, {"hint_policy": {"hinted": 0, "model": "all-raters"}}, user=hinted.admin)
    project_with_judges(hinted, n=30, n_gold=30)
    assert fuse(hinted).method == "stacker"
    assert not ModelVersion.objects.filter(kind="fusion").exists()


def test_it_tells_nothing_of_the_reward_and_is_never_shown_where_a_model_had_read_the_reference(hinted: World) -> None:
    trajectories = project_with_judges(hinted, n=40, n_gold=30)
    first = fuse(hinted)
    before = said(hinted.project)
    from annotator.fusion import reading
    from annotator.fusion.fit import Fusion as Fitted

    rewarded = reading.read(hinted.project)
    rewarded.panel.outcome[:] = 0.0
    fitted = Fitted.from_bytes(bytes(first.parameters))
    other = Fusion(project=hinted.project, method="blend", number=9, data_sha256="x", parameters=first.parameters)
    assert write(other, rewarded, fitted) == 10
    second = Prediction.objects.filter(version__number=2, version__kind="fusion")
    again = dict(second.values_list("trajectory", "probs"))
    assert again == before
    ModelVersion.objects.create(
        project=hinted.project, kind="judge", name="reader", number=1, sees_reference=True, config_sha256="reader"
    )
    predict(trajectories[39], [1, -1, 1], model="reader")
    fuse(hinted)
    latest = ModelVersion.objects.filter(kind="fusion").latest("number")
    assert (latest.number, latest.sees_reference) == (3, True)
    slot = queue.claim_next(hinted.project, hinted.annotator)
    assert slot is not None
    assert (slot.hint_arm, slot.no_hints) == ("blind", "sees_reference")


def test_it_is_no_rater_of_its_own(hinted: World, client: Client) -> None:
    project_with_judges(hinted, n=40, n_gold=30)
    fuse(hinted)
    version = ModelVersion.objects.get(kind="fusion")
    assert [one.name for one in latest_versions(hinted.project)] == ["good", "poor"]
    with pytest.raises(InvalidInput, match="A fusion is calibrated on gold already"):
        fit(version, "gold", user=None)
    slot = queue.claim_next(hinted.project, hinted.annotator)
    assert slot is not None
    judge_in_hand(slot, hinted)
    # Each model had its part in what was in sight, so none of them is measured by these labels.
    predict(Trajectory.objects.get(pk=slot.trajectory_id), [1, 1, 1], model="later")
    assert in_sight(hinted.project) == {"good": {slot.trajectory_id}, "poor": {slot.trajectory_id}}
    assert [len(some & {slot.trajectory_id}) for some in unfair(latest_versions(hinted.project), "gold")] == [1, 0, 1]
    client.force_login(hinted.admin)
    for path in ("models/", "raters/", "hints/", f"trajectories/{slot.trajectory_id}/models/", "settings/"):
        assert client.get(f"/projects/demo/{path}").status_code == 200
    assert "all-raters v1" not in client.get("/projects/demo/models/").content.decode()
    assert ">all-raters</option>" in client.get("/projects/demo/settings/").content.decode()


def judge_in_hand(slot: Assignment, world: World) -> None:
    from annotator import flow
    from tests.factories import label

    label(slot, world.annotator, {0: 1, 1: -1, 2: 1}, 1)
    flow.submit(slot.pk, world.annotator)


def test_no_imported_model_takes_its_name(world: World, tmp_path: Any) -> None:
    path = tmp_path / "said.jsonl"
    path.write_text("{}")
    with path.open("rb") as file, pytest.raises(InvalidInput, match="Choose another name"):
        import_predictions_now(world.project, file, "said.jsonl", model="all-raters")
