"""The form that starts a model over trajectories of a project."""

from collections.abc import Mapping

from django import forms
from django.http import QueryDict

from annotator.models import ModelVersion
from annotator.prelabelling.actions import Selection
from annotator.prelabelling.configs import ModelConfig


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
