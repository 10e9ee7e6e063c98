"""The list of reviews and the review page."""

import re
from datetime import timedelta
from html import unescape
from typing import Any, Protocol

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.adjudication import actions, reading
from annotator.adjudication.actions import DecisionIn
from annotator.models import Adjudication, Annotation, AuditEvent, Dispute, GoldLabel, Review, Trajectory, User
from tests.factories import World, judge, label, make_trajectory, make_world

HTMX = {"HX-Request": "true"}
ACCESS = [
    ("anonymous is sent to login", None, 302),
    ("outsiders learn nothing", "outsider", 404),
    ("annotators are told", "annotator", 403),
    ("reviewers may", "reviewer", 200),
    ("admins may", "admin", 200),
]


def disputed(
    world: World, first: list[int], second: list[int], *, outcomes: tuple[int, int] = (1, 1), external_id: str = ""
) -> Trajectory:
    names: dict[str, Any] = {"external_id": external_id} if external_id else {}
    trajectory = make_trajectory(world.project, n_steps=len(first), **names)
    judge(trajectory, world.annotator, first, outcomes[0])
    judge(trajectory, world.second, second, outcomes[1])
    return trajectory


def review_of(trajectory: Trajectory) -> Review:
    return Review.objects.get(trajectory=trajectory)


def dispute_of(trajectory: Trajectory, step: int | None) -> Dispute:
    disputes = Dispute.objects.select_related("trajectory", "step").filter(trajectory=trajectory)
    return next(d for d in disputes if (d.step and d.step.index) == step)


def decide(trajectory: Trajectory, step: int | None, reviewer: User, value: int | None = 1, note: str = "") -> None:
    """With all before them that was decided so far."""
    dispute = dispute_of(trajectory, step)
    version = actions.version_now([dispute], reviewer)
    given = DecisionIn(value=value, reason_code="ambiguous", note=note, version=version)
    flow.decide(dispute, reviewer, given)


def list_url(world: World) -> str:
    return reverse("review-list", args=[world.project.slug])


def detail_url(trajectory: Trajectory) -> str:
    return reverse("review-detail", args=[review_of(trajectory).pk])


def decide_url(trajectory: Trajectory, step: int | None) -> str:
    return reverse("dispute-decide", args=[review_of(trajectory).pk, dispute_of(trajectory, step).pk])


class Response(Protocol):
    content: bytes


