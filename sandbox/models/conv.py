"""A convolutional latent model: a grid of latents, moved by actions, drawn over the last frame."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from sandbox.models.heads import NUMBERS, Heads
from sandbox.models.options import Few, Sized, Weight, Width
from sandbox.models.protocol import Shapes, State

CELL = 4  # Pixels of a side that share a latent.
MOVES = 10 / 255  # A pixel moves if a channel changes by more than this.
POOLED = 8  # Cells of a side from which the heads read.


class Options(Sized):
    """How large a model is.

    Attributes:
        width: channels of the latent grid.
        blocks: residual blocks of a step.
        context: rows that are encoded.
        read: channels from which the heads read numbers.
        moving: weight of moving pixels in the loss at the beginning; it falls to 0.
        heads: weight of the heads in the loss.
    """

    width: Width = 48
    blocks: Few = 2
    context: Few = 3
    read: Few = 8
    moving: Weight = 20.0
    heads: Weight = 0.01


class Block(nn.Module):
    """A residual block: x + conv(SiLU(conv(GroupNorm(x)))), of which a part of the input is given.

    The second convolution begins at 0.3 of its usual weights, so that a block begins near identity.

    Args:
        width: channels.
        more: channels that are put beside them, such as those of an action.
    """

    def __init__(self, width: int, more: int = 0) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.first = nn.Conv2d(width + more, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.3)
            if self.second.bias is not None:
                self.second.bias.zero_()

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the block's result, (B, width, H, W)."""
        normal = self.norm(x)
        if beside is not None:
            normal = torch.cat([normal, beside], dim=1)
        return x + self.second(functional.silu(self.first(normal)))


class Conv(nn.Module):
    """The convolutional latent model.

    Frames are folded into cells of 4 x 4 pixels; a step is residual blocks, of which the first sees
    the action. A frame is the last one seen, over which a mask blends what is drawn: what does not
    move need not be learned.

    Args:
        shapes: of the columns; `pixels` (3, H, W) with sides that are multiples of 4, and `action`.
        options: how large it is.
    """

    def __init__(self, shapes: Shapes, options: Options) -> None:
        super().__init__()
        self.options, self.context = options, options.context
        self.needs = ("pixels",)
        self.gives = ("pixels", *(one for one in NUMBERS if one in shapes))
        width, cells = options.width, CELL * CELL
        (size,) = shapes["action"]
        self.see = nn.Conv2d(3 * options.context * cells, width, 3, padding=1)
        self.saw = Block(width)
        self.moves = nn.ModuleList([Block(width, size)])
        self.moves.extend(Block(width) for _ in range(options.blocks - 1))
        self.draws = Block(width)
        self.draw = nn.Conv2d(width, 4 * cells, 3, padding=1)
        self.reads = nn.Conv2d(width, options.read, 1)
        self.heads = Heads(options.read * POOLED * POOLED, shapes, 2 * width)

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> State:
        """Return the state at the last row; fewer rows than `context` are preceded by the first."""
        frames = context["pixels"][:, -self.context :]
        missing = self.context - frames.shape[1]
        frames = torch.cat([frames[:, :1].expand(-1, missing, -1, -1, -1), frames], dim=1)
        pictures = _numbers(frames)
        folded = functional.pixel_unshuffle(pictures.flatten(1, 2) - 0.5, CELL)
        return {"latent": self.saw(self.see(folded)), "last": pictures[:, -1]}

    def step(self, state: State, action: Tensor) -> State:
        """Return the state one row later."""
        latent = state["latent"]
        planes = action[:, :, None, None].expand(-1, -1, *latent.shape[2:])
        for n, block in enumerate(self.moves):
            latent = block(latent, planes) if n == 0 else block(latent)
        return {"latent": latent, "last": state["last"]}

    def decode(self, state: State) -> dict[str, Tensor]:
        """Return the picture and what the heads read."""
        found = {"pixels": self._drawn(state).clamp(0, 1)}
        return found | self.heads.decode(self.features(state))

    def features(self, state: State) -> Tensor:
        """Return what numbers are read from, (B, read * 64)."""
        return functional.adaptive_avg_pool2d(self.reads(state["latent"]), POOLED).flatten(1)

    def _drawn(self, state: State) -> Tensor:
        drawn = self.draw(functional.silu(self.draws(state["latent"])))
        drawn = functional.pixel_shuffle(drawn, CELL)
        mask = torch.sigmoid(drawn[:, 3:].float())
        return state["last"] + mask * (drawn[:, :3].float() - state["last"])

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the losses of an open-loop rollout over the rest of each window.

        Squared error of the pictures of the last row seen, of the next, and of three rows drawn by
        chance; moving pixels weigh more at first. The heads read the same rows.
        """
        rows = batch["pixels"].shape[1]
        begin = self.context - 1
        state = self.encode({"pixels": batch["pixels"][:, : self.context]}, batch["action"])
        states = [state]
        for row in range(begin, rows - 1):
            states.append(self.step(states[-1], batch["action"][:, row]))
        drawn: list[int] = torch.randperm(max(0, len(states) - 2))[:3].tolist()  # type: ignore
        chosen = [0, 1, *(2 + n for n in sorted(drawn))][: len(states)]
        joined = {name: torch.cat([states[n][name] for n in chosen]) for name in ("latent", "last")}
        target = {
            name: torch.cat([batch[name][:, begin + n] for n in chosen])
            for name in self.gives
            if name in batch
        }
        picture, last = _numbers(target["pixels"]), joined["last"]
        moves = ((picture - last).abs() > MOVES).any(dim=1, keepdim=True)
        weight = 1 + self.options.moving * (1 - progress) * moves
        error = (self._drawn(joined) - picture).square() * weight
        found = {"pixels": error.mean()}
        if self.heads.columns:
            heads = self.heads.loss(self.features(joined).float(), target)
            found["heads"] = self.options.heads * heads
        return found


def _numbers(pixels: Tensor) -> Tensor:
    """Return pictures as numbers from 0 to 1."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
