"""Models, their runs, the scorer that learns, and what raters are worth."""

from typing import Any

from rest_framework import serializers

from annotator.api.serializers.common import BinSerializer, FigureSerializer, JobSerializer, value_field
from annotator.models import Assignment, LearningPoint, ModelVersion

S = serializers


class ModelSerializer(S.Serializer[Any]):
    """A model that can be started."""

    name = S.CharField()
    kind = S.ChoiceField(ModelVersion.Kind.choices)
    title = S.CharField(help_text="For people; may be empty.")


class PrelabelRequestSerializer(S.Serializer[Any]):
    model = S.CharField(help_text="Its name.")
    filter = S.DictField(
        required=False,
        help_text="`gold`: any, with or without; `ids`: part of the external id; `limit`: the first N that are left.",
    )
    dry_run = S.BooleanField(default=False, help_text="true: only estimate it.")


class PrelabelRunSerializer(S.Serializer[Any]):
    """A run of a model; its job says how far it is. Without an id it is only an estimate."""

    id = S.IntegerField(allow_null=True)
    model = S.CharField(source="model_name")
    version = S.IntegerField(source="version.number", default=None, allow_null=True, help_text="Known once it runs.")
    job = JobSerializer(default=None, allow_null=True)
    estimate = S.DictField(
        help_text="Trajectories, of them `n_unasked` on which the model abstains without a request, steps, tokens, "
        "money, seconds; null where it is not known."
    )
    n_steps_done = S.IntegerField()
    n_tokens = S.IntegerField(help_text="Read by the model.")
    n_dropped_tokens = S.IntegerField(help_text="Cut away to fit the model.")
    cost = S.CharField()


class TrainingSerializer(S.Serializer[Any]):
    release = S.IntegerField(min_value=1, help_text="Its number.")
    name = S.CharField(help_text="What the model is to be called; an own scorer's name makes its next version.")
    mask = S.ChoiceField(["full", "prefix"], default="full", help_text="prefix: a step is scored seeing the past only.")
    mode = S.ChoiceField(["blind", "with_reference"], default="blind")
    encoder = S.CharField(default="hashed", help_text="`hashed`, `minilm`, or a folder of the workers' encoders.")
    class_weights = S.ChoiceField(["none", "sqrt"], default="none", help_text="sqrt: rare values count more.")
    max_epochs = S.IntegerField(default=200, min_value=1, max_value=2000)
    seed = S.IntegerField(default=0, min_value=0)


class LearningPolicySerializer(S.Serializer[Any]):
    """When the project's scorer is trained again. A PATCH may name any of them; what it does not name stays."""

    is_on = S.BooleanField(required=False, help_text="Trainings start by themselves.")
    every = S.IntegerField(required=False, min_value=1, help_text="Newly gold trajectories that start a training.")
    at_least = S.IntegerField(required=False, min_value=10, help_text="Gold trajectories before the first one.")
    name = S.CharField(required=False, allow_null=True, help_text="Of the scorer; null: the slug with `-scorer`.")
    encoder = S.CharField(required=False, help_text="`hashed`, `minilm`, or a folder of the workers' encoders.")
    prelabels_rest = S.BooleanField(
        required=False, help_text="A version that is kept scores what it has not learnt from."
    )
    max_epochs = S.IntegerField(required=False, min_value=1, max_value=2000)
    seed = S.IntegerField(required=False, min_value=0)


class LearningPointSerializer(S.ModelSerializer[LearningPoint]):
    """One training: how much people did for what it learnt from, and how good it became."""

    version = S.CharField(allow_null=True, help_text="The model version, if it was kept.")
    is_baseline = S.BooleanField(help_text="Learnt from the random slice alone, to compare with.")
    is_kept = S.BooleanField(help_text="It replaced the version before it.")
    n_trajectories = S.IntegerField(help_text="That it learnt from; what is held out is not among them.")
    n_steps = S.IntegerField()
    effort_seconds = S.IntegerField(help_text="Active time of people on these steps; 0: not known.")
    metrics = S.DictField(help_text="On the held-out tasks; docs/scorer.md lists what is in it.")
    facts = S.DictField(help_text="Data hash, seed, version of the code, what the baseline is or why there is none.")
    reason = S.CharField(help_text="Why it was kept or not, in a sentence.")

    class Meta:
        model = LearningPoint
        fields = [
            "id", "version", "is_baseline", "is_kept", "n_trajectories", "n_steps", "effort_seconds", "metrics",
            "facts", "reason", "created_at",
        ]  # fmt: skip


class LearningSerializer(S.Serializer[Any]):
    """Training in the loop: policy, how far the next training is, every one so far."""

    policy = LearningPolicySerializer()
    name = S.CharField(help_text="What the scorer is called.")
    n_gold = S.IntegerField(help_text="Trajectories settled by people.")
    n_before = S.IntegerField(allow_null=True, help_text="Their number when the last training began.")
    n_missing = S.IntegerField(help_text="So many more, and the next training is due.")
    job = JobSerializer(allow_null=True, help_text="The training that was started last.")
    current = S.IntegerField(allow_null=True, help_text="The point whose version is in use.")
    points = LearningPointSerializer(many=True, help_text="Oldest first.")
    concluded = S.ListField(child=S.CharField(), help_text="What the points show, in sentences.")
    not_concluded = S.ListField(child=S.CharField(), help_text="What they do not show yet.")


