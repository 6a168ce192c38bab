"""A joint-embedding model: it predicts the embedding of the next frame, and no pixels."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sandbox.errors import InvalidInputError
from sandbox.models import pictures
from sandbox.models.heads import NUMBERS, Heads
from sandbox.models.layers import Depth, Layers, RmsNorm, full, scaled
from sandbox.models.options import Few, Sized, Weight, Width
from sandbox.models.protocol import Shapes, State

KNOTS, FARTHEST = 17, 5.0  # Where the characteristic functions are compared: 0 to 5.
DRAWN = 4  # Rows of a window that are drawn in an update.


class Options(Sized):
    """How large a model is, and what it learns.

    Attributes:
        depth: channels of the picture networks; the deepest have 8 times as many.
        embedding: numbers of an embedding.
        width: of the predictor's hidden layers.
        blocks: residual blocks of the predictor.
        context: rows that a step sees.
        slices: directions in which the embeddings are tested.
        spread: weight of that test in the loss; without it, embeddings collapse.
        inverse: weight of telling the action from two embeddings in the loss.
        draws: whether a decoder learns to draw embeddings; it teaches the embeddings nothing.
        heads: weight of decoder and heads in the loss.
    """

    depth: Depth = 16
    embedding: Width = 64
    width: Width = 256
    blocks: Few = 3
    context: Few = 3
    slices: Annotated[int, Field(ge=1, le=4096)] = 256
    spread: Weight = 0.1
    inverse: Weight = 10.0
    draws: bool = True
    heads: Weight = 1.0


class Moved(nn.Module):
    """A residual block that an action scales and shifts, and gates (adaLN-zero, arXiv:2212.09748).

    Args:
        width: numbers of x.
        size: numbers of the actions that it sees.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.norm = RmsNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.acts = scaled(nn.Linear(size, 3 * width), 0.1)

    def forward(self, x: Tensor, actions: Tensor) -> Tensor:
        """Return the block's result, (B, width)."""
        scale, shift, gate = self.acts(actions).chunk(3, dim=1)
        normal = self.norm(x) * (1 + scale) + shift
        return x + (0.3 + gate) * self.second(functional.silu(self.first(normal)))


