"""Read one shard, finished or growing, and check everything that the file says."""

import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from sandbox import files, jsonfile, memory
from sandbox.errors import FormatError, UnreadableError, shown
from sandbox.remote import ranged
from sandbox.remote.location import Location, Remote
from sandbox.remote.ranged import RangedFile
from sandbox.trajectory import layout, untrusted
from sandbox.trajectory.episode import Episode
from sandbox.trajectory.handles import HANDLES
from sandbox.trajectory.schema import INDEX, ROW, Column, Schema
from sandbox.trajectory.shard import PART, sidecar_path

DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError)
MOST_EPISODES = 10_000_000  # Of a growing shard, which has spare entries.
MOST_RECORDS_BYTES = 1 << 30  # Of the records of a shard.
BLOCK_BYTES = 4 << 20  # Read at once when episodes are read in order:
REMOTE_BLOCK_BYTES = 32 << 20  # more where each read is a round trip.
Wanted = tuple[str, int, int]  # Name of a column, first row, number of rows.
CURE = "Restore it from a copy, or move it away and generate it again."


class ShardReader:
    """One shard, finished (`.h5`) or growing (`.h5.part`), as it was when the reader was made.

    A growing shard is open only during a read, or during a `session` of several reads: HDF5 shares
    one cache among all open handles of a file in a process, so that an older handle would show
    stale data to a newer one. A shard that is finished meanwhile is read by its final name.

    Several threads may use a reader: one reads while the others wait. A process that was forked
    opens the file for itself. Beyond a number of open files, see `handles`, the one that was used
    longest ago is closed, and opened again when it is read.

    A remote shard is finished. Its columns are looked at when they are first read: HDF5's metadata
    is strewn over the file, and each piece costs a request.

    Args:
        path: the path of the file, or a remote one.
        schema: the columns of a finished shard, or some of them, where they are known: then the
            header is not read, and a column is looked at when it is first read.

    Attributes:
        version: the format version of the file.
        schema: the columns.
        header: the writer's JSON about the whole shard; FormatError if it is damaged.
        records: one for each episode, with its `digest`; those of a finished shard are parsed when
            they are first asked for, and raise FormatError if they are damaged.
        lengths: int64 (episodes,): the number of rows of each episode, T+1.
        offsets: int64 (episodes,): the first row of each episode.
        rows: the number of rows of all episodes.

    Raises:
        FormatError: the file is not a trajectory file, damaged, or of another format version.
        UnreadableError: it cannot be opened here and now.
    """

    def __init__(self, path: str | Location, schema: Schema | None = None) -> None:
        self.path = path if isinstance(path, Remote) else files.place(path)
        self._source = RangedFile(path) if isinstance(path, Remote) else None
        self._file: h5py.File | None = None
        self._lock, self._sessions = threading.RLock(), 0
        self._columns: dict[str, layout.StoredColumn] = {}
        self._next, self._block_of = 0, range(0)
        self._block: dict[str, NDArray[Any]] = {}
        self._lazy = self._source is not None or schema is not None
        HANDLES.know(self)
        try:
            with self._damage("its header is damaged"), self.session() as file:
                self.version = untrusted.version(file)
                self.schema = self._read_header(file) if schema is None else schema
                self._read_index(file)
                if not self._lazy:
                    self._check_columns()  # Needs the index; columns may be empty before it.
                untrusted.check_room(self.lengths, self.schema.row_bytes, file)
                if self.growing:  # Its sidecar grows meanwhile.
                    self.records = untrusted.sidecar(
                        sidecar_path(self._local), len(self), MOST_RECORDS_BYTES
                    )
        except BaseException:
            self.close()
            raise

    def _read_header(self, file: h5py.File) -> Schema:
        """Read the header, and return the columns, of which the file has no others."""
        texts = untrusted.texts(file, growing=self.growing)
        schema = Schema.from_json(cast(Any, jsonfile.parse(texts["schema"], "its schema")))
        self.header = untrusted.objects(f"[{texts['header']}]", "its header")[0]
        untrusted.check_names(file, schema, scaled=self._is_scaled)
        return schema

    @cached_property
    def header(self) -> dict[str, Any]:
        """The writer's JSON about the whole shard."""
        with self._damage("its header is damaged"), self.session() as file:
            self._read_header(file)
        return self.header

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records of the episodes: a tenth of a millisecond each, where rows are read alone."""
        with self._damage("its records are damaged"), self.session() as file:
            texts = untrusted.texts(file, growing=False)
            records = untrusted.objects(texts["episodes"], "its records", len(self))
            if len(records) != len(self):
                raise FormatError(
                    f"it has {len(records)} records for {len(self)} episodes; it is damaged."
                )
            return records

    @property
    def _local(self) -> Path:
        """The path of a file of this machine."""
        assert isinstance(self.path, Path), "a remote shard has no sidecar here"
        return self.path

    @property
    def growing(self) -> bool:
        """Return whether the shard is read under the name that it has while it grows."""
        return self.path.name.endswith(PART)

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.lengths)

    def read(self, i: int) -> Episode:
        """Return episode `i` after checking it against its digest.

        Raises:
            FormatError: the episode is damaged.
            IndexError: the shard has no such episode.
        """
        self._refuse_size(i, self.schema.columns)
        with self._lock:
            rows = self._in_turn(i)
        with self._damage(f"episode {i} is damaged"):
            episode = Episode(rows, self.records[i])
            digest = self.records[i].get("digest")
            if episode.digest != digest:
                raise FormatError(f"episode {i} has digest {episode.digest}, not {digest}. {CURE}")
        return episode

    def arrays(self, i: int, columns: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return columns of episode `i`, by default all, each (T+1, ...), without a digest check.

        Raises:
            FormatError: a chunk is damaged.
            IndexError: the shard has no such episode.
            UnknownNameError: the shard has no such column.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.path}: no episode {shown(i)}; it has {len(self)}.")
        start, count = int(self.offsets[i]), int(self.lengths[i])
        wanted = [self.schema[name] for name in (self.schema.names if columns is None else columns)]
        self._refuse_size(i, wanted)
        with self._damage(f"episode {i} of {count} rows does not fit memory"), self.session():
            self._fetch([(c.name, start, count) for c in wanted])
            made = {c.name: np.empty((count, *c.shape), c.dtype) for c in wanted}
            for name, values in made.items():
                self.fill(name, start, values)
        return made

    def _refuse_size(self, i: int, columns: Iterable[Column]) -> None:
        """Refuse an episode that does not fit memory (UnreadableError)."""
        if self._is_heavy and -len(self) <= i < len(self):
            size = int(self.lengths[i]) * sum(column.row_bytes for column in columns)
            memory.refuse(size, 2, f"{self.path}: episode {i}")

    @cached_property
    def _is_heavy(self) -> bool:
        """Whether an episode may not fit memory."""
        return int(self.lengths.max(initial=0)) * self.schema.row_bytes > memory.SMALL_BYTES

    @property
    def _is_scaled(self) -> bool:
        """Return whether the file has a dimension scale that counts its rows."""
        return self.version > 1 and not self.growing

    def own_fault(self) -> str:
        """Return a message if the file's own column `row` does not count its rows, else ""."""
        if not self._is_scaled:
            return ""
        with self._damage("its rows are not counted"), self.session() as file:
            scale = untrusted.column(file, ROW, self._source)
            counted = scale.stored() >= scale.extent == self.rows
            if counted and np.array_equal(scale.rows(0, self.rows), np.arange(self.rows)):
                return ""
        return f"{self.path.name}: its column {ROW.name!r} does not count its rows."

    @property
    def lines(self) -> bytes:
        """The bytes of the sidecar: a line of JSON for each record."""
        return b"".join(layout.dumps(r, "a record").encode() + b"\n" for r in self.records)

    def sidecar_fault(self) -> str:
        """Return a message if the sidecar's records differ from the shard's, else ""."""
        if self.growing:
            return ""
        path, ours = sidecar_path(self._local), self.lines
        theirs = files.begin(path, len(ours) + 1) if path.exists() else b""
        if theirs != ours:
            lines = zip(theirs.split(b"\n"), ours.split(b"\n"), strict=False)
            line = next((n for n, (a, b) in enumerate(lines, 1) if a != b), len(self) + 1)
            return f"{path.name}: line {line} is not the record in the shard."
        return ""

    def _in_turn(self, i: int) -> dict[str, NDArray[Any]]:
        """Return all columns of an episode; episodes that are read in order are read in blocks."""
        follows, self._next = i == self._next and not self.growing, i + 1
        if not follows or i >= len(self):
            return self.arrays(i)
        if i not in self._block_of:
            start = int(self.offsets[i])
            block = BLOCK_BYTES if self._source is None else REMOTE_BLOCK_BYTES
            end = start + max(block // self.schema.row_bytes, int(self.lengths[i]))
            stop = int(np.searchsorted(self.offsets + self.lengths, end, side="right"))
            try:
                self._block = self._rows(
                    start, int((self.offsets + self.lengths)[stop - 1]) - start
                )
            except FormatError:  # Read the episode alone, so that the error names it.
                return self.arrays(i)
            self._block_of = range(i, stop)
        first = int(self.offsets[i] - self.offsets[self._block_of[0]])
        return {name: rows[first : first + self.lengths[i]] for name, rows in self._block.items()}

    def _rows(self, start: int, count: int) -> dict[str, NDArray[Any]]:
        """Return `count` rows from `start` of all columns."""
        with self.session():
            self._fetch([(name, start, count) for name in self.schema.names])
            made = {c.name: np.empty((count, *c.shape), c.dtype) for c in self.schema.columns}
            for name, values in made.items():
                self.fill(name, start, values)
        return made

    def fill(self, name: str, start: int, values: NDArray[Any]) -> None:
        """Read a column's rows from `start` into `values`, C-contiguous and of its type."""
        with self._damage(f"rows from {start} on of column {name!r} are damaged"), self.session():
            self._fetch([(name, start, len(values))])
            self._column(name).read(start, values)

    def gather(
        self, name: str, wanted: Sequence[tuple[int, NDArray[Any]]], apart: int, threads: int
    ) -> None:
        """Read rows of a column into arrays of its type, with any strides.

        Args:
            name: the column.
            wanted: first rows, in their order, each with an array that is filled from there.
            apart: how far apart the rows of an array lie.
            threads: how many may read at once.
        """
        with self._damage(f"rows of column {name!r} are damaged"), self.session():
            self._fetch([(name, start, (len(values) - 1) * apart + 1) for start, values in wanted])
            self._column(name).gather(wanted, apart, threads)

    def spans(self, wanted: Sequence[Wanted]) -> "tuple[RangedFile, list[ranged.Span]] | None":
        """Return where a remote shard stores rows, to fetch them with others'; None of a local one.

        Args:
            wanted: names of columns, each with a first row and their number.

        Raises:
            FormatError: some of them are not stored.
        """
        if self._source is None:
            return None
        with self._damage("its chunks cannot be found"), self.session():
            found = [self._column(name).spans(start, count) for name, start, count in wanted]
            return self._source, list(dict.fromkeys(span for one in found for span in one))

    def _fetch(self, wanted: Sequence[Wanted]) -> None:
        """Fetch rows of a remote shard, as far as they are not here yet."""
        found = self.spans(wanted)
        if found is not None and found[0].missing(found[1]):
            ranged.gather([found])

    @contextmanager
    def session(self) -> Generator[h5py.File]:
        """Keep the file open during the block, also that of a growing shard; yield it.

        Other threads wait.
        """
        with self._lock:
            if self._file is None:
                self._file = self._open()
            self._sessions += 1
            try:
                if self._sessions == 1 and not self.growing:
                    HANDLES.used(self)
                yield self._file
            finally:
                self._sessions -= 1
                if self.growing and not self._sessions:
                    self.close()

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        with self._lock:
            self._columns.clear()
            self.forget()
            file, self._file = self._file, None
            if file is not None:
                file.close()
        HANDLES.closed(self)

    def close_if_idle(self) -> bool:
        """Close the file if it is open and nobody reads it; return whether it was closed."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            idle = self._file is not None and not self._sessions
            if idle:
                self.close()
            return idle
        finally:
            self._lock.release()

    def forked(self) -> None:
        """Forget the file of the process that this one was forked from."""
        self._lock, self._sessions, self._file = threading.RLock(), 0, None
        self._columns.clear()

    def forget(self) -> None:
        """Free the rows that were read ahead; the file stays open."""
        self._block_of, self._block = range(0), {}
        if self._source is not None:
            self._source.forget()

    def forget_records(self) -> None:
        """Free the records of a finished shard; the next who asks reads them again."""
        if not self.growing:
            self.__dict__.pop("records", None)

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
        """Open the file; where the process has no descriptor left, close idle ones first."""
        try:
            return self._open_by_name()
        except UnreadableError:
            if not HANDLES.close_idle():
                raise
        return self._open_by_name()

    def _open_by_name(self) -> h5py.File:
        """Open the file, by its final name if the shard was finished meanwhile."""
        if self._source is not None:
            return untrusted.open_remote(self._source)
        try:
            return untrusted.open_file(self._local, growing=self.growing)
        except FormatError:
            if not self.growing or self._local.exists():
                raise
        self.path = self._local.with_name(self.path.name.removesuffix(PART))
        return untrusted.open_file(self.path, growing=False)

    @contextmanager
    def _damage(self, what: str) -> Generator[None]:
        """Turn errors of h5py into FormatErrors, and begin each message with the file's path."""
        try:
            yield
        except FormatError as error:
            if str(error).startswith(str(self.path)):
                raise
            raise FormatError(f"{self.path}: {error}") from error
        except DAMAGE as error:
            if self._source is not None and self._source.error is not None:
                told, self._source.error = self._source.error, None
                raise told from None
            if untrusted.is_passing(error):
                raise files.unreadable(self.path, error) from None
            raise FormatError(f"{self.path}: {what}: {layout.one_line(error)}. {CURE}") from error

    def _read_index(self, file: h5py.File) -> None:
        """Read the committed episodes' lengths and offsets; a growing shard has spare entries."""
        index = [untrusted.column(file, column, self._source) for column in INDEX]
        stored = min(column.stored() for column in index)
        if stored > MOST_EPISODES:
            raise FormatError(f"it declares {stored:,} episodes; it is damaged, or made to harm.")
        lengths, offsets = (column.rows(0, stored).astype(np.int64) for column in index)
        if self.growing:
            lengths = lengths[: int((lengths > 0).cumprod().sum())]
            offsets = offsets[: len(lengths)]
        self.lengths, self.offsets = lengths, offsets
        self.rows = int(lengths.sum())
        if (lengths < 1).any() or not np.array_equal(offsets, np.cumsum(lengths) - lengths):
            raise FormatError("`ep_offset` is not the running sum of `ep_len`; it is damaged.")

    def _check_columns(self) -> None:
        """Refuse columns that lack rows of the index; a growing shard has spare rows."""
        for name in self.schema.names:
            self._check_column(name, self._column(name))

    def _check_column(self, name: str, column: layout.StoredColumn) -> None:
        """Refuse a column that lacks rows; of a remote one, `spans` refuses those not stored."""
        extent = column.extent
        stored = column.stored() if self._source is None else extent
        if stored < self.rows or (extent > self.rows and not self.growing):
            raise FormatError(
                f"column {name!r} has {stored} of {extent} rows but `ep_len` adds up to "
                f"{self.rows}; it is damaged."
            )

    def _column(self, name: str) -> layout.StoredColumn:
        if name not in self._columns:
            assert self._file is not None, "inside a session"
            made = untrusted.column(self._file, self.schema[name], self._source)
            if self._lazy:
                self._check_column(name, made)
            self._columns[name] = made
        return self._columns[name]
