"""What the reviewers' pages show: the list of reviews, and one trajectory cut down to its disputes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from django.db.models import Count, Max, Q, QuerySet
from django.utils.timezone import now

from annotator.adjudication.forms import DecisionForm
from annotator.labelling.conversation import Block, blocks_of
from annotator.models import Adjudication, Annotation, Dispute, Label, Project, Review, Trajectory, User

HEAVY = ["trajectory__messages", "trajectory__tools", "trajectory__reference", "trajectory__metadata"]


@dataclass(frozen=True)
class ListedReview:
    """A row of the list. `severity` says in words how far apart the raters are on what is undecided."""

    review: Review
    n_disputes: int
    severity: str
    holder: User | None


def open_reviews(project: Project) -> QuerySet[Review]:
    """Trajectories with undecided disputes, worst first."""
    undecided = Q(trajectory__disputes__decided_at__isnull=True)
    steps, outcome = Q(trajectory__disputes__step__isnull=False), Q(trajectory__disputes__step__isnull=True)
    opposed, zero = Q(trajectory__disputes__severity=2), Q(trajectory__disputes__severity=1)
    reviews = project.reviews.exclude(status=Review.Status.DONE).select_related("trajectory", "reviewer").defer(*HEAVY)
    return reviews.annotate(
        n_steps_opposed=Count("trajectory__disputes", filter=undecided & steps & opposed),
        n_steps_zero=Count("trajectory__disputes", filter=undecided & steps & zero),
        n_outcome_opposed=Count("trajectory__disputes", filter=undecided & outcome & opposed),
        n_outcome_zero=Count("trajectory__disputes", filter=undecided & outcome & zero),
    ).worst_first()


def listed(review: Review) -> ListedReview:
    """The row of one of the open_reviews."""
    counts = [
        getattr(review, name) for name in ("n_steps_opposed", "n_steps_zero", "n_outcome_opposed", "n_outcome_zero")
    ]
    is_held = review.lease_expires_at is not None and review.lease_expires_at >= now()
    return ListedReview(review, sum(counts), say_severity(*counts), review.reviewer if is_held else None)


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
class Rating:
    """What one rater said; reviewers see letters, never names."""

    rater: str
    value: int


@dataclass(frozen=True)
class Case:
    """One dispute as the page shows it: what the raters said, what was decided so far, and the form."""

    dispute: Dispute
    ratings: list[Rating]
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
class ReviewPage:
    """A trajectory's disputes in the order of its steps, the outcome last, and who holds them."""

    review: Review
    cases: list[Case]
    hold: Literal["mine", "other", "free"]
    held_until: datetime | None

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


def review_page(review: Review, reader: User, *, refused: tuple[Dispute, DecisionForm] | None = None) -> ReviewPage:
    """The page for one reader; `refused` is the form that they sent and that has errors."""
    is_held = review.lease_expires_at is not None and review.lease_expires_at >= now()
    hold: Literal["mine", "other", "free"] = "free"
    if is_held:
        hold = "mine" if review.reviewer_id == reader.pk else "other"
    cases = cases_of(review.trajectory, refused)
    return ReviewPage(review, cases, hold, review.lease_expires_at if is_held else None)


def cases_of(trajectory: Trajectory, refused: tuple[Dispute, DecisionForm] | None = None) -> list[Case]:
    """The disputes of a trajectory in the order of its steps, the outcome last."""
    annotations = Annotation.objects.submitted().filter(trajectory=trajectory).order_by("submitted_at", "id")
    letters = {pk: letter(number) for number, pk in enumerate(annotations.values_list("pk", flat=True))}
    ratings: dict[int | None, list[Rating]] = defaultdict(list)
    labels = Label.objects.submitted().filter(annotation__trajectory=trajectory)
    rows = labels.order_by("annotation__submitted_at", "annotation_id").values_list("step", "annotation", "value")
    for step_id, annotation_id, value in rows:
        ratings[step_id].append(Rating(letters[annotation_id], value))
    disputes = trajectory.disputes.select_related("step").prefetch_related("adjudications__reviewer")
    forms = {refused[0].pk: refused[1]} if refused else {}
    return [
        Case(
            dispute,
            ratings[dispute.step_id],
            list(dispute.adjudications.all()),
            forms.get(dispute.pk) or DecisionForm(dispute),
        )
        for dispute in sorted(disputes, key=_step_order)
    ]


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
