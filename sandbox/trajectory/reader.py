"""Read one shard, finished or growing; nothing that a file says is believed unchecked."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError
from sandbox.trajectory import layout, untrusted
from sandbox.trajectory.episode import Episode
from sandbox.trajectory.schema import Schema
from sandbox.trajectory.shard import PART, sidecar_path

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)
CURE = "Restore it from a copy, or generate it again."


class ShardReader:
    """One shard, finished (`.h5`) or growing (`.h5.part`), as it was when opened.

    Not for use by two threads at once, nor across a fork.

    Args:
        path: of the file. A `.part` that was finished meanwhile is read by its final name.

    Attributes:
        schema: its columns.
        header: what the writer said about the whole shard.
        records: one for each episode, with its `digest`.
        lengths: int64 (episodes,): rows of each episode, T+1.
        offsets: int64 (episodes,): first row of each episode.
        rows: how many rows the episodes have together.

    Raises:
        FormatError: not a file of ours, damaged, or of another format version.
    """

    def __init__(self, path: Path) -> None:
        if path.name.endswith(PART) and not path.exists():
            path = path.with_name(path.name.removesuffix(PART))
        self.path, self.growing = path, path.name.endswith(PART)
        self._columns: dict[str, layout.Rows] = {}
        self._file = untrusted.open_file(path, growing=self.growing)
        try:
            with self._damage("its header is damaged"):
                texts = untrusted.texts(self._file, growing=self.growing)
                self.schema = Schema.from_json(json.loads(texts["schema"]))
                self.header = untrusted.objects(f"[{texts['header']}]", "its header")[0]
                self._columns = untrusted.columns(self._file, self.schema)
                self._read_index()
                self.records = self._records(texts)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Episodes."""
        return len(self.lengths)

    def read(self, i: int) -> Episode:
        """Return episode `i`, checked against its digest.

        Raises:
            FormatError: its rows are damaged.
            IndexError: there is no such episode.
        """
        rows = self.arrays(i)
        with self._damage(f"episode {i} is damaged"):
            episode = Episode(rows, self.records[i])
            said = self.records[i].get("digest")
            if episode.digest != said:
                raise FormatError(f"episode {i} has digest {episode.digest}, not {said}. {CURE}")
        return episode

    def arrays(self, i: int, columns: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return columns of episode `i`, all by default, each (T+1, ...); no digest is checked.

        Raises:
            FormatError: a chunk is damaged.
            IndexError: there is no such episode.
            UnknownNameError: there is no such column.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.path}: no episode {i}; it has {len(self)}.")
        start, count = int(self.offsets[i]), int(self.lengths[i])
        made: dict[str, NDArray[Any]] = {}
        for name in self.schema.names if columns is None else columns:
            column = self.schema[name]
            with self._damage(f"episode {i} of {count} rows does not fit memory"):
                made[name] = np.empty((count, *column.shape), column.dtype)
            self.fill(name, start, made[name])
        return made

    def fill(self, name: str, start: int, values: NDArray[Any]) -> None:
        """Fill `values`, C-contiguous and of the column's type, with rows from `start` on."""
        with self._damage(f"rows from {start} on of column {name!r} are damaged"):
            self._columns[name].read(start, values)

    def close(self) -> None:
        """Close the file."""
        self._columns.clear()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _damage(self, what: str) -> Generator[None]:
        """Name the file in what is wrong with it, and say as FormatError what h5py says."""
        try:
            yield
        except FormatError as error:
            raise FormatError(f"{self.path}: {error}") from error
        except DAMAGE as error:
            raise FormatError(f"{self.path}: {what}: {layout.one_line(error)}. {CURE}") from error

    def _read_index(self) -> None:
        """Find the episodes that are committed; a growing shard has room for more."""
        index = [self._columns[name] for name in ("ep_len", "ep_offset")]
        stored = min(column.stored for column in index)
        lengths, offsets = (column.rows(0, stored).astype(np.int64) for column in index)
        if self.growing:
            lengths = lengths[: int((lengths > 0).cumprod().sum())]
            offsets = offsets[: len(lengths)]
        self.lengths, self.offsets = lengths, offsets
        self.rows = int(lengths.sum())
        if (lengths < 1).any() or not np.array_equal(offsets, np.cumsum(lengths) - lengths):
            raise FormatError("`ep_offset` is not the running sum of `ep_len`; it is damaged.")
        for name in self.schema.names:
            column = self._columns[name]
            whole = column.stored >= self.rows
            if not whole or (column.extent > self.rows and not self.growing):
                raise FormatError(
                    f"column {name!r} has {column.stored} of {column.extent} rows but `ep_len` "
                    f"adds up to {self.rows}; it is damaged."
                )

    def _records(self, texts: dict[str, str]) -> list[dict[str, Any]]:
        """Return the records: a finished shard carries them, a growing one has a sidecar."""
        if self.growing:
            return untrusted.sidecar(sidecar_path(self.path), len(self))
        records = untrusted.objects(texts["episodes"], "its records")
        if len(records) != len(self):
            raise FormatError(
                f"it has {len(records)} records for {len(self)} episodes; it is damaged."
            )
        return records
