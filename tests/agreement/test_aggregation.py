"""What the values that people gave one step amount to."""

import pytest

from annotator.agreement.aggregation import Rule, Verdict, judge, severity

TWO_MUST_AGREE = Rule(max_overlap=2, required_agreement=2)
ASK_A_THIRD = Rule(max_overlap=3, required_agreement=2)
ASK_A_THIRD_THEN_DISCARD = Rule(max_overlap=3, required_agreement=2, discards=True)
THREE_OF_FIVE = Rule(max_overlap=5, required_agreement=3)


@pytest.mark.parametrize(
    ("_case", "values", "rule", "verdict"),
    [
        ("one person, if the project wants one", [0], Rule(1, 1), Verdict("unanimous", 0)),
        ("two alike", [1, 1], TWO_MUST_AGREE, Verdict("unanimous", 1)),
        ("two zeros are a value, not nothing", [0, 0], TWO_MUST_AGREE, Verdict("unanimous", 0)),
        ("two that differ, nobody more to ask", [1, 0], TWO_MUST_AGREE, Verdict("dispute")),
        ("two that differ, a third may be asked", [1, -1], ASK_A_THIRD, Verdict("escalate")),
        ("the third decides", [1, -1, -1], ASK_A_THIRD, Verdict("majority", -1)),
        ("the order of the values is all the same", [-1, 1, -1], ASK_A_THIRD, Verdict("majority", -1)),
        ("three ways", [1, -1, 0], ASK_A_THIRD, Verdict("dispute")),
        ("three ways where the project discards", [1, -1, 0], ASK_A_THIRD_THEN_DISCARD, Verdict("discard")),
        ("discarding does not replace asking", [1, -1], ASK_A_THIRD_THEN_DISCARD, Verdict("escalate")),
        ("two of three are too few", [1, 1, 0], THREE_OF_FIVE, Verdict("escalate")),
        ("three of four are enough", [1, 1, 0, 1], THREE_OF_FIVE, Verdict("majority", 1)),
        ("a tie of enough people settles nothing", [1, 1, 0, 0], Rule(4, 2), Verdict("dispute")),
        ("a tie is asked on while somebody may be asked", [1, 1, 0, 0], Rule(5, 2), Verdict("escalate")),
        ("one vote does not outvote one vote", [1, 0], Rule(2, 1), Verdict("dispute")),
        ("the most frequent value must reach the number", [1, 1, 0, 0, -1], THREE_OF_FIVE, Verdict("dispute")),
    ],
)
def test_values_amount_to(_case: str, values: list[int], rule: Rule, verdict: Verdict) -> None:
    assert judge(values, rule) == verdict


def test_a_step_that_nobody_judged_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="without submitted values"):
        judge([], TWO_MUST_AGREE)


@pytest.mark.parametrize(
    ("_case", "values", "expected"),
    [
        ("opposed", [1, -1], 2),
        ("opposed with a zero between", [1, 0, -1], 2),
        ("plus one and zero", [1, 0], 1),
        ("zero and minus one", [0, -1, -1], 1),
        ("alike", [1, 1], 0),
    ],
)
def test_severity_is_the_distance_of_the_extremes(_case: str, values: list[int], expected: int) -> None:
    assert severity(values) == expected
