"""Parts of the figures, the advice they lead to, the charts, and the steps behind a figure."""

import re
from collections import Counter
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from annotator.agreement import actions
from annotator.agreement.advice import advise
from annotator.agreement.breakdown import breakdown, periods_of
from annotator.agreement.charts import chart
from annotator.agreement.labels import read
from annotator.agreement.metrics import Figure, GroupReport
from annotator.agreement.steps import StepFilter, pairs_of_labels, with_messages
from annotator.models import Annotation, Guideline
from tests.agreement.judgements import Judgement, agreement_report, group_report
from tests.factories import World, judge, make_member, make_project, make_trajectory

# Advice: each rule on figures that call for it, and on figures just beside.

NAMES: dict[Hashable, str] = {1: "ann", 2: "bob", 3: "cleo"}
ALIKE = [1, 1, -1, -1, 0]


def judged(
    n: int, *, differing: int = 0, first: list[int] = ALIKE, second: list[int] | None = None, start: int = 0
) -> list[Judgement]:
    """Two people on n trajectories: alike, but for the first few, on which the second says `second`."""
    judgements = []
    for t in range(start, start + n):
        said = second if second and t - start < differing else first
        judgements += [Judgement(1, t, dict(enumerate(first))), Judgement(2, t, dict(enumerate(said)))]
    return judgements


def texts(judgements: list[Judgement], versions: list[tuple[int, GroupReport]] | None = None) -> list[str]:
    return [one.text for one in advise(agreement_report(judgements, resamples=200), versions or [], NAMES)]


def test_few_trajectories_call_for_waiting_and_nothing_else() -> None:
    report = agreement_report(judged(29, differing=29, second=[-1, -1, 1, 1, 1]), resamples=0)
    (advice,) = advise(report, [], NAMES)
    assert advice.text.startswith("Wait until 30 trajectories have been judged by two people.")
    assert advice.because == "trajectories judged in common: 29"
    assert advice.steps == {}


def test_good_figures_call_for_nothing() -> None:
    assert texts(judged(30)) == []
    assert texts(judged(30, first=[1, 1])) == []  # alpha is undefined where nobody ever differs


@pytest.mark.parametrize(
    ("differing", "beginning"),
    [(30, "Do not publish yet."), (12, "Publish only with this figure beside the data"), (2, None)],
)
def test_a_low_alpha_is_said_first(differing: int, beginning: str | None) -> None:
    report = agreement_report(judged(30, differing=differing, second=[1, -1, -1, 1, 0]), resamples=0)
    said = advise(report, [], NAMES)
    if beginning is None:
        assert said == []
    else:
        assert said[0].text.startswith(beginning)
        alpha = report.krippendorff_alpha_nominal.value
        assert said[0].because.startswith(f"Krippendorff's alpha, nominal: {alpha:.3f};".replace("-", "−"))
        assert said[0].steps == {"same": 0}


def test_a_low_alpha_of_nearly_equal_values_points_to_ac1() -> None:
    judgements = judged(40, differing=3, first=[1] * 8, second=[1] * 7 + [-1])
    (first, *_) = advise(agreement_report(judgements, resamples=0), [], NAMES)
    assert first.text.startswith("Look at the values one by one")
    assert first.because.endswith("; 100 % of the judgements are +1")  # 637 of 640


def test_a_high_ac1_alone_does_not_say_that_all_judgements_are_alike() -> None:
    judgements = judged(50, differing=40, first=[1, 1, 1, 1, 1, 1, 0, -1], second=[1, 1, 1, 1, 1, 1, -1, -1])
    report = agreement_report(judgements, resamples=0)
    assert report.gwet_ac1.value is not None and report.krippendorff_alpha_nominal.value is not None
    assert report.krippendorff_alpha_nominal.value < 0.8 <= report.gwet_ac1.value
    (first, *_) = advise(report, [], NAMES)
    assert first.text.startswith("Publish only with this figure beside the data")


