"""Which method speaks, what it says of itself, and that it is not worse than its best rater."""

from dataclasses import astuple, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from annotator.fusion import crowd, reasons
from annotator.fusion import fit as module
from annotator.fusion.chain import PRIOR_CHAIN, Chain
from annotator.fusion.fit import Fusion, best_single, fit
from annotator.fusion.panel import MISSING, Panel
from annotator.fusion.scoring import Score, ece, gold_first_errors, interval, score
from benchmarks import panels as real
from tests.fusion.panels import made_up, panel_of, without_gold

ACCURACIES = [0.75, 0.6, 0.6, 0.55]


@cache
def fitted(*, text_tells: bool = False) -> tuple[Panel, Fusion]:
    """Learnt once for all tests that only look at it: a fit takes a second."""
    panel = made_up(60, accuracies=ACCURACIES, text_tells=text_tells)
    return panel, fit(panel)


def accuracy(fusion: Fusion, panel: Panel) -> float:
    return float((fusion.evidence(panel).argmax(axis=1) - 1 == panel.gold).mean())


def test_without_gold_the_majority_is_shown_and_not_trusted() -> None:
    panel = without_gold(made_up(10, accuracies=ACCURACIES), 0)
    fusion = fit(panel)
    assert (fusion.method, fusion.best, fusion.n_trajectories) == ("majority", -1, 0)
    assert fusion.reason == (
        "There is no gold to learn from yet, so the majority of the models is shown. It is not calibrated: do not "
        "trust it. Have 25 trajectories of at least 5 tasks settled by people, then fuse again."
    )
    assert fusion.evidence(panel).sum(axis=1) == pytest.approx(np.ones(panel.n_steps))


def test_with_too_little_gold_the_best_single_rater_speaks() -> None:
    panel = without_gold(made_up(60, accuracies=ACCURACIES), 24)
    fusion = fit(panel)
    assert (fusion.method, fusion.raters[fusion.best]) == ("best_single", "r0")
    assert fusion.reason == (
        "Gold of 24 trajectories of 12 tasks is too little for a fusion, which needs 25 of at least 5 tasks; until "
        "then r0 speaks alone, the best single rater on what there is. Have 1 more trajectory settled by people, then "
        "fuse again."
    )
    # Its verdict stays what it is; only how sure it is has been learnt.
    said = fusion.evidence(panel).argmax(axis=1) - 1
    assert np.array_equal(said, panel.votes[:, 0])


@pytest.mark.parametrize(
    ("n", "n_tasks", "n_seen", "what_there_is", "what_to_do"),
    [
        (
            26,
            1,
            0,
            "Gold of 26 trajectories of 1 task is",
            "Have trajectories of at least 4 more tasks settled by people",
        ),
        (
            30,
            10,
            10,
            "Gold of 20 trajectories of 10 tasks (10 more were settled with the models' word in sight and do not "
            "count) is",
            "Have 5 more trajectories settled by people who judge blind",
        ),
        (
            10,
            3,
            0,
            "Gold of 10 trajectories of 3 tasks is",
            "Have 15 more trajectories of at least 2 more tasks settled by",
        ),
        (
            30,
            3,
            30,
            "People had the models' word in sight on all 30 trajectories that they settled, so there is nothing to "
            "learn about the models, and",
            "Have 25 trajectories of at least 5 tasks settled by people who judge blind",
        ),
    ],
)
def test_too_little_to_learn_from_says_what_is_there_and_what_would_help(
    n: int, n_tasks: int, n_seen: int, what_there_is: str, what_to_do: str
) -> None:
    panel = panel_of([[1, -1]] * n, [[[1, -1]] * n, [[1, 1]] * n], groups=[i % n_tasks for i in range(n)])
    reason = fit(replace(panel, seen=np.repeat(np.arange(n) < n_seen, 2).reshape(n, 2))).reason
    assert reason.startswith(f"{what_there_is} ")
    assert what_to_do in reason
    assert reason.endswith(", then fuse again.")


