"""Sliding windows: every step once, never too long, with the promised context."""

from hypothesis import given
from hypothesis import strategies as st

from workers.prelabel.discriminative.windows import Window, plan


def test_windows_by_hand():
    # A header of 10 and steps of 30, 30, 30, 30, 80: 60 tokens of steps fit into a window of 70.
    ends = [40, 70, 100, 130, 210]
    assert plan(10, ends, 70) == [
        Window(10, 70, 0, 2),
        Window(40, 100, 2, 3),  # the third step with one whole step (half a window) before it
        Window(70, 130, 3, 4),
        Window(150, 210, 4, 5),  # longer than a window: loses its beginning
    ]


def test_what_fits_is_one_window():
    assert plan(10, [40, 70], 70) == [Window(10, 70, 0, 2)]


@given(st.integers(1, 50), st.lists(st.integers(1, 120), min_size=1, max_size=40), st.integers(50, 150))
def test_every_step_is_scored_once_with_enough_context(n_header, sizes, room):
    ends = [n_header + sum(sizes[: i + 1]) for i in range(len(sizes))]
    begins = [n_header, *ends[:-1]]
    found = plan(n_header, ends, n_header + room)
    assert [step for window in found for step in range(window.first, window.last)] == list(range(len(sizes)))
    for window in found:
        assert n_header <= window.start < window.stop <= window.start + room
        assert window.stop == ends[window.last - 1]
        for step in range(window.first, window.last):
            context = begins[step] - window.start
            whole = begins[step] - n_header
            fits = sizes[step] + max(sizes) <= room // 2
            assert context >= min(whole, room // 2) or not fits
