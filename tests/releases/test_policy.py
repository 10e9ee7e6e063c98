"""What a release counts, and into which split a trajectory goes."""

from collections import Counter

import pytest

from annotator.errors import InvalidSettings
from annotator.releases.policy import ReleasePolicy, split_of

GROUPS = [f"question {number}" for number in range(2000)]


def test_the_default_counts_everything_that_was_settled() -> None:
    assert ReleasePolicy.parse({}).model_dump() == {
        "provenances": ["unanimous", "majority", "adjudicated"],
        "undecidable": "mask",
        "discarded": "mask",
        "neutral": "positive",
        "error_view": "as_labelled",
        "splits": {"train": 0.8, "validation": 0.1, "test": 0.1},
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"provenances": []}, "provenances"),
        ({"provenances": ["imported"]}, "provenances.0"),
        ({"undecidable": "drop"}, "undecidable"),
        ({"splits": {"train": 0.5}}, "policy"),
        ({"splits": {"train": 1.5, "test": -0.5}}, "splits.train"),
        ({"splits": {"training": 1.0}}, "splits.training.[key]"),
        ({"colour": "red"}, "colour"),
        ([], "policy"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_with_its_place(data: object, field: str) -> None:
    with pytest.raises(InvalidSettings) as refusal:
        ReleasePolicy.parse(data)
    assert field in refusal.value.fields


def test_the_splits_have_about_the_shares_that_were_asked_for() -> None:
    counts = Counter(split_of(group, ReleasePolicy()) for group in GROUPS)
    assert counts["train"] == pytest.approx(1600, abs=60)
    assert counts["validation"] == pytest.approx(200, abs=45)
    assert counts["test"] == pytest.approx(200, abs=45)


def test_a_split_without_a_share_gets_nothing() -> None:
    policy = ReleasePolicy(splits={"train": 0.5, "validation": 0.0, "test": 0.5})
    assert {split_of(group, policy) for group in GROUPS} == {"train", "test"}
    assert {split_of(group, ReleasePolicy(splits={"test": 1.0})) for group in GROUPS} == {"test"}


def test_another_seed_splits_differently_and_the_same_seed_never() -> None:
    first = [split_of(group, ReleasePolicy(seed=1)) for group in GROUPS]
    assert first == [split_of(group, ReleasePolicy(seed=1)) for group in GROUPS]
    assert first != [split_of(group, ReleasePolicy(seed=2)) for group in GROUPS]
