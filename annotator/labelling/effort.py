"""How long people took for the labels that they submitted.

The revisions of a judgement count together: a later one carries labels over, and its time starts at zero. A time that
was not measured, because labels came over the API, is unknown and not zero.
"""

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Count, Max, Q, QuerySet, Sum

from annotator.models import Label


def judgements(labels: QuerySet[Label], *, timed: bool = False) -> QuerySet[Label, tuple[int, int, int]]:
    """Of these labels (trajectory, n, ms) of each judgement that stands, the latest first; only `timed` ones if wanted.

    n: how many of its labels are among them; ms: their active time over all its revisions, 0 where none was measured.
    """
    submitted = labels.filter(annotation__submitted_at__isnull=False).order_by()
    of_each = submitted.values("annotation__assignment", "annotation__annotator", "annotation__trajectory")
    rows = of_each.annotate(
        n=Count("pk", filter=Q(annotation__is_superseded=False)), ms=Sum("active_ms"), last=Max("annotation")
    )
    return rows.filter(n__gt=0, ms__gte=int(timed)).order_by("-last").values_list("annotation__trajectory", "n", "ms")


@dataclass(frozen=True)
class Effort:
    """Of people, for some labels."""

    n_labels: int = 0
    n_timed: int = 0  # in judgements with a time
    active_ms: int = 0  # for these

    def __add__(self, other: "Effort") -> "Effort":
        return Effort(self.n_labels + other.n_labels, self.n_timed + other.n_timed, self.active_ms + other.active_ms)

    @property
    def seconds(self) -> int | None:
        """For all the labels, each taken to have cost the mean of the timed ones; None where fewer than half are."""
        if not self.active_ms or 2 * self.n_timed < self.n_labels:
            return None
        return round(self.active_ms / 1000 * self.n_labels / self.n_timed)

    @property
    def timed(self) -> str:
        """Which share was measured; empty where all were, or there is nothing."""
        return f"{self.n_timed / self.n_labels:.0%} timed".replace("%", " %") if self.n_timed < self.n_labels else ""


def by_trajectory(labels: QuerySet[Label]) -> dict[int, Effort]:
    found: defaultdict[int, Effort] = defaultdict(Effort)
    for trajectory, n, ms in judgements(labels):
        found[trajectory] += Effort(n, n if ms else 0, ms)
    return dict(found)
