"""Runs of disputes, returns, comments, and what is at hand about the raters."""

import re
from collections.abc import Collection
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from annotator import flow
from annotator.adjudication import actions, reading
from annotator.adjudication.actions import DecisionIn
from annotator.api import disputes as api_disputes
from annotator.dashboard import trajectory_views
from annotator.errors import AnnotationFinal, DecisionOutdated, ReviewHeld
from annotator.labelling import actions as labelling
from annotator.labelling import revisions
from annotator.labelling.intake import Changes
from annotator.models import (
    Adjudication,
    Annotation,
    AnnotationReturn,
    AuditEvent,
    Dispute,
    GoldLabel,
    Review,
    StepComment,
    Trajectory,
    User,
)
from annotator.queue import actions as queue
from tests.factories import World, judge, label, make_trajectory

DECISION = DecisionIn(value=-1, reason_code="propagation")
ACCESS = [(None, 302), ("outsider", 404), ("annotator", 403), ("reviewer", 302), ("admin", 302)]


def disputed(world: World, first: list[int], second: list[int]) -> Trajectory:
    trajectory = make_trajectory(world.project, n_steps=len(first))
    judge(trajectory, world.annotator, first)
    judge(trajectory, world.second, second)
    return trajectory


def carried(world: World, first: list[int], roots: dict[int, int], second: list[int]) -> Trajectory:
    """The first rater says which errors follow from which."""
    trajectory = make_trajectory(world.project, n_steps=len(first))
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    details = {index: {"root": root} for index, root in roots.items()}
    labelling.save_labels(slot.pk, world.annotator, Changes(dict(enumerate(first)), {"outcome": 1}, details))
    flow.submit(slot.pk, world.annotator)
    judge(trajectory, world.second, second)
    return trajectory


def disputes_of(trajectory: Trajectory) -> list[Dispute]:
    return list(Dispute.objects.filter(trajectory=trajectory).order_by("step__index"))


def annotation_of(trajectory: Trajectory, user: User) -> Annotation:
    return Annotation.objects.submitted().get(trajectory=trajectory, annotator=user)


def detail_url(trajectory: Trajectory) -> str:
    return reverse("review-detail", args=[Review.objects.get(trajectory=trajectory).pk])


def decide_url(trajectory: Trajectory, dispute: Dispute) -> str:
    return reverse("dispute-decide", args=[Review.objects.get(trajectory=trajectory).pk, dispute.pk])


def text_of(content: bytes) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", content.decode())).split())


def runs_on(client: Client, trajectory: Trajectory, query: str = "") -> list[list[int]]:
    """The step numbers of each question on the page."""
    page = client.get(detail_url(trajectory) + query).context["page"]
    return [[p.case.dispute.step.index + 1 for p in group.passages if p.case.dispute.step] for group in page.groups]


@pytest.fixture
def as_reviewer(world: World, client: Client) -> Client:
    client.force_login(world.reviewer)
    return client


# What makes a run.


@pytest.mark.parametrize(
    ("_case", "first", "second", "runs"),
    [
        ("the same side sees errors in a row", [1, -1, -1, -1], [1, 1, 1, 1], [[2, 3, 4]]),
        ("an agreed step in between", [-1, 1, -1], [1, 1, 1], [[1], [3]]),
        ("the sides change", [-1, 1, 1], [1, -1, -1], [[1], [2, 3]]),
        ("a zero is another question", [-1, -1, -1], [1, 1, 0], [[1, 2], [3]]),
        ("two who differ by a zero only", [0, 0], [1, 1], [[1], [2]]),
    ],
)
def test_without_roots_a_run_is_plus_against_minus_in_a_row(
    _case: str, first: list[int], second: list[int], runs: list[list[int]], world: World, as_reviewer: Client
) -> None:
    assert runs_on(as_reviewer, disputed(world, first, second)) == runs


def test_with_roots_a_run_follows_from_one_error(world: World, as_reviewer: Client) -> None:
    trajectory = carried(world, [-1, -1, -1, -1], {1: 0, 3: 2}, [1, 1, 1, 1])
    assert runs_on(as_reviewer, trajectory) == [[1, 2], [3, 4]]
    zeros = carried(world, [-1, -1], {1: 0}, [0, 0])
    assert runs_on(as_reviewer, zeros) == [[1, 2]]


