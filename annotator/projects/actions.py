"""Making projects, members and guidelines."""

from typing import Literal

from django.core.exceptions import ValidationError
from django.db import transaction
from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic import ValidationError as SchemaError

from annotator import audit
from annotator.errors import InvalidSettings
from annotator.models import Guideline, Membership, Project, User
from annotator.projects.scheme import LabelScheme


class ProjectSettings(BaseModel):
    """What `create_project --settings FILE.json` may say; docs/configuration.md explains each."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    overlap: int = 2
    max_overlap: int | None = None
    required_agreement: int | None = None
    on_unsettled: Literal["dispute", "discard"] = "dispute"
    claim_minutes: int = 60
    asks_outcome: bool = True
    guideline: str | None = None
    label_scheme: dict[str, JsonValue] = {}

    @classmethod
    def parse(cls, data: object) -> "ProjectSettings":
        """Raises InvalidSettings, naming each field that is wrong."""
        try:
            return cls.model_validate(data)
        except SchemaError as error:
            fields = {".".join(map(str, e["loc"])) or "settings": e["msg"] for e in error.errors()}
            said = "; ".join(f"{name}: {message}" for name, message in fields.items())
            raise InvalidSettings(f"The settings do not fit: {said}.", fields) from None


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
        claim_minutes=settings.claim_minutes,
        asks_outcome=settings.asks_outcome,
        label_scheme=LabelScheme.parse(settings.label_scheme).model_dump(mode="json"),
    )
    try:
        project.full_clean()
    except ValidationError as error:
        fields = {name: " ".join(messages) for name, messages in error.message_dict.items()}
        raise InvalidSettings(f"The project cannot be created: {' '.join(fields.values())}", fields) from None
    project.save()
    audit.log("project.created", project, user=user, project_id=project.pk, data=settings.model_dump(mode="json"))
    if settings.guideline:
        add_guideline(project, settings.guideline, user=user)
    return project


@transaction.atomic
def add_guideline(project: Project, text: str, *, user: User | None) -> Guideline:
    """Adds the next version; labels given from now on carry it."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    latest = project.guidelines.first()
    guideline = project.guidelines.create(version=latest.version + 1 if latest else 1, text=text, created_by=user)
    audit.log("guideline.added", guideline, user=user, project_id=project.pk, data={"version": guideline.version})
    return guideline


@transaction.atomic
def add_member(project: Project, member: User, role: Membership.Role, *, user: User | None) -> Membership:
    """Gives a person a role in the project, or changes the one they have."""
    membership, _ = Membership.objects.update_or_create(project=project, user=member, defaults={"role": role})
    audit.log(
        "membership.set", membership, user=user, project_id=project.pk, data={"member": member.username, "role": role}
    )
    return membership
