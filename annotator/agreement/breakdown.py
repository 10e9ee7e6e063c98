"""What people submitted, as judgements to compare; the figures of parts of them; and the steps behind a figure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypedDict

from django.db.models import Exists, F, Func, JSONField, Max, OuterRef, Q, QuerySet, TextField, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, NullIf

from annotator.agreement.metrics import GroupReport, Judgement, group_report
from annotator.models import Annotation, Label, Project, Trajectory

# Parts are smaller than the whole and many: their intervals rest on fewer resamples.
RESAMPLES_OF_A_PART = 500
MOST_PARTS_OF_A_WEEK = 10
SMALLEST_PART = 2  # trajectories: fewer give no interval

# What a trajectory is about, as far as its source says; else where it comes from.
DOMAIN = Coalesce(
    NullIf(KeyTextTransform("data_source", "metadata"), Value("")),
    NullIf(KeyTextTransform("domain", "metadata"), Value("")),
    F("source_format"),
    output_field=TextField(),
)
LAST = Max("submitted_at")


@dataclass(frozen=True)
class Given:
    """Everything submitted in a project: raters are user ids, trajectories their ids."""

    judgements: list[Judgement]
    by_version: dict[int, list[Judgement]]  # guideline version -> only the labels given under it
    n_steps_of: dict[int, int]
    domain_of: dict[int, str]
    submitted_at: dict[int, datetime]  # when the trajectory's last judgement was submitted


@dataclass(frozen=True)
class Part:
    """The figures of one part; `steps` are the filters that list its steps."""

    title: str
    steps: Mapping[str, object]
    report: GroupReport


@dataclass(frozen=True)
class Breakdown:
    domains: list[Part]
    periods: list[Part]
    versions: list[tuple[int, Part]]


def read(project: Project) -> Given:
    """The submitted step labels of a project, the latest revision of each."""
    labels = Label.objects.submitted().filter(annotation__trajectory__project=project, step__isnull=False)
    rows = labels.values_list(
        "annotation__annotator_id",
        "annotation__trajectory_id",
        "step__index",
        "value",
        "root_id",
        "guideline__version",
    )
    values: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)
    of_version: dict[int, dict[tuple[int, int], dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    own_errors: dict[tuple[int, int], set[int]] = defaultdict(set)
    marks_inherited: set[tuple[int, int]] = set()
    for rater, trajectory, index, value, root, version in rows.iterator(chunk_size=10_000):
        key = (rater, trajectory)
        values[key][index] = value
        if root is not None:
            marks_inherited.add(key)
        elif value == -1:
            own_errors[key].add(index)
        if version is not None:
            of_version[version][key][index] = value

    # Whoever marks no label as following from an earlier error has not said which are errors of their own.
    def joined(given: Mapping[tuple[int, int], dict[int, int]]) -> list[Judgement]:
        return [
            Judgement(rater, trajectory, by_step, frozenset(own_errors[key]) if key in marks_inherited else frozenset())
            for key in sorted(given)
            for (rater, trajectory), by_step in [(key, given[key])]
        ]

    submitted = Annotation.objects.submitted().filter(trajectory=OuterRef("pk"))
    trajectories = project.trajectories.filter(Exists(submitted)).annotate(about=DOMAIN)
    facts = list(trajectories.values_list("pk", "n_steps", "about"))
    return Given(
        judgements=joined(values),
        by_version={version: joined(of_version[version]) for version in sorted(of_version)},
        n_steps_of={pk: n_steps for pk, n_steps, _ in facts},
        domain_of={pk: about for pk, _, about in facts},
        submitted_at=dict(_of_trajectories(project).annotate(last=LAST).values_list("trajectory", "last")),
    )


class _OfTrajectory(TypedDict):
    trajectory: int


def _of_trajectories(project: Project) -> QuerySet[Annotation, _OfTrajectory]:
    """What is submitted, to be summed up by trajectory."""
    return Annotation.objects.submitted().filter(trajectory__project=project).order_by().values("trajectory")


def breakdown(given: Given, *, resamples: int = RESAMPLES_OF_A_PART) -> Breakdown:
    """The figures per domain, over time and per guideline version; parts without a step in common are left out."""
    by_trajectory: dict[int, list[Judgement]] = defaultdict(list)
    for judgement in given.judgements:
        by_trajectory[judgement.trajectory].append(judgement)  # type: ignore[index]  # ids of trajectories are numbers
    shared = [pk for pk, judgements in by_trajectory.items() if len(judgements) >= 2]

    def part(title: str, steps: Mapping[str, object], judgements: Iterable[Judgement]) -> Part:
        return Part(title, steps, group_report(list(judgements), n_steps_of=given.n_steps_of, resamples=resamples))

    def part_of(title: str, steps: Mapping[str, object], trajectories: Iterable[int]) -> Part:
        return part(title, steps, (judgement for pk in trajectories for judgement in by_trajectory[pk]))

    by_domain: dict[str, list[int]] = defaultdict(list)
    for pk in shared:
        by_domain[given.domain_of[pk]].append(pk)
    domains = [part_of(name, {"domain": name}, by_domain[name]) for name in sorted(by_domain)]
    periods = [
        part_of(title, {"since": since.isoformat(), "until": until.isoformat()}, trajectories)
        for title, since, until, trajectories in periods_of({pk: given.submitted_at[pk] for pk in shared})
    ]
    versions = [
        (version, part(f"Version {version}", {"guideline": version}, judgements))
        for version, judgements in given.by_version.items()
    ]
    return Breakdown(
        domains=[one for one in domains if one.report.n_steps],
        periods=[one for one in periods if one.report.n_steps],
        versions=[(version, one) for version, one in versions if one.report.n_steps],
    )


def periods_of(submitted_at: Mapping[int, datetime]) -> list[tuple[str, datetime, datetime, list[int]]]:
    """Trajectories by week (from Monday, UTC); where all fall into one week, in up to ten equal parts in their order.

    Each with its title, its first and its last moment.
    """
    ordered = sorted(submitted_at, key=lambda pk: (submitted_at[pk], pk))
    weeks: dict[datetime, list[int]] = defaultdict(list)
    for pk in ordered:
        at = submitted_at[pk].astimezone(UTC)
        monday = at.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=at.weekday())
        weeks[monday].append(pk)
    if len(weeks) > 1:
        end = timedelta(days=7) - timedelta(microseconds=1)
        return [(f"{monday:%-d %b %Y}", monday, monday + end, pks) for monday, pks in weeks.items()]
    n_parts = max(1, min(MOST_PARTS_OF_A_WEEK, len(ordered) // SMALLEST_PART))
    bounds = [len(ordered) * number // n_parts for number in range(n_parts + 1)]
    parts = [ordered[start:end] for start, end in pairwise(bounds) if start < end]
    return [(_moment(submitted_at[p[0]]), submitted_at[p[0]], submitted_at[p[-1]], p) for p in parts]


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%a %H:%M}"


# The steps behind a figure.


@dataclass(frozen=True)
class StepFilter:
    """Which pairs of labels of one step to list; None asks for nothing."""

    a: int | None = None
    b: int | None = None
    value_a: int | None = None
    value_b: int | None = None
    same: bool | None = None
    domain: str = ""
    guideline: int | None = None
    since: datetime | None = None
    until: datetime | None = None


class _Message(Func):
    """One message of a trajectory, without reading the others."""

    template = "(%(expressions)s)"
    arg_joiner = " -> "
    output_field = JSONField()


def pairs_of_labels(project: Project, wanted: StepFilter) -> QuerySet[Label]:
    """Submitted labels (`value`, by `rater`) beside another person's on the same step (`other_value`, by `other`).

    Each pair of people once, unless a rater is named; the first of a pair is whom `a` and `value_a` mean.
    """
    other = "step__labels__"
    pairs = (
        Label.objects.submitted()
        .filter(
            ~Q(annotation__annotator=F(f"{other}annotation__annotator")),
            annotation__trajectory__project=project,
            **{f"{other}annotation__submitted_at__isnull": False, f"{other}annotation__is_superseded": False},
        )
        .annotate(
            trajectory_id=F("annotation__trajectory_id"),
            external_id=F("annotation__trajectory__external_id"),
            index=F("step__index"),
            rater_id=F("annotation__annotator_id"),
            rater=F("annotation__annotator__username"),
            other_id=F(f"{other}annotation__annotator_id"),
            other=F(f"{other}annotation__annotator__username"),
            other_value=F(f"{other}value"),
            other_guideline=F(f"{other}guideline__version"),
        )
        .order_by("trajectory_id", "index", "rater_id", "other_id")
    )
    if wanted.a is None and wanted.b is None:
        once = Q(rater_id__lt=F("other_id"))
        by_value = wanted.value_a is not None or wanted.value_b is not None
        pairs = pairs.filter(once | ~Q(value=F("other_value")) if by_value else once)
    chosen = {
        "rater_id": wanted.a,
        "other_id": wanted.b,
        "value": wanted.value_a,
        "other_value": wanted.value_b,
        "guideline__version": wanted.guideline,
        "other_guideline": wanted.guideline,
    }
    pairs = pairs.filter(**{name: value for name, value in chosen.items() if value is not None})
    if wanted.same is not None:
        is_same = Q(value=F("other_value"))
        pairs = pairs.filter(is_same if wanted.same else ~is_same)
    if wanted.domain:
        about = Trajectory.objects.filter(project=project).annotate(about=DOMAIN).filter(about=wanted.domain)
        pairs = pairs.filter(annotation__trajectory__in=about.values("pk"))
    if wanted.since or wanted.until:
        last = _of_trajectories(project).annotate(last=LAST)
        last = last.filter(last__gte=wanted.since) if wanted.since else last
        last = last.filter(last__lte=wanted.until) if wanted.until else last
        pairs = pairs.filter(annotation__trajectory__in=last.values("trajectory"))
    return pairs


def with_messages(pairs: Sequence[Label]) -> dict[int, object]:
    """The message of each pair's step, by label id."""
    messages = Label.objects.filter(pk__in=[pair.pk for pair in pairs]).annotate(
        message=_Message(F("step__trajectory__messages"), F("step__message_index"))
    )
    return dict(messages.values_list("pk", "message"))
