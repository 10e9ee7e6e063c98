"""What the reviewers' pages show: the list of reviews, and one trajectory cut down to its disputes."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet
from django.utils.timezone import now

from annotator.adjudication import actions
from annotator.adjudication.forms import DecisionForm
from annotator.labelling.conversation import Block, blocks_of
from annotator.labelling.evidence import extras_of, reading_of
from annotator.models import (
    Adjudication,
    Annotation,
    AnnotationReturn,
    Assignment,
    Dispute,
    Label,
    Project,
    Review,
    StepComment,
    User,
)

HEAVY = ["trajectory__messages", "trajectory__tools", "trajectory__reference", "trajectory__metadata"]


@dataclass(frozen=True)
class ListedReview:
    """A row of the list. `severity` says in words how far apart the raters are on what is undecided."""

    review: Review
    n_disputes: int
    severity: str
    holder: User | None
    waits: bool


def open_reviews(project: Project) -> QuerySet[Review]:
    """Trajectories with undecided disputes, worst first."""
    undecided = Q(trajectory__disputes__decided_at__isnull=True)
    steps, outcome = Q(trajectory__disputes__step__isnull=False), Q(trajectory__disputes__step__isnull=True)
    opposed, zero = Q(trajectory__disputes__severity=2), Q(trajectory__disputes__severity=1)
    reviews = project.reviews.exclude(status=Review.Status.DONE).select_related("trajectory", "reviewer").defer(*HEAVY)
    returned = Assignment.objects.filter(trajectory=OuterRef("trajectory"), status=Assignment.Status.RETURNED)
    return reviews.annotate(
        waits=Exists(returned),
        n_steps_opposed=Count("trajectory__disputes", filter=undecided & steps & opposed),
        n_steps_zero=Count("trajectory__disputes", filter=undecided & steps & zero),
        n_outcome_opposed=Count("trajectory__disputes", filter=undecided & outcome & opposed),
        n_outcome_zero=Count("trajectory__disputes", filter=undecided & outcome & zero),
    ).worst_first()


def listed(review: Review) -> ListedReview:
    """The row of one of the open_reviews."""
    waits: bool = getattr(review, "waits")  # noqa: B009  (an annotation of open_reviews)
    counts = [
        getattr(review, name) for name in ("n_steps_opposed", "n_steps_zero", "n_outcome_opposed", "n_outcome_zero")
    ]
    is_held = review.lease_expires_at is not None and review.lease_expires_at >= now()
    holder = review.reviewer if is_held else None
    return ListedReview(review, sum(counts), say_severity(*counts), holder, waits)


def say_severity(n_steps_opposed: int, n_steps_zero: int, n_outcome_opposed: int, n_outcome_zero: int) -> str:
    """`2 steps +1 against −1, 1 step with a 0, the outcome +1 against −1`."""
    parts = []
    for n, how in ((n_steps_opposed, "+1 against −1"), (n_steps_zero, "with a 0")):
        if n:
            parts.append(f"{n} step{'s' if n > 1 else ''} {how}")
    for n, how in ((n_outcome_opposed, "+1 against −1"), (n_outcome_zero, "with a 0")):
        if n:
            parts.append(f"the outcome {how}")
    return ", ".join(parts)


def recently_decided(project: Project, *, limit: int = 10) -> QuerySet[Review]:
    """The trajectories whose last dispute was decided most recently."""
    done = project.reviews.filter(status=Review.Status.DONE).select_related("trajectory").defer(*HEAVY)
    return done.annotate(last_decided_at=Max("trajectory__disputes__decided_at")).order_by("-last_decided_at")[:limit]


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
class Rating:
    """What one rater said of a step; reviewers see letters, never names."""

    rater: str
    value: int
    label: Label
    extras: list[tuple[str, str]]

    @property
    def reading(self) -> str:
        return reading_of(self.label)


@dataclass(frozen=True)
class Spoken:
    """A comment, about the judgement of one rater, by them or by a reviewer."""

    rater: str
    author: str
    comment: StepComment


@dataclass(frozen=True)
class Case:
    """One dispute as the page shows it: what the raters said, what was decided so far, and the form."""

    dispute: Dispute
    ratings: list[Rating]
    comments: list[Spoken]
    decisions: list[Adjudication]
    form: DecisionForm

    @property
    def name(self) -> str:
        return "Outcome" if self.dispute.step is None else f"Step {self.dispute.step.index + 1}"

    @property
    def is_decided(self) -> bool:
        return bool(self.decisions)


@dataclass(frozen=True)
class Passage:
    """A stretch without disputes (folded), the messages right before a disputed step, the step, and its dispute.

    The passage of the outcome has no step: what comes before it is the end of the trajectory.
    """

    skipped: list[Block]
    before: list[Block]
    step: Block | None
    case: Case

    @property
    def skipped_title(self) -> str:
        return say_skipped(self.skipped)


def say_skipped(blocks: Sequence[Block]) -> str:
    """`Steps 4 to 6, not disputed`; what is no step is what came back from one."""
    numbers = [block.step + 1 for block in blocks if block.step is not None]
    if not numbers:
        return "What came next"
    if len(numbers) == 1:
        return f"Step {numbers[0]}, not disputed"
    return f"Steps {numbers[0]} to {numbers[-1]}, not disputed"


@dataclass(frozen=True)
class Group:
    """What one decision settles: one dispute, or a run of them."""

    passages: list[Passage]

    @property
    def is_run(self) -> bool:
        return len(self.passages) > 1

    @property
    def first(self) -> Case:
        return self.passages[0].case

    @property
    def title(self) -> str:
        numbers = [passage.case.dispute.step.index + 1 for passage in self.passages if passage.case.dispute.step]
        return f"Steps {numbers[0]} to {numbers[-1]}: one decision settles the run"


def grouped(passages: Sequence[Passage], *, uses_roots: bool) -> list[Group]:
    """Undecided disputes of neighbouring steps on which every rater says the same, as one question.

    Where errors are carried on, those who say -1 must name the same root for all of them; elsewhere, only +1 against
    -1 makes a run.
    """
    groups: list[Group] = []
    for passage in passages:
        if groups and _goes_on(groups[-1].passages[-1].case, passage.case, uses_roots=uses_roots):
            groups[-1].passages.append(passage)
        else:
            groups.append(Group([passage]))
    return groups


def _goes_on(before: Case, case: Case, *, uses_roots: bool) -> bool:
    first, second = before.dispute.step, case.dispute.step
    if first is None or second is None or second.index != first.index + 1 or before.is_decided or case.is_decided:
        return False
    said = [{rating.label.annotation_id: rating.value for rating in each.ratings} for each in (before, case)]
    if said[0] != said[1] or -1 not in said[0].values():
        return False
    if not uses_roots:
        return set(said[0].values()) == {-1, 1}
    return _roots(before) == _roots(case)


def _roots(case: Case) -> dict[int, int | None]:
    """Where the error began, by annotation; an error that follows from none began at its own step."""
    labels = [rating.label for rating in case.ratings if rating.value == -1]
    return {label.annotation_id: label.root_id or label.step_id for label in labels}


@dataclass(frozen=True)
class ReviewPage:
    """A trajectory's disputes in the order of its steps, the outcome last, and who holds them."""

    review: Review
    cases: list[Case]
    raters: list[Rater]
    hold: Literal["mine", "other", "free"]
    held_until: datetime | None
    is_revealed: bool
    is_split: bool
    uses_roots: bool

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

    def case_of(self, dispute: Dispute) -> Case:
        return next(case for case in self.cases if case.dispute.pk == dispute.pk)

    def next_place(self, dispute: Dispute) -> str:
        """The id of the place to go to after this dispute: the next undecided one, from the top again at the end."""
        position = next(i for i, case in enumerate(self.cases) if case.dispute.pk == dispute.pk)
        waiting = [case for case in self.cases[position + 1 :] + self.cases[:position] if not case.is_decided]
        return f"dispute-{waiting[0].dispute.pk}" if waiting else "review-done"


