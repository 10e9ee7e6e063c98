"""What the review page shows to one reviewer."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from django.db.models import Min
from django.utils.timezone import now

from annotator import access
from annotator.adjudication import actions
from annotator.adjudication.forms import DecisionForm
from annotator.adjudication.passages import Case, Group, Passage, Rating, Spoken, cut, grouped, say_skipped
from annotator.adjudication.turns import is_withheld, knows_reviewers, shown_to, turn_of, version_of, wants_of
from annotator.labelling.conversation import Block, blocks_of
from annotator.labelling.evidence import extras_of
from annotator.models import (
    Annotation,
    AnnotationReturn,
    Assignment,
    Dispute,
    Label,
    Membership,
    Review,
    StepComment,
    User,
)

Role = Membership.Role


@dataclass(frozen=True)
class Rater:
    """Who gave the judgements: a letter, and a name only for whoever asked for it."""

    letter: str
    name: str | None
    annotation: Annotation

    @property
    def is_returned(self) -> bool:
        return self.annotation.assignment.status == Assignment.Status.RETURNED

    @property
    def last_return(self) -> AnnotationReturn | None:
        """Why it is back with its author; none if they reopened it themselves."""
        return max(self.annotation.returns.all(), key=lambda row: row.pk, default=None)

    @property
    def shown(self) -> str:
        return f"{self.letter} ({self.name})" if self.name else self.letter


@dataclass(frozen=True)
class ReviewPage:
    """A trajectory's disputes in the order of its steps, the outcome last, and who holds them.

    `has_left`: an annotation is back with somebody who is no longer a member of the project.
    """

    review: Review
    cases: list[Case]
    raters: list[Rater]
    hold: Literal["mine", "other", "free"]
    held_until: datetime | None
    is_revealed: bool
    is_split: bool
    uses_roots: bool
    next_reviewer: Literal["reviewer", "admin", "nobody"]
    has_left: bool

    @property
    def waits(self) -> bool:
        """Whether a judgement is back with its author: then nothing is decided."""
        return any(rater.is_returned for rater in self.raters)

    @property
    def is_locked(self) -> bool:
        return self.waits or self.hold == "other"

    @property
    def n_decided(self) -> int:
        return sum(case.is_decided for case in self.cases)

    @property
    def n_left(self) -> int:
        return len(self.cases) - self.n_decided

    @property
    def n_for_another(self) -> int:
        """Disputes that this reviewer has decided first, and another one has to decide next."""
        return sum(case.wants == "other" for case in self.cases)

    @cached_property
    def _cut(self) -> tuple[list[Passage], list[Block]]:
        return cut(blocks_of(self.review.trajectory.messages), self.cases)

    @property
    def passages(self) -> list[Passage]:
        return self._cut[0]

    @property
    def groups(self) -> list[Group]:
        if self.is_split:
            return [Group([passage]) for passage in self.passages]
        return grouped(self.passages, uses_roots=self.uses_roots)

    @property
    def rest(self) -> list[Block]:
        """What stands after the last dispute."""
        return self._cut[1]

    @property
    def rest_title(self) -> str:
        return say_skipped(self.rest)

    def case_of(self, dispute_id: int) -> Case:
        return next(case for case in self.cases if case.dispute.pk == dispute_id)

    def next_place(self, dispute: Dispute) -> str:
        """The id of the place to go to after this dispute: the next undecided one, from the top again at the end."""
        position = next(i for i, case in enumerate(self.cases) if case.dispute.pk == dispute.pk)
        # Itself last: two blind decisions may differ.
        waiting = [case for case in self.cases[position + 1 :] + self.cases[: position + 1] if not case.is_decided]
        return f"dispute-{waiting[0].dispute.pk}" if waiting else "review-done"


def review_page(
    review: Review, reader: User, *, refused: tuple[int, DecisionForm] | None = None, is_split: bool = False
) -> ReviewPage:
    """The page for one reader; `refused` is the form that they sent for a dispute and that has errors."""
    is_held = review.lease_expires_at is not None and review.lease_expires_at >= now()
    hold: Literal["mine", "other", "free"] = "free"
    if is_held:
        hold = "mine" if review.reviewer_id == reader.pk else "other"
    is_revealed = actions.has_revealed(review, reader)
    scheme = review.project.scheme
    letters = letters_of([review.trajectory_id])
    # Not by the trajectory: what is submitted at this moment has no letter yet.
    current = Annotation.objects.submitted().filter(pk__in=letters)
    annotations = list(current.select_related("assignment", "annotator").prefetch_related("returns"))
    raters = [Rater(letters[a.pk], a.annotator.username if is_revealed else None, a) for a in annotations]
    raters.sort(key=_letter_order)
    returned_to = [a.annotator_id for a in annotations if a.assignment.status == Assignment.Status.RETURNED]
    members = Membership.objects.filter(project=review.project_id, user__in=returned_to)
    cases = _cases_of(review, reader, letters, refused=refused, is_revealed=is_revealed)
    return ReviewPage(
        review=review,
        cases=cases,
        raters=raters,
        hold=hold,
        held_until=review.lease_expires_at if is_held else None,
        is_revealed=is_revealed,
        is_split=is_split,
        uses_roots=scheme.mode == "carry_errors" or any(r.label.root_id for case in cases for r in case.ratings),
        next_reviewer=_next_reviewer(review, reader) if any(case.wants == "other" for case in cases) else "nobody",
        has_left=members.count() < len(returned_to),
    )


def _next_reviewer(review: Review, reader: User) -> Literal["reviewer", "admin", "nobody"]:
    """Who in the project can decide what the reader has decided first: reviewers should, admins may."""
    others = Membership.objects.filter(project=review.project_id, role__in=access.SETTLERS).exclude(user=reader)
    roles = set(others.values_list("role", flat=True))
    return "reviewer" if Role.REVIEWER in roles else "admin" if roles else "nobody"


def _letter_order(rater: Rater) -> tuple[int, str]:
    return len(rater.letter), rater.letter


def _cases_of(
    review: Review,
    reader: User,
    letters: Mapping[int, str],
    *,
    refused: tuple[int, DecisionForm] | None,
    is_revealed: bool,
) -> list[Case]:
    """The disputes of a trajectory in the order of its steps, the outcome last."""
    trajectory, scheme = review.trajectory, review.project.scheme
    in_order = trajectory.disputes.select_related("step").order_by("step__index")
    disputes = list(in_order.prefetch_related("adjudications__reviewer"))
    is_named = knows_reviewers(reader, review, disputes, has_asked=is_revealed)
    ratings: dict[int | None, list[Rating]] = defaultdict(list)
    labels = Label.objects.submitted().filter(annotation__in=letters).select_related("root", "annotation")
    for label in labels:
        rater = letters[label.annotation_id]
        ratings[label.step_id].append(Rating(rater, label.value, label, extras_of(label, scheme)))
    comments: dict[int | None, list[Spoken]] = defaultdict(list)
    said = StepComment.objects.filter(annotation__in=letters).select_related("author", "annotation")
    for comment in said:
        rater = letters[comment.annotation_id]
        author = comment.author.username if is_named or comment.author_id == reader.pk else "a reviewer"
        if comment.author_id == comment.annotation.annotator_id:
            author = rater
        comments[comment.step_id].append(Spoken(rater, author, comment))
    forms = dict([refused]) if refused else {}
    cases = []
    for dispute in disputes:
        decisions = list(dispute.adjudications.all())
        spoken = comments[dispute.step_id]
        # What the first reviewer and the raters have said to each other would sway the second one, too.
        may_read = [s for s in spoken if s.comment.author_id == reader.pk] if is_withheld(decisions, reader) else spoken
        cases.append(
            Case(
                dispute,
                ratings=sorted(ratings[dispute.step_id], key=lambda rating: (len(rating.rater), rating.rater)),
                comments=may_read,
                n_withheld=len(spoken) - len(may_read),
                decisions=shown_to(reader, dispute, is_named=is_named),
                wants=wants_of(turn_of(decisions, reader, needs_second=review.needs_second)),
                version=version_of(decisions, [rating.label for rating in ratings[dispute.step_id]], reader),
                form=forms.get(dispute.pk) or DecisionForm(dispute.pk),
            )
        )
    return cases


def letters_of(trajectory_ids: Collection[int]) -> dict[int, str]:
    """The letter of every submitted annotation: A submitted first, and stays A in later revisions."""
    submitted = Annotation.objects.filter(trajectory__in=trajectory_ids, submitted_at__isnull=False)
    rows = submitted.annotate(first=Min("assignment__annotations__submitted_at")).order_by("first", "assignment_id")
    letters: dict[int, str] = {}
    assignments: dict[int, list[int]] = defaultdict(list)
    for pk, trajectory_id, assignment_id in rows.values_list("pk", "trajectory_id", "assignment_id"):
        known = assignments[trajectory_id]
        if assignment_id not in known:
            known.append(assignment_id)
        letters[pk] = letter(known.index(assignment_id))
    return letters


def letter(number: int) -> str:
    """A, B, … Z, AA, AB, …"""
    shown = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        shown = chr(ord("A") + digit) + shown
    return shown
