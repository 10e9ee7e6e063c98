"""Why a fusion speaks as it does, in sentences, and what would help where there is too little to learn from. Pure."""

from collections.abc import Mapping

from annotator.agreement.metrics import counted
from annotator.fusion.panel import LEAST_GOLD, LEAST_TASKS
from annotator.fusion.scoring import Score

_NAMES = {"chain": "the gold-anchored chain", "stacker": "the stacker", "blend": "the blend of stacker and chain"}


def too_little(n: int, n_tasks: int, n_seen: int, best: str) -> str:
    """n trajectories of n_tasks tasks can be learnt from, n_seen others were settled with the models' word in sight.

    best: the rater that speaks alone meanwhile; with n == 0 the majority does.
    """
    more = "more " if n else ""
    many = counted(LEAST_GOLD - n, f"{more}trajectories") if n < LEAST_GOLD else "trajectories"
    of_tasks = f" of at least {counted(LEAST_TASKS - n_tasks, f'{more}tasks')}" if n_tasks < LEAST_TASKS else ""
    who = "people who judge blind (the share of suggestions is in Settings)" if n_seen else "people"
    what_to_do = f"Have {many}{of_tasks} settled by {who}, then fuse again."
    if n:
        of_these = f"Gold of {counted(n, 'trajectories')} of {counted(n_tasks, 'tasks')}"
        if n_seen:
            of_these += f" ({n_seen} more were settled with the models' word in sight and do not count)"
        return (
            f"{of_these} is too little for a fusion, which needs {LEAST_GOLD} of at least {LEAST_TASKS} tasks; until "
            f"then {best} speaks alone, the best single rater on what there is. {what_to_do}"
        )
    nothing = "There is no gold to learn from yet, so"
    if n_seen:
        nothing = (
            f"People had the models' word in sight on all {counted(n_seen, 'trajectories')} that they settled, so "
            "there is nothing to learn about the models, and"
        )
    return f"{nothing} the majority of the models is shown. It is not calibrated: do not trust it. {what_to_do}"


def chosen(method: str, scores: Mapping[str, Score], n: int, best: str) -> str:
    """What the method that speaks did on held-out tasks, beside the single rater that was best on the other tasks.

    That may be another one in each fold, so its figure is nobody's own. best: the one that is best on all gold.
    """
    mine, single = scores[method], scores["best_single"]
    one = "the single rater that is best on the other tasks, with the usual value where it is silent,"
    if method == "best_single":
        return (
            f"On held-out tasks among {n} trajectories with gold {one} was clearly right more often than any fusion "
            f"({100 * single.step_acc:.1f} % of steps), so {best}, the best on all gold, speaks alone. More gold or "
            "another model may change that."
        )
    return (
        f"On held-out tasks among {n} trajectories with gold {_NAMES[method]} was right on {100 * mine.step_acc:.1f} % "
        f"of steps; {one} on {100 * single.step_acc:.1f} %. On all gold that is {best}."
    )