def test_the_run_can_be_split_and_decided_steps_leave_it(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [-1, -1, -1], [1, 1, 1])
    html = as_reviewer.get(detail_url(trajectory)).content.decode()
    assert "Steps 1 to 3: one decision settles the run" in html
    assert html.count("data-decision") == 1
    assert runs_on(as_reviewer, trajectory, "?split=1") == [[1], [2], [3]]
    split = as_reviewer.get(detail_url(trajectory) + "?split=1").content.decode()
    assert split.count("data-decision") == 3
    data = {"value": "-1", "reason_code": "slip", "note": ""}
    first, second, _ = disputes_of(trajectory)
    response = as_reviewer.post(decide_url(trajectory, first) + "?split=1", data)
    assert response["Location"] == f"{detail_url(trajectory)}?split=1#dispute-{second.pk}"
    assert runs_on(as_reviewer, trajectory) == [[1], [2, 3]]


# Deciding a run.


def test_one_decision_settles_the_run_and_each_step_can_be_decided_again(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [-1, -1, 0], [1, 1, 1])
    first, second, third = disputes_of(trajectory)
    data = {"value": "-1", "reason_code": "propagation", "note": "One query.", "dispute": [first.pk, second.pk]}
    response = as_reviewer.post(decide_url(trajectory, first), data)
    assert response["Location"] == f"{detail_url(trajectory)}#dispute-{third.pk}"
    assert list(Adjudication.objects.order_by("id").values_list("dispute", "value", "note")) == [
        (first.pk, -1, "One query."),
        (second.pk, -1, "One query."),
    ]
    assert GoldLabel.objects.filter(trajectory=trajectory, value=-1, provenance="adjudicated").count() == 2
    page = as_reviewer.get(detail_url(trajectory))
    assert "2 steps decided at once; each can be decided again." in text_of(page.content)
    flow.decide(second, world.reviewer, DecisionIn(value=1, reason_code="misread"))
    assert GoldLabel.objects.get(trajectory=trajectory, step=second.step).value == 1


@pytest.mark.parametrize("wrong", ["another trajectory", "unknown", "decided meanwhile", "none"])
def test_a_run_is_decided_whole_or_not_at_all(wrong: str, world: World) -> None:
    trajectory = disputed(world, [-1, -1], [1, 1])
    first, second = disputes_of(trajectory)
    ids = [first.pk, second.pk]
    given = DECISION.model_copy(update={"version": actions.version_now([first, second], world.reviewer)})
    if wrong == "another trajectory":
        ids.append(disputes_of(disputed(world, [-1], [1]))[0].pk)
    elif wrong == "unknown":
        ids.append(999_999)
    elif wrong == "none":
        ids = []
    else:
        flow.decide(second, world.reviewer, DECISION)
    n_before = Adjudication.objects.count()
    with pytest.raises(DecisionOutdated, match="Nothing was stored"):
        actions.decide_run(trajectory.pk, ids, world.reviewer, given)
    assert Adjudication.objects.count() == n_before
    assert not GoldLabel.objects.filter(step=first.step).exists()


def say_anew(world: World, trajectory: Trajectory, values: dict[int, int]) -> None:
    """The first annotation comes back to its author, who gives these values instead."""
    annotation = annotation_of(trajectory, world.annotator)
    returned = actions.return_to_author(annotation.pk, world.admin, "Again.")
    label(returned, world.annotator, values)
    flow.submit(returned.pk, world.annotator)


