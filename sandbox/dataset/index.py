"""Where the rows of episodes lie in shards, and where windows of them begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sandbox.dataset import index_file
from sandbox.errors import InvalidInputError, shown
from sandbox.remote.location import Location
from sandbox.trajectory import Schema, ShardReader
from sandbox.trajectory.shard import PART

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Index:
    """Where the rows of episodes lie.

    Attributes:
        paths: the shards.
        schema: the columns, which all shards share.
        shard: which shard each episode is in, int64 (episodes,).
        first: its first row there, int64 (episodes,).
        lengths: its rows, T+1, int64 (episodes,).
    """

    paths: tuple[Location, ...]
    schema: Schema
    shard: I64
    first: I64
    lengths: I64

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.lengths)

    def reader(self, shard: int, *, rows_alone: bool = False) -> ShardReader:
        """Open a shard for reading.

        Args:
            shard: which one.
            rows_alone: whether nothing but rows of the columns of `schema` is read; then a shard of
                1,000 episodes opens in a sixth of the time.

        Raises:
            FormatError: it is damaged, or its episodes do not lie where the index says.
        """
        path, mine = self.paths[shard], self.shard == shard
        known = rows_alone and not path.name.endswith(PART)
        reader = ShardReader(path, self.schema if known else None)
        place = np.searchsorted(reader.offsets, self.first[mine])
        first, lengths = (np.append(one, -1)[place] for one in (reader.offsets, reader.lengths))
        if np.array_equal(first, self.first[mine]) and np.array_equal(lengths, self.lengths[mine]):
            return reader
        reader.close()
        raise index_file.stale(self.paths[shard])


@dataclass(frozen=True)
class Places:
    """Where windows lie.

    Attributes:
        episode: the episode of each in the index, int64 (windows,).
        shard: its shard, int64 (windows,).
        row: its first row there, int64 (windows,); of its context, if it has some.
        rows: how many of its rows the episode has, int64 (windows,); the rest is padding.
        lead: how many rows of its context lie before the episode, int64 (windows,).
    """

    episode: I64
    shard: I64
    row: I64
    rows: I64
    lead: I64

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.row)


class Starts:
    """Where the windows of `length` rows begin, `stride` rows apart, episode by episode.

    None crosses the end of an episode.

    Args:
        index: the episodes.
        length: rows of a window.
        stride: rows between the starts of neighbouring windows of an episode.
        named: what errors call the dataset.
        pad: whether an episode that is shorter than a window has one, which is padded.
        context: rows that are read before each window, as far as the episode has them.
        apart: how far apart the rows of a context lie.

    Raises:
        InvalidInputError: `length` or `stride` is no whole number above 0, or no episode is long
            enough.
    """

    def __init__(
        self,
        index: Index,
        length: int,
        stride: int,
        named: str,
        *,
        pad: bool = False,
        context: int = 0,
        apart: int = 1,
    ) -> None:
        if not (is_count(length) and is_count(stride)):
            raise InvalidInputError(
                f"windows of length {shown(length)} and stride {shown(stride)}: give at least 1 "
                "of each."
            )
        self.index, self.length, self.stride, self._named = index, length, stride, named
        self._context, self._apart = context, apart
        fitting = (index.lengths - length) // stride + 1
        self._ends = np.cumsum(np.maximum(int(pad), fitting))
        if not len(self):
            longest = max(index.lengths, default=0)
            raise InvalidInputError(
                f"{named}: a window of {length} rows fits none of its {len(index)} episodes, the "
                f"longest of which has {longest} rows; ask for a shorter length."
            )

    def __len__(self) -> int:
        """The number of windows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def places(self, windows: Sequence[int] | NDArray[Any]) -> Places:
        """Return where windows lie; negative numbers count from the end.

        Raises:
            IndexError: there is no such window.
        """
        asked, total = np.asarray(windows, np.int64), len(self)
        wrong = asked[(asked < -total) | (asked >= total)]
        if len(wrong):
            raise IndexError(f"{self._named}: no window {wrong[0]}; it has {total}.")
        asked = np.where(asked < 0, asked + total, asked)
        episode = np.searchsorted(self._ends, asked, side="right")
        before = np.where(episode > 0, self._ends[episode - 1], 0)
        skipped = (asked - before) * self.stride
        rows = np.minimum(self.index.lengths[episode] - skipped, self.length)
        given = np.minimum(self._context, skipped // self._apart)
        row = self.index.first[episode] + skipped - given * self._apart
        rows += given * self._apart
        return Places(episode, self.index.shard[episode], row, rows, self._context - given)


def is_count(value: object, least: int = 1) -> bool:
    """Return whether a value is a whole number, of Python's types or NumPy's, from `least` on."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        return False
    return least <= int(cast(int, value)) < 1 << 63
