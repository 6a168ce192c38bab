"""Pictures into numbers and numbers into pictures, for models whose latent is a vector."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sandbox.errors import InvalidInputError
from sandbox.models.layers import full
from sandbox.models.protocol import Shapes

MOVES = 10  # Of 255: a pixel moves if a channel changes by more.
CELL = 4  # Pixels of a side that are folded into channels.
FOLDED = 16  # Pixels of a side that share a place of the smallest map.
MOST_SIDE = 512  # Pixels.


class Norm(nn.Module):
    """RMSNorm over the channels of a map: x / sqrt(mean(x^2)), times a weight a channel.

    Args:
        channels: how many there are.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map, (B, channels, H, W)."""
        scale = torch.rsqrt(full(x).square().mean(dim=1, keepdim=True) + 1e-6)
        return x * scale.to(x.dtype) * self.weight.to(x.dtype)


class Encoder(nn.Sequential):
    """Pictures to features: cells of 4 x 4 pixels, then two halvings, RMSNorm and SiLU.

    Args:
        shape: of a picture, (3, H, W).
        depth: channels are 2, 4 and 8 times as many.

    Attributes:
        features: numbers that a picture gives, 8 * depth * H / 16 * W / 16.
    """

    def __init__(self, shape: tuple[int, ...], depth: int) -> None:
        one, two, three = 2 * depth, 4 * depth, 8 * depth
        super().__init__(
            nn.PixelUnshuffle(CELL),
            nn.Conv2d(3 * CELL * CELL, one, 3, padding=1, bias=False),
            Norm(one),
            nn.SiLU(),
            nn.Conv2d(one, two, 4, stride=2, padding=1, bias=False),
            Norm(two),
            nn.SiLU(),
            nn.Conv2d(two, three, 4, stride=2, padding=1, bias=False),
            Norm(three),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.features = three * (shape[1] // FOLDED) * (shape[2] // FOLDED)


class Decoder(nn.Module):
    """Features to pictures from 0 to 1: the mirror of `Encoder`.

    Args:
        features: how many there are.
        shape: of a picture, (3, H, W).
        depth: as of the encoder.
    """

    def __init__(self, features: int, shape: tuple[int, ...], depth: int) -> None:
        one, two, three = 2 * depth, 4 * depth, 8 * depth
        high, wide = shape[1] // FOLDED, shape[2] // FOLDED
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, three * high * wide),
            nn.Unflatten(1, (three, high, wide)),
            Norm(three),
            nn.SiLU(),
            nn.ConvTranspose2d(three, two, 4, stride=2, padding=1, bias=False),
            Norm(two),
            nn.SiLU(),
            nn.ConvTranspose2d(two, one, 4, stride=2, padding=1, bias=False),
            Norm(one),
            nn.SiLU(),
            nn.Conv2d(one, 3 * CELL * CELL, 3, padding=1),
            nn.PixelShuffle(CELL),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return pictures, (B, 3, H, W)."""
        drawn: Tensor = self.layers(features)
        return torch.sigmoid(full(drawn))


def checked(shapes: Shapes, model: str) -> tuple[int, ...]:
    """Return the shape of pictures, (3, H, W), of which these networks can be made.

    Raises:
        InvalidInputError: the data has none, or of other sides.
    """
    shape = tuple(shapes.get("pixels", ()))
    if not shape:
        raise InvalidInputError(
            f"model {model}: the data has no pixels. It has {', '.join(shapes)}."
        )
    if len(shape) != 3 or shape[0] != 3 or any(not _fits(side) for side in shape[1:]):
        raise InvalidInputError(
            f"model {model}: pixels are {shape[1:]}; sides must be multiples of {FOLDED}, up to "
            f"{MOST_SIDE}. Generate with another image_size, or take the model conv."
        )
    return shape


def numbers(pixels: Tensor) -> Tensor:
    """Return pictures as numbers from 0 to 1."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def encoded(encoder: Encoder, pixels: Tensor) -> Tensor:
    """Return the features (B, K, F) of pictures, uint8 (B, K, 3, H, W)."""
    kind = next(encoder.parameters()).dtype  # float64 in some dreams.
    found = encoder(pixels.to(kind).flatten(0, 1) / 255 - 0.5)
    return found.unflatten(0, pixels.shape[:2])


def _fits(side: int) -> bool:
    return 0 < side <= MOST_SIDE and side % FOLDED == 0


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) log(1 + |x|), which keeps large numbers small (DreamerV3)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Return what `symlog` was given."""
    return x.sign() * functional.relu(x.abs().expm1())