def test_a_rater_that_gives_probabilities_keeps_its_verdicts_when_it_speaks_alone() -> None:
    rng = np.random.default_rng(0)
    gold = rng.choice([-1, 1], 120, p=[0.35, 0.65])
    # In the right order but too kind: many errors are called right with 50 to 60 %.
    kind = np.where(gold == -1, rng.uniform(0.35, 0.62, 120), rng.uniform(0.58, 0.95, 120))
    panel = panel_of(gold.reshape(20, 6).tolist(), [np.ones((20, 6), dtype=int).tolist()])
    panel = replace(panel, probs=np.stack([1 - kind, 0.078 * kind, 0.922 * kind], axis=1)[:, None].astype(np.float32))
    fusion = fit(panel)
    assert fusion.method == "best_single"
    found = fusion.evidence(panel)
    assert np.array_equal(found.argmax(axis=1) - 1, panel.votes[:, 0])
    assert accuracy(fusion, panel) == (panel.votes[:, 0] == gold).mean() > 0.85
    assert len(np.unique(found[:, 0].round(6))) > 100  # how sure it is still goes with what it says


def test_with_gold_a_fusion_is_better_than_every_rater_on_tasks_it_never_saw() -> None:
    panel = made_up(240, accuracies=ACCURACIES, text_tells=True)
    learnt, held = panel.of(np.arange(160)), panel.of(np.arange(160, 240))
    fusion = fit(learnt)
    singles = (held.votes == held.gold[:, None]).mean(axis=0)
    assert fusion.method == "stacker"
    assert singles.max() == pytest.approx(0.822, abs=0.001)
    assert accuracy(fusion, held) == pytest.approx(0.982, abs=0.01)
    assert fusion.scores["stacker"].step_acc == pytest.approx(0.993, abs=0.005)
    assert f"{100 * fusion.scores['stacker'].step_acc:.1f} %" in fusion.reason
    y = held.gold.astype(np.int64) + 1
    assert ece(y, fusion.evidence(held)) < 0.06
    members = fusion.members(held)
    assert members.shape == (3, held.n_steps, 3)
    assert np.array_equal(fusion.pooled(members), fusion.evidence(held))
    assert set(fusion.intervals) == set(fusion.scores)
    for name, (low, high) in fusion.intervals.items():
        assert low < fusion.scores[name].step_acc < high
        assert 0.005 < high - low < 0.2
    assert sum(one.n for one in fusion.reliability) == (learnt.gold != MISSING).sum()
    right = sum(one.n * (one.accuracy or 0) for one in fusion.reliability) / learnt.n_steps
    assert right == pytest.approx(fusion.scores[fusion.method].step_acc)


def test_what_knows_no_gold_stands_beside_it_as_it_is() -> None:
    panel, fusion = fitted()
    for name, alone in (
        ("majority", crowd.majority),
        ("dawid_skene", crowd.dawid_skene),
        ("chain_dawid_skene", crowd.chain_dawid_skene),
    ):
        expected = score(panel, alone(panel), fusion.chain)
        assert astuple(fusion.scores[name]) == pytest.approx(astuple(expected), abs=1e-4)  # certainties end at 1e-6


def test_where_words_tell_nothing_it_works_without() -> None:
    panel, fusion = fitted()
    assert fusion.method == "blend"
    # On tasks that it had not seen; the best rater alone is right on 0.864.
    assert fusion.scores["blend"].step_acc == pytest.approx(0.950, abs=0.01)
    assert accuracy(fusion, panel) == pytest.approx(0.970, abs=0.01)


def test_it_is_the_same_after_it_was_stored() -> None:
    panel, fusion = fitted(text_tells=True)
    again = Fusion.from_bytes(fusion.to_bytes())
    assert np.array_equal(again.evidence(panel), fusion.evidence(panel))
    assert np.array_equal(again.links.transition, fusion.links.transition)
    assert (again.method, again.reason, again.scores) == (fusion.method, fusion.reason, fusion.scores)
    assert again.to_bytes() == fusion.to_bytes()


def test_the_same_gold_and_seed_give_the_same_fusion() -> None:
    panel, fusion = fitted(text_tells=True)
    assert fit(panel).to_bytes() == fusion.to_bytes()


def test_gold_of_a_single_value_is_no_reason_to_fail() -> None:
    panel = made_up(40, accuracies=ACCURACIES)
    panel = panel.with_gold(np.ones_like(panel.gold))
    fusion = fit(panel)
    assert (fusion.method, fusion.scores["chain"].step_acc) == ("chain", 1.0)
    assert not {"stacker", "blend"} & fusion.scores.keys()


def test_large_panels_are_read_in_pieces() -> None:
    panel, fusion = fitted(text_tells=True)
    whole = fusion.evidence(panel)
    before, module._CHUNK_STEPS = module._CHUNK_STEPS, 40
    try:
        assert fusion.evidence(panel) == pytest.approx(whole, abs=1e-12)
    finally:
        module._CHUNK_STEPS = before


