"""Taking a returned annotation back, above all from an author who has left the project."""

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from annotator import flow
from annotator.adjudication import actions
from annotator.errors import AnnotationFinal, AssignmentNotYours
from annotator.labelling import revisions
from annotator.models import (
    Annotation,
    AnnotationReturn,
    Assignment,
    AuditEvent,
    Dispute,
    GoldLabel,
    Label,
    LabelEvent,
    Membership,
    Review,
    Trajectory,
)
from annotator.projects import actions as projects
from tests.factories import World, judge, label, make_member, make_trajectory

ACCESS = [(None, 302), ("outsider", 404), ("annotator", 403), ("reviewer", 302), ("admin", 302)]


def returned(world: World, first: list[int], second: list[int] | None) -> tuple[Trajectory, Annotation]:
    """The first annotator's judgement is back with them; they have changed a label since."""
    trajectory = make_trajectory(world.project, n_steps=len(first))
    annotation = judge(trajectory, world.annotator, first)
    if second is not None:
        judge(trajectory, world.second, second)
    actions.return_to_author(annotation.pk, world.reviewer, "Look again.")
    label(annotation.assignment, world.annotator, {0: 0})
    return trajectory, annotation


def leave(world: World) -> None:
    projects.remove_member(Membership.objects.get(user=world.annotator), user=world.admin)


def status_of(annotation: Annotation) -> str:
    return Assignment.objects.get(pk=annotation.assignment_id).status


def draft_values(annotation: Annotation) -> dict[int | None, int]:
    draft = Annotation.objects.get(assignment=annotation.assignment_id, submitted_at=None)
    return dict(draft.labels.values_list("step__index", "value"))


def text_of(content: bytes) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", content.decode())).split())


def test_what_was_submitted_counts_again_and_history_stays(world: World) -> None:
    trajectory, annotation = returned(world, [1, 1], [-1, 1])
    before = list(Label.objects.order_by("id").values()), list(LabelEvent.objects.order_by("id").values())
    leave(world)
    assert actions.claim_next(world.project, world.reviewer) is None
    flow.take_back(annotation.pk, world.reviewer)
    assignment = Assignment.objects.get(pk=annotation.assignment_id)
    assert (assignment.status, assignment.finished_at) == ("submitted", annotation.submitted_at)
    assert (list(Label.objects.order_by("id").values()), list(LabelEvent.objects.order_by("id").values())) == before
    assert AnnotationReturn.objects.count() == 1
    assert Annotation.objects.submitted().filter(trajectory=trajectory).count() == 2
    event = AuditEvent.objects.get(action="annotation.taken_back")
    assert (event.object_id, event.user) == (annotation.pk, world.reviewer)
    claimed = actions.claim_next(world.project, world.reviewer)
    assert claimed == Review.objects.get(trajectory=trajectory)


def test_the_trajectory_is_settled_if_the_others_are_in(world: World) -> None:
    trajectory, annotation = returned(world, [1, 1], None)
    judge(trajectory, world.second, [1, -1])
    leave(world)
    assert not GoldLabel.objects.filter(trajectory=trajectory).exists()
    flow.take_back(annotation.pk, world.reviewer)
    gold = dict(GoldLabel.objects.filter(trajectory=trajectory).values_list("step__index", "value"))
    assert gold == {0: 1, None: 1}
    assert Dispute.objects.get(trajectory=trajectory).step == trajectory.steps.get(index=1)
    assert Review.objects.get(trajectory=trajectory).status == "open"


def test_who_comes_back_goes_on_with_the_draft_when_it_is_returned_again(world: World) -> None:
    _, annotation = returned(world, [1, 1], [-1, 1])
    flow.take_back(annotation.pk, world.reviewer)
    with pytest.raises(AssignmentNotYours, match="taken this trajectory back"):
        label(annotation.assignment, world.annotator, {1: 0})
    projects.add_guideline(world.project, "# Two", user=world.admin)
    actions.return_to_author(annotation.pk, world.reviewer, "Once more.")
    assert draft_values(annotation) == {0: 0, 1: 1, None: 1}
    given_under = Label.objects.filter(annotation__submitted_at=None).values_list("guideline__version", flat=True)
    assert set(given_under) == {2}
    flow.submit(annotation.assignment_id, world.annotator)
    now = Annotation.objects.submitted().get(assignment=annotation.assignment_id)
    assert (now.revision, now.labels.get(step__index=0).value) == (2, 0)


