"""The list of reviews: what is undecided, what was decided lately, how far second reviewers agree with first ones."""

from dataclasses import dataclass

from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Subquery
from django.utils.timezone import now

from annotator.adjudication import actions
from annotator.models import Adjudication, Assignment, Project, Review, User

HEAVY = ["trajectory__messages", "trajectory__tools", "trajectory__reference", "trajectory__metadata"]


@dataclass(frozen=True)
class ListedReview:
    """A row of the list. `severity` says in words how far apart the raters are on what is undecided."""

    review: Review
    n_disputes: int
    severity: str
    is_held: bool
    holder: User | None
    waits: bool
    wants_another: bool


def open_reviews(project: Project, reader: User) -> QuerySet[Review]:
    """Trajectories with undecided disputes, worthiest first; `has_left`: the reader can decide one of them."""
    undecided = Q(trajectory__disputes__decided_at__isnull=True)
    steps, outcome = Q(trajectory__disputes__step__isnull=False), Q(trajectory__disputes__step__isnull=True)
    opposed, zero = Q(trajectory__disputes__severity=2), Q(trajectory__disputes__severity=1)
    reviews = project.reviews.exclude(status=Review.Status.DONE).select_related("trajectory", "reviewer").defer(*HEAVY)
    returned = Assignment.objects.filter(trajectory=OuterRef("trajectory"), status=Assignment.Status.RETURNED)
    return reviews.annotate(
        waits=Exists(returned),
        has_left=Exists(actions.decidable_by(reader).filter(trajectory=OuterRef("trajectory"))),
        n_steps_opposed=Count("trajectory__disputes", filter=undecided & steps & opposed),
        n_steps_zero=Count("trajectory__disputes", filter=undecided & steps & zero),
        n_outcome_opposed=Count("trajectory__disputes", filter=undecided & outcome & opposed),
        n_outcome_zero=Count("trajectory__disputes", filter=undecided & outcome & zero),
    ).worthiest_first()


def listed(review: Review) -> ListedReview:
    """The row of one of the open_reviews."""
    waits, has_left = (getattr(review, name) for name in ("waits", "has_left"))  # annotations of open_reviews
    counts = [
        getattr(review, name) for name in ("n_steps_opposed", "n_steps_zero", "n_outcome_opposed", "n_outcome_zero")
    ]
    is_held = review.lease_expires_at is not None and review.lease_expires_at >= now()
    return ListedReview(
        review,
        sum(counts),
        say_severity(*counts),
        is_held=is_held,
        # Who decides first is not said to whoever may decide second.
        holder=review.reviewer if is_held and not review.needs_second else None,
        waits=waits,
        wants_another=not has_left,
    )


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
    dated = done.annotate(last_decided_at=Max("trajectory__disputes__decided_at"))
    # Nothing was decided where the raters came to agree by themselves.
    return dated.filter(last_decided_at__isnull=False).order_by("-last_decided_at")[:limit]


@dataclass(frozen=True)
class SecondDecisions:
    """How many disputes a second reviewer has decided, and how many of them like the first one."""

    n: int
    n_alike: int

    @property
    def share(self) -> int:
        """In percent."""
        return round(100 * self.n_alike / self.n)


def second_decisions(project: Project) -> SecondDecisions:
    first = Adjudication.objects.filter(dispute=OuterRef("dispute"), turn=Adjudication.Turn.FIRST).values("value")
    seconds = Adjudication.objects.filter(dispute__trajectory__project=project, turn=Adjudication.Turn.SECOND)
    alike = Q(value=F("first")) | Q(value__isnull=True, first__isnull=True)
    counts = seconds.annotate(first=Subquery(first)).aggregate(n=Count("pk"), n_alike=Count("pk", filter=alike))
    return SecondDecisions(**counts)
