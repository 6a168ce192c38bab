"""Heads that read numbers out of a latent: proprio, reward, the end."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from sandbox.models import grid
from sandbox.models.protocol import Shapes

TERMINATED = "terminated"
NUMBERS = ("proprio", "reward", TERMINATED)  # What heads give, where the data has it.


class Normal(nn.Module):
    """Mean and scale of a column, by which it is normalised.

    Args:
        shape: of a row.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def set(self, mean: Tensor, scale: Tensor) -> None:
        """Take statistics of the data; what has no scale is divided by one."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))

    def into(self, rows: Tensor) -> Tensor:
        """Return rows in units of their scale."""
        return (rows - self.mean) / self.std

    def out_of(self, normal: Tensor) -> Tensor:
        """Return what `into` was given."""
        return normal * self.std + self.mean


class Heads(nn.Module):
    """Reads numbers out of features (B, F).

    Args:
        features: how many there are.
        shapes: of the columns that there are.
        width: of the hidden layer.
        exact: of an exact model, the largest feature of either sign, and their grid; else None.
    """

    def __init__(
        self, features: int, shapes: Shapes, width: int, exact: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self.columns = tuple(one for one in NUMBERS if one in shapes)
        self._shapes = {one: tuple(shapes[one]) for one in self.columns}
        sizes = [_size(self._shapes[one]) for one in self.columns]
        self._sizes = sizes
        self.normal = nn.ModuleDict(
            {one: Normal(self._shapes[one]) for one in self.columns if one != TERMINATED}
        )
        self._exact, last = exact is not None, max(1, sum(sizes))
        self.read: nn.Sequential
        if exact is None:
            self.read = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, last))
        else:
            first = grid.Linear(features, width, *exact)
            bends = grid.Clip(0.0, grid.HIDDEN)
            self.read = nn.Sequential(
                first, bends, grid.Linear(width, last, grid.HIDDEN, grid.STEP)
            )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return each column: normalised numbers, and of the end its logit."""
        parts = self.read(features)[:, : sum(self._sizes)].split(self._sizes, dim=1)
        return {
            one: part.reshape(-1, *self._shapes[one])
            for one, part in zip(self.columns, parts, strict=True)
        }

    def decode(self, features: Tensor) -> dict[str, Tensor]:
        """Return each column in its units, and of the end its probability."""
        found = self(features)
        ends = _line if self._exact else torch.sigmoid
        return {
            one: ends(part) if one == TERMINATED else self._of(one).out_of(part)
            for one, part in found.items()
        }

    def loss(self, features: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        """Return how far features (N, F) are from rows (N, ...): one number."""
        total = features.new_zeros(())
        for one, part in self(features).items():
            target = rows[one].float()
            if one == TERMINATED:
                total = total + functional.binary_cross_entropy_with_logits(part, target)
            else:
                total = total + functional.mse_loss(part, self._of(one).into(target))
        return total

    def _of(self, column: str) -> Normal:
        found = self.normal[column]
        assert isinstance(found, Normal)
        return found


def _line(logit: Tensor) -> Tensor:
    """Return a probability, as the sigmoid's tangent has it: nothing but products and sums."""
    return (0.25 * logit + 0.5).clamp(0, 1)


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
