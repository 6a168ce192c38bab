"""Structural similarity of pictures (Wang et al. 2004), with Gaussian weights."""

from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
from torch import Tensor

SIDE = 11  # Pixels of a side that a window has, and that a picture must have.
_SIGMA, _RADIUS = 1.5, SIDE // 2
_C1, _C2 = 0.01**2, 0.03**2  # For numbers from 0 to 1.


@dataclass(frozen=True)
class Smoothed:
    """Pictures and what their similarity is computed from, each float64 (B, C, H, W).

    Attributes:
        picture: the pictures, numbers from 0 to 1.
        mean: their local mean.
        variance: their local variance.
    """

    picture: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, picture: Tensor) -> Self:
        """Smooth pictures (B, C, H, W)."""
        picture = picture.double()
        mean = _smooth(picture)
        return cls(picture, mean, _smooth(picture * picture) - mean * mean)


def similarity(one: Smoothed, other: Smoothed) -> Tensor:
    """Return how similar pictures are at each pixel, float64 (B, C, H, W); 1 if they are equal."""
    both = _smooth(one.picture * other.picture) - one.mean * other.mean
    light = (2 * one.mean * other.mean + _C1) / (one.mean**2 + other.mean**2 + _C1)
    return light * (2 * both + _C2) / (one.variance + other.variance + _C2)


def inside(shown: Tensor) -> Tensor:
    """Return the part of maps (..., H, W) whose windows lie inside the picture."""
    return shown[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]


def _smooth(picture: Tensor) -> Tensor:
    rows, columns = (_weights(size) for size in picture.shape[-2:])
    return rows @ picture @ columns.T


@cache
def _weights(size: int) -> Tensor:
    """Return the matrix (size, size) that smooths a line; beyond its ends the line is mirrored."""
    near = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    gauss = torch.exp(-0.5 * (near / _SIGMA) ** 2)
    gauss = gauss / gauss.sum()
    found = torch.zeros(size, size, dtype=torch.float64)
    for place in range(size):
        for n in range(SIDE):
            at = place + n - _RADIUS
            at = -1 - at if at < 0 else 2 * size - 1 - at if at >= size else at
            found[place, at] += gauss[n]
    return found
