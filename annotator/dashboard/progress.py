"""How far the work of a project has got: one query per table."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import ceil

from django.db.models import Count, Exists, F, IntegerField, Max, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, Greatest, TruncDate
from django.utils.timezone import now

from annotator.adjudication import actions as adjudication
from annotator.models import (
    Adjudication,
    Annotation,
    Assignment,
    Dispute,
    GoldLabel,
    Job,
    Label,
    Membership,
    Project,
    Release,
    Review,
    Trajectory,
    User,
)

Status = Assignment.Status


def _counted(rows: QuerySet[Assignment] | QuerySet[Review] | QuerySet[Job], by: str) -> Coalesce:
    """How many of these rows there are, as a column of a query; `rows` refer to that query by OuterRef."""
    counts = rows.order_by().values(by).annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counts, output_field=IntegerField()), 0)


def memberships_of(user: User) -> QuerySet[Membership]:
    """The user's projects with n_wanted, n_submitted, n_reviews (not decided yet) and n_jobs (queued or running)."""
    slots = Assignment.objects.live().filter(project=OuterRef("project"))
    return (
        Membership.objects.filter(user=user)
        .select_related("project")
        .order_by("project__name")
        .annotate(
            n_wanted=_counted(slots, "project"),
            n_submitted=_counted(slots.filter(status=Status.SUBMITTED), "project"),
            n_reviews=_counted(
                Review.objects.filter(project=OuterRef("project")).exclude(status=Review.Status.DONE), "project"
            ),
            n_jobs=_counted(
                Job.objects.filter(project=OuterRef("project"), status__in=["queued", "running"]), "project"
            ),
        )
    )


@dataclass
class Claim:
    """An assignment that somebody holds, and how much of it is labelled."""

    assignment: Assignment
    n_labels: int

    @property
    def n_wanted(self) -> int:
        steps = self.assignment.wanted_steps
        n_steps = self.assignment.trajectory.n_steps if steps is None else len(steps)
        return n_steps + self.assignment.wants_outcome


def claims_of(project: Project, annotator: User) -> list[Claim]:
    """What the annotator has to do: what was returned to them, then what they hold, the one that lapses first first."""
    held = (
        Assignment.objects.filter(project=project, annotator=annotator, status__in=[Status.RETURNED, Status.CLAIMED])
        .filter(is_ahead=False)  # not begun yet: "Label next" opens it
        .select_related("trajectory")
        .only(
            "status",
            "wanted_steps",
            "wants_outcome",
            "lease_expires_at",
            "trajectory__external_id",
            "trajectory__instruction",
            "trajectory__n_steps",
        )
        .order_by(F("lease_expires_at").asc(nulls_first=True))
    )
    drafts = Label.objects.filter(
        annotation__assignment__in=held, annotation__annotator=annotator, annotation__submitted_at__isnull=True
    ).order_by()
    n_labels = dict(drafts.values_list("annotation__assignment").annotate(Count("pk")))
    return [Claim(assignment, n_labels.get(assignment.pk, 0)) for assignment in held]


def own_counts(project: Project, annotator: User) -> dict[str, int]:
    """What the annotator has submitted and skipped, and submitted today (UTC)."""
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    submitted = Q(status=Status.SUBMITTED)
    return Assignment.objects.filter(project=project, annotator=annotator).aggregate(
        n_submitted=Count("pk", filter=submitted),
        n_today=Count("pk", filter=submitted & Q(finished_at__gte=today)),
        n_skipped=Count("pk", filter=Q(status=Status.SKIPPED)),
    )


@dataclass
class Progress:
    """The project as reviewers and admins see it."""

    n_trajectories: int
    n_steps: int
    n_wanted: int
    n_submitted: int
    n_open: int
    n_settled: int
    settled: list[tuple[str, int]]
    n_disputes: int
    n_second: int
    n_reviews: int
    n_releases: int
    latest_release: Release | None


def of_project(project: Project, user: User) -> Progress:
    """Counts of everything; n_reviews are those that `user` could take up now, n_second disputes half decided."""
    size = project.trajectories.aggregate(n=Count("pk"), steps=Coalesce(Sum("n_steps"), 0))
    slots = Assignment.objects.live().filter(project=project)
    judgements = slots.aggregate(
        n=Count("pk"),
        submitted=Count("pk", filter=Q(status=Status.SUBMITTED)),
        open=Count("pk", filter=Q(status=Status.OPEN)),
    )
    gold = GoldLabel.objects.filter(trajectory__project=project, step__isnull=False)
    by_provenance = dict(gold.order_by().values_list("provenance").annotate(Count("pk")))
    releases = list(Release.objects.published().filter(project=project).defer("manifest", "policy"))
    return Progress(
        n_trajectories=size["n"],
        n_steps=size["steps"],
        n_wanted=judgements["n"],
        n_submitted=judgements["submitted"],
        n_open=judgements["open"],
        n_settled=sum(by_provenance.values()),
        settled=[(choice.label, by_provenance.get(choice.value, 0)) for choice in GoldLabel.Provenance],
        n_disputes=Dispute.objects.undecided().filter(trajectory__project=project).count(),
        n_second=Adjudication.objects.withheld().filter(dispute__trajectory__project=project).count(),
        n_reviews=Review.objects.filter(adjudication.available(project, user)).count(),
        n_releases=len(releases),
        latest_release=releases[0] if releases else None,
    )


