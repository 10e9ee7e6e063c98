"""Agreement, disputes, decisions."""

from typing import Any, get_args

from rest_framework import serializers

from annotator.adjudication.turns import Wants
from annotator.api.serializers.common import FigureSerializer, value_field
from annotator.labelling.revisions import MAX_TEXT
from annotator.models import Adjudication

S = serializers

WANTS = get_args(Wants)


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
    version = S.CharField(help_text="Changes with what the raters say and with the decisions that you may see.")


class DecisionRequestSerializer(S.Serializer[Any]):
    value = value_field(allow_null=True, help_text="null: undecidable.")
    reason_code = S.ChoiceField(Adjudication.Reason.choices)
    note = S.CharField(required=False, max_length=MAX_TEXT, help_text="Needed with the reason `other`.")
    version = S.CharField(
        required=False,
        help_text="That of the dispute when you looked; the answer is 409 if it has changed. Needed to overrule or "
        "settle what another reviewer has decided.",
    )
