"""Blind means blind: no byte of any answer that an annotator can get says anything that a model said.

Every address of the site is asked, with every method and as many objects as there are; an address that is added later
is asked, too.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
from django.db import models, transaction
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.timezone import now
from knox.models import AuthToken

from annotator import flow, jobs
from annotator.errors import UnconfirmedWarnings
from annotator.labelling import revisions
from annotator.models import (
    Annotation,
    Assignment,
    Dispute,
    Fusion,
    Job,
    ModelVersion,
    Posterior,
    Prediction,
    PrelabelRun,
    Project,
    Release,
    Review,
    Trajectory,
)
from annotator.prelabelling.configs import from_data
from annotator.queue import actions as queue
from tests.factories import World, label, make_trajectory, make_world

pytestmark = pytest.mark.django_db

TOKEN = "zqxwv"  # in every text of a model; no other text has it
P = 0.731357  # and a probability that nothing else here could be
SECRETS = [TOKEN, "0.7313", "0.73", "73.1", "73 %", "0.1343", "13.4", "0.6119", "61 %"]
METHODS = ("get", "post", "put", "delete")
# What a number stands for in an address that begins so; elsewhere every kind of object is tried.
OBJECTS: dict[str, list[type[models.Model]]] = {
    "assignments/": [Assignment],
    "projects/<slug:slug>/trajectories/": [Trajectory],
    "annotations/": [Annotation],
    "jobs/": [Job],
    "prelabel-runs/": [PrelabelRun],
    "releases/": [Release],
    "reviews/": [Review],
    "disputes/": [Dispute],
}
# Django's admin: annotators are no staff, so all of it asks them to sign in.
NOT_ASKED = {"operators/"}


def planted(trajectory: Trajectory) -> Prediction:
    """Everything that a model can say, with the token in each text."""
    project = trajectory.project
    about = {
        "kind": ModelVersion.Kind.JUDGE,
        "config": {"title": f"config {TOKEN}"},
        "config_sha256": f"{TOKEN}-config",
        "weights_sha256": f"{TOKEN}-weights",
    }
    version, _ = ModelVersion.objects.get_or_create(project=project, name=f"m-{TOKEN}", number=1, defaults=about)
    rules, _ = ModelVersion.objects.get_or_create(
        project=project, name=f"r-{TOKEN}", number=1, defaults={**about, "kind": ModelVersion.Kind.RULES}
    )
    rest = (1 - P) / 2
    n = trajectory.n_steps
    finding = {"code": "R2", "leaning": -1, "sentence": f"finding {TOKEN}", "evidence": {"why": TOKEN}}
    Prediction.objects.create(
        version=rules,
        trajectory=trajectory,
        probs=[[None] * 3] * n,
        rationales=[f"R2: {TOKEN}"] * n,
        findings=[{"step": i, **finding} for i in range(n)],
        note=f"rules {TOKEN}",
    )
    believed(trajectory, [[P, rest, rest]] * n)
    return Prediction.objects.create(
        version=version,
        trajectory=trajectory,
        probs=[[P, rest, rest]] * n,
        raw=[P] * n,
        rationales=[f"rationale {TOKEN}"] * n,
        outcome=-1,
        note=f"note {TOKEN}",
        first_truncated_step=0,
    )


def believed(trajectory: Trajectory, probs: list[list[float]]) -> None:
    """The same as what all raters together are taken to say."""
    project = trajectory.project
    job, _ = Job.objects.get_or_create(project=project, kind=Job.Kind.FUSE, defaults={"finished_at": now()})
    about = {
        "job": job, "method": "stacker", "reason": f"reason {TOKEN}", "parameters": b"", "report": {"token": TOKEN},
        "refresh": {
            "start": [1.0] * 3, "transition": [[1.0] * 3] * 3, "pooled": [[1 / 3] * 3] * 3, "own": {},
        },
        "n_trajectories": 1, "n_steps": 1, "data_sha256": TOKEN, "code_version": "1",
    }  # fmt: skip
    fusion, _ = Fusion.objects.get_or_create(project=project, number=1, defaults=about)
    Posterior.objects.create(
        project=project, trajectory=trajectory, fusion=fusion, evidence=probs, probs=probs,
        first_error=[P] + [(1 - P) / len(probs)] * len(probs), expected_errors=P, mean_entropy=P,
        first_error_entropy=P, disagreement=P,
    )  # fmt: skip


@dataclass
class Site:
    """A project in which a model has spoken of everything, and the annotator has something in every state."""

    world: World
    slots: dict[str, Assignment] = field(default_factory=dict)

    def claim(self, state: str) -> Assignment:
        planted(make_trajectory(self.world.project))
        slot = queue.claim_next(self.world.project, self.world.annotator)
        assert slot is not None
        self.slots[state] = slot
        return slot

    def labelled(self, state: str) -> Assignment:
        slot = self.claim(state)
        label(slot, self.world.annotator, {0: 1, 1: 1, 2: 1}, outcome=1)
        return slot


def make_site(arm: str) -> Site:
    shares = {} if arm == "blind" else {arm: 100}
    world = make_world(overlap=1, hint_policy={**shares, "model": f"m-{TOKEN}"}, label_scheme={"shows_fate": True})
    site = Site(world)
    site.claim("fresh")
    label(site.claim("begun"), world.annotator, {0: 1})
    site.labelled("complete")
    flow.submit(site.labelled("submitted").pk, world.annotator)
    returned = flow.submit(site.labelled("returned").pk, world.annotator)
    revisions.return_annotation(returned.pk, world.reviewer, "Look again.")
    queue.release_claim(site.labelled("given back").pk, world.annotator)
    planted(make_trajectory(world.project))  # what is claimed ahead
    Project.objects.update(overlap=1)
    config = from_data({"kind": "rules", "name": f"r-{TOKEN}"}, "a test")
    started = jobs.create(world.project, Job.Kind.PRELABEL, {}, unit="steps", n_total=1, user=world.admin)
    PrelabelRun.objects.create(
        project=world.project, job=started, model_name=f"r-{TOKEN}", config=config.model_dump(mode="json")
    )
    return site


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every address of the site as a template, with its parameters."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if any(route.startswith(skipped) for skipped in NOT_ASKED):
            continue
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.pattern.converters


def addresses(site: Site) -> list[str]:
    """Each route, with each id of each kind of object in the place of a number."""
    texts: dict[str, list[Any]] = {
        "slug": ["demo"],
        "name": ["labels"],
        "format": ["csv"],
        "part": ["text"],
        "secret": ["x"],
        "key": ["x"],
    }
    any_kind = [Trajectory, Annotation, ModelVersion, Prediction]
    found = []
    for route, converters in routes(get_resolver().url_patterns):
        below = route.removeprefix("api/v1/")
        kinds = next((kinds for start, kinds in OBJECTS.items() if below.startswith(start)), any_kind)
        ids = {pk for kind in kinds for pk in kind._default_manager.values_list("pk", flat=True)} or {1}
        values = [texts.get(name) or ([2, 3] if name == "message_index" else sorted(ids)) for name in converters]
        for chosen in product(*values):
            address = route.removesuffix("$")
            for name, value in zip(converters, chosen, strict=True):
                kind = next(k for k in ("int", "slug", "str") if f"<{k}:{name}>" in address)
                address = address.replace(f"<{kind}:{name}>", str(value))
            found.append(f"/{address}")
    return found


def bytes_of(response: HttpResponseBase) -> str:
    """All that reaches the client: status line, headers, cookies, body."""
    body = b"".join(response) if response.streaming else response.content  # type: ignore[attr-defined]
    return f"{response.headers}\n{response.cookies}\n{body.decode('utf-8', 'replace')}"


def leaks(response: HttpResponseBase, secrets: list[str] = SECRETS) -> list[str]:
    said = re.sub(r"\d\d:\d\d:\d\d\.\d+", "a time", bytes_of(response))  # now and then one looks like a secret
    return [secret for secret in secrets if secret in said]


def ask_everything(site: Site, note: Callable[[str, HttpResponseBase], None]) -> int:
    """Asks every address with every method, each in a transaction that is taken back; returns how many answers."""
    client = Client(raise_request_exception=False)
    client.force_login(site.world.annotator)
    token = {"Authorization": f"Bearer {AuthToken.objects.create(site.world.annotator)[1]}"}
    n = 0
    for address, method in product(addresses(site), METHODS):
        is_api = address.startswith("/api/")
        headers = token if is_api else {}
        for accept in ("text/html", "application/json") if not is_api else ("application/json",):
            with transaction.atomic():
                ask = getattr(client, method)
                sent: dict[str, Any] = (
                    {} if method in ("get", "head") else {"data": "{}", "content_type": "application/json"}
                )
                if method == "post" and not is_api:
                    sent = {"data": {"step-0": "1", "confirmed": ""}}
                response = ask(address, headers={**headers, "Accept": accept}, **sent)
                note(f"{method} {address}", response)
                transaction.set_rollback(True)
            n += 1
    return n


@pytest.mark.parametrize("arm", ["blind", "reveal_after"])
def test_no_answer_of_any_address_says_what_a_model_said(arm: str) -> None:
    site = make_site(arm)
    # What is complete may be revealed in that arm: that is what it is for.
    revealing = {f"/assignments/{pk}/hints/" for pk in Assignment.objects.values_list("pk", flat=True)}
    revealing |= {f"/api/v1{address}" for address in revealing}
    wrong, revealed, statuses = [], set(), set()

    def note(asked: str, response: HttpResponseBase) -> None:
        statuses.add(response.status_code)
        found = leaks(response)
        if found and arm == "reveal_after" and asked.split()[1] in revealing:
            revealed.add(asked.split()[1])
        elif found:
            wrong.append((asked, response.status_code, found))

    assert ask_everything(site, note) > 1000
    assert wrong == []
    assert statuses >= {200, 302, 400, 403, 404, 405, 409}
    # Only where all labels are stored, never where one is missing.
    may = {site.slots[state].pk for state in ("complete", "returned", "given back")} if arm == "reveal_after" else set()
    pages, api = {f"/assignments/{pk}/hints/" for pk in may}, {f"/api/v1/assignments/{pk}/hints/" for pk in may}
    assert revealed <= pages | api
    assert bool(revealed) == (arm == "reveal_after")


@pytest.mark.parametrize("arm", ["blind", "reveal_after"])
def test_nor_does_the_work_itself_from_the_first_key_to_the_next_trajectory(arm: str) -> None:
    site = make_site(arm)
    client = Client()
    client.force_login(site.world.annotator)
    pk = site.slots["fresh"].pk
    json_, path = {"Accept": "application/json"}, f"/assignments/{pk}/"
    answers = [client.get(path), client.get(f"{path}search/?q={TOKEN[:2]}"), client.get(f"{path}texts/2/text/")]
    for body in ({"labels": [{"step": 0, "value": 1}]}, {"labels": [{"step": 9, "value": 1}]}, {"hint_value": 1}):
        answers.append(client.put(f"{path}labels/", body, "application/json", headers=json_))
    answers.append(client.post(f"{path}submit/", headers=json_))
    answers.append(client.post(f"{path}hints/", headers=json_))
    client.put(
        f"{path}labels/", {"labels": [{"step": i, "value": 1} for i in (1, 2)], "outcome": 1}, "application/json"
    )
    answers.append(client.get(path))
    answers.append(client.post(f"{path}ahead/"))
    # +1 on steps at which a rule found something: the warning is what a model said, too.
    answers.append(client.post(f"{path}submit/", {"step-0": 1, "step-1": 1, "step-2": 1, "outcome": 1}, headers=json_))
    following = client.get(answers[-1].json()["next"])
    answers += [following, client.get("/projects/demo/history/"), client.get("/projects/demo/"), client.get("/")]
    assert [leaks(answer) for answer in answers] == [[]] * len(answers)
    assert following.status_code == 200


def test_the_search_finds_what_it_looks_for(client: Client) -> None:
    """Otherwise the tests above would prove nothing."""
    site = make_site("hinted")
    pk = site.slots["fresh"].pk
    client.force_login(site.world.annotator)
    page = client.get(f"/assignments/{pk}/")
    assert leaks(page) == [TOKEN, "0.6119", "61 %"]  # uncalibrated, it is not believed as far as it says
    # What is shown is the value, the certainty and the rationale: no name of a model, no note, no findings.
    assert page.content.decode().count(TOKEN) == page.content.decode().count(f"rationale {TOKEN}") == 3
    token = AuthToken.objects.create(site.world.annotator)[1]
    api = client.get(f"/api/v1/assignments/{pk}/", headers={"Authorization": f"Bearer {token}"})
    assert leaks(api) == [TOKEN, "0.6119"]
    client.force_login(site.world.admin)
    assert TOKEN in leaks(client.get("/projects/demo/models/"))
    trajectory = site.slots["fresh"].trajectory_id
    assert {TOKEN, "0.73"} <= set(leaks(client.get(f"/projects/demo/trajectories/{trajectory}/models/")))


def test_after_the_reveal_the_annotator_sees_values_and_reasons_and_no_more(client: Client) -> None:
    site = make_site("reveal_after")
    slot = site.slots["complete"]
    client.force_login(site.world.annotator)
    answer = client.post(f"/assignments/{slot.pk}/hints/", headers={"Accept": "application/json"})
    assert leaks(answer) == [TOKEN, "73 %"]
    assert answer.content.decode().count(TOKEN) == 3
    assert leaks(client.get(f"/assignments/{site.slots['begun'].pk}/")) == []
    assert leaks(client.get("/projects/demo/history/")) == []


def test_the_warning_of_a_rule_reaches_nobody_who_is_blind() -> None:
    site = make_site("blind")
    slot = site.slots["complete"]
    flow.submit(slot.pk, site.world.annotator, heeds_warnings=True)
    assert Assignment.objects.get(pk=slot.pk).status == "submitted"
    hinted = make_site_of_another_arm()
    with pytest.raises(UnconfirmedWarnings, match=TOKEN):
        flow.submit(hinted.slots["complete"].pk, hinted.world.annotator, heeds_warnings=True)


def make_site_of_another_arm() -> Site:
    world = make_world("other", overlap=1, hint_policy={"hinted": 100, "model": f"m-{TOKEN}"})
    site = Site(world)
    site.labelled("complete")
    return site


def test_the_reason_for_blindness_is_not_told_either(client: Client) -> None:
    """That a model abstained, or read the reference, is something that it said."""
    world = make_world(overlap=1, hint_policy={"hinted": 100, "model": "judge"})
    trajectory = make_trajectory(world.project)
    version = ModelVersion.objects.create(project=world.project, name="judge", number=1, kind="judge")
    Prediction.objects.create(version=version, trajectory=trajectory, probs=[[None] * 3] * 3)
    slot = queue.claim_next(world.project, world.annotator)
    assert slot is not None
    assert slot.no_hints == "abstained"
    client.force_login(world.annotator)
    page = client.get(f"/assignments/{slot.pk}/").content.decode()
    refusal = client.post(f"/assignments/{slot.pk}/hints/", headers={"Accept": "application/json"})
    for said in (page, json.dumps(refusal.json())):
        assert "abstain" not in said
        assert "no step a value" not in said
