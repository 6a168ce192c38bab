"""How far predicted pictures are from true ones: over all pixels, and where something moves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.evaluation.similarity import SIDE, Smoothed, inside, similarity
from sandbox.models.pictures import MOVES

F64 = NDArray[np.float64]
MOST_DB = 60.0  # A squared error below 10^-6 counts as that: no picture of 8 bits shows it.
PSNR, SSIM, MOVING_PSNR, MOVING_SSIM, IOU = "psnr", "ssim", "psnr_moving", "ssim_moving", "iou"
MEASURES = {  # And the unit of each.
    PSNR: "PSNR [dB]",
    SSIM: "SSIM",
    MOVING_PSNR: "PSNR on moving pixels [dB]",
    MOVING_SSIM: "SSIM on moving pixels",
    IOU: "IoU of the moving pixels",
}
PARTS = ("count", "error", "moving_error", "moving", "ssim", "moving_ssim", "both", "either")


@dataclass(frozen=True)
class Truth:
    """True pictures of one row of some windows.

    Attributes:
        smoothed: the pictures; None if they are too small for a similarity.
        picture, last: the pictures and those of the last row seen, float64 (B, 3, H, W), 0 to 1.
        moves: which pixels move, bool (B, H, W).
    """

    smoothed: Smoothed | None
    picture: Tensor
    last: Tensor
    moves: Tensor

    @classmethod
    def of(cls, last: Tensor, picture: Tensor) -> Self:
        """Compare pictures with those of the last row seen, both uint8 (B, 3, H, W)."""
        moves = ((picture.int() - last.int()).abs() > MOVES).any(1)
        numbers, before = picture.double() / 255, last.double() / 255
        small = min(picture.shape[-2:]) < SIDE
        return cls(None if small else Smoothed.of(numbers), numbers, before, moves)

    def measured(self, predicted: Tensor) -> dict[str, F64]:
        """Return sums over the pixels of each picture, each float64 (B,).

        `count` is 1, `error` the mean squared error of all pixels, `ssim` their mean similarity.
        The others are sums over moving pixels: squared error, number, similarity; and how many
        pixels move in both pictures, and in either.

        Args:
            predicted: the pictures that were predicted, float (B, 3, H, W); they are clipped.
        """
        shown = predicted.double().clamp(0, 1)
        square = (shown - self.picture).square().mean(1)
        said = ((shown - self.last).abs() > MOVES / 255).any(1)
        found = {
            "count": torch.ones(len(shown)),
            "error": square.mean((1, 2)),
            "moving_error": (square * self.moves).sum((1, 2)),
            "moving": self.moves.sum((1, 2)),
            "both": (said & self.moves).sum((1, 2)),
            "either": (said | self.moves).sum((1, 2)),
        }
        if self.smoothed is not None:
            alike = similarity(Smoothed.of(shown), self.smoothed)
            found["ssim"] = inside(alike).mean((1, 2, 3))
            found["moving_ssim"] = (alike.mean(1) * self.moves).sum((1, 2))
        return {name: one.double().numpy() for name, one in found.items()}


@dataclass
class Sums:
    """What `Truth.measured` returned, of every window and horizon.

    Attributes:
        parts: its sums by name, each float64 (windows, horizons); NaN where nothing was measured.
    """

    windows: int
    horizons: int
    parts: dict[str, F64] = field(default_factory=dict[str, F64])

    def __post_init__(self) -> None:
        shape = (self.windows, self.horizons)
        self.parts |= {name: np.full(shape, np.nan) for name in PARTS}

    def put(self, first: int, horizon: int, found: Mapping[str, F64]) -> None:
        """Keep the sums of some windows, from the number `first` on, at one horizon."""
        for name, one in found.items():
            self.parts[name][first : first + len(one), horizon] = one


def score(sums: Mapping[str, F64], measure: str) -> F64:
    """Return a measure of pooled windows, from sums (..., windows, horizons): (..., horizons).

    NaN where nothing moves.
    """
    total = {name: one.sum(-2) for name, one in sums.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        match measure:
            case "psnr":
                return psnr(total["error"] / total["count"])
            case "ssim":
                return total["ssim"] / total["count"]
            case "psnr_moving":
                return psnr(total["moving_error"] / total["moving"])
            case "ssim_moving":
                return total["moving_ssim"] / total["moving"]
            case _:
                return total["both"] / total["either"]


def psnr(error: F64) -> F64:
    """Return the peak signal-to-noise ratio of mean squared errors [dB], of numbers up to 1."""
    least = 10 ** (-MOST_DB / 10)
    return np.minimum(MOST_DB, -10 * np.log10(np.maximum(error, least)))


def shifted(last: Tensor, before: Tensor, steps: int) -> Tensor:
    """Return pictures (B, 3, H, W) that go on changing as from one row to the next."""
    return torch.clamp(last + steps * (last - before), 0, 1)
