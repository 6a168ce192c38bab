"""The native layout in HDF5: create files and columns, and read and write a column's rows.

The bytes of a file depend only on what is written: it has no timestamps, its format version is
pinned, and nothing comes from the process.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from sandbox import files
from sandbox.errors import FormatError, SandboxError
from sandbox.trajectory.direct import Direct, Wanted
from sandbox.trajectory.room import Room, check
from sandbox.trajectory.schema import FORMAT_VERSION, ROW, Column

FRAME_CHUNK_BYTES = 192 << 10  # Fast to write and to read at random: notes/hdf5.md.
FRAME_CHUNK_ROWS = 64
SMALL_CHUNK_BYTES = 16 << 10  # For columns with small rows; each append rewrites the last chunk.
COPY_BYTES = 4 << 20
INDEX_BYTES = 64 << 10
ZSTD = int(hdf5plugin.ZSTD_ID)
COMPRESSIONS = ("zstd", "gzip", "none")
_ZSTD = {"compression": ZSTD, "compression_opts": (1,), "fletcher32": True}
_GZIP = {"compression": "gzip", "compression_opts": 1, "fletcher32": True}
TEXTS = ("schema", "header", "episodes")  # Root attributes, JSON.
SEAL = "seal"  # SHA-256 over the texts: HDF5 has no checksum of long attributes.


class StorageError(SandboxError):
    """The disk is full, unwritable or gone; what was committed before is kept."""


def storage_error(path: Path, error: BaseException) -> NoReturn:
    """Raise the StorageError for an error of the disk at `path`."""
    raise StorageError(
        f"{path}: cannot be written: {one_line(error)}. Episodes committed before are kept. Make "
        "room or give another folder, then run the same command again."
    ) from error


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, without a full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def chunk_rows(row_bytes: int) -> int:
    """Return how many rows a chunk holds."""
    frames = round(FRAME_CHUNK_BYTES / row_bytes)
    if frames > FRAME_CHUNK_ROWS:
        return max(FRAME_CHUNK_ROWS, SMALL_CHUNK_BYTES // row_bytes)
    return max(1, frames)


def filters(column: Column, compression: str) -> Mapping[str, Any]:
    """Return the HDF5 filters of a column: of numbers only those that every HDF5 library has."""
    if compression == "none":
        return {}
    if not column.is_picture:
        return {**_GZIP, "shuffle": True}
    return _ZSTD if compression == "zstd" else _GZIP


def is_packed(column: Column) -> bool:
    """Return whether a column is compressed while the shard grows: pictures, if they are large."""
    return column.is_picture and chunk_rows(column.row_bytes) < FRAME_CHUNK_ROWS


def lockless(opened: Callable[[], h5py.File], access: h5py.h5p.PropFAID) -> h5py.File:
    """Return a file that HDF5 opens; without its locks, which nobody needs, where there are none.

    Args:
        opened: opens the file with `access`.
        access: says whether it is locked; it is changed where the file system refuses.
    """
    try:
        return opened()
    except OSError as error:
        if error.errno not in files.REFUSED_LOCKS:
            raise
    access.set_file_locking(False, True)
    return opened()


def read(path: Path) -> h5py.File:
    """Open a finished HDF5 file for reading."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno not in files.REFUSED_LOCKS:
            raise
    return h5py.File(path, "r", locking=False)


def create(path: Path, size: int) -> tuple[h5py.File, Room]:
    """Create an HDF5 file without timestamps; an existing file is replaced.

    Returns:
        The empty file, and its room with `size` bytes reserved.
    """
    check(path, size)
    made = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    made.set_obj_track_times(False)  # For the root group; h5py's default stores them.
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    flags = h5py.h5f.ACC_TRUNC
    file = lockless(lambda: h5py.File(h5py.h5f.create(bytes(path), flags, made, access)), access)
    room = Room(file)
    room.ensure(size)
    return file, room


def append_bytes(columns: Iterable[Column]) -> tuple[int, int]:
    """Return the most disk space that an append needs: once, and for each row [bytes].

    Each column needs the chunks in which the append begins and ends, what a filter may add to the
    chunks between, and HDF5's index of chunks.
    """
    sizes = [column.row_bytes for column in columns]
    return sum(2 * chunk_rows(n) * n + INDEX_BYTES for n in sizes), sum(
        n + n // 64 + 1 for n in sizes
    )


