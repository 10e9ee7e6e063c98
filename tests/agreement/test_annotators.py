"""How each annotator works: the figures by hand, the flags, and their page."""

import re
from collections.abc import Sequence
from html import unescape

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from annotator import flow
from annotator.adjudication.actions import DecisionIn
from annotator.agreement.annotator_rows import annotator_rows
from annotator.agreement.annotators import (
    AnnotatorReport,
    ReadingReport,
    Readings,
    Share,
    annotator_reports,
    reading_reports,
)
from annotator.agreement.labels import gold_shares
from annotator.agreement.metrics import against_others
from annotator.labelling import revisions
from annotator.models import Annotation, Assignment, Dispute, Label, Trajectory, User
from tests.agreement.judgements import Judgement, compared
from tests.factories import World, judge, label, make_member, make_trajectory

NOTHING_READ = ReadingReport(n_measured=0, seconds_per_step=None, n_steps=0, unseen=[], hurried=[])


def report_of(values: tuple[int, int, int] = (0, 0, 0), reading: ReadingReport = NOTHING_READ) -> AnnotatorReport:
    return AnnotatorReport(1, 1, values, None, None, Share(0, 0), reading, 0)


# Shares.


@pytest.mark.parametrize(
    ("n_hits", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_as_published(n_hits: int, n: int, low: float, high: float) -> None:
    share = Share(n_hits, n)
    assert share.value == n_hits / n
    assert share.interval == pytest.approx((low, high), abs=0.00005)


def test_a_share_of_nothing_has_neither_value_nor_interval() -> None:
    assert (Share(0, 0).value, Share(0, 0).interval) == (None, None)
    assert Share(5, 5).interval == pytest.approx((0.5655, 1.0), abs=0.00005)


# Flags.


@pytest.mark.parametrize(
    ("_case", "n_of_value", "text", "steps"),
    [
        ("too few steps for a flag", (0, 99, 0), None, {}),
        ("the first that may be flagged", (0, 100, 0), "gave 0 to 100.0 % of 100 steps; usual is 1 to 20 %. Look", 0),
        ("just within, above", (40, 20, 40), None, {}),
        ("just beyond", (39, 21, 40), "gave 0 to 21.0 % of 100 steps; usual is 1 to 20 %. Look at these steps.", 0),
        ("just within, below", (40, 1, 59), None, {}),
        ("none at all", (40, 0, 60), "never gave 0 among 100 steps; usual is 1 to 20 %. Look whether", None),
        ("too few", (100, 1, 99), "gave 0 to 0.5 % of 200 steps; usual is 1 to 20 %. Look whether some", None),
    ],
)
def test_an_unusual_share_of_zeros_is_flagged(
    _case: str, n_of_value: tuple[int, int, int], text: str | None, steps: int | None
) -> None:
    flags = report_of(n_of_value).flags
    if text is None:
        assert flags == []
    else:
        (flag,) = flags
        assert flag.text.startswith(text)
        assert flag.steps == ({} if steps is None else {"value": steps})


def test_hurried_trajectories_are_flagged_from_three_on() -> None:
    assert report_of(reading=ReadingReport(40, 1.0, 120, [], [7, 8])).flags == []
    (flag,) = report_of(reading=ReadingReport(40, 1.0, 120, [], [7, 8, 9])).flags
    assert flag.text == "spent less than 1.5 s per step on 3 of 40 trajectories. Look at these trajectories."
    assert flag.steps == {"show": "hurried"}


# Reading.


def readings(*rows: tuple[int, int, int, int, int, bool, bool]) -> Readings:
    """Rows of label, assignment, step, rater, active_ms, is_seen, is_superseded."""
    label, assignment, step, rater, ms, seen, old = np.array(rows, dtype=np.int64).reshape(-1, 7).T
    return Readings(label, assignment, step, rater, ms, seen == 1, old == 1)


def test_reading_by_hand() -> None:
    report = reading_reports(
        readings(
            # Two steps in 2.9 s: hurried. Two in 3.0 s: not.
            (1, 10, 100, 5, 1000, True, False),
            (2, 10, 101, 5, 1900, False, False),
            (3, 11, 102, 5, 2000, True, False),
            (4, 11, 103, 5, 1000, True, False),
            # Nothing measured: it came over the API and says nothing.
            (5, 12, 104, 5, 0, False, False),
            # Seen, but no second was spent on it.
            (6, 13, 105, 5, 0, True, False),
            (7, 20, 100, 6, 9000, True, False),
        )
    )
    assert report[5] == ReadingReport(n_measured=3, seconds_per_step=1.0, n_steps=5, unseen=[2], hurried=[10, 13])
    assert report[6].hurried == []


def test_revisions_count_together_and_only_what_the_latest_has() -> None:
    report = reading_reports(
        readings(
            (1, 10, 100, 5, 4000, True, True),
            (2, 10, 101, 5, 0, False, True),
            (3, 10, 102, 5, 9000, True, True),  # the later revision has no label of this step
            (4, 10, 100, 5, 0, False, False),
            (5, 10, 101, 5, 500, False, False),
        )
    )
    assert report == {5: ReadingReport(n_measured=1, seconds_per_step=2.25, n_steps=2, unseen=[5], hurried=[])}


def test_nothing_read_gives_no_report() -> None:
    assert reading_reports(readings()) == {}


# Agreement with the others.


def test_each_label_meets_each_other_label_of_its_step() -> None:
    judgements = [
        Judgement(1, 1, {0: 1, 1: -1, 2: 0}),
        Judgement(2, 1, {0: 1, 1: 1, 2: 0}),
        Judgement(3, 1, {0: 1, 1: -1}),
        Judgement(4, 2, {0: 1}),
    ]
    others = against_others(compared(judgements), resamples=0)
    assert sorted(others) == [1, 2, 3]
    # Of person 1: steps 0 and 1 meet two labels each, step 2 one; person 2 differs once.
    assert (others[1].raw_agreement.value, others[1].raw_agreement.n) == (4 / 5, 5)
    assert (others[2].raw_agreement.value, others[2].raw_agreement.n) == (3 / 5, 5)
    # First their value, then the other's: 2 gave +1 where two others gave −1.
    assert others[2].confusion == [[0, 0, 0], [0, 1, 0], [2, 0, 2]]
    assert others[3].confusion == [[1, 0, 1], [0, 0, 0], [0, 0, 2]]
    # Coincidences of person 1, both orders: (−1,−1) 2, (−1,1) 1, (0,0) 2, (1,−1) 1, (1,1) 4.
    expected = 1 - 9 * 2 / (2 * (3 * 2 + 3 * 5 + 2 * 5))
    assert others[1].krippendorff_alpha_nominal.value == pytest.approx(expected)


def test_reports_by_hand() -> None:
    judgements = [
        Judgement(person, t, dict.fromkeys(range(10), 1) | {9: 0 if person == 2 else -1})
        for t in range(10)
        for person in (1, 2)
    ]
    judgements.append(Judgement(3, 99, {0: -1}))
    read = readings(
        *((n, t, 10 * t + s, 1, 500, True, False) for n, (t, s) in enumerate(np.ndindex(10, 10))),
        (500, 50, 1, 2, 0, False, False),
        (501, 51, 1, 3, 0, False, False),
    )
    first, second, third = annotator_reports(compared(judgements), read, {1: Share(3, 4)}, {2: 6})
    assert (first.rater, first.n_trajectories, first.n_of_value, first.n_steps) == (1, 10, (10, 0, 90), 100)
    assert first.observed is not None and first.observed.value == 0.9
    assert first.alpha is not None and second.n_of_value == (0, 10, 90)
    assert (first.gold, second.gold, second.n_returned) == (Share(3, 4), Share(0, 0), 6)
    assert first.reading.hurried == list(range(10))
    assert [flag.text.split(";")[0] for flag in first.flags] == [
        "never gave 0 among 100 steps",
        "spent less than 1.5 s per step on 10 of 10 trajectories. Look at these trajectories.",
    ]
    assert second.flags == []
    # Nobody else judged what the third person did.
    assert (third.observed, third.alpha, third.flags) == (None, None, [])
    rows = annotator_rows([first, second, third], {1: "cleo", 2: "ann", 3: "bob"})
    assert [row.name for row in rows] == ["ann", "bob", "cleo"]
    assert [(one.value, one.share, one.left, one.width) for one in rows[2].shares] == [
        (-1, 0.1, 0.0, 10.0),
        (0, 0.0, 10.0, 0.0),
        (1, 0.9, 10.0, 90.0),
    ]
    assert (rows[1].basis, rows[2].gold_basis) == ("", "30 to 95 %, 3 of 4")
    assert (rows[0].unseen, rows[2].unseen) == (None, 0.0)


# The page.


def url_of(world: World) -> str:
    return reverse("annotator-list", args=[world.project.slug])


def steps_url(world: World, person: User, query: str = "") -> str:
    return reverse("annotator-detail", args=[world.project.slug, person.pk]) + query


def text_of(client: Client, url: str) -> str:
    """What a person reads: no tags, single spaces."""
    response = client.get(url)
    assert response.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def read_and_judge(
    trajectory: Trajectory, person: User, values: Sequence[int], *, active_ms: int, is_seen: bool = True
) -> Annotation:
    """As `judge`, with what the page measures."""
    slot = Assignment.objects.claimable_by(person).filter(trajectory=trajectory).order_by("slot")[0]
    label(slot, person, dict(enumerate(values)), 1)
    Label.objects.filter(annotation__assignment=slot, step__isnull=False).update(active_ms=active_ms, is_seen=is_seen)
    return flow.submit(slot.pk, person)


@pytest.mark.parametrize("is_of_one", [False, True])
@pytest.mark.parametrize(
    ("_case", "who", "status"),
    [
        ("anonymous is sent to login", None, 302),
        ("outsiders learn nothing", "outsider", 404),
        ("annotators must not see colleagues' figures, nor their own", "annotator", 403),
        ("reviewers may", "reviewer", 200),
        ("admins may", "admin", 200),
    ],
)
def test_access(_case: str, who: str | None, status: int, is_of_one: bool, world: World, client: Client) -> None:
    judge(make_trajectory(world.project), world.annotator, [1, 1, 1])
    if who:
        client.force_login(world.user(who))
    assert client.get(steps_url(world, world.annotator) if is_of_one else url_of(world)).status_code == status


def test_without_labels_the_page_says_so(world: World, client: Client) -> None:
    client.force_login(world.reviewer)
    assert "Nobody has submitted anything yet" in text_of(client, url_of(world))


def test_the_figures_of_each_person(world: World, client: Client) -> None:
    first = make_trajectory(world.project)
    read_and_judge(first, world.annotator, [1, 0, -1], active_ms=2500)
    read_and_judge(first, world.second, [1, -1, 1], active_ms=1000, is_seen=False)
    judge(make_trajectory(world.project), world.second, [1, 1, 1])  # not measured
    for dispute, value in zip(Dispute.objects.order_by("step__index"), (0, None), strict=True):
        flow.decide(dispute, world.reviewer, DecisionIn(value=value, reason_code="ambiguous"))
    sent_back = Annotation.objects.get(trajectory=first, annotator=world.second)
    revisions.return_annotation(sent_back.pk, world.reviewer, "Look again.")
    client.force_login(world.reviewer)
    text = text_of(client, url_of(world))
    assert "Nothing stands out so far." in text
    # One of three alike; of the two disputes the one that is undecidable does not count.
    assert (
        "demo-ann 1 3 −1 33.3 % 0 33.3 % +1 33.3 % 33.3 % 3 pairs – 100.0 % 21 to 100 %, 1 of 1 2.5 s 0.0 % 0 of 1 0"
    ) in text
    assert (
        "demo-bob 2 6 −1 16.7 % 0 0.0 % +1 83.3 % 33.3 % 3 pairs – 0.0 % 0 to 79 %, 0 of 1 1.0 s 100.0 % 1 of 1 1"
    ) in text


def test_nobody_is_shown_by_what_they_decided_themselves(world: World, client: Client) -> None:
    for decider, value, n_steps in ((world.reviewer, -1, 2), (world.admin, 1, 1)):
        trajectory = make_trajectory(world.project, n_steps=n_steps)
        judge(trajectory, world.reviewer, [-1] * n_steps)
        judge(trajectory, world.annotator, [1] * n_steps)
        for dispute in Dispute.objects.filter(trajectory=trajectory):
            flow.decide(dispute, decider, DecisionIn(value=value, reason_code="misread"))
    assert gold_shares(world.project) == {world.reviewer.pk: Share(0, 1), world.annotator.pk: Share(1, 3)}
    client.force_login(world.reviewer)
    text = text_of(client, url_of(world))
    assert "0.0 % 0 to 79 %, 0 of 1" in text
    assert "33.3 % 6 to 79 %, 1 of 3" in text


def test_a_flag_leads_to_the_steps_behind_it(world: World, client: Client) -> None:
    for _ in range(10):
        read_and_judge(make_trajectory(world.project, n_steps=10), world.annotator, [0] * 3 + [1] * 7, active_ms=1400)
    read_and_judge(make_trajectory(world.project, n_steps=2), world.annotator, [1, 1], active_ms=1600)
    read_and_judge(make_trajectory(world.project, n_steps=1), world.second, [1], active_ms=1400)
    client.force_login(world.admin)
    html = client.get(url_of(world)).content.decode()
    text = text_of(client, url_of(world))
    assert "demo-ann gave 0 to 29.4 % of 102 steps; usual is 1 to 20 %. Look at these steps. Show" in text
    assert "demo-ann spent less than 1.5 s per step on 10 of 11 trajectories. Look at these trajectories. Show" in text
    assert "demo-bob spent" not in text
    for query, said in {
        "?value=0": "30 steps with the value 0.",
        "?show=hurried": "100 steps of trajectories with less than 1.5 s of active time per step.",
    }.items():
        assert f'href="{steps_url(world, world.annotator, query)}"' in html
        assert said in text_of(client, steps_url(world, world.annotator, query))
    assert "102 steps." in text_of(client, steps_url(world, world.annotator))
    assert "style=" not in html


def test_the_list_shows_value_reading_and_text_and_leads_to_the_step(world: World, client: Client) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    read_and_judge(trajectory, world.annotator, [1, -1], active_ms=1400, is_seen=False)
    read_and_judge(trajectory, world.second, [1, 1], active_ms=1400)
    client.force_login(world.reviewer)
    url = steps_url(world, world.annotator, "?show=unseen&value=-1")
    text = text_of(client, url)
    assert "Steps labelled by demo-ann 1 step with the value −1 that never were on the screen." in text
    assert f"{trajectory.external_id} Step 2 −1 1.4 s, not known to be seen It is 300 metres tall." in text
    step = f"{reverse('trajectory-detail', args=['demo', trajectory.pk])}#step-2"
    assert f'href="{step}"' in client.get(url).content.decode()
    assert "No step fits." in text_of(client, steps_url(world, world.second, "?value=0"))


def test_what_a_later_revision_replaced_is_not_listed(world: World, client: Client) -> None:
    trajectory = make_trajectory(world.project, n_steps=2)
    annotation = read_and_judge(trajectory, world.annotator, [0, 0], active_ms=9000)
    revisions.return_annotation(annotation.pk, world.reviewer, "Look again.")
    label(annotation.assignment, world.annotator, {1: 1})
    flow.submit(annotation.assignment_id, world.annotator)
    client.force_login(world.reviewer)
    assert "demo-ann 1 2 −1 0.0 % 0 50.0 % +1 50.0 %" in text_of(client, url_of(world))
    # Labels carried over were read before: nothing is hurried or unseen.
    assert "9.0 s 0.0 % 0 of 1 1" in text_of(client, url_of(world))
    assert "1 step with the value 0." in text_of(client, steps_url(world, world.annotator, "?value=0"))


def test_people_who_judged_nothing_here_are_not_found(world: World, client: Client) -> None:
    client.force_login(world.reviewer)
    for pk in (world.annotator.pk, world.outsider.pk, 2**70):
        assert client.get(f"/projects/demo/agreement/annotators/{pk}/").status_code == 404


@pytest.mark.parametrize(("query", "name"), [("value=2", "value"), ("show=all", "show")])
def test_an_impossible_filter_is_refused_by_name(query: str, name: str, world: World, client: Client) -> None:
    judge(make_trajectory(world.project), world.annotator, [1, 1, 1])
    client.force_login(world.admin)
    response = client.get(steps_url(world, world.annotator, f"?{query}"), headers={"accept": "application/json"})
    assert response.status_code == 400
    assert list(response.json()["error"]["fields"]) == [name]


def test_query_budgets_do_not_grow(
    world: World, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    people = [world.annotator, world.second, *(make_member(world.project) for _ in range(4))]
    for number in range(6):
        trajectory = make_trajectory(world.project)
        judge(trajectory, people[number], [1, 0, 1])
        judge(trajectory, people[number - 1], [1, 1, 1])
    client.force_login(world.admin)
    # session, user, membership, labels, readings, decided, returned, names
    with django_assert_max_num_queries(8):
        client.get(url_of(world))
    # session, user, membership, name, readings, count, labels, messages
    with django_assert_max_num_queries(8):
        client.get(steps_url(world, world.annotator))
