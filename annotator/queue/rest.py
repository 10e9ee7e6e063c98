"""What is left to be asked of trajectories of which labels of models were accepted."""

from collections import defaultdict
from collections.abc import Collection

from annotator.models import GoldLabel, Step
from annotator.models.importing import TrajectoryQuerySet


def rest_of(trajectories: Collection[int] | TrajectoryQuerySet) -> dict[int, list[int]]:
    """By trajectory with accepted labels: the indices of its other steps, in order. Of very many, take a QuerySet."""
    accepted = GoldLabel.objects.filter(trajectory__in=trajectories, acceptance__isnull=False)
    taken = set(accepted.values_list("step_id", flat=True))
    some = accepted.values("trajectory")
    rest: dict[int, list[int]] = defaultdict(list)
    steps = Step.objects.filter(trajectory__in=some).order_by("trajectory", "index")
    for pk, trajectory, index in steps.values_list("pk", "trajectory_id", "index"):
        left = rest[trajectory]
        if pk not in taken:
            left.append(index)
    return dict(rest)
