"""Which part of a long trajectory is read for which step: sliding windows with a pinned header. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The header and the tokens [start, stop) are read together; the steps [first, last) are scored."""

    start: int
    stop: int
    first: int
    last: int


def plan(n_header: int, ends: Sequence[int], limit: int) -> list[Window]:
    """Windows of at most `limit` tokens, header included, in which every step is scored once.

    `ends[i]` is the position after the last token of step i; step i begins where the step before it ends, the first one
    after the header. After the first window, steps are scored with at least half a window of what came before them, as
    far as whole steps allow; a step longer than a window loses its beginning.
    """
    room = limit - n_header
    begins = [n_header, *ends[:-1]]
    windows: list[Window] = []
    first, start = 0, n_header
    while first < len(ends):
        start = max(start, ends[first] - room)  # bites only where the step alone is longer than a window
        last = first + 1
        while last < len(ends) and ends[last] - start <= room:
            last += 1
        windows.append(Window(start, ends[last - 1], first, last))
        first = last
        if first < len(ends):
            fitting = [begin for begin in begins[: first + 1] if ends[first] - begin <= room]
            roomy = [begin for begin in fitting if begins[first] - begin >= room // 2]
            start = roomy[-1] if roomy else fitting[0] if fitting else begins[first]
    return windows