def create_column(
    file: h5py.File, column: Column, rows: int, filters: Mapping[str, Any], *, chunked: bool = True
) -> h5py.Dataset:
    """Create the dataset of a column with `rows` rows; return it."""
    room: dict[str, Any] = {}
    if chunked:
        room["maxshape"] = (None, *column.shape)
        room["chunks"] = (chunk_rows(column.row_bytes), *column.shape)
    return file.create_dataset(
        column.name,
        (rows, *column.shape),
        np.dtype(column.dtype),
        track_times=False,
        **room,
        **filters,
    )


def create_scale(file: h5py.File, rows: int, compression: str) -> h5py.Dataset:
    """Create the dimension scale of the rows, which counts them; return it."""
    chunked = compression != "none"
    scale = create_column(file, ROW, rows, filters(ROW, compression), chunked=chunked)
    StoredColumn(scale).write(0, np.arange(rows, dtype=np.int64))
    scale.make_scale(ROW.name)
    return scale


def name_rows(dataset: h5py.Dataset, scale: h5py.Dataset | None) -> None:
    """Name the rows of a column; of a column with one number a row by their scale.

    NetCDF's readers refuse a column of which some dimensions have a scale and others have none; to
    a dimension without one they give the scale of its size.
    """
    if scale is not None and dataset.ndim == 1:
        dataset.dims[0].attach_scale(scale)
    elif scale is not None:
        dataset.dims[0].label = ROW.name


def write_texts(file: h5py.File, texts: Mapping[str, str]) -> None:
    """Write the root attributes: format version, JSON texts, and their seal.

    The texts have a fixed length. HDF5 stores texts of variable length in its global heap, which
    has no checksum, and where one wrong bit makes the library loop forever.
    """
    file.attrs.create("format_version", FORMAT_VERSION, dtype=np.dtype("int64"))
    for name, text in texts.items():
        file.attrs.create(name, np.bytes_(text.encode()))
    file.attrs.create(SEAL, np.bytes_(seal(texts).encode()))


def seal(texts: Mapping[str, str]) -> str:
    """Return the SHA-256 of the texts in order, each preceded by its name and length."""
    sha = hashlib.sha256()
    for name in TEXTS:
        if name in texts:
            data = texts[name].encode()
            sha.update(f"{name} {len(data)}\n".encode() + data)
    return sha.hexdigest()


_JSON = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":"))


def dumps(value: Any, what: str) -> str:
    """Return canonical JSON: sorted keys, ASCII, one line, no NaN.

    Raises:
        FormatError: `value` is not plain JSON.
    """
    try:
        return _JSON.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"{what} is not plain JSON: {error}. Use text, finite numbers, lists and objects."
        ) from None