HTMX = {"HX-Request": "true"}


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
@pytest.mark.parametrize(
    ("_case", "values", "said"),
    [
        ("one step is no part any more", {2: 0}, "a rater has changed a judgement meanwhile"),
        ("the raters agree on the first step", {0: 1}, "the raters agree on some of these steps by now"),
        ("the raters agree on a later step", {2: 1}, "the raters agree on some of these steps by now"),
        ("the raters agree on all", {0: 1, 1: 1, 2: 1, 3: 1}, "the raters agree on this by now"),
    ],
)
def test_a_run_is_decided_only_as_it_was_on_the_page(
    _case: str,
    values: dict[int, int],
    said: str,
    headers: dict[str, str],
    world: World,
    as_reviewer: Client,
) -> None:
    trajectory = disputed(world, [-1, -1, -1, -1], [1, 1, 1, 1])
    first = disputes_of(trajectory)[0]
    (group,) = as_reviewer.get(detail_url(trajectory)).context["page"].groups
    say_anew(world, trajectory, values)
    gold = list(GoldLabel.objects.values())
    data = {"value": "-1", "reason_code": "slip", "dispute": group.ids, "version": group.version}
    response = as_reviewer.post(decide_url(trajectory, first), data, headers=headers)
    assert response.status_code == (422 if headers else 409)
    assert text_of(response.content).count(said) == 1
    assert not Adjudication.objects.exists()
    assert list(GoldLabel.objects.values()) == gold
    # The page is as it stands now, and a decision made on it counts.
    assert [case.dispute for case in response.context["page"].cases] == disputes_of(trajectory)
    if not disputes_of(trajectory):
        assert "Nothing is disputed any more: the raters agree." in text_of(response.content)
        return
    group = response.context["page"].groups[0]
    data |= {"dispute": group.ids, "version": group.version}
    assert f'name="version" value="{group.version}"' in response.content.decode()
    as_reviewer.post(decide_url(trajectory, group.first.dispute), data)
    assert Adjudication.objects.count() == len(group.ids)


def test_a_new_revision_that_says_the_same_of_a_run_changes_nothing(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [-1, -1, 1], [1, 1, 1])
    (group,) = as_reviewer.get(detail_url(trajectory)).context["page"].groups
    say_anew(world, trajectory, {2: 0})
    data = {"value": "-1", "reason_code": "slip", "dispute": group.ids, "version": group.version}
    assert as_reviewer.post(decide_url(trajectory, group.first.dispute), data).status_code == 302
    assert Adjudication.objects.count() == 2


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
def test_a_form_sent_with_gaps_stays_one_about_what_it_showed(
    headers: dict[str, str], world: World, as_reviewer: Client
) -> None:
    trajectory = disputed(world, [-1, -1], [1, 1])
    (group,) = as_reviewer.get(detail_url(trajectory)).context["page"].groups
    say_anew(world, trajectory, {0: 0, 1: 0})
    data = {"value": "-1", "reason_code": "", "dispute": group.ids, "version": group.version}
    response = as_reviewer.post(decide_url(trajectory, group.first.dispute), data, headers=headers)
    assert "Choose the reason why the raters differ." in text_of(response.content)
    assert f'name="version" value="{group.version}"' in response.content.decode()


def test_an_invalid_decision_of_a_run_comes_back_as_the_form(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [-1, -1], [1, 1])
    first, second = disputes_of(trajectory)
    data = {"reason_code": "other", "note": "kept as typed", "dispute": [first.pk, second.pk]}
    response = as_reviewer.post(decide_url(trajectory, first), data)
    assert response.status_code == 422
    assert "kept as typed</textarea>" in response.content.decode()
    assert "Choose a value, or undecidable." in text_of(response.content)
    assert not Adjudication.objects.exists()


def test_a_run_that_another_reviewer_holds_is_not_decided(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [-1, -1], [1, 1])
    actions.claim(Review.objects.get(trajectory=trajectory).pk, world.admin)
    first, second = disputes_of(trajectory)
    data = {"value": "-1", "reason_code": "slip", "dispute": [first.pk, second.pk]}
    response = as_reviewer.post(decide_url(trajectory, first), data)
    assert response.status_code == 409
    assert not Adjudication.objects.exists()


# Who may do what.


@pytest.mark.parametrize(("who", "status"), ACCESS)
@pytest.mark.parametrize("doing", ["run", "reveal", "return", "comment"])
def test_doing_access(doing: str, who: str | None, status: int, world: World, client: Client) -> None:
    trajectory = disputed(world, [-1, -1], [1, 1])
    first, second = disputes_of(trajectory)
    annotation = annotation_of(trajectory, world.annotator)
    if who:
        client.force_login(world.user(who))
    url, data = {
        "run": (
            decide_url(trajectory, first),
            {"value": "1", "reason_code": "slip", "dispute": [second.pk]},
        ),
        "reveal": (reverse("review-raters", args=[Review.objects.get(trajectory=trajectory).pk]), {}),
        "return": (reverse("annotation-return", args=[annotation.pk]), {"message": "Again, please."}),
        "comment": (
            reverse("dispute-comment", args=[first.pk]),
            {"annotation": annotation.pk, "text": "Why?"},
        ),
    }[doing]
    assert client.get(url).status_code == (302 if who is None else 405)
    assert client.post(url, data).status_code == status
    may = who in ("reviewer", "admin")
    n_done = {
        "run": Adjudication.objects.count(),
        "reveal": AuditEvent.objects.filter(action="review.raters_revealed").count(),
        "return": AnnotationReturn.objects.count(),
        "comment": StepComment.objects.count(),
    }[doing]
    assert n_done == (may if doing != "run" else 2 * may)


