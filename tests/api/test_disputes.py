"""Agreement, disputes and decisions over the API."""

from dataclasses import asdict
from typing import Any

import pytest

from annotator.adjudication import actions as adjudication
from annotator.agreement import actions as agreement
from annotator.models import Adjudication, Dispute, GoldLabel, Membership, Review, Trajectory
from tests.api.client import client_of, post, refused
from tests.factories import World, judge, make_member, make_trajectory, make_world

DISPUTES = "/api/v1/projects/demo/disputes/"


@pytest.fixture
def disputed(world: World) -> Trajectory:
    """Steps 0 and 2 and the outcome are disputed; the second person submitted first."""
    trajectory = make_trajectory(world.project)
    judge(trajectory, world.second, [0, 1, -1], outcome=1)
    judge(trajectory, world.annotator, [1, 1, 1], outcome=-1)
    return trajectory


def test_agreement_has_every_figure_of_the_report(world: World, disputed: Trajectory) -> None:
    other = make_trajectory(world.project)
    judge(other, world.annotator, [1, 0, -1])
    judge(other, world.second, [1, 0, -1])
    report = agreement.report(world.project)
    body = client_of(world.reviewer).get("/api/v1/projects/demo/agreement/").json()
    codes = dict(Membership.objects.values_list("user__username", "rater_code"))
    assert [pair.pop("raters") for pair in body["pairs"]] == [
        [
            {"rater_code": codes["demo-ann"], "username": "demo-ann"},
            {"rater_code": codes["demo-bob"], "username": "demo-bob"},
        ]
    ]
    assert body.pop("values") == [-1, 0, 1]
    expected = asdict(report)
    for pair in expected["pairs"]:
        del pair["raters"]
    assert body == expected
    assert body["raw_agreement"]["value"] == pytest.approx(4 / 6, abs=1e-12)
    assert body["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 1, 2]]


def test_agreement_without_labels_says_why(world: World) -> None:
    body = client_of(world.admin).get("/api/v1/projects/demo/agreement/").json()
    assert (body["n_raters"], body["n_steps"], body["pairs"]) == (0, 0, [])
    assert body["cohen_kappa"]["value"] is None
    assert body["cohen_kappa"]["reason"] != ""


def test_a_person_who_left_the_project_is_still_in_the_pairs(world: World, disputed: Trajectory) -> None:
    Membership.objects.get(user=world.second).delete()
    body = client_of(world.admin).get("/api/v1/projects/demo/agreement/").json()
    assert body["pairs"][0]["raters"][1] == {
        "rater_code": f"r-former-{world.second.pk}",
        "username": "demo-bob",
    }


def test_disputes_of_steps_come_worst_first_with_letters_for_names(world: World, disputed: Trajectory) -> None:
    body = client_of(world.reviewer).get(DISPUTES).json()
    by_step = {dispute.step.index: dispute for dispute in Dispute.objects.of_steps() if dispute.step}
    trajectory = {"id": disputed.pk, "external_id": disputed.external_id}
    versions = [adjudication.version_now([by_step[index]], world.reviewer) for index in (2, 0)]
    assert body["results"] == [
        {
            "id": by_step[2].pk,
            "trajectory": trajectory,
            "step": {"index": 2, "message_index": 6},
            "severity": 2,
            "status": "open",
            "values": [{"rater": "A", "value": -1}, {"rater": "B", "value": 1}],
            "decisions": [],
            "wants": "open",
            "version": versions[0],
        },
        {
            "id": by_step[0].pk,
            "trajectory": trajectory,
            "step": {"index": 0, "message_index": 2},
            "severity": 1,
            "status": "open",
            "values": [{"rater": "A", "value": 0}, {"rater": "B", "value": 1}],
            "decisions": [],
            "wants": "open",
            "version": versions[1],
        },
    ]
    assert "demo-ann" not in str(body)


def test_disputes_can_be_narrowed_down(world: World, disputed: Trajectory) -> None:
    client = client_of(world.reviewer)
    outcome = client.get(f"{DISPUTES}?target=outcome").json()["results"]
    assert [(dispute["step"], dispute["severity"]) for dispute in outcome] == [(None, 2)]
    assert outcome[0]["values"] == [{"rater": "A", "value": 1}, {"rater": "B", "value": -1}]
    everything = client.get(f"{DISPUTES}?target=all").json()["results"]
    assert [dispute["step"] and dispute["step"]["index"] for dispute in everything] == [2, None, 0]
    assert post(client, f"/api/v1/disputes/{everything[0]['id']}/decisions/", decision(1)).status_code == 201
    assert [each["id"] for each in client.get(f"{DISPUTES}?status=decided").json()["results"]] == [everything[0]["id"]]
    assert [each["id"] for each in client.get(f"{DISPUTES}?status=open").json()["results"]] == [everything[2]["id"]]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("target=steps,outcome", {"target": "Must be one of steps, outcome, all."}),
        ("status=", {"status": "Must be one of open, decided."}),
    ],
)
def test_an_unknown_choice_is_refused(world: World, query: str, fields: dict[str, str]) -> None:
    error = refused(client_of(world.reviewer).get(f"{DISPUTES}?{query}"), 400, "input.invalid")
    assert error["fields"] == fields