class RaterReportSerializer(S.Serializer[Any]):
    """One model against gold; docs/raters.md defines the figures."""

    n_trajectories = S.IntegerField()
    n_steps = S.IntegerField()
    n_groups = S.IntegerField(help_text="Tasks, which the intervals draw anew.")
    step_acc = FigureSerializer()
    step_acc_answered = FigureSerializer()
    first_err_acc = FigureSerializer()
    first_err_acc_strict = FigureSerializer()
    coverage = FigureSerializer()
    macro_f1 = FigureSerializer()
    ece = FigureSerializer()
    brier = FigureSerializer()
    processbench_f1 = FigureSerializer()
    prm_score = FigureSerializer()
    recall = FigureSerializer(many=True, help_text="In the order of `values`.")
    precision = FigureSerializer(many=True, help_text="In the order of `values`.")
    confusion = S.ListField(
        child=S.ListField(child=S.IntegerField()),
        help_text="Row: gold, column: what the model said, in the order of `values`; the last column: nothing.",
    )
    reliability = BinSerializer(many=True)


class ComparedRaterSerializer(S.Serializer[Any]):
    """The latest version of a model, overall and per domain."""

    model = S.CharField()
    version = S.IntegerField()
    kind = S.ChoiceField(ModelVersion.Kind.choices)
    sees_reference = S.BooleanField()
    is_calibrated = S.BooleanField()
    config_sha256 = S.CharField()
    weights_sha256 = S.CharField()
    render_sha256 = S.CharField()
    overall = RaterReportSerializer()
    domains = S.DictField(child=RaterReportSerializer())


class RatersSerializer(S.Serializer[Any]):
    """All models of a project against gold."""

    against = S.ChoiceField(["gold", "reference"])
    values = S.ListField(child=value_field())
    n_trajectories = S.IntegerField(help_text="With gold.")
    n_steps = S.IntegerField(help_text="With gold.")
    n_half = S.IntegerField(help_text="Half settled trajectories, which do not count yet.")
    n_chosen = S.IntegerField(
        help_text="Of n_trajectories, those that a strategy chose and not chance: the figures are of these, not of the "
        "project. `only=random` leaves them out."
    )
    raters = ComparedRaterSerializer(many=True)


class DriftBlockSerializer(S.Serializer[Any]):
    """A rater's labels from `first` to `last`, counted from 1 in the order in which they were given."""

    first = S.IntegerField()
    last = S.IntegerField()
    right = FigureSerializer()


class ReliabilitySerializer(S.Serializer[Any]):
    """One person, or the latest version of a model; docs/raters.md defines the figures."""

    key = S.CharField(help_text="person-ID or model-ID.")
    name = S.CharField()
    kind = S.ChoiceField(["person", "model"])
    hears_itself = S.BooleanField(help_text="The belief is made with its own word, so nothing is concluded.")
    n_steps = S.IntegerField()
    n_trajectories = S.IntegerField()
    n_tasks = S.IntegerField()
    reachable = S.FloatField(help_text="`accuracy` of whoever always gives the likeliest value.")
    accuracy = FigureSerializer()
    of_value = FigureSerializer(many=True, help_text="The share found of each value, in the order of `values`.")
    zeros = FigureSerializer()
    true_zeros = FigureSerializer()
    excess_zeros = FigureSerializer()
    missed = FigureSerializer()
    missed_as_plus = FigureSerializer()
    early = FigureSerializer()
    change = FigureSerializer(help_text="Of the share of right labels, from the first to the last.")
    p = S.FloatField(allow_null=True, help_text="That there is no change.")
    drift = S.CharField(help_text="In words.")
    blocks = DriftBlockSerializer(many=True)
    verdicts = S.ListField(child=S.CharField())
    left_out = S.ListField(child=S.CharField())


class SilentRaterSerializer(S.Serializer[Any]):
    name = S.CharField()
    left_out = S.ListField(child=S.CharField())


class ReliabilitiesSerializer(S.Serializer[Any]):
    """People and models beside what they had no part in."""

    against = S.ChoiceField(["gold", "posterior"])
    values = S.ListField(child=value_field())
    raters = ReliabilitySerializer(many=True)
    silent = SilentRaterSerializer(many=True, help_text="Of whom nothing can be compared yet.")


class HintArmReportSerializer(S.Serializer[Any]):
    """One arm; docs/hints.md defines the figures."""

    arm = S.ChoiceField(Assignment.HintArm.choices)
    n_judgements = S.IntegerField()
    n_trajectories = S.IntegerField()
    n_groups = S.IntegerField(help_text="Tasks, which the intervals draw anew.")
    n_raters = S.IntegerField()
    n_steps = S.IntegerField(help_text="With a label.")
    is_enough = S.BooleanField(help_text="Whether anything is concluded from it.")
    figures = S.DictField(child=FigureSerializer())
    differences = S.DictField(child=FigureSerializer(), help_text="From the blind arm; empty for that one.")


class HintReportSerializer(S.Serializer[Any]):
    """What suggestions do to labels."""

    policy = S.DictField(help_text="The shares in force now, in percent, and the model.")
    against = S.ChoiceField(["gold", "reference"])
    arms = S.DictField(child=HintArmReportSerializer())
    concluded = S.ListField(child=S.CharField(), help_text="What the data shows, in sentences.")
    not_concluded = S.ListField(child=S.CharField(), help_text="What it does not show yet.")
