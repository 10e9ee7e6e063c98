"""Whose turn it is on a dispute, and which decisions whom would sway.

As a rule one reviewer decides a dispute, in the open. Where a second one is wanted, two decide it blind, one after the
other; if they differ, whoever decides next has both before them and settles it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from annotator.models import Adjudication, Dispute, Label, Review, User

Turn = Adjudication.Turn

# What a dispute wants of one reviewer: a blind decision, one in the open, or none because another's is wanted first.
Wants = Literal["blind", "open", "other"]


def is_drawn(slug: str, external_id: str, percent: int) -> bool:
    """Whether a second reviewer is wanted for a trajectory; the same answer whenever and wherever it is asked."""
    digest = hashlib.sha256(f"second review:{slug}:{external_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < percent / 100


def turn_of(decisions: Sequence[Adjudication], reviewer: User, *, needs_second: bool) -> Turn | None:
    """What a decision of this reviewer would be, after these; None while it is another reviewer's turn."""
    if not decisions:
        return Turn.FIRST if needs_second else Turn.OPEN
    if decisions[-1].turn != Turn.FIRST:
        return Turn.OPEN
    return None if decisions[-1].reviewer_id == reviewer.pk else Turn.SECOND


def wants_of(turn: Turn | None) -> Wants:
    if turn is None:
        return "other"
    return "open" if turn == Turn.OPEN else "blind"


def is_withheld(decisions: Sequence[Adjudication], reader: User) -> bool:
    """Whether what was decided would sway the reader, who may be the second reviewer."""
    return bool(decisions) and decisions[-1].turn == Turn.FIRST and decisions[-1].reviewer_id != reader.pk


def version_of(decisions: Sequence[Adjudication], labels: Iterable[Label], reader: User) -> str:
    """What a reader has before them of a dispute, in short; a decision names it, and holds only while it is the same.

    A decision that would sway the reader is left out: theirs is as good after it as before.
    """
    seen = [] if is_withheld(decisions, reader) else [made.pk for made in decisions]
    # By assignment: a new revision that says the same changes nothing.
    said = [(label.annotation.assignment_id, label.value, label.root_id) for label in labels]
    return hashlib.sha256(repr((seen, sorted(said))).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Shown:
    """A decision as one reader sees it."""

    who: str
    decision: Adjudication
    remark: str


def knows_reviewers(reader: User, review: Review, disputes: Iterable[Dispute], *, has_asked: bool) -> bool:
    """Whether the reader may know who decided what on a trajectory.

    Where two decide blind, not before all of its disputes are settled, unless the reader has asked for names and has no
    blind decision left to make there.
    """
    if not review.needs_second or review.status == Review.Status.DONE:
        return True
    return has_asked and not any(is_withheld(list(dispute.adjudications.all()), reader) for dispute in disputes)


def shown_to(reader: User, dispute: Dispute, *, is_named: bool) -> list[Shown]:
    """The decisions on a dispute that the reader may see, with the names of those who made them or without."""
    decisions = list(dispute.adjudications.all())
    if is_withheld(decisions, reader):
        return []
    return [Shown(_who(made, reader, is_named=is_named), made, _remark(made, decisions[-1])) for made in decisions]


def _who(made: Adjudication, reader: User, *, is_named: bool) -> str:
    if is_named:
        return made.reviewer.username
    if made.reviewer_id == reader.pk:
        return "You"
    return {Turn.FIRST: "First reviewer", Turn.SECOND: "Second reviewer"}.get(Turn(made.turn), "Another reviewer")


def _remark(made: Adjudication, last: Adjudication) -> str:
    said = [] if made.turn == Turn.OPEN else ["decided blind"]
    # A blind decision is upheld, not overruled, by one in the open that says the same.
    if made != last and last.turn == Turn.OPEN and (made.turn == Turn.OPEN or made.value != last.value):
        said.append("overruled")
    return ", ".join(said)
