"""What suggestions do to labels, in numbers and in sentences, against figures counted by hand and by plain loops."""

from typing import Any

import numpy as np
import pytest

from annotator.projects.hints import Arm
from annotator.raters.hint_figures import (
    AGREED_FIRST,
    AGREES,
    CHANGED,
    CORRECTED,
    GOLD,
    MOVED,
    NONE,
    PEOPLE,
    SECONDS,
    HintReport,
    Judged,
    report,
)
from annotator.raters.hint_words import conclude

N = NONE


def judged(arm: Arm, trajectory: int, final: list[int], **given: Any) -> Judged:
    n = len(final)
    about: dict[str, Any] = {
        "rater": 1,
        "group": trajectory,
        "before": final if arm == "blind" else [N] * n,
        "model": [1] * n,
        "shown": [N] * n,
        "gold": [N] * n,
        "seconds": [np.nan] * n,
        **given,
    }
    arrays: dict[str, Any] = {name: np.array(about.pop(name)) for name in ("before", "model", "shown", "gold")}
    seconds = np.array(about.pop("seconds"), dtype=float)
    return Judged(arm=arm, trajectory=trajectory, final=np.array(final), seconds=seconds, **arrays, **about)


def values(found: HintReport, arm: Arm) -> dict[str, float | None]:
    return {name: figure.value for name, figure in found.arms[arm].figures.items()}


def test_the_figures_of_a_small_case_counted_by_hand() -> None:
    found = report(
        [
            judged("blind", 1, [1, 0, -1, N], gold=[1, 1, N, 1], seconds=[2.0, np.nan, 4.0, np.nan]),
            judged("blind", 1, [1, 1, -1, 1], rater=2, gold=[1, 1, N, 1]),
            judged("blind", 2, [1, 1], model=[1, N]),
            judged(
                "reveal_after", 1, [1, 1, -1, 1], rater=3, before=[-1, 1, -1, N], gold=[1, 1, N, 1], was_revealed=True
            ),
            judged("reveal_after", 2, [0, 0], rater=3, before=[0, 0]),  # submitted without the reveal
            judged("hinted", 3, [1, 1, 0], shown=[1, -1, N]),  # two given in sight of a suggestion
        ]
    )
    assert values(found, "blind") == {
        AGREES: pytest.approx(5 / 8),
        AGREED_FIRST: pytest.approx(5 / 8),
        PEOPLE: pytest.approx(2 / 3),
        GOLD: pytest.approx(4 / 5),
        CHANGED: None,
        MOVED: None,
        CORRECTED: None,
        SECONDS: 3.0,
    }
    assert values(found, "reveal_after") == {
        AGREES: pytest.approx(3 / 6),
        AGREED_FIRST: pytest.approx(1 / 5),
        PEOPLE: None,
        GOLD: 1.0,
        CHANGED: pytest.approx(1 / 3),
        MOVED: pytest.approx(1 / 2),
        CORRECTED: None,
        SECONDS: None,
    }
    assert values(found, "hinted") == dict.fromkeys(values(found, "hinted"), None) | {AGREES: 2 / 3, CORRECTED: 0.5}
    hinted = found.arms["hinted"]
    assert (hinted.n_judgements, hinted.n_trajectories, hinted.n_steps, hinted.n_raters) == (1, 1, 3, 1)
    assert found.arms["blind"].figures[PEOPLE].n == 3
    assert found.differences["hinted"][AGREES].value == pytest.approx(2 / 3 - 5 / 8)
    assert found.differences["hinted"][GOLD].reason == "No step judged in this arm has gold yet."
    # A single task has part in it: there is no interval.
    assert found.arms["hinted"].figures[AGREES].low is None
    assert found.arms["blind"].figures[AGREES].low is not None


