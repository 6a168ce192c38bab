"""Read one shard, finished or growing; nothing that a file says is believed unchecked."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError
from sandbox.trajectory import layout, untrusted
from sandbox.trajectory.episode import Episode
from sandbox.trajectory.schema import INDEX, Schema
from sandbox.trajectory.shard import PART, sidecar_path

DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError)
BLOCK_BYTES = 4 << 20  # Read at once by who reads one episode after the other.
CURE = "Restore it from a copy, or generate it again."


class ShardReader:
    """One shard, finished (`.h5`) or growing (`.h5.part`), as it was when this was made.

    A growing shard is open only while it is read: HDF5 shares one cache among all who have a file
    open in a process, and that of one who came earlier would spoil what a later one sees. `session`
    keeps it open over several reads. When it is finished meanwhile, it is read by its final name.

    Not for use by two threads at once, nor across a fork.

    Args:
        path: of the file.

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
        self.path = path
        self._file: h5py.File | None = None
        self._columns: dict[str, layout.StoredColumn] = {}
        self._next, self._block_of = 0, range(0)
        self._block: dict[str, NDArray[Any]] = {}
        try:
            with self._damage("its header is damaged"), self.session() as file:
                texts = untrusted.texts(file, growing=self.growing)
                self.schema = Schema.from_json(json.loads(texts["schema"]))
                self.header = untrusted.objects(f"[{texts['header']}]", "its header")[0]
                untrusted.check_names(file, self.schema)
                self._read_index(file)
                self._check_columns()  # After the index: until it counts rows they may be missing.
                self.records = self._records(texts)
        except BaseException:
            self.close()
            raise

    @property
    def growing(self) -> bool:
        """Whether the shard is read under the name that it has while it grows."""
        return self.path.name.endswith(PART)

    def __len__(self) -> int:
        """Episodes."""
        return len(self.lengths)

    def read(self, i: int) -> Episode:
        """Return episode `i`, checked against its digest.

        Raises:
            FormatError: its rows are damaged.
            IndexError: there is no such episode.
        """
        rows = self._in_turn(i)
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
        wanted = [self.schema[name] for name in (self.schema.names if columns is None else columns)]
        with self._damage(f"episode {i} of {count} rows does not fit memory"), self.session():
            made = {c.name: np.empty((count, *c.shape), c.dtype) for c in wanted}
            for name, values in made.items():
                self.fill(name, start, values)
        return made

    def sidecar_fault(self) -> str:
        """Return what is wrong with the file of records beside the shard, or ""."""
        path = sidecar_path(self.path)
        ours = b"".join(layout.dumps(r, "a record").encode() + b"\n" for r in self.records)
        theirs = path.read_bytes() if path.exists() else b""
        if not self.growing and theirs != ours:
            lines = zip(theirs.split(b"\n"), ours.split(b"\n"), strict=False)
            line = next((n for n, (a, b) in enumerate(lines, 1) if a != b), len(self) + 1)
            return f"{path.name}: line {line} is not the record in the shard."
        return ""

    def _in_turn(self, i: int) -> dict[str, NDArray[Any]]:
        """Return all columns of an episode; who reads one after the other reads them in blocks."""
        follows, self._next = i == self._next and not self.growing, i + 1
        if not follows or i >= len(self):
            return self.arrays(i)
        if i not in self._block_of:
            start = int(self.offsets[i])
            end = start + max(BLOCK_BYTES // self.schema.row_bytes, int(self.lengths[i]))
            stop = int(np.searchsorted(self.offsets + self.lengths, end, side="right"))
            try:
                self._block = self._rows(
                    start, int((self.offsets + self.lengths)[stop - 1]) - start
                )
            except FormatError:  # Of some episode in it: say of which.
                return self.arrays(i)
            self._block_of = range(i, stop)
        first = int(self.offsets[i] - self.offsets[self._block_of[0]])
        return {name: rows[first : first + self.lengths[i]] for name, rows in self._block.items()}

    def _rows(self, start: int, count: int) -> dict[str, NDArray[Any]]:
        """Return some rows of all columns."""
        with self.session():
            made = {c.name: np.empty((count, *c.shape), c.dtype) for c in self.schema.columns}
            for name, values in made.items():
                self.fill(name, start, values)
        return made

    def fill(self, name: str, start: int, values: NDArray[Any]) -> None:
        """Fill `values`, C-contiguous and of the column's type, with rows from `start` on."""
        with self._damage(f"rows from {start} on of column {name!r} are damaged"), self.session():
            self._column(name).read(start, values)

    @contextmanager
    def session(self) -> Generator[h5py.File]:
        """Keep a growing shard open over several reads."""
        if self._file is not None:
            yield self._file
            return
        self._file = self._open()
        try:
            yield self._file
        finally:
            if self.growing:
                self.close()

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        self._columns.clear()
        self._block_of, self._block = range(0), {}
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> h5py.File:
        try:
            return untrusted.open_file(self.path, growing=self.growing)
        except FormatError:
            if not self.growing or self.path.exists():
                raise
        self.path = self.path.with_name(self.path.name.removesuffix(PART))
        return untrusted.open_file(self.path, growing=False)

    @contextmanager
    def _damage(self, what: str) -> Generator[None]:
        """Name the file in what is wrong with it, and say as FormatError what h5py says."""
        try:
            yield
        except FormatError as error:
            if str(error).startswith(str(self.path)):
                raise
            raise FormatError(f"{self.path}: {error}") from error
        except DAMAGE as error:
            raise FormatError(f"{self.path}: {what}: {layout.one_line(error)}. {CURE}") from error

    def _read_index(self, file: h5py.File) -> None:
        """Find the episodes that are committed; a growing shard has room for more."""
        index = [untrusted.column(file, column) for column in INDEX]
        stored = min(column.stored() for column in index)
        lengths, offsets = (column.rows(0, stored).astype(np.int64) for column in index)
        if self.growing:
            lengths = lengths[: int((lengths > 0).cumprod().sum())]
            offsets = offsets[: len(lengths)]
        self.lengths, self.offsets = lengths, offsets
        self.rows = int(lengths.sum())
        if (lengths < 1).any() or not np.array_equal(offsets, np.cumsum(lengths) - lengths):
            raise FormatError("`ep_offset` is not the running sum of `ep_len`; it is damaged.")

    def _check_columns(self) -> None:
        """Refuse columns without the rows of the index; a growing shard has room for more."""
        for name in self.schema.names:
            column = self._column(name)
            stored, extent = column.stored(), column.extent
            if stored < self.rows or (extent > self.rows and not self.growing):
                raise FormatError(
                    f"column {name!r} has {stored} of {extent} rows but `ep_len` adds up to "
                    f"{self.rows}; it is damaged."
                )

    def _column(self, name: str) -> layout.StoredColumn:
        if name not in self._columns:
            assert self._file is not None, "inside a session"
            self._columns[name] = untrusted.column(self._file, self.schema[name])
        return self._columns[name]

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
