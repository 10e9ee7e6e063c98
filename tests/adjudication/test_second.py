"""The blind second reviewer: who decides when, what settles a dispute, and what nobody sees too early."""

import io
import json
import re
from functools import partial
from html import unescape
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from annotator import flow
from annotator.adjudication import actions, listing
from annotator.adjudication.actions import DecisionIn
from annotator.adjudication.turns import is_drawn
from annotator.agreement import actions as agreement
from annotator.errors import DecisionOutdated, ReviewHeld
from annotator.labelling import revisions
from annotator.models import (
    Adjudication,
    Annotation,
    AuditEvent,
    Dispute,
    GoldLabel,
    Membership,
    Project,
    Release,
    Review,
    StepComment,
    Trajectory,
    User,
)
from annotator.projects import actions as projects
from annotator.releases.files import export
from annotator.releases.freezing import releasable
from annotator.releases.policy import ReleasePolicy
from tests.api.client import client_of, post, refused
from tests.factories import World, judge, label, make_member, make_project, make_trajectory, make_world
from tests.queue.test_concurrency import run_at_once

HTMX = {"HX-Request": "true"}
NOTE = "zebra crossing at the second tower"
REASON = "a rater judged by what came later"  # of the code `hindsight`


@pytest.fixture
def world(db: None) -> World:
    """Every disputed trajectory is decided by two: `reviewer`, and `admin` or the reviewer `outsider`."""
    world = make_world(second_review=100)
    projects.add_member(world.project, world.outsider, Membership.Role.REVIEWER, user=None)
    return world


def disputed(world: World, first: list[int], second: list[int], outcomes: tuple[int, int] = (1, 1)) -> Trajectory:
    trajectory = make_trajectory(world.project, n_steps=len(first))
    judge(trajectory, world.annotator, first, outcomes[0])
    judge(trajectory, world.second, second, outcomes[1])
    return trajectory


def dispute_of(trajectory: Trajectory, step: int | None = 0) -> Dispute:
    disputes = Dispute.objects.select_related("trajectory", "step").filter(trajectory=trajectory)
    return next(d for d in disputes if (d.step and d.step.index) == step)


def version_for(user: User, trajectory: Trajectory, *steps: int | None) -> str:
    return actions.version_now([dispute_of(trajectory, step) for step in steps or (0,)], user)


def decide(trajectory: Trajectory, user: User, value: int | None, *, step: int | None = 0, **more: Any) -> Adjudication:
    given = DecisionIn(value=value, reason_code="hindsight", note=NOTE, **more)
    return flow.decide(dispute_of(trajectory, step), user, given)


def decide_url(trajectory: Trajectory, step: int = 0) -> str:
    return reverse("dispute-decide", args=[review_of(trajectory).pk, dispute_of(trajectory, step).pk])


def review_of(trajectory: Trajectory) -> Review:
    return Review.objects.get(trajectory=trajectory)


def gold_of(trajectory: Trajectory, step: int = 0) -> tuple[int | None, str] | None:
    return GoldLabel.objects.filter(trajectory=trajectory, step__index=step).values_list("value", "provenance").first()


def turns_of(trajectory: Trajectory, step: int = 0) -> list[str]:
    return list(dispute_of(trajectory, step).adjudications.values_list("turn", flat=True))


# The draw.


@pytest.mark.parametrize(("percent", "n"), [(0, 0), (10, 98), (50, 503), (100, 1000)])
def test_the_draw_takes_its_share_and_a_larger_share_keeps_who_was_drawn(percent: int, n: int) -> None:
    drawn = [number for number in range(1000) if is_drawn("demo", f"t-{number}", percent)]
    assert len(drawn) == n
    assert all(is_drawn("demo", f"t-{number}", 100) for number in drawn)
    assert all(is_drawn("demo", f"t-{number}", percent + 20) for number in drawn)


