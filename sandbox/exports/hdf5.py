"""Write HDF5 in other people's layouts: whole columns, groups of arrays, and views of shards.

A view's datasets are virtual: each row of them lies in a shard, which is found by its path
relative to the view. HDF5 crashes a process when a disk is full, so room is reserved first, as in
shards; nothing has a timestamp.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from sandbox.dataset.dataset import Dataset
from sandbox.errors import InvalidInputError
from sandbox.remote.location import Remote
from sandbox.trajectory import Column, layout
from sandbox.trajectory.room import Room, trim
from sandbox.trajectory.shard import PART

DATASET_BYTES = 16 << 10  # Most that HDF5 needs for a dataset or a group besides its values.
SPAN_BYTES = 1 << 10  # Of a mapping to a shard, with a long path.
NO_ZSTD = ("gzip", "none")  # What every HDF5 library reads.
PLUGIN = "hdf5plugin"
Place = h5py.h5g.GroupID | h5py.h5f.FileID


class Span(NamedTuple):
    """Rows of a shard that follow each other.

    Attributes:
        shard: the number of the shard in the dataset's index.
        first: the first row.
        rows: the number of rows.
    """

    shard: int
    first: int
    rows: int

    def cut(self, begin: int, end: int) -> "Span":
        """Return some of these rows."""
        return Span(self.shard, self.first + begin, end - begin)


class Target:
    """An HDF5 file that is being written.

    Args:
        file: the file, empty.
        room: its room on the disk.
        compression: zstd, gzip or none.
    """

    def __init__(self, file: h5py.File, room: Room, compression: str) -> None:
        self.file, self._room, self._compression = file, room, compression

    def ensure(self, size: int) -> None:
        """Reserve room on the disk; OSError if there is none."""
        self._room.ensure(size)

    def group(self, name: str, place: Place | None = None) -> Place:
        """Make a group at the root, or in another group; return it."""
        plan = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        plan.set_obj_track_times(False)
        return h5py.h5g.create(place or self.file.id, name.encode(), None, plan)

    def column(self, column: Column, rows: int) -> layout.StoredColumn:
        """Make a dataset at the root for all rows of a column, chunked and compressed."""
        filters = dict(layout.filters(column, self._compression)) if rows else dict[str, Any]()
        made = layout.create_column(self.file, column, rows, filters, chunked=bool(filters))
        return layout.StoredColumn(made)

    def array(self, place: Place, column: Column, name: str, values: NDArray[Any]) -> None:
        """Write an array into a group; pictures are compressed, numbers are not."""
        packed = column.is_picture and len(values) > 0
        filters: dict[str, Any] = dict(layout.filters(column, self._compression)) if packed else {}
        if filters:
            rows = min(len(values), layout.chunk_rows(column.row_bytes))
            filters["chunks"] = (rows, *column.shape)
        made = h5py.Group(place).create_dataset(
            name, values.shape, values.dtype, track_times=False, **filters
        )
        if len(values):
            layout.StoredColumn(made).write(0, np.ascontiguousarray(values))


@contextmanager
def created(path: Path, compression: str) -> Generator[Target]:
    """Create an HDF5 file, and close it at the end of the block."""
    file, room = layout.create(path, 1 << 20)
    try:
        yield Target(file, room, compression)
    finally:
        file.close()
    trim(path)


def attribute(place: Place, name: str, value: int | str) -> None:
    """Write an attribute: a whole number, or a text of fixed length."""
    if isinstance(value, str):
        data = np.array(value.encode() or b"\0")
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(data.dtype.itemsize)
        kind.set_cset(h5py.h5t.CSET_UTF8)
    else:
        data, kind = np.array(value, np.int64), _type("int64")
    made = h5py.h5a.create(place, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
    made.write(data, mtype=kind)


class Sources:
    """The shards that a view leads to.

    Args:
        dataset: the episodes.
        final: the path of the view.
        columns: the columns that it holds.
        zstd: whether its readers load the plugin that reads Zstd.

    Raises:
        InvalidInputError: a shard is being written, or holds what the view's readers cannot read.
    """

    def __init__(self, dataset: Dataset, final: Path, columns: Sequence[str], zstd: bool) -> None:
        self.index = dataset.index
        self._names, self._rows = list[bytes](), list[int]()
        for shard, path in enumerate(self.index.paths):
            if isinstance(path, Remote):
                raise InvalidInputError(
                    f"{path}: is not on this machine, and a view leads to files beside it. Export "
                    "a copy, or copy the run here."
                )
            self._names.append(_relative(path, final.parent))
            if path.name.endswith(PART):
                raise InvalidInputError(
                    f"{path}: is being written, and a view needs finished shards. Finish the run, "
                    "or export a copy."
                )
            with self.index.reader(shard) as reader, reader.session() as file:
                self._rows.append(reader.rows)
                packed = [] if zstd else [name for name in columns if _is_zstd(file, name)]
            if packed:
                raise InvalidInputError(
                    f"{path}: column {packed[0]} is compressed by Zstd, which the readers of this "
                    f"format lack. Export a copy, leave the column out, or read the view where "
                    f"{PLUGIN} is loaded and say so by `--plugin`."
                )

    def span(self, number: int) -> Span:
        """Return where the rows of an episode lie."""
        index = self.index
        first, count = int(index.first[number]), int(index.lengths[number])
        return Span(int(index.shard[number]), first, count)

    def virtual(
        self,
        place: Place,
        name: str,
        column: Column,
        spans: Sequence[Span],
    ) -> None:
        """Make a dataset whose rows are those of `spans`, one after another."""
        total = sum(span.rows for span in spans)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_obj_track_times(False)
        made = _space((total, *column.shape))
        if not total:
            h5py.h5d.create(place, name.encode(), _type(column.dtype), made, plan)
            return
        none, start = (0,) * len(column.shape), 0
        for span in spans:
            theirs = _space((self._rows[span.shard], *column.shape))
            theirs.select_hyperslab((span.first, *none), (span.rows, *column.shape))
            made.select_hyperslab((start, *none), (span.rows, *column.shape))
            plan.set_virtual(made, self._names[span.shard], column.name.encode(), theirs)
            start += span.rows
        h5py.h5d.create(place, name.encode(), _type(column.dtype), made, plan)


def joined(spans: Sequence[Span]) -> list[Span]:
    """Return spans with those joined that follow each other in a shard."""
    found: list[Span] = []
    for span in spans:
        last = found[-1] if found else None
        if last is not None and (last.shard, last.first + last.rows) == (span.shard, span.first):
            found[-1] = Span(last.shard, last.first, last.rows + span.rows)
        elif span.rows:
            found.append(span)
    return found


def _relative(path: Path, folder: Path) -> bytes:
    """Return the path of a shard from a view's folder, as HDF5 wants it: % has a meaning there."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return os.fsencode(relative).replace(b"%", b"%%")


def _is_zstd(file: h5py.File, name: str) -> bool:
    plan = file[name].id.get_create_plist()
    return any(plan.get_filter(i)[0] == layout.ZSTD for i in range(plan.get_nfilters()))


@cache
def _type(dtype: str) -> h5py.h5t.TypeID:
    """Return the HDF5 type of values; a bool is the enumeration that h5py makes of it."""
    return h5py.h5t.py_create(np.dtype(dtype), logical=True)


def _space(shape: tuple[int, ...]) -> h5py.h5s.SpaceID:
    return h5py.h5s.create_simple(shape)


def row_bytes(columns: Sequence[Column]) -> int:
    """Return the size of one row of columns, and what filters may add to it [bytes]."""
    return sum(one.row_bytes + one.row_bytes // 64 + 1 for one in columns)