def text_of(response: Response) -> str:
    """What a person reads: no tags, single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


@pytest.fixture
def as_reviewer(world: World, client: Client) -> Client:
    client.force_login(world.reviewer)
    return client


# Who may see and do what.


@pytest.mark.parametrize(("_case", "who", "status"), ACCESS)
@pytest.mark.parametrize("page", ["list", "detail"])
def test_reading_access(_case: str, who: str | None, status: int, page: str, world: World, client: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    if who:
        client.force_login(world.user(who))
    url = list_url(world) if page == "list" else detail_url(trajectory)
    assert client.get(url).status_code == status


@pytest.mark.parametrize(("_case", "who", "status"), [(case, who, 302 if s == 200 else s) for case, who, s in ACCESS])
@pytest.mark.parametrize("doing", ["claim", "release", "decide"])
def test_doing_access(_case: str, who: str | None, status: int, doing: str, world: World, client: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    if who:
        client.force_login(world.user(who))
    before = Review.objects.filter(trajectory=trajectory).values().get()
    url, data = {
        "claim": (reverse("review-claim", args=[world.project.slug]), {}),
        "release": (reverse("review-release", args=[review_of(trajectory).pk]), {}),
        "decide": (decide_url(trajectory, 0), {"value": "1", "reason_code": "slip", "note": ""}),
    }[doing]
    assert client.get(url).status_code == (302 if who is None else 405)
    response = client.post(url, data)
    assert response.status_code == status
    if who not in ("reviewer", "admin"):
        assert Review.objects.filter(trajectory=trajectory).values().get() == before
        assert not Adjudication.objects.exists()


def test_a_reviewer_of_another_project_sees_and_decides_nothing(world: World, client: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    client.force_login(make_world("elsewhere").reviewer)
    data = {"value": "1", "reason_code": "slip", "note": ""}
    assert client.get(detail_url(trajectory)).status_code == 404
    assert client.post(decide_url(trajectory, 0), data).status_code == 404
    claim = reverse("review-claim", args=["elsewhere"])
    assert client.post(claim, {"review": review_of(trajectory).pk}).status_code == 404
    assert review_of(trajectory).status == "open"
    assert not Adjudication.objects.exists()


# The list.


def test_the_list_is_worst_first_and_says_how_far_apart(world: World, as_reviewer: Client) -> None:
    disputed(world, [1, 1], [1, 0], external_id="mild")
    disputed(world, [1, 1, 1], [-1, -1, 0], outcomes=(1, -1), external_id="worst")
    disputed(world, [1, 1], [1, -1], external_id="middle")
    disputed(world, [1, 1], [1, 1], external_id="agreed")
    response = as_reviewer.get(list_url(world))
    assert [row.review.trajectory.external_id for row in response.context["rows"]] == ["worst", "middle", "mild"]
    assert [(row.n_disputes, row.severity) for row in response.context["rows"]] == [
        (4, "2 steps +1 against −1, 1 step with a 0, the outcome +1 against −1"),
        (1, "1 step +1 against −1"),
        (1, "1 step with a 0"),
    ]
    assert "Undecided (3)" in text_of(response)
    assert "agreed" not in text_of(response)


def test_the_list_says_who_holds_what(world: World, as_reviewer: Client) -> None:
    held = disputed(world, [1], [-1])
    lapsed = disputed(world, [1], [0])
    free = disputed(world, [0], [1])
    actions.claim(review_of(held).pk, world.admin)
    actions.claim(review_of(lapsed).pk, world.admin)
    Review.objects.filter(trajectory=lapsed).update(lease_expires_at=now() - timedelta(seconds=1))
    response = as_reviewer.get(list_url(world))
    holders = {row.review.trajectory_id: row.holder for row in response.context["rows"]}
    assert holders == {held.pk: world.admin, lapsed.pk: None, free.pk: None}
    until = review_of(held).lease_expires_at
    assert f"held by demo-ada until {until:%H:%M} UTC" in text_of(response)


def test_the_list_shows_what_was_decided_recently(world: World, as_reviewer: Client) -> None:
    for name in ("decided first", "decided last"):
        decide(disputed(world, [1], [-1], external_id=name), 0, world.reviewer)
    response = as_reviewer.get(list_url(world))
    assert [review.trajectory.external_id for review in response.context["decided"]] == [
        "decided last",
        "decided first",
    ]
    assert "No dispute is undecided." in text_of(response)
    assert "Review the first one" not in text_of(response)


def test_where_the_raters_came_to_agree_nothing_was_decided(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(disputed(world, [1], [-1], external_id="decided"), 0, world.reviewer)
    annotation = Annotation.objects.submitted().get(trajectory=trajectory, annotator=world.second)
    actions.return_to_author(annotation.pk, world.reviewer, "Look again.")
    label(annotation.assignment, world.second, {0: 1})
    flow.submit(annotation.assignment_id, world.second)
    decided = as_reviewer.get(list_url(world)).context["decided"]
    assert [review.trajectory.external_id for review in decided] == ["decided"]
    assert "Nothing is disputed any more: the raters agree." in text_of(as_reviewer.get(detail_url(trajectory)))


def test_the_list_is_paged(world: World, as_reviewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotator.adjudication.views.PER_PAGE", 2)
    for _ in range(3):
        disputed(world, [1], [-1])
    first, second = (as_reviewer.get(list_url(world), {"page": number}) for number in (1, 2))
    assert [len(response.context["rows"]) for response in (first, second)] == [2, 1]
    assert "Page 1 of 2 Next" in text_of(first)
    assert "Previous Page 2 of 2" in text_of(second)


def test_list_query_budget(
    world: World, as_reviewer: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        disputed(world, [1], [-1])
    decide(Trajectory.objects.earliest("id"), 0, world.admin)
    # session, user, membership, count, rows, held, decided, second decisions
    with django_assert_max_num_queries(8):
        as_reviewer.get(list_url(world))


# Claiming and giving back.


def test_claiming_opens_the_worst_trajectory(world: World, as_reviewer: Client) -> None:
    disputed(world, [1], [0])
    worst = disputed(world, [1], [-1])
    response = as_reviewer.post(reverse("review-claim", args=["demo"]))
    assert (response.status_code, response["Location"]) == (302, detail_url(worst))
    assert review_of(worst).reviewer == world.reviewer


def test_whoever_holds_one_is_led_back_to_it_by_a_button_that_says_so(world: World, as_reviewer: Client) -> None:
    mild = disputed(world, [1], [0])
    disputed(world, [1], [-1])
    assert "Review the first one" in text_of(as_reviewer.get(list_url(world)))
    actions.claim(review_of(mild).pk, world.reviewer)
    text = text_of(as_reviewer.get(list_url(world)))
    assert "Go on with the one you hold" in text
    assert "Review the first one" not in text
    assert as_reviewer.post(reverse("review-claim", args=["demo"]))["Location"] == detail_url(mild)
    Review.objects.filter(pk=review_of(mild).pk).update(lease_expires_at=now() - timedelta(seconds=1))
    assert "Review the first one" in text_of(as_reviewer.get(list_url(world)))


def test_claiming_a_named_trajectory(world: World, as_reviewer: Client) -> None:
    mild = disputed(world, [1], [0])
    disputed(world, [1], [-1])
    response = as_reviewer.post(reverse("review-claim", args=["demo"]), {"review": review_of(mild).pk})
    assert response["Location"] == detail_url(mild)
    assert review_of(mild).reviewer == world.reviewer


def test_claiming_a_trajectory_that_somebody_holds_shows_it_with_the_reason(world: World, as_reviewer: Client) -> None:
    held = disputed(world, [1], [-1])
    actions.claim(review_of(held).pk, world.admin)
    response = as_reviewer.post(reverse("review-claim", args=["demo"]), {"review": review_of(held).pk}, follow=True)
    assert "Another reviewer holds this trajectory. Take the next one" in text_of(response)
    assert review_of(held).reviewer == world.admin


def test_claiming_what_does_not_exist_is_not_found(world: World, as_reviewer: Client) -> None:
    for wanted in ("999999", "x"):
        assert as_reviewer.post(reverse("review-claim", args=["demo"]), {"review": wanted}).status_code == 404


def test_claiming_says_when_nothing_is_left(world: World, as_reviewer: Client) -> None:
    response = as_reviewer.post(reverse("review-claim", args=["demo"]), follow=True)
    assert response.redirect_chain == [(list_url(world), 302)]
    assert "No trajectory with disputes is free at the moment." in text_of(response)


def test_giving_back_returns_to_the_list(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    actions.claim(review_of(trajectory).pk, world.reviewer)
    response = as_reviewer.post(reverse("review-release", args=[review_of(trajectory).pk]), follow=True)
    assert response.redirect_chain == [(list_url(world), 302)]
    assert "Others can review the trajectory now; your decisions stay." in text_of(response)
    assert review_of(trajectory).status == "open"


# The page.


def test_the_page_shows_the_disputed_steps_in_context_and_folds_the_rest(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1, 1, 1, 1, 1, 1], [1, 1, -1, 1, 1, 1], outcomes=(1, 0))
    page = as_reviewer.get(detail_url(trajectory)).context["page"]
    third, outcome = page.passages
    assert third.skipped_title == "Steps 1 to 2, not disputed"
    assert [block.role for block in third.skipped] == ["system", "user", "assistant", "tool", "assistant"]
    assert [block.role for block in third.before] == ["tool"]
    assert (third.step.step, third.case.name) == (2, "Step 3")
    assert outcome.skipped_title == "Steps 4 to 5, not disputed"
    assert [block.step for block in outcome.before] == [None, 5]
    assert (outcome.step, outcome.case.name) == (None, "Outcome")
    assert page.rest == []
    shown = [b for p in page.passages for b in [*p.skipped, *p.before, *([p.step] if p.step else [])]]
    assert [block.message_index for block in shown] == list(range(len(trajectory.messages)))


def test_what_follows_the_last_disputed_step_is_folded(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1, 1, 1], [-1, 1, 1])
    response = as_reviewer.get(detail_url(trajectory))
    page = response.context["page"]
    assert page.rest_title == "Steps 2 to 3, not disputed"
    assert [block.step for block in page.rest] == [None, 1, None, 2]
    text = text_of(response)
    assert "Guideline, version 1" in text
    assert "Judge every step." in text


def test_raters_are_letters_in_the_order_of_submission_and_never_names(world: World, as_reviewer: Client) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    judge(trajectory, world.second, [-1, 1])
    judge(trajectory, world.annotator, [1, 0])
    response = as_reviewer.get(detail_url(trajectory))
    ratings = [[(r.rater, r.value) for r in case.ratings] for case in response.context["page"].cases]
    assert ratings == [[("A", -1), ("B", 1)], [("A", 1), ("B", 0)]]
    assert "A −1 B +1" in text_of(response)
    for name in ("demo-ann", "demo-bob"):
        assert name not in response.content.decode()


@pytest.mark.parametrize(("number", "expected"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA")])
def test_letters_go_on_after_z(number: int, expected: str) -> None:
    assert reading.letter(number) == expected


def test_reading_holds_nothing(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    n_events = AuditEvent.objects.count()
    response = as_reviewer.get(detail_url(trajectory))
    assert "Your first decision holds it for you for an hour." in text_of(response)
    assert (review_of(trajectory).status, AuditEvent.objects.count()) == ("open", n_events)


def test_a_page_that_another_reviewer_holds_can_be_read_only(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    held = actions.claim(review_of(trajectory).pk, world.admin)
    response = as_reviewer.get(detail_url(trajectory))
    assert f"Another reviewer holds this until {held.lease_expires_at:%H:%M} UTC . You can read it" in text_of(response)
    assert "demo-ada" not in response.content.decode()
    assert "<fieldset disabled>" in response.content.decode()


def test_the_holder_sees_until_when(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    held = actions.claim(review_of(trajectory).pk, world.reviewer)
    response = as_reviewer.get(detail_url(trajectory))
    assert f"You hold this trajectory until {held.lease_expires_at:%H:%M} UTC . Give it back" in text_of(response)
    assert "<fieldset disabled>" not in response.content.decode()


def test_earlier_decisions_stay_visible_in_order(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, 0, world.reviewer, 0, "See rule 3.")
    decide(trajectory, 0, world.admin, None)
    first, second = Adjudication.objects.order_by("id")
    text = text_of(as_reviewer.get(detail_url(trajectory)))
    said = "the guideline does not settle it"
    at = [f"{d.decided_at.day} {d.decided_at:%b %Y, %H:%M} UTC" for d in (first, second)]
    assert f"demo-rita: 0 , {said}, {at[0]} — overruled See rule 3." in text
    assert f"demo-ada: undecidable , {said}, {at[1]} Decide again" in text
    assert "Every dispute of this trajectory is decided. Next trajectory" in text


def test_detail_query_budget(
    world: World, as_reviewer: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    trajectory = disputed(world, [1, 1, 1], [-1, 0, -1])
    decide(trajectory, 0, world.admin)
    decide(trajectory, 1, world.admin)
    url = detail_url(trajectory)
    # session, user, review, membership, own slot, revealed, letters, annotations, returns, disputes, decisions,
    # reviewers, labels, comments, guideline
    with django_assert_max_num_queries(15):
        as_reviewer.get(url)


# Deciding.


def test_without_javascript_a_decision_leads_to_the_next_dispute(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1, 1], [-1, 0])
    data = {"value": "-1", "reason_code": "propagation", "note": "Wrong query."}
    response = as_reviewer.post(decide_url(trajectory, 0), data)
    assert response.status_code == 302
    assert response["Location"] == f"{detail_url(trajectory)}#dispute-{dispute_of(trajectory, 1).pk}"
    stored = Adjudication.objects.get()
    assert (stored.value, stored.reason_code, stored.note) == (-1, "propagation", "Wrong query.")
    assert review_of(trajectory).reviewer == world.reviewer


def test_after_the_last_dispute_comes_the_first_that_was_left_out(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1, 1], [-1, 0], outcomes=(1, -1))
    data = {"value": "undecidable", "reason_code": "ambiguous", "note": ""}
    response = as_reviewer.post(decide_url(trajectory, None), data)
    assert response["Location"].endswith(f"#dispute-{dispute_of(trajectory, 0).pk}")
    assert Adjudication.objects.get().value is None


def test_the_last_decision_leads_to_the_notice(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    response = as_reviewer.post(decide_url(trajectory, 0), {"value": "1", "reason_code": "slip", "note": ""})
    assert response["Location"] == f"{detail_url(trajectory)}#review-done"


def test_htmx_swaps_only_the_decision_and_announces_it(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1, 1], [-1, 0])
    first, second = dispute_of(trajectory, 0).pk, dispute_of(trajectory, 1).pk
    data = {"value": "-1", "reason_code": "slip", "note": ""}
    response = as_reviewer.post(decide_url(trajectory, 0), data, headers=HTMX)
    html = response.content.decode()
    assert response.status_code == 200
    assert "<html" not in html
    assert f'id="decision-{first}" data-next="dispute-{second}"' in html
    assert f'id="decision-{second}"' not in html
    assert '<p hx-swap-oob="innerHTML:#review-status">Step 1 decided as −1. 1 dispute left.</p>' in html
    assert "1 of 2 decided" in text_of(response)


def test_htmx_offers_the_next_trajectory_after_the_last_decision(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    data = {"value": "undecidable", "reason_code": "slip", "note": ""}
    response = as_reviewer.post(decide_url(trajectory, 0), data, headers=HTMX)
    assert 'data-next="review-done"' in response.content.decode()
    said = "Step 1 decided as undecidable. Every dispute of this trajectory is decided."
    assert said in text_of(response)
    assert "Next trajectory" in text_of(response)


WRONG = [
    ("nothing chosen", {}, ["Choose a value, or undecidable.", "Choose the reason why the raters differ."]),
    (
        "a value outside the scale",
        {"value": "2", "reason_code": "slip", "note": "kept as typed"},
        ["Select a valid choice. 2 is not one of the available choices."],
    ),
    (
        "other needs a note",
        {"value": "0", "reason_code": "other", "note": ""},
        ["Reason 'other' needs a note that says which."],
    ),
    (
        "a character that cannot be stored",
        {"value": "0", "reason_code": "slip", "note": "a\x00b"},
        ["Null characters are not allowed."],
    ),
    (
        "a note that is too long",
        {"value": "0", "reason_code": "slip", "note": "x" * 10_001},
        ["The note has 10001 characters; at most 10000 are stored. Shorten it."],
    ),
]


@pytest.mark.parametrize(("_case", "data", "errors"), WRONG)
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
def test_an_invalid_decision_comes_back_as_the_form(
    _case: str,
    data: dict[str, str],
    errors: list[str],
    headers: dict[str, str],
    world: World,
    as_reviewer: Client,
) -> None:
    trajectory = disputed(world, [1, 1], [-1, 0])
    response = as_reviewer.post(decide_url(trajectory, 0), data, headers=headers)
    assert response.status_code == 422
    form = response.context["page"].cases[0].form
    assert [message for messages in form.errors.values() for message in messages] == errors
    for message in errors:
        assert text_of(response).count(message) == 1
    html = response.content.decode()
    assert "aria-invalid" in html
    if data.get("note") == "kept as typed":
        assert "kept as typed</textarea>" in html
        assert '<option value="slip" selected>' in html
    assert ("<html" in html) is (headers == {})
    assert not Adjudication.objects.exists()
    assert review_of(trajectory).status == "open"


@pytest.mark.parametrize(("headers", "status"), [({}, 409), (HTMX, 422)], ids=["page", "htmx"])
def test_deciding_what_another_reviewer_holds_is_refused_and_changes_nothing(
    headers: dict[str, str], status: int, world: World, as_reviewer: Client
) -> None:
    trajectory = disputed(world, [1], [-1])
    actions.claim(review_of(trajectory).pk, world.admin)
    before = Review.objects.filter(trajectory=trajectory).values().get()
    data = {"value": "1", "reason_code": "slip", "note": "kept as typed"}
    response = as_reviewer.post(decide_url(trajectory, 0), data, headers=headers)
    assert response.status_code == status
    assert "Another reviewer holds this trajectory. Take the next one" in text_of(response)
    assert "kept as typed" in text_of(response)
    assert Review.objects.filter(trajectory=trajectory).values().get() == before
    assert not Adjudication.objects.exists()
    assert not GoldLabel.objects.filter(step__isnull=False).exists()


def test_overruling_keeps_both_decisions(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [-1])
    decide(trajectory, 0, world.admin, 1)
    version = as_reviewer.get(detail_url(trajectory)).context["page"].cases[0].version
    data = {"value": "-1", "reason_code": "hindsight", "note": "", "version": version}
    as_reviewer.post(decide_url(trajectory, 0), data)
    assert list(Adjudication.objects.order_by("id").values_list("reviewer__username", "value")) == [
        ("demo-ada", 1),
        ("demo-rita", -1),
    ]
    assert GoldLabel.objects.get(trajectory=trajectory, step__index=0).value == -1
    text = text_of(as_reviewer.get(detail_url(trajectory)))
    assert text.index("demo-ada: +1") < text.index("— overruled") < text.index("demo-rita: −1")


@pytest.mark.parametrize(("headers", "status"), [({}, 409), (HTMX, 422)], ids=["page", "htmx"])
def test_a_stale_page_does_not_overrule_a_colleague(
    headers: dict[str, str], status: int, world: World, as_reviewer: Client
) -> None:
    trajectory = disputed(world, [1], [-1])
    stale = as_reviewer.get(detail_url(trajectory)).context["page"].cases[0].version
    decide(trajectory, 0, world.admin, 1)
    data = {"value": "-1", "reason_code": "hindsight", "note": "kept as typed", "version": stale}
    response = as_reviewer.post(decide_url(trajectory, 0), data, headers=headers)
    assert response.status_code == status
    text = text_of(response)
    assert "another reviewer has decided or a rater has changed a judgement meanwhile" in text
    assert "demo-ada: +1" in text
    assert "kept as typed" in text
    assert Adjudication.objects.get().value == 1
    assert GoldLabel.objects.get(trajectory=trajectory, step__index=0).value == 1
    fresh = response.context["page"].cases[0].version
    assert f'name="version" value="{fresh}"' in response.content.decode()
    assert as_reviewer.post(decide_url(trajectory, 0), data | {"version": fresh}).status_code == 302
    assert GoldLabel.objects.get(trajectory=trajectory, step__index=0).value == -1


def test_hostile_text_is_shown_as_text(world: World, as_reviewer: Client) -> None:
    hostile = "<script>alert(1)</script>"
    messages = [{"role": "user", "content": hostile}, {"role": "assistant", "content": hostile}]
    trajectory = make_trajectory(world.project, messages=messages, instruction=hostile, tools=[{"name": hostile}])
    judge(trajectory, world.annotator, [1])
    judge(trajectory, world.second, [-1])
    decide(trajectory, 0, world.admin, 1, hostile)
    for url in (detail_url(trajectory), list_url(world)):
        assert hostile not in as_reviewer.get(url).content.decode()