def test_a_few_whole_trajectories_say_nothing_of_where_errors_begin() -> None:
    spots = [Judgement(person, t, {0: 1}) for t in range(40) for person in (1, 2)]
    for n_whole, is_said in ((9, False), (10, True)):
        whole = judged(n_whole, differing=n_whole, second=[1, 1, 1, -1, 0], start=100)
        report = agreement_report(spots + whole, n_steps_of=dict.fromkeys(range(200), 5), resamples=0)
        assert report.first_error_agreement.n == n_whole
        said = [one.text for one in advise(report, [], NAMES)]
        assert any(text.startswith("Say in the guideline where") for text in said) is is_said


def test_a_low_specific_agreement_names_the_section_to_mend() -> None:
    report = agreement_report(judged(40, differing=30, second=[1, 1, -1, -1, 1]), resamples=0)
    said = {one.text: one for one in advise(report, [], NAMES)}
    advice = said["Mend the guideline's section on neutral with examples: people do not mean the same by 0."]
    assert advice.because == "where one person gave 0, another gave it too in 40 %"  # 2 · 10 of 40 + 10
    assert advice.steps == {"value_a": 0, "same": 0}


def test_first_errors_one_step_apart_call_for_a_word_on_where_an_error_begins() -> None:
    report = agreement_report(judged(40, differing=10, second=[1, 1, 1, -1, 0]), resamples=0)
    (advice,) = [one for one in advise(report, [], NAMES) if one.text.startswith("Say in the guideline where")]
    assert advice.because == "first error: 75 % the same step, 100 % within one step"
    two_apart = judged(40, differing=10, first=[1, -1, -1, -1], second=[1, 1, 1, -1])
    assert not any(text.startswith("Say in the guideline where") for text in texts(two_apart))


def test_one_pair_much_below_the_others_is_named() -> None:
    judgements = []
    for t in range(40):
        poor = [1, -1, -1, 1, 0] if t < 20 else ALIKE
        people = (
            [(1, ALIKE), (2, poor)]
            if t % 3 == 0
            else [(1, ALIKE), (3, ALIKE)]
            if t % 3 == 1
            else [(2, ALIKE), (3, ALIKE)]
        )
        judgements += [Judgement(person, t, dict(enumerate(values))) for person, values in people]
    (advice,) = [one for one in advise(agreement_report(judgements, resamples=0), [], NAMES) if "talk over" in one.text]
    assert advice.text.startswith("Let ann and bob talk over the steps on which they differ")
    assert advice.because.endswith("for this pair, 1.000 in the middle of the rest")
    assert advice.steps == {"a": 1, "b": 2, "same": 0}


@pytest.mark.parametrize(
    ("before", "after", "beginning"),
    [
        (15, 1, "Keep version 2 of the guideline"),
        (1, 15, "Look at what version 2 of the guideline changed"),
        (5, 6, None),
    ],
)
def test_a_guideline_version_that_changed_something_is_named(before: int, after: int, beginning: str | None) -> None:
    other = [1, -1, -1, 1, 0]
    versions = [(n, group_report(judged(30, differing=d, second=other))) for n, d in ((1, before), (2, after))]
    said = [text for text in texts(judged(60, differing=4, second=other), versions) if "version" in text]
    assert [text[: len(beginning or "")] for text in said] == ([beginning] if beginning else [])


def test_agreement_that_comes_from_runs_points_to_the_decision_points() -> None:
    run, later = [1, -1, -1, -1, -1, -1, -1, -1], [1, 1, -1, -1, -1, -1, -1, -1]
    said = texts(judged(40, differing=20, first=run, second=later))
    assert any(text.startswith("Go by the decision points") for text in said)


# Charts.


def figure(value: float | None, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value, low, high, 1, "steps", "" if value is not None else "none")


def test_a_chart_breaks_where_a_figure_is_undefined() -> None:
    drawn = chart(
        [("a", figure(0.5, 0.25, 0.75)), ("b", figure(None)), ("c", figure(1.0)), ("d", figure(0.0, 0, 1))],
        is_share=True,
        is_connected=True,
        limits=(0.8,),
    )
    assert [(mark.label, mark.y) for mark in drawn.marks] == [("a", 101.0), ("c", 12.0), ("d", 190.0)]
    assert drawn.marks[0].title == "a: 50 % (25 % to 75 %)"
    assert [len(line.split()) for line in drawn.lines] == [1, 2]
    assert drawn.bands[0] == "120.5,56.5 120.5,145.5"
    assert [tick.text for tick in drawn.ticks] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert [limit.y for limit in drawn.limits] == [47.6]


