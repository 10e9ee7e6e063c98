"""Making projects, their members, settings and guidelines."""

from typing import Any, ClassVar, Literal

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now
from pydantic import BaseModel, ConfigDict, JsonValue

from annotator import audit
from annotator.errors import DomainError, InvalidInput, InvalidSettings, parsed
from annotator.models import Acceptance, AuditEvent, Guideline, Invitation, Membership, Project, User
from annotator.projects.hints import HintPolicy
from annotator.projects.scheme import LabelScheme
from annotator.selection.policy import SelectionPolicy

# What `change_settings` may change; the slug stands in links and exports, so it stays.
CHANGEABLE = (
    "name",
    "overlap",
    "max_overlap",
    "required_agreement",
    "on_unsettled",
    "second_review",
    "claim_minutes",
    "asks_outcome",
    "label_scheme",
    "hint_policy",
    "selection_policy",
    "shows_why",
)
_POLICIES: dict[str, type[LabelScheme | HintPolicy | SelectionPolicy]] = {
    "label_scheme": LabelScheme,
    "hint_policy": HintPolicy,
    "selection_policy": SelectionPolicy,
}


class ProjectSettings(BaseModel):
    """What `create_project --settings FILE.json` may say; docs/configuration.md explains each."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    overlap: int = 2
    max_overlap: int | None = None
    required_agreement: int | None = None
    on_unsettled: Literal["dispute", "discard"] = "dispute"
    second_review: int = 0
    claim_minutes: int = 60
    asks_outcome: bool = True
    guideline: str | None = None
    label_scheme: dict[str, JsonValue] = {}
    hint_policy: dict[str, JsonValue] = {}
    selection_policy: dict[str, JsonValue] = {}
    shows_why: bool = False

    @classmethod
    def parse(cls, data: object) -> "ProjectSettings":
        """Raises InvalidSettings, naming each field that is wrong."""
        return parsed(cls, data, "The settings do not fit:", "settings")


@transaction.atomic
def create_project(slug: str, settings: ProjectSettings, *, user: User | None) -> Project:
    """Creates a project; by default the first annotators must all agree and nobody else is asked.

    Raises InvalidSettings when the slug is taken or the settings contradict each other.
    """
    project = Project(
        slug=slug,
        name=settings.name or slug,
        overlap=settings.overlap,
        max_overlap=settings.overlap if settings.max_overlap is None else settings.max_overlap,
        required_agreement=settings.overlap if settings.required_agreement is None else settings.required_agreement,
        on_unsettled=settings.on_unsettled,
        second_review=settings.second_review,
        claim_minutes=settings.claim_minutes,
        asks_outcome=settings.asks_outcome,
        shows_why=settings.shows_why,
        **{name: schema.parse(getattr(settings, name)).model_dump(mode="json") for name, schema in _POLICIES.items()},
    )
    try:
        project.full_clean()
    except ValidationError as error:
        fields = {name: " ".join(messages) for name, messages in error.message_dict.items()}
        raise InvalidSettings(f"The project cannot be created: {' '.join(fields.values())}", fields) from None
    _check_together(project)
    project.save()
    audit.log("project.created", project, user=user, project_id=project.pk, data=settings.model_dump(mode="json"))
    if settings.guideline:
        add_guideline(project, settings.guideline, user=user)
    return project


@transaction.atomic
def change_settings(project: Project, changes: dict[str, Any], *, user: User) -> dict[str, dict[str, Any]]:
    """Changes the named settings, of `label_scheme` the named fields; returns what differs now: {"old": …, "new": …}.

    Raises InvalidSettings, naming each field that is wrong; then nothing has changed.
    """
    unknown = sorted(set(changes) - set(CHANGEABLE))
    if unknown:
        raise InvalidSettings(f"There is no setting {unknown[0]!r}.", dict.fromkeys(unknown, "Unknown."))
    current = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    old = {name: getattr(current, name) for name in changes}
    for name, schema in _POLICIES.items():
        if name in changes:  # with the defaults: a project that says nothing has them, and saying so is no change
            old[name] = schema.model_validate(old[name]).model_dump(mode="json")
            changes = {**changes, name: schema.parse({**old[name], **changes[name]}).model_dump(mode="json")}
    for name, value in changes.items():
        setattr(current, name, value)
    try:
        current.full_clean()
    except ValidationError as error:
        fields = _by_setting(error)
        raise InvalidSettings(f"The settings were not changed: {' '.join(fields.values())}", fields) from None
    names = [name for name in changes if getattr(current, name) != old[name]]
    difference = {
        "old": {name: old[name] for name in names},
        "new": {name: getattr(current, name) for name in names},
    }
    if "label_scheme" in names:
        before, after = difference["old"]["label_scheme"], difference["new"]["label_scheme"]
        differing = [name for name in after if after[name] != before[name]]
        difference["old"]["label_scheme"] = {name: before[name] for name in differing}
        difference["new"]["label_scheme"] = {name: after[name] for name in differing}
    if not {"label_scheme", "selection_policy"}.isdisjoint(names):
        _check_together(current)
    if difference["new"].get("label_scheme", {}).get("mode") == "stop_at_first_error":
        _refuse_under_a_promise(current)
    if names:
        current.save(update_fields=names)
        audit.log("project.changed", current, user=user, project_id=current.pk, data=difference)
    return difference


def _check_together(project: Project) -> None:
    """No round could start in a project with both, also not one that starts by itself, which nobody watches."""
    if project.scheme.mode == "stop_at_first_error" and project.selection.unit == "steps":
        message = (
            "A project that stops at the first error cannot ask for single steps. Have selection rounds ask for whole "
            "trajectories, or choose another mode of labelling."
        )
        raise InvalidSettings(f"The settings were not saved: {message}", {"selection_policy": message})


def _refuse_under_a_promise(project: Project) -> None:
    """Steps after an error would be judged by nobody, so the audit would take what was promised of them for wrong."""
    promise = project.acceptances.filter(status__in=Acceptance.IN_FORCE).first()
    if promise is not None:
        message = (
            f"The mode was not changed, because {promise} is in force or being tested, and its audit needs every step "
            "judged. End it first, on the page Acceptance."
        )
        raise InvalidSettings(f"The settings were not saved: {message}", {"mode": message})


def _by_setting(error: ValidationError) -> dict[str, str]:
    """The messages by field; those of a constraint begin with the name of the setting that they are about."""
    fields: dict[str, str] = {}
    for name, messages in error.message_dict.items():
        for message in messages:
            about = message.split()[0].rstrip(":") if name == "__all__" else name
            place = about if about in CHANGEABLE else name
            fields[place] = f"{fields[place]} {message}" if place in fields else message
    return fields


class GuidelineConflict(DomainError):
    """Somebody else saved a version while this one was written."""

    code: ClassVar[str] = "guideline.conflict"
    status: ClassVar[int] = 409


@transaction.atomic
def add_guideline(project: Project, text: str, *, user: User | None, based_on: int | None = None) -> Guideline:
    """Adds the next version; labels given from now on carry it.

    `based_on` is the version that the text was made from (0: none). Raises GuidelineConflict if it is not the latest.
    """
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    latest = project.guidelines.select_related("created_by").first()
    if latest and based_on is not None and based_on != latest.version:
        who = latest.created_by.username if latest.created_by else "the command line"
        raise GuidelineConflict(
            f"Nothing was saved, because {who} has saved version {latest.version} since you opened this page. Your "
            "text is still here: compare it with that version, put together what both say, and save again."
        )
    guideline = project.guidelines.create(version=latest.version + 1 if latest else 1, text=text, created_by=user)
    audit.log("guideline.added", guideline, user=user, project_id=project.pk, data={"version": guideline.version})
    return guideline


@transaction.atomic
def add_member(project: Project, member: User, role: Membership.Role, *, user: User | None) -> Membership:
    """Gives a person a role in the project, or changes the one they have; who comes back keeps their rater code.

    Raises InvalidInput rather than leave the project without an admin.
    """
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    membership = Membership.objects.filter(project=project, user=member).first()
    if membership is not None:
        _set_role(membership, role, user=user)
        return membership
    known = former_rater_codes(project).get(member.pk)
    code = {"rater_code": known} if known else {}
    membership = Membership.objects.create(project=project, user=member, role=role, **code)
    data = {"member": member.username, "role": role}
    audit.log("membership.set", membership, user=user, project_id=project.pk, data=data)
    return membership


@transaction.atomic
def change_role(membership: Membership, role: Membership.Role, *, user: User) -> None:
    """Gives a member another role. Raises InvalidInput for the last admin, or when the person is no member any more."""
    _set_role(_locked(membership), role, user=user)


def _set_role(membership: Membership, role: Membership.Role, *, user: User | None) -> None:
    """Call it with the project's row locked."""
    if membership.role == role:
        return
    if role != Membership.Role.ADMIN:
        _refuse_if_last_admin(membership)
        _revoke_invitations(membership, user=user)
    data = {"member": membership.user.username, "role": role, "was": membership.role}
    membership.role = role
    membership.save(update_fields=["role"])
    audit.log("membership.set", membership, user=user, project_id=membership.project_id, data=data)


