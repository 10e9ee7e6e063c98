"""Training: cross-validation by task finds how long to train and says how good the scorer is, then all data trains it.

On the CPU and with fixed seeds: the same rows, options and machine give the same weights.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from annotator.agreement.coefficients import FloatArray
from annotator.prelabelling.scorer_config import MAX_STEPS, MIN_TRAJECTORIES, ScorerOptions
from annotator.raters.metrics import GoldTrajectory
from workers.prm.data import targets_of
from workers.prm.encoder import Vectors
from workers.prm.errors import ScorerError
from workers.prm.model import Shape, StepScorer, corn_loss, member_probabilities

FOLDS = 5
PATIENCE = 20  # epochs without a better held-out loss, then training stops
_BATCH = 32
_RATE, _DECAY = 3e-4, 0.01

Progress = Callable[[int, int], None]  # epochs so far and in all; may raise to stop


@dataclass(frozen=True)
class Data:
    """What is learnt from: for each trajectory its inputs (n_steps, n_inputs) and its gold."""

    inputs: Sequence[Vectors]
    gold: Sequence[GoldTrajectory]
    vectors: Sequence[slice] = ()  # the columns of each encoded text

    def part(self, chosen: Sequence[int]) -> "Data":
        return Data([self.inputs[i] for i in chosen], [self.gold[i] for i in chosen], self.vectors)


@dataclass(frozen=True)
class Trained:
    """`held_out`: for each trajectory what a scorer that never saw its task says, uncalibrated (n_steps, 3)."""

    model: StepScorer
    n_epochs: int
    held_out: list[FloatArray]
    losses: list[float]  # per epoch of the cross-validation: mean negative log likelihood of the held-out steps


@contextmanager
def one_thread() -> Iterator[None]:
    """The network is so small that threads would mostly wait for each other; and one thread adds up in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train(data: Data, *, causal: bool, options: ScorerOptions, progress: Progress) -> Trained:
    """Raises ScorerError where there is too little to learn from."""
    groups = _checked(data)
    shape = Shape(data.inputs[0].shape[1], MAX_STEPS, causal)
    n_folds = min(FOLDS, len(groups))
    order = np.random.default_rng(options.seed).permutation(len(groups))
    fold_of = {groups[g]: place % n_folds for place, g in enumerate(order)}
    folds = [[i for i, one in enumerate(data.gold) if fold_of[one.group] == k] for k in range(n_folds)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        learners = []
        for held in folds:
            rest = sorted(set(range(len(data.gold))) - set(held))
            learners.append(_Learner(data.part(rest), shape, options))
        held_out: list[FloatArray] = []
        losses: list[float] = []
        while len(losses) < options.max_epochs and len(losses) - _best(losses) < PATIENCE:
            progress(len(losses), 2 * options.max_epochs)
            said: dict[int, FloatArray] = {}
            for learner, held in zip(learners, folds, strict=True):
                learner.epoch()
                probs, _ = predict(learner.model, [data.inputs[i] for i in held])
                said.update(zip(held, probs, strict=True))
            losses.append(_loss(said, data.gold))
            if _best(losses) == len(losses):
                held_out = [said[i] for i in range(len(data.gold))]
        n_epochs = _best(losses)
        torch.manual_seed(options.seed)
        final = _Learner(data, shape, options)
        for epoch in range(n_epochs):
            progress(options.max_epochs + epoch, options.max_epochs + n_epochs)
            final.epoch()
        progress(options.max_epochs + n_epochs, options.max_epochs + n_epochs)
    return Trained(final.model.eval(), n_epochs, held_out, losses)


@one_thread()
@torch.inference_mode()
def predict(model: StepScorer, inputs: Sequence[Vectors]) -> tuple[list[FloatArray], list[FloatArray]]:
    """For each trajectory (n_steps, 3) probabilities, and (n_steps,) the members' standard deviation of P(not -1)."""
    model.eval()
    probs, spread = [], []
    for start in range(0, len(inputs), _BATCH):
        rows, lengths = _padded(inputs[start : start + _BATCH])
        members = member_probabilities(model(rows, lengths))
        mean, deviation = members.mean(dim=2), (1 - members[..., 0]).std(dim=2, correction=0)
        for i, n in enumerate(lengths.tolist()):
            probs.append(mean[i, :n].numpy())
            spread.append(deviation[i, :n].numpy())
    return probs, spread


class _Learner:
    """One network in training, epoch by epoch."""

    def __init__(self, data: Data, shape: Shape, options: ScorerOptions) -> None:
        self.model = StepScorer(shape)
        self.model.normalise_by(torch.from_numpy(np.concatenate(data.inputs)), data.vectors)
        self._optimiser = torch.optim.AdamW(self.model.parameters(), lr=_RATE, weight_decay=_DECAY)
        self._inputs = data.inputs
        self._targets = [torch.from_numpy(targets_of(one)) for one in data.gold]
        share = torch.cat(self._targets).sum(dim=0)
        share = share / share.sum()
        by_value = share.clamp_min(1e-6) ** -0.5 if options.class_weights == "sqrt" else torch.ones(3)
        drawn = _drawn_tasks(data.gold, shape.n_members)
        # (steps, members): a step without gold has no target, so it weighs nothing.
        self._weights = [(t @ by_value)[:, None] * drawn[i] for i, t in enumerate(self._targets)]

    def epoch(self) -> None:
        self.model.train()
        order = torch.randperm(len(self._inputs)).tolist()
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            rows, lengths = _padded([self._inputs[i] for i in chosen])
            targets = pad_sequence([self._targets[i] for i in chosen], batch_first=True)
            weights = pad_sequence([self._weights[i] for i in chosen], batch_first=True)
            logits = self.model(rows, lengths)
            loss = corn_loss(logits, targets[:, :, None].expand(*logits.shape[:3], 3), weights)
            self._optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimiser.step()


def _drawn_tasks(gold: Sequence[GoldTrajectory], n_members: int) -> Tensor:
    """(trajectories, members): how often each member drew the trajectory's task, with replacement."""
    number = {group: i for i, group in enumerate(dict.fromkeys(one.group for one in gold))}
    draws = torch.randint(len(number), (n_members, len(number)))
    counts = torch.stack([torch.bincount(row, minlength=len(number)) for row in draws], dim=1).float()
    return counts[[number[one.group] for one in gold]]


def _padded(inputs: Sequence[Vectors]) -> tuple[Tensor, Tensor]:
    rows = [torch.from_numpy(one) for one in inputs]
    return pad_sequence(rows, batch_first=True), torch.tensor([len(one) for one in rows])


def _checked(data: Data) -> list[object]:
    """The tasks that have gold."""
    with_gold = [one for one in data.gold if one.has_gold.any()]
    groups = list(dict.fromkeys(one.group for one in data.gold))
    if len(with_gold) < MIN_TRAJECTORIES:
        raise ScorerError(
            f"{len(with_gold)} trajectories with gold are too few to train on; it takes {MIN_TRAJECTORIES}, outside of "
            "the tasks that are only measured on. Settle more trajectories first."
        )
    if len(groups) < 2:
        raise ScorerError(
            f"All {len(with_gold)} trajectories belong to one task; a scorer is checked on tasks that it was not "
            "trained on, so it takes trajectories of a second one."
        )
    if not any((one.values[one.has_gold] != with_gold[0].values[with_gold[0].has_gold][0]).any() for one in with_gold):
        raise ScorerError("All steps with gold have the same value, so there is nothing to tell apart.")
    return list(groups)


def _loss(said: dict[int, FloatArray], gold: Sequence[GoldTrajectory]) -> float:
    """Mean negative log likelihood of the steps with gold."""
    of_gold = [said[i][one.has_gold, one.values[one.has_gold] + 1] for i, one in enumerate(gold) if one.has_gold.any()]
    return float(-np.log(np.maximum(np.concatenate(of_gold), 1e-12)).mean())


def _best(losses: Sequence[float]) -> int:
    """After how many epochs the held-out loss was lowest; 0 before the first."""
    return int(np.argmin(losses)) + 1 if losses else 0