@dataclass
class Member:
    """What one member has done in the project."""

    membership: Membership
    n_submitted: int
    n_skipped: int
    n_decided: int
    last_active: datetime | None


def members_of(project: Project) -> list[Member]:
    """Everybody in the project by name; `last_active` is their latest claim, end of an assignment, or decision."""
    theirs = Assignment.objects.filter(project=project, annotator=OuterRef("user"))
    decisions = Adjudication.objects.filter(dispute__trajectory__project=project, reviewer=OuterRef("user"))
    by_reviewer = decisions.order_by().values("reviewer")
    activity = theirs.order_by().values("annotator").annotate(at=Greatest(Max("finished_at"), Max("claimed_at")))
    rows = (
        project.memberships.select_related("user")
        .order_by("user__username")
        .annotate(
            n_submitted=_counted(theirs.filter(status=Status.SUBMITTED), "annotator"),
            n_skipped=_counted(theirs.filter(status=Status.SKIPPED), "annotator"),
            n_decided=Coalesce(Subquery(by_reviewer.annotate(n=Count("pk")).values("n")), 0),
            worked_at=Subquery(activity.values("at")),
            decided_at=Subquery(by_reviewer.annotate(at=Max("decided_at")).values("at")),
        )
        .annotate(last_active=Greatest("worked_at", "decided_at"))
    )
    return [Member(row, row.n_submitted, row.n_skipped, row.n_decided, row.last_active) for row in rows]


def waiting_for_nobody(project: Project, limit: int) -> list[Trajectory]:
    """Trajectories that want a judgement which no annotator can give: all have judged or skipped them."""
    had_it = Assignment.objects.filter(trajectory=OuterRef(OuterRef("trajectory")), annotator=OuterRef("user"))
    can_judge = Membership.objects.filter(~Exists(had_it), project=project, role=Membership.Role.ANNOTATOR)
    stuck = Assignment.objects.open().filter(~Exists(can_judge), project=project)
    skips = Count("assignments", filter=Q(assignments__status=Status.SKIPPED))
    trajectories = project.trajectories.filter(pk__in=stuck.values("trajectory")).annotate(n_skipped=skips)
    return list(trajectories.filter(n_skipped__gt=0).only("external_id", "project").order_by(F("id").asc())[:limit])


CHART_DAYS = 14
PACE_DAYS = 7


@dataclass
class Bar:
    """One day of the chart; x, y, width and height are in the units of its picture."""

    day: date
    n: int
    x: float
    y: float
    height: float


@dataclass
class Throughput:
    """Judgements submitted per day (UTC), and how long the open ones take at this pace."""

    bars: list[Bar]
    most: int
    pace_days: int
    pace: float
    n_left: int
    days_left: int | None

    HEIGHT = 80
    STEP = 24
    BAR = 18


def throughput(project: Project, n_left: int) -> Throughput:
    """The last two weeks; the pace is that of the last seven days, today among them, or of as many as the project has.

    A later revision is the same judgement again, so only first submissions count.
    """
    today = now().date()
    first = today - timedelta(days=CHART_DAYS - 1)
    midnight = datetime.combine(first, time.min, UTC)
    submitted = Annotation.objects.filter(assignment__project=project, revision=1, submitted_at__gte=midnight)
    by_day = submitted.order_by().annotate(day=TruncDate("submitted_at")).values_list("day").annotate(Count("pk"))
    counts: dict[date, int] = dict(by_day)
    days = [first + timedelta(days=number) for number in range(CHART_DAYS)]
    most = max(counts.values(), default=0)
    bars = []
    for number, day in enumerate(days):
        n = counts.get(day, 0)
        height = round(Throughput.HEIGHT * n / most, 1) if most else 0.0
        bars.append(Bar(day, n, number * Throughput.STEP, Throughput.HEIGHT - height, height))
    pace_days = min(PACE_DAYS, (today - project.created_at.date()).days + 1)
    pace = sum(bar.n for bar in bars[-pace_days:]) / pace_days
    return Throughput(bars, most, pace_days, pace, n_left, ceil(n_left / pace) if pace else None)


@dataclass
class Held:
    """Assignments that are with somebody: to be labelled, or returned for a new revision."""

    username: str
    n: int
    is_returned: bool
    is_member: bool


def held_in(project: Project) -> list[Held]:
    """Who holds how much, by name; whoever left the project never finishes what was returned to them."""
    is_member = Exists(Membership.objects.filter(project=project, user=OuterRef("annotator")))
    held = Assignment.objects.filter(project=project, status__in=[Status.CLAIMED, Status.RETURNED])
    rows = (
        held.annotate(is_member=is_member)
        .order_by("annotator__username", "status")
        .values_list("annotator__username", "status", "is_member")
        .annotate(n=Count("pk"))
    )
    return [Held(username, n, status == Status.RETURNED, is_member) for username, status, is_member, n in rows]
