"""Rounds where labels of models were accepted: those steps are asked by chance only, and count nowhere else."""

import re
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils.timezone import now

from annotator.models import Assignment, GoldLabel, Posterior, Project, Trajectory
from annotator.selection.acquisition import entropy
from tests.factories import World, make_acceptance, make_trajectory
from tests.selection.test_rounds import ONLY_ERRORS, believe, make_fusion, run

pytestmark = pytest.mark.django_db
SEED = 2  # of four, the fourth is drawn


def accept(trajectory: Trajectory, *indices: int) -> None:
    """Labels of these steps, and slots that ask for the others, as `acceptance.actions` leaves them."""
    acceptance = trajectory.project.acceptances.last() or make_acceptance(trajectory.project)
    GoldLabel.objects.bulk_create(
        GoldLabel(
            trajectory=trajectory,
            step=step,
            value=1,
            provenance="certified",
            settled_at=now(),
            acceptance=acceptance,
        )
        for step in trajectory.steps.filter(index__in=indices)
    )
    rest = [i for i in range(trajectory.n_steps) if i not in indices]
    Assignment.objects.filter(trajectory=trajectory).update(wanted_steps=rest)


@pytest.fixture
def project(world: World, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Four trajectories of five steps: nothing, something and everything of them is accepted; chance draws the last."""
    fusion = make_fusion(world.project)
    for name, accepted in (("free", []), ("part", [1, 3, 4]), ("whole", [0, 1, 2, 3, 4]), ("drawn", [1, 3, 4])):
        trajectory = make_trajectory(world.project, n_steps=5, external_id=name)
        believe(fusion, trajectory, [0.1, 0.45, 0.2, 0.4, 0.3])
        accept(trajectory, *accepted)
    monkeypatch.setattr("secrets.randbits", lambda _: SEED)
    return world.project


def chosen(world: World, **policy: Any) -> dict[str, tuple[object, object]]:
    """By trajectory what a round asks of it, and its score; every slot asks the very same."""
    found: dict[str, tuple[object, object]] = {}
    for pick in run(world, n_wanted=10, **policy).picks.select_related("trajectory"):
        assert [slot.wanted_steps for slot in pick.assignments.all()] == [pick.steps] * 2
        found[pick.trajectory.external_id] = (pick.steps, pick.score)
    return found


def test_single_steps_are_chosen_among_those_that_are_left(world: World, project: Project) -> None:
    assert chosen(world, shares=ONLY_ERRORS, unit="steps", steps_each=2) == {
        "free": ([1, 3], pytest.approx(0.85 / (4 + 2))),
        "part": ([0, 2], pytest.approx(0.3 / (4 + 2))),  # most doubt lies on the accepted ones
        "whole": ([], 0.0),
        "drawn": (None, None),
    }
    asked = Assignment.objects.values_list("trajectory__external_id", "wants_outcome")
    assert dict(asked) == {"free": False, "part": False, "whole": True, "drawn": True}
    found = chosen(world, shares=ONLY_ERRORS, unit="steps", steps_each=1)
    assert found["part"] == ([2], pytest.approx(0.2 / (4 + 1)))


def test_a_whole_trajectory_is_what_is_left_of_it(world: World, project: Project) -> None:
    assert chosen(world, shares=ONLY_ERRORS) == {
        "free": (None, pytest.approx(1.45 / (4 + 5))),
        "part": ([0, 2], pytest.approx(0.3 / (4 + 2))),
        "whole": ([], 0.0),
        "drawn": (None, None),
    }
    assert set(Assignment.objects.values_list("wants_outcome", flat=True)) == {True}


def test_the_mean_entropy_is_that_of_the_steps_that_are_left(world: World, project: Project) -> None:
    found = chosen(world, shares={"mean_entropy": 90, "random": 10})
    believed = Posterior.objects.get(trajectory__external_id="part")
    assert found["free"][1] == believed.mean_entropy
    assert found["part"][1] == pytest.approx(entropy(np.array(believed.probs)[[0, 2]]).mean())
    assert found["whole"][1] == 0.0


def test_the_page_says_what_is_asked(world: World, project: Project, client: Client) -> None:
    client.force_login(world.admin)
    for policy in ({"unit": "steps", "steps_each": 2}, {"unit": "trajectories"}):
        number = run(world, shares=ONLY_ERRORS, n_wanted=10, **policy).number
        text = client.get(f"/projects/demo/selection/{number}/").content.decode()
        first = "steps 2, 4" if policy["unit"] == "steps" else "all"
        rows = dict(re.findall(r">(\w+)</a></th>.*?<td>([^<]*)</td></tr>", text))
        assert rows == {"free": first, "part": "steps 1, 3", "whole": "the outcome", "drawn": "all"}
