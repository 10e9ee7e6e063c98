"""Two releases of one project: what changed, and why."""

import re
from collections import Counter
from typing import Any

import pytest
from django.db.models import QuerySet
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.models import Dispute, Release, Trajectory
from annotator.releases import actions, views
from annotator.releases.compare import Counts, Frozen, Reason, State, TrajectoryChange, compare
from annotator.releases.exporters.record import Decision, GoldOutcome, GoldStep, RawLabel
from annotator.releases.policy import ErrorView, ReleasePolicy
from tests.factories import World, judge, make_trajectory, make_world

AT = "2026-03-01T10:00:00+00:00"


def said(rater: str, value: int, annotation: int = 1, **more: Any) -> RawLabel:
    label: dict[str, Any] = {"rater": rater, "value": value, "guideline_version": 1, "annotation": annotation}
    return {**label, "labelled_at": AT, "submitted_at": AT, **more}  # type: ignore[typeddict-item]


def step(value: int | None, provenance: str = "unanimous", *, counts: bool = True, **more: Any) -> GoldStep:
    base: dict[str, Any] = {"index": 0, "message_index": 2, "value": value, "provenance": provenance, "counts": counts}
    return {**base, "labels": [], "decisions": [], **more}  # type: ignore[typeddict-item]


def decided(pk: int, value: int | None) -> Decision:
    return {"id": pk, "reviewer": "r-rita", "value": value, "reason_code": "slip", "note": "see", "decided_at": AT}


def frozen(number: int, *steps: GoldStep, split: str = "train", outcome: GoldOutcome | None = None) -> Frozen:
    return Frozen(number, f"t-{number}", split, [{**s, "index": i} for i, s in enumerate(steps)], outcome)


def compared(
    before: list[Frozen], after: list[Frozen], views: tuple[ErrorView, ErrorView] = ("as_labelled", "as_labelled")
) -> list[TrajectoryChange]:
    return list(compare(before, after, view_before=views[0], view_after=views[1]))


def reasons(old: GoldStep, new: GoldStep) -> list[Reason]:
    ((change,),) = (trajectory.changes for trajectory in compared([frozen(1, old)], [frozen(1, new)]))
    return change.reasons


def test_trajectories_that_only_one_release_has_are_added_or_removed() -> None:
    both, old, new = frozen(2, step(1)), [frozen(1, step(1)), frozen(5, step(1))], [frozen(3, step(1))]
    found = compared([old[0], both, old[1]], [both, *new])
    assert [(t.kind, t.external_id, t.split_before, t.split_after) for t in found] == [
        ("removed", "t-1", "train", None),
        ("added", "t-3", None, "train"),
        ("removed", "t-5", "train", None),
    ]


def test_the_same_rows_on_both_sides_are_no_change() -> None:
    rows = [frozen(1, step(1), step(-1)), frozen(2, step(None, "discarded", counts=False))]
    assert compared(rows, rows) == []
    assert compared([], []) == []


def test_a_changed_step_says_from_what_to_what() -> None:
    (trajectory,) = compared(
        [frozen(1, step(1), step(1))], [frozen(1, step(1), step(-1, "adjudicated", decisions=[decided(4, -1)]))]
    )
    (change,) = trajectory.changes
    assert (trajectory.kind, change.index) == ("changed", 1)
    assert change.before == State(1, 1, "unanimous")
    assert change.after == State(-1, -1, "adjudicated")
    assert change.reasons == [Reason("decision", "r-rita", AT, -1, "slip", "see")]


def test_a_decision_that_both_releases_know_is_no_reason() -> None:
    old = step(1, "adjudicated", decisions=[decided(4, 1)])
    new = step(-1, "adjudicated", decisions=[decided(4, 1), decided(9, -1)])
    assert reasons(old, new) == [Reason("decision", "r-rita", AT, -1, "slip", "see")]


def test_labels_that_came_later_are_told_from_revisions_and_from_withdrawn_ones() -> None:
    old = step(1, labels=[said("a", 1, 1), said("b", 1, 2), said("c", 1, 3)])
    new = step(0, "majority", labels=[said("a", 0, 4), said("b", 1, 2), said("d", 0, 5)])
    assert reasons(old, new) == [Reason("revision", "a", AT, 0), Reason("label", "d", AT, 0), Reason("withdrawn", "c")]


def test_a_settled_value_that_counts_on_one_side_only_is_the_policys_doing() -> None:
    assert reasons(step(1, "majority"), step(1, "majority", counts=False)) == [Reason("policy")]


def test_a_step_that_changed_without_a_trace_was_settled_by_another_rule() -> None:
    assert reasons(step(None, "discarded", counts=False), step(1, "majority")) == [Reason("rule")]