def test_scores_by_hand() -> None:
    panel = panel_of([[1, -1], [1, 1]], [[[1, 1], [1, -1]]])
    sure = np.eye(3)[panel.votes[:, 0] + 1] * 0.97 + 0.01
    found = score(panel, sure, fit(without_gold(panel, 0)).chain)
    assert found.step_acc == 0.5
    assert found.macro_f1 == pytest.approx((4 / 6 + 0) / 2)
    assert found.first_err_acc == 0.0
    assert found.ece == pytest.approx(0.98 - 0.5)
    assert found.nll == pytest.approx(-(2 * np.log(0.98) + 2 * np.log(0.01)) / 4)
    assert gold_first_errors(panel).tolist() == [1, 2]


def test_of_partly_settled_trajectories_the_first_error_does_not_count() -> None:
    panel = panel_of([[1, -1], [1, MISSING], [MISSING, -1]], [[[1, -1], [1, -1], [-1, -1]]])
    assert score(panel, beliefs(panel, 0), PRIOR_CHAIN).first_err_acc == 1.0
    nothing = panel.of(np.array([1, 2]))
    assert np.isnan(score(nothing, beliefs(nothing, 0), PRIOR_CHAIN).first_err_acc)


# Each of these is likeliest where the share of each value in gold is what is said of it (Gibbs' inequality).


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.75, 1.0])
def test_the_strength_is_the_one_by_which_values_follow_each_other(strength: float) -> None:
    chain = PRIOR_CHAIN
    gold = []
    for before, row in enumerate(chain.marginal * (chain.transition[0] / chain.marginal) ** strength):
        gold += [[before - 1, after - 1] for after in range(3) for _ in range(round(300 * row[after] / row.sum()))]
    panel = panel_of(gold, [np.ones_like(gold).tolist()])
    assert module._fit_strength(panel, np.tile(chain.marginal, (panel.n_steps, 1)), chain) == strength


@pytest.mark.parametrize("place", [0, 8, 24])
def test_the_temperature_is_the_one_by_which_it_was_too_sure(place: int) -> None:
    shares, temperature = np.array([0.5, 0.2, 0.3]), float(module._TEMPERATURES[place])
    panel = panel_of([[-1]] * 50 + [[0]] * 20 + [[1]] * 30, [[[1]] * 100])
    said = np.tile(shares**temperature / (shares**temperature).sum(), (100, 1))
    assert module._fit_temperature(panel, said) == temperature


@pytest.mark.parametrize(("n", "temper"), [(1, 1.0), (2, 0.5), (4, 0.25)])
def test_raters_that_say_the_same_are_tempered_to_one(n: int, temper: float) -> None:
    counts = np.array([[14, 2, 4], [3, 3, 4], [5, 3, 62]])  # rows: gold, columns: said
    pairs = [(k - 1, vote - 1) for k in range(3) for vote in range(3) for _ in range(counts[k, vote])]
    panel = panel_of([[k] for k, _ in pairs], [[[vote] for _, vote in pairs]] * n)
    chain = Chain(counts.sum(axis=1) / 100, PRIOR_CHAIN.transition)
    confusions = np.tile(counts / counts.sum(axis=1, keepdims=True), (n, 1, 1))
    assert module._fit_temper(panel, chain, confusions) == temper


def test_an_abstention_is_no_right_answer() -> None:
    panel = panel_of([[1, 1, MISSING]], [[[1, None, 1]], [[1, 1, -1]]])
    assert best_single(panel) == 1


def test_arrays_that_do_not_fit_are_refused() -> None:
    panel = panel_of([[1]], [[[1]]])
    with pytest.raises(ValueError, match=r"Panel.gold has the shape \(2,\)"):
        replace(panel, gold=np.zeros(2, dtype=np.int8))


def beliefs(panel: Panel, rater: int) -> np.ndarray:
    return np.eye(3)[panel.votes[:, rater] + 1] * 0.97 + 0.01


def test_the_blend_speaks_unless_another_does_clearly_better() -> None:
    panel = made_up(60, accuracies=[0.9, 0.6, 0.6])
    good, poor, as_poor = (beliefs(panel, rater) for rater in range(3))
    held_out = {"best_single": poor, "chain": poor, "stacker": poor, "blend": as_poor}
    assert module._choose(panel, held_out) == "blend"
    assert module._choose(panel, held_out | {"stacker": good}) == "stacker"
    assert module._choose(panel, held_out | {"chain": good}) == "chain"
    assert module._choose(panel, held_out | {"best_single": good}) == "best_single"
    assert module._choose(panel, {"best_single": poor, "chain": as_poor}) == "chain"


