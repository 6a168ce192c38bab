"""Goal-conditioned behaviour cloning: what was done on the way to a goal is done again."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sandbox.errors import InvalidInputError
from sandbox.models import pictures
from sandbox.models.heads import Normal
from sandbox.models.layers import Depth, Layers, full
from sandbox.models.options import Few, Sized, Width
from sandbox.models.protocol import Shapes

Seen = Literal["auto", "pixels", "proprio", "state"]


class Options(Sized):
    """How large a policy is, and what it sees.

    Attributes:
        depth: channels of the picture network; the deepest have 8 times as many.
        width: of the hidden layers.
        blocks: hidden layers.
        context: rows that it sees.
        pairs: rows of a window from which it learns in an update, each with a goal.
        sees: the column of its observations; auto is pixels if the data has them, else proprio,
            else state.
        aims: the column of its goals; auto is pixels if it sees pixels, else state if the data
            has it, else what it sees.
    """

    depth: Depth = 16
    width: Width = 256
    blocks: Few = 2
    context: Few = 1
    pairs: Few = 4
    sees: Seen = "auto"
    aims: Seen = "auto"


class Gcbc(nn.Module):
    """Goal-conditioned behaviour cloning, the baseline of every planner; it keeps `GoalPolicy`.

    It learns the action at a row from the rows up to it and a goal: a later row of the same
    window, each as likely as another (hindsight; Ghosh et al., arXiv:1912.06088). The error is
    squared, so that of several ways to a goal it takes the mean.

    Args:
        shapes: of the columns; those that it sees and aims at, and `action` (n,).
        options: how large it is.
    """

    gives = ()

    def __init__(self, shapes: Shapes, options: Options) -> None:
        super().__init__()
        self.options, self.context = options, options.context
        seen, aim = _columns(shapes, options)
        self.sees, self.aims = (seen,), (aim,)
        self.needs = tuple(dict.fromkeys((seen, aim)))
        width, (size,) = options.width, shapes["action"]
        self.normal = nn.ModuleDict(
            {one: Normal(shapes[one]) for one in self.needs if one != "pixels"}
        )
        if "pixels" in self.needs:
            self.see = pictures.Encoder(pictures.checked(shapes, "gcbc"), options.depth)
            self.read = Layers(self.see.features, width, width)
        sizes = {one: width if one == "pixels" else shapes[one][0] for one in self.needs}
        features = options.context * sizes[seen] + sizes[aim]
        self.act = Layers(features, *[width] * options.blocks, size)

    def policy(self, observation: Mapping[str, Tensor], goal: Mapping[str, Tensor]) -> Tensor:
        """Return the actions (B, A); fewer rows than `context` are preceded by the first."""
        (seen,), (aim,) = self.sees, self.aims
        rows = observation[seen][:, -self.context :]
        missing = self.context - rows.shape[1]
        first = rows[:, :1].expand(-1, missing, *[-1] * (rows.dim() - 2))
        known = self._features(seen, torch.cat([first, rows], dim=1))
        wanted = self._features(aim, goal[aim][:, None])
        told: Tensor = self.act(torch.cat([known.flatten(1), wanted[:, 0]], dim=1))
        return torch.tanh(full(told))

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the squared error of the actions at rows drawn by chance, each with a goal."""
        action, (seen,), (aim,) = batch["action"], self.sees, self.aims
        count, rows = action.shape[:2]
        windows = torch.arange(count, device=action.device)[:, None].expand(-1, self.options.pairs)
        windows, chance = windows.flatten(), torch.rand(2, windows.numel(), device=action.device)
        first, last = self.context - 1, rows - 1  # The last row is a goal alone.
        here = (first + (chance[0] * (last - first)).long()).clamp(max=last - 1)
        goal = (here + 1 + (chance[1] * (last - here)).long()).clamp(max=last)
        history = here[:, None] - torch.arange(first, -1, -1, device=action.device)
        told = self.policy(
            {seen: batch[seen][windows[:, None], history]}, {aim: batch[aim][windows, goal]}
        )
        return {"action": (told - action[windows, here]).square().mean()}

    def _features(self, column: str, rows: Tensor) -> Tensor:
        """Return what is known of rows (B, K, ...) of a column, (B, K, F)."""
        if column == "pixels":
            seen = pictures.encoded(self.see, rows)
            return functional.silu(full(self.read(seen)))
        normal = self.normal[column]
        assert isinstance(normal, Normal)
        return normal.into(full(rows)).clamp(-10, 10)


def _columns(shapes: Shapes, options: Options) -> tuple[str, str]:
    """Return the columns of observations and goals; InvalidInputError if the data lacks one."""
    seen, aim = str(options.sees), str(options.aims)
    if seen == "auto":
        seen = next((one for one in ("pixels", "proprio", "state") if one in shapes), "proprio")
    if aim == "auto":
        aim = seen if seen == "pixels" or "state" not in shapes else "state"
    for what, one in (("see", seen), ("aim at", aim)):
        if one not in shapes:
            raise InvalidInputError(
                f"model gcbc: the data has no {one} to {what}. It has {', '.join(shapes)}."
            )
    return seen, aim
