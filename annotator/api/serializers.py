"""What the endpoints answer with; the OpenAPI document is made from these."""

from typing import Any, get_args

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotator.adjudication.turns import Wants
from annotator.models import (
    Acceptance,
    Adjudication,
    Assignment,
    Fusion,
    Job,
    LearningPoint,
    Membership,
    ModelVersion,
    Project,
    Release,
    SelectionPick,
    SelectionRound,
    Step,
    Trajectory,
)

S = serializers

WANTS = get_args(Wants)


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


class FigureSerializer(S.Serializer[Any]):
    """One statistic with its 95 % interval; where it is undefined, value is null and `reason` says why."""

    value = S.FloatField(allow_null=True)
    low = S.FloatField(allow_null=True)
    high = S.FloatField(allow_null=True)
    n = S.IntegerField(help_text="How many of `unit` it rests on.")
    unit = S.CharField()
    reason = S.CharField()


class RaterSerializer(S.Serializer[Any]):
    rater_code = S.CharField(help_text="The pseudonym that releases use.")
    username = S.CharField()


SPECIFIC = "Of the judgements with a value, the share that met the same value; in the order of `values`."


class PairSerializer(S.Serializer[Any]):
    """Two people on the steps that both judged."""

    raters = RaterSerializer(many=True)
    n_trajectories = S.IntegerField()
    n_steps = S.IntegerField()
    raw_agreement = FigureSerializer()
    cohen_kappa = FigureSerializer()
    gwet_ac1 = FigureSerializer()
    krippendorff_alpha_nominal = FigureSerializer()
    krippendorff_alpha_ordinal = FigureSerializer()
    first_error_agreement = FigureSerializer()
    first_error_within_one = FigureSerializer()
    specific_agreement = FigureSerializer(many=True, help_text=SPECIFIC)
    confusion = S.ListField(
        child=S.ListField(child=S.IntegerField()),
        help_text="Row: what the first said, column: what the second said, each in the order of `values`.",
    )


class StepReportSerializer(S.Serializer[Any]):
    """Figures of all people together over a set of steps."""

    n_raters = S.IntegerField()
    n_trajectories = S.IntegerField()
    n_steps = S.IntegerField()
    raw_agreement = FigureSerializer()
    cohen_kappa = FigureSerializer()
    fleiss_kappa = FigureSerializer()
    gwet_ac1 = FigureSerializer()
    krippendorff_alpha_nominal = FigureSerializer()
    krippendorff_alpha_ordinal = FigureSerializer()


class AgreementSerializer(StepReportSerializer):
    """How far people agree over the steps that two or more judged."""

    values = S.ListField(child=value_field(), help_text="The order of rows and columns in `confusion`.")
    first_error_agreement = FigureSerializer()
    first_error_within_one = FigureSerializer()
    specific_agreement = FigureSerializer(many=True, help_text=SPECIFIC)
    decision_points = StepReportSerializer(
        help_text="Only steps at which somebody decided anew: the first, changes, errors marked as new ones."
    )
    confusion = S.ListField(
        child=S.ListField(child=S.IntegerField()), help_text="Over all pairs; symmetric where there are more than two."
    )
    pairs = PairSerializer(many=True)


class RatingSerializer(S.Serializer[Any]):
    rater = S.CharField(help_text="A, B, C in the order of submission, the same for the whole trajectory.")
    value = value_field()


class DecisionSerializer(S.Serializer[Any]):
    """What a reviewer decided; value null: undecidable."""

    id = S.IntegerField()
    value = value_field(allow_null=True)
    reason_code = S.ChoiceField(Adjudication.Reason.choices)
    note = S.CharField()
    decided_at = S.DateTimeField()
    reviewer = S.CharField(allow_null=True, help_text="null: another one of two who decide blind.")
    turn = S.ChoiceField(Adjudication.Turn.choices)


class DisputedTrajectorySerializer(S.Serializer[Any]):
    id = S.IntegerField()
    external_id = S.CharField()


class DisputedStepSerializer(S.Serializer[Any]):
    index = S.IntegerField()
    message_index = S.IntegerField()


