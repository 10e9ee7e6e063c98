"""Scoring agents' trajectories: equal to a loop over prefixes, blind to what shares the batch, and hard to stop."""

import threading
from typing import Any

import numpy as np
import pytest
import torch

from annotator.prelabelling.scores import ScoringError, TrajectoryScores, TrajectoryText
from tests.workers.prelabel import checkpoints
from tests.workers.prelabel.agents import model_file, run, searches
from workers.prelabel.discriminative import Scorer, load
from workers.prelabel.discriminative.mapping import probabilities

TRAJECTORIES = {
    "short": searches("Ann is the queen."),
    "answer": run({"role": "assistant", "content": "It is Ann."}),
    "long": searches(*[f"{i} people know that Ann is the queen. " * i for i in range(1, 10)]),
    "other": searches("Bob is the king. " * 12, "No. " * 7),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    names = ("qwen2.5-math-prm-7b", "freeprm-qwen2.5-math-7b", "rlhflow-llama3.1-8b-prm-mistral")
    made = {name: tmp_path_factory.mktemp("model") for name in names}
    for name, folder in made.items():
        checkpoints.save(name, folder)
    return made


@pytest.fixture
def scorer(folders):
    return load(model_file("qwen2.5-math-prm-7b"), folders["qwen2.5-math-prm-7b"], "cpu")


def scores(scorer: Scorer, trajectories: dict[str, TrajectoryText], budget: int | None = None) -> dict[str, Any]:
    return dict(scorer.score(trajectories.items(), budget))


def prefix_loop(scorer: Scorer, trajectory: TrajectoryText) -> np.ndarray:
    """(n_steps, 3): one forward pass per step over the ids up to the position that is read."""
    (row,) = scorer.encoder.encode(trajectory).rows
    logits = []
    for read in row.reads:
        ids = torch.from_numpy(row.ids[: read + 1])[None]
        mask = torch.ones_like(ids)
        mask[0, [h for h in row.hidden if h <= read]] = 0
        visible = scorer.config.markers_visible
        with torch.no_grad():
            hidden = scorer.backbone(ids, attention_mask=None if visible else mask).last_hidden_state
        logits.append(scorer.head(hidden[0, -1:]).numpy())
    return probabilities(np.concatenate(logits, axis=1), scorer.config.map)[0]


@pytest.mark.parametrize("name", ["qwen2.5-math-prm-7b", "freeprm-qwen2.5-math-7b", "rlhflow-llama3.1-8b-prm-mistral"])
def test_one_pass_equals_a_loop_over_prefixes(folders, name):
    scorer = load(model_file(name), folders[name], "cpu")
    got = scores(scorer, TRAJECTORIES)
    for key, trajectory in TRAJECTORIES.items():
        assert np.abs(got[key].probs - prefix_loop(scorer, trajectory)).max() < 1e-5
        assert len(got[key].probs) == trajectory.n_steps


@pytest.mark.parametrize("name", ["qwen2.5-math-prm-7b", "freeprm-qwen2.5-math-7b"])
def test_scores_do_not_depend_on_what_shares_the_batch(folders, name):
    scorer = load(model_file(name), folders[name], "cpu")
    alone = {key: scores(scorer, {key: trajectory})[key] for key, trajectory in TRAJECTORIES.items()}
    for budget in (1, 600, 100_000):
        together = scores(scorer, TRAJECTORIES, budget)
        for key in TRAJECTORIES:
            assert np.abs(together[key].probs - alone[key].probs).max() < 1e-6


def test_a_change_after_a_step_does_not_reach_its_score(scorer):
    before = scores(scorer, {"a": searches("Ann.", "Bob.")})["a"].probs
    after = scores(scorer, {"a": searches("Ann.", "Something else altogether.")})["a"].probs
    assert np.abs(before[:2] - after[:2]).max() < 1e-6
    assert np.abs(before[2] - after[2]).max() > 1e-4


def test_only_the_positions_that_are_read_go_through_the_head_and_no_mask_is_made(scorer):
    seen = []
    backbone, head = scorer.backbone, scorer.head

    class Spy:
        device = backbone.device

        def __call__(self, **arguments):
            seen.append((arguments["input_ids"].shape, arguments["attention_mask"], arguments["use_cache"]))
            return backbone(**arguments)

    scorer.backbone = Spy()
    scorer.head = lambda hidden: (seen.append(tuple(hidden.shape)), head(hidden))[1]
    scores(scorer, {"short": TRAJECTORIES["short"], "answer": TRAJECTORIES["answer"]}, 100_000)
    ((shape, mask, cache), read) = seen
    assert shape[0] == 2  # one pass for both
    assert (mask, cache) == (None, False)
    assert read == (3, 32)  # two steps and one


def test_windows_are_scored_like_texts_of_their_own_and_reported(folders):
    config = model_file("qwen2.5-math-prm-7b", limits={"max_tokens": 300, "tool_result_tokens": 40})
    scorer = load(config, folders["qwen2.5-math-prm-7b"], "cpu")
    trajectory = searches(*["Ann is the queen. " * 30] * 8)
    encoded = scorer.encoder.encode(trajectory)
    assert len(encoded.rows) > 1
    got = scores(scorer, {"long": trajectory, "short": TRAJECTORIES["short"]})
    assert got["long"].n_tokens == sum(len(row.ids) for row in encoded.rows)
    assert got["long"].n_dropped_tokens == encoded.n_dropped_tokens > 0
    assert got["long"].first_truncated_step == 1
    assert got["short"].n_dropped_tokens == 0
    last = encoded.rows[-1]
    with torch.no_grad():
        hidden = scorer.backbone(torch.from_numpy(last.ids)[None]).last_hidden_state[0, last.reads]
    expected = probabilities(scorer.head(hidden).numpy(), config.map)[0]
    assert np.abs(got["long"].probs[last.first_step :] - expected).max() < 1e-5


def test_the_context_of_the_checkpoint_bounds_the_window(folders):
    config = model_file("qwen2.5-math-prm-7b", limits={"max_tokens": 100_000})
    assert load(config, folders["qwen2.5-math-prm-7b"], "cpu").encoder.max_tokens == 4096


def test_a_trajectory_that_cannot_be_rendered_does_not_stop_the_others(folders):
    config = model_file("qwen2.5-math-prm-7b", render={"collision": "error"})
    scorer = load(config, folders["qwen2.5-math-prm-7b"], "cpu")
    got = scores(scorer, {"forged": searches("<extra_0>"), "empty": TrajectoryText("", [], []), **TRAJECTORIES})
    assert [key for key, value in got.items() if isinstance(value, ScoringError)] == ["forged", "empty"]
    assert all(isinstance(got[key], TrajectoryScores) for key in TRAJECTORIES)


class SmallMemory:
    """A decoder that has memory for so many tokens at once."""

    def __init__(self, scorer: Scorer, tokens: int) -> None:
        self.inner, self.tokens, self.device = scorer.backbone, tokens, scorer.backbone.device
        self.sizes: list[int] = []

    def __call__(self, **arguments):
        self.sizes.append(arguments["input_ids"].numel())
        if self.sizes[-1] > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.inner(**arguments)


def test_running_out_of_memory_halves_the_budget_and_goes_on(scorer):
    many = {f"{key} {i}": trajectory for i in range(4) for key, trajectory in TRAJECTORIES.items()}
    expected = scores(scorer, many)
    n_longest = max(len(scorer.encoder.encode(trajectory).rows[0].ids) for trajectory in many.values())
    scorer.backbone = memory = SmallMemory(scorer, n_longest)
    got = scores(scorer, many, 8 * n_longest)
    assert set(got) == set(many)
    for key in many:
        assert np.abs(got[key].probs - expected[key].probs).max() < 1e-6
    failed = [size for size in memory.sizes if size > memory.tokens]
    assert failed == sorted(failed, reverse=True)
    assert 1 <= len(failed) <= 3  # halved, not tried again at the same size


def test_a_trajectory_too_large_for_the_device_is_refused_alone(scorer):
    sizes = {key: len(scorer.encoder.encode(text).rows[0].ids) for key, text in TRAJECTORIES.items()}
    scorer.backbone = SmallMemory(scorer, sizes["long"] - 1)
    got = scores(scorer, TRAJECTORIES, 100_000)
    assert [key for key, value in got.items() if isinstance(value, ScoringError)] == ["long"]
    assert f"too little memory for {sizes['long']} tokens at once; lower limits.max_tokens" in str(got["long"])


def test_a_trajectory_of_which_several_windows_fail_is_told_once(folders):
    config = model_file("qwen2.5-math-prm-7b", limits={"max_tokens": 300, "tool_result_tokens": 40})
    scorer = load(config, folders["qwen2.5-math-prm-7b"], "cpu")
    scorer.backbone = SmallMemory(scorer, 150)
    found = list(
        scorer.score([("long", searches(*["Ann is the queen. " * 30] * 8)), ("answer", TRAJECTORIES["answer"])])
    )
    assert sorted(key for key, _ in found) == ["answer", "long"]
    assert isinstance(dict(found)["long"], ScoringError)


def test_no_finite_number_is_an_abstention_with_a_note(scorer):
    inner = scorer.head
    scorer.head = lambda hidden: inner(hidden) * torch.where(torch.arange(len(hidden)) == 0, torch.nan, 1.0)[:, None]
    got = scores(scorer, {"short": TRAJECTORIES["short"]})["short"]
    assert got.abstained.tolist() == [True, False]
    assert got.note == "The model gave no finite number for 1 of 2 steps."


def test_scores_after_the_first_predicted_error_are_marked(folders):
    scorer = load(model_file("qwen2.5-math-prm-7b"), folders["qwen2.5-math-prm-7b"], "cpu")
    inner = scorer.head
    tilt = torch.tensor([[-9.0, 9.0], [9.0, -9.0]])  # good, then wrong, wrong, …

    def head(hidden):
        return inner(hidden) * 0 + tilt[(torch.arange(len(hidden)) > 0).long()]

    scorer.head = head
    got = scores(scorer, {"a": searches("Ann.", "Bob.")})["a"]
    assert got.probs.argmax(axis=1).tolist() == [2, 0, 0]
    assert got.first_extrapolated_step == 2
    assert scores(scorer, {"a": TRAJECTORIES["answer"]})["a"].first_extrapolated_step is None
    scorer.config = scorer.config.model_copy(update={"trained_until_first_error": False})
    assert scores(scorer, {"a": searches("Ann.", "Bob.")})["a"].first_extrapolated_step is None


def test_the_trajectories_are_read_in_the_thread_that_asks(scorer, monkeypatch):
    """A database cursor must not move to another thread."""
    monkeypatch.setattr("workers.prelabel.discriminative.engine._CHUNK", 2)
    threads, encoding = set(), set()
    encode = scorer.encoder.encode
    scorer.encoder.encode = lambda trajectory: (encoding.add(threading.current_thread()), encode(trajectory))[1]

    def source():
        for item in TRAJECTORIES.items():
            threads.add(threading.current_thread())
            yield item

    assert len(list(scorer.score(source()))) == 4
    assert threads == {threading.main_thread()}
    assert threading.main_thread() not in encoding


def test_stopping_early_leaves_no_thread_behind(scorer):
    scoring = scorer.score(TRAJECTORIES.items(), 1)
    next(scoring)
    scoring.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tokenise")]


def test_half_precision_is_near_and_its_heads_are_not_rounded(folders):
    config = model_file("qwen2.5-math-prm-7b")
    exact = scores(load(config, folders["qwen2.5-math-prm-7b"], "cpu"), TRAJECTORIES)
    half_config = config.model_copy(update={"dtype": "bfloat16"})
    half = scores(load(half_config, folders["qwen2.5-math-prm-7b"], "cpu"), TRAJECTORIES)
    raw = np.concatenate([half[key].raw for key in TRAJECTORIES])
    assert np.abs(raw - np.concatenate([exact[key].raw for key in TRAJECTORIES])).max() < 0.05
    assert (raw != torch.tensor(raw).bfloat16().double().numpy()).all()


def test_nothing_to_score_gives_nothing(scorer):
    assert scores(scorer, {}) == {}
