"""A convolutional latent model: a grid of latents, moved by actions, drawn over the last frame."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from sandbox.errors import InvalidInputError
from sandbox.models import grid
from sandbox.models.grid import clipped, rounded
from sandbox.models.heads import NUMBERS, Heads
from sandbox.models.options import Few, Sized, Weight, Width
from sandbox.models.pictures import MOVES
from sandbox.models.protocol import Shapes, State

CELL = 4  # Pixels of a side that share a latent.
POINT = 4.0  # Where the edge of a picture is, for the heads; an exact model sees it in steps of
FINE = 2.0**-8  # this.
ON_GRID = 2 / 3  # The part of training after which an exact model computes on the grid.
_ACTION = 8.0  # An exact model sees actions in steps of 1/128, as large as what else it sees.


class Options(Sized):
    """How large a model is.

    Attributes:
        width: channels of the latent grid.
        blocks: residual blocks of a step.
        context: rows that are encoded.
        points: places in the latents from which the heads read numbers.
        moving: weight of moving pixels in the loss at the beginning; it falls to 0.
        heads: weight of the heads in the loss.
        exact: whether the model imagines the same bytes on any machine.
    """

    width: Width = 48
    blocks: Few = 2
    context: Few = 3
    points: Few = 32
    moving: Weight = 20.0
    heads: Weight = 0.01
    exact: bool = False


class Block(nn.Module):
    """A residual block: x + conv(f(conv(g(x)))), of which the first convolution may see more.

    f is SiLU and g GroupNorm; of an exact model f is ReLU and g clips. The second convolution
    begins at 0.3 of its usual weights, so that a block begins near identity.

    Args:
        width: channels.
        more: channels that are put beside them, such as those of an action.
        exact: whether it can compute on the grid.
    """

    def __init__(self, width: int, more: int = 0, *, exact: bool) -> None:
        super().__init__()
        self.norm = grid.Clip(-grid.SEEN, grid.SEEN) if exact else nn.GroupNorm(1, width)
        self.first = _conv(width + more, width, exact=exact)
        self.bends = grid.Clip(0.0, grid.HIDDEN) if exact else nn.SiLU()
        self.second = _conv(width, width, exact=exact, seen=grid.HIDDEN)
        self.keeps = grid.Clip(-grid.KEPT, grid.KEPT) if exact else nn.Identity()
        with torch.no_grad():
            self.second.weight.mul_(0.3)
            self.second.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the block's result, (B, width, H, W)."""
        normal = self.norm(x)
        if beside is not None:
            normal = torch.cat([normal, beside.to(normal.dtype)], dim=1)
        return self.keeps(x + self.second(self.bends(self.first(normal))))


def _seeing(inputs: int, outputs: int, *, exact: bool) -> grid.Conv2d | nn.Conv2d:
    """Return the convolution that sees pixels from -0.5 to 0.5, in steps of 1/256."""
    if exact:
        return grid.Conv2d(inputs, outputs, 3, 0.5, 2.0**-8)
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _conv(
    inputs: int, outputs: int, side: int = 3, *, exact: bool, seen: float = grid.SEEN
) -> grid.Conv2d | nn.Conv2d:
    """Return a convolution that keeps height and width."""
    if exact:
        return grid.Conv2d(inputs, outputs, side, seen)
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


class Points(nn.Module):
    """Finds points in a grid of latents: where each of some maps has its weight, and how much.

    Finn et al. 2016, "Deep Spatial Autoencoders for Visuomotor Learning", whose maps are weighted
    by a softmax; these by what is above 0, which a grid can compute.

    Args:
        width: channels of the latents.
        count: number of points.
        cells: height and width of the grid.
        exact: whether it can compute on the grid.
    """

    places: Tensor

    def __init__(self, width: int, count: int, cells: tuple[int, int], *, exact: bool) -> None:
        super().__init__()
        self.sees = grid.Clip(-grid.SEEN, grid.SEEN) if exact else nn.Identity()
        self.maps = _conv(width, count, exact=exact)
        self.bends = grid.Clip(0.0, grid.HIDDEN) if exact else nn.ReLU()
        self.rounds = grid.Clip(-POINT, POINT, FINE) if exact else nn.Identity()
        self.area = cells[0] * cells[1]
        rows, columns = (2 * torch.arange(n) - (n - 1) for n in cells)  # Whole numbers, around 0.
        self.register_buffer("places", torch.stack(torch.meshgrid(rows, columns, indexing="ij")))
        self.scale = [POINT / n for n in cells]

    def forward(self, latent: Tensor) -> Tensor:
        """Return points in the latents (B, width, H, W): (B, 3 * count), from -4 to 4."""
        maps = self.bends(self.maps(self.sees(latent)))
        kind, maps = latent.dtype, maps.double()  # In which these sums are exact.
        mass = maps.sum((2, 3))
        parts = [(maps * place).sum((2, 3)) for place in self.places.to(maps.dtype)]
        parts = [
            scale * part / (mass + grid.STEP) for scale, part in zip(self.scale, parts, strict=True)
        ]
        found = torch.cat([*parts, mass / self.area], dim=1)
        return self.rounds(found.to(kind if kind == torch.float64 else torch.float32))


