"""Windows of consecutive rows for PyTorch, from a trajectory file or a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import data

from sandbox.dataset.dataset import Dataset
from sandbox.dataset.index import Starts
from sandbox.errors import InvalidInputError
from sandbox.trajectory import Column, ShardReader


class Windows(data.Dataset[dict[str, Tensor]]):
    """Windows of `length` consecutive rows; none crosses the end of an episode.

    Item k is a dict of new, writable tensors (length, ...) of the columns' types. `pixels` and
    `pixels.<camera>` have their channels first: uint8 (length, 3, H, W).

    Row t of a window holds observation t; `action[t]` was taken *at* t; `reward`, `terminated`,
    `truncated` and `charge` were received *on arriving at* t. So `action[:-1]` leads from
    `pixels[:-1]` to `pixels[1:]` and earns `reward[1:]`. An `action` is NaN (0 for integers) on an
    episode's last row alone, which can only be the last row of a window.

    Windows can be pickled, forked and spawned: every process opens the files for itself when it
    first reads. Several threads may read them. A growing run is read as it is now; make new windows
    to see more.

    Args:
        path: a Dataset, or what it takes: a trajectory file, the folder of a run, or of runs.
        length: rows of a window.
        columns: names of the columns, in the order of the dict.
        stride: rows between the starts of neighbouring windows of an episode.

    Raises:
        FormatError: the files cannot be read, or have different columns.
        UnknownNameError: there is no such column.
        InvalidInputError: `length` or `stride` below 1, or no episode is long enough.
    """

    def __init__(
        self,
        path: str | Path | Dataset,
        length: int = 16,
        columns: Sequence[str] = ("pixels", "action", "reward"),
        stride: int = 1,
    ) -> None:
        if isinstance(columns, str) or not columns:
            raise InvalidInputError(f"columns {columns!r}: give a list of at least one column.")
        self.length, self.stride = length, stride
        dataset = path if isinstance(path, Dataset) else Dataset(path)
        self._index = dataset.index
        self._readers: dict[int, ShardReader] = {}
        self.columns: tuple[Column, ...] = tuple(self._index.schema[name] for name in columns)
        self._starts = Starts(self._index, length, stride, dataset.name)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._starts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one window; negative indices count from the end."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return several windows, read in the order in which they lie on disk."""
        shard, row = self._starts.places(indices)
        order = np.lexsort((row, shard)).tolist()
        made = {
            c.name: np.empty((len(order), self.length, *c.shape), c.dtype) for c in self.columns
        }
        for n in np.unique(shard).tolist():
            mine = [k for k in order if shard[k] == n]
            reader = self._reader(n)
            with reader.session():
                for name, values in made.items():
                    for k in mine:
                        reader.fill(name, int(row[k]), values[k])
        batch: list[dict[str, Tensor]] = [{} for _ in order]
        for column in self.columns:
            tensors = _tensor(column, made[column.name])
            for window, tensor in zip(batch, tensors, strict=True):
                window[column.name] = tensor
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}

    def _reader(self, shard: int) -> ShardReader:
        """Return the reader of a shard."""
        if shard not in self._readers:
            self._readers[shard] = self._index.reader(shard)
        return self._readers[shard]


def _tensor(column: Column, values: NDArray[Any]) -> Tensor:
    """Return (windows, length, ...) as a tensor, pictures with their channels first."""
    tensor = torch.from_numpy(values)  # pyright: ignore[reportUnknownMemberType]
    if column.name.split(".")[0] == "pixels":
        return tensor.permute(0, 1, 4, 2, 3).contiguous()  # As bytes: a quarter of float's traffic.
    return tensor