def test_the_draw_is_made_when_the_review_opens_and_stays(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    assert review_of(trajectory).needs_second
    projects.change_settings(world.project, {"second_review": 0}, user=world.admin)
    actions.refresh_review(trajectory.pk)
    assert review_of(trajectory).needs_second
    assert not review_of(disputed(world, [1], [-1])).needs_second


# What settles a dispute.


@pytest.mark.parametrize("value", [-1, None])
def test_two_reviewers_who_decide_alike_settle_the_dispute(world: World, value: int | None) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, world.reviewer, value)
    assert gold_of(trajectory) is None
    assert dispute_of(trajectory).decided_at is None
    review = review_of(trajectory)
    assert (review.status, review.reviewer, review.severity) == ("open", None, 2)
    second = decide(trajectory, world.admin, value)
    assert gold_of(trajectory) == (value, "adjudicated")
    assert dispute_of(trajectory).decided_at == second.decided_at
    assert review_of(trajectory).status == "done"
    assert turns_of(trajectory) == ["first", "second"]


def test_two_who_differ_leave_it_to_a_decision_in_the_open(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, world.reviewer, 1)
    decide(trajectory, world.admin, -1)
    assert gold_of(trajectory) is None
    review = review_of(trajectory)
    assert (review.status, review.reviewer) == ("claimed", world.admin)
    actions.release_claim(review.pk, world.admin)
    decide(trajectory, world.outsider, 0, version=version_for(world.outsider, trajectory))
    assert gold_of(trajectory) == (0, "adjudicated")
    assert turns_of(trajectory) == ["first", "second", "open"]
    assert review_of(trajectory).status == "done"
    decide(trajectory, world.reviewer, 1, version=version_for(world.reviewer, trajectory))
    assert gold_of(trajectory) == (1, "adjudicated")
    assert turns_of(trajectory) == ["first", "second", "open", "open"]


