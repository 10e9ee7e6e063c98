"""Who may open the admins' pages."""

import pytest
from django.test import Client

from annotator.models import AuditEvent, Membership
from annotator.projects import invitations
from tests.factories import World

PAGES = [
    ("GET", "members/", 200),
    ("GET", "guideline/", 200),
    ("GET", "guideline/changes/", 200),
    ("GET", "guideline/older/", 200),
    ("GET", "settings/", 200),
    ("GET", "data/", 200),
    ("GET", "data/members.csv", 200),
    ("GET", "data/labels.json", 200),
    ("GET", "audit/", 200),
    ("POST", "members/", 422),
    ("POST", "members/{member}/role/", 400),
    ("POST", "members/{member}/remove/", 302),
    ("POST", "invitations/{invitation}/revoke/", 302),
    ("POST", "guideline/", 422),
    ("POST", "guideline/preview/", 200),
    ("POST", "guideline/older/", 422),
    ("POST", "settings/", 422),
]


@pytest.mark.parametrize("who", [None, "outsider", "annotator", "reviewer", "admin"])
def test_access(client: Client, world: World, who: str | None) -> None:
    member = Membership.objects.get(user=world.second)
    invitation, _ = invitations.invite(world.project, Membership.Role.ANNOTATOR, "", user=world.admin)
    if who:
        client.force_login(world.user(who))
    n_events = AuditEvent.objects.count()
    for method, url, answer in PAGES:
        path = f"/projects/demo/{url.format(member=member.pk, invitation=invitation.pk)}"
        expected = {None: 302, "outsider": 404, "admin": answer}.get(who, 403)
        response = client.generic(method, path)
        assert (path, response.status_code) == (path, expected)
        if who is None:
            assert response["Location"].startswith("/accounts/login/?next=")
    if who != "admin":
        assert AuditEvent.objects.count() == n_events


@pytest.mark.parametrize("who", ["annotator", "reviewer", "admin"])
def test_only_admins_have_the_menu(client: Client, world: World, who: str) -> None:
    client.force_login(world.user(who))
    html = client.get("/projects/demo/").content.decode()
    for url in ("members", "guideline", "settings", "data", "audit"):
        assert (f'href="/projects/demo/{url}/"' in html) == (who == "admin")
