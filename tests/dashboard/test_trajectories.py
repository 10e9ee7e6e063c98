"""Looking trajectories up."""

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.adjudication import actions as adjudication
from annotator.adjudication.actions import DecisionIn
from annotator.dashboard import trajectory_views
from annotator.labelling import revisions
from annotator.models import Dispute, ReferenceLabel, Release, ReleaseRow, Review, Step
from annotator.queue import actions as queue
from tests.api.client import client_of
from tests.factories import World, judge, label, make_member, make_trajectory, make_world

URL = "/projects/demo/trajectories/"


@pytest.fixture
def listed(world: World, client: Client) -> Callable[[str], list[str]]:
    """The ids in the table, for a query string."""
    client.force_login(world.reviewer)

    def ids(query: str = "") -> list[str]:
        html = client.get(URL + query).content.decode()
        return re.findall(rf'href="{URL}\d+/">([^<]+)</a>', html)

    return ids


def test_the_filters_tell_the_states_apart(world: World, listed: Callable[[str], list[str]]) -> None:
    names = ("held", "half", "agreed", "differs", "new")
    held, half, agreed, differs, _ = (make_trajectory(world.project, external_id=name, n_steps=1) for name in names)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    assert slot.trajectory == held
    judge(half, world.annotator, [1])
    for annotator in (world.annotator, world.second):
        judge(agreed, annotator, [1])
        judge(differs, annotator, [1 if annotator == world.annotator else 0])
    assert listed("") == list(names)
    assert listed("?show=untouched") == ["held", "new"]
    assert listed("?show=in-work") == ["held", "half"]
    assert listed("?show=judged") == ["agreed", "differs"]
    assert listed("?show=disputed") == ["differs"]
    assert listed("?show=nonsense&order=nonsense&page=nonsense") == list(names)


def test_search_looks_into_id_and_instruction(world: World, listed: Callable[[str], list[str]]) -> None:
    make_trajectory(world.project, external_id="Run-1", instruction="How tall is it?")
    make_trajectory(world.project, external_id="b", instruction="Why did the run fail?")
    make_trajectory(world.project, external_id="c", instruction="100 % sure?")
    assert listed("?q=RUN") == ["Run-1", "b"]
    assert listed("?q=%25") == ["c"]
    assert listed("?q=nothing%00") == []


def test_the_order_can_be_chosen(world: World, listed: Callable[[str], list[str]]) -> None:
    for name, n_steps in (("b", 1), ("a", 3), ("c", 2)):
        make_trajectory(world.project, external_id=name, n_steps=n_steps)
    assert listed("?order=imported") == ["b", "a", "c"]
    assert listed("?order=newest") == ["c", "a", "b"]
    assert listed("?order=id") == ["a", "b", "c"]
    assert listed("?order=longest") == ["a", "c", "b"]
    assert listed("?order=shortest") == ["b", "c", "a"]


def test_pages_keep_the_search(
    world: World, client: Client, listed: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory_views, "PER_PAGE", 2)
    for name in "abcde":
        make_trajectory(world.project, external_id=f"run-{name}", enqueue=False)
    assert listed("?q=run&page=2") == ["run-c", "run-d"]
    html = client.get(URL + "?q=run&page=2").content.decode()
    assert 'href="?q=run&amp;page=3"' in html


