"""What an annotator is given, and how far it is."""

from typing import Any

from rest_framework import serializers

from annotator.api.serializers.common import ObjectsField, StepValueSerializer, value_field
from annotator.api.serializers.projects import GuidelineSerializer
from annotator.models import Assignment, Step

S = serializers


class AssignmentStateSerializer(S.Serializer[Any]):
    """Where an assignment stands and what you have said so far."""

    id = S.IntegerField()
    status = S.ChoiceField(Assignment.Status.choices)
    lease_expires_at = S.DateTimeField(allow_null=True, help_text="Your claim goes back then; every save renews it.")
    submitted_at = S.DateTimeField(allow_null=True)
    labels = StepValueSerializer(many=True, help_text="Your own.")
    outcome = value_field(allow_null=True, help_text="Your own label of the final result.")
    missing = S.ListField(child=S.CharField(), help_text="What is wanted and has no label: `step 0`, …, `outcome`.")


class AssignmentStepSerializer(S.ModelSerializer[Step]):
    is_wanted = S.BooleanField(help_text="Whether this assignment asks for it.")

    class Meta:
        model = Step
        fields = ["index", "message_index", "kind", "tool_names", "is_wanted"]


class AssignmentTrajectorySerializer(S.Serializer[Any]):
    id = S.IntegerField()
    external_id = S.CharField()
    n_steps = S.IntegerField()


class HintSerializer(S.Serializer[Any]):
    """What a model says of a step or, where step is null, of the outcome. A suggestion: only your own label counts."""

    step = S.IntegerField(min_value=0, allow_null=True)
    value = value_field(help_text="In the hinted arm it knows your labels of the steps before.")
    own_value = value_field(help_text="What the model says without knowing your labels.")
    certainty = S.FloatField(allow_null=True, help_text="The probability of the value; null for the outcome.")
    is_calibrated = S.BooleanField(help_text="Whether gold says how far the certainty can be believed.")
    is_shortened = S.BooleanField(help_text="The model had not read everything up to this step.")
    rationale = S.CharField(help_text="In the model's words; may be empty.")


class HintsSerializer(S.Serializer[Any]):
    hints = HintSerializer(many=True)


class AssignmentSerializer(AssignmentStateSerializer):
    """An assignment with all that its annotator may know: nothing of reference labels, outcomes or other people."""

    project = S.CharField()
    hint_arm = S.ChoiceField(
        Assignment.HintArm.choices, help_text="Whether a model's suggestions are shown, and when: docs/hints.md."
    )
    hints = HintSerializer(many=True, allow_null=True, help_text="null: nothing is shown, or not yet.")
    wanted_steps = S.ListField(child=S.IntegerField(), allow_null=True, help_text="Step indices; null: every step.")
    wants_outcome = S.BooleanField()
    guideline = GuidelineSerializer(allow_null=True)
    trajectory = AssignmentTrajectorySerializer()
    external_id = S.CharField()
    instruction = S.CharField()
    messages = ObjectsField(help_text="The chat, as imported.")
    tools = ObjectsField()
    steps = AssignmentStepSerializer(many=True)
