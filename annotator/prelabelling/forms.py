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
