"""What the list of steps can be asked for."""

from dataclasses import fields

from django import forms

from annotator.agreement.steps import LabelFilter, StepFilter
from annotator.agreement.sums import VALUES
from annotator.errors import InvalidInput

_CHOICES = [(value, str(value)) for value in VALUES]


class StepFilterForm(forms.Form):
    a = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    b = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    value_a = forms.TypedChoiceField(required=False, choices=_CHOICES, coerce=int, empty_value=None)
    value_b = forms.TypedChoiceField(required=False, choices=_CHOICES, coerce=int, empty_value=None)
    same = forms.TypedChoiceField(
        required=False, choices=[("0", "no"), ("1", "yes")], coerce=lambda text: text == "1", empty_value=None
    )
    domain = forms.CharField(required=False)
    guideline = forms.IntegerField(required=False, min_value=1, max_value=2**31 - 1)
    since = forms.DateTimeField(required=False)
    until = forms.DateTimeField(required=False)

    def wanted(self) -> StepFilter:
        """Raises InvalidInput that names each filter that cannot be."""
        _check(self)
        return StepFilter(**{field.name: self.cleaned_data[field.name] for field in fields(StepFilter)})


class LabelFilterForm(forms.Form):
    value = forms.TypedChoiceField(required=False, choices=_CHOICES, coerce=int, empty_value=None)
    show = forms.ChoiceField(required=False, choices=[("hurried", "hurried"), ("unseen", "unseen")])

    def wanted(self) -> LabelFilter:
        """Raises InvalidInput that names each filter that cannot be."""
        _check(self)
        return LabelFilter(**self.cleaned_data)


def _check(form: forms.Form) -> None:
    if not form.is_valid():
        said = {name: " ".join(map(str, errors)) for name, errors in form.errors.items()}
        sentences = " ".join(f"{name}: {text}" for name, text in said.items())
        raise InvalidInput(
            f"The list of steps cannot be filtered like this. {sentences} Open it from the agreement page.",
            {name: str(text) for name, text in said.items()},
        )
