"""Releases."""

from rest_framework import serializers

from annotator.models import Release

S = serializers


class ReleaseSerializer(S.ModelSerializer[Release]):
    """A published release."""

    project = S.CharField(source="project.slug")
    policy = S.DictField()
    created_by = S.CharField(source="created_by.username", default=None, allow_null=True)
    published_at = S.DateTimeField()

    class Meta:
        model = Release
        fields = ["id", "project", "number", "policy", "created_by", "created_at", "published_at"]


class ReleaseDetailSerializer(ReleaseSerializer):
    """A published release with its manifest: counts, agreement, guideline version, the sha256 of each file."""

    manifest = S.DictField()

    class Meta(ReleaseSerializer.Meta):
        fields = [*ReleaseSerializer.Meta.fields, "manifest"]
