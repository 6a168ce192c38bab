"""A recurrent state-space model with categorical latents, as DreamerV3 has it."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sandbox.models import pictures
from sandbox.models.heads import NUMBERS, TERMINATED, Heads, Normal
from sandbox.models.layers import Depth, Layers, RmsNorm, full
from sandbox.models.options import Column, Few, Sized, Weight, Width, column
from sandbox.models.pictures import symexp, symlog
from sandbox.models.protocol import Shapes, State

MIX = 0.01  # Share of the uniform distribution in every categorical.
FREE = 1.0  # Of each divergence [nat]; what is below has no gradient.
DYNAMICS, REPRESENTATION = 1.0, 0.1  # Weights of the two divergences.
_FARTHEST = 6.0  # Of decoded numbers, as symlog of standard deviations: about 400.

Groups = Annotated[int, Field(ge=1, le=64)]


class Options(Sized):
    """How large a model is, and what it sees.

    Attributes:
        depth: channels of the picture networks; the deepest have 8 times as many.
        deter: numbers of the recurrent state.
        hidden: numbers of hidden layers.
        groups, classes: categoricals of the latent, and how many classes each has.
        context: rows that are encoded.
        sees: pixels, numbers, or both; auto is pixels if the data has them, else numbers.
        column: which numbers it sees; auto is state if the data has it, else proprio.
        moving: weight of moving pixels in the loss at the beginning; it falls to 0.
        drawn: rows of a window whose pictures are drawn in an update; 64 are all.
        heads: weight of the heads in the loss.
        samples: whether latents are drawn by chance when it imagines, too.
    """

    depth: Depth = 16
    deter: Width = 256
    hidden: Width = 256
    groups: Groups = 16
    classes: Groups = 16
    context: Few = 3
    sees: Literal["auto", "pixels", "numbers", "both"] = "auto"
    column: Column = "auto"
    moving: Weight = 20.0
    drawn: Few = 4
    heads: Weight = 10.0
    samples: bool = False


class Recurrent(nn.Module):
    """A recurrent unit whose three parts are normalised together, as in DreamerV3.

    Args:
        inputs: numbers that come in.
        deter: numbers that it remembers.
    """

    def __init__(self, inputs: int, deter: int) -> None:
        super().__init__()
        self.mixed = nn.Linear(inputs + deter, 3 * deter, bias=False)
        self.norm = RmsNorm(3 * deter)

    def forward(self, x: Tensor, deter: Tensor) -> Tensor:
        """Return what it remembers next, (B, deter)."""
        mixed = self.norm(self.mixed(torch.cat([x, deter], dim=1)))
        reset, candidate, update = full(mixed).chunk(3, dim=1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)
        return update * candidate + (1 - update) * deter


class Rssm(nn.Module):
    """The recurrent state-space model of Hafner et al., DreamerV3 (arXiv:2301.04104).

    A recurrent state h follows from the last h, latent z and action; a posterior q(z | h, x) sees
    the row x, a prior p(z | h) does not. Both are categoricals. The loss is that of the paper:
    -log p(x | h, z) + max(1, KL(sg(q) || p)) + 0.1 max(1, KL(q || sg(p))), where sg stops
    gradients. Unlike there, pictures are folded into cells of 4 x 4 pixels first, their features
    are standardised over the batch (pictures of a world differ little), moving pixels weigh more at
    first, some rows of a window are drawn in an update, numbers are normalised before their symlog,
    and reward is a number with a squared error.

    It imagines with what the prior expects of each class, so that the same actions give the same
    rows, and better ones than those of the likeliest classes; the option `samples` draws classes
    from torch's global generator.

    Args:
        shapes: of the columns; `pixels` (3, H, W) with sides that are multiples of 16, or
            numbers, and `action`.
        options: how large it is.
    """

    def __init__(self, shapes: Shapes, options: Options) -> None:
        super().__init__()
        self.options, self.context = options, options.context
        sees = options.sees
        if sees == "auto":
            sees = "pixels" if "pixels" in shapes else "numbers"
        self._sees, self._reads = sees != "numbers", sees != "pixels"
        stoch, deter, hidden = options.groups * options.classes, options.deter, options.hidden
        features, (size,), seen = deter + stoch, shapes["action"], 0
        self.needs: tuple[str, ...] = ()
        if self._sees:
            shape = pictures.checked(shapes, "rssm")
            self.see = pictures.Encoder(shape, options.depth)
            self.draw = pictures.Decoder(features, shape, options.depth)
            self.needs, seen = ("pixels",), self.see.features
            self.level = nn.BatchNorm1d(seen, affine=False)
        if self._reads:
            self.column = column(options.column, shapes, "rssm")
            (numbers,) = shapes[self.column]
            self.normal = nn.ModuleDict({self.column: Normal((numbers,))})
            self.read = Layers(numbers, hidden, hidden)
            self.tell = Layers(features, hidden, hidden, numbers)
            self.needs, seen = (*self.needs, self.column), seen + hidden
        left = ("reward", TERMINATED) if self._reads else NUMBERS
        read = {one: shapes[one] for one in left if one in shapes}
        self.gives = (*self.needs, *read)
        self.joins = nn.Sequential(
            nn.Linear(stoch + size, hidden, bias=False), RmsNorm(hidden), nn.SiLU()
        )
        self.moves = Recurrent(hidden, deter)
        self.prior = Layers(deter, hidden, stoch)
        self.posterior = Layers(deter + seen, hidden, stoch)
        self.heads = Heads(features, read, hidden)

    def encode(self, context: Mapping[str, Tensor], actions: Tensor) -> State:
        """Return the posterior's state at the last row; before the first, nothing happened."""
        seen = self._seen(context)
        state = self._begun(actions)
        for row in range(seen.shape[1]):
            action = actions[:, row - 1] if row else actions.new_zeros(len(seen), actions.shape[2])
            deter = self._moved(state, action)
            logits = self._logits(self.posterior, torch.cat([deter, seen[:, row]], dim=1))
            state = {"deter": deter, "stoch": self._chosen(logits)}
        return state

    def step(self, state: State, action: Tensor) -> State:
        """Return the state one row later, by the prior."""
        deter = self._moved(state, action)
        return {"deter": deter, "stoch": self._chosen(self._logits(self.prior, deter))}

    def decode(self, state: State) -> dict[str, Tensor]:
        """Return the picture, the numbers, and what the heads read."""
        features, found = self.features(state), dict[str, Tensor]()
        if self._sees:
            found["pixels"] = self.draw(features)
        if self._reads:
            told = full(self.tell(features)).clamp(-_FARTHEST, _FARTHEST)
            found[self.column] = self._normal.out_of(symexp(told))
        return found | self.heads.decode(features)

    def features(self, state: State) -> Tensor:
        """Return what is decoded, (B, deter + groups * classes)."""
        return torch.cat([state["deter"], state["stoch"].flatten(1)], dim=1)

    def loss(self, batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the losses over all rows of each window, whose latents are drawn by chance."""
        action = batch["action"]
        seen, state = self._seen(batch), self._begun(action)
        deters, logits, stochs = list[Tensor](), list[Tensor](), list[Tensor]()
        for row in range(action.shape[1]):
            before = action[:, row - 1] if row else torch.zeros_like(action[:, 0])
            deter = self._moved(state, before)
            found = self._logits(self.posterior, torch.cat([deter, seen[:, row]], dim=1))
            state = {"deter": deter, "stoch": _drawn(found)}
            deters.append(deter)
            logits.append(found)
            stochs.append(state["stoch"])
        deter, stoch = torch.stack(deters, dim=1), torch.stack(stochs, dim=1).flatten(2)
        posterior = torch.stack(logits, dim=1).flatten(0, 1)
        features = torch.cat([deter, stoch], dim=2)
        return {
            **self._decoded(features, batch, 1 - progress),
            **divergences(posterior, self._logits(self.prior, deter.flatten(0, 1))),
        }

    def _decoded(
        self, features: Tensor, batch: Mapping[str, Tensor], left: float
    ) -> dict[str, Tensor]:
        """Return how badly features (B, T, F) tell rows (B, T, ...); sums over their elements."""
        found = dict[str, Tensor]()
        if self._sees:
            rows: list[int] = torch.randperm(features.shape[1])[: self.options.drawn].tolist()  # type: ignore
            want = pictures.numbers(batch["pixels"][:, rows])
            error = self.draw(features[:, rows].flatten(0, 1)).view_as(want) - want
            weight = 1 + self.options.moving * left * _moves(batch["pixels"])[:, rows]
            found["pixels"] = (error.square() * weight).sum(dim=(2, 3, 4)).mean()
        features = features.flatten(0, 1)
        told = {one: batch[one].flatten(0, 1) for one in self.gives if one != "pixels"}
        if self._reads:
            want = symlog(self._normal.into(told[self.column]))
            error = full(self.tell(features)) - want
            found[self.column] = error.square().sum(dim=1).mean()
        if self.heads.columns:
            found["heads"] = self.options.heads * self.heads.loss(features.float(), told)
        return found

    def _begun(self, actions: Tensor) -> State:
        batch, options = len(actions), self.options
        deter = actions.new_zeros(batch, options.deter)
        return {"deter": deter, "stoch": actions.new_zeros(batch, options.groups, options.classes)}

    def _seen(self, context: Mapping[str, Tensor]) -> Tensor:
        """Return the features of rows, (B, K, F)."""
        found = list[Tensor]()
        if self._sees:
            frames = context["pixels"]
            level = self.level(full(pictures.encoded(self.see, frames)).flatten(0, 1))
            found.append(level.unflatten(0, frames.shape[:2]))
        if self._reads:
            rows = self._normal.into(context[self.column])
            found.append(functional.silu(self.read(symlog(rows))))
        return torch.cat(found, dim=2)

    def _moved(self, state: State, action: Tensor) -> Tensor:
        joined = self.joins(torch.cat([state["stoch"].flatten(1), action], dim=1))
        return self.moves(joined, state["deter"])

    def _logits(self, layers: nn.Module, x: Tensor) -> Tensor:
        """Return log-probabilities (B, groups, classes), of which 1 % is uniform."""
        raw = full(layers(x)).reshape(len(x), self.options.groups, self.options.classes)
        mixed = (1 - MIX) * torch.softmax(raw, dim=2) + MIX / self.options.classes
        return torch.log(mixed)

    def _chosen(self, logits: Tensor) -> Tensor:
        """Return what is expected of each class, (B, groups, classes), or drawn classes."""
        return _drawn(logits) if self.options.samples else logits.exp()

    @property
    def _normal(self) -> Normal:
        found = self.normal[self.column]
        assert isinstance(found, Normal)
        return found


def _moves(pixels: Tensor) -> Tensor:
    """Return which pixels of frames (B, T, 3, H, W) differ from the row before, (B, T, 1, H, W)."""
    change = pixels[:, 1:].short() - pixels[:, :-1].short()
    moves = change.abs().amax(dim=2, keepdim=True) > pictures.MOVES
    return torch.cat([torch.zeros_like(moves[:, :1]), moves], dim=1)


def divergences(posterior: Tensor, prior: Tensor) -> dict[str, Tensor]:
    """Return the weighted divergences of two log-probabilities (N, groups, classes) [nat]."""

    def divergence(one: Tensor, other: Tensor) -> Tensor:
        return (one.exp() * (one - other)).sum(dim=(1, 2)).clamp(min=FREE).mean()

    return {
        "dynamics": DYNAMICS * divergence(posterior.detach(), prior),
        "representation": REPRESENTATION * divergence(posterior, prior.detach()),
    }


def _drawn(logits: Tensor) -> Tensor:
    """Draw classes, one-hot, with the gradient of the probabilities (straight-through)."""
    noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-9, 1 - 1e-7)))
    probabilities = logits.exp()
    return _one_hot(logits + noise) + probabilities - probabilities.detach()


def _one_hot(logits: Tensor) -> Tensor:
    return functional.one_hot(logits.argmax(dim=2), logits.shape[2]).to(logits.dtype)
