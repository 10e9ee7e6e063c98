"""Members, roles, and invitations by link."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from annotator.errors import InvalidInput
from annotator.models import AuditEvent, Invitation, Membership, User
from annotator.projects import actions, invitations
from annotator.releases.freezing import _Behind
from tests.factories import World, judge, make_member, make_trajectory, make_user, make_world

Role = Membership.Role


def membership_of(world: World, who: str) -> Membership:
    return Membership.objects.get(project=world.project, user=world.user(who))


def invite(world: World, role: str = "annotator") -> tuple[Invitation, str]:
    invitation, secret = invitations.invite(world.project, Role(role), "For Kim", user=world.admin)
    return invitation, f"/invitations/{secret}/"


def test_an_admin_changes_a_role(client: Client, world: World) -> None:
    client.force_login(world.admin)
    member = membership_of(world, "annotator")
    client.post(f"/projects/demo/members/{member.pk}/role/", {"role": "reviewer"})
    member.refresh_from_db()
    assert member.role == "reviewer"
    event = AuditEvent.objects.filter(action="membership.set").latest("id")
    assert (event.user, event.data) == (
        world.admin,
        {"member": world.annotator.username, "role": "reviewer", "was": "annotator"},
    )
    n_events = AuditEvent.objects.count()
    client.post(f"/projects/demo/members/{member.pk}/role/", {"role": "reviewer"})
    assert AuditEvent.objects.count() == n_events


def test_the_last_admin_stays_one(client: Client, world: World) -> None:
    client.force_login(world.admin)
    member = membership_of(world, "admin")
    demoted = client.post(f"/projects/demo/members/{member.pk}/role/", {"role": "annotator"})
    removed = client.post(f"/projects/demo/members/{member.pk}/remove/")
    assert (demoted.status_code, removed.status_code) == (400, 400)
    assert "is the only admin of this project. Make somebody else an admin first." in removed.content.decode()
    assert "Back to where you were" not in removed.content.decode()
    own = f"http://testserver/projects/demo/members/{member.pk}/remove/"  # as of a page that sends its form to itself
    for page, is_ours in (
        ("http://testserver/projects/demo/members/", True),
        (own, True),
        ("http://evil.example/", False),
    ):
        again = client.post(f"/projects/demo/members/{member.pk}/remove/", headers={"Referer": page})
        assert (f'href="{page}">Back to where you were' in again.content.decode()) == is_ours
    member.refresh_from_db()
    assert member.role == "admin"
    assert not AuditEvent.objects.filter(action="membership.removed").exists()


def test_one_of_two_admins_may_leave(client: Client, world: World) -> None:
    make_member(world.project, "admin")
    client.force_login(world.admin)
    response = client.post(f"/projects/demo/members/{membership_of(world, 'admin').pk}/remove/")
    assert response["Location"] == "/"
    assert client.get("/projects/demo/").status_code == 404


def test_an_unknown_role_changes_nothing(client: Client, world: World) -> None:
    client.force_login(world.admin)
    member = membership_of(world, "annotator")
    assert client.post(f"/projects/demo/members/{member.pk}/role/", {"role": "king"}).status_code == 400
    member.refresh_from_db()
    assert member.role == "annotator"


def test_a_former_members_labels_stay_under_their_code(client: Client, world: World) -> None:
    trajectory = make_trajectory(world.project, n_steps=1)
    judge(trajectory, world.annotator, [1])
    judge(trajectory, world.second, [1])
    code = membership_of(world, "annotator").rater_code
    before = _Behind(world.project, [trajectory.pk])._labels
    actions.remove_member(membership_of(world, "annotator"), user=world.admin)
    assert _Behind(world.project, [trajectory.pk])._labels == before
    assert actions.rater_codes(world.project)[world.annotator.pk] == code
    client.force_login(world.annotator)
    assert client.get("/projects/demo/").status_code == 404


def test_who_comes_back_has_the_same_code(world: World) -> None:
    code = membership_of(world, "annotator").rater_code
    actions.remove_member(membership_of(world, "annotator"), user=world.admin)
    assert actions.add_member(world.project, world.annotator, Role.REVIEWER, user=world.admin).rater_code == code


def test_a_member_of_another_project_cannot_be_changed_from_here(client: Client, world: World) -> None:
    other = make_world("other")
    member = membership_of(other, "annotator")
    client.force_login(world.admin)
    for url in ("role", "remove"):
        assert client.post(f"/projects/demo/members/{member.pk}/{url}/", {"role": "admin"}).status_code == 404
    assert membership_of(other, "annotator").role == "annotator"


def test_the_link_is_shown_once_and_its_secret_is_stored_nowhere(client: Client, world: World) -> None:
    client.force_login(world.admin)
    response = client.post("/projects/demo/members/", {"role": "reviewer", "note": "For Kim"})
    found = re.search(r"http://testserver/invitations/([\w-]+)/", response.content.decode())
    assert found
    assert "no-store" in response["Cache-Control"]
    invitation = Invitation.objects.get()
    assert (invitation.role, invitation.note, invitation.created_by) == ("reviewer", "For Kim", world.admin)
    assert found[1] not in invitation.secret_sha256
    assert found[1] not in client.get("/projects/demo/members/").content.decode()
    assert found[1] not in str(list(AuditEvent.objects.values_list("data", flat=True)))


def test_somebody_who_is_signed_in_joins_with_one_press(client: Client, world: World) -> None:
    invitation, url = invite(world, "reviewer")
    client.force_login(world.outsider)
    assert "Join Demo as reviewer" in client.get(url).content.decode().replace("Join demo", "Join Demo")
    assert not Membership.objects.filter(user=world.outsider).exists()
    assert client.post(url)["Location"] == "/projects/demo/"
    assert Membership.objects.get(user=world.outsider).role == "reviewer"
    invitation.refresh_from_db()
    assert invitation.used_by == world.outsider
    assert AuditEvent.objects.filter(action="invitation.used", user=world.outsider).count() == 1


def test_somebody_without_an_account_makes_one(client: Client, world: World) -> None:
    _, url = invite(world)
    assert f'href="/accounts/login/?next={url}"' in client.get(url).content.decode()
    words = "purple horse 77"
    response = client.post(url, {"username": "kim", "password1": words, "password2": words})
    assert response["Location"] == "/projects/demo/"
    kim = User.objects.get(username="kim")
    assert (kim.check_password(words), kim.is_staff) == (True, False)
    assert Membership.objects.get(user=kim).role == "annotator"
    assert client.get("/projects/demo/").status_code == 200


@pytest.mark.parametrize(
    ("username", "password", "said"),
    [
        ("demo-ann", "purple horse 77", "A user with that username already exists."),
        ("kim", "password", "This password is too common."),
        ("kim", "short", "This password is too short."),
    ],
)
def test_a_bad_sign_up_makes_no_account(client: Client, world: World, username: str, password: str, said: str) -> None:
    invitation, url = invite(world)
    n_users = User.objects.count()
    response = client.post(url, {"username": username, "password1": password, "password2": password})
    assert response.status_code == 422
    assert said in response.content.decode()
    invitation.refresh_from_db()
    assert (User.objects.count(), invitation.used_at) == (n_users, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"used_at": now()}, "has been used"),
        ({"revoked_at": now()}, "was taken back"),
        ({"expires_at": now() - timedelta(seconds=1)}, "has expired"),
    ],
    ids=["used", "revoked", "expired"],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_worthless_link_says_why(client: Client, world: World, change: dict, said: str, method: str) -> None:
    invitation, url = invite(world)
    Invitation.objects.filter(pk=invitation.pk).update(**change)
    for user in (None, world.outsider):
        if user:
            client.force_login(user)
        response = getattr(client, method)(url)
        assert response.status_code == 410
        assert said in response.content.decode()
    assert not Membership.objects.filter(user=world.outsider).exists()


def test_an_invitation_works_once(client: Client, world: World) -> None:
    _, url = invite(world)
    for user, status in ((make_user(), 302), (world.outsider, 410)):
        client.force_login(user)
        assert client.post(url).status_code == status
    assert not Membership.objects.filter(user=world.outsider).exists()


def test_a_member_does_not_use_the_invitation_up(client: Client, world: World) -> None:
    invitation, url = invite(world, "admin")
    client.force_login(world.annotator)
    assert "You are a member of this project already" in client.get(url).content.decode()
    assert client.post(url).status_code == 409
    invitation.refresh_from_db()
    assert invitation.used_at is None
    assert membership_of(world, "annotator").role == "annotator"


def test_an_admin_takes_an_invitation_back(client: Client, world: World) -> None:
    invitation, url = invite(world)
    client.force_login(world.admin)
    assert client.post(f"/projects/demo/invitations/{invitation.pk}/revoke/").status_code == 302
    assert client.post(f"/projects/demo/invitations/{invitation.pk}/revoke/").status_code == 410
    client.logout()
    assert client.get(url).status_code == 410
    assert AuditEvent.objects.filter(action="invitation.revoked").count() == 1


@pytest.mark.parametrize("how", ["remove", "role"])
def test_invitations_of_a_former_admin_are_taken_back(client: Client, world: World, how: str) -> None:
    make_member(world.project, "admin")
    invitation, url = invite(world, "admin")
    client.force_login(world.admin)
    client.post(f"/projects/demo/members/{membership_of(world, 'admin').pk}/{how}/", {"role": "annotator"})
    assert client.post(url).status_code == 410
    invitation.refresh_from_db()
    assert invitation.used_at is None
    assert AuditEvent.objects.filter(action="invitation.revoked", object_id=invitation.pk).count() == 1


def test_an_unknown_link_is_not_found(client: Client, world: World) -> None:
    response = client.get("/invitations/nothing-of-the-kind/")
    assert response.status_code == 404
    assert "Check that you have the whole link" in response.content.decode()


def test_joining_twice_is_joining_once(client: Client, world: World) -> None:
    _, url = invite(world)
    client.force_login(world.outsider)
    for _ in range(2):  # a double click
        assert client.post(url)["Location"] == "/projects/demo/"
    assert Membership.objects.filter(user=world.outsider).count() == 1
    assert AuditEvent.objects.filter(action="invitation.used").count() == 1
    assert "You are a member of this project already" in client.get(url).content.decode()


@pytest.mark.parametrize("why", ["deactivated", "no admin any more"])
def test_an_invitation_is_worth_no_more_than_its_inviter(client: Client, world: World, why: str) -> None:
    make_member(world.project, "admin")
    _, url = invite(world, "admin")
    if why == "deactivated":
        User.objects.filter(pk=world.admin.pk).update(is_active=False)
    else:  # the invitation was made at the moment in which its maker lost the role
        Membership.objects.filter(user=world.admin).update(role="annotator")
    client.force_login(world.outsider)
    assert client.post(url).status_code == 410
    assert not Membership.objects.filter(user=world.outsider).exists()
    client.force_login(Membership.objects.exclude(user=world.admin).get(role="admin").user)
    assert "taken back" in client.get("/projects/demo/members/").content.decode()


def test_a_username_that_is_taken_at_the_same_moment_is_refused(world: World) -> None:
    invitation, _ = invite(world)
    with pytest.raises(InvalidInput, match="has just been taken"):
        invitations.sign_up(invitation, world.outsider.username, "purple horse 77")
    invitation.refresh_from_db()
    assert invitation.used_at is None


def test_who_was_removed_meanwhile_is_neither_changed_nor_removed_again(world: World) -> None:
    stale = membership_of(world, "annotator")
    actions.remove_member(membership_of(world, "annotator"), user=world.admin)
    with pytest.raises(InvalidInput, match="is no longer a member, so nothing was changed"):
        actions.change_role(stale, Role.REVIEWER, user=world.admin)
    with pytest.raises(InvalidInput, match="is no longer a member, so nothing was changed"):
        actions.remove_member(stale, user=world.admin)
    assert not Membership.objects.filter(user=world.annotator).exists()
    assert AuditEvent.objects.filter(action="membership.removed").count() == 1


def test_the_members_take_five_queries_however_many(
    client: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(3):
        invite(world)
        make_member(world.project)
    client.force_login(world.admin)
    with django_assert_num_queries(5):  # session, user, membership, members, invitations
        client.get("/projects/demo/members/")


def test_the_command_cannot_demote_the_last_admin_either(world: World) -> None:
    with pytest.raises(InvalidInput, match="is the only admin of this project"):
        actions.add_member(world.project, world.admin, Role.ANNOTATOR, user=None)
