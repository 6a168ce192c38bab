"""Numbers on power-of-two grids: a model whose sums are exact imagines the same bytes anywhere.

A weight is a whole number times a power of two, and so is what a layer sees. As long as no sum has
more than 24 bits, float32 rounds nothing: neither the order of a sum, nor threads, batch size,
instruction set or fused multiplication can change a bit. What is not linear is ReLU, a clipped line
or rounding, each of which gives one result by IEEE 754.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from sandbox.errors import FormatError, InvalidInputError

WEIGHT_BITS = 7  # Besides the sign.
STEP = 2.0**-4  # Of what layers see, and of the latent.
SEEN = 127 * STEP  # The largest of either sign that a layer sees: 8 bits with the sign.
HIDDEN = 255 * STEP  # The largest after a ReLU: 8 bits.
KEPT = 4095 * STEP  # The largest latent: 13 bits with the sign.
EXACT = 1 << 24  # Whole numbers below this are exact in float32.


def rounded(x: Tensor, step: float, on: bool) -> Tensor:
    """Return numbers on a grid, the nearest; gradients pass as if nothing was done."""
    if not on:
        return x
    on_grid = torch.floor(x / step + 0.5) * step
    return x + (on_grid - x).detach() if torch.is_grad_enabled() and x.requires_grad else on_grid


def clipped(x: Tensor, low: float, high: float) -> Tensor:
    """Return numbers clipped; gradients pass, so that what was clipped can come back."""
    inside = x.clamp(low, high)
    return x + (inside - x).detach() if torch.is_grad_enabled() and x.requires_grad else inside


class OnGrid(nn.Module):
    """A part of a model that computes on the grid when it is told to.

    Attributes:
        on: whether it does.
    """

    on: bool = False


class Clip(OnGrid):
    """Clips and rounds what the next layer sees.

    Args:
        low, high: the least and the greatest.
        step: of the grid.
    """

    def __init__(self, low: float, high: float, step: float = STEP) -> None:
        super().__init__()
        self.low, self.high, self.step = low, high, step

    def forward(self, x: Tensor) -> Tensor:
        """Return x, clipped and rounded."""
        return rounded(x.clamp(self.low, self.high), self.step, self.on)


class _Layer(OnGrid):
    """A linear layer whose weights and bias lie on a grid.

    Args:
        layer: has them.
        seen: the largest input of either sign.
        step: grid of the inputs.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, seen: float, step: float) -> None:
        super().__init__()
        assert layer.bias is not None
        self.weight, self.bias = layer.weight, layer.bias
        self.seen, self.step = seen, step

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias as they are used: on the grid, if it is on."""
        if not self.on:
            return self.weight, self.bias
        unit = self.unit()
        weight = rounded(self.weight, unit, True)
        return weight, rounded(self.bias, unit * self.step, True)

    def unit(self) -> float:
        """Return the step of the weights: the smallest power of two whose 127 holds them all."""
        most = float(self.weight.detach().abs().max())
        part, power = math.frexp(max(most, 2.0**-40) / (2**WEIGHT_BITS - 1))
        return 2.0 ** (power - 1 if part == 0.5 else power)

    def bits(self) -> float:
        """Return the largest sum that can occur, in units of its grid, as a share of 2^24."""
        with torch.no_grad():
            unit = self.unit()
            weight = torch.floor(self.weight.double() / unit + 0.5).abs()
            bias = torch.floor(self.bias.double() / (unit * self.step) + 0.5).abs()
        largest = weight.flatten(1).sum(1) * (self.seen / self.step) + bias
        return float(largest.max()) / EXACT


class Conv2d(_Layer):
    """A convolution on the grid, padded to the same size.

    Args:
        inputs, outputs: channels.
        side: of the kernel [cells].
        seen, step: the largest input of either sign, and the grid of inputs.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, seen: float = SEEN, step: float = STEP
    ) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, side), seen, step)
        self._side, self.unfolds = side, False

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of (B, inputs, H, W)."""
        weight, bias = self.weights()
        if not (self.on and self.unfolds):
            return functional.conv2d(x, weight, bias, padding=self._side // 2)
        return unfolded(x, weight, bias)


class Linear(_Layer):
    """A matrix product on the grid.

    Args:
        inputs, outputs: features.
        seen, step: the largest input of either sign, and the grid of inputs.
    """

    def __init__(self, inputs: int, outputs: int, seen: float, step: float) -> None:
        super().__init__(nn.Linear(inputs, outputs), seen, step)

    def forward(self, x: Tensor) -> Tensor:
        """Return the product with (B, inputs)."""
        return functional.linear(x, *self.weights())


def unfolded(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return a convolution as one matrix product, whatever a library would choose."""
    side = weight.shape[-1]
    columns = functional.unfold(x, side, padding=side // 2)
    found = weight.flatten(1) @ columns + bias[:, None]
    return found.reshape(len(x), len(weight), *x.shape[2:])


def turn(model: nn.Module, on: bool) -> None:
    """Let a model compute on the grid, or not."""
    for part in parts(model):
        part.on = on


def parts(model: nn.Module) -> Iterator[OnGrid]:
    """Yield the parts of a model that know the grid."""
    return (part for _, part in named(model))


def bounds(model: nn.Module) -> dict[str, float]:
    """Return for each layer the largest sum that can occur, as a share of 2^24."""
    return {name: part.bits() for name, part in named(model) if isinstance(part, _Layer)}


def named(model: nn.Module) -> Iterator[tuple[str, OnGrid]]:
    """Yield the parts of a model that know the grid, with their names."""
    for name, part in model.named_modules():  # pyright: ignore[reportUnknownVariableType]
        if isinstance(part, OnGrid):
            yield str(name), part  # pyright: ignore[reportUnknownArgumentType]


def check(model: nn.Module, where: str) -> dict[str, float]:
    """Return the bounds of a model that is exact; turn it on, and prove its convolutions.

    Convolutions are tried on random whole numbers against a matrix product in float64, because a
    library may choose an algorithm that is not exact, such as Winograd's; those that differ are
    computed as matrix products.

    Raises:
        FormatError: a sum can have more than 24 bits, or a matrix product is not exact here.
    """
    found = bounds(model)
    wide = [name for name, share in found.items() if not share < 1]
    if wide:
        raise FormatError(
            f"{where}: is not exact: sums of its layer {wide[0]} may reach {found[wide[0]]:.2f} of "
            "2^24. Train it again with more weight decay, or use the tier 'audit'."
        )
    turn(model, True)
    for name, part in named(model):
        if isinstance(part, Conv2d):
            part.unfolds = not _is_exact(part)
            if part.unfolds and not _is_exact(part):
                raise FormatError(f"{where}: matrix products are not exact here (layer {name}).")
    return found


def _is_exact(layer: Conv2d) -> bool:
    """Return whether a convolution gives what float64 gives, on random whole numbers."""
    rng = torch.Generator().manual_seed(0)
    most = round(layer.seen / layer.step)
    for side, batch in ((16, 2), (7, 1)):
        shape = (batch, layer.weight.shape[1], side, side)
        x = torch.randint(-most, most + 1, shape, generator=rng).float() * layer.step
        with torch.no_grad():
            weight, bias = layer.weights()
            want = unfolded(x.double(), weight.double(), bias.double())
            if not torch.equal(layer(x).double(), want):
                return False
    return True


def check_sides(shape: tuple[int, ...], multiple: int) -> None:
    """Refuse pictures whose sides are no multiples of a number (InvalidInputError)."""
    if len(shape) != 3 or shape[0] != 3 or any(side % multiple for side in shape[1:]):
        raise InvalidInputError(
            f"pixels of shape {shape}: a convolutional model takes colour pictures (3, H, W) whose "
            f"sides are multiples of {multiple}."
        )
