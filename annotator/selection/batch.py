"""Which trajectories make a round: shares of several strategies, few siblings of one task, and a random slice. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from annotator.agreement.coefficients import FloatArray, IntArray

RANDOM = "random"


@dataclass(frozen=True)
class Pick:
    """One chosen trajectory. `probability` is that of being in the random slice; others were certain to be chosen."""

    index: int
    strategy: str
    score: float | None
    probability: float | None


def choose(
    scores: Mapping[str, FloatArray],
    shares: Mapping[str, float],
    n: int,
    groups: IntArray,
    most_siblings: int,
    seed: int,
) -> list[Pick]:
    """At most `n` of the pool, the random slice first; then strategies take turns, each its share by falling score.

    scores: by strategy (pool,); shares: by strategy, RANDOM among them, any positive numbers; groups (pool,): the task
    of each trajectory. The random slice is drawn from the whole pool with equal probability, whatever its tasks, so
    that estimates from it stay unbiased, and has the places for which the strategies know too few. Of what they choose,
    at most `most_siblings` of a task are in the round: where that leaves too few for all, each still has its share of
    them. A strategy never chooses where its score is -inf: it knows nothing of that one.
    """
    size = len(groups)
    n = min(n, size)
    names = [name for name in shares if name in scores and shares[name]]
    n_random = quotas(shares, n).get(RANDOM, 0)
    if n_random:  # what no strategy knows anything of leaves places to chance, as many whatever is drawn
        n_known = int(np.any([np.isfinite(scores[name]) for name in names], axis=0).sum()) if names else 0
        n_random = max(n_random, n - n_known)
    order = np.random.default_rng(seed).permutation(size)
    picks = [Pick(int(i), RANDOM, None, n_random / size) for i in order[:n_random]]
    taken = {pick.index for pick in picks}
    per_task: dict[int, int] = {}
    owed = quotas({name: shares[name] for name in names}, n - n_random)
    chosen: Counter[str] = Counter()
    queues = {}
    for name in names:
        falling = np.lexsort((order, -scores[name]))
        queues[name] = iter(falling[np.isfinite(scores[name][falling])].tolist())
    while queues and len(picks) < n:
        # Whoever has least of its share; once all have theirs, or know too few, what is left by the same shares.
        name = min(queues, key=lambda name: (chosen[name] >= owed[name], (chosen[name] + 0.5) / shares[name]))
        for i in queues[name]:
            task = int(groups[i])
            if i not in taken and per_task.get(task, 0) < most_siblings:
                taken.add(i)
                per_task[task] = per_task.get(task, 0) + 1
                chosen[name] += 1
                picks.append(Pick(i, name, float(scores[name][i]), None))
                break
        else:
            del queues[name]
    return picks


def quotas(shares: Mapping[str, float], n: int) -> dict[str, int]:
    """How many of `n` each strategy is to choose: the random slice never less than its share, the others rounded."""
    n_random = ceil(n * shares.get(RANDOM, 0.0) / (sum(shares.values()) or 1.0))
    others = {name: share for name, share in shares.items() if name != RANDOM}
    found = dict(zip(others, _split(list(others.values()), n - n_random), strict=True))
    return {**found, RANDOM: n_random} if RANDOM in shares else found


def stratified(strata: IntArray, n: int, seed: int) -> list[Pick]:
    """`n` of the pool at random, each stratum with its share: for a start that knows nothing yet. strata (pool,).

    Everything has the same probability n / pool of being chosen, also in strata whose share is below 1: simple random
    samples of the strata, and which of them round their share up is settled between neighbours. Not systematic
    sampling: that hits or misses a whole kind of many small strata at once, and no promise may rest on it.
    """
    size = len(strata)
    n = min(n, size)
    if n == 0:
        return []
    rng = np.random.default_rng(seed)
    sizes = np.unique(strata, return_counts=True)[1].astype(np.int64)
    wanted = n * sizes // size + _settled(n * sizes % size, size, rng)
    order = np.lexsort((rng.permutation(size), strata))
    rank = np.arange(size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = order[rank < np.repeat(wanted, sizes)]
    return [Pick(int(i), RANDOM, None, n / size) for i in rng.permutation(chosen)]


def _settled(parts: IntArray, whole: int, rng: np.random.Generator) -> IntArray:
    """(k,) 0 or 1, each 1 with probability parts / whole; as many in all as the parts make wholes.

    The pivotal method: of two that are not settled one gives the other its part, or what that lacks to a whole. Deville
    and Tille, Biometrika 85 (1998). Each such step is a swap by chance, so that the whole sample is strongly Rayleigh,
    and negatively associated: Borcea, Branden and Liggett, Journal of the American Mathematical Society 22 (2009).
    """
    found = np.zeros(len(parts), dtype=np.int64)
    open_, held = 0, 0  # who is not settled yet, and its part
    for i, (part, at) in enumerate(zip(parts.tolist(), rng.random(len(parts)).tolist(), strict=True)):
        both = held + part
        if both < whole:
            if at * both < part:
                open_ = i
            held = both
        elif at * (2 * whole - both) < whole - part:
            found[open_] = 1
            open_, held = i, both - whole
        else:
            found[i] = 1
            held = both - whole
    return found


def interleaved(picks: list[Pick]) -> list[Pick]:
    """In an order of which every beginning holds the strategies by their shares, whenever people stop."""
    counts = Counter(pick.strategy for pick in picks)
    seen: Counter[str] = Counter()
    keys = []
    for pick in picks:
        keys.append((seen[pick.strategy] + 0.5) / counts[pick.strategy])
        seen[pick.strategy] += 1
    return [picks[i] for i in sorted(range(len(picks)), key=keys.__getitem__)]


def spread(vectors: FloatArray, candidates: IntArray, n: int) -> IntArray:
    """Up to `n` of the candidates, far from each other: greedy k-center from the first one.

    vectors (pool, d). Sener and Savarese, Active Learning for Convolutional Neural Networks: a Core-Set Approach, 2018.
    """
    if not len(candidates):
        return candidates
    chosen: list[int] = []
    points = vectors[candidates]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(n, len(candidates)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        nearest[chosen[-1]] = -np.inf
    return candidates[chosen]


def _split(shares: list[float], n: int) -> list[int]:
    """n by shares, the largest remainders rounded up."""
    total = sum(shares) or 1.0
    exact = [n * share / total for share in shares]
    parts = [int(x) for x in exact]
    for i in sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])[: n - sum(parts) if parts else 0]:
        parts[i] += 1
    return parts
