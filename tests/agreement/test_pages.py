"""The agreement page."""

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from tests.factories import World, judge, make_member, make_project, make_trajectory


def url_of(world: World) -> str:
    return reverse("agreement", args=[world.project.slug])


def text_of(html: str) -> str:
    """What a person reads: no tags, single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.mark.parametrize(
    ("_case", "who", "status"),
    [
        ("anonymous is sent to login", None, 302),
        ("outsiders learn nothing", "outsider", 404),
        ("annotators must not see colleagues' figures", "annotator", 403),
        ("reviewers may", "reviewer", 200),
        ("admins may", "admin", 200),
    ],
)
def test_agreement_access(_case: str, who: str | None, status: int, world: World, client: Client) -> None:
    if who:
        client.force_login(world.user(who))
    assert client.get(url_of(world)).status_code == status


def test_agreement_only_answers_get(world: World, client: Client) -> None:
    client.force_login(world.admin)
    assert client.post(url_of(world)).status_code == 405


def page_text(world: World, client: Client) -> str:
    client.force_login(world.reviewer)
    response = client.get(url_of(world))
    assert response.status_code == 200
    return text_of(response.content.decode())


def test_without_labels_the_page_says_what_is_needed(world: World, client: Client) -> None:
    text = page_text(world, client)
    assert "There is nothing to compare yet" in text
    assert "So far 0 annotations are submitted in this project" in text
    assert "the figures appear when a second person has submitted a trajectory" in text
    assert "People only; models never count here." in text


def test_one_submitted_annotation_is_not_enough(world: World, client: Client) -> None:
    judge(make_trajectory(world.project), world.annotator, [1, 1, 1])
    text = page_text(world, client)
    assert "So far 1 annotation is submitted in this project, and no two of them share a step." in text


def test_a_project_with_one_annotator_per_trajectory_is_told_why(client: Client, db: None) -> None:
    project = make_project(overlap=1)
    client.force_login(make_member(project, "admin"))
    text = text_of(client.get(reverse("agreement", args=[project.slug])).content.decode())
    assert "so no trajectory is judged twice; agreement can be measured only with an overlap of 2 or more" in text


def test_the_figures_of_two_people(world: World, client: Client) -> None:
    """8 steps in common, 6 of them alike: 0.75.

    Values +1, 0, −1: one person used them 4, 1 and 3 times, the other 3, 2 and 3 times. By chance 23/64 would be alike,
    so Cohen's kappa is 25/41; pooled 94/256, so Fleiss' kappa is 49/81; alpha's denominator gives 17/27.
    """
    for first, second in (([1, 1, 0, -1], [1, 1, 0, 0]), ([1, -1, -1, 1], [1, -1, -1, -1])):
        trajectory = make_trajectory(world.project, n_steps=4)
        judge(trajectory, world.annotator, first)
        judge(trajectory, world.second, second)
    text = page_text(world, client)
    assert "2 people have judged 8 steps of 2 trajectories in common." in text
    assert "75.0 % 19.8 to 97.3 % 8 steps judged by both" in text
    assert "what their habits give by chance. 0.610" in text
    assert "with the habits of all pooled. 0.605" in text
    assert "any two different values count alike. 0.630" in text
    assert "first −1, or both none. 50.0 % 0.0 to 100.0 % 2 trajectories judged in full by both" in text
    matrix = "demo-bob demo-ann +1 0 −1 +1 3 0 1 0 0 1 0 −1 0 1 2"
    assert matrix in text
    assert "demo-ann and demo-bob 2 8 75.0 %" in text


def test_an_undefined_figure_shows_a_dash_and_why(world: World, client: Client) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    judge(trajectory, world.annotator, [1, 1])
    judge(trajectory, world.second, [1, 1])
    text = page_text(world, client)
    reason = "All judgements compared have the value +1, so chance alone would give the same agreement (0/0)"
    assert f"what their habits give by chance. – {reason}" in text
    # One trajectory gives no interval.
    assert "chance included. 100.0 % – 2 steps judged by both" in text


def test_three_people_get_a_symmetric_matrix_and_one_for_each_pair(client: Client, db: None) -> None:
    project = make_project(overlap=3)
    people = [make_member(project, username=name) for name in ("ann", "bob", "cleo")]
    trajectory = make_trajectory(project, n_steps=2)
    for person, values in zip(people, ([1, 0], [1, -1], [1, 0]), strict=True):
        judge(trajectory, person, values)
    client.force_login(make_member(project, "admin"))
    text = text_of(client.get(reverse("agreement", args=[project.slug])).content.decode())
    assert "what their habits give by chance. – Cohen's kappa compares exactly two people and 3 judged" in text
    # Three pairs on each step: +1 and +1 three times; 0 and 0 once, 0 and −1 twice.
    assert "One person +1 0 −1 +1 3 0 0 0 0 1 2 −1 0 2 0" in text
    for pair in ("ann and bob", "ann and cleo", "bob and cleo"):
        assert f"Which values met: {pair}" in text


def test_agreement_query_budget(
    world: World, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(3):
        trajectory = make_trajectory(world.project)
        judge(trajectory, world.annotator, [1, 0, 1])
        judge(trajectory, world.second, [1, 1, 1])
    client.force_login(world.admin)
    # session, user, membership, labels, trajectories, last submissions, names, submitted
    with django_assert_max_num_queries(8):
        client.get(url_of(world))