class Jepa(nn.Module):
    """A joint-embedding predictive model, of the kind of LeWorldModel (arXiv:2603.19312).

    An encoder gives each frame an embedding; a predictor gives the next embedding from the last
    ones and the action. The loss is the squared error of the prediction and SIGReg, which keeps
    embeddings from collapsing; no gradient is stopped between them. Unlike there, the encoder is
    convolutional, the predictor is a residual network, and it is unrolled over the window.

    Where looks vary from episode to episode, such a model learns them and not what moves
    (arXiv:2211.10831). Hence a third part of the loss, as in PLDM (arXiv:2502.14819): the action is
    told from the embeddings before and after it. `inverse: 0` leaves it out.

    Decoder and heads see embeddings whose gradient is stopped: they show what is in an embedding
    and add nothing to it.

    Args:
        shapes: of the columns; `pixels` (3, H, W) with sides that are multiples of 16, and
            `action`.
        options: how large it is.
    """

    def __init__(self, shapes: Shapes, options: Options) -> None:
        super().__init__()
        self.options, self.context = options, options.context
        shape = pictures.checked(shapes, "jepa")
        left = [one for one in NUMBERS if one in shapes]
        self.needs, self.gives = ("pixels",), (*(("pixels",) if options.draws else ()), *left)
        if not self.gives:
            raise InvalidInputError(
                "model jepa: without draws it would give nothing: the data has no proprio, reward "
                "or terminated. Leave draws on."
            )
        numbers, width, (size,) = options.embedding, options.width, shapes["action"]
        rows, known = options.context * numbers, options.context * size
        self.see = pictures.Encoder(shape, options.depth)
        self.embed = nn.Sequential(
            nn.Linear(self.see.features, width, bias=False),
            nn.BatchNorm1d(width),
            nn.SiLU(),
            nn.Linear(width, numbers),
        )
        self.begins = nn.Linear(rows, width)
        self.moves = nn.ModuleList(Moved(width, known) for _ in range(options.blocks))
        self.change = nn.Sequential(RmsNorm(width), scaled(nn.Linear(width, numbers), 0.1))
        if options.inverse:
            self.tells = Layers(2 * numbers, width, size)
        if options.draws:
            self.draw = pictures.Decoder(numbers, shape, options.depth)
        self.heads = Heads(rows, {one: shapes[one] for one in left}, width)

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> State:
        """Return the state at the last row; fewer rows than `context` are preceded by the first."""
        frames = context["pixels"][:, -self.context :]
        return self._state(self._embedded(frames), actions)

    def step(self, state: State, action: Tensor) -> State:
        """Return the state one row later."""
        rows, done = state["rows"], torch.cat([state["actions"], action[:, None]], dim=1)
        hidden = self.begins(rows.flatten(1))
        for block in self.moves:
            hidden = block(hidden, done.flatten(1))
        row = rows[:, -1] + full(self.change(hidden))
        return {"rows": torch.cat([rows[:, 1:], row[:, None]], dim=1), "actions": done[:, 1:]}

    def decode(self, state: State) -> dict[str, Tensor]:
        """Return the picture, if it draws, and what the heads read."""
        rows = state["rows"]
        found = {"pixels": self.draw(rows[:, -1])} if self.options.draws else {}
        return found | self.heads.decode(rows.flatten(1))

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the losses of an open-loop rollout over the rest of each window."""
        options, begin, action = self.options, self.context, batch["action"]
        rows = self._embedded(batch["pixels"])
        states = [self._state(rows[:, :begin], action[:, : begin - 1])]
        for row in range(begin - 1, action.shape[1] - 1):
            states.append(self.step(states[-1], action[:, row]))
        imagined = torch.stack([one["rows"] for one in states], dim=1)
        error = imagined[:, 1:, -1] - rows[:, begin:]
        spread = sigreg(rows.flatten(0, 1), options.slices)
        found = {"embedding": error.square().mean(), "spread": options.spread * spread}
        if options.inverse:
            pairs = torch.cat([rows[:, :-1], rows.diff(dim=1)], dim=2).flatten(0, 1)
            told = self.tells(pairs).float() - action[:, :-1].flatten(0, 1)
            found["inverse"] = options.inverse * told.square().mean()
        target = {one: batch[one][:, begin - 1 :] for one in self.gives}
        return found | self._told(imagined.detach(), target)

    def _told(self, imagined: Tensor, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return how badly imagined rows (B, T, K, E), without gradient, tell what there was."""
        found, weight = dict[str, Tensor](), self.options.heads
        if self.options.draws:
            drawn: list[int] = torch.randperm(imagined.shape[1])[:DRAWN].tolist()  # type: ignore
            picture = self.draw(imagined[:, drawn, -1].flatten(0, 1))
            want = pictures.numbers(target["pixels"][:, drawn].flatten(0, 1))
            found["pixels"] = weight * (picture - want).square().mean()
        if self.heads.columns:
            rows = {one: target[one].flatten(0, 1) for one in self.heads.columns}
            features = imagined.flatten(0, 1).flatten(1)
            found["heads"] = weight * self.heads.loss(features, rows)
        return found

    def _embedded(self, frames: Tensor) -> Tensor:
        """Return the embeddings of frames, (B, K, embedding)."""
        seen = pictures.encoded(self.see, frames).flatten(0, 1)
        return full(self.embed(seen)).reshape(*frames.shape[:2], -1)

    def _state(self, rows: Tensor, actions: Tensor) -> State:
        missing = self.context - rows.shape[1]
        done = actions[:, actions.shape[1] - (rows.shape[1] - 1) :]
        return {
            "rows": torch.cat([rows[:, :1].expand(-1, missing, -1), rows], dim=1),
            "actions": functional.pad(done, (0, 0, missing, 0)),
        }


def sigreg(rows: Tensor, slices: int) -> Tensor:
    """Return how far rows (N, E) are from a standard normal distribution.

    SIGReg of LeJEPA (Balestriero and LeCun, arXiv:2511.08544): along random directions, the test
    of Epps and Pulley, N times the integral over t of |mean(exp(i t x)) - exp(-t^2 / 2)|^2
    exp(-t^2 / 2), by the trapezoidal rule on both sides of 0; the mean over directions.

    Args:
        rows: embeddings, float32.
        slices: number of directions, drawn from torch's global generator.
    """
    axes = functional.normalize(torch.randn(rows.shape[1], slices, device=rows.device), dim=0)
    knots = torch.linspace(0, FARTHEST, KNOTS, device=rows.device)
    normal = torch.exp(-knots.square() / 2)
    angles = (rows.float() @ axes)[:, :, None] * knots
    away = (angles.cos().mean(dim=0) - normal).square() + angles.sin().mean(dim=0).square()
    return 2 * len(rows) * torch.trapezoid(away * normal, knots, dim=1).mean()
