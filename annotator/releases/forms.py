"""The form in which an admin states a release policy."""

from typing import Any

from django import forms

from annotator.releases.policy import SPLITS, ReleasePolicy

_STEP_WITHOUT_VALUE = [
    ("mask", "Keep the trajectory; the step carries no label"),
    ("leave_out", "Leave the whole trajectory out"),
]


ERROR_VIEWS = {
    "as_labelled": "As people labelled them",
    "strict": "Strict: each step by itself, where every −1 of it was marked as following from an earlier error",
    "until_corrected": "Until corrected: an error counts on until a step ends it, as it was labelled",
    "stop_at_first": "Stop at the first error: steps after it carry no label",
}


class ReleaseForm(forms.Form):
    """What counts, what a 0 becomes, and how large the splits are."""

    provenances = forms.MultipleChoiceField(
        label="Labels that count",
        choices=[
            ("unanimous", "Unanimous: all raters gave the same value"),
            ("majority", "Majority: enough raters gave the same value after some differed"),
            ("adjudicated", "Adjudicated: a reviewer decided"),
            ("certified", "Certified: a model's label, accepted under a promise that a sample proved"),
        ],
        widget=forms.CheckboxSelectMultiple,
        help_text="Steps that were settled in another way stay in the release without a label.",
    )
    undecidable = forms.ChoiceField(label="A step that a reviewer called undecidable", choices=_STEP_WITHOUT_VALUE)
    discarded = forms.ChoiceField(label="A step that the project's rule discarded", choices=_STEP_WITHOUT_VALUE)
    neutral = forms.ChoiceField(
        label="A 0 in formats that know only right and wrong",
        choices=[("positive", "Counts as right"), ("negative", "Counts as wrong"), ("drop", "Is left out")],
    )
    error_view = forms.ChoiceField(
        label="Steps that follow an error",
        choices=list(ERROR_VIEWS.items()),
        help_text="The provenance format always has what was settled.",
    )
    train = forms.DecimalField(label="Train, %", min_value=0, max_value=100, decimal_places=3)
    validation = forms.DecimalField(label="Validation, %", min_value=0, max_value=100, decimal_places=3)
    test = forms.DecimalField(label="Test, %", min_value=0, max_value=100, decimal_places=3)
    seed = forms.IntegerField(
        label="Seed of the splits",
        min_value=-(2**31),
        max_value=2**31 - 1,
        help_text="Keep it from release to release: then no trajectory moves from one split to another.",
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        shares = [data.get(split) for split in SPLITS]
        if None not in shares and sum(share for share in shares if share is not None) != 100:
            total = sum(share for share in shares if share is not None)
            raise forms.ValidationError(f"The shares of the splits add up to {total} %; they must add up to 100 %.")
        return data

    def policy(self) -> ReleasePolicy:
        """The policy that the valid form states."""
        data = self.cleaned_data
        splits = {split: float(data[split] / 100) for split in SPLITS}
        fields = ("provenances", "undecidable", "discarded", "neutral", "error_view", "seed")
        return ReleasePolicy.parse({**{name: data[name] for name in fields}, "splits": splits})


def initial_of(policy: ReleasePolicy) -> dict[str, Any]:
    """The form as that policy fills it in."""
    shares: dict[str, str] = {split: f"{100 * policy.splits.get(split, 0):g}" for split in SPLITS}
    return {**policy.model_dump(exclude={"splits"}), **shares}
