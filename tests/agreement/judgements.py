"""Labels written down as people think of them: who said what about which trajectory."""

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from annotator.agreement import metrics
from annotator.agreement.metrics import AgreementReport, GroupReport
from annotator.agreement.sums import Compared, Labels, compare, sums_of

Id = TypeVar("Id", bound=Hashable)  # Mapping is invariant in its key: a dict[int, int] is no Mapping[Hashable, int]


@dataclass(frozen=True)
class Judgement:
    """What one rater submitted on one trajectory: step index -> value; `roots` are errors marked as their own."""

    rater: Hashable
    trajectory: Hashable
    values: Mapping[int, int]
    roots: Set[int] = frozenset()


def ids_of(names: Iterable[Hashable]) -> dict[Hashable, int]:
    """Numbers are ids already; names are numbered in the order of the alphabet."""
    given = set(names)
    numbers: dict[Hashable, int] = {name: name for name in given if isinstance(name, int)}
    return numbers if len(numbers) == len(given) else {name: n for n, name in enumerate(sorted(given, key=str))}


def compared(judgements: Sequence[Judgement], n_steps_of: Mapping[Id, int] | None = None) -> Compared:
    """A trajectory whose length is not given has as many steps as anybody judged."""
    rater, trajectory = ids_of(j.rater for j in judgements), ids_of(j.trajectory for j in judgements)
    lengths: dict[Hashable, int] = dict(n_steps_of.items()) if n_steps_of else {}
    judged: dict[Hashable, set[int]] = {name: set() for name in trajectory}
    for judgement in judgements:
        judged[judgement.trajectory] |= judgement.values.keys()
    rows = [
        (
            trajectory[j.trajectory],
            step,
            rater[j.rater],
            value,
            lengths.get(j.trajectory, len(judged[j.trajectory])),
            0,
            step in j.roots,
        )
        for j in judgements
        for step, value in j.values.items()
    ]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 7).T
    trajectories, step, raters, value, n_in_full, version, is_root = columns
    return compare(Labels(trajectories, step, raters, value, n_in_full, version, is_root == 1))


def agreement_report(
    judgements: Sequence[Judgement],
    *,
    n_steps_of: Mapping[Id, int] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> AgreementReport:
    return metrics.agreement_report(compared(judgements, n_steps_of), resamples=resamples, seed=seed)


def group_report(
    judgements: Sequence[Judgement],
    *,
    n_steps_of: Mapping[Id, int] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> GroupReport:
    both = compared(judgements, n_steps_of)
    return metrics.group_report(sums_of(both.pairs, both.errors), resamples=resamples, seed=seed)