# The raters.


def test_names_are_shown_to_whoever_asked_and_the_trail_says_so(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [-1], [1])
    review = Review.objects.get(trajectory=trajectory)
    assert "demo-ann" not in as_reviewer.get(detail_url(trajectory)).content.decode()
    for _ in range(2):
        as_reviewer.post(reverse("review-raters", args=[review.pk]))
    event = AuditEvent.objects.get(action="review.raters_revealed")
    assert (event.object_id, event.user) == (review.pk, world.reviewer)
    assert "A (demo-ann)" in text_of(as_reviewer.get(detail_url(trajectory)).content)
    as_reviewer.force_login(world.admin)
    assert "demo-ann" not in as_reviewer.get(detail_url(trajectory)).content.decode()


def test_reasons_and_evidence_of_reading_are_at_hand(world: World, as_reviewer: Client) -> None:
    world.project.label_scheme = {"mode": "carry_errors", "categories": "optional", "unsure": True}
    world.project.save(update_fields=["label_scheme"])
    category, name = next(iter(world.project.scheme.category_names.items()))
    trajectory = make_trajectory(world.project, n_steps=2)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    said: dict[int, dict[str, object]] = {
        0: {"extras": {"rationale": "Wrong <b>city</b>.", "category": category, "unsure": True}, "active_ms": 12_500},
        1: {"root": 0, "local_value": 1, "is_seen": True, "has_opened": True},
    }
    labelling.save_labels(slot.pk, world.annotator, Changes({0: -1, 1: -1}, {"outcome": 1}, said))
    flow.submit(slot.pk, world.annotator)
    judge(trajectory, world.second, [1, 1])
    response = as_reviewer.get(detail_url(trajectory))
    text = text_of(response.content)
    assert f"Category: {name} Rationale: Wrong <b>city</b>. Unsure: yes 12.5 s, not known to be seen" in text
    assert "follows from step 1 taken alone +1 no time measured, seen, a folded text opened" in text
    assert "<b>city" not in response.content.decode()


# Returning.


def test_a_returned_annotation_makes_the_review_wait(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [-1, 1], [1, 1])
    review = actions.claim(Review.objects.get(trajectory=trajectory).pk, world.reviewer)
    annotation = annotation_of(trajectory, world.annotator)
    url = reverse("annotation-return", args=[annotation.pk])
    response = as_reviewer.post(url, {"message": "Read step 1 again."}, follow=True)
    assert response.redirect_chain == [(detail_url(trajectory), 302)]
    text = text_of(response.content)
    assert "An annotation of this trajectory is back with its author." in text
    assert "back with its author Read step 1 again." in text
    assert "<fieldset disabled>" in response.content.decode()
    review.refresh_from_db()
    assert (review.status, review.reviewer) == ("open", None)
    assert actions.claim_next(world.project, world.reviewer) is None
    assert actions.claim(review.pk, world.reviewer).status == "open"
    assert "Hold it now" not in text
    assert "waits for an annotation that was returned" in text_of(
        as_reviewer.get(reverse("review-list", args=["demo"])).content
    )
    with pytest.raises(ReviewHeld, match="back with its author"):
        flow.decide(disputes_of(trajectory)[0], world.reviewer, DECISION)
    assert not Adjudication.objects.exists()
    label(annotation.assignment, world.annotator, {1: -1})
    flow.submit(annotation.assignment_id, world.annotator)
    claimed = actions.claim_next(world.project, world.reviewer)
    assert claimed == review
    page = as_reviewer.get(detail_url(trajectory)).context["page"]
    assert [[(r.rater, r.value) for r in case.ratings] for case in page.cases] == [[("A", -1), ("B", 1)]] * 2