def review_page(
    review: Review, reader: User, *, refused: tuple[Dispute, DecisionForm] | None = None, is_split: bool = False
) -> ReviewPage:
    """The page for one reader; `refused` is the form that they sent and that has errors."""
    is_held = review.lease_expires_at is not None and review.lease_expires_at >= now()
    hold: Literal["mine", "other", "free"] = "free"
    if is_held:
        hold = "mine" if review.reviewer_id == reader.pk else "other"
    is_revealed = actions.has_revealed(review, reader)
    scheme = review.project.scheme
    letters = letters_of([review.trajectory_id])
    current = Annotation.objects.submitted().filter(trajectory=review.trajectory)
    annotations = current.select_related("assignment", "annotator").prefetch_related("returns")
    raters = [Rater(letters[a.pk], a.annotator.username if is_revealed else None, a) for a in annotations]
    raters.sort(key=_letter_order)
    cases = _cases_of(review, letters, refused)
    return ReviewPage(
        review=review,
        cases=cases,
        raters=raters,
        hold=hold,
        held_until=review.lease_expires_at if is_held else None,
        is_revealed=is_revealed,
        is_split=is_split,
        uses_roots=scheme.mode == "carry_errors" or any(r.label.root_id for case in cases for r in case.ratings),
    )


def _letter_order(rater: Rater) -> tuple[int, str]:
    return len(rater.letter), rater.letter


