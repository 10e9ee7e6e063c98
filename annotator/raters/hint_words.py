"""What the figures of the hint arms allow to say, and what they do not, in plain sentences. Pure."""

from dataclasses import dataclass

from annotator.agreement.metrics import Figure
from annotator.projects.hints import Arm
from annotator.raters.hint_figures import (
    AGREES,
    ARMS,
    CHANGED,
    COMPARED,
    GOLD,
    MOVED,
    NEED_TASKS,
    NEED_TRAJECTORIES,
    PEOPLE,
    SECONDS,
    ArmReport,
    HintReport,
)

WORDS: dict[Arm, str] = {"blind": "blind", "reveal_after": "reveal after", "hinted": "hinted"}
# What a figure is about, and how its rise and its fall are said.
_CHANGES = {
    AGREES: ("agreement with the model", "People give the model's value more often", "People give it less often"),
    PEOPLE: ("agreement between people", "People agree more with each other", "People agree less with each other"),
    GOLD: ("accuracy", "Labels are right more often", "Labels are right less often"),
    SECONDS: ("time per step", "A step takes longer", "A step takes less time"),
}


@dataclass(frozen=True)
class Conclusions:
    """Sentences: what the data shows, and what it does not show yet."""

    shown: list[str]
    open: list[str]


def conclude(found: HintReport, *, is_own_gold: bool) -> Conclusions:
    """Nothing is concluded from an arm with too little in it, nor from an interval that includes 0.

    `is_own_gold`: the gold was settled from these very labels.
    """
    shown: list[str] = []
    unknown: list[str] = []
    used = [arm for arm in ARMS[1:] if found.arms[arm].n_judgements]
    if not used:
        return Conclusions([], ["Nobody has submitted a trajectory with suggestions yet, so nothing can be compared."])
    short = [arm for arm in ("blind", *used) if not found.arms[arm].is_enough]
    unknown += [_too_few(found.arms[arm]) for arm in short]
    for arm in used:
        if arm not in short:
            _say_changes(found.arms[arm], shown)
        if arm in short or "blind" in short:
            continue
        for name in COMPARED:
            _say_difference(arm, name, found.differences[arm][name], shown, unknown)
        _say_worth(arm, found.differences[arm], shown, unknown)
    if is_own_gold:
        unknown.append(
            "How right people are, apart from each other: gold is settled from these very labels, so where people "
            "follow the model together its errors become gold. Reference labels, where there are some, do not have "
            "this flaw."
        )
    return Conclusions(shown, unknown)


def _too_few(arm: ArmReport) -> str:
    return (
        f"Too few in {WORDS[arm.arm]}: {_count(arm.n_trajectories, 'trajectory', 'trajectories')} of "
        f"{_count(arm.n_groups, 'task', 'tasks')}; at least {NEED_TRAJECTORIES} of at least {NEED_TASKS} are needed."
    )


def _say_changes(arm: ArmReport, shown: list[str]) -> None:
    """What people did when they saw what the model said: a comparison of everybody with themselves."""
    changed, moved = arm.figures[CHANGED], arm.figures[MOVED]
    if changed.value is None:
        return
    said = f"After the reveal people changed {_share(changed)} of their labels"
    if moved.value is not None:
        said += f"; where they differed from the model, they took over its value in {_share(moved)}"
    shown.append(f"{said}.")


def _say_difference(arm: Arm, name: str, figure: Figure, shown: list[str], unknown: list[str]) -> None:
    about, rises, falls = _CHANGES[name]
    if figure.value is None:
        unknown.append(f"{WORDS[arm].capitalize()}: nothing is known about {about}. {figure.reason}")
    elif figure.low is None or figure.high is None:
        unknown.append(f"{WORDS[arm].capitalize()}: the difference in {about} has no interval yet; it takes two tasks.")
    elif figure.low > 0 or figure.high < 0:
        shown.append(f"{rises if figure.value > 0 else falls} in {WORDS[arm]} than blind: {amount(name, figure)}.")
    else:
        unknown.append(
            f"Whether {WORDS[arm]} changes {about}: the difference is {amount(name, figure)}, "
            "and its interval includes 0."
        )


def _say_worth(arm: Arm, differences: dict[str, Figure], shown: list[str], unknown: list[str]) -> None:
    """Following the model is worth something only if the labels become right more often by it."""
    follows, right = differences[AGREES], differences[GOLD]
    if follows.low is None or follows.low <= 0:
        return
    if right.low is not None and right.low > 0:
        return
    if right.high is not None and right.high < 0:
        shown.append(f"In {WORDS[arm]} people follow the model into errors. Show suggestions to fewer people.")
    else:
        unknown.append(
            f"Whether following the model in {WORDS[arm]} makes labels better: people do follow it, and nothing shows "
            "that they are right more often. Until then count on steering."
        )


def amount(name: str, figure: Figure) -> str:
    """`+4.2 points (1.0 to 7.4)`, `−1.3 s (−2.0 to −0.6)`."""
    assert figure.value is not None
    unit, scale = (" s", 1) if name == SECONDS else (" points", 100)
    said = f"{scale * figure.value:+.1f}{unit}"
    if figure.low is not None and figure.high is not None:
        said += f" ({scale * figure.low:+.1f} to {scale * figure.high:+.1f})"
    return said.replace("-", "−")


def _share(figure: Figure) -> str:
    assert figure.value is not None
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f" ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    return f"{100 * figure.value:.1f} %{interval}"


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
