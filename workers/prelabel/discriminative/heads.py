"""The small networks on top of a decoder. They see only the positions that are read, and compute in fp32.

Heads keep their weights in fp32 whatever the decoder's dtype is: a softmax in bf16 saturates, and the ties make every
ranking by uncertainty useless.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    weight: Tensor  # (out, in), or (members, in, out) in an ensemble
    bias: Tensor | None  # (out,), or (members, out)
    relu: bool


@dataclass(frozen=True)
class LinearHead:
    """Linear layers one after the other; also the rows of a language model's head."""

    layers: tuple[Layer, ...]

    def __call__(self, hidden: Tensor) -> Tensor:
        """(n, width) -> (1, n, outputs)."""
        x = hidden.float()
        for layer in self.layers:
            x = torch.nn.functional.linear(x, layer.weight, layer.bias)  # (n, out)
            x = x.relu() if layer.relu else x
        return x[None]


@dataclass(frozen=True)
class EnsembleHead:
    """Networks side by side (sail-sg/ActivePRM: nets.py, `EnsembleFC`)."""

    layers: tuple[Layer, ...]

    def __call__(self, hidden: Tensor) -> Tensor:
        """(n, width) -> (members, n, 1)."""
        members = self.layers[0].weight.shape[0]
        x = hidden.float().expand(members, *hidden.shape)  # (members, n, width)
        for layer in self.layers:
            x = torch.einsum("enh,ehm->enm", x, layer.weight)  # (members, n, out)
            x = x if layer.bias is None else x + layer.bias[:, None, :]
            x = x.relu() if layer.relu else x
        return x


Head = LinearHead | EnsembleHead