def _locked(membership: Membership) -> Membership:
    """The membership as it is now, with the project's row locked, so that nobody else changes its members."""
    Project.objects.select_for_update(no_key=True).get(pk=membership.project_id)
    current = Membership.objects.select_related("user").filter(pk=membership.pk).first()
    if current is None:
        raise InvalidInput(f"{membership.user.username} is no longer a member, so nothing was changed.")
    return current


@transaction.atomic
def remove_member(membership: Membership, *, user: User) -> None:
    """Ends a membership: the person sees nothing of the project any more; what they said stays, under the same code.

    Raises InvalidInput for the last admin, or when the person is no member any more.
    """
    membership = _locked(membership)
    _refuse_if_last_admin(membership)
    _revoke_invitations(membership, user=user)
    member = membership.user
    audit.log(
        "membership.removed",
        membership,
        user=user,
        project_id=membership.project_id,
        # The audit trail cannot be changed, so it is where the code of a former member is kept.
        data={
            "member": member.username,
            "member_id": member.pk,
            "role": membership.role,
            "rater_code": membership.rater_code,
        },
    )
    membership.delete()


def _refuse_if_last_admin(membership: Membership) -> None:
    """Call it with the project's row locked."""
    admins = Membership.objects.filter(project=membership.project_id, role=Membership.Role.ADMIN)
    if list(admins.values_list("pk", flat=True)) == [membership.pk]:
        raise InvalidInput(
            f"{membership.user.username} is the only admin of this project. Make somebody else an admin first.",
            {"role": "The project needs an admin."},
        )


def _revoke_invitations(membership: Membership, *, user: User | None) -> None:
    """Takes back what a person who is no longer an admin has in store: one of these links could bring them back."""
    theirs = Invitation.objects.filter(project=membership.project_id, created_by=membership.user_id)
    unused = list(theirs.filter(used_at=None, revoked_at=None).select_for_update())
    Invitation.objects.filter(pk__in=[invitation.pk for invitation in unused]).update(revoked_at=now())
    audit.log_all("invitation.revoked", unused, user=user, project_id=membership.project_id)


def former_rater_codes(project: Project) -> dict[int, str]:
    """The rater codes of people who were members once, by user id."""
    removals = AuditEvent.objects.filter(project=project, action="membership.removed").order_by("id")
    return {data["member_id"]: data["rater_code"] for data in removals.values_list("data", flat=True)}


def rater_codes(project: Project) -> dict[int, str]:
    """The rater code of everybody who is or was a member, by user id: a code never changes."""
    return {
        **former_rater_codes(project),
        **dict(Membership.objects.filter(project=project).values_list("user_id", "rater_code")),
    }