def test_another_view_of_errors_changes_steps_by_policy() -> None:
    rows = [frozen(1, step(-1), step(1))]
    (trajectory,) = compared(rows, rows, ("as_labelled", "stop_at_first"))
    (change,) = trajectory.changes
    assert (change.index, change.before.value, change.after.value) == (1, 1, None)
    assert change.reasons == [Reason("policy")]


def test_a_step_that_follows_another_first_error_now_is_not_the_policys_doing() -> None:
    old, new = frozen(1, step(1), step(1)), frozen(1, step(-1, decisions=[decided(4, -1)]), step(1))
    (trajectory,) = compared([old], [new], ("stop_at_first", "stop_at_first"))
    assert [(change.index, change.before.value, change.after.value) for change in trajectory.changes] == [
        (0, 1, -1),
        (1, 1, None),
    ]
    assert [[reason.why for reason in change.reasons] for change in trajectory.changes] == [["decision"], ["earlier"]]


def test_a_revision_that_changes_only_the_strict_view_is_the_reason() -> None:
    old = frozen(1, step(-1, labels=[said("a", -1, 1, root=None)]))
    new = frozen(1, step(-1, labels=[said("a", -1, 2, root=0, local_value=1)]))
    (trajectory,) = compared([old], [new], ("strict", "strict"))
    (change,) = trajectory.changes
    assert (change.before, change.after) == (State(-1, -1, "unanimous"), State(1, -1, "unanimous"))
    assert change.reasons == [Reason("revision", "a", AT, -1)]


def test_an_outcome_that_was_settled_later_is_a_change_without_an_index() -> None:
    outcome: GoldOutcome = {"value": 1, "provenance": "adjudicated", "counts": True, "labels": [], "decisions": []}
    outcome["decisions"] = [decided(2, 1)]
    (trajectory,) = compared([frozen(1, step(1))], [frozen(1, step(1), outcome=outcome)])
    (change,) = trajectory.changes
    assert (change.index, change.before, change.after.value) == (None, State(None, None, None), 1)
    assert [reason.why for reason in change.reasons] == ["decision"]


def test_the_counts_add_up_what_changed() -> None:
    counts = Counts()
    before = [frozen(1, step(1), step(1)), frozen(2, step(1)), frozen(3, step(1))]
    after = [
        frozen(1, step(-1, decisions=[decided(1, -1)]), step(0, labels=[said("a", 0)])),
        frozen(3, step(1), split="test"),
        frozen(4, step(1)),
    ]
    for change in compared(before, after):
        counts.add(change)
    assert counts == Counts(
        added=1, removed=1, changed=2, moved=1, steps=2, outcomes=0,
        transitions=Counter({(1, -1): 1, (1, 0): 1}), reasons=Counter({"decision": 1, "label": 1}),
    )  # fmt: skip