class StoredColumn:
    """A column of an open file; reads and writes consecutive rows through HDF5's low-level API.

    h5py's indexing costs 50-100 us a call, two thirds of it for building the same dataspaces each
    time. Two threads must not use a column at once.

    Args:
        dataset: the column in the file.
        look: called with the first row and their number before rows are read; it may refuse them.
        direct: reads rows beside HDF5, if the column is stored so that it can.

    Attributes:
        extent: the number of rows that the file claims to have.
        row: the shape of a row.
        dtype: the NumPy type of the values.
    """

    def __init__(
        self,
        dataset: h5py.Dataset,
        look: Callable[[int, int], None] | None = None,
        direct: Direct | None = None,
    ) -> None:
        self._id, self._look, self._direct = dataset.id, look, direct
        self._chunks = dataset.chunks
        self._type = dataset.id.get_type()
        self._space = dataset.id.get_space()
        self.row = tuple(int(size) for size in dataset.shape[1:])
        self.extent = int(dataset.shape[0])
        self.dtype = dataset.dtype

    def stored(self) -> int:
        """Return how many rows are stored in the file, which may be fewer than it claims."""
        if self._chunks is None:
            row_bytes = self.dtype.itemsize * math.prod(self.row)
            return min(self.extent, self._id.get_storage_size() // row_bytes)
        parts = zip(self.row, self._chunks[1:], strict=True)
        chunks_a_row = math.prod(-(-size // part) for size, part in parts)
        return min(self.extent, self._id.get_num_chunks() // chunks_a_row * self._chunks[0])

    def spans(self, start: int, count: int) -> list[tuple[int, int]]:
        """Return where the file stores `count` rows from `start`: first byte, byte after the last.

        Raises:
            FormatError: some of them are not stored.
        """
        if self._chunks is None:
            row_bytes, place = self.dtype.itemsize * math.prod(self.row), self._id.get_offset()
            if place is None or not 0 <= start <= start + count <= self.stored():
                raise FormatError(f"rows {start} to {start + count} are not stored; it is damaged.")
            return [(place + start * row_bytes, place + (start + count) * row_bytes)] * (count > 0)
        step, found = self._chunks[0], list[tuple[int, int]]()
        parts = zip(self.row, self._chunks[1:], strict=True)
        others = [range(0, size, part) for size, part in parts]
        for first in range(start // step * step, start + count, step):
            for place in itertools.product((first,), *others):
                known = self._id.get_chunk_info_by_coord(place) if first < self.extent else None
                if known is None or known.byte_offset is None:
                    raise FormatError(f"the rows from {first} on are not stored; it is damaged.")
                found.append((known.byte_offset, known.byte_offset + known.size))
        return found

    def extend(self, extent: int) -> None:
        """Set the number of rows to `extent`."""
        self._id.set_extent((extent, *self.row))
        self._space.set_extent_simple((extent, *self.row), (h5py.h5s.UNLIMITED, *self.row))
        self.extent = extent

    def write(self, start: int, values: NDArray[Any]) -> None:
        """Write `values` to the rows from `start`."""
        self._select(start, len(values))
        self._id.write(_space((len(values), *self.row)), self._space, values, self._type)

    def read(self, start: int, values: NDArray[Any]) -> None:
        """Read the rows from `start` into `values`, C-contiguous and of the column's type."""
        if len(values):
            if self._look is not None:
                self._look(start, len(values))
            self._select(start, len(values))
            self._id.read(_space((len(values), *self.row)), self._space, values, self._type)

    def gather(self, wanted: Sequence[Wanted], apart: int, threads: int) -> None:
        """Read rows into arrays with any strides.

        Args:
            wanted: first rows, in their order, each with an array that is filled from there.
            apart: how far apart the rows of an array lie.
            threads: how many may read at once.
        """
        if self._direct is not None and wanted:
            wanted = self._direct.read(wanted, apart, threads)
        for start, values in wanted:
            if apart == 1:
                values[:] = self.rows(start, len(values))
                continue
            for t in range(len(values)):
                values[t : t + 1] = self.rows(start + t * apart, 1)

    def rows(self, start: int, count: int) -> NDArray[Any]:
        """Return `count` rows from `start` in a new array."""
        values = np.empty((count, *self.row), self.dtype)
        self.read(start, values)
        return values

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        self._id.flush()

    def _select(self, start: int, count: int) -> None:
        self._space.select_hyperslab((start, *(0 for _ in self.row)), (count, *self.row))


@lru_cache(maxsize=256)
def _space(shape: tuple[int, ...]) -> h5py.h5s.SpaceID:
    return h5py.h5s.create_simple(shape)


def copy_column(source: h5py.Dataset, target: h5py.Dataset, same_filters: bool) -> None:
    """Fill `target` with the first rows of `source`; with `same_filters`, copy stored chunks."""
    assert source.chunks, "a growing column is chunked"
    total, step = target.shape[0], source.chunks[0]
    if same_filters:
        for start in range(0, total, step):
            place = (start, *(0 for _ in target.shape[1:]))
            mask, data = source.id.read_direct_chunk(place)
            target.id.write_direct_chunk(place, data, mask)
        return
    old, new = StoredColumn(source), StoredColumn(target)
    step *= max(1, COPY_BYTES // (step * target.dtype.itemsize * math.prod(old.row)))
    for start in range(0, total, step):
        new.write(start, old.rows(start, min(step, total - start)))
