"""The page of one's own work."""

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.labelling import revisions
from annotator.models import Annotation, Assignment, Dispute, StepComment, Trajectory
from annotator.queue import actions as queue
from tests.factories import World, judge, label, make_trajectory, make_world

URL = "/projects/demo/history/"


@pytest.fixture
def as_annotator(world: World, client: Client) -> Client:
    client.force_login(world.annotator)
    return client


def text_of(client: Client, url: str = URL) -> str:
    html = client.get(url).content.decode()
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def differing(world: World) -> tuple[Trajectory, Annotation]:
    """Two people differ on step 2; the annotator's judgement."""
    trajectory = make_trajectory(world.project, n_steps=2)
    annotation = judge(trajectory, world.annotator, [1, -1])
    judge(trajectory, world.second, [1, 1])
    return trajectory, annotation


@pytest.mark.parametrize(
    ("who", "status"),
    [(None, 302), ("outsider", 404), ("annotator", 200), ("reviewer", 200), ("admin", 200)],
)
def test_reading_access(who: str | None, status: int, world: World, client: Client) -> None:
    if who:
        client.force_login(world.user(who))
    assert client.get(URL).status_code == status


@pytest.mark.parametrize(
    ("who", "status"),
    [(None, 302), ("outsider", 404), ("second", 404), ("reviewer", 404), ("admin", 404), ("annotator", 302)],
)
@pytest.mark.parametrize("doing", ["assignment-reopen", "annotation-answer"])
def test_only_the_author_reopens_and_answers(
    doing: str, who: str | None, status: int, world: World, client: Client
) -> None:
    annotation = judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    pk = annotation.assignment_id if doing == "assignment-reopen" else annotation.pk
    if who:
        client.force_login(world.user(who))
    assert client.post(reverse(doing, args=[pk]), {"text": "Because.", "step": ""}).status_code == status
    done = who == "annotator"
    assert Assignment.objects.filter(status="returned").exists() is (done and doing == "assignment-reopen")
    assert StepComment.objects.exists() is (done and doing == "annotation-answer")


def test_the_page_shows_ones_own_labels_and_never_a_colleagues(world: World, as_annotator: Client) -> None:
    trajectory, annotation = differing(world)
    text = text_of(as_annotator)
    assert "Submitted (1)" in text
    assert "Step 1 +1 Step 2 −1 outcome +1" in text
    assert "fared" not in text
    client = Client()
    client.force_login(world.second)
    assert "Step 1 +1 Step 2 +1 outcome +1" in text_of(client)
    assert f"annotation-{annotation.pk}" not in client.get(URL).content.decode()
    assert "demo-bob" not in text
    assert trajectory.instruction in text


def test_another_projects_work_is_not_shown(world: World, as_annotator: Client) -> None:
    other = make_world("elsewhere")
    judge(make_trajectory(other.project), world.annotator, [1, 1, 1])
    assert "Nothing yet. What you submit appears here." in text_of(as_annotator)


def test_what_was_returned_stands_first_with_the_reason(world: World, as_annotator: Client) -> None:
    _, annotation = differing(world)
    judge(make_trajectory(world.project, n_steps=1), world.annotator, [0])
    revisions.return_annotation(annotation.pk, world.reviewer, "Look at <step> 2.")
    text = text_of(as_annotator)
    assert "Back with you (1)" in text
    assert "Submitted (1)" in text
    assert "Returned by a reviewer: Look at <step> 2." in text
    assert "demo-rita" not in text
    html = as_annotator.get(URL).content.decode()
    assert f'href="{reverse("assignment-detail", args=[annotation.assignment_id])}"' in html
    assert html.index("Back with you") < html.index("Submitted (1)")
    label(annotation.assignment, world.annotator, {1: 1})
    flow.submit(annotation.assignment_id, world.annotator)
    text = text_of(as_annotator)
    assert "Back with you" not in text
    assert "revision 2" in text
    assert "Returned before (1)" in text


def test_reopening_goes_on_to_the_labelling_page(world: World, as_annotator: Client) -> None:
    annotation = judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    assert "Reopen" in text_of(as_annotator)
    response = as_annotator.post(reverse("assignment-reopen", args=[annotation.assignment_id]))
    assert response["Location"] == reverse("assignment-detail", args=[annotation.assignment_id])
    text = text_of(as_annotator)
    assert "You reopened this. Until you submit it again, it is not finished." in text
    assert "Reopen " not in text


def test_the_labelling_page_says_who_sent_it_back_only_where_somebody_did(world: World, as_annotator: Client) -> None:
    annotation = judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    page = reverse("assignment-detail", args=[annotation.assignment_id])
    revisions.return_annotation(annotation.pk, world.reviewer, "Look at <step> 1.")
    html = as_annotator.get(page).content.decode()
    assert "<strong>Returned by a reviewer:</strong> Look at &lt;step&gt; 1." in html
    assert world.reviewer.username not in html
    assert "Skip this trajectory" not in html  # it has a submitted revision that counts
    flow.submit(annotation.assignment_id, world.annotator)
    revisions.reopen(annotation.assignment_id, world.annotator)
    html = as_annotator.get(page).content.decode()
    assert "Look at &lt;step&gt; 1." not in html
    assert "Returned by a reviewer" not in html