class DisputeSerializer(S.Serializer[Any]):
    """A step or, where step is null, the outcome, on which people differ."""

    id = S.IntegerField()
    trajectory = DisputedTrajectorySerializer()
    step = DisputedStepSerializer(allow_null=True)
    severity = S.IntegerField(help_text="2: +1 against -1; 1: a 0 against its neighbour.")
    status = S.ChoiceField(["open", "decided"])
    values = RatingSerializer(many=True)
    decisions = DecisionSerializer(many=True, help_text="The newest is last and, once the dispute is decided, counts.")
    wants = S.ChoiceField(
        WANTS,
        help_text="Of you. blind: a decision of your own, without the other reviewer's; open: one that settles it; "
        "other: yours is in, and another reviewer's comes next.",
    )


class DecisionRequestSerializer(S.Serializer[Any]):
    value = value_field(allow_null=True, help_text="null: undecidable.")
    reason_code = S.ChoiceField(Adjudication.Reason.choices)
    note = S.CharField(required=False, help_text="Needed with the reason `other`.")
    wants = S.ChoiceField(
        WANTS,
        required=False,
        help_text="What the dispute wanted when you looked; the answer is 409 if that has changed. Settling two "
        "decisions that differ needs `open`.",
    )


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


class ModelSerializer(S.Serializer[Any]):
    """A model that can be started."""

    name = S.CharField()
    kind = S.ChoiceField(ModelVersion.Kind.choices)
    title = S.CharField(help_text="For people; may be empty.")


class PrelabelRequestSerializer(S.Serializer[Any]):
    model = S.CharField(help_text="Its name.")
    filter = S.DictField(
        required=False, help_text="`gold`: any, with or without; `ids`: part of the external id; `limit`: the first N."
    )
    dry_run = S.BooleanField(default=False, help_text="true: only estimate it.")


class PrelabelRunSerializer(S.Serializer[Any]):
    """A run of a model; its job says how far it is. Without an id it is only an estimate."""

    id = S.IntegerField(allow_null=True)
    model = S.CharField(source="model_name")
    version = S.IntegerField(source="version.number", default=None, allow_null=True, help_text="Known once it runs.")
    job = JobSerializer(default=None, allow_null=True)
    estimate = S.DictField(help_text="Trajectories, steps, tokens, money, seconds; null where it is not known.")
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
    prelabels_rest = S.BooleanField(required=False, help_text="A version that is kept scores what has no gold.")
    max_epochs = S.IntegerField(required=False, min_value=1, max_value=2000)
    seed = S.IntegerField(required=False, min_value=0)


class LearningPointSerializer(S.ModelSerializer[LearningPoint]):
    """One training: how much people did for what it learnt from, and how good it became."""

    version = S.CharField(allow_null=True, help_text="The model version, if it was kept.")
    is_baseline = S.BooleanField(help_text="Learnt from the random slice alone, to compare with.")
    is_kept = S.BooleanField(help_text="It replaced the version before it.")
    n_trajectories = S.IntegerField(help_text="That it learnt from; what is held out is not among them.")
    n_steps = S.IntegerField()
    effort_seconds = S.IntegerField(help_text="Active time of people on these steps.")
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
    steps = S.ListField(child=S.IntegerField(), allow_null=True, help_text="Asked for; null: all.")

    class Meta:
        model = SelectionPick
        fields = ("rank", "trajectory", "external_id", "strategy", "score", "probability", "steps", "reason")


class BinSerializer(S.Serializer[Any]):
    low = S.FloatField()
    high = S.FloatField()
    n = S.IntegerField()
    confidence = S.FloatField(allow_null=True)
    accuracy = S.FloatField(allow_null=True)


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


class FusionSerializer(S.Serializer[Any]):
    """How all raters together are heard."""

    number = S.IntegerField()
    method = S.ChoiceField(Fusion.Method.choices)
    reason = S.CharField(help_text="Why this method, in a sentence.")
    raters = S.ListField(child=S.CharField(), help_text="The model versions that are heard.")
    n_trajectories = S.IntegerField(help_text="With gold, that it learnt from.")
    n_steps = S.IntegerField()
    scores = S.DictField(child=MethodScoreSerializer(), help_text="Every method on held-out tasks.")
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
