"""The steps behind a figure: pairs of labels of the same step, or one person's labels."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Func, JSONField, Q, QuerySet

from annotator.agreement.annotators import ReadingReport
from annotator.agreement.labels import DOMAIN, LAST, by_trajectory
from annotator.models import Label, Project, Trajectory


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
        last = by_trajectory(project).annotate(last=LAST)
        last = last.filter(last__gte=wanted.since) if wanted.since else last
        last = last.filter(last__lte=wanted.until) if wanted.until else last
        pairs = pairs.filter(annotation__trajectory__in=last.values("trajectory"))
    return pairs


@dataclass(frozen=True)
class LabelFilter:
    """Which of one person's labels to list; nothing given asks for all."""

    value: int | None = None
    show: str = ""  # "hurried": of hurried trajectories; "unseen": of steps that never were on the screen


def labels_by(project: Project, annotator: int, wanted: LabelFilter, reading: ReadingReport) -> QuerySet[Label]:
    """What this person has submitted, in the order of trajectories and steps."""
    labels = Label.objects.submitted().filter(
        annotation__trajectory__project=project, annotation__annotator=annotator, step__isnull=False
    )
    if wanted.value is not None:
        labels = labels.filter(value=wanted.value)
    if wanted.show == "hurried":
        labels = labels.filter(annotation__assignment__in=reading.hurried)
    elif wanted.show == "unseen":
        labels = labels.filter(pk__in=reading.unseen)
    return labels.annotate(
        trajectory_id=F("annotation__trajectory_id"),
        external_id=F("annotation__trajectory__external_id"),
        index=F("step__index"),
    ).order_by("annotation__trajectory", "step__index")


def with_messages(labels: Sequence[Label]) -> dict[int, object]:
    """The message of each label's step, by label id."""
    messages = Label.objects.filter(pk__in=[label.pk for label in labels]).annotate(
        message=_Message(F("step__trajectory__messages"), F("step__message_index"))
    )
    return dict(messages.values_list("pk", "message"))


def filter_words(wanted: StepFilter, names: Mapping[Hashable, str]) -> list[str]:
    """What the list of steps is restricted to, one phrase each."""
    a = names.get(wanted.a, "a person unknown here") if wanted.a else "one person"
    b = names.get(wanted.b, "a person unknown here") if wanted.b else "another"
    words = []
    if wanted.value_a is not None:
        words.append(f"{a} gave {_signed(wanted.value_a)}")
    elif wanted.a:
        words.append(f"judged by {a}")
    if wanted.value_b is not None:
        words.append(f"{b} gave {_signed(wanted.value_b)}")
    elif wanted.b:
        words.append(f"judged by {b}")
    if wanted.same is not None:
        words.append("their values are the same" if wanted.same else "their values differ")
    if wanted.domain:
        words.append(f"domain {wanted.domain}")
    if wanted.guideline is not None:
        words.append(f"labelled under guideline version {wanted.guideline}")
    if wanted.since:
        words.append(f"last judgement from {wanted.since:%-d %b %Y %H:%M} UTC")
    if wanted.until:
        words.append(f"last judgement until {wanted.until:%-d %b %Y %H:%M} UTC")
    return words


def _signed(value: int) -> str:
    return f"{value:+d}".replace("-", "−") if value else "0"