@pytest.mark.parametrize(
    ("lowest", "first", "n_ticks", "y_of_zero"),
    [(-0.02, "−0.25", 6, 154.4), (-0.5, "−0.50", 7, 130.7), (-0.51, "−0.75", 8, 113.7), (-1.2, "−1.00", 9, 101.0)],
)
def test_a_chart_with_figures_below_zero_starts_at_the_quarter_below(
    lowest: float, first: str, n_ticks: int, y_of_zero: float
) -> None:
    drawn = chart([("a", figure(0.0, lowest, 0.5))], is_share=False, is_connected=False)
    assert [(tick.text, tick.y) for tick in drawn.ticks][:: n_ticks - 1] == [(first, 190.0), ("1.00", 12.0)]
    assert len(drawn.ticks) == n_ticks
    assert (drawn.marks[0].y, drawn.lines, drawn.bands) == (y_of_zero, [], [])
    assert drawn.marks[0].low <= 190.0


def test_a_long_chart_labels_some_of_its_marks() -> None:
    drawn = chart([(str(n), figure(0.5)) for n in range(40)], is_share=True, is_connected=True)
    assert [mark.label for mark in drawn.marks if mark.label] == ["0", "5", "10", "15", "20", "25", "30", "35"]


# Periods.

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def test_periods_are_weeks_from_monday() -> None:
    at = {1: MONDAY + timedelta(days=6, hours=23), 2: MONDAY, 3: MONDAY + timedelta(days=7), 4: MONDAY + timedelta(30)}
    assert [(title, pks) for title, _, _, pks in periods_of(at)] == [
        ("2 Mar 2026", [2, 1]),
        ("9 Mar 2026", [3]),
        ("30 Mar 2026", [4]),
    ]


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (1, [1]), (5, [2, 3]), (25, [2, 3, 2, 3, 2, 3, 2, 3, 2, 3])])
def test_a_single_week_is_cut_into_equal_parts_in_order(n: int, sizes: list[int]) -> None:
    at = {pk: MONDAY + timedelta(minutes=pk) for pk in range(n)}
    periods = periods_of(at)
    assert [len(pks) for _, _, _, pks in periods] == sizes
    assert [pk for _, _, _, pks in periods for pk in pks] == list(range(n))
    assert all((since, until) == (at[pks[0]], at[pks[-1]]) for _, since, until, pks in periods)


def test_what_was_submitted_at_one_moment_stays_together() -> None:
    at = {pk: MONDAY + timedelta(minutes=max(pk, 5)) for pk in range(12)}  # the first six at once
    periods = periods_of(at)
    assert [pks for _, _, _, pks in periods] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9], [10, 11]]
    assert [pks for _, _, _, pks in periods_of(dict.fromkeys(range(9), MONDAY))] == [list(range(9))]


# What is read, and its parts.


def test_parts_by_domain_and_guideline_version(world: World) -> None:
    for metadata in (
        {"data_source": "bfcl", "domain": "x"},
        {"domain": "web"},
        {"data_source": ""},
        {"data_source": 7},
    ):
        trajectory = make_trajectory(world.project, n_steps=2, metadata=metadata)
        judge(trajectory, world.annotator, [1, -1])
        judge(trajectory, world.second, [1, 1])
    crossing = make_trajectory(world.project, n_steps=2, metadata={"domain": "web"})
    judge(crossing, world.annotator, [1, -1])
    Guideline.objects.create(project=world.project, version=2, text="new")
    judge(crossing, world.second, [1, -1])
    parts = breakdown(read(world.project), resamples=0)
    assert [(part.title, part.report.n_steps, part.report.raw_agreement.value) for part in parts.domains] == [
        ("7", 2, 0.5),
        ("bfcl", 2, 0.5),
        ("openai_chat", 2, 0.5),
        ("web", 4, 0.75),
    ]
    # One label of each step of `crossing` was given under version 1, the other under version 2.
    assert [(version, part.report.n_steps) for version, part in parts.versions] == [(1, 8)]
    assert sum(part.report.n_steps for part in parts.periods) == 10