def test_the_audit_trail_keeps_the_turns_but_not_what_was_decided_first(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    made = [decide(trajectory, world.reviewer, 1), decide(trajectory, world.admin, -1)]
    events = AuditEvent.objects.filter(action="dispute.decided").order_by("id")
    assert [event.data for event in events] == [
        {"adjudication": made[0].pk, "turn": "first", "settles": False},
        {"adjudication": made[1].pk, "turn": "second", "settles": False, "value": -1},
    ]


def test_the_first_reviewer_does_not_decide_twice(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, world.reviewer, 1)
    with pytest.raises(DecisionOutdated, match="You have decided this already"):
        decide(trajectory, world.reviewer, 1)
    assert turns_of(trajectory) == ["first"]
    review = review_of(trajectory)
    assert (review.status, review.reviewer, gold_of(trajectory)) == ("open", None, None)


def test_a_difference_is_settled_only_by_who_has_seen_it(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    blind = version_for(world.outsider, trajectory)
    decide(trajectory, world.reviewer, 1)
    assert version_for(world.outsider, trajectory) == blind
    decide(trajectory, world.admin, -1)
    # The second decision sent again because its answer was lost; then somebody whose page is older than the second one.
    with pytest.raises(DecisionOutdated, match="another reviewer has decided"):
        decide(trajectory, world.admin, -1)
    actions.release_claim(review_of(trajectory).pk, world.admin)
    with pytest.raises(DecisionOutdated):
        decide(trajectory, world.outsider, -1, version=blind)
    assert turns_of(trajectory) == ["first", "second"]
    assert gold_of(trajectory) is None
    assert review_of(trajectory).status == "open"


@pytest.mark.parametrize(
    ("turn", "same_reviewer", "constraint"),
    [
        ("first", False, "adjudication_one_per_turn"),
        ("second", True, "adjudication_second_is_somebody_else"),
    ],
)
def test_the_database_refuses_two_firsts_and_a_second_by_the_first(
    world: World, turn: str, same_reviewer: bool, constraint: str
) -> None:
    trajectory = disputed(world, [1], [-1])
    made = decide(trajectory, world.reviewer, 1)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Adjudication.objects.create(
            dispute=made.dispute,
            reviewer=world.reviewer if same_reviewer else world.admin,
            value=1,
            reason_code="slip",
            decided_at=made.decided_at,
            turn=turn,
        )
    assert Adjudication.objects.count() == 1


# Who gets the trajectory when.


def test_who_has_decided_all_hands_the_trajectory_on(world: World) -> None:
    trajectory = disputed(world, [1, 1], [-1, -1])
    mild = disputed(world, [1], [0])
    claimed = actions.claim_next(world.project, world.reviewer)
    assert claimed == review_of(trajectory)
    decide(trajectory, world.reviewer, 1, step=0)
    assert review_of(trajectory).reviewer == world.reviewer
    decide(trajectory, world.reviewer, 1, step=1)
    assert review_of(trajectory).reviewer is None
    assert AuditEvent.objects.filter(action="review.released", user=world.reviewer).count() == 1
    # It is the worst one still, but for somebody else.
    assert actions.claim_next(world.project, world.reviewer) == review_of(mild)
    assert actions.claim_next(world.project, world.admin) == review_of(trajectory)
    with pytest.raises(ReviewHeld):
        actions.claim(review_of(trajectory).pk, world.reviewer)


def test_who_has_nothing_left_to_decide_holds_nothing(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, world.reviewer, 1)
    review = actions.claim(review_of(trajectory).pk, world.reviewer)
    assert (review.status, review.reviewer) == ("open", None)
    assert actions.claim_next(world.project, world.reviewer) is None


def test_either_may_be_first_on_each_step(world: World) -> None:
    trajectory = disputed(world, [1, 1], [-1, -1])
    decide(trajectory, world.reviewer, 1, step=0)
    actions.release_claim(review_of(trajectory).pk, world.reviewer)
    decide(trajectory, world.admin, -1, step=1)
    decide(trajectory, world.admin, 1, step=0)  # it settles this step, and what is left is not theirs
    assert (review_of(trajectory).status, review_of(trajectory).reviewer) == ("open", None)
    assert [gold_of(trajectory, step) for step in (0, 1)] == [(1, "adjudicated"), None]
    decide(trajectory, world.reviewer, -1, step=1)
    assert review_of(trajectory).status == "done"
    first = Adjudication.objects.filter(turn="first").order_by("id").values_list("reviewer__username", flat=True)
    assert list(first) == ["demo-rita", "demo-ada"]


def test_a_run_is_decided_blind_at_once_and_by_two(world: World) -> None:
    trajectory = disputed(world, [1, 1, 1], [-1, -1, 1])
    ids = [dispute_of(trajectory, step).pk for step in (0, 1)]
    blind = version_for(world.admin, trajectory, 0, 1)
    given = DecisionIn(value=-1, reason_code="propagation", version=blind)
    actions.decide_run(trajectory.pk, ids, world.reviewer, given)
    assert review_of(trajectory).status == "open"
    actions.decide_run(trajectory.pk, ids, world.admin, given)
    assert [turns_of(trajectory, step) for step in (0, 1)] == [["first", "second"]] * 2
    assert [gold_of(trajectory, step) for step in (0, 1)] == [(-1, "adjudicated")] * 2
    assert review_of(trajectory).status == "done"


def test_a_run_stores_nothing_if_one_of_its_steps_is_the_others_turn(world: World) -> None:
    trajectory = disputed(world, [1, 1], [-1, -1])
    decide(trajectory, world.reviewer, 1, step=1)
    ids = [dispute_of(trajectory, step).pk for step in (0, 1)]
    with pytest.raises(DecisionOutdated):
        actions.decide_run(trajectory.pk, ids, world.reviewer, DecisionIn(value=-1, reason_code="slip"))
    assert Adjudication.objects.count() == 1


# Returns and new revisions.


def test_a_dispute_with_a_first_decision_stays_though_the_raters_come_to_agree(world: World) -> None:
    trajectory = disputed(world, [1, 1], [-1, -1])
    decide(trajectory, world.reviewer, 1, step=0)
    actions.release_claim(review_of(trajectory).pk, world.reviewer)
    annotation = Annotation.objects.submitted().get(trajectory=trajectory, annotator=world.second)
    actions.return_to_author(annotation.pk, world.reviewer, "Look again.")
    with pytest.raises(ReviewHeld, match="back with its author"):
        decide(trajectory, world.admin, 1, step=0)
    label(annotation.assignment, world.second, {0: 1, 1: 1})
    flow.submit(annotation.assignment_id, world.second)
    assert [d.step.index for d in Dispute.objects.filter(trajectory=trajectory) if d.step] == [0]
    assert gold_of(trajectory, 1) == (1, "unanimous")
    assert gold_of(trajectory, 0) is None
    assert agreement.settle(trajectory.pk) is False
    decide(trajectory, world.admin, 1, step=0)
    assert gold_of(trajectory, 0) == (1, "adjudicated")
    assert review_of(trajectory).status == "done"


def test_a_dispute_that_is_gone_is_not_decided(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    gone = dispute_of(trajectory)
    Dispute.objects.filter(pk=gone.pk).delete()
    with pytest.raises(DecisionOutdated, match="the raters agree on this by now"):
        flow.decide(gone, world.reviewer, DecisionIn(value=1, reason_code="slip"))
    assert not Adjudication.objects.exists()


# Two at once.


@pytest.mark.django_db(transaction=True)
def test_of_reviewers_who_decide_at_once_one_is_first_and_one_is_second() -> None:
    project = make_project(overlap=2, second_review=100)
    people = [make_member(project), make_member(project)]
    reviewers = [make_member(project, "reviewer") for _ in range(6)]
    for _ in range(5):
        trajectory = make_trajectory(project, n_steps=1)
        for person, value in zip(people, (1, -1), strict=True):
            judge(trajectory, person, [value])
        errors = run_at_once([partial(_decide_blind, trajectory, reviewer) for reviewer in reviewers])
        made = Adjudication.objects.filter(dispute__trajectory=trajectory)
        assert [each.turn for each in made] == ["first", "second"]
        assert made[0].reviewer != made[1].reviewer
        assert len(errors) == 4
        assert {type(error) for error in errors} <= {ReviewHeld, DecisionOutdated}
        alike = made[0].value == made[1].value
        assert gold_of(trajectory) == ((made[0].value, "adjudicated") if alike else None)


def _decide_blind(trajectory: Trajectory, reviewer: User) -> None:
    decide(trajectory, reviewer, (-1, 0, 1)[reviewer.pk % 3])


@pytest.mark.django_db(transaction=True)
def test_reviewers_who_take_what_is_next_finish_everything() -> None:
    project = make_project(overlap=2, second_review=100)
    people = [make_member(project), make_member(project)]
    for _ in range(8):
        trajectory = make_trajectory(project, n_steps=1)
        for person, value in zip(people, (1, -1), strict=True):
            judge(trajectory, person, [value])
    reviewers = [make_member(project, "reviewer") for _ in range(4)]
    assert run_at_once([partial(_work, project, reviewer) for reviewer in reviewers]) == []
    for reviewer in reviewers:  # what was held by somebody when the others looked for more
        _work(project, reviewer)
    assert sorted(Adjudication.objects.values_list("turn", flat=True)) == ["first"] * 8 + ["second"] * 8
    assert set(Review.objects.values_list("status", flat=True)) == {"done"}


def _work(project: Project, reviewer: User) -> None:
    while review := actions.claim_next(project, reviewer):
        decide(Trajectory.objects.get(pk=review.trajectory_id), reviewer, 0)


# What the second reviewer gets to see.


def text_of(content: bytes) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", content.decode())).split())


def pages_of(trajectory: Trajectory) -> list[str]:
    """Every address at which a reviewer may look at the trajectory, its disputes or the decisions."""
    review = review_of(trajectory)
    return [
        reverse("review-list", args=["demo"]),
        reverse("review-detail", args=[review.pk]),
        reverse("review-detail", args=[review.pk]) + "?split=1",
        reverse("trajectory-list", args=["demo"]),
        reverse("trajectory-detail", args=["demo", trajectory.pk]),
        reverse("agreement", args=["demo"]),
        reverse("agreement-steps", args=["demo"]),
        reverse("release-list", args=["demo"]),
        "/api/v1/projects/demo/disputes/",
        "/api/v1/projects/demo/disputes/?target=all&status=open",
        "/api/v1/projects/demo/trajectories/",
    ]


def admin_pages() -> list[str]:
    tables = ("disputes", "adjudications", "gold-labels", "audit-events")
    downloads = [f"/projects/demo/data/{name}.{kind}" for name in tables for kind in ("csv", "json")]
    return [reverse("audit-list", args=["demo"]), *downloads]


def bytes_of(client: Client, path: str) -> bytes:
    response: Any = client.get(path)
    assert response.status_code == 200, path
    return b"".join(response.streaming_content) if response.streaming else response.content


@pytest.mark.parametrize("who", ["outsider", "admin"])
def test_nothing_that_a_second_reviewer_may_open_says_what_the_first_decided(
    world: World, client: Client, who: str
) -> None:
    trajectory = disputed(world, [1, 1], [-1, 0])
    first = decide(trajectory, world.reviewer, None, step=0)
    slip = DecisionIn(value=1, reason_code="slip", note="seen when settled")
    flow.decide(dispute_of(trajectory, 1), world.reviewer, slip)
    annotation = Annotation.objects.submitted().get(trajectory=trajectory, annotator=world.annotator)
    for step, text in ((first.dispute.step, f"Why not undecidable? {NOTE}"), (dispute_of(trajectory, 1).step, "Hm.")):
        revisions.comment(annotation, step, world.reviewer, text, project_id=world.project.pk)
    second = world.user(who)
    client.force_login(second)
    shown = {path: bytes_of(client, path) for path in pages_of(trajectory)}
    shown["POST claim"] = client.post(
        reverse("review-claim", args=["demo"]), {"review": review_of(trajectory).pk}, follow=True
    ).content
    url = decide_url(trajectory, 0)
    shown["POST refused"] = client.post(url, {"value": "1"}, headers=HTMX).content
    shown["POST of the other step"] = client.post(
        decide_url(trajectory, 1),
        {"value": "1", "reason_code": "slip", "note": ""},
        headers=HTMX,
    ).content
    # The other step is settled, with what the first reviewer said of it; who that was is still open on this one.
    shown |= {f"{path} later": bytes_of(client, path) for path in pages_of(trajectory)}
    settled = shown[f"{pages_of(trajectory)[1]} later"]
    assert "a reviewer to A" in text_of(settled)
    assert b"seen when settled" in shown["POST of the other step"]
    client.post(reverse("review-raters", args=[review_of(trajectory).pk]))
    shown |= {f"{path} asked": bytes_of(client, path) for path in pages_of(trajectory)}
    if who == "admin":
        shown |= {path: bytes_of(client, path) for path in admin_pages()}
    for path, content in shown.items():
        assert NOTE.encode() not in content, path
        assert b'<span class="value">undecidable</span>' not in content, path
        if path not in admin_pages():  # these say who did something, and when, never what they decided first
            named = [line for line in content.decode().splitlines() if "demo-rita" in line]
            assert named == [], path
    html = shown[reverse("review-detail", args=[review_of(trajectory).pk])].decode()
    assert html.count(REASON) == html.count('<select name="reason_code"')  # only as a choice
    assert "1 comment of another person is shown when you have decided." in text_of(html.encode())
    assert "Another reviewer has decided; you see it when you have decided, too." in text_of(
        shown[reverse("trajectory-detail", args=["demo", trajectory.pk])]
    )
    # Once they have decided, they see it all.
    decide(trajectory, second, 1, step=0)
    for path in pages_of(trajectory)[1:5:3] + pages_of(trajectory)[9:10]:
        assert NOTE.encode() in bytes_of(client, path), path


def test_the_first_reviewer_sees_their_own_decision_and_that_it_waits(world: World, client: Client) -> None:
    trajectory = disputed(world, [1, 1], [-1, 1])
    client.force_login(world.reviewer)
    data = {"value": "-1", "reason_code": "hindsight", "note": NOTE}
    response = client.post(decide_url(trajectory), data, headers=HTMX)
    text = text_of(response.content)
    assert f"You: −1 , {REASON}" in text
    assert "decided blind" in text
    assert "Another reviewer decides this next, without seeing your decision." in text
    assert "You have decided all that you can here. 1 dispute waits for another reviewer, who does not see" in text
    assert 'name="value"' not in response.content.decode()
    listed = text_of(client.get(reverse("review-list", args=["demo"])).content)
    assert "you have decided; waits for another reviewer" in listed
    again = client.post(decide_url(trajectory), data, headers=HTMX)
    assert again.status_code == 422
    assert "You have decided this already; nothing was stored." in text_of(again.content)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (["outsider", "admin"], "another reviewer, who does not see your decision."),
        (["admin"], "an admin, because the project has no other reviewer."),
        ([], "another reviewer, and the project has none. Somebody has to be invited as one."),
    ],
)
def test_the_page_says_who_is_left_to_decide(world: World, client: Client, left: list[str], said: str) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, world.reviewer, 1)
    for who in {"outsider", "admin"} - set(left):
        Membership.objects.filter(project=world.project, user=world.user(who)).delete()
    client.force_login(world.reviewer)
    text = text_of(client.get(reverse("review-detail", args=[review_of(trajectory).pk])).content)
    assert f"1 dispute waits for {said}" in text


