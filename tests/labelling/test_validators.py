"""What does not fit together in an annotation."""

import pytest

from annotator.labelling.validators import Said, check


def codes(
    labels: dict[int, Said], outcome: int | None = 1, *, carries_errors: bool = True, n_steps: int = 0
) -> list[tuple[str, bool]]:
    found = check(labels, outcome, n_steps=n_steps or max(labels) + 1, carries_errors=carries_errors)
    return [(each.code, each.blocks) for each in found]


@pytest.mark.parametrize(
    ("_case", "labels", "outcome", "expected"),
    [
        ("all is well", {0: Said(1), 1: Said(1)}, 1, []),
        ("a corrected error", {0: Said(-1), 1: Said(1, exit_reason="corrected")}, 1, []),
        (
            "an error carried on, then independent",
            {0: Said(-1), 1: Said(-1, 0), 2: Said(0, None, "independent")},
            0,
            [],
        ),
        ("an error that ends without a word", {0: Said(-1), 1: Said(1)}, 1, [("V2", False)]),
        ("a root that is no error", {0: Said(1), 1: Said(-1, 0), 2: Said(1, None, "corrected")}, 1, [("V3", True)]),
        ("a root that is not labelled", {1: Said(-1, 0), 2: Said(1, None, "corrected")}, 1, [("V3", True)]),
        ("a root that follows itself", {0: Said(-1), 1: Said(-1, 0), 2: Said(-1, 1)}, -1, [("V3", True)]),
        ("nothing left to fix", {0: Said(1), 1: Said(1), 2: Said(1, None, "corrected")}, 1, [("V4", True)]),
        ("nothing before it to fix", {0: Said(1, None, "corrected")}, 1, [("V4", True)]),
        (
            "fixed twice",
            {0: Said(-1), 1: Said(1, None, "corrected"), 2: Said(0), 3: Said(1, None, "corrected")},
            1,
            [("V4", True)],
        ),
        (
            "two errors, each fixed",
            {0: Said(-1), 1: Said(-1), 2: Said(1, None, "corrected"), 3: Said(1, None, "corrected")},
            1,
            [],
        ),
        (
            "what follows from an error is fixed with it",
            {0: Said(-1), 1: Said(-1, 0), 2: Said(1, None, "corrected"), 3: Said(1, None, "corrected")},
            1,
            [("V4", True)],
        ),
        ("fixed later", {0: Said(-1), 1: Said(0, None, "independent"), 2: Said(1, None, "corrected")}, 1, []),
        ("independent of nothing", {0: Said(1), 1: Said(0, None, "independent")}, 1, [("V4", False)]),
        ("what was not asked for may be the error", {1: Said(1), 2: Said(1, None, "corrected")}, 1, []),
        ("or another one", {1: Said(-1), 2: Said(1, None, "corrected"), 3: Said(1, None, "corrected")}, 1, []),
        ("corrected, and yet an error", {0: Said(-1), 1: Said(-1, None, "corrected")}, -1, [("V5", True)]),
        ("a good end after a last error", {0: Said(1), 1: Said(-1)}, 1, [("V6", False)]),
        ("a bad end without an error", {0: Said(1), 1: Said(0)}, -1, [("V6", False)]),
        ("a bad end after a good last step is fine", {0: Said(-1), 1: Said(1, None, "corrected")}, -1, []),
        ("no outcome asked for", {0: Said(-1)}, None, []),
    ],
)
def test_findings(_case: str, labels: dict[int, Said], outcome: int | None, expected: list[tuple[str, bool]]) -> None:
    assert codes(labels, outcome) == expected


def test_where_not_every_step_is_asked_the_others_may_hold_the_error() -> None:
    assert codes({2: Said(1)}, -1, n_steps=5) == []
    assert codes({2: Said(-1)}, 1, n_steps=5) == []
    assert codes({4: Said(-1)}, 1, n_steps=5) == [("V6", False)]


def test_how_an_error_ends_is_asked_only_where_errors_carry_on() -> None:
    labels = {0: Said(-1), 1: Said(1)}
    assert codes(labels, carries_errors=False) == []
    assert codes({0: Said(1), 1: Said(0, None, "independent")}, carries_errors=False) == []


def test_a_finding_says_where_and_what_to_do() -> None:
    (found,) = check({0: Said(-1), 1: Said(1)}, 1, n_steps=2, carries_errors=True)
    assert found.step == 1
    assert found.sentence == "Step 2 ends an error, but not how: fixed here, or independent of it?"


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            {0: Said(1), 1: Said(1, None, "corrected")},
            "Step 2 is marked as fixed here, but no error is left before it. Label it again.",
        ),
        (
            {0: Said(1), 1: Said(1, None, "independent")},
            "Step 2 is marked as independent, but no error is left before it. Press i on it to take that back.",
        ),
        (
            {0: Said(-1), 1: Said(-1, 0), 2: Said(-1, 1)},
            "Step 3 follows from step 2, which itself follows from step 1. Label step 3 again.",
        ),
        (
            {0: Said(-1), 1: Said(-1, None, "corrected")},
            "Step 2 is marked as fixed here but labelled −1. Take one of the two back.",
        ),
    ],
)
def test_a_mark_that_does_not_fit_says_what_to_do(labels: dict[int, Said], sentence: str) -> None:
    (found,) = check(labels, None, n_steps=len(labels), carries_errors=True)
    assert found.sentence == sentence
