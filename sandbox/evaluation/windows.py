"""The windows that a model is evaluated on: spread over episodes, chosen by the seed alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.dataset.dataset import Dataset
from sandbox.dataset.index import Places
from sandbox.dataset.tensors import Tensors, chosen
from sandbox.errors import InvalidInputError
from sandbox.training.material import ready

I64 = NDArray[np.int64]
BATCH = 16  # Windows that are read and imagined together; another number may give other bytes.


@dataclass(frozen=True)
class Windows:
    """Some windows of episodes.

    Attributes:
        dataset: the episodes.
        length: rows of a window.
        episode: the number of each window's episode, int64 (windows,).
        row: its first row there, int64 (windows,).
    """

    dataset: Dataset
    length: int
    episode: I64
    row: I64

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.episode)

    def batches(self, columns: Sequence[str], size: int = BATCH) -> Iterator[dict[str, Tensor]]:
        """Yield the windows in order, as models take them: columns (size, length, ...)."""
        index = self.dataset.index
        tensors = Tensors(index, chosen(columns, self.dataset.schema), self.length)
        for first in range(0, len(self), size):
            episode, row = (one[first : first + size] for one in (self.episode, self.row))
            rows = np.full(len(episode), self.length)
            at = index.first[episode] + row
            yield ready(
                tensors.read(Places(episode, index.shard[episode], at, rows, np.zeros_like(rows)))
            )

    def others(self) -> I64 | None:
        """Return another window for each, int64 (windows,): each once, of other episodes if it can.

        None if there is one window alone.
        """
        count = len(self)
        if count < 2:
            return None
        numbers = np.arange(count)
        for step in range(1, count):
            found = (numbers + step) % count
            if not (self.episode[found] == self.episode).any():
                return found
        return (numbers + 1) % count


def tensor(array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor of the same memory."""
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def drawn(
    dataset: Dataset, length: int, count: int, seed: int, among: I64 | None = None
) -> Windows:
    """Draw windows, of every episode that is long enough about as many.

    The windows of an episode are spread over it: each begins at random in a part of its own. They
    come in turn, one of each episode, so that neighbours are of different ones.

    Args:
        dataset: the episodes.
        length: rows of a window.
        count: how many windows, at most.
        seed: seed of the draws.
        among: numbers of the episodes that may be used, int64; None is all.

    Raises:
        InvalidInputError: no episode is long enough.
    """
    among = np.arange(len(dataset)) if among is None else among
    places = dataset.lengths[among] - length + 1
    among, places = among[places > 0], places[places > 0]
    if not len(among):
        raise InvalidInputError(
            f"{dataset.name}: no episode has the {length} rows of a window; ask for shorter "
            "horizons, or a shorter context."
        )
    rng = np.random.default_rng([seed, length])
    order = rng.permutation(len(among))
    found = list[tuple[int, int, int]]()
    for turn, n in enumerate(order.tolist()):
        share = count // len(among) + int(turn < count % len(among))
        share = min(share, int(places[n]))
        inside = rng.random(share)
        rows = ((np.arange(share) + inside) * (places[n] / max(1, share))).astype(np.int64)
        rows = np.minimum(rows, places[n] - 1)
        found += [(k, turn, int(row)) for k, row in enumerate(rows.tolist())]
    found.sort()
    episode = np.array([among[order[turn]] for _, turn, _ in found], np.int64)
    return Windows(dataset, length, episode, np.array([row for _, _, row in found], np.int64))
