"""What is believed about every step."""

from typing import Any

from rest_framework import serializers

from annotator.models import Fusion

S = serializers


class MethodScoreSerializer(S.Serializer[Any]):
    """One method on tasks that it had not seen; shares from 0 to 1, nll in nats per step."""

    step_acc = S.FloatField()
    step_acc_interval = S.ListField(
        child=S.FloatField(), allow_null=True, help_text="95 %, tasks drawn anew; null of older fusions."
    )
    macro_f1 = S.FloatField()
    first_err_acc = S.FloatField(allow_null=True)
    ece = S.FloatField()
    nll = S.FloatField()


class FusionSourceSerializer(S.Serializer[Any]):
    """Where trajectories come from, and of how many there was gold."""

    name = S.CharField(allow_blank=True, help_text="Their `data_source`; empty where they name none.")
    n_trajectories = S.IntegerField()
    n_gold = S.IntegerField()


class FusionSerializer(S.Serializer[Any]):
    """How all raters together are heard."""

    number = S.IntegerField()
    method = S.ChoiceField(Fusion.Method.choices)
    reason = S.CharField(help_text="Why this method, in a sentence.")
    raters = S.ListField(child=S.CharField(), help_text="The model versions that are heard.")
    n_trajectories = S.IntegerField(help_text="With gold, that it learnt from.")
    n_steps = S.IntegerField()
    n_chosen = S.IntegerField(
        help_text="Of n_trajectories, those that a strategy of a selection round chose and not chance: then the scores "
        "are of these, not of the project."
    )
    scores = S.DictField(child=MethodScoreSerializer(), help_text="Every method on held-out tasks.")
    sources = S.ListField(
        child=FusionSourceSerializer(),
        help_text="The 50 largest. With little gold of one, what is believed there may be right less often.",
    )
    data_sha256 = S.CharField()
    created_at = S.DateTimeField()


class PosteriorSerializer(S.Serializer[Any]):
    """What is believed about the steps of one trajectory now; `probs` are soft labels to train on."""

    trajectory = S.IntegerField()
    external_id = S.CharField()
    fusion = S.IntegerField(help_text="Its number.")
    probs = S.ListField(child=S.ListField(child=S.FloatField()), help_text="Per step P(-1), P(0), P(+1).")
    first_error = S.ListField(child=S.FloatField(), help_text="Per step P(it is the first error), last P(none).")
    expected_errors = S.FloatField()
    updated_at = S.DateTimeField()
