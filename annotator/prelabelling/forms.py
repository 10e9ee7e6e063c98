"""The form that starts a model over trajectories of a project."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import QueryDict

from annotator.models import ModelVersion, Project
from annotator.prelabelling.actions import Selection
from annotator.prelabelling.configs import ModelConfig
from annotator.prelabelling.scorer_config import NAME_PATTERN


class RunForm(forms.Form):
    """Which model, over which trajectories."""

    model = forms.ChoiceField(label="Model")
    gold = forms.ChoiceField(
        label="Trajectories",
        choices=[("any", "All"), ("without", "Those without gold"), ("with", "Those with gold, to compare with it")],
    )
    ids = forms.CharField(label="Only ids that contain", required=False, max_length=200)
    limit = forms.IntegerField(label="At most", required=False, min_value=1)

    def __init__(self, models: Mapping[str, ModelConfig], data: QueryDict | None = None) -> None:
        super().__init__(data, label_suffix="", initial={"gold": "any"})
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, config in sorted(models.items()):
            kind = str(ModelVersion.Kind(config.kind).label)
            groups.setdefault(kind.capitalize(), []).append((name, config.title or name))
        self.fields["model"].choices = sorted(groups.items())  # type: ignore[attr-defined]

    @property
    def selection(self) -> Selection:
        """Of a valid form."""
        data = self.cleaned_data
        return Selection(gold=data["gold"], ids=data["ids"], limit=data["limit"])


class TrainForm(forms.Form):
    """What the project's own scorer learns from, and what it is called; commands and the API can choose more."""

    release = forms.TypedChoiceField(label="Learns from", coerce=int)
    name = forms.RegexField(
        NAME_PATTERN,
        label="Name",
        initial="scorer",
        error_messages={"invalid": "Use lower-case letters, digits, dots, underscores and hyphens, 100 at most."},
    )
    mask = forms.ChoiceField(
        label="Scores a step", choices=[("full", "seeing the whole trajectory"), ("prefix", "seeing only the past")]
    )
    mode = forms.ChoiceField(
        label="Reads the reference answer", choices=[("blind", "no"), ("with_reference", "yes, where there is one")]
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", "auto_id": "id_train_%s", **kwargs})
        numbers = project.releases.published().values_list("number", flat=True)
        self.fields["release"].choices = [(n, f"release {n}") for n in numbers]  # type: ignore[attr-defined]


class LearningForm(forms.Form):
    """When the project's scorer is trained again; commands and the API can choose more."""

    is_on = forms.BooleanField(
        label="Train by itself",
        required=False,
        help_text="A worker looks every minute whether enough new gold is there. Off: only when somebody starts it.",
    )
    every = forms.IntegerField(
        label="New gold trajectories that start a training",
        min_value=1,
        max_value=100_000,
        help_text="A trajectory is gold once all of its steps that people were asked about are settled.",
    )
    at_least = forms.IntegerField(
        label="Gold trajectories before the first training",
        min_value=10,
        max_value=1_000_000,
        help_text="With fewer than about 50 a scorer learns little, and the held-out part is too small to judge it.",
    )
    name = forms.RegexField(
        NAME_PATTERN,
        label="Name of the scorer",
        help_text="Under this name it stands among the models. Another name begins another scorer.",
        error_messages={"invalid": "Use lower-case letters, digits, dots, underscores and hyphens, 100 at most."},
    )
    encoder = forms.ChoiceField(
        label="How it reads texts", help_text="Texts are used only if they help on tasks that it has not seen."
    )
    prelabels_rest = forms.BooleanField(
        label="Score the rest afterwards",
        required=False,
        help_text="Every version that is kept scores what it has not learnt from, so that the others can use it: "
        "trajectories without gold, and held-out tasks.",
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        policy = project.learning
        initial = {**policy.model_dump(), "name": policy.name_for(project.slug)}
        super().__init__(*args, **{"label_suffix": "", "initial": initial, **kwargs})
        choices = {"hashed": "by groups of characters; needs no files", "minilm": "MiniLM, where workers have it"}
        choices.setdefault(policy.encoder, policy.encoder)
        self.fields["encoder"].choices = list(choices.items())  # type: ignore[attr-defined]
        self._own_name = policy.name_for(project.slug) if policy.name is None else None

    def changes(self) -> dict[str, Any]:
        """Of a valid form, as `learning.change_policy` takes it. A name that was never chosen goes on by itself."""
        data = dict(self.cleaned_data)
        if data["name"] == self._own_name:
            data["name"] = None
        return data
