"""Selection rounds."""

from typing import Any

from rest_framework import serializers

from annotator.api.serializers.common import JobSerializer
from annotator.models import SelectionPick, SelectionRound

S = serializers


class SelectionPolicySerializer(S.Serializer[Any]):
    """How rounds choose. A PATCH may name any of them; what it does not name stays."""

    is_on = S.BooleanField(required=False, help_text="Rounds start by themselves.")
    shares = S.DictField(
        child=S.IntegerField(min_value=0, max_value=100),
        required=False,
        help_text="Percent by strategy, 100 in all, `random` at least 5; docs/selection.md lists the strategies.",
    )
    unit = S.ChoiceField(SelectionRound.Unit.choices, required=False)
    n_wanted = S.IntegerField(required=False, min_value=1, max_value=100_000, help_text="Trajectories of a round.")
    steps_each = S.IntegerField(required=False, min_value=1, max_value=100)
    most_siblings = S.IntegerField(required=False, min_value=1, max_value=1000, help_text="Of one task.")


class SelectionRoundSerializer(S.ModelSerializer[SelectionRound]):
    """One round. Its picks are at `selection/{number}/`."""

    job = JobSerializer()
    policy = S.DictField(source="settings", help_text="As it was when the round was started.")
    fusion = S.IntegerField(source="fusion.number", allow_null=True, help_text="Whose beliefs it used, by number.")
    is_cold = S.BooleanField(help_text="At random by source and length, because no fusion had proved itself.")
    n_pool = S.IntegerField(help_text="Trajectories that could have been chosen.")

    class Meta:
        model = SelectionRound
        fields = ("number", "job", "policy", "seed", "fusion", "is_cold", "is_scheduled", "n_pool", "created_at")


class SelectionSerializer(S.Serializer[Any]):
    """The policy, what could be chosen now, and the latest rounds."""

    policy = SelectionPolicySerializer()
    n_pool = S.IntegerField(help_text="Trajectories that nobody has begun.")
    rounds = SelectionRoundSerializer(many=True, help_text="The latest 50, newest first.")


class SelectionPickSerializer(S.ModelSerializer[SelectionPick]):
    """One chosen trajectory. Estimates from what was drawn at random weigh by the inverse of `probability`."""

    trajectory = S.IntegerField(source="trajectory_id")
    external_id = S.CharField(source="trajectory.external_id")
    probability = S.FloatField(allow_null=True, help_text="Of being drawn; null where a strategy chose.")
    steps = S.ListField(
        child=S.IntegerField(), allow_null=True, help_text="Asked for; null: all; an empty list: the outcome."
    )

    class Meta:
        model = SelectionPick
        fields = ("rank", "trajectory", "external_id", "strategy", "score", "probability", "steps", "reason")
