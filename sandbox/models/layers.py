"""Layers that several models have."""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

Depth = Annotated[int, Field(ge=1, le=256)]  # Channels of picture networks.


def full(x: Tensor) -> Tensor:
    """Return numbers in float32 at least: those of float64 stay, for dreams that compute in it."""
    return x if x.dtype == torch.float64 else x.float()


class RmsNorm(nn.RMSNorm):
    """RMSNorm in float32 at least, whatever the precision of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised numbers, (..., size)."""
        return super().forward(full(x))


class Layers(nn.Sequential):
    """Linear layers, each with RMSNorm and SiLU, and a last one without.

    Args:
        sizes: of the input, of each hidden layer, and of the output.
    """

    def __init__(self, *sizes: int) -> None:
        layers = list[nn.Module]()
        for before, after in pairwise(sizes[:-1]):
            layers += [nn.Linear(before, after, bias=False), RmsNorm(after), nn.SiLU()]
        super().__init__(*layers, nn.Linear(sizes[-2], sizes[-1]))


def scaled(layer: nn.Linear, by: float) -> nn.Linear:
    """Return a layer that begins with weights smaller than usual, and without bias."""
    with torch.no_grad():
        layer.weight.mul_(by)
        layer.bias.zero_()
    return layer