def simulated(n: int, *, follows: float, right: float = 0.7, seed: int = 0) -> list[Judged]:
    """Half of n tasks are blind; in the other half people take the model's value over with probability `follows`."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(n):
        gold = random.choice([-1, 0, 1], size=8)
        model = np.where(random.random(8) < 0.6, gold, random.choice([-1, 0, 1], size=8))
        own = np.where(random.random(8) < right, gold, random.choice([-1, 0, 1], size=8))
        arm: Arm = "hinted" if number % 2 else "blind"
        final = np.where(random.random(8) < follows, model, own) if arm == "hinted" else own
        found.append(judged(arm, number, final.tolist(), model=model, gold=gold, seconds=random.random(8) + 3))
    return found


def test_the_intervals_are_those_of_a_plain_loop_over_resampled_tasks() -> None:
    given = simulated(30, follows=0.5)
    found = report(given, resamples=300, seed=4)
    random = np.random.default_rng(4)
    blind, hinted, differences = [], [], []
    for _ in range(300):
        drawn = [given[i] for i in random.integers(30, size=30)]
        share = {
            arm: np.mean(np.concatenate([one.final == one.model for one in drawn if one.arm == arm]))
            for arm in ("blind", "hinted")
        }
        blind.append(share["blind"])
        hinted.append(share["hinted"])
        differences.append(share["hinted"] - share["blind"])
    for figure, spread in (
        (found.arms["blind"].figures[AGREES], blind),
        (found.arms["hinted"].figures[AGREES], hinted),
        (found.differences["hinted"][AGREES], differences),
    ):
        assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(spread, [0.025, 0.975])), abs=1e-12)
    assert report(given, resamples=300, seed=4) == found


def test_nobody_has_seen_a_suggestion_yet() -> None:
    conclusions = conclude(report([judged("blind", 1, [1])]), is_own_gold=True)
    assert conclusions.shown == []
    assert conclusions.open == ["Nobody has submitted a trajectory with suggestions yet, so nothing can be compared."]
    assert conclude(report([]), is_own_gold=True) == conclusions


def test_too_little_is_said_and_nothing_is_concluded_from_it() -> None:
    given = simulated(14, follows=1.0) + [judged("blind", 100 + i, [1], group="one") for i in range(30)]
    conclusions = conclude(report(given), is_own_gold=False)
    assert conclusions.shown == []
    assert conclusions.open == [
        "Too few in blind: 37 trajectories of 8 tasks; at least 25 of at least 10 are needed.",
        "Too few in hinted: 7 trajectories of 7 tasks; at least 25 of at least 10 are needed.",
    ]


def test_people_who_follow_a_poor_model_are_told_of() -> None:
    conclusions = conclude(report(simulated(300, follows=0.9)), is_own_gold=False)
    assert any(
        said.startswith("People give the model's value more often in hinted than blind: +")
        for said in conclusions.shown
    )
    assert "In hinted people follow the model into errors. Show suggestions to fewer people." in conclusions.shown
    assert any(said.startswith("Labels are right less often in hinted than blind: −") for said in conclusions.shown)
    assert not any("Whether hinted changes agreement with the model" in said for said in conclusions.open)


def test_people_who_do_not_care_leave_the_question_open() -> None:
    conclusions = conclude(report(simulated(120, follows=0.0, seed=3)), is_own_gold=True)
    assert conclusions.shown == []
    assert any(
        said.startswith("Whether hinted changes agreement with the model: the difference is ")
        and said.endswith("and its interval includes 0.")
        for said in conclusions.open
    )
    assert any("nothing is known about agreement between people" in said for said in conclusions.open)
    assert "gold is settled from these very labels" in conclusions.open[-1]


def test_what_people_change_is_said_of_the_reveal_alone() -> None:
    given = [judged("reveal_after", i, [1, 1, -1, 0], before=[-1, 1, -1, 0], was_revealed=True) for i in range(25)]
    conclusions = conclude(report(given), is_own_gold=False)
    assert conclusions.shown == [
        "After the reveal people changed 25.0 % (25.0 to 25.0) of their labels; where they differed from the model, "
        "they took over its value in 33.3 % (33.3 to 33.3)."
    ]
    assert conclusions.open == ["Too few in blind: 0 trajectories of 0 tasks; at least 25 of at least 10 are needed."]