def test_a_trajectory_counts_when_its_last_judgement_was_submitted(world: World) -> None:
    first, second = make_trajectory(world.project), make_trajectory(world.project)
    for trajectory in (first, second):
        judge(trajectory, world.annotator, [1, 1, 1])
    judge(second, world.second, [1, 1, 1])
    judge(first, world.second, [1, 1, 1])
    given = read(world.project)
    assert given.submitted_at[first.pk] > given.submitted_at[second.pk]
    last = Annotation.objects.get(trajectory=first, annotator=world.second)
    assert given.submitted_at[first.pk] == last.submitted_at


# The steps behind a figure.


def listed(world: World, **wanted: object) -> list[tuple[int, int, int]]:
    pairs = pairs_of_labels(world.project, StepFilter(**wanted))  # type: ignore[arg-type]
    return [(pair.index, pair.value, pair.other_value) for pair in pairs]  # type: ignore[attr-defined]


@pytest.fixture
def labelled(world: World) -> World:
    trajectory = make_trajectory(world.project, n_steps=4, metadata={"domain": "web"})
    judge(trajectory, world.annotator, [1, 1, 0, -1])
    judge(trajectory, world.second, [1, -1, 0, 0])
    judge(make_trajectory(world.project), world.annotator, [1, 1, 1])  # nobody else
    elsewhere = make_project()
    other = make_trajectory(elsewhere)
    for _ in range(2):
        judge(other, make_member(elsewhere), [-1, -1, -1])
    return world


def test_every_cell_of_the_matrices_lists_its_steps(labelled: World) -> None:
    a, b = labelled.annotator.pk, labelled.second.pk
    (pair,) = actions.report(labelled.project).pairs
    assert pair.raters == (a, b)
    cells = Counter((x, y) for _, x, y in listed(labelled, a=a, b=b))
    assert pair.confusion == [[cells[x, y] for y in (-1, 0, 1)] for x in (-1, 0, 1)]
    assert listed(labelled, a=a, b=b, value_a=1, value_b=-1) == [(1, 1, -1)]
    assert listed(labelled, a=b, b=a, value_a=1, value_b=-1) == []
    # Without names each pair of people is listed once, in the direction that was asked for.
    assert listed(labelled, value_a=0, value_b=-1) == [(3, 0, -1)]
    assert listed(labelled, value_a=0, same=False) == [(3, 0, -1)]
    assert listed(labelled, value_a=1, value_b=1) == [(0, 1, 1)]


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ({}, [0, 1, 2, 3]),
        ({"same": True}, [0, 2]),
        ({"same": False}, [1, 3]),
        ({"domain": "web"}, [0, 1, 2, 3]),
        ({"domain": "openai_chat"}, []),
        ({"guideline": 1, "same": False}, [1, 3]),
        ({"guideline": 2}, []),
        ({"since": MONDAY}, [0, 1, 2, 3]),
        ({"until": MONDAY}, []),
        ({"a": 2**40}, []),
    ],
)
def test_steps_can_be_narrowed_down(wanted: dict[str, object], indices: list[int], labelled: World) -> None:
    assert [index for index, _, _ in listed(labelled, **wanted)] == indices


def test_the_list_joins_labels_once(world: World) -> None:
    """A filter and an annotation over two joins would list each pair of labels several times."""
    sql = str(pairs_of_labels(world.project, StepFilter(same=False, value_a=1)).query)
    assert sql.count('JOIN "annotator_label"') == 1


def steps_url(world: World, **query: object) -> str:
    return f"{reverse('agreement-steps', args=[world.project.slug])}?{urlencode(query)}"


@pytest.mark.parametrize(
    ("_case", "who", "status"),
    [
        ("anonymous is sent to login", None, 302),
        ("outsiders learn nothing", "outsider", 404),
        ("annotators must not see colleagues' labels", "annotator", 403),
        ("reviewers may", "reviewer", 200),
        ("admins may", "admin", 200),
    ],
)
def test_steps_access(_case: str, who: str | None, status: int, labelled: World, client: Client) -> None:
    if who:
        client.force_login(labelled.user(who))
    assert client.get(steps_url(labelled)).status_code == status


