"""The network: steps attend to steps, and an ensemble of ordinal heads reads each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

N_LOGITS = 2  # f1: is the value above -1? f2: is it above 0, given that it is above -1?
_PRIOR_SCALE = 0.5
_VECTOR_VARIANCE = 1.0  # in all, of an encoded text


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; they stand beside the weights, so that they can be loaded again."""

    n_inputs: int
    max_steps: int
    causal: bool
    width: int = 128
    n_layers: int = 2
    n_heads: int = 4
    feedforward: int = 256
    n_members: int = 8
    member_width: int = 32
    dropout: float = 0.1


class StepScorer(nn.Module):
    """(batch, steps, n_inputs) -> (batch, steps, members, 2) logits."""

    centre: Tensor
    scale: Tensor
    prior: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("centre", torch.zeros(shape.n_inputs))
        self.register_buffer("scale", torch.ones(shape.n_inputs))
        self.project = nn.Linear(shape.n_inputs, shape.width)
        self.position = nn.Embedding(shape.max_steps, shape.width)
        nn.init.normal_(self.position.weight, std=0.02)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        members, hidden = shape.n_members, shape.member_width
        self.hidden = nn.Linear(shape.width, members * hidden)
        self.out = nn.Parameter(torch.randn(members, hidden, N_LOGITS) / hidden**0.5)
        self.bias = nn.Parameter(torch.zeros(members, N_LOGITS))
        # Each member starts from a function of its own that is never trained: where no data has pulled them together,
        # the members go on to differ.
        self.register_buffer("prior", torch.randn(shape.n_inputs, members, N_LOGITS) / shape.n_inputs**0.5)

    def normalise_by(self, rows: Tensor, vectors: Sequence[slice]) -> None:
        """Centres and scales inputs as (n, n_inputs) rows of the training data are spread.

        Every number gets the variance 1. The columns of an encoded text (`vectors`) keep their proportions and share
        one scale: hundreds of them must not drown the few numbers beside them.
        """
        self.centre.copy_(rows.mean(dim=0))
        variance = rows.var(dim=0, correction=0)
        for columns in vectors:
            variance[columns] = variance[columns].sum() / _VECTOR_VARIANCE
        self.scale.copy_(torch.where(variance > 1e-12, variance.sqrt(), torch.ones_like(variance)))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """`lengths` (batch,): how many steps of each row are real; the logits of the others mean nothing."""
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        # Far outside of what training saw, a number says no more than that it is unusual.
        rows = ((inputs - self.centre) / self.scale).clamp(-5, 5)
        seen = (steps < lengths[:, None])[:, None, None, :]
        if self.shape.causal:
            seen = seen & (steps[None, :] <= steps[:, None])
        hidden = self.dropout(self.project(rows) + self.position(steps))
        for layer in self.layers:
            hidden = layer(hidden, seen)
        members = F.gelu(self.hidden(self.norm(hidden))).view(*rows.shape[:2], self.shape.n_members, -1)
        prior = torch.einsum("bsi,imk->bsmk", rows, self.prior)
        return torch.einsum("bsmh,mhk->bsmk", members, self.out) + self.bias + _PRIOR_SCALE * prior


class _Layer(nn.Module):
    """Attention over the steps that `seen` allows, and a feed-forward network; both on normalised inputs."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_heads, self.rate = shape.n_heads, shape.dropout
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attention, self.mix = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.wide, self.narrow = nn.Linear(shape.width, shape.feedforward), nn.Linear(shape.feedforward, shape.width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, hidden: Tensor, seen: Tensor) -> Tensor:
        parts = self.attention(self.norm1(hidden)).view(*hidden.shape[:2], 3, self.n_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (batch, heads, steps, width of a head)
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=rate)
        hidden = hidden + self.dropout(self.mix(mixed.transpose(1, 2).flatten(-2)))
        change: Tensor = self.dropout(self.narrow(self.dropout(F.gelu(self.wide(self.norm2(hidden))))))
        return change + hidden


def corn_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Two conditional questions (CORN): above -1? And of what is above -1: above 0?

    `logits` (..., 2), `targets` (..., 3) a distribution over -1, 0, +1, `weights` (...) of the steps. A step takes part
    in the second question as far as it is above -1. The sum is divided by the weight of all that was asked.
    """
    above = targets[..., 1] + targets[..., 2]
    best = targets[..., 2] / above.clamp_min(1e-12)
    first = F.binary_cross_entropy_with_logits(logits[..., 0], above, reduction="none")
    second = F.binary_cross_entropy_with_logits(logits[..., 1], best, reduction="none")
    asked = weights * (1 + above)
    return (weights * (first + above * second)).sum() / asked.sum().clamp_min(1e-12)


def member_probabilities(logits: Tensor) -> Tensor:
    """(..., 2) -> (..., 3): P(-1), P(0), P(+1)."""
    first, second = torch.sigmoid(logits.double()).unbind(-1)
    return torch.stack([1 - first, first * (1 - second), first * second], dim=-1)