def test_two_decisions_that_differ_are_shown_without_names_until_one_asks(world: World, client: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, world.reviewer, 1)
    decide(trajectory, world.admin, -1)
    actions.release_claim(review_of(trajectory).pk, world.admin)
    client.force_login(world.outsider)
    url = reverse("review-detail", args=[review_of(trajectory).pk])
    response = client.get(url)
    text = text_of(response.content)
    assert "First reviewer: +1" in text
    assert "Second reviewer: −1" in text
    assert "The two decisions differ. Whoever decides now has both in sight and settles it." in text
    version = response.context["page"].cases[0].version
    assert f'name="version" value="{version}"' in response.content.decode()
    whole = reverse("trajectory-detail", args=["demo", trajectory.pk])
    for shown in (response.content, client.get(whole).content):
        assert b"demo-rita" not in shown
        assert b"demo-ada" not in shown
    client.post(reverse("review-raters", args=[review_of(trajectory).pk]))
    assert "demo-rita: +1" in text_of(client.get(url).content)
    data = {"value": "1", "reason_code": "guideline", "note": "", "version": version}
    client.post(decide_url(trajectory), data)
    client.force_login(world.admin)
    text = text_of(client.get(url).content)
    at = r"[^—]*— "
    assert re.search(rf"demo-rita: \+1 {at}decided blind {NOTE}", text)
    assert re.search(rf"demo-ada: −1 {at}decided blind, overruled {NOTE} demo-otto: \+1", text)


