"""Invitations by link: whoever opens the link first becomes a member, once."""

import hashlib
import secrets
from datetime import timedelta
from typing import ClassVar

from django.db import IntegrityError, transaction
from django.utils.timezone import now

from annotator import audit
from annotator.errors import DomainError, InvalidInput
from annotator.models import Invitation, Membership, Project, User
from annotator.projects import actions

VALID_FOR = timedelta(days=7)


class UnknownInvitation(DomainError):
    """No invitation has this secret."""

    code: ClassVar[str] = "invitation.unknown"
    status: ClassVar[int] = 404


class InvitationEnded(DomainError):
    """The invitation was used, was revoked, or has expired."""

    code: ClassVar[str] = "invitation.ended"
    status: ClassVar[int] = 410


class AlreadyMember(DomainError):
    """The person who opened the invitation is a member, so it stays for somebody else."""

    code: ClassVar[str] = "invitation.already_member"
    status: ClassVar[int] = 409


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@transaction.atomic
def invite(project: Project, role: Membership.Role, note: str, *, user: User) -> tuple[Invitation, str]:
    """Creates an invitation; returns it with its secret, which is stored nowhere."""
    secret = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        project=project,
        role=role,
        note=note,
        secret_sha256=_hash(secret),
        created_by=user,
        expires_at=now() + VALID_FOR,
    )
    audit.log("invitation.created", invitation, user=user, project_id=project.pk, data={"role": role, "note": note})
    return invitation, secret


_WHY_ENDED = {
    Invitation.State.USED: "has been used; it works once. If it was you who used it, sign in. Otherwise ask",
    Invitation.State.REVOKED: "was taken back. Ask",
    Invitation.State.EXPIRED: f"has expired; it was valid for {VALID_FOR.days} days. Ask",
}


def find(secret: str) -> Invitation:
    """Raises UnknownInvitation."""
    found = Invitation.objects.with_inviter().select_related("project").filter(secret_sha256=_hash(secret)).first()
    if found is None:
        raise UnknownInvitation(
            "There is no such invitation. Check that you have the whole link, or ask for a new one."
        )
    return found


def check_open(invitation: Invitation) -> None:
    """Raises InvitationEnded, saying why the invitation cannot be used."""
    if invitation.state != Invitation.State.OPEN:
        raise InvitationEnded(f"This invitation {_WHY_ENDED[invitation.state]} an admin of the project for a new one.")


@transaction.atomic
def accept(invitation: Invitation, member: User) -> Membership:
    """Uses up the invitation and makes the person a member; who has done so already is told so by no error.

    Raises InvitationEnded, or AlreadyMember; then the invitation is as it was.
    """
    # Two people who open the same link at once: the second waits here and finds it used. The project first, in the
    # order of whoever removes the inviter at this moment.
    Project.objects.select_for_update(no_key=True).get(pk=invitation.project_id)
    locked = Invitation.objects.with_inviter().select_related("project").select_for_update(of=("self",))
    invitation = locked.get(pk=invitation.pk)
    membership = Membership.objects.filter(project=invitation.project, user=member).first()
    if membership and invitation.used_by_id == member.pk:  # the second press of a double click
        return membership
    check_open(invitation)
    if membership:
        raise AlreadyMember(
            f"You are a member of {invitation.project.name} already, so the invitation was not used. "
            "Pass it on, or ask an admin to change your role."
        )
    invitation.used_by, invitation.used_at = member, now()
    invitation.save(update_fields=["used_by", "used_at"])
    audit.log("invitation.used", invitation, user=member, project_id=invitation.project_id)
    return actions.add_member(invitation.project, member, Membership.Role(invitation.role), user=invitation.created_by)


@transaction.atomic
def revoke(invitation: Invitation, *, user: User) -> None:
    """Makes the link worthless. Raises InvitationEnded when it is already."""
    invitation = Invitation.objects.with_inviter().select_for_update(of=("self",)).get(pk=invitation.pk)
    check_open(invitation)
    invitation.revoked_at = now()
    invitation.save(update_fields=["revoked_at"])
    audit.log("invitation.revoked", invitation, user=user, project_id=invitation.project_id)


@transaction.atomic
def sign_up(invitation: Invitation, username: str, password: str) -> Membership:
    """Makes an account for somebody who has none, and accepts the invitation; both or neither.

    Raises InvalidInput when the username was taken since the form was checked.
    """
    try:
        with transaction.atomic():
            member = User.objects.create_user(username, password=password)
    except IntegrityError as error:
        message = f"The username {username} has just been taken. Choose another."
        raise InvalidInput(message, {"username": message}) from error
    audit.log("user.created", member, user=member, project_id=None, data={"invitation": invitation.pk})
    return accept(invitation, member)
