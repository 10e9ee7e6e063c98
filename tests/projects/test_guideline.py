"""The guideline editor, its versions, and labels given under a changed rule."""

import re

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from annotator.adjudication import actions as reviews
from annotator.models import AnnotationReturn, Assignment, AuditEvent, Guideline, Review
from annotator.projects import actions, reading
from tests.factories import World, judge, make_trajectory, make_world

URL = "/projects/demo/guideline/"


def test_saving_makes_a_new_version(client: Client, world: World) -> None:
    client.force_login(world.admin)
    assert client.post(URL, {"text": "# New\r\n\r\nJudge twice."})["Location"] == URL
    assert list(world.project.guidelines.values_list("version", "text", "created_by")) == [
        (2, "# New\n\nJudge twice.", world.admin.pk),
        (1, "# Guideline\n\nJudge **every** step.", None),
    ]
    assert AuditEvent.objects.get(action="guideline.added", user=world.admin).data == {"version": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  \n ", "Write the guideline before you save it."),
        ("# Guideline\n\nJudge **every** step.", "This is the text of version 1."),
    ],
)
def test_a_version_without_a_change_is_refused(client: Client, world: World, text: str, said: str) -> None:
    client.force_login(world.admin)
    response = client.post(URL, {"text": text})
    assert response.status_code == 422
    assert said in response.content.decode()
    assert Guideline.objects.count() == 1


def test_the_preview_is_sanitised_and_stores_nothing(client: Client, world: World) -> None:
    client.force_login(world.admin)
    text = {"text": "# Rules\n\n<script>alert(1)</script>\n\nBe **fair** [x](javascript:alert(1))"}
    fragment = client.post(f"{URL}preview/", text, headers={"hx-request": "true"}).content.decode()
    assert "<h3>Rules</h3>" in fragment
    assert "<strong>fair</strong>" in fragment
    assert "alert(1)</script>" not in fragment
    assert "href" not in fragment
    assert "<h1>" not in fragment
    assert "<h1>Preview of the guideline</h1>" in client.post(f"{URL}preview/", text).content.decode()
    assert Guideline.objects.count() == 1


def test_a_comparison_goes_line_by_line() -> None:
    lines = reading.compare("a\nb\nc", "a\nB\nc\nd")
    assert [(line.kind, line.text, line.old, line.new) for line in lines] == [
        ("same", "a", 1, 1),
        ("removed", "b", 2, None),
        ("added", "B", None, 2),
        ("same", "c", 3, 3),
        ("added", "d", None, 4),
    ]


def test_the_changes_are_shown_as_text(client: Client, world: World) -> None:
    actions.add_guideline(world.project, "# Guideline\n\n<b>Judge</b>", user=None)
    client.force_login(world.admin)
    html = client.get(f"{URL}changes/?new=2").content.decode()
    assert '<del><span class="visually-hidden">Removed: </span>Judge **every** step.</del>' in html
    assert '<ins><span class="visually-hidden">Added: </span>&lt;b&gt;Judge&lt;/b&gt;</ins>' in html
    for query in ("", "?old=x&new=99", "?old=2&new=1"):
        assert client.get(f"{URL}changes/{query}").status_code == 200


def test_labels_are_counted_under_their_version(client: Client, world: World) -> None:
    judge(make_trajectory(world.project, n_steps=2), world.annotator, [1, 1])
    actions.add_guideline(world.project, "Second", user=None)
    judge(make_trajectory(world.project, n_steps=1), world.second, [1])
    assert reading.labels_by_version(world.project) == {1: 3, 2: 2}
    client.force_login(world.admin)
    assert "3 labels that count were given under an earlier version." in client.get(URL).content.decode()


def test_a_chosen_annotation_goes_back_to_its_author(client: Client, world: World) -> None:
    first, other = make_trajectory(world.project, n_steps=2), make_trajectory(world.project, n_steps=1)
    mine, theirs = judge(first, world.annotator, [1, -1]), judge(other, world.annotator, [1])
    actions.add_guideline(world.project, "Second", user=None)
    new = judge(other, world.second, [1])
    client.force_login(world.admin)
    html = client.get(f"{URL}older/").content.decode()
    assert f'value="{mine.pk}"' in html
    assert f'value="{theirs.pk}"' in html
    assert f'value="{new.pk}"' not in html
    assert "−1" in html
    chosen = {"annotation": [mine.pk, new.pk, 99999], "message": "A repeated call counts as −1 now."}
    response = client.post(f"{URL}older/", chosen, follow=True)
    assert "1 annotation went back." in response.content.decode()
    assert "with its author" in response.content.decode()
    sent = AnnotationReturn.objects.get()
    assert (sent.annotation, sent.reviewer, sent.message) == (mine, world.admin, chosen["message"])
    assert list(Assignment.objects.filter(status="returned").values_list("pk", flat=True)) == [mine.assignment_id]
    client.post(f"{URL}older/", chosen)
    assert AnnotationReturn.objects.count() == 1