def test_what_is_not_with_its_author_is_not_taken_back(world: World) -> None:
    _, annotation = returned(world, [1, 1], [-1, 1])
    flow.submit(annotation.assignment_id, world.annotator)
    n_events = AuditEvent.objects.count()
    for pk in Annotation.objects.filter(submitted_at__isnull=False).values_list("pk", flat=True):
        with pytest.raises(AnnotationFinal, match="nothing to take back"):
            flow.take_back(pk, world.reviewer)
    assert AuditEvent.objects.count() == n_events


@pytest.mark.parametrize("place", ["review", "trajectory"])
def test_the_button_stands_where_the_waiting_is_shown(world: World, client: Client, place: str) -> None:
    trajectory, annotation = returned(world, [1, 1], [-1, 1])
    page = {
        "review": reverse("review-detail", args=[Review.objects.get().pk]),
        "trajectory": reverse("trajectory-detail", args=["demo", trajectory.pk]),
    }[place]
    client.force_login(world.reviewer)
    url = reverse("annotation-take-back", args=[annotation.pk])
    content = client.get(page).content
    assert f'action="{url}"' in content.decode()
    if place == "review":
        assert "the author has left the project" not in text_of(content).lower()
        leave(world)
        assert "The author has left the project and cannot finish it: take it back" in text_of(client.get(page).content)
    assert "Take it back from A What was submitted counts again." in text_of(content)
    response = client.post(url, follow=True)
    assert response.redirect_chain == [(reverse("review-detail", args=[Review.objects.get().pk]), 302)]
    assert "The annotation counts again as it was submitted." in text_of(response.content)
    assert "Take it back" not in text_of(client.get(page).content)
    assert "nothing to take back" in text_of(client.post(url, follow=True).content)


def test_the_overview_takes_back_all_that_waits_for_a_former_member(world: World, client: Client) -> None:
    annotations = [returned(world, [1], [-1])[1] for _ in range(2)]
    third = make_member(world.project)
    kept = judge(make_trajectory(world.project, n_steps=1), third, [1])
    revisions.return_annotation(kept.pk, world.reviewer, "Look again.")
    client.force_login(world.admin)
    url = reverse("returns-take-back", args=["demo"])
    overview = reverse("project-overview", args=["demo"])
    assert "Take them back" not in text_of(client.get(overview).content)
    still = client.post(url, {"annotator": world.annotator.username}, follow=True)
    assert "Nothing had to be done." in text_of(still.content)
    leave(world)
    text = text_of(client.get(overview).content)
    assert "2 returned annotations wait for demo-ann, who is no longer a member and cannot finish them." in text
    assert "Take them back What was submitted then counts again." in text
    response = client.post(url, {"annotator": world.annotator.username}, follow=True)
    assert response.redirect_chain == [(overview, 302)]
    assert "2 annotations count again as submitted." in text_of(response.content)
    assert [status_of(annotation) for annotation in annotations] == ["submitted"] * 2
    assert status_of(kept) == "returned"
    # A name that nobody has, and somebody of another project only: one answer.
    for name in ("nobody", world.outsider.username):
        other = client.post(url, {"annotator": name}, follow=True)
        assert other.redirect_chain == [(overview, 302)]
        assert "Nothing had to be done." in text_of(other.content)


@pytest.mark.parametrize(("who", "status"), ACCESS)
@pytest.mark.parametrize("doing", ["one", "all"])
def test_access(doing: str, who: str | None, status: int, world: World, client: Client) -> None:
    _, annotation = returned(world, [1], [-1])
    leave(world)
    if who == "annotator":
        client.force_login(world.second)
    elif who:
        client.force_login(world.user(who))
    url = {
        "one": reverse("annotation-take-back", args=[annotation.pk]),
        "all": reverse("returns-take-back", args=["demo"]),
    }[doing]
    assert client.get(url).status_code == (302 if who is None else 405)
    assert client.post(url, {"annotator": world.annotator.username}).status_code == status
    may = who in ("reviewer", "admin")
    assert status_of(annotation) == ("submitted" if may else "returned")


def test_an_author_sees_what_counts_and_not_the_draft_they_left(world: World, client: Client) -> None:
    _, annotation = returned(world, [1, 1], [-1, 1])
    flow.take_back(annotation.pk, world.reviewer)
    client.force_login(world.annotator)
    response = client.get(reverse("assignment-detail", args=[annotation.assignment_id]))
    assert {index: said["value"] for index, said in response.context["data"]["labels"].items()} == {0: 1, 1: 1}
