"""Windows of trajectories as a torch dataset."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.trajectory import ShardReader, shards

Sample = dict[str, Tensor]


class Windows(Dataset[Sample]):
    """All windows of `length` consecutive rows that lie inside one episode.

    Row t of a window holds the observation at t and the action taken at t; reward, terminated,
    truncated and charge were received on arriving at t. The action of an episode's last row is NaN:
    none was taken there. A sample is a dict of tensors of `length` rows; pictures are uint8
    (length, channels, height, width), all else is as the file has it. The file is opened when it is
    first read, in each process anew, so that the dataset can be pickled and shared with workers.

    Args:
        path: a run folder, or one trajectory file; a run that is still growing has the episodes
            that were committed when this was made.
        length: rows of a window.
        columns: what to load.
        stride: rows from the start of one window to that of the next, in each episode.

    Raises:
        UnknownNameError: a column that the run has not.
        InvalidInputError: `length` or `stride` below 1, or no episode has as many rows.
        FormatError: the run cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        length: int = 16,
        columns: Sequence[str] = ("pixels", "action", "reward"),
        stride: int = 1,
    ) -> None:
        for name, value in (("length", length), ("stride", stride)):
            if isinstance(value, bool) or value < 1:
                raise InvalidInputError(f"{name} {value!r}: give a whole number from 1.")
        if not columns or isinstance(columns, str):
            raise InvalidInputError(f"columns {columns!r}: give a list of at least one name.")
        self.path, self.length = Path(path), length
        self.columns, self.stride = tuple(columns), stride
        self._paths = shards(self.path)
        self._index()
        self._forget()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        """Return window `index`; negative ones count from the end.

        Raises:
            IndexError: there is none.
        """
        return self._read(*self._place(index))

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Return several windows, read in the order of the file."""
        places = [self._place(index) for index in indices]
        samples: list[Sample] = [{} for _ in places]
        for n in sorted(range(len(places)), key=places.__getitem__):
            samples[n] = self._read(*places[n])
        return samples

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}, "_pid": 0}

    def _index(self) -> None:
        """Count the windows of every episode."""
        counts: list[NDArray[np.int64]] = []
        starts: list[NDArray[np.int64]] = []
        shard: list[NDArray[np.int64]] = []
        longest = 0
        for n, path in enumerate(self._paths):
            with ShardReader(path) as reader:
                for name in self.columns:
                    if name not in reader.schema.names:
                        raise UnknownNameError("column", name, reader.schema.names, str(path))
                counts.append(np.maximum(0, (reader.lengths - self.length) // self.stride + 1))
                starts.append(reader.offsets)
                shard.append(np.full(len(reader), n))
                longest = max(longest, int(reader.lengths.max(initial=0)))
        self._ends = np.cumsum(np.concatenate(counts))
        self._starts, self._shard = np.concatenate(starts), np.concatenate(shard)
        if not len(self._ends) or self._ends[-1] == 0:
            raise InvalidInputError(
                f"{self.path}: no episode has {self.length} rows, the longest has {longest}; give "
                "a smaller length."
            )

    def _place(self, index: int) -> tuple[int, int]:
        """Return the shard and first row of a window."""
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"window {index} of {count}")
        index %= count
        episode = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[episode - 1]) if episode else 0
        row = int(self._starts[episode]) + (index - before) * self.stride
        return int(self._shard[episode]), row

    def _read(self, shard: int, row: int) -> Sample:
        reader = self._reader(shard)
        return {
            name: _tensor(reader.dataset(name)[row : row + self.length]) for name in self.columns
        }

    def _reader(self, shard: int) -> ShardReader:
        if self._pid != os.getpid():
            self._forget()
        if shard not in self._open:
            path = self._paths[shard]
            if not path.exists():  # It was growing, and has been finished since.
                path = path.with_name(path.name.removesuffix(".part"))
            self._open[shard] = ShardReader(path)
        return self._open[shard]

    def _forget(self) -> None:
        self._open: dict[int, ShardReader] = {}
        self._pid = os.getpid()


def _tensor(rows: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(rows)  # pyright: ignore[reportUnknownMemberType]
    return tensor.permute(0, 3, 1, 2) if rows.ndim == 4 else tensor
