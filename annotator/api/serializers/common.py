"""What the answers of several stages share."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotator.models import Job

S = serializers


def value_field(**options: Any) -> S.IntegerField:
    return S.IntegerField(min_value=-1, max_value=1, **options)


@extend_schema_field({"type": "array", "items": {"type": "object", "additionalProperties": {}}})
class ObjectsField(S.JSONField):
    """A list of objects that goes out as it is stored: a ListField would walk through megabytes of messages."""


@extend_schema_field(OpenApiTypes.BINARY)
class UploadField(S.FileField):
    """A file that comes in; a FileField would be described as the address of one."""


class ErrorBodySerializer(S.Serializer[Any]):
    code = S.CharField(help_text="For programs, e.g. `input.invalid`; docs/api.md lists them.")
    message = S.CharField(help_text="For people.")
    fields_ = S.DictField(child=S.CharField(), help_text="Wrong places of the request, e.g. `labels[0].value`.")

    def get_fields(self) -> dict[str, S.Field[Any, Any, Any, Any]]:
        # A serializer cannot have an attribute called `fields`.
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}


class ErrorSerializer(S.Serializer[Any]):
    """Every refusal, from 400 to 500."""

    error = ErrorBodySerializer()


class JobSerializer(S.ModelSerializer[Job]):
    """Background work. Finished when `finished_at` is set."""

    project = S.CharField(source="project.slug")
    status = S.ChoiceField(Job.Status.choices)
    kind = S.ChoiceField(Job.Kind.choices)
    n_done = S.IntegerField(help_text="So many of `n_total`, in `unit`.")
    n_total = S.IntegerField(allow_null=True)
    result = S.DictField(help_text="What a finished job has to show: an import's report, a release's id and number.")
    error = S.CharField(help_text="Why it failed.")
    created_by = S.CharField(source="created_by.username", default=None, allow_null=True)

    class Meta:
        model = Job
        fields = [
            "id", "project", "kind", "status", "n_done", "n_total", "unit", "result", "error", "is_cancel_requested",
            "created_by", "queued_at", "started_at", "finished_at",
        ]  # fmt: skip


class StepValueSerializer(S.Serializer[Any]):
    step = S.IntegerField(min_value=0, help_text="Index from 0.")
    value = value_field()


class FigureSerializer(S.Serializer[Any]):
    """One statistic with its 95 % interval; where it is undefined, value is null and `reason` says why."""

    value = S.FloatField(allow_null=True)
    low = S.FloatField(allow_null=True)
    high = S.FloatField(allow_null=True)
    n = S.IntegerField(help_text="How many of `unit` it rests on.")
    unit = S.CharField()
    reason = S.CharField()


class BinSerializer(S.Serializer[Any]):
    low = S.FloatField()
    high = S.FloatField()
    n = S.IntegerField()
    confidence = S.FloatField(allow_null=True)
    accuracy = S.FloatField(allow_null=True)
