"""The figures of parts of a project: by domain, over time, by version of the guideline. Pure."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from annotator.agreement.metrics import RESAMPLES_OF_A_PART, GroupReport, group_report
from annotator.agreement.sums import Compared, Sums, compare

MOST_PARTS_OF_A_WEEK = 10
SMALLEST_PART = 2  # trajectories: fewer give no interval


@dataclass(frozen=True)
class Given:
    """Everything submitted in a project, and what is known of each trajectory by its id."""

    compared: Compared
    domain_of: Mapping[int, str]
    submitted_at: Mapping[int, datetime]  # when the trajectory's last judgement was submitted


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


def breakdown(given: Given, *, resamples: int = RESAMPLES_OF_A_PART) -> Breakdown:
    """The figures per domain, over time and per guideline version; parts without a step in common are left out."""
    sums, labels = given.compared.sums, given.compared.labels
    trajectories: list[int] = sums.trajectory.tolist()

    def part(title: str, steps: Mapping[str, object], own: Sums) -> Part:
        return Part(title, steps, group_report(own, resamples=resamples))

    domains: dict[str, list[int]] = defaultdict(list)
    for row, pk in enumerate(trajectories):
        domains[given.domain_of[pk]].append(row)
    periods = periods_of({pk: given.submitted_at[pk] for pk in trajectories})
    versions = {
        int(version): compare(labels.where(labels.version == version)).sums
        for version in np.unique(labels.version[labels.version > 0])
    }
    return Breakdown(
        domains=[part(name, {"domain": name}, sums.where(np.array(domains[name]))) for name in sorted(domains)],
        periods=[
            part(
                title,
                {"since": since.isoformat(), "until": until.isoformat()},
                sums.where(np.searchsorted(sums.trajectory, sorted(pks))),
            )
            for title, since, until, pks in periods
        ],
        versions=[
            (version, part(f"Version {version}", {"guideline": version}, own))
            for version, own in versions.items()
            if len(own.trajectory)
        ],
    )


def periods_of(submitted_at: Mapping[int, datetime]) -> list[tuple[str, datetime, datetime, list[int]]]:
    """Trajectories by week (from Monday, UTC); where all fall into one week, in up to ten equal parts in their order.

    Each with its title, its first and its last moment.
    """
    ordered = sorted(submitted_at, key=lambda pk: (submitted_at[pk], pk))
    moments = [submitted_at[pk].astimezone(UTC) for pk in ordered]
    weeks: dict[int, list[int]] = defaultdict(list)
    for pk, at in zip(ordered, moments, strict=True):
        weeks[at.toordinal() - at.weekday()].append(pk)
    if len(weeks) > 1:
        mondays = [(datetime.fromordinal(day).replace(tzinfo=UTC), pks) for day, pks in weeks.items()]
        end = timedelta(days=7) - timedelta(microseconds=1)
        return [(f"{monday:%-d %b %Y}", monday, monday + end, pks) for monday, pks in mondays]
    n = len(ordered)
    n_parts = max(1, min(MOST_PARTS_OF_A_WEEK, n // SMALLEST_PART))
    # What was submitted at one moment stays in one part: its steps are listed by moment.
    starts = {bisect_left(moments, moments[n * number // n_parts]) for number in range(n_parts if n else 0)}
    return [
        (f"{moments[start]:%a %H:%M}", moments[start], moments[end - 1], ordered[start:end])
        for start, end in pairwise([*sorted(starts), n])
    ]