# --- the page


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agreement in the manifest is not the matter here, and its intervals take most of a second."""
    monkeypatch.setattr(actions, "_agreement_summary", lambda project: {})


@pytest.fixture
def world(transactional_db: None) -> World:
    """One trajectory that both agree on, and one of which a step is disputed and decided as 0."""
    world = make_world()
    agreed, disputed = (make_trajectory(world.project, n_steps=2, external_id=name) for name in ("agreed", "disputed"))
    for annotator, second in ((world.annotator, 1), (world.second, -1)):
        judge(agreed, annotator, [1, 1])
        judge(disputed, annotator, [1, second])
    decide(world, disputed, 0)
    return world


def decide(world: World, trajectory: Trajectory, value: int) -> None:
    for dispute in Dispute.objects.filter(trajectory=trajectory):
        flow.decide(dispute, world.reviewer, DecisionIn(value=value, reason_code="misread", note="Read it <b>"))


def publish(world: World, **policy: Any) -> Release:
    job = flow.publish(world.project, ReleasePolicy.parse({"splits": {"train": 1.0}, **policy}), user=world.admin)
    return Release.objects.get(pk=job.result["release"])


@pytest.fixture
def two(world: World) -> tuple[Release, Release]:
    """Between the two the decision was overruled and one more trajectory was settled."""
    first = publish(world)
    decide(world, Trajectory.objects.get(external_id="disputed"), -1)
    third = make_trajectory(world.project, n_steps=2, external_id="later")
    for annotator in (world.annotator, world.second):
        judge(third, annotator, [1, 0])
    return first, publish(world)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html[html.index("<main") :]))


@pytest.mark.django_db(transaction=True)
def test_who_may_compare_releases(client: Client, world: World, two: tuple[Release, Release]) -> None:
    url = f"/releases/{two[0].pk}/compare/{two[1].pk}/"
    assert client.get(url).status_code == 302
    for who, status in {"outsider": 404, "annotator": 403, "reviewer": 200, "admin": 200}.items():
        client.force_login(world.user(who))
        assert client.get(url).status_code == status, who
        assert client.get(url + "?format=json").status_code == status, who


@pytest.mark.django_db(transaction=True)
def test_releases_of_two_projects_are_not_compared(client: Client, two: tuple[Release, Release]) -> None:
    elsewhere = make_world("other")
    theirs = make_trajectory(elsewhere.project, n_steps=1)
    for annotator in (elsewhere.annotator, elsewhere.second):
        judge(theirs, annotator, [1])
    foreign = publish(elsewhere)
    admin = two[0].created_by
    assert admin is not None
    client.force_login(admin)
    assert client.get(f"/releases/{two[0].pk}/compare/{foreign.pk}/").status_code == 404
    elsewhere.project.memberships.create(user=admin, role="admin")
    assert client.get(f"/releases/{two[0].pk}/compare/{foreign.pk}/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_the_page_says_what_changed_and_why(
    client: Client, world: World, two: tuple[Release, Release], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(world.admin)
    with django_assert_num_queries(10):  # session, user, 2 × (release, membership), 2 × rows, releases, members
        html = client.get(f"/releases/{two[0].pk}/compare/{two[1].pk}/").content.decode()
    text = text_of(html)
    assert "1 trajectories added 0 trajectories removed 1 trajectories changed 1 steps changed" in text
    assert "0 → −1: 1" in text
    code = world.project.memberships.get(user=world.reviewer).rater_code
    assert f"2 0 adjudicated −1 adjudicated {code} (demo-rita) decided −1 on" in text
    assert "a rater misread the step or its result. “Read it &lt;b&gt;”" in text
    assert "later added" in text
    assert "agreed" not in text


@pytest.mark.django_db(transaction=True)
def test_a_reviewer_sees_codes_and_no_names(client: Client, world: World, two: tuple[Release, Release]) -> None:
    client.force_login(world.reviewer)
    html = client.get(f"/releases/{two[0].pk}/compare/{two[1].pk}/").content.decode()
    assert world.project.memberships.get(user=world.reviewer).rater_code in html
    assert "(demo-rita)" not in html


@pytest.mark.django_db(transaction=True)
def test_a_release_compared_with_itself_has_not_changed(
    client: Client, world: World, two: tuple[Release, Release]
) -> None:
    client.force_login(world.reviewer)
    html = client.get(f"/releases/{two[0].pk}/compare/{two[0].pk}/").content.decode()
    assert "The two releases hold the same trajectories with the same labels." in html


@pytest.mark.django_db(transaction=True)
def test_another_policy_is_named_with_the_steps_that_it_changed(client: Client, world: World) -> None:
    first, second = publish(world), publish(world, provenances=["unanimous"])
    client.force_login(world.reviewer)
    body = client.get(f"/releases/{first.pk}/compare/{second.pk}/?format=json").json()
    assert body["policy"] == {
        "provenances": {"before": ["unanimous", "majority", "adjudicated"], "after": ["unanimous"]}
    }
    assert body["counts"] == {
        "added": 0,
        "removed": 0,
        "changed": 1,
        "moved": 0,
        "steps": 1,
        "outcomes": 0,
        "transitions": [{"before": 0, "after": None, "n": 1}],
        "reasons": {"policy": 1},
    }
    (trajectory,) = body["trajectories"]
    assert trajectory["external_id"] == "disputed"
    assert trajectory["changes"][0]["after"] == {"value": None, "settled": 0, "provenance": "adjudicated"}


@pytest.mark.django_db(transaction=True)
def test_rows_that_are_alike_are_not_read(
    world: World, two: tuple[Release, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = QuerySet.iterator

    def note(self: Any, *args: Any, **kwargs: Any) -> Any:
        for row in whole(self, *args, **kwargs):
            read.append(row.trajectory.external_id)
            yield row

    monkeypatch.setattr(QuerySet, "iterator", note)
    assert [change.external_id for change in actions.changes(*two)] == ["disputed", "later"]
    assert sorted(read) == ["disputed", "disputed", "later"]


@pytest.mark.django_db(transaction=True)
def test_a_long_comparison_comes_in_pages(
    client: Client, world: World, two: tuple[Release, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "COMPARED_PER_PAGE", 1)
    client.force_login(world.reviewer)
    url = f"/releases/{two[0].pk}/compare/{two[1].pk}/"
    html = client.get(url + "?page=2").content.decode()
    assert "Page 2 of 2" in html
    assert ">later</a>" in html and ">disputed</a>" not in html
    assert 'href="?page=1"' in html


@pytest.mark.django_db(transaction=True)
def test_the_list_of_releases_leads_to_the_changes_since_the_one_before(
    client: Client, world: World, two: tuple[Release, Release]
) -> None:
    client.force_login(world.reviewer)
    html = client.get("/projects/demo/releases/").content.decode()
    assert html.count("/compare/") == 1
    assert f'<a href="/releases/{two[0].pk}/compare/{two[1].pk}/">since release 1</a>' in html
