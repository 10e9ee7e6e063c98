"""Labels accepted under a promise."""

from typing import Any

from rest_framework import serializers

from annotator.models import Acceptance

S = serializers


class TermsSerializer(S.Serializer[Any]):
    """What is promised, as shares from 0 to 1; what is left out has its default."""

    epsilon = S.FloatField(required=False, help_text="Of the accepted labels, wrong at most. Default 0.05.")
    delta = S.FloatField(required=False, help_text="Chance that more are wrong all the same. Default 0.1.")
    audit_share = S.FloatField(required=False, help_text="Of the trajectories, judged by people instead. Default 0.1.")


class StopSerializer(S.Serializer[Any]):
    """What becomes of the labels of a promise that ends."""

    withdraw = S.BooleanField(help_text="True: they are taken back, and people are asked. False: they stay gold.")


class AuditedSerializer(S.Serializer[Any]):
    """What people have said of the audited trajectories so far."""

    n_audits = S.IntegerField(help_text="Trajectories.")
    n_settled = S.IntegerField(help_text="Of them, settled by people.")
    n_taken = S.IntegerField(help_text="Labels that these would have got.")
    n_wrong = S.IntegerField(help_text="Of these, those that people settled otherwise.")
    evidence = S.FloatField(help_text="Against the promise; it is broken at ln(1 / delta).")


class AcceptanceSerializer(S.Serializer[Any]):
    """A promise under which labels of models became gold."""

    number = S.IntegerField()
    job = S.IntegerField(source="job_id")
    status = S.ChoiceField(Acceptance.Status.choices)
    epsilon = S.FloatField()
    delta = S.FloatField()
    audit_share = S.FloatField()
    threshold = S.FloatField(allow_null=True, help_text="Probability from which a value is accepted; null: none was.")
    most_each = S.IntegerField(allow_null=True, help_text="Labels of one trajectory at most; null: all.")
    report = S.DictField(help_text="The sample, the rules tried, the evidence for each, what was written.")
    audit = AuditedSerializer()
    stop_reason = S.CharField()
    created_at = S.DateTimeField()
    stopped_at = S.DateTimeField(allow_null=True)
