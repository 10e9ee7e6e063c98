"""What the admin's forms ask for."""

from django import forms

from annotator.importing.formats import FORMATS

FORMAT_LABELS = {"agentprocessbench": "AgentProcessBench", "openai_chat": "OpenAI chat"}


class ImportForm(forms.Form):
    """A file of trajectories and how to read it."""

    file = forms.FileField(
        label="File",
        allow_empty_file=True,  # the check says what is wrong with an empty one
        help_text="JSON or JSONL, of any size.",
    )
    format = forms.ChoiceField(
        label="Format",
        required=False,
        choices=[("", "Detect it from the first record"), *((name, FORMAT_LABELS.get(name, name)) for name in FORMATS)],
    )
    on_error = forms.ChoiceField(
        label="When a record is bad",
        initial="skip",
        widget=forms.RadioSelect,
        choices=[
            ("skip", "Leave it out and import the others"),
            ("abort", "Import nothing until the file is mended"),
        ],
    )
