"""The settings page and the action behind it."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from annotator.api.bodies import ReleaseIn
from annotator.api.bodies import parse as parse_body
from annotator.errors import DomainError, InvalidSettings
from annotator.models import AuditEvent, Project
from annotator.projects import actions
from annotator.projects.actions import ProjectSettings
from annotator.projects.hints import HintPolicy
from annotator.projects.scheme import LabelScheme
from annotator.projects.taxonomies import TAXONOMIES
from annotator.releases.policy import ReleasePolicy
from tests.factories import World, make_acceptance, make_trajectory

URL = "/projects/demo/settings/"

NO_MODEL = "Name the model whose suggestions are shown."
_SCALE = {"key": "tone", "name": "Tone", "low": 3, "high": 1}

FORM: dict[str, Any] = {
    "name": "demo",
    "overlap": 2,
    "max_overlap": 2,
    "required_agreement": 2,
    "on_unsettled": "dispute",
    "second_review": 0,
    "claim_minutes": 60,
    "asks_outcome": "on",
    "mode": "every_step",
    "reveal": "never",
    "categories": "off",
    "taxonomy": "agentprocessbench",
    "rationale": "optional",
    "hint_model": "",
    "hint_reveal_after": 0,
    "hint_hinted": 0,
    "dimensions-TOTAL_FORMS": 2,
    "dimensions-INITIAL_FORMS": 0,
}
ROW = {"dimensions-0-key": "help", "dimensions-0-name": "Help", "dimensions-0-low": 1, "dimensions-0-high": 5}


def test_only_what_differs_is_changed_and_audited(client: Client, world: World) -> None:
    client.force_login(world.admin)
    response = client.post(URL, {**FORM, "max_overlap": 3, "mode": "carry_errors", **ROW}, follow=True)
    assert "Changed: max overlap, label scheme." in response.content.decode()
    project = Project.objects.get()
    assert project.max_overlap == 3
    assert project.scheme.mode == "carry_errors"
    assert [scale.model_dump() for scale in project.scheme.dimensions] == [
        {"key": "help", "name": "Help", "low": 1, "high": 5}
    ]
    event = AuditEvent.objects.get(action="project.changed")
    assert (event.user, sorted(event.data["new"])) == (world.admin, ["label_scheme", "max_overlap"])
    assert (event.data["old"]["max_overlap"], event.data["new"]["max_overlap"]) == (2, 3)
    assert event.data["old"]["label_scheme"] == {"mode": "every_step", "dimensions": []}
    assert sorted(event.data["new"]["label_scheme"]) == ["dimensions", "mode"]


def test_saving_what_is_so_already_changes_nothing(client: Client, world: World) -> None:
    client.force_login(world.admin)
    assert "Nothing was changed." in client.post(URL, FORM, follow=True).content.decode()
    assert not AuditEvent.objects.filter(action="project.changed").exists()


def test_the_page_shows_what_holds_now(client: Client, world: World) -> None:
    scheme = {"mode": "stop_at_first_error", "severity": True, "dimensions": [{"key": "tone", "name": "Tone"}]}
    actions.change_settings(world.project, {"label_scheme": scheme, "claim_minutes": 45}, user=world.admin)
    client.force_login(world.admin)
    html = client.get(URL).content.decode()
    assert 'name="claim_minutes" value="45"' in html
    assert 'value="tone"' in html
    assert "Misreads what came back" in html
    emptied = {**FORM, "dimensions-TOTAL_FORMS": 3, "dimensions-INITIAL_FORMS": 1, "dimensions-0-key": ""}
    client.post(URL, {**emptied, **hidden(html)})
    assert Project.objects.get().scheme == LabelScheme()


def hidden(html: str) -> dict[str, str]:
    """What the page carries along of what it showed."""
    return dict(re.findall(r'<input type="hidden" name="(initial-[\w-]+)" value="([^"]*)"', html))


def test_two_admins_who_change_different_settings_both_get_their_way(client: Client, world: World) -> None:
    client.force_login(world.admin)
    shown = hidden(client.get(URL).content.decode())
    # Meanwhile another admin:
    scheme = {"severity": True, "dimensions": [{"key": "tone", "name": "Tone"}]}
    actions.change_settings(world.project, {"label_scheme": scheme, "claim_minutes": 45}, user=world.admin)
    response = client.post(URL, {**FORM, **shown, "max_overlap": 3, "unsure": "on"}, follow=True)
    assert "Changed: max overlap, label scheme." in response.content.decode()
    project = Project.objects.get()
    assert (project.max_overlap, project.claim_minutes) == (3, 45)
    assert (project.scheme.severity, project.scheme.unsure) == (True, True)
    assert [scale.key for scale in project.scheme.dimensions] == ["tone"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"overlap": 0}, "Ensure this value is greater than or equal to 1."),
        ({"overlap": 3}, "max_overlap must not be smaller than overlap."),
        ({"required_agreement": 3}, "required_agreement must be between 1 and max_overlap."),
        ({"second_review": 101}, "Ensure this value is less than or equal to 100."),
        ({"mode": "guess"}, "Select a valid choice."),
        ({"name": ""}, "This field is required."),
        ({"dimensions-0-key": "help"}, "Fill in the whole row, or empty it."),
        ({**ROW, "dimensions-0-key": "Nope!"}, "Small letters, digits and _, beginning with a letter."),
        ({**ROW, "dimensions-0-high": 1}, "It must be above the lowest value, by at most 10."),
        ({**ROW, **{name.replace("-0-", "-1-"): value for name, value in ROW.items()}}, "have the same key"),
        ({"dimensions-TOTAL_FORMS": "many"}, "Nothing was changed yet."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_do_not_fit_come_back_with_the_reason(
    client: Client, world: World, change: dict[str, Any], said: str
) -> None:
    client.force_login(world.admin)
    response = client.post(URL, {**FORM, "claim_minutes": 5, **change})
    assert response.status_code == 422
    assert said in response.content.decode()
    project = Project.objects.get()
    assert (project.claim_minutes, project.overlap) == (60, 2)
    assert not AuditEvent.objects.filter(action="project.changed").exists()


@pytest.mark.parametrize("status", ["working", "active"])
def test_a_promise_in_force_needs_every_step_judged(client: Client, world: World, status: str) -> None:
    """Its audit holds what people settle of all steps against what was promised."""
    promise = make_acceptance(world.project, status=status)
    client.force_login(world.admin)
    response = client.post(URL, {**FORM, "overlap": 1, "mode": "stop_at_first_error"})
    assert response.status_code == 422
    said = "acceptance 1 is in force or being tested, and its audit needs every step judged"
    assert said in response.content.decode()
    with pytest.raises(InvalidSettings, match=said) as refused:
        actions.change_settings(world.project, {"label_scheme": {"mode": "stop_at_first_error"}}, user=world.admin)
    assert list(refused.value.fields) == ["mode"]
    project = Project.objects.get()
    assert (project.scheme.mode, project.overlap) == ("every_step", 2)
    assert not AuditEvent.objects.filter(action="project.changed").exists()
    assert "Changed: label scheme." in client.post(URL, {**FORM, "mode": "carry_errors"}, follow=True).content.decode()
    promise.status = "stopped"
    promise.save()
    actions.change_settings(world.project, {"label_scheme": {"mode": "stop_at_first_error"}}, user=world.admin)
    assert Project.objects.get().scheme.mode == "stop_at_first_error"


def test_how_many_trajectories_two_reviewers_decide_can_be_set(client: Client, world: World) -> None:
    client.force_login(world.admin)
    assert "Changed: second review." in client.post(URL, {**FORM, "second_review": 30}, follow=True).content.decode()
    assert Project.objects.get().second_review == 30
    with pytest.raises(InvalidSettings) as refused:
        actions.create_project("more", ProjectSettings.parse({"second_review": 101}), user=None)
    assert list(refused.value.fields) == ["second_review"]
    with pytest.raises(IntegrityError, match="project_second_review_is_a_percentage"), transaction.atomic():
        Project.objects.update(second_review=101)


def test_an_unknown_setting_is_refused(world: World) -> None:
    with pytest.raises(InvalidSettings, match="There is no setting 'slug'"):
        actions.change_settings(world.project, {"slug": "new"}, user=world.admin)


def test_a_new_overlap_holds_for_new_trajectories_only(client: Client, world: World) -> None:
    old = make_trajectory(world.project)
    client.force_login(world.admin)
    client.post(URL, {**FORM, "overlap": 3, "max_overlap": 3})
    world.project.refresh_from_db()
    new = make_trajectory(world.project)
    assert (old.assignments.count(), new.assignments.count()) == (2, 3)
    assert "The project has 2 trajectories with slots of their own." in client.get(URL).content.decode()


def test_the_settings_take_five_queries(
    client: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(world.admin)
    with django_assert_num_queries(5):  # session, user, membership, models, number of trajectories
        client.get(URL)


def test_every_taxonomy_has_keys_that_a_label_can_store() -> None:
    assert {name: len(categories) for name, categories in TAXONOMIES.items()} == {
        "agentprocessbench": 11,
        "prmbench": 9,
        "medprmbench": 14,
    }
    assert all(key.isidentifier() and key.islower() for categories in TAXONOMIES.values() for key in categories)


def test_every_field_of_the_label_scheme_is_documented_and_no_other() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/configuration.md").read_text(encoding="utf-8")
    section = text.partition("\n## Label scheme\n")[2].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(LabelScheme.model_fields)


@pytest.mark.parametrize(
    ("parse", "data", "fields"),
    [
        (HintPolicy.parse, {"hinted": 50}, {"hint_policy": NO_MODEL}),
        (
            HintPolicy.parse,
            {"hinted": 101, "model": "m"},
            {"hint_policy.hinted": "Input should be less than or equal to 100"},
        ),
        (LabelScheme.parse, {"taxonomy": "none"}, {"label_scheme": f"taxonomy must be one of {', '.join(TAXONOMIES)}"}),
        (LabelScheme.parse, {"dimensions": [_SCALE]}, {"dimensions.0": "`high` must be above `low`, by at most 10"}),
        (ReleasePolicy.parse, {"splits": {"train": 0.5}}, {"policy": "the shares of the splits must add up to 1"}),
        (
            partial(parse_body, ReleaseIn),
            {"policy": {"splits": {"train": 0.5}}},
            {"policy": "the shares of the splits must add up to 1"},
        ),
    ],
)
def test_what_a_schema_of_ours_refuses_is_said_in_our_own_words(
    parse: Callable[[object], object], data: dict[str, Any], fields: dict[str, str]
) -> None:
    with pytest.raises(DomainError) as refused:
        parse(data)
    assert refused.value.fields == fields
    ((place, message),) = fields.items()
    assert refused.value.message.endswith(f" {place}: {message.removesuffix('.')}.")
