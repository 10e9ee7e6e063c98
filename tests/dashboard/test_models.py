"""What models said of one trajectory, and what a judgement was shown of it: for reviewers and admins."""

import pytest
from django.test import Client

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.fusion import actions as fusing
from annotator.labelling import actions
from annotator.models import Calibration, Dispute, ModelVersion, Posterior, Prediction
from annotator.queue import actions as queue
from tests.factories import World, judge, label, make_trajectory, make_world, predict

pytestmark = pytest.mark.django_db


def text_of(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_each_version_is_shown_step_by_step_with_its_marks(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project)
    panel = predict(trajectory, [1, None, -1], first_truncated_step=2, n_dropped_tokens=4321, note="It was <b>cut</b>.")
    predict(trajectory, [0, 0, 0], model="other", rationales=["<script>alert(1)</script>", None, "a\u202eb"])
    Calibration.objects.create(
        version=panel.version, method="temperature", parameters={"temperature": 1.0},
        n_trajectories=25, n_steps=75, report={},
    )  # fmt: skip
    rules = ModelVersion.objects.create(project=world.project, name="rules", number=1, kind="rules")
    finding = {"step": 1, "code": "R2", "leaning": -1, "sentence": "There is no tool 'x'.", "evidence": {}}
    Prediction.objects.create(version=rules, trajectory=trajectory, probs=[[None] * 3] * 3, findings=[finding])
    client.force_login(world.reviewer)
    assert "What models said of it</a> (3 versions)" in text_of(client, f"/projects/demo/trajectories/{trajectory.pk}/")
    page = text_of(client, f"/projects/demo/trajectories/{trajectory.pk}/models/")
    assert page.count(">Step ") == 3 + 1  # and the heading
    assert "0.10 / 0.10 / 0.80" in page
    assert "4,321" in page
    assert page.count("read a shortened text") == 1
    assert page.count(">calibrated<") == 1
    assert page.count(">uncalibrated<") == 1
    assert page.count(">nothing<") == 1
    assert "R2: There is no tool &#x27;x&#x27;." in page
    assert "It was &lt;b&gt;cut&lt;/b&gt;." in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert 'a<span class="mark">U+202E</span>b' in page


def test_how_each_step_is_settled_is_said_beside_it(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=3)
    judge(trajectory, world.annotator, [1, 1, -1])
    judge(trajectory, world.second, [1, -1, 1])
    decision = DecisionIn(value=None, reason_code="ambiguous")
    flow.decide(Dispute.objects.get(step__index=1), world.reviewer, decision)
    predict(trajectory, [1, 0, -1])
    client.force_login(world.admin)
    page = text_of(client, f"/projects/demo/trajectories/{trajectory.pk}/models/")
    first, second, third = page.split(">Step ")[2:]  # after the heading
    said = '<span class="badge">settled</span> <span class="value {}">{}</span> <span class="muted small">{}</span>'
    assert said.format("correct", "+1", "unanimous") in first
    assert said.format("", "–", "undecidable, adjudicated") in second
    assert "settled" not in third


def test_a_long_trajectory_comes_in_pages(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=60)
    predict(trajectory, [1] * 60)
    client.force_login(world.admin)
    path = f"/projects/demo/trajectories/{trajectory.pk}/models/"
    first, second = text_of(client, path), text_of(client, f"{path}?page=2")
    assert ("Step 50</a>" in first, "Step 51</a>" in first) == (True, False)
    assert ("Step 50</a>" in second, "Step 60</a>" in second) == (False, True)


def test_what_is_believed_is_drawn_with_the_first_error(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    predict(trajectory, [1, -1])
    client.force_login(world.admin)
    path = f"/projects/demo/trajectories/{trajectory.pk}/models/"
    assert "All raters together" not in text_of(client, path)
    flow.run_job(fusing.start(world.project, user=world.admin).pk)
    Posterior.objects.update(probs=[[0.1, 0.2, 0.7], [0.75, 0.05, 0.2]], first_error=[0.1, 0.6, 0.3])
    page = text_of(client, path)
    assert "First error, most likely: <strong>step 2 (60 %)</strong>" in page
    assert "<title>the first error is at step 2: 60 %</title>" in page
    assert "<title>step 2 is −1: 75 %</title>" in page
    assert "<title>there is no error: 30 %</title>" in page
    assert page.count("the first error with ") == 2
    assert "the first error with 60.0 %" in page


@pytest.mark.parametrize(("who", "status"), [("annotator", 403), ("outsider", 404), ("reviewer", 200), ("admin", 200)])
def test_who_may_see_it(client: Client, world: World, who: str, status: int) -> None:
    trajectory = make_trajectory(world.project)
    client.force_login(world.user(who))
    assert client.get(f"/projects/demo/trajectories/{trajectory.pk}/models/").status_code == status


def test_a_judgement_says_what_its_rater_was_shown() -> None:
    client = Client()
    world = make_world(overlap=1, hint_policy={"reveal_after": 100, "model": "judge"})
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, -1, 1])
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    label(slot, world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
    actions.show_hints(slot.pk, world.annotator)
    label(slot, world.annotator, {1: -1})
    flow.submit(slot.pk, world.annotator)
    client.force_login(world.reviewer)
    page = text_of(client, f"/projects/demo/trajectories/{trajectory.pk}/")
    assert "shown after one&#x27;s own labels: 1 of 4 labels given or changed in sight of them" in page
