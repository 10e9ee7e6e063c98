"""What the admin's forms about members, the guideline and the settings ask for."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.auth.forms import UserCreationForm
from django.forms import BaseFormSet, formset_factory

from annotator.labelling.revisions import MAX_TEXT
from annotator.models import Guideline, Membership, ModelVersion, Project, User
from annotator.projects.actions import CHANGEABLE
from annotator.projects.hints import HintPolicy
from annotator.projects.scheme import LabelScheme
from annotator.projects.taxonomies import TAXONOMIES

MOST_DIMENSIONS = 8

_PRESENCE = [
    ("off", "Not asked"),
    ("optional", "May be given"),
    ("required_on_error", "Must be given for each −1"),
]

TAXONOMY_LABELS = {
    "agentprocessbench": "AgentProcessBench: tool-using agents",
    "prmbench": "PRMBench: reasoning in steps",
    "medprmbench": "MedPRMBench: clinical reasoning",
}


class InvitationForm(forms.Form):
    """A role, and for whom the link is meant."""

    role = forms.ChoiceField(label="Role", choices=Membership.Role.choices, initial=Membership.Role.ANNOTATOR)
    note = forms.CharField(
        label="For whom",
        required=False,
        max_length=200,
        help_text="A note to yourself; the invited person sees none of it.",
    )


class RoleForm(forms.Form):
    """A member's new role."""

    role = forms.ChoiceField(choices=Membership.Role.choices)


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]  # not generic at run time
    """An account for somebody who opens an invitation and has none."""

    class Meta:
        model = User
        fields = ("username",)


class GuidelineForm(forms.Form):
    """The text of the next version."""

    text = forms.CharField(
        label="Text of the next version (Markdown)",
        strip=False,
        max_length=200_000,
        widget=forms.Textarea({"rows": 22}),
    )

    def __init__(self, data: Any = None, *, current: Guideline | None, **kwargs: Any) -> None:
        super().__init__(data, initial={"text": current.text if current else ""}, label_suffix="", **kwargs)
        self.current = current

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"].replace("\r\n", "\n")
        if not text.strip():
            raise forms.ValidationError("Write the guideline before you save it.")
        if self.current and text == self.current.text:
            raise forms.ValidationError(f"This is the text of version {self.current.version}. Change it, or leave it.")
        return text


class ReturnForm(forms.Form):
    """What the authors of returned annotations are told."""

    message = forms.CharField(
        label="What should the annotators look at again?",
        max_length=MAX_TEXT,
        widget=forms.Textarea({"rows": 3}),
        help_text="Each annotator reads it with the trajectory.",
    )


