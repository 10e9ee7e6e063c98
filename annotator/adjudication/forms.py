"""The form by which a reviewer decides one dispute."""

from typing import Any

from django import forms
from django.http import QueryDict

from annotator.adjudication.actions import DecisionIn, parse_decision
from annotator.errors import InvalidInput
from annotator.labelling.revisions import MAX_TEXT
from annotator.models import Adjudication

UNDECIDABLE = "undecidable"

VALUES = [("1", "+1 correct"), ("0", "0 neutral"), ("-1", "−1 incorrect"), (UNDECIDABLE, "undecidable")]


class DecisionForm(forms.Form):
    """One dispute's form; its element ids carry the dispute, because a page has many of them."""

    # What is missing is said beside its field, in words; the browser's own bubble names one field and goes away.
    use_required_attribute = False

    decision: DecisionIn  # set once the form is valid

    value = forms.ChoiceField(
        choices=VALUES, widget=forms.RadioSelect, error_messages={"required": "Choose a value, or undecidable."}
    )
    reason_code = forms.ChoiceField(
        choices=[("", "Choose a reason"), *Adjudication.Reason.choices],
        error_messages={"required": "Choose the reason why the raters differ."},
    )
    note = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2, "maxlength": MAX_TEXT}))
    version = forms.CharField(required=False)

    def __init__(self, dispute_id: int, data: QueryDict | None = None) -> None:
        super().__init__(data, auto_id=f"decision-{dispute_id}-%s")

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if not self.errors:
            value = None if given["value"] == UNDECIDABLE else int(given["value"])
            try:
                self.decision = parse_decision({**given, "value": value, "version": given["version"] or None})
            except InvalidInput as error:
                for field, message in error.fields.items():
                    self.add_error(field, message)
        return given