def test_the_reason_says_so_where_a_single_rater_is_better() -> None:
    scores = {"best_single": Score(0.9, 0.8, 0.8, 0.1, 0.3), "blend": Score(0.8, 0.7, 0.7, 0.1, 0.5)}
    assert reasons.chosen("best_single", scores, 30, "r0") == (
        "On held-out tasks among 30 trajectories with gold the single rater that is best on the other tasks, with the "
        "usual value where it is silent, was clearly right more often than any fusion (90.0 % of steps), so r0, the "
        "best on all gold, speaks alone. More gold or another model may change that."
    )


def test_the_reason_names_no_rater_with_a_figure_that_is_not_its_own() -> None:
    panel = made_up(60, accuracies=[0.9, 0.6, 0.6])
    panel.probs[panel.owner % 2 == 0, 0] = np.nan  # silent on every other trajectory, of every task
    fusion = fit(panel)
    figure = fusion.scores["best_single"].step_acc
    # r1 itself is right on 76.0 %.
    assert (fusion.best, round(figure, 3)) == (1, 0.751)
    assert (
        "the single rater that is best on the other tasks, with the usual value where it is silent, on "
        f"{100 * figure:.1f} %. On all gold that is r1."
    ) in fusion.reason


def test_the_interval_of_what_is_always_right_is_wilsons_by_task() -> None:
    panel = made_up(30, accuracies=[1.0])  # of 15 tasks
    assert interval(panel, beliefs(panel, 0)) == pytest.approx(proportion_confint(15, 15, method="wilson"), abs=1e-6)


def test_the_weights_of_the_blend_go_to_who_is_right() -> None:
    panel = made_up(100, accuracies=[0.9, 0.0])
    good, poor = beliefs(panel, 0), beliefs(panel, 1)
    for place in range(3):
        learners = np.stack([good if i == place else poor for i in range(3)])
        weights = module._fit_weights(panel, learners)
        assert weights[place] > 5 * max(weight for i, weight in enumerate(weights) if i != place)
    # Against a search over a grid.
    y = panel.gold.astype(np.int64) + 1
    learners = np.stack([good, poor, poor])
    found = module._fit_weights(panel, learners)

    def cost(weights: tuple[float, float, float]) -> float:
        probs = module._blend(learners, weights)
        away = sum((a - b) ** 2 for a, b in zip(weights, (0.3, 0.3, 0.4), strict=True))
        return float(-np.log(probs[np.arange(len(y)), y]).sum() + 30 * away)

    least = cost(found) - 1e-3
    grid = np.arange(0, 2, 0.2)
    assert all(least <= cost((a, b, c)) for a in grid for b in grid for c in grid)


def test_the_blend_is_the_product_of_the_learners_each_to_its_weight() -> None:
    learners = np.array([[[0.2, 0.2, 0.6]], [[0.5, 0.25, 0.25]], [[0.1, 0.1, 0.8]]])
    found = module._blend(learners, (2.0, 1.0, 0.0))
    assert found[0] == pytest.approx(np.array([0.02, 0.01, 0.09]) / 0.12)


def test_a_trajectory_without_steps_has_no_error() -> None:
    panel = made_up(40, accuracies=ACCURACIES)
    starts = np.concatenate([panel.starts, panel.starts[-1:]])
    more = replace(
        panel,
        starts=starts,
        groups=np.append(panel.groups, 99),
        relative_length=np.append(panel.relative_length, 0.0),
        outcome=np.append(panel.outcome, np.nan),
    )
    found = fit(more).posterior(more)
    assert found.first_error[-1] == 1.0
    assert np.isfinite(found.probs).all()


def test_gold_counts_as_known_in_the_posterior() -> None:
    panel = without_gold(made_up(60, accuracies=ACCURACIES), 30)
    fusion = fit(panel)
    found = fusion.posterior(panel)
    known = panel.gold != MISSING
    assert np.array_equal(found.probs[known].argmax(axis=1) - 1, panel.gold[known])
    assert found.probs[~known] == pytest.approx(fusion.evidence(panel)[~known])


def test_of_very_much_gold_a_part_is_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = made_up(80, accuracies=ACCURACIES)
    monkeypatch.setattr(module, "_MOST_STEPS", 150)
    part = panel.of(module._enough(panel, 0))
    assert 140 < part.n_steps <= 150
    fusion = fit(panel)
    assert (fusion.n_trajectories, fusion.n_steps) == (80, panel.n_steps)