def test_the_list_shows_both_values_and_leads_to_the_step(labelled: World, client: Client) -> None:
    client.force_login(labelled.reviewer)
    html = client.get(steps_url(labelled, value_a=1, value_b=-1, domain="web")).content.decode()
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())
    assert "1 time two people judged the same step: one person gave +1, another gave −1, domain web." in text
    assert "Step 2 demo-ann +1 demo-bob −1 Let me look it up (1)." in text
    trajectory = labelled.project.trajectories.order_by("pk")[0]
    assert f'{reverse("trajectory-detail", args=["demo", trajectory.pk])}#step-2"' in html


def test_a_step_without_text_shows_what_it_calls(world: World, client: Client) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "search<b>", "arguments": "{}"}}
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    trajectory = make_trajectory(world.project, messages=messages)
    judge(trajectory, world.annotator, [1])
    judge(trajectory, world.second, [1])
    client.force_login(world.admin)
    assert "calls search&lt;b&gt;" in client.get(steps_url(world)).content.decode()


@pytest.mark.parametrize(
    ("query", "name"),
    [({"value_a": "2"}, "value_a"), ({"a": "x"}, "a"), ({"since": "then"}, "since"), ({"same": "maybe"}, "same")],
)
def test_an_impossible_filter_is_refused_by_name(
    query: dict[str, str], name: str, world: World, client: Client
) -> None:
    client.force_login(world.admin)
    response = client.get(steps_url(world, **query), headers={"accept": "application/json"})
    assert response.status_code == 400
    assert list(response.json()["error"]["fields"]) == [name]


def test_an_empty_list_says_so(world: World, client: Client) -> None:
    client.force_login(world.admin)
    assert "No step fits." in client.get(steps_url(world)).content.decode()


def test_steps_query_budget_does_not_grow(
    labelled: World, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(4):
        trajectory = make_trajectory(labelled.project)
        judge(trajectory, labelled.annotator, [1, 0, 1])
        judge(trajectory, labelled.second, [1, 1, 1])
    client.force_login(labelled.admin)
    # session, user, membership, count, pairs, messages, names
    with django_assert_max_num_queries(7):
        client.get(steps_url(labelled, same=0))


def test_links_of_the_page_open_as_many_steps_as_they_say(labelled: World, client: Client) -> None:
    client.force_login(labelled.admin)
    html = client.get(reverse("agreement", args=["demo"])).content.decode()
    links = {unescape(url): int(n) for url, n in re.findall(r'<a href="([^"]*/steps/[^"]*)"[^>]*>(\d+)</a>', html)}
    assert len(links) >= 8
    for url, n in links.items():
        said = re.search(r"(\d+) times? two people", client.get(url).content.decode())
        assert said and int(said[1]) == n, url
    assert "style=" not in html
    assert 'id="periods-raw_agreement-title"' in html
    assert 'id="versions-krippendorff_alpha_nominal-title"' in html


def test_numbers_about_three_people_open_as_many_steps_as_they_say(client: Client, db: None) -> None:
    project = make_project(overlap=3)
    people = [make_member(project) for _ in range(3)]
    for _ in range(2):
        trajectory = make_trajectory(project, n_steps=4)
        for person, values in zip(people, ([1, 0, 1, -1], [1, -1, 1, -1], [1, 0, 0, -1]), strict=True):
            judge(trajectory, person, values)
    client.force_login(make_member(project, "admin"))
    html = client.get(reverse("agreement", args=[project.slug])).content.decode()
    assert "whoever was who: the table is symmetric" in html
    cells = re.findall(r'<td class="shade[^"]*"><a href="([^"]*)">(\d+)</a>', html)
    assert len(cells) > 9
    for url, n in cells:
        said = re.search(r"(\d+) times? two people", client.get(unescape(url)).content.decode())
        assert said and said[1] == n, url


def test_the_database_is_asked_for_one_message_only(labelled: World) -> None:
    pairs = list(pairs_of_labels(labelled.project, StepFilter(same=False)))
    messages = with_messages(pairs)
    assert [messages[pair.pk]["content"] for pair in pairs] == [  # type: ignore[index]
        "Let me look it up (1).",
        "It is 300 metres tall.",
    ]