def test_what_is_settled_or_disputed_offers_no_reopening_and_refuses_it(world: World, as_annotator: Client) -> None:
    _, annotation = differing(world)
    assert "Reopen" not in text_of(as_annotator)
    response = as_annotator.post(reverse("assignment-reopen", args=[annotation.assignment_id]), follow=True)
    assert "settled or under review, so your labels stay" in response.content.decode()
    assert Annotation.objects.filter(assignment=annotation.assignment).count() == 1


def test_how_labels_fared_is_shown_only_if_the_project_says_so_and_all_is_settled(
    world: World, as_annotator: Client
) -> None:
    trajectory, _ = differing(world)
    world.project.label_scheme = {"shows_fate": True}
    world.project.save(update_fields=["label_scheme"])
    assert "fared" not in text_of(as_annotator)  # step 2 is still disputed
    decision = DecisionIn(value=0, reason_code="ambiguous")
    flow.decide(Dispute.objects.get(trajectory=trajectory), world.reviewer, decision)
    text = text_of(as_annotator)
    assert "How your labels fared Step 1: +1 kept Step 2: −1 changed to 0 Outcome: +1 kept" in text
    world.project.label_scheme = {"shows_fate": False}
    world.project.save(update_fields=["label_scheme"])
    assert "fared" not in text_of(as_annotator)


def test_a_comment_can_be_answered(world: World, as_annotator: Client) -> None:
    trajectory, annotation = differing(world)
    step = trajectory.steps.get(index=1)
    revisions.comment(annotation, step, world.reviewer, "<b>Why?</b>", project_id=world.project.pk)
    assert "<b>Why?</b>" in text_of(as_annotator).replace("A reviewer", "")
    assert "<b>Why?" not in as_annotator.get(URL).content.decode()
    answer = reverse("annotation-answer", args=[annotation.pk])
    response = as_annotator.post(answer, {"step": step.pk, "text": "The query is wrong."})
    assert response["Location"] == f"{URL}#annotation-{annotation.pk}"
    assert list(StepComment.objects.values_list("author__username", "step", "text")) == [
        ("demo-rita", step.pk, "<b>Why?</b>"),
        ("demo-ann", step.pk, "The query is wrong."),
    ]
    assert "The query is wrong." in text_of(as_annotator)


def test_an_answer_without_text_or_on_another_trajectorys_step_stores_nothing(
    world: World, as_annotator: Client
) -> None:
    _, annotation = differing(world)
    other = make_trajectory(world.project, n_steps=1)
    answer = reverse("annotation-answer", args=[annotation.pk])
    response = as_annotator.post(answer, {"step": "", "text": " "}, follow=True)
    assert "Write what you want to say about the step." in response.content.decode()
    for step in (other.steps.get().pk, "x"):
        assert as_annotator.post(answer, {"step": step, "text": "Hm."}).status_code == 404
    assert not StepComment.objects.exists()


def test_the_page_takes_the_same_queries_however_long_it_is(
    world: World, as_annotator: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(4):
        _, annotation = differing(world)
        revisions.comment(annotation, None, world.reviewer, "Why?", project_id=world.project.pk)
    revisions.return_annotation(annotation.pk, world.reviewer, "Again, please.")
    # Session, user, membership, count, then returned and submitted with their labels and steps, returns, comments,
    # gold, disputes.
    with django_assert_num_queries(12):
        as_annotator.get(URL)


def test_the_page_is_paged(world: World, as_annotator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotator.labelling.history_views.PER_PAGE", 1)
    for _ in range(2):
        judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    assert "Page 1 of 2 Older" in text_of(as_annotator)
    assert "Newer Page 2 of 2" in text_of(as_annotator, URL + "?page=2")


def test_characters_that_nobody_sees_are_shown_wherever_an_instruction_stands(world: World, client: Client) -> None:
    """U+202E turns what follows: "evil" reads "live"."""
    disputed, decided, _ = (make_trajectory(world.project, n_steps=1, instruction="Write \u202eevil") for _ in range(3))
    for trajectory in (disputed, decided):
        judge(trajectory, world.annotator, [1])
        judge(trajectory, world.second, [-1])
    decision = DecisionIn(value=1, reason_code="slip", note="")
    flow.decide(Dispute.objects.get(trajectory=decided), world.reviewer, decision)
    queue.claim_next(world.project, world.annotator)
    for user, url, n in (
        (world.annotator, URL, 2),
        (world.annotator, "/projects/demo/", 1),
        (world.reviewer, "/projects/demo/trajectories/", 3),
        (world.reviewer, "/projects/demo/reviews/", 2),
    ):
        client.force_login(user)
        html = client.get(url).content.decode()
        assert (url, html.count('Write <span class="mark">U+202E</span>evil')) == (url, n)
        assert "\u202e" not in html