class _RemembersForm(forms.Form):
    """A form that carries along what it showed, so that `changed_data` is what this person changed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = True


class SettingsForm(_RemembersForm):
    """A project's settings, and its label scheme but for the dimensions."""

    name = forms.CharField(label="Name", max_length=200)
    overlap = forms.IntegerField(
        label="Judgements per trajectory at first (overlap)",
        min_value=1,
        max_value=50,
        help_text="For trajectories that are imported from now on. Those that are in the queue keep their slots.",
    )
    max_overlap = forms.IntegerField(
        label="Judgements per step at most (max_overlap)",
        min_value=1,
        max_value=50,
        help_text="When the first annotators differ on a step, further ones are asked about it until so many have "
        "judged. It counts when a trajectory's next judgement comes in; until then what is settled or disputed stays.",
    )
    required_agreement = forms.IntegerField(
        label="Equal values that settle a step (required_agreement)",
        min_value=1,
        max_value=50,
        help_text="For steps on which some differ. It counts when a trajectory's next judgement comes in.",
    )
    on_unsettled = forms.ChoiceField(
        label="A step that is still unsettled then",
        choices=[("dispute", "A reviewer decides"), ("discard", "The step is left out")],
        widget=forms.RadioSelect,
        help_text="It counts when a trajectory's next judgement comes in; until then open disputes stay open.",
    )
    second_review = forms.IntegerField(
        label="Disputed trajectories that two reviewers decide, in percent (second_review)",
        min_value=0,
        max_value=100,
        help_text="0: one reviewer decides each dispute. Otherwise so many of the disputed trajectories are drawn; on "
        "them the second reviewer decides without seeing what the first one decided. Where both decide alike, the "
        "dispute is settled; where they differ, both decisions are shown and the next one settles it. It needs two "
        "people who may review: two reviewers, or a reviewer and an admin. It counts for trajectories that become "
        "disputed from now on.",
    )
    claim_minutes = forms.IntegerField(
        label="Minutes after which an idle claim goes back",
        min_value=1,
        max_value=10_080,
        help_text="A claimed trajectory on which nothing was saved for so long is offered to others; the draft stays. "
        "Claims that run now keep their end until their next save.",
    )
    asks_outcome = forms.BooleanField(
        label="Annotators also judge the final result",
        required=False,
        help_text="For trajectories that are imported from now on. Those that are in the queue stay as they are.",
    )
    mode = forms.ChoiceField(
        label="How steps are labelled",
        choices=[
            ("every_step", "Every step for itself"),
            ("carry_errors", "An error is carried on to later steps until it is corrected"),
            ("stop_at_first_error", "Up to the first error"),
        ],
        widget=forms.RadioSelect,
        help_text="Do not change it while people label: labels given in different modes cannot be compared.",
    )
    reveal = forms.ChoiceField(
        label="When annotators see the reference answer and the reported outcome",
        choices=[("never", "Never"), ("after_labels", "After all steps are labelled"), ("always", "Always")],
        widget=forms.RadioSelect,
        help_text="Labels that are changed after the reference was shown are marked as such.",
    )
    shows_fate = forms.BooleanField(
        label="Annotators see what became of their labels after a review",
        required=False,
        help_text="In their own history: the settled value beside their own, no names.",
    )
    categories = forms.ChoiceField(label="Error category", choices=_PRESENCE)
    taxonomy = forms.ChoiceField(
        label="Categories to choose from",
        choices=[(key, TAXONOMY_LABELS.get(key, key)) for key in TAXONOMIES],
        help_text="Labels that carry a category of another list keep it.",
    )
    severity = forms.BooleanField(label="Ask how severe an error is: minor, major, critical", required=False)
    recoverable = forms.BooleanField(label="Ask whether the agent can still recover from the error", required=False)
    rationale = forms.ChoiceField(
        label="Rationale", choices=_PRESENCE, help_text="The annotator's reason, in their own words."
    )
    correction = forms.BooleanField(label="Offer a field for what the step should have been", required=False)
    unsure = forms.BooleanField(label="Offer “I am not sure”", required=False)

    hint_model = forms.ChoiceField(
        label="Model whose suggestions are shown",
        required=False,
        help_text="Of its latest version at the moment of a claim. Models that read the reference are never shown, and "
        "rule verifiers give no values. all-raters: what all of them say together; fuse again (page Beliefs) to have "
        "it for every trajectory that nobody has begun.",
    )
    hint_reveal_after = forms.IntegerField(
        label="Shown after one's own labels, in percent (reveal_after)",
        min_value=0,
        max_value=100,
        help_text="Annotators label everything first; then they see what the model said and why, and may change their "
        "mind. What they change is recorded as such.",
    )
    hint_hinted = forms.IntegerField(
        label="Shown beside the steps from the start, in percent (hinted)",
        min_value=0,
        max_value=100,
        help_text="Nothing is chosen in advance: every step still needs its own key. The rest of the trajectories is "
        "blind: nothing that any model said reaches the annotator.",
    )

    def __init__(self, *args: Any, models: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", "None"), *((name, name) for name in models)]
        self.fields["hint_model"].choices = choices  # type: ignore[attr-defined]  # a ChoiceField has them

    def changes(self, dimensions: "_Dimensions") -> dict[str, Any]:
        """What the valid forms change, as `change_settings` takes it.

        Only what differs from what the page showed: another admin may have changed the rest since.
        """
        data = {name: self.cleaned_data[name] for name in self.changed_data}
        scheme = {name: data.pop(name) for name in list(data) if name in LabelScheme.model_fields}
        if dimensions.has_changed():
            scheme["dimensions"] = dimensions.given()
        hints = {name: data.pop(f"hint_{name}") for name in HintPolicy.model_fields if f"hint_{name}" in data}
        parts = {"label_scheme": scheme, "hint_policy": hints}
        return {**data, **{name: part for name, part in parts.items() if part}}


class DimensionForm(_RemembersForm):
    """One further scale; a row without a key is no scale."""

    key = forms.RegexField(
        r"\A[a-z][a-z0-9_]{0,39}\Z",
        label="Key",
        required=False,
        error_messages={"invalid": "Small letters, digits and _, beginning with a letter."},
    )
    name = forms.CharField(label="Name on the page", required=False, max_length=100)
    low = forms.IntegerField(label="Lowest", required=False, min_value=-100, max_value=100)
    high = forms.IntegerField(label="Highest", required=False, min_value=-100, max_value=100)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        given = [data.get(name) not in (None, "") for name in ("key", "name", "low", "high")]
        if any(given) and not all(given) and not self.errors:
            raise forms.ValidationError("Fill in the whole row, or empty it.")
        low, high = data.get("low"), data.get("high")
        if low is not None and high is not None and not low < high <= low + 10:
            self.add_error("high", "It must be above the lowest value, by at most 10.")
        return data


class _Dimensions(BaseFormSet):  # type: ignore[type-arg]  # not generic at run time
    """The rows of further scales."""

    def clean(self) -> None:
        keys = [row["key"] for row in self.given()]
        if len(set(keys)) < len(keys):
            raise forms.ValidationError("Two dimensions have the same key.")
        if len(keys) > MOST_DIMENSIONS:
            raise forms.ValidationError(f"A project may ask for {MOST_DIMENSIONS} dimensions at most.")

    def given(self) -> list[dict[str, Any]]:
        rows = [form.cleaned_data for form in self.forms if hasattr(form, "cleaned_data")]
        return [row for row in rows if row.get("key")]


DimensionFormSet = formset_factory(
    DimensionForm, formset=_Dimensions, extra=2, max_num=MOST_DIMENSIONS, absolute_max=MOST_DIMENSIONS + 2
)


def _showable(project: Project) -> list[str]:
    """The models whose suggestions may be shown, the one that is chosen now, and, where there is any, their fusion."""
    versions = project.model_versions.filter(sees_reference=False).exclude(kind=ModelVersion.Kind.RULES)
    names = {*versions.values_list("name", flat=True)}
    return sorted({*names, *filter(None, [project.hints.model]), *([ModelVersion.ALL_RATERS] if names else [])})


def settings_forms(project: Project, data: Any = None) -> tuple[SettingsForm, _Dimensions]:
    """The two forms of the settings page, filled with what the project says now."""
    scheme = project.scheme.model_dump()
    dimensions = scheme.pop("dimensions")
    said = {f"hint_{name}": value for name, value in project.hints.model_dump().items()}
    elsewhere = ("label_scheme", "hint_policy", "selection_policy", "shows_why")
    plain = [name for name in CHANGEABLE if name not in elsewhere]
    initial = {name: getattr(project, name) for name in plain} | scheme | said
    form = SettingsForm(data, initial=initial, label_suffix="", models=_showable(project))
    formset = DimensionFormSet(data, initial=dimensions, prefix="dimensions", form_kwargs={"label_suffix": ""})
    assert isinstance(formset, _Dimensions)  # the factory made it so
    return form, formset