def test_a_version_saved_meanwhile_is_not_overwritten(client: Client, world: World) -> None:
    client.force_login(world.admin)
    assert 'name="based_on" value="1"' in client.get(URL).content.decode()
    actions.add_guideline(world.project, "By somebody else", user=world.reviewer)
    response = client.post(URL, {"text": "Mine", "based_on": "1"})
    html = response.content.decode()
    assert response.status_code == 409
    assert f"{world.reviewer.username} has saved version 2 since you opened this page" in html
    assert "Mine</textarea>" in html
    assert Guideline.objects.count() == 2
    assert 'name="based_on" value="2"' in html
    assert client.post(URL, {"text": "Both", "based_on": "2"}).status_code == 302
    assert list(Guideline.objects.values_list("version", "text")[:1]) == [(3, "Both")]


def test_all_of_a_page_go_back_at_once(client: Client, world: World) -> None:
    old = [judge(make_trajectory(world.project, n_steps=1), world.annotator, [1]) for _ in range(2)]
    actions.add_guideline(world.project, "Second", user=None)
    client.force_login(world.admin)
    html = client.get(f"{URL}older/").content.decode()
    listed = re.findall(r'name="listed" value="(\d+)"', html)
    assert listed == [str(annotation.pk) for annotation in old]
    response = client.post(f"{URL}older/", {"listed": listed, "message": "Again.", "all": "1"}, follow=True)
    assert "2 annotations went back." in response.content.decode()
    assert AnnotationReturn.objects.count() == 2


def test_nothing_is_sent_to_who_has_left_nor_taken_from_a_reviewer_who_holds_it(client: Client, world: World) -> None:
    free, held, left = (make_trajectory(world.project, n_steps=1) for _ in range(3))
    mine, kept = judge(free, world.annotator, [1]), judge(held, world.annotator, [1])
    judge(held, world.second, [-1])
    theirs = judge(left, world.second, [1])
    review = Review.objects.get()
    reviews.claim(review.pk, world.reviewer)
    actions.remove_member(world.project.memberships.get(user=world.second), user=world.admin)
    actions.add_guideline(world.project, "Second", user=None)
    client.force_login(world.admin)
    html = client.get(f"{URL}older/").content.decode()
    assert set(re.findall(r'name="listed" value="(\d+)"', html)) == {str(mine.pk), str(kept.pk)}
    assert html.count("its author has left") == 2
    listed = [mine.pk, kept.pk, theirs.pk]
    response = client.post(f"{URL}older/", {"listed": listed, "message": "Again.", "all": "1"}, follow=True)
    html = response.content.decode()
    assert "1 annotation went back." in html
    assert "1 did not: another reviewer holds the trajectory. Send what is still listed back later." in html
    assert list(Assignment.objects.filter(status="returned").values_list("pk", flat=True)) == [mine.assignment_id]
    review.refresh_from_db()
    assert (review.status, review.reviewer) == ("claimed", world.reviewer)


def test_the_oldest_version_of_an_annotation_is_named(client: Client, world: World) -> None:
    first, second = make_trajectory(world.project, n_steps=1), make_trajectory(world.project, n_steps=1)
    judge(first, world.annotator, [1])
    for text in ("Second", "Third"):
        actions.add_guideline(world.project, text, user=None)
    judge(second, world.annotator, [1])
    actions.add_guideline(world.project, "Fourth", user=None)
    client.force_login(world.admin)
    html = client.get(f"{URL}older/").content.decode()
    assert re.findall(r'<td class="num">(\d)</td>', html) == ["1", "3"]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"message": "Look again."}, "Choose at least one annotation."),
        ({"annotation": ["1"]}, "This field is required."),
    ],
)
def test_sending_back_needs_a_choice_and_a_message(client: Client, world: World, form: dict, said: str) -> None:
    judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    actions.add_guideline(world.project, "Second", user=None)
    client.force_login(world.admin)
    response = client.post(f"{URL}older/", form)
    assert response.status_code == 422
    assert said in response.content.decode()
    assert not AnnotationReturn.objects.exists()


def test_annotations_of_another_project_are_neither_listed_nor_sent_back(client: Client, world: World) -> None:
    other = make_world("other")
    theirs = judge(make_trajectory(other.project, n_steps=1), other.annotator, [1])
    for project in (world.project, other.project):
        actions.add_guideline(project, "Second", user=None)
    client.force_login(world.admin)
    assert "Every label that counts was given under version 2." in client.get(f"{URL}older/").content.decode()
    client.post(f"{URL}older/", {"annotation": [theirs.pk], "message": "Mine now."})
    assert not AnnotationReturn.objects.exists()


@pytest.mark.parametrize(("url", "n_queries"), [("", 6), ("older/", 7), ("changes/", 6)])
def test_the_guideline_pages_have_a_query_budget(
    client: Client, world: World, url: str, n_queries: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(3):
        judge(make_trajectory(world.project, n_steps=2), world.annotator, [1, 1])
        actions.add_guideline(world.project, f"Another {_}", user=None)
    client.force_login(world.admin)
    with django_assert_num_queries(n_queries):
        client.get(URL + url)