def _cases_of(review: Review, letters: Mapping[int, str], refused: tuple[Dispute, DecisionForm] | None) -> list[Case]:
    """The disputes of a trajectory in the order of its steps, the outcome last."""
    trajectory, scheme = review.trajectory, review.project.scheme
    disputes = list(trajectory.disputes.select_related("step").prefetch_related("adjudications__reviewer"))
    ratings: dict[int | None, list[Rating]] = defaultdict(list)
    labels = Label.objects.submitted().filter(annotation__trajectory=trajectory).select_related("root")
    for label in labels:
        rater = letters[label.annotation_id]
        ratings[label.step_id].append(Rating(rater, label.value, label, extras_of(label, scheme)))
    comments: dict[int | None, list[Spoken]] = defaultdict(list)
    said = StepComment.objects.filter(annotation__trajectory=trajectory).select_related("author", "annotation")
    for comment in said:
        rater = letters[comment.annotation_id]
        is_own = comment.author_id == comment.annotation.annotator_id
        comments[comment.step_id].append(Spoken(rater, rater if is_own else comment.author.username, comment))
    forms = {refused[0].pk: refused[1]} if refused else {}
    return [
        Case(
            dispute,
            sorted(ratings[dispute.step_id], key=lambda rating: (len(rating.rater), rating.rater)),
            comments[dispute.step_id],
            list(dispute.adjudications.all()),
            forms.get(dispute.pk) or DecisionForm(dispute),
        )
        for dispute in sorted(disputes, key=_step_order)
    ]


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


def _step_order(dispute: Dispute) -> tuple[bool, int]:
    return dispute.step is None, dispute.step.index if dispute.step else 0


def letter(number: int) -> str:
    """A, B, … Z, AA, AB, …"""
    shown = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        shown = chr(ord("A") + digit) + shown
    return shown


def cut(blocks: Sequence[Block], cases: Sequence[Case]) -> tuple[list[Passage], list[Block]]:
    """Each dispute with what stands before it, every block exactly once; and what stands after the last one."""
    case_of_step = {case.dispute.step.index: case for case in cases if case.dispute.step is not None}
    passages: list[Passage] = []
    skipped: list[Block] = []
    before: list[Block] = []  # the messages since the last step
    for block in blocks:
        if block.step is None:
            before.append(block)
        elif block.step in case_of_step:
            passages.append(Passage(skipped, before, block, case_of_step[block.step]))
            skipped, before = [], []
        else:
            skipped += [*before, block]
            before = []
    outcome = next((case for case in cases if case.dispute.step is None), None)
    if outcome is None:
        return passages, skipped + before
    # The outcome is judged by how the trajectory ends: its last step and what came just before stay in sight.
    start = max((position for position, block in enumerate(skipped[:-1], 1) if block.step is not None), default=0)
    passages.append(Passage(skipped[:start], skipped[start:] + before, None, outcome))
    return passages, []
