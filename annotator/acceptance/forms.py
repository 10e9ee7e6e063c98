"""The form in which an admin states a promise."""

from typing import Any

from django import forms

from annotator.acceptance.terms import Terms


class PromiseForm(forms.Form):
    """In percent, as people say it; `terms` gives shares."""

    epsilon = forms.DecimalField(
        label="Wrong at most, % of the accepted labels",
        min_value=0.5,
        max_value=20,
        decimal_places=1,
        help_text="People differ from each other, too: a promise far below that is not to be had.",
    )
    delta = forms.DecimalField(
        label="Chance that the promise fails all the same, %",
        min_value=0.1,
        max_value=20,
        decimal_places=1,
        help_text="The smaller, the larger the sample that is needed.",
    )
    audit_share = forms.DecimalField(
        label="Audited, % of the trajectories",
        min_value=2,
        max_value=50,
        decimal_places=1,
        help_text="Drawn by chance and given to people blind instead: what they say watches over the rest.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        initial = {name: f"{100 * value:g}" for name, value in Terms().model_dump().items()}
        super().__init__(*args, **{"label_suffix": "", "initial": initial, **kwargs})

    def terms(self) -> Terms:
        """Of a valid form."""
        return Terms.parse({name: float(value) / 100 for name, value in self.cleaned_data.items()})
