"""A residual network on numbers: the last rows and an action give the change of the next row."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sandbox.models.heads import TERMINATED, Heads, Normal
from sandbox.models.layers import RmsNorm, full, scaled
from sandbox.models.options import Column, Few, Sized, Weight, Width, column
from sandbox.models.protocol import Shapes, State

STEEP = 20.0  # Changes are small numbers; heads see them multiplied by this.
FARTHEST = 100.0  # No imagined number is farther from its mean [standard deviations].


class Options(Sized):
    """How large a model is, and what it predicts.

    Attributes:
        width: of the hidden layers.
        blocks: residual blocks of a step.
        context: rows that a step sees.
        column: the numbers that are predicted; auto is state if the data has it, else proprio.
        heads: weight of reward and end in the loss.
    """

    width: Width = 256
    blocks: Few = 2
    context: Annotated[int, Field(ge=1, le=3)] = 3
    column: Column = "auto"
    heads: Weight = 0.1


class Residual(nn.Module):
    """A residual block: x + linear(SiLU(linear(RMSNorm(x)))).

    Args:
        width: numbers of x.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RmsNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's result, (B, width)."""
        return x + self.second(nn.functional.silu(self.first(self.norm(x))))


class Mlp(nn.Module):
    """The model of numbers; it computes in float32 whatever a training's precision.

    Its state is the last rows, in standard deviations of their column, and the actions between
    them: a world may delay actions. Reward and end are read from the same rows.

    Args:
        shapes: of the columns; `state` or `proprio` (n,), and `action`.
        options: how large it is.
    """

    def __init__(self, shapes: Shapes, options: Options) -> None:
        super().__init__()
        self.options, self.context = options, options.context
        self.column = column(options.column, shapes, "mlp")
        read = {one: shapes[one] for one in ("reward", TERMINATED) if one in shapes}
        self.needs, self.gives = (self.column,), (self.column, *read)
        (numbers,), (size,) = shapes[self.column], shapes["action"]
        rows, width = options.context * numbers, options.width
        self.normal = nn.ModuleDict({self.column: Normal((numbers,))})
        self.see = nn.Linear(rows + options.context * size, width)
        self.blocks = nn.ModuleList(Residual(width) for _ in range(options.blocks))
        self.straight = scaled(nn.Linear(rows + options.context * size, numbers), 0.1)
        self.change = nn.Sequential(RmsNorm(width), scaled(nn.Linear(width, numbers), 0.1))
        self.heads = Heads(rows, read, width)

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> State:
        """Return the state at the last row; before fewer rows than `context`, nothing happened."""
        rows = self._normal.into(full(context[self.column][:, -self.context :]))
        done = actions[:, actions.shape[1] - (rows.shape[1] - 1) :]
        missing = self.context - rows.shape[1]
        return {
            "rows": torch.cat([rows[:, :1].expand(-1, missing, -1), rows], dim=1),
            "actions": nn.functional.pad(done, (0, 0, missing, 0)),
        }

    def step(self, state: State, action: Tensor) -> State:
        """Return the state one row later."""
        rows, done = state["rows"], torch.cat([state["actions"], action[:, None]], dim=1)
        seen = torch.cat([rows.flatten(1), done.flatten(1)], dim=1)
        hidden = self.see(seen)
        for block in self.blocks:
            hidden = block(hidden)
        row = (rows[:, -1] + self.straight(seen) + self.change(hidden)).clamp(-FARTHEST, FARTHEST)
        return {"rows": torch.cat([rows[:, 1:], row[:, None]], dim=1), "actions": done[:, 1:]}

    def decode(self, state: State) -> dict[str, Tensor]:
        """Return the column in its units, and what the heads read."""
        rows = state["rows"]
        found = {self.column: self._normal.out_of(rows[:, -1])}
        return found | self.heads.decode(_features(rows))

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the losses of an open-loop rollout over the rest of each window.

        Huber's error of each row, in standard deviations: a hard contact must not outweigh all
        else. The heads read the same imagined rows, and do not change them.
        """
        with torch.autocast(batch["action"].device.type, enabled=False):
            begin, action = self.context, batch["action"].float()
            seen = {self.column: batch[self.column][:, :begin]}
            states = [self.encode(seen, action[:, : begin - 1])]
            for row in range(begin - 1, action.shape[1] - 1):
                states.append(self.step(states[-1], action[:, row]))
            rows = torch.stack([one["rows"] for one in states[1:]], dim=1)
            want = self._normal.into(batch[self.column][:, begin:].float())
            found = {"numbers": nn.functional.huber_loss(rows[:, :, -1], want)}
            if self.heads.columns:
                target = {one: batch[one][:, begin:].flatten(0, 1) for one in self.heads.columns}
                heads = self.heads.loss(_features(rows.detach().flatten(0, 1)), target)
                found["heads"] = self.options.heads * heads
        return found

    @property
    def _normal(self) -> Normal:
        found = self.normal[self.column]
        assert isinstance(found, Normal)
        return found


def _features(rows: Tensor) -> Tensor:
    """Return what reward and end are read from: the last row, and the changes up to it."""
    return torch.cat([rows[:, -1], STEEP * rows.diff(dim=1).flatten(1)], dim=1)
