"""When a step is settled: from the submitted values to gold, another opinion, a dispute or nothing. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["unanimous", "majority", "escalate", "dispute", "discard"]


@dataclass(frozen=True)
class Rule:
    """A project's escalation: ask up to `max_overlap` people, until `required_agreement` of them agree."""

    max_overlap: int
    required_agreement: int
    discards: bool = False  # what becomes of a step that max_overlap people could not settle


@dataclass(frozen=True)
class Verdict:
    state: State
    value: int | None = None


def judge(values: Sequence[int], rule: Rule) -> Verdict:
    """What the values that different people gave one step (or the outcome) amount to.

    All alike: unanimous. Otherwise a value that at least `required_agreement` people gave, and strictly more than any
    other, is the majority. Otherwise one more person is asked, until `max_overlap` have answered; then the step is a
    dispute, or discarded if the project says so.

    Raises ValueError without values: nobody has judged, so there is nothing to say.
    """
    if not values:
        raise ValueError("A step without submitted values cannot be settled.")
    counts = Counter(values).most_common()
    top, n_top = counts[0]
    if len(counts) == 1:
        return Verdict("unanimous", top)
    if n_top >= rule.required_agreement and n_top > counts[1][1]:
        return Verdict("majority", top)
    if len(values) < rule.max_overlap:
        return Verdict("escalate")
    return Verdict("discard" if rule.discards else "dispute")


def severity(values: Sequence[int]) -> int:
    """How far apart the extreme values are: 2 for +1 against -1, 1 where a 0 differs from its neighbour."""
    return max(values) - min(values)
