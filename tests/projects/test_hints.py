"""The hint policy: shares that fit together, and a draw that anybody can repeat."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from django.test import Client

from annotator.errors import InvalidSettings
from annotator.models import ModelVersion, Project
from annotator.projects.hints import HintPolicy
from tests.api.client import client_of
from tests.factories import World, make_project, make_trajectory, predict
from tests.projects.test_settings import FORM, URL


def test_who_says_nothing_shows_nothing() -> None:
    policy = HintPolicy()
    assert policy.is_blind
    assert {policy.draw("demo", f"t-{i}", 0) for i in range(200)} == {"blind"}


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"hinted": 101, "model": "m"}, "hint_policy.hinted"),
        ({"hinted": -1, "model": "m"}, "hint_policy.hinted"),
        ({"hinted": 60, "reveal_after": 41, "model": "m"}, "hint_policy"),
        ({"reveal_after": 1}, "hint_policy"),
        ({"show": True}, "hint_policy.show"),
    ],
)
def test_what_does_not_fit_is_named(said: dict[str, object], wrong: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        HintPolicy.parse(said)
    assert list(refused.value.fields) == [wrong]


def test_the_draw_follows_the_shares_and_never_changes() -> None:
    policy = HintPolicy(reveal_after=30, hinted=20, model="m")
    drawn = [policy.draw("demo", f"t-{i}", slot) for i in range(5000) for slot in (0, 1)]
    assert drawn == [policy.draw("demo", f"t-{i}", slot) for i in range(5000) for slot in (0, 1)]
    share = {arm: n / len(drawn) for arm, n in Counter(drawn).items()}
    assert share["hinted"] == pytest.approx(0.2, abs=0.015)
    assert share["reveal_after"] == pytest.approx(0.3, abs=0.015)
    # The slots of a trajectory are drawn apart from each other.
    both = Counter(zip(drawn[::2], drawn[1::2], strict=True))
    assert both["hinted", "hinted"] / 5000 == pytest.approx(0.04, abs=0.01)


def test_anybody_can_check_the_draw() -> None:
    digest = hashlib.sha256(json.dumps(["hint arm", "demo", "t-7", 1]).encode()).hexdigest()
    place = 100 * int(digest[:16], 16) / 2**64
    for hinted in range(0, 101, 5):
        policy = HintPolicy(reveal_after=100 - hinted, hinted=hinted, model="m")
        assert policy.draw("demo", "t-7", 1) == ("hinted" if place < hinted else "reveal_after")


def test_every_field_is_documented_and_no_other() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/configuration.md").read_text(encoding="utf-8")
    section = text.partition("\n## Hint policy\n")[2].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(HintPolicy.model_fields)


@pytest.mark.django_db
def test_the_settings_page_takes_the_policy_and_offers_only_what_may_be_shown(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project)
    predict(trajectory, [1, 1, 1], model="plain")
    ModelVersion.objects.create(project=world.project, name="knows", number=1, kind="judge", sees_reference=True)
    ModelVersion.objects.create(project=world.project, name="checks", number=1, kind="rules")
    client.force_login(world.admin)
    page = client.get(URL).content.decode()
    assert '<option value="plain">plain</option>' in page
    assert "knows</option>" not in page
    assert "checks</option>" not in page
    client.post(URL, {**FORM, "hint_model": "plain", "hint_reveal_after": 40, "hint_hinted": 10})
    assert Project.objects.get().hints == HintPolicy(reveal_after=40, hinted=10, model="plain")
    shown = {"initial-hint_model": "plain", "initial-hint_reveal_after": 40, "initial-hint_hinted": 10}
    refused = client.post(URL, {**FORM, **shown, "hint_model": "", "hint_reveal_after": 40, "hint_hinted": 10})
    assert refused.status_code == 422
    assert ">Name the model whose suggestions are shown.<" in refused.content.decode()
    assert client.post(URL, {**FORM, **shown, "hint_model": "unknown", "hint_reveal_after": 0}).status_code == 422
    assert Project.objects.get().hints.reveal_after == 40


@pytest.mark.django_db
def test_only_admins_are_told_the_policy_over_the_api(world: World) -> None:
    policy = {"reveal_after": 30, "hinted": 0, "model": "m"}
    Project.objects.update(hint_policy=policy)
    told = {
        who: client_of(world.user(who)).get("/api/v1/projects/demo/").json()["hint_policy"]
        for who in ("annotator", "reviewer", "admin")
    }
    assert told == {"annotator": None, "reviewer": None, "admin": policy}


@pytest.mark.django_db
def test_a_project_is_made_with_its_policy() -> None:
    assert make_project(hint_policy={"hinted": 5, "model": "m"}).hints == HintPolicy(hinted=5, model="m")
    with pytest.raises(InvalidSettings, match="Name the model"):
        make_project(hint_policy={"hinted": 5})