def test_what_people_had_in_sight_is_not_learnt_from() -> None:
    said = [[1, -1], [1, -1], [-1, 1], [1, 1]]
    panel = panel_of([[1, -1], [1, -1], [1, 1], [MISSING] * 2], [said, [[1, 1]] * 4], texts=[*"abcdefgh"])
    panel = replace(panel, outcome=np.arange(4) / 4)
    assert panel.fair()[1].texts == [*"abcdef"]
    seen = np.array([[False, False], [True, False], [True, True], [False, False]])
    places, found = replace(panel, seen=seen).fair()
    assert places.tolist() == [0, 1]
    assert found.gold.tolist() == [1, -1, 1, -1]
    assert found.votes.tolist() == [[1, 1], [-1, 1], [MISSING, 1], [MISSING, 1]]
    assert found.texts == ["a", "b", "", ""]
    assert found.outcome == pytest.approx([0, np.nan], nan_ok=True)
    assert np.array_equal(replace(panel, seen=seen).by(["r1"]).fair()[1].gold, [1, -1, 1, -1])
    assert fit(replace(panel, seen=seen)).n_trajectories == 2


def test_the_best_rater_is_the_best_on_what_counts_for_it_but_not_by_a_few_steps() -> None:
    gold = [[1, -1]] * 40
    good, fair = [[1, -1]] * 40, [[1, -1]] * 30 + [[1, 1]] * 10
    panel = panel_of(gold, [fair, good])
    half = np.stack([np.zeros(40, dtype=bool), np.arange(40) < 20], axis=1)  # 40 of 40 steps against 70 of 80
    assert best_single(replace(panel, seen=half).fair()[1]) == 1
    most = np.stack([np.zeros(40, dtype=bool), np.arange(40) > 0], axis=1)  # 2 of 2
    assert best_single(replace(panel, seen=most).fair()[1]) == 0
    assert best_single(panel) == 1


def test_every_task_keeps_a_trajectory_in_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    gold = [[1, -1, 1, 1]] * 400
    panel = panel_of(gold, [gold], groups=[0] * 396 + [1, 2, 3, 4])
    monkeypatch.setattr(module, "_MOST_STEPS", 40)
    for seed in range(5):
        part = panel.of(module._enough(panel, seed))
        assert sorted(part.groups) == [0] * 6 + [1, 2, 3, 4]
    monkeypatch.setattr(module, "_MOST_STEPS", 1600)
    assert np.array_equal(panel.of(module._enough(panel, 0)).groups, panel.groups)


@pytest.mark.parametrize("title", ["strong, 5", "cheap, 3", "open, 3", "open, 5 small", "mixed, 5"])
def test_gold_of_25_real_trajectories_never_makes_it_worse_than_the_best_judge(shared_data: Path, title: str) -> None:
    data = real.read(shared_data / "agentprocessbench", ["bfcl", "hotpotqa"])
    panel = data.panel(real.panels(list(data.judges))[title])
    order = np.random.default_rng(0).permutation(panel.n_trajectories)
    learnt, held = panel.of(np.sort(order[:25])), panel.of(np.sort(order[25:]))
    alone = float((held.votes[:, best_single(learnt)] == held.gold).mean())
    assert accuracy(fit(learnt), held) >= alone


def test_of_what_it_learnt_from_it_says_what_a_fit_says_that_has_not() -> None:
    """Else it would agree with the labels that have taught it, and with whoever gave them."""
    panel = without_gold(made_up(90, accuracies=(0.6, 0.6, 0.6), text_tells=True), 60)
    ids = list(range(100, 190))
    fusion = Fusion.from_bytes(fit(panel, ids=ids).to_bytes())
    plain = fusion.evidence(panel)
    found = fusion.unlearnt(ids, panel.starts, plain)
    learnt = panel.has_gold[panel.owner]
    assert np.array_equal(found[~learnt], plain[~learnt])
    right = [(some[learnt].argmax(axis=1) - 1 == panel.gold[learnt]).mean() for some in (found, plain)]
    assert right[0] == pytest.approx(fusion.scores[fusion.method].step_acc)
    assert right[0] < right[1]
    # Others, in another order: by name, not by place.
    other = panel.of([1, 80, 0])
    again = fusion.unlearnt([101, 7, 100], other.starts, np.ones((other.n_steps, 3)))
    for i, (a, b) in enumerate(pairwise(other.starts)):
        expected = np.ones((b - a, 3)) if i == 1 else found[panel.owner == (1, 80, 0)[i]]
        assert np.array_equal(again[a:b], expected)
