"""What is believed of one trajectory, as a drawing."""

import pytest

from annotator.fusion.drawing import FIRST_HEIGHT, HEIGHT, TOP, draw, summary

PROBS = [[0.1, 0.2, 0.7], [0.75, 0.05, 0.2]]
FIRST = [0.1, 0.6, 0.3]


def test_every_step_is_a_column_as_high_as_it_is_likely() -> None:
    one, two, none = draw(PROBS, FIRST).columns
    assert [(piece.css, piece.height) for piece in one.values] == [("incorrect", 10), ("neutral", 20), ("correct", 70)]
    assert [piece.y for piece in one.values] == [TOP + HEIGHT - 10, TOP + HEIGHT - 30, TOP]
    assert two.values[0].title == "step 2 is −1: 75 %"
    assert (two.first.height, two.first.y) == (FIRST_HEIGHT * 0.6, FIRST_HEIGHT * 0.4)
    assert two.first.title == "the first error is at step 2: 60 %"
    assert (none.values, none.first.title, none.name) == ([], "there is no error: 30 %", "none")
    assert one.x < two.x < none.x < draw(PROBS, FIRST).width


def test_of_a_long_trajectory_every_fifth_step_is_numbered() -> None:
    drawing = draw([PROBS[0]] * 31, [0.0] * 31 + [1.0])
    assert [column.name for column in drawing.columns if column.name] == ["5", "10", "15", "20", "25", "30", "none"]


@pytest.mark.parametrize(("first", "said"), [(FIRST, "step 2 (60 %)"), ([0.2, 0.8], "none (80 %)")])
def test_it_says_where_the_first_error_most_likely_is(first: list[float], said: str) -> None:
    assert summary(first) == said