def test_htmx_gets_the_table_alone(world: World, client: Client) -> None:
    make_trajectory(world.project)
    client.force_login(world.reviewer)
    html = client.get(URL, headers={"HX-Request": "true"}).content.decode()
    assert html.strip().startswith('<div id="rows">')
    assert "<h1>" not in html
    whole = client.get(URL, headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<h1>" in whole.content.decode()
    assert "HX-Request" in whole["Vary"]


def test_the_list_takes_the_same_queries_however_long_it_is(
    world: World, client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(10):
        judge(make_trajectory(world.project, n_steps=1), world.annotator, [1])
    client.force_login(world.reviewer)
    with django_assert_num_queries(6):  # session, user, membership, count, ids of the page, rows
        client.get(URL)


def test_an_empty_project_and_an_empty_search_say_what_to_do(world: World, client: Client) -> None:
    client.force_login(world.admin)
    assert "There are no trajectories yet." in client.get(URL).content.decode()
    make_trajectory(world.project)
    assert "No trajectory fits." in client.get(URL + "?q=nothing").content.decode()


def test_the_detail_shows_what_is_known_of_each_step(
    world: World, client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    trajectory = make_trajectory(
        world.project, n_steps=3, reference={"answer": "300"}, outcome=0.5, metadata={"model": "m-7"}
    )
    steps = list(Step.objects.filter(trajectory=trajectory))
    ReferenceLabel.objects.create(trajectory=trajectory, step=steps[1], value=-1)
    judge(trajectory, world.annotator, [1, 0, 1])
    judge(trajectory, world.second, [1, 0, -1])
    client.force_login(world.reviewer)
    # Session, user, membership, trajectory, own slot, review, names asked for, letters, annotations, labels, gold,
    # reference labels, disputes, decisions, steps, slots, drafts, members, events, releases, siblings.
    with django_assert_num_queries(22):
        html = client.get(f"{URL}{trajectory.pk}/").content.decode()
    cards = [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", card)) for card in re.findall(r"<article.*?</article>", html, re.S)
    ]
    assert [card.count("settled") for card in cards] == [1, 1, 0]
    assert "Step 1 Assistant settled +1 unanimous" in cards[0]
    assert "settled 0 unanimous imported reference −1" in cards[1]
    assert "Step 3 Assistant disputed" in cards[2]
    assert "imported reference" not in cards[0] + cards[2]
    for text in ("2 of 2 submitted", "m-7", "&quot;answer&quot;: &quot;300&quot;", "0.5", "metres"):
        assert text in html


def test_imported_text_is_shown_as_text(world: World, client: Client) -> None:
    attack = "<script>alert(1)</script>"
    messages = [{"role": "user", "content": attack}, {"role": "assistant", "content": attack}]
    trajectory = make_trajectory(
        world.project,
        messages=messages,
        instruction=attack,
        external_id=attack,
        metadata={attack: attack},
        reference=attack,
    )
    client.force_login(world.reviewer)
    for url in (URL, f"{URL}{trajectory.pk}/"):
        assert attack not in client.get(url).content.decode()


def test_all_raters_decisions_revisions_events_and_releases_stand_in_one_place(world: World, client: Client) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    first = judge(trajectory, world.annotator, [1, -1])
    judge(trajectory, world.second, [1, 1])
    revisions.return_annotation(first.pk, world.reviewer, "Look again.")
    label(first.assignment, world.annotator, {0: 0})
    flow.submit(first.assignment_id, world.annotator)
    for dispute in Dispute.objects.filter(trajectory=trajectory):
        flow.decide(dispute, world.reviewer, DecisionIn(value=0, reason_code="slip", note="A slip."))
    release = Release.objects.create(project=world.project, number=1, policy={})
    ReleaseRow.objects.create(release=release, trajectory=trajectory, split="train", record={})
    Release.objects.update(published_at=now())
    client.force_login(world.admin)
    html = client.get(f"{URL}{trajectory.pk}/").content.decode()
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    assert "demo-ann demo-bob 0 +1 demo-rita: 0 , a slip of the hand" in text
    assert "replaced by a later revision 1 +1 2 −1 outcome +1" in text
    assert "In release 1 (train)." in text
    for action in ("assignment.claimed", "annotation.returned", "dispute.decided", "trajectory.settled"):
        assert action in text


def test_reviewers_see_letters_until_they_asked_for_the_names(world: World, client: Client) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.annotator, [1])
    judge(trajectory, world.second, [-1])
    client.force_login(world.reviewer)
    html = client.get(f"{URL}{trajectory.pk}/").content.decode()
    assert "demo-ann" not in html
    assert "demo-bob" not in html
    assert '<th scope="row">A</th>' in html
    review = Review.objects.get(trajectory=trajectory)
    adjudication.reveal_raters(review.pk, world.reviewer)
    assert '<th scope="row">demo-ann</th>' in client.get(f"{URL}{trajectory.pk}/").content.decode()


@pytest.mark.django_db
def test_who_labels_a_trajectory_reads_no_colleagues_labels_of_it_whatever_their_role(client: Client) -> None:
    world = make_world(overlap=3)
    trajectory, sibling = (make_trajectory(world.project, n_steps=1, group_key="one") for _ in range(2))
    for person, value in ((world.annotator, 1), (world.second, -1)):
        judge(trajectory, person, [value])
    late = make_member(world.project)
    slot = queue.claim_next(world.project, late)
    assert slot is not None and slot.trajectory == trajectory
    Dispute.objects.create(trajectory=trajectory, step=trajectory.steps.get(), severity=2)  # of an earlier settlement
    adjudication.refresh_review(trajectory.pk)
    review, dispute = Review.objects.get(), Dispute.objects.get()
    world.project.memberships.filter(user=late).update(role="reviewer")
    client.force_login(late)
    said = (
        "You are labelling this trajectory yourself, so what others said of it is not shown to you yet. Go on at "
        f"/assignments/{slot.pk}/ and submit your labels, or skip the trajectory, first."
    )
    pages = [f"{URL}{trajectory.pk}/", f"{URL}{trajectory.pk}/models/", f"/reviews/{review.pk}/"]
    for page in (*pages, f"{URL}{sibling.pk}/?beside={trajectory.pk}"):
        response = client.get(page)
        assert (response.status_code, said in response.content.decode()) == (403, True), page
    assert adjudication.claim_next(world.project, late) is None
    api = client_of(late)
    assert api.get("/api/v1/projects/demo/disputes/").json()["results"] == []
    decision = {"value": 1, "reason_code": "other"}
    assert api.post(f"/api/v1/disputes/{dispute.pk}/decisions/", decision, format="json").status_code == 403
    client.force_login(world.reviewer)
    assert client.get(pages[0]).status_code == 200
    label(slot, late, {0: 1}, outcome=1)
    flow.submit(slot.pk, late)
    client.force_login(late)
    assert client.get(pages[0]).status_code == 200


def test_two_trajectories_of_one_task_stand_side_by_side(world: World, client: Client) -> None:
    one, two = (make_trajectory(world.project, n_steps=1, group_key="tower", external_id=name) for name in "ab")
    other = make_trajectory(world.project, n_steps=1)
    judge(two, world.annotator, [-1])
    client.force_login(world.reviewer)
    alone = client.get(f"{URL}{one.pk}/").content.decode()
    assert f'<a href="?beside={two.pk}">b</a>' in alone
    assert f"beside={other.pk}" not in alone
    both = client.get(f"{URL}{one.pk}/?beside={two.pk}").content.decode()
    assert both.count('id="step-1"') == 1
    assert both.count('id="beside-step-1"') == 1
    for wrong in (other.pk, one.pk, 999_999, "x"):
        assert client.get(f"{URL}{one.pk}/?beside={wrong}").status_code == 404


def test_the_detail_takes_the_same_queries_however_many_trajectories_share_its_task(
    world: World, client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    trajectory, *_ = (make_trajectory(world.project, group_key="one task") for _ in range(4))
    client.force_login(world.reviewer)
    with django_assert_num_queries(18):
        client.get(f"/projects/demo/trajectories/{trajectory.pk}/")