class Conv(nn.Module):
    """The convolutional latent model.

    Frames are folded into cells of 4 x 4 pixels; a step is residual blocks, of which the first sees
    the action. A frame is the last one seen, over which a mask blends what is drawn: what does not
    move need not be learned.

    An exact model has ReLU and clips where others have SiLU and GroupNorm, and a clipped line in
    place of the sigmoid. In the last third of training it computes on the grid, and ever after.

    Args:
        shapes: of the columns; `pixels` (3, H, W) with sides that are multiples of 4, and
            `action`.
        options: how large it is.

    Attributes:
        exact: whether it imagines the same bytes anywhere.
    """

    def __init__(self, shapes: Shapes, options: Options) -> None:
        super().__init__()
        if "pixels" not in shapes:
            raise InvalidInputError(
                f"model conv: the data has no pixels. It has {', '.join(shapes)}."
            )
        grid.check_sides(tuple(shapes["pixels"]), CELL)
        self.options, self.context, self.exact = options, options.context, options.exact
        self.needs = ("pixels",)
        self.gives = ("pixels", *(one for one in NUMBERS if one in shapes))
        width, cells, exact = options.width, CELL * CELL, options.exact
        (size,) = shapes["action"]
        self.see = _seeing(3 * options.context * cells, width, exact=exact)
        self.seen = grid.Clip(-grid.KEPT, grid.KEPT) if exact else nn.Identity()
        self.acts = grid.Clip(-1.0, 1.0, 2.0**-7) if exact else nn.Identity()
        self.saw = Block(width, exact=exact)
        self.moves = nn.ModuleList([Block(width, size, exact=exact)])
        self.moves.extend(Block(width, exact=exact) for _ in range(options.blocks - 1))
        self.draws = Block(width, exact=exact)
        self.bends = grid.Clip(0.0, grid.HIDDEN) if exact else nn.SiLU()
        self.draw = _conv(width, 4 * cells, exact=exact, seen=grid.HIDDEN)
        high, wide = (side // CELL for side in shapes["pixels"][1:])
        self.points = Points(width, options.points, (high, wide), exact=exact)
        self.heads = Heads(3 * options.points, shapes, 4 * width, (POINT, FINE) if exact else None)

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> State:
        """Return the state at the last row; fewer rows than `context` are preceded by the first."""
        frames = context["pixels"][:, -self.context :]
        missing = self.context - frames.shape[1]
        frames = torch.cat([frames[:, :1].expand(-1, missing, -1, -1, -1), frames], dim=1)
        frames = frames.to(self._dtype)
        folded = functional.pixel_unshuffle((frames.flatten(1, 2) - 128) / 256, CELL)
        return {"latent": self.saw(self.seen(self.see(folded))), "last": frames[:, -1]}

    def step(self, state: State, action: Tensor) -> State:
        """Return the state one row later."""
        latent = state["latent"]
        acts = self.acts(action) * (_ACTION if self.exact else 1.0)
        planes = acts[:, :, None, None].expand(-1, -1, *latent.shape[2:])
        for n, block in enumerate(self.moves):
            latent = block(latent, planes) if n == 0 else block(latent)
        return {"latent": latent, "last": state["last"]}

    def decode(self, state: State) -> dict[str, Tensor]:
        """Return the picture and what the heads read."""
        found = {"pixels": self._blended(state)[0].clamp(0, 255) / 255}
        return found | self.heads.decode(self.features(state))

    def features(self, state: State) -> Tensor:
        """Return what numbers are read from, (B, 3 * points)."""
        return self.points(state["latent"])

    def train(self, mode: bool = True) -> Self:
        """Train, or imagine: an exact model imagines on the grid."""
        super().train(mode)
        if self.exact and not mode:
            grid.turn(self, True)
        return self

    def _blended(self, state: State) -> tuple[Tensor, Tensor]:
        """Return pictures, and what is drawn before the mask blends it: (B, 3, H, W), 0 to 255."""
        drawn = self.draw(self.bends(self.draws(state["latent"])))
        drawn = functional.pixel_shuffle(drawn, CELL).to(self._dtype)
        color, mask, on = drawn[:, :3], drawn[:, 3:], self.on_grid
        if self.exact:
            mask = rounded(clipped(0.25 * mask + 0.5, 0, 1), 2.0**-6, on)
            color = rounded(clipped(256 * color + 128, 0, 255), 1.0, on)
        else:
            mask, color = torch.sigmoid(mask), 255 * color
        return rounded(state["last"] + mask * (color - state["last"]), 1.0, on), color

    @property
    def _dtype(self) -> torch.dtype:
        """The type of the weights: float32, or float64 where a dream is of the class tier."""
        return self.draw.weight.dtype

    @property
    def on_grid(self) -> bool:
        """Whether the model computes on the grid now."""
        return any(part.on for part in grid.parts(self))

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the losses of an open-loop rollout over the rest of each window.

        Squared error of the pictures of the last row seen, of the next, and of three rows drawn by
        chance; moving pixels weigh more at first. Of those, what is drawn counts too, as if nothing
        was blended: where the mask is closed it would learn nothing, and the mask never open. The
        heads read the same rows.
        """
        if not self.exact:
            return self._losses(batch, progress)
        on = progress >= ON_GRID
        grid.turn(self, on)
        with torch.autocast("cpu", enabled=False) if on else nullcontext():
            return self._losses(batch, progress)

    def _losses(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        rows, begin = batch["pixels"].shape[1], self.context - 1
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
        picture = target["pixels"].float()
        moves = ((picture - joined["last"]).abs() > MOVES).any(dim=1, keepdim=True)
        weight = 1 + self.options.moving * (1 - progress) * moves
        blended, color = (((one - picture) / 255).square() for one in self._blended(joined))
        found = {"pixels": ((blended + moves * color) * weight).mean()}
        if self.heads.columns:
            heads = self.heads.loss(self.features(joined).float(), target)
            found["heads"] = self.options.heads * heads
        return found
