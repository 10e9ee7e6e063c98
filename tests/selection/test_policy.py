"""The selection policy: what may be said and what is refused."""

from typing import Any

import pytest

from annotator.errors import InvalidSettings
from annotator.selection.policy import SelectionPolicy


def test_the_default_is_the_mix_and_waits_for_a_person() -> None:
    policy = SelectionPolicy.parse({})
    assert policy.shares == {"expected_errors": 60, "contradiction": 20, "random": 20}
    assert (policy.is_on, policy.unit, policy.n_wanted) == (False, "trajectories", 100)


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({"shares": {"random": 90}}, {"shares": "The shares are 90 % in all; they have to be 100."}),
        (
            {"shares": {"random": 4, "oldest": 96}},
            {"shares": "At least 5 % have to be chosen at random: the others are measured by it."},
        ),
        ({"n_wanted": 0}, {"n_wanted": "Input should be greater than or equal to 1"}),
        ({"speed": 1}, {"speed": "Extra inputs are not permitted"}),
    ],
)
def test_what_does_not_fit_is_named(data: dict[str, Any], fields: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings) as refused:
        SelectionPolicy.parse(data)
    assert refused.value.fields == fields
