"""A model whose numbers stop being finite: in its loss, or some steps into what it imagines."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Diverging(nn.Module):
    """Keeps the last proprio.

    Args:
        after: steps after which it gives NaN, where the first number of proprio is above `limit`.
        limit: see `after`.
        loss: whether its loss is finite after the first update, too.
    """

    needs, gives, context = ("proprio",), ("proprio",), 2

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        after: int = 1000,
        limit: float = -1e9,
        loss: bool = True,
    ) -> None:
        super().__init__()
        self.after, self.limit, self.finite = after, limit, loss
        self.weight = nn.Parameter(torch.zeros(1))

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> dict[str, Tensor]:
        last = context["proprio"][:, -1]
        return {"last": last, "steps": torch.zeros(len(last), 1, dtype=last.dtype)}

    def step(self, state: dict[str, Tensor], action: Tensor) -> dict[str, Tensor]:
        return {**state, "steps": state["steps"] + 1}

    def decode(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        found = state["last"] + self.weight
        over = (state["steps"][:, 0] >= self.after) & (found[:, 0] > self.limit)
        return {"proprio": torch.where(over[:, None], torch.nan, found)}

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        wide = batch["proprio"][:, -1, :1] @ torch.ones(1, 10**6)  # Work that costs something.
        lost = 0.0 if self.finite or not progress else torch.nan
        return {"nothing": self.weight.sum() + 0 * wide.sum() + lost}