def test_the_list_says_how_often_the_second_decision_was_the_same(world: World, client: Client) -> None:
    client.force_login(world.admin)
    url = reverse("review-list", args=["demo"])
    assert "by a second reviewer" not in text_of(client.get(url).content)
    for first, second in ((1, 1), (None, None), (0, None), (1, None)):
        trajectory = disputed(world, [1], [-1])
        decide(trajectory, world.reviewer, first)
        assert listing.second_decisions(world.project).n == Adjudication.objects.filter(turn="second").count()
        decide(trajectory, world.admin, second)
    assert listing.second_decisions(world.project) == listing.SecondDecisions(n=4, n_alike=2)
    said = "Of 4 decisions by a second reviewer, made without seeing the first one, 2 (50 %) were the same."
    assert said in text_of(client.get(url).content)


def test_who_holds_a_trajectory_that_two_decide_is_not_named(world: World, client: Client) -> None:
    actions.claim(review_of(disputed(world, [1], [-1])).pk, world.reviewer)
    client.force_login(world.admin)
    response = client.get(reverse("review-list", args=["demo"]))
    assert "held by a reviewer until" in text_of(response.content)
    assert "demo-rita" not in response.content.decode()


def test_the_overview_says_that_a_second_reviewer_is_wanted(world: World, client: Client) -> None:
    trajectory = disputed(world, [1, 1], [-1, -1])
    client.force_login(world.admin)
    overview = reverse("project-overview", args=["demo"])
    assert "2 disputes wait for a reviewer ." in text_of(client.get(overview).content)
    decide(trajectory, world.reviewer, 1)
    said = "2 disputes wait for a reviewer ; on 1 of them one reviewer has decided, and a second one is wanted who does"
    text = text_of(client.get(overview).content)
    assert said in text
    assert "The project has only one reviewer." not in text
    projects.remove_member(Membership.objects.get(user=world.outsider), user=world.admin)
    text = text_of(client.get(overview).content)
    assert "The project has only one reviewer. Decide yourself, unless you were the first, or invite" in text
    client.force_login(world.reviewer)
    assert "An admin can decide, or invite another one." in text_of(client.get(overview).content)


