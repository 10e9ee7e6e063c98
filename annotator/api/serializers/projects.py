"""Projects, their trajectories, imports."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotator.api.serializers.common import UploadField
from annotator.models import Membership, Project, Trajectory

S = serializers


class GuidelineSerializer(S.Serializer[Any]):
    version = S.IntegerField()
    text = S.CharField(help_text="Markdown.")


class ProjectSerializer(S.Serializer[Any]):
    """A project, as the person who asks takes part in it."""

    slug = S.CharField(source="project.slug")
    name = S.CharField(source="project.name")
    role = S.ChoiceField(Membership.Role.choices, help_text="Yours.")
    overlap = S.IntegerField(source="project.overlap", help_text="How many people judge every trajectory at first.")
    max_overlap = S.IntegerField(source="project.max_overlap")
    required_agreement = S.IntegerField(source="project.required_agreement")
    on_unsettled = S.ChoiceField(Project.OnUnsettled.choices, source="project.on_unsettled")
    second_review = S.IntegerField(
        source="project.second_review", help_text="Percent of disputed trajectories that two reviewers decide."
    )
    claim_minutes = S.IntegerField(source="project.claim_minutes")
    asks_outcome = S.BooleanField(source="project.asks_outcome")
    created_at = S.DateTimeField(source="project.created_at")


class ProjectDetailSerializer(ProjectSerializer):
    """A project with its current guideline."""

    guideline = GuidelineSerializer(source="project.guidelines.first", allow_null=True)
    hint_policy = S.SerializerMethodField(
        help_text="Who is shown what a model says, in percent, and of which model. For admins; null for others."
    )

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": {}})
    def get_hint_policy(self, membership: Membership) -> dict[str, Any] | None:
        is_admin = membership.role == Membership.Role.ADMIN
        return membership.project.hints.model_dump() if is_admin else None


class TrajectorySerializer(S.ModelSerializer[Trajectory]):
    """A trajectory in the list, with how far its judgements are."""

    n_wanted = S.IntegerField(help_text="Judgements wanted so far.")
    n_submitted = S.IntegerField(help_text="Judgements submitted.")
    n_disputes = S.IntegerField(help_text="Disputes that nobody has decided.")

    class Meta:
        model = Trajectory
        fields = [
            "id", "external_id", "source_format", "instruction", "group_key", "n_steps", "content_sha256",
            "created_at", "n_wanted", "n_submitted", "n_disputes",
        ]  # fmt: skip


class ImportSerializer(S.Serializer[Any]):
    """The multipart form of an import."""

    file = UploadField()
    format = S.CharField(required=False, help_text="A format's name; found out from the file if left out.")
    on_error = S.ChoiceField(["skip", "abort"], default="skip", help_text="abort: one bad record, and nothing goes in.")
    dry_run = S.ChoiceField(["true", "false"], default="false", help_text="true: only report what would go in.")
