"""An annotator learns nothing from the API but the trajectory: not what the source said, nor what others said."""

import json
from collections.abc import Iterator
from typing import Any

from annotator.models import ReferenceLabel
from tests.api.client import client_of, post, put
from tests.factories import World, judge, make_trajectory

SECRETS: dict[str, Any] = {
    "reference": {"answer": "SECRET-reference"},
    "metadata": {"score": "SECRET-metadata"},
    "group_key": "SECRET-group",
    "outcome": 0.8125,
    "source_format": "SECRET-format",
}


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


def test_nothing_that_an_annotator_can_get_tells_what_the_source_or_others_said(world: World) -> None:
    trajectory = make_trajectory(world.project, **SECRETS)
    sibling = make_trajectory(world.project, **SECRETS)
    for step in trajectory.steps.all():
        ReferenceLabel.objects.create(trajectory=trajectory, step=step, value=-1)
    ReferenceLabel.objects.create(trajectory=trajectory, step=None, value=-1)
    judge(trajectory, world.second, [-1, -1, -1], outcome=-1)
    client = client_of(world.annotator)

    answers = [client.get("/api/v1/projects/"), client.get("/api/v1/projects/demo/")]
    claimed = post(client, "/api/v1/projects/demo/assignments/claim/")
    pk = claimed.json()["id"]
    path = f"/api/v1/assignments/{pk}/"
    answers += [
        claimed,
        client.get(path),
        put(client, f"{path}labels/", {"labels": []}),
        post(client, f"{path}submit/"),
    ]
    for address in ("trajectories", "agreement", "disputes", "releases"):
        answers.append(client.get(f"/api/v1/projects/demo/{address}/"))
        assert answers[-1].status_code == 403
    answers.append(post(client, f"{path}release/"))

    assert claimed.json()["trajectory"]["id"] == trajectory.pk
    for answer in answers:
        body = answer.json()
        text = json.dumps(body)
        assert "SECRET" not in text
        assert "0.8125" not in text
        assert world.second.username not in text
        assert sibling.external_id not in text
        assert not {"reference", "reference_labels", "metadata", "group_key", "gold", "annotator"} & set(keys_of(body))
        assert body.get("labels", []) == []
        assert body.get("outcome") is None


def test_when_all_is_submitted_the_annotator_still_sees_only_their_own_labels(world: World) -> None:
    trajectory = make_trajectory(world.project)
    judge(trajectory, world.second, [-1, -1, -1], outcome=-1)
    mine = judge(trajectory, world.annotator, [1, 0, 1], outcome=1)
    body = client_of(world.annotator).get(f"/api/v1/assignments/{mine.assignment_id}/").json()
    assert body["labels"] == [{"step": 0, "value": 1}, {"step": 1, "value": 0}, {"step": 2, "value": 1}]
    assert body["outcome"] == 1
    assert ": -1" not in json.dumps(body)
