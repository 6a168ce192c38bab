"""A small network that reads poses in pictures: trained on real ones, applied to predicted ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sandbox.evaluation.folds import Folds
from sandbox.evaluation.imagining import PIXELS
from sandbox.evaluation.windows import tensor
from sandbox.training.trainer import seed

F64, I64 = NDArray[np.float64], NDArray[np.int64]
FRAMES = 8000  # On which a network is trained, at most.
UPDATES = 1500
_BATCH, _WIDTH, _POINTS, _HIDDEN, _RATE = 32, 16, 32, 128, 4e-3
_CELLS = 32  # Of a side, at which points are looked for; about.
_BLURS = (1, 1, 3, 5, 7)  # Pixels of a side over which pictures are averaged, by chance.
_SHARP = 4.0  # Of the softmax that says where a point is.


class Net(nn.Module):
    """Reads normalised numbers in pictures, from where it sees points.

    Convolutions over cells of a picture make maps; the mean place of each map, weighted by its
    softmax, is a point, and two layers read the numbers from the points. Flattened maps instead of
    points did not find a body of three pixels, and read where it usually is.

    Args:
        height, width: of the pictures.
        elements: how many numbers it reads.
    """

    def __init__(self, height: int, width: int, elements: int) -> None:
        super().__init__()
        most = max(2, min(height, width) // _CELLS)
        self.cell = max(n for n in range(1, most + 1) if height % n == 0 == width % n)
        self.see = nn.Sequential(
            nn.Conv2d(3 * self.cell**2, _WIDTH, 3, padding=1),
            *(nn.GroupNorm(1, _WIDTH), nn.SiLU(), nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)),
            *(nn.GroupNorm(1, _WIDTH), nn.SiLU(), nn.Conv2d(_WIDTH, _POINTS, 1)),
        )
        self.read = nn.Sequential(
            nn.Linear(2 * _POINTS, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, elements)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return what is read, (B, elements), in pictures float32 (B, 3, H, W) from 0 to 1."""
        maps = self.see(functional.pixel_unshuffle(pictures - 0.5, self.cell))
        share = (_SHARP * maps).flatten(2).softmax(-1).reshape(maps.shape)
        down, right = (torch.linspace(-1, 1, size) for size in maps.shape[2:])
        points = [(share.sum(3) * down).sum(-1), (share.sum(2) * right).sum(-1)]
        return self.read(torch.cat(points, dim=1))


@dataclass(frozen=True)
class Readers:
    """A network for each fold, trained on the frames of other episodes.

    Attributes:
        column: the column that is read.
        folds: the folds.
        nets: a network for each.
        mean, deviation: of the column's elements; a deviation is NaN where nothing varies.
    """

    column: str
    folds: Folds
    nets: tuple[Net, ...]
    mean: F64
    deviation: F64

    @classmethod
    def trained(
        cls, column: str, folds: Folds, mean: F64, deviation: F64, chance: int, updates: int
    ) -> Self:
        """Train the networks.

        Args:
            column: the column to read.
            folds: which episodes to train on.
            mean: of the column's elements.
            deviation: theirs.
            chance: seed of weights and frames.
            updates: how many each network has.
        """
        nets = list[Net]()
        for fold in range(len(folds.among)):
            frames, targets = _frames(folds, fold, column, chance)
            wanted = (targets - tensor(mean)) / tensor(_whole(deviation))
            nets.append(_trained(frames, wanted.float(), chance + fold, updates))
        return cls(column, folds, tuple(nets), mean, deviation)

    def __call__(self, pictures: Tensor, episodes: I64) -> F64:
        """Return what is read in pictures (B, 3, H, W) of some episodes, (B, elements)."""
        found = np.zeros((len(pictures), len(self.mean)))
        fold_of = self.folds.of_episode[episodes]
        with torch.no_grad():
            for fold in np.unique(fold_of).tolist():
                mine = fold_of == fold
                read = cast(Tensor, self.nets[fold](pictures[tensor(mine)].float()))
                found[mine] = read.double().numpy()
        return found * _whole(self.deviation) + self.mean


def _whole(deviation: F64) -> F64:
    """Return deviations by which one can divide: 1 where nothing varies."""
    return np.where(np.isfinite(deviation), deviation, 1.0)


def _frames(folds: Folds, fold: int, column: str, chance: int) -> tuple[Tensor, Tensor]:
    """Return frames uint8 (frames, 3, H, W) and what is to be read, float64 (frames, elements)."""
    windows = folds.windows(fold, 1, FRAMES, chance)
    columns: Sequence[str] = (PIXELS, column)
    every = [*windows.batches(columns, 256)]
    frames = torch.cat([rows[PIXELS][:, 0] for rows in every])
    return frames, torch.cat([rows[column][:, 0].double().flatten(1) for rows in every])


def _trained(frames: Tensor, targets: Tensor, chance: int, updates: int) -> Net:
    seed(chance)
    net = Net(int(frames.shape[2]), int(frames.shape[3]), int(targets.shape[1]))
    optimiser = torch.optim.AdamW(net.parameters(), _RATE)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, max(2, updates))
    for _ in range(updates):
        some = torch.randint(len(frames), (_BATCH,))
        seen = _blurred(frames[some].float() / 255)
        loss = functional.mse_loss(net(seen), targets[some])
        optimiser.zero_grad()
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        optimiser.step()  # pyright: ignore[reportUnknownMemberType]
        rate.step()
    return net.eval()


def _blurred(pictures: Tensor) -> Tensor:
    """Return pictures as blurred as some predicted ones: sharp ones alone would be a trap."""
    side = _BLURS[int(torch.randint(len(_BLURS), ()))]
    if side == 1:
        return pictures
    return functional.avg_pool2d(pictures, side, 1, side // 2, count_include_pad=False)