# Releases.


@pytest.mark.django_db(transaction=True)
def test_a_release_keeps_all_decisions_in_order_and_takes_none_before_it_is_settled(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, world.reviewer, 1)
    assert list(releasable(world.project)) == []
    decide(trajectory, world.admin, -1)
    assert list(releasable(world.project)) == []
    decide(trajectory, world.admin, 1, version=version_for(world.admin, trajectory))
    job = flow.publish(world.project, ReleasePolicy(), user=world.admin)
    release = Release.objects.get(pk=job.result["release"])
    out = io.BytesIO()
    export(release, "provenance", out)
    step = json.loads(out.getvalue())["steps"][0]
    codes = dict(Membership.objects.values_list("user", "rater_code"))
    rita, ada = codes[world.reviewer.pk], codes[world.admin.pk]
    assert (step["value"], step["provenance"]) == (1, "adjudicated")
    assert [(d["turn"], d["reviewer"], d["value"], d["note"]) for d in step["decisions"]] == [
        ("first", rita, 1, NOTE),
        ("second", ada, -1, NOTE),
        ("open", ada, 1, NOTE),
    ]


# The API.


def test_over_the_api_a_blind_decision_is_not_shown_before_the_second(world: World) -> None:
    trajectory = disputed(world, [1], [-1])
    dispute = dispute_of(trajectory)
    rita, otto = client_of(world.reviewer), client_of(world.outsider)
    path, decisions = "/api/v1/projects/demo/disputes/", f"/api/v1/disputes/{dispute.pk}/decisions/"
    first = rita.get(path).json()["results"][0]
    assert first["wants"] == "blind"
    body = {"value": 1, "reason_code": "hindsight", "note": NOTE, "version": first["version"]}
    made = post(rita, decisions, body)
    assert (made.status_code, made.json()["turn"], made.json()["reviewer"]) == (201, "first", "demo-rita")
    own, others = (client.get(path).json()["results"][0] for client in (rita, otto))
    assert (own["wants"], own["decisions"], own["status"]) == ("other", [made.json()], "open")
    assert (others["wants"], others["decisions"], others["status"]) == ("blind", [], "open")
    assert others["version"] == first["version"]
    refused(post(rita, decisions, body), 409, "decision.outdated")
    assert post(otto, decisions, {**body, "value": 0}).json()["turn"] == "second"
    both = rita.get(path).json()["results"][0]
    assert (both["wants"], both["status"]) == ("open", "open")
    assert [(d["turn"], d["value"], d["reviewer"]) for d in both["decisions"]] == [
        ("first", 1, "demo-rita"),
        ("second", 0, None),
    ]
    refused(post(otto, decisions, {**body, "value": 0}), 409, "decision.outdated")
    del body["version"]
    refused(post(otto, decisions, body), 409, "decision.outdated")
    assert post(otto, decisions, {**body, "version": both["version"]}).json()["turn"] == "open"
    settled = rita.get(f"{path}?status=decided").json()["results"][0]
    assert [d["reviewer"] for d in settled["decisions"]] == ["demo-rita", "demo-otto", "demo-otto"]
    assert gold_of(trajectory) == (1, "adjudicated")


def test_an_own_comment_is_shown_to_a_second_reviewer(world: World, client: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    first = decide(trajectory, world.reviewer, 1)
    annotation = Annotation.objects.submitted().get(trajectory=trajectory, annotator=world.annotator)
    for author, text in ((world.reviewer, "theirs"), (world.outsider, "mine")):
        StepComment.objects.create(annotation=annotation, step=first.dispute.step, author=author, text=text)
    client.force_login(world.outsider)
    case = client.get(reverse("review-detail", args=[review_of(trajectory).pk])).context["page"].cases[0]
    assert ([spoken.comment.text for spoken in case.comments], case.n_withheld) == (["mine"], 1)
