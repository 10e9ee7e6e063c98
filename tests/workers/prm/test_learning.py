"""Training and scoring on trajectories whose labels can be read off their words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotator.prelabelling.scorer_config import FEATURES, TrainingOptions
from annotator.prelabelling.scorer_config import HashedEncoder as HashedConfig
from annotator.prelabelling.scores import ScoringError, TrajectoryScores, TrajectoryText
from tests.workers.prm import toy
from workers.prm import checkpoint, scoring
from workers.prm.data import Example, data_sha256, example_of
from workers.prm.encoder import HashedEncoder
from workers.prm.errors import ScorerError
from workers.prm.learn import Learnt, learn

OPTIONS = TrainingOptions(name="toy", release=1, max_epochs=30)
EXAMPLES = [toy.example(number) for number in range(48)]
NOWHERE = Path("/nowhere")


def train(examples: list[Example], options: TrainingOptions = OPTIONS, **more: Any) -> Learnt:
    return learn(examples, options, HashedEncoder(HashedConfig()), **more)


def scorer_of(learnt: Learnt) -> scoring.Scorer:
    return scoring.Scorer(learnt.model_file(None), learnt.checkpoint, learnt.encoder)


def said(scorer: scoring.Scorer, texts: list[TrajectoryText]) -> list[TrajectoryScores]:
    found = [one for _, one in scorer.score(enumerate(texts))]
    assert all(isinstance(one, TrajectoryScores) for one in found)
    return found  # type: ignore[return-value]


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    return train(EXAMPLES)


def test_it_scores_trajectories_that_it_has_never_seen(learnt: Learnt) -> None:
    new = [toy.example(number) for number in range(1000, 1040)]
    scores = said(scorer_of(learnt), [one.text for one in new])
    right = [
        (one.probs.argmax(axis=1) - 1 == example.gold.values).mean() for one, example in zip(scores, new, strict=True)
    ]
    assert np.mean(right) > 0.95
    always = np.mean(np.concatenate([example.gold.values for example in new]) == 1)
    assert always < 0.55
    for one, example in zip(scores, new, strict=True):
        assert one.probs.shape == (example.n_steps, 3)
        assert one.spread is not None
        assert ((one.spread > 0) & (one.spread < 0.5)).all()
        assert one.raw is not None
        assert ((one.raw > 0) & (one.raw < 1)).all()


def test_its_story_says_what_it_learnt_from_and_how_good_it_is(learnt: Learnt) -> None:
    story: Any = learnt.story
    n_steps = sum(one.n_steps for one in EXAMPLES)
    counts = {key: story[key] for key in ("n_trajectories", "n_steps", "n_tasks", "n_left_out", "test")}
    assert counts == {"n_trajectories": 48, "n_steps": n_steps, "n_tasks": 12, "n_left_out": 0, "test": None}
    losses = story["held_out_losses"]
    assert 1 <= story["n_epochs"] <= len(losses["with_texts"]) <= 30
    assert story["n_epochs"] == 1 + int(np.argmin(losses["with_texts"]))
    assert min(losses["with_texts"]) < min(losses["without_texts"])  # here only the words say what is wrong
    assert (story["features"], story["encoder"]) == (list(FEATURES), {"kind": "hashed", "width": 256})
    held_out = story["held_out"]
    assert held_out["scorer"]["step_acc"]["n"] == n_steps
    low, value = held_out["scorer"]["step_acc"]["low"], held_out["scorer"]["step_acc"]["value"]
    assert held_out["always_positive"]["step_acc"]["high"] < 0.6 < low <= value
    assert story["calibration"]["n_trajectories"] == 48
    assert 0 < learnt.checkpoint.temperature != 1
    assert json.loads(json.dumps(story)) == story


def test_the_same_rows_options_and_seed_give_the_same_weights() -> None:
    short = OPTIONS.model_copy(update={"max_epochs": 2})
    weights = [train(EXAMPLES[:14], options).checkpoint.weights() for options in (short, short)]
    assert weights[0] == weights[1]
    other = train(EXAMPLES[:14], short.model_copy(update={"seed": 1}))
    assert other.checkpoint.weights() != weights[0]
    assert other.story["data_sha256"] == train(EXAMPLES[:14][::-1], short).story["data_sha256"]


def test_a_checkpoint_scores_as_what_was_saved(learnt: Learnt, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    checkpoint.write(folder, learnt.checkpoint, learnt.story)
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "scorer.json"]
    assert json.loads((folder / "scorer.json").read_text())["format_version"] == 1
    texts = [toy.example(number).text for number in range(7)]
    loaded = scoring.load(learnt.model_file(None), folder, NOWHERE)
    for before, after in zip(said(scorer_of(learnt), texts), said(loaded, texts), strict=True):
        np.testing.assert_allclose(after.probs, before.probs, atol=1e-6)
        assert after.spread == pytest.approx(before.spread, abs=1e-6)


def test_a_checkpoint_that_is_not_the_one_of_the_model_file_is_refused(learnt: Learnt, tmp_path: Path) -> None:
    config, folder = learnt.model_file(None), tmp_path / "toy"
    with pytest.raises(ScorerError, match="no weights of the scorer toy: it was trained on another machine"):
        scoring.load(config, folder, NOWHERE)
    checkpoint.write(folder, learnt.checkpoint, learnt.story)
    with pytest.raises(ScorerError, match="are not those that the model file names"):
        scoring.load(config.model_copy(update={"weights_sha256": "0" * 64}), folder, NOWHERE)
    with pytest.raises(ScorerError, match=r"trained on features of version 0 .* Train it again"):
        scoring.load(config.model_copy(update={"features_version": 0}), folder, NOWHERE)
    story = folder / "scorer.json"
    story.write_text(story.read_text().replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(ScorerError, match="has the format version 9; this worker reads 1"):
        scoring.load(config, folder, NOWHERE)


def test_the_order_of_trajectories_changes_nothing(learnt: Learnt) -> None:
    texts = [toy.example(number).text for number in range(40)]
    forwards = said(scorer_of(learnt), texts)
    backwards = said(scorer_of(learnt), texts[::-1])[::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_allclose(one.probs, other.probs, atol=1e-6)


def test_with_the_mask_prefix_no_later_message_changes_a_score() -> None:
    options = OPTIONS.model_copy(update={"mask": "prefix", "max_epochs": 3})
    scorer = scorer_of(train(EXAMPLES[:20], options))
    messages = toy.messages_of([1, 1, 1, 1])
    changed = [*messages]
    changed[4] = {"role": "tool", "tool_call_id": "c1", "content": "Traceback: it is all lost"}  # what step 1 got back
    changed[5] = {"role": "assistant", "content": toy.SAYS[-1]}  # step 2
    one, other = said(scorer, [TrajectoryText("x", each, []) for each in (messages, changed)])
    np.testing.assert_allclose(one.probs[:2], other.probs[:2], atol=1e-9)
    assert np.abs(one.probs[2:] - other.probs[2:]).max() > 1e-4


def test_a_trajectory_that_cannot_be_scored_says_why_and_stops_no_other(learnt: Learnt) -> None:
    deep: object = "x"
    for _ in range(900):
        deep = {"a": deep}
    texts = [
        TrajectoryText("long", toy.messages_of([1] * 129), []),
        toy.example(1).text,
        TrajectoryText("empty", [{"role": "user", "content": "?"}], []),
    ]
    long, good, empty = [one for _, one in scorer_of(learnt).score(enumerate(texts))]
    assert isinstance(long, ScoringError)
    assert str(long) == "It has 129 steps; the scorer reads 1 to 128."
    assert isinstance(good, TrajectoryScores)
    assert str(empty) == "It has 0 steps; the scorer reads 1 to 128."


def test_nothing_is_learnt_from_the_split_test_nor_from_what_is_too_long() -> None:
    tests = [toy.example(number, is_test=True) for number in range(100, 108)]
    long = replace(
        toy.example(200),
        text=TrajectoryText("x", toy.messages_of([1] * 129), []),
        gold=replace(toy.example(200).gold, values=np.ones(129, int), has_gold=np.ones(129, bool)),
    )
    options = OPTIONS.model_copy(update={"max_epochs": 2})
    alone = train(EXAMPLES[:14], options)
    beside = train([*EXAMPLES[:14], *tests, long], options)
    # Not bit for bit: how many texts are encoded at once decides in which order some processors add up.
    assert apart(alone, beside) < 1e-4
    learnt_too = [replace(one, is_test=False) for one in tests]
    assert apart(alone, train([*EXAMPLES[:14], *learnt_too], options)) > 1e-2
    story: Any = beside.story
    assert (story["n_trajectories"], story["n_left_out"]) == (14, 1)
    assert story["test"]["scorer"]["step_acc"]["n"] == sum(one.n_steps for one in tests)
    assert alone.story["data_sha256"] != beside.story["data_sha256"]


def apart(one: Learnt, other: Learnt) -> float:
    """How far the weights of two scorers are from each other, at most."""
    weights, others = one.checkpoint.model.state_dict(), other.checkpoint.model.state_dict()
    return max(float((weight - others[name]).abs().max()) for name, weight in weights.items())


def changed(example: Example, **fields: object) -> Example:
    return replace(example, gold=replace(example.gold, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("examples", "sentence"),
    [
        ([], "0 trajectories with gold are too few to train on; it takes 10"),
        (EXAMPLES[:9], "9 trajectories with gold are too few to train on; it takes 10"),
        ([toy.example(n, is_test=True) for n in range(20)], "0 trajectories with gold are too few"),
        ([changed(one, group="one task") for one in EXAMPLES[:12]], "All 12 trajectories belong to one task"),
        ([changed(one, values=np.ones(one.n_steps, int)) for one in EXAMPLES[:12]], "have the same value"),
        ([changed(one, has_gold=np.zeros(one.n_steps, bool)) for one in EXAMPLES[:12]], "0 trajectories with gold"),
    ],
)
def test_too_little_is_refused_with_a_sentence(examples: list[Example], sentence: str) -> None:
    with pytest.raises(ScorerError, match=sentence):
        train(examples)


def test_progress_is_told_in_epochs_and_may_stop_the_training() -> None:
    told: list[tuple[int, int]] = []
    train(EXAMPLES[:14], OPTIONS.model_copy(update={"max_epochs": 3}), progress=lambda *now: told.append(now))
    assert told[0] == (0, 12)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(EXAMPLES[:14], OPTIONS.model_copy(update={"max_epochs": 3}), progress=stop)


def test_texts_that_do_not_help_are_no_feature_and_need_no_encoder(tmp_path: Path) -> None:
    """Four times of five a call that is no JSON says that a step is wrong; the texts are noise."""
    examples = []
    for number in range(40):
        plain, dice = toy.example(number), np.random.default_rng(number)
        messages = toy.messages_of([1] * plain.n_steps, number)
        values = dice.choice([-1, 1], size=plain.n_steps)
        for t, step in enumerate(messages[1::2]):
            step["content"] = "".join(dice.choice(list("abcdefghijklmnop"), size=200))
            seems_right = values[t] == (1 if dice.random() < 0.8 else -1)
            step["tool_calls"][0]["function"]["arguments"] = "{}" if seems_right else "{"
        text = TrajectoryText("x", messages, [])
        examples.append(replace(plain, text=text, gold=replace(plain.gold, values=values)))
    learnt = train(examples)
    losses: Any = learnt.story["held_out_losses"]
    assert min(losses["without_texts"]) < min(losses["with_texts"])
    config = learnt.model_file(None)
    assert config.is_calibrated
    assert not train(EXAMPLES[:14], OPTIONS.model_copy(update={"max_epochs": 1})).model_file(None).is_calibrated
    assert (learnt.encoder, config.encoder, config.features) == (None, None, FEATURES[2:])
    checkpoint.write(tmp_path / "toy", learnt.checkpoint, learnt.story)
    texts = [one.text for one in examples[:5]]
    loaded = scoring.load(config, tmp_path / "toy", NOWHERE)
    for before, after in zip(said(scorer_of(learnt), texts), said(loaded, texts), strict=True):
        np.testing.assert_allclose(after.probs, before.probs, atol=1e-6)
        assert (after.n_tokens, after.n_dropped_tokens, after.first_truncated_step) == (0, 0, None)


def test_rare_values_count_more_when_asked_for() -> None:
    options = OPTIONS.model_copy(update={"max_epochs": 2})
    plain = train(EXAMPLES[:20], options)
    weighted = train(EXAMPLES[:20], options.model_copy(update={"class_weights": "sqrt"}))
    texts = [toy.example(number).text for number in range(300, 330)]
    neutral = [np.concatenate([one.probs[:, 1] for one in said(scorer_of(each), texts)]) for each in (plain, weighted)]
    assert neutral[1].mean() > neutral[0].mean()  # 0 is the rarest value


def test_a_row_of_a_release_becomes_an_example_as_its_policy_sees_it() -> None:
    step = {"message_index": 1, "provenance": "majority", "counts": True, "labels": [], "decisions": []}
    record = {
        "instruction": "Find it.", "messages": toy.messages_of([1, -1, 1, 0]), "tools": [], "reference": "here",
        "environment_outcome": 1.0, "group_key": "g", "metadata": {"data_source": "toys"}, "content_sha256": "c",
        "split": "test",
        "steps": [{**step, "index": i, "value": value} for i, value in enumerate([1, -1, 1, None])],
    }  # fmt: skip
    as_labelled = example_of(record, "as_labelled")  # type: ignore[arg-type]
    assert as_labelled.gold.values.tolist() == [1, -1, 1, 0]
    assert as_labelled.gold.has_gold.tolist() == [True, True, True, False]
    assert (as_labelled.gold.group, as_labelled.gold.domain, as_labelled.is_test) == ("g", "toys", True)
    stopped = example_of(record, "stop_at_first")  # type: ignore[arg-type]
    assert stopped.gold.has_gold.tolist() == [True, True, False, False]
    hashes = {data_sha256([one], with_reference=False) for one in (as_labelled, stopped)}
    assert len(hashes) == 2
