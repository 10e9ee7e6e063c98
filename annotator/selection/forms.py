"""The form of the selection policy: a share for each strategy, and how large a round is."""

from typing import Any

from django import forms
from django.forms import BoundField

from annotator.models import Project, SelectionRound
from annotator.selection.policy import STRATEGIES

_SHARE = "share_"


class SelectionForm(forms.Form):
    """Shares in percent; a strategy without one chooses nothing."""

    is_on = forms.BooleanField(
        label="Start rounds by themselves",
        required=False,
        help_text="A new one starts when less than a fifth of the last one's trajectories wait. Off: by hand only.",
    )
    n_wanted = forms.IntegerField(label="Trajectories in a round", min_value=1, max_value=100_000)
    unit = forms.ChoiceField(
        label="What people are asked",
        choices=SelectionRound.Unit,
        help_text="Single steps: only the most doubtful ones of a trajectory; what is chosen at random is asked whole.",
    )
    steps_each = forms.IntegerField(
        label="Steps asked of a trajectory, at most", min_value=1, max_value=100, help_text="For single steps."
    )
    most_siblings = forms.IntegerField(
        label="Trajectories of one task, at most",
        min_value=1,
        max_value=1000,
        help_text="Several runs of one task teach less than runs of several tasks. Chance is not bound by it.",
    )
    shows_why = forms.BooleanField(
        label="Tell annotators how a trajectory was chosen",
        required=False,
        help_text="They read whether it was chance or choice, never what a model said.",
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        policy = project.selection
        initial = policy.model_dump() | {"shows_why": project.shows_why}
        initial |= {_SHARE + name: policy.shares.get(name, 0) for name in STRATEGIES}  # type: ignore[call-overload]
        super().__init__(*args, **{"label_suffix": "", "initial": initial, **kwargs})
        for name, (title, what) in STRATEGIES.items():
            self.fields[_SHARE + name] = forms.IntegerField(
                label=title, min_value=0, max_value=100, help_text=what[0].upper() + what[1:] + "."
            )

    @property
    def shares(self) -> list[BoundField]:
        return [self[_SHARE + name] for name in STRATEGIES]

    def changes(self) -> dict[str, Any]:
        """Of a valid form, as `projects.actions.change_settings` takes it."""
        data = dict(self.cleaned_data)
        shares = {name: data.pop(_SHARE + name) for name in STRATEGIES}
        shows_why = data.pop("shows_why")
        return {
            "selection_policy": {**data, "shares": {name: share for name, share in shares.items() if share}},
            "shows_why": shows_why,
        }
