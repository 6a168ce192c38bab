"""The order of an epoch: every window once, the same on any machine and any number of ranks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

I64, U64 = NDArray[np.int64], NDArray[np.uint64]
_ROUNDS = 6  # Of the Feistel network; 4 make a permutation that looks random.


@dataclass(frozen=True)
class Order:
    """The order of `count` windows in an epoch; nothing is stored, each place is computed.

    A shuffled order is a Feistel network over the least power of 4 that `count` fits, followed
    until it leads below `count`: a permutation that depends on seed and epoch, and not on NumPy.

    Attributes:
        count: the number of windows.
        seed: seed of the shuffle.
        epoch: number of the epoch; another has another order.
        shuffle: whether to shuffle; else windows come in the order of the dataset.
    """

    count: int
    seed: int
    epoch: int
    shuffle: bool

    def windows(self, places: I64) -> I64:
        """Return which windows are at places of the order, int64 (places,)."""
        if not self.shuffle or self.count < 2:
            return places
        half = -(-(self.count - 1).bit_length() // 2)
        keys = self._keys()
        found = _feistel(places.astype(np.uint64), half, keys)
        while (outside := np.flatnonzero(found >= np.uint64(self.count))).size:
            found[outside] = _feistel(found[outside], half, keys)
        return found.astype(np.int64)

    def _keys(self) -> U64:
        """Return a key for each round."""
        words = np.array([self.seed, self.epoch], np.uint64)
        mixed = _mixed(_mixed(words[:1]) ^ words[1:])
        return _mixed(mixed + np.arange(1, _ROUNDS + 1, dtype=np.uint64))


@dataclass(frozen=True)
class Share:
    """Which batches a rank takes of an order: of each step, one batch a rank, in turn.

    Attributes:
        rank: number of the rank.
        ranks: the number of ranks.
        batch: windows of a batch.
        drop_last: whether a last step that is not whole for all ranks is left out.
    """

    rank: int
    ranks: int
    batch: int
    drop_last: bool

    def count(self, windows: int) -> int:
        """Return how many batches this rank takes of so many windows."""
        whole, left = divmod(windows, self.batch * self.ranks)
        return whole + int(not self.drop_last and self._part(left).size > 0)

    def batches(self, start: int, windows: int) -> Iterator[tuple[int, I64]]:
        """Yield where all ranks are after a step, and this rank's places in the order.

        Args:
            start: how many windows all ranks have had.
            windows: the number of windows of the epoch.
        """
        step = self.batch * self.ranks
        for first in range(start, windows, step):
            size = min(step, windows - first)
            if size < step and self.drop_last:
                return
            places = first + self._part(size)
            if places.size:
                yield first + size, places

    def _part(self, size: int) -> I64:
        """Return this rank's part of a step: parts differ by at most one window."""
        begin, end = (size * n // self.ranks for n in (self.rank, self.rank + 1))
        return np.arange(begin, end)


def _feistel(values: U64, half: int, keys: U64) -> U64:
    """Return a permutation of the numbers of 2 * half bits."""
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return left << bits | right


def _mixed(values: U64) -> U64:
    """Return SplitMix64's hash of each number."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)