@pytest.mark.parametrize(("message", "said"), [(" ", "Say in a few words"), ("Twice.", "already with its author")])
def test_a_refused_return_says_why_and_changes_nothing(
    message: str, said: str, world: World, as_reviewer: Client
) -> None:
    trajectory = disputed(world, [-1], [1])
    annotation = annotation_of(trajectory, world.annotator)
    if message == "Twice.":
        revisions.return_annotation(annotation.pk, world.admin, "Once.")
    n_before = AnnotationReturn.objects.count(), Annotation.objects.count()
    url = reverse("annotation-return", args=[annotation.pk])
    assert said in text_of(as_reviewer.post(url, {"message": message}, follow=True).content)
    assert (AnnotationReturn.objects.count(), Annotation.objects.count()) == n_before


def test_what_another_reviewer_holds_is_not_returned(world: World) -> None:
    trajectory = disputed(world, [-1], [1])
    actions.claim(Review.objects.get(trajectory=trajectory).pk, world.admin)
    annotation = annotation_of(trajectory, world.annotator)
    with pytest.raises(ReviewHeld):
        actions.return_to_author(annotation.pk, world.reviewer, "Again, please.")
    assert not AnnotationReturn.objects.exists()
    with pytest.raises(AnnotationFinal):
        revisions.reopen(annotation.assignment_id, world.annotator)


def test_what_nobody_disputes_can_be_returned_too(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [1], [1])
    annotation = annotation_of(trajectory, world.annotator)
    response = as_reviewer.post(reverse("annotation-return", args=[annotation.pk]), {"message": "Both of you?"})
    assert response["Location"] == reverse("trajectory-detail", args=["demo", trajectory.pk])
    assert AnnotationReturn.objects.get().annotation == annotation


# Comments.


def test_a_comment_stands_beside_the_step_with_its_answer(world: World, as_reviewer: Client) -> None:
    trajectory = disputed(world, [-1], [1])
    dispute = disputes_of(trajectory)[0]
    annotation = annotation_of(trajectory, world.annotator)
    data = {"annotation": annotation.pk, "text": "Why?"}
    response = as_reviewer.post(reverse("dispute-comment", args=[dispute.pk]), data)
    assert response["Location"] == f"{detail_url(trajectory)}#dispute-{dispute.pk}"
    revisions.comment(annotation, dispute.step, world.annotator, "The query.", project_id=world.project.pk)
    text = text_of(as_reviewer.get(detail_url(trajectory)).content)
    assert re.search(r"Comments \(2\) demo-rita to A, .* UTC Why\? A, .* UTC The query\.", text)
    assert "demo-ann" not in text


def test_a_comment_on_another_trajectorys_judgement_is_not_found(world: World, as_reviewer: Client) -> None:
    dispute = disputes_of(disputed(world, [-1], [1]))[0]
    other = annotation_of(disputed(world, [-1], [1]), world.annotator)
    url = reverse("dispute-comment", args=[dispute.pk])
    for annotation in (other.pk, 999_999, "x"):
        assert as_reviewer.post(url, {"annotation": annotation, "text": "Why?"}).status_code == 404
    assert not StepComment.objects.exists()


@pytest.mark.parametrize("place", ["reading", "trajectory", "api"])
def test_a_revision_that_comes_in_while_the_page_is_made_does_not_break_it(
    place: str, world: World, as_reviewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    trajectory = disputed(world, [-1, 1], [1, 1])
    annotation = annotation_of(trajectory, world.annotator)
    revisions.return_annotation(annotation.pk, world.reviewer, "Again, please.")
    letters_of = reading.letters_of
    module = {"reading": reading, "trajectory": trajectory_views, "api": api_disputes}[place]

    def letters_and_then_a_revision(trajectory_ids: Collection[int]) -> dict[int, str]:
        letters = letters_of(trajectory_ids)
        flow.submit(annotation.assignment_id, world.annotator)
        return letters

    monkeypatch.setattr(f"{module.__name__}.letters_of", letters_and_then_a_revision)
    url = {
        "reading": detail_url(trajectory),
        "trajectory": reverse("trajectory-detail", args=["demo", trajectory.pk]),
        "api": "/api/v1/projects/demo/disputes/",
    }[place]
    assert as_reviewer.get(url).status_code == 200
    assert annotation_of(trajectory, world.annotator).revision == 2