@pytest.mark.django_db
def test_letters_stay_the_same_in_a_trajectory_where_a_third_person_judged_only_some_steps() -> None:
    world = make_world(max_overlap=3, required_agreement=3)
    third = make_member(world.project)
    trajectory = make_trajectory(world.project)
    judge(trajectory, world.annotator, [1, 1, 1])
    judge(trajectory, world.second, [1, -1, 1])
    judge(trajectory, third, [0, 0, 0])
    body = client_of(world.reviewer).get(DISPUTES).json()
    assert [dispute["step"]["index"] for dispute in body["results"]] == [1]
    assert body["results"][0]["values"] == [
        {"rater": "A", "value": 1},
        {"rater": "B", "value": -1},
        {"rater": "C", "value": 0},
    ]


def test_a_page_of_disputes_costs_the_same_however_long_it_is(
    world: World, disputed: Trajectory, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        trajectory = make_trajectory(world.project)
        judge(trajectory, world.second, [0, 1, -1])
        judge(trajectory, world.annotator, [1, 1, 1])
    client = client_of(world.reviewer)
    client.get(DISPUTES)
    for dispute in Dispute.objects.all():
        post(client, f"/api/v1/disputes/{dispute.pk}/decisions/", decision(1))
    # The token, the membership, the count, the page, its decisions with their reviewers (2), submissions, values.
    with django_assert_num_queries(8):
        assert len(client.get(DISPUTES).json()["results"]) == 12


def decision(value: int | None, reason_code: str = "misread", **note: str) -> dict[str, Any]:
    return {"value": value, "reason_code": reason_code, **note}


def test_a_decision_settles_the_step_and_a_later_one_overrules_it(world: World, disputed: Trajectory) -> None:
    client = client_of(world.reviewer)
    dispute = client.get(DISPUTES).json()["results"][0]
    path = f"/api/v1/disputes/{dispute['id']}/decisions/"
    first = post(client, path, decision(1, "misread", note="It is 300."))
    assert first.status_code == 201
    stored = Adjudication.objects.get()
    assert first.json() == {
        "id": stored.pk,
        "value": 1,
        "reason_code": "misread",
        "note": "It is 300.",
        "decided_at": stored.decided_at.isoformat().replace("+00:00", "Z"),
        "reviewer": "demo-rita",
        "turn": "open",
    }
    gold = GoldLabel.objects.get(step__index=2)
    assert (gold.value, gold.provenance) == (1, "adjudicated")
    second = post(client, path, decision(None, "ambiguous"))
    after = client.get(f"{DISPUTES}?status=decided").json()["results"]
    assert [each["decisions"] for each in after] == [[first.json(), second.json()]]
    assert GoldLabel.objects.get(step__index=2).value is None


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"value": 2, "reason_code": "misread"}, "value"),
        ({"value": True, "reason_code": "misread"}, "value"),
        ({"reason_code": "misread"}, "value"),
        ({"value": 1}, "reason_code"),
        ({"value": 1, "reason_code": "because"}, "reason_code"),
        ({"value": 1, "reason_code": "other"}, "note"),
        ({"value": 1, "reason_code": "misread", "by": "me"}, "by"),
        ([], "body"),
    ],
)
def test_a_wrong_decision_is_refused_with_the_place(
    world: World, disputed: Trajectory, body: object, place: str
) -> None:
    dispute = Dispute.objects.of_steps().worthiest_first()[0]
    response = post(client_of(world.reviewer), f"/api/v1/disputes/{dispute.pk}/decisions/", body)
    assert list(refused(response, 400, "input.invalid")["fields"]) == [place]
    assert Adjudication.objects.count() == 0


@pytest.mark.parametrize("sent", ["no version", "the version from before"])
def test_what_another_reviewer_has_decided_is_overruled_only_by_who_has_seen_it(
    world: World, disputed: Trajectory, sent: str
) -> None:
    dispute = Dispute.objects.of_steps().worthiest_first()[0]
    path = f"/api/v1/disputes/{dispute.pk}/decisions/"

    def version() -> str:
        listed = client_of(world.admin).get(DISPUTES).json()["results"]
        return str(next(each["version"] for each in listed if each["id"] == dispute.pk))

    before = version()
    post(client_of(world.reviewer), path, decision(1))
    Review.objects.update(status="open", reviewer=None)
    body = decision(-1) | ({} if sent == "no version" else {"version": before})
    error = refused(post(client_of(world.admin), path, body), 409, "decision.outdated")
    assert error["message"].startswith("Nothing was stored, because another reviewer has decided")
    assert GoldLabel.objects.get(step=dispute.step).value == 1
    assert Review.objects.get().reviewer is None
    assert post(client_of(world.admin), path, decision(-1) | {"version": version()}).status_code == 201
    assert GoldLabel.objects.get(step=dispute.step).value == -1


def test_while_one_reviewer_holds_a_trajectory_another_cannot_decide(world: World, disputed: Trajectory) -> None:
    first, second = Dispute.objects.of_steps().worthiest_first()
    post(client_of(world.reviewer), f"/api/v1/disputes/{first.pk}/decisions/", decision(1))
    response = post(client_of(world.admin), f"/api/v1/disputes/{second.pk}/decisions/", decision(1))
    refused(response, 409, "review.held")
    assert Adjudication.objects.filter(dispute=second).count() == 0
