"""Real HTTP: 32 API clients and 4 tabs of one person claim at once."""

import json
import urllib.request
from collections import Counter
from functools import partial
from typing import Any

import pytest
from django.test import Client
from knox.models import AuthToken
from pytest_django.live_server_helper import LiveServer

from annotator.models import Assignment, User
from annotator.queue import actions as queue
from tests.factories import make_member, make_project, make_trajectory
from tests.queue.test_concurrency import run_at_once


@pytest.mark.django_db(transaction=True)
def test_32_api_clients_and_4_tabs_of_one_person_claim_at_once(live_server: LiveServer) -> None:
    project = make_project("busy", overlap=2)
    for _ in range(40):
        make_trajectory(project, n_steps=2, enqueue=False)
    queue.enqueue(project)
    people = [make_member(project) for _ in range(32)]
    tokens = [AuthToken.objects.create(user)[1] for user in people]
    tabs_of = make_member(project)
    answers: list[dict[str, Any]] = []
    pages: list[str] = []

    def claim_over_the_api(token: str) -> None:
        for _ in range(3):
            request = urllib.request.Request(
                f"{live_server.url}/api/v1/projects/busy/assignments/claim/",
                method="POST",
                headers={"Authorization": f"Token {token}"},
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                if response.status == 200:
                    answers.append(json.load(response))

    def claim_in_a_tab(user: User) -> None:
        tab = Client()
        tab.force_login(user)
        for _ in range(3):
            pages.append(tab.post("/projects/busy/claim/")["Location"])

    work = [partial(claim_over_the_api, token) for token in tokens] + [partial(claim_in_a_tab, tabs_of)] * 4
    assert run_at_once(work) == []

    # 80 slots; 32 × 3 + 12 = 108 requests: every slot was given out once, the rest were told that nothing is left.
    opened = [page for page in pages if page.startswith("/assignments/")]
    assert len({answer["id"] for answer in answers}) == len(answers)
    assert len(set(opened)) == len(opened)
    assert len(answers) + len(opened) == Assignment.objects.filter(status="claimed").count() == 80
    held = Assignment.objects.values_list("trajectory_id", "annotator_id")
    assert len(set(held)) == 80
    assert set(Counter(trajectory for trajectory, _ in held).values()) == {2}
