"""Decoded rows of one shard: a place in memory or on disk, where an episode is whole or not there.

Each column has its rows one after another, as they are handed out, and a mark for each episode at
its first row: the episode's digest, and a checksum of its rows. The mark is written last.
"""

import errno
import mmap
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.trajectory import Column, planes

CHANNELS_LAST = (0, 2, 3, 1)  # Of rows that have channels first.
MARK = np.dtype([("digest", "u1", 32), ("sum", "<u4"), ("state", "<u4")])
ABSENT, WHOLE, FAULTY = 0, 1, 2  # States of an episode; a faulty one fails its digest.
ROWS, MARKS = ".rows", ".marks"  # Endings of a column's files.
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


def final_shape(column: Column) -> tuple[int, ...]:
    """Return the shape of a row as it is handed out: pictures in colour have channels first."""
    if is_colour(column):
        height, width, channels = column.shape
        return channels, height, width
    return column.shape


def is_colour(column: Column) -> bool:
    """Return whether a column holds pictures in colour, (height, width, 3)."""
    return column.name.split(".")[0] == "pixels" and len(column.shape) == 3


class Decoded:
    """Decoded rows of some columns of a shard, in memory that processes share.

    Args:
        columns: the columns.
        rows: the number of rows, up to the end of the last episode that is wanted.
        folder: where the files are; None: memory of this process and of those forked from it.
        make: whether to make files that are not there, or too short.

    Attributes:
        rows: column name to (rows, ...), as handed out.

    Raises:
        FileNotFoundError: a file is not there, or too short, and not to be made.
        OSError: it cannot be opened or made; or there is no memory.
    """

    def __init__(
        self, columns: Mapping[str, Column], rows: int, folder: Path | None, *, make: bool = False
    ) -> None:
        self._columns, self._folder = columns, folder
        self._files: dict[str, int] = {}  # The inode of each.
        self.rows: dict[str, NDArray[Any]] = {}
        self._marks: dict[str, NDArray[Any]] = {}
        for name, column in columns.items():
            kept = self._memory(name, ROWS, column.row_bytes * rows, make=make)
            self.rows[name] = np.frombuffer(kept, column.dtype).reshape(rows, *final_shape(column))
            kept = self._memory(name, MARKS, MARK.itemsize * rows, make=make)
            self._marks[name] = np.frombuffer(kept, MARK)

    def state(self, first: int) -> int:
        """Return what the marks say of the episode that begins at a row; it is not looked at."""
        states = [int(marks["state"][first]) for marks in self._marks.values()]
        return FAULTY if FAULTY in states else min(states)

    def has(self, first: int, count: int, digest: bytes) -> bool:
        """Return whether an episode is here, whole and undamaged, in every column.

        If it is marked and damaged, the mark is removed.

        Args:
            first: its first row.
            count: the number of its rows.
            digest: its digest, 32 bytes.
        """
        return all([self._has(name, first, count, digest) for name in self._marks])

    def put(self, first: int, rows: Mapping[str, NDArray[Any]], digest: bytes) -> None:
        """Write an episode, of this digest, to the rows from `first`; its marks last.

        Raises:
            OSError: the disk has no room; the episode is not there.
        """
        for name, column in self._columns.items():
            if self._has(name, first, len(rows[name]), digest):
                continue
            mark, count = self._marks[name][first : first + 1], len(rows[name])
            self._reserve(name, ROWS, first * column.row_bytes, count * column.row_bytes)
            self._reserve(name, MARKS, first * MARK.itemsize, MARK.itemsize)
            mark["state"] = ABSENT
            target = self.rows[name][first : first + count]
            as_stored = target.transpose(CHANNELS_LAST) if is_colour(column) else target
            planes.copy(as_stored, rows[name])
            mark["digest"][0] = np.frombuffer(digest, np.uint8)
            mark["sum"] = zlib.crc32(target.data)
            mark["state"] = WHOLE

    def blame(self, first: int) -> None:
        """Mark the episode that begins at a row as one that fails its digest."""
        for name, marks in self._marks.items():
            self._reserve(name, MARKS, first * MARK.itemsize, MARK.itemsize)
            marks["state"][first] = FAULTY

    def _has(self, name: str, first: int, count: int, digest: bytes) -> bool:
        mark, rows = self._marks[name][first], self.rows[name]
        if mark["state"] != WHOLE:
            return False
        right = mark["digest"].tobytes() == digest
        if right and zlib.crc32(rows[first : first + count].data) == mark["sum"]:
            return True
        if self._marks[name].flags.writeable:
            self._marks[name]["state"][first] = ABSENT
        return False

    def _memory(self, name: str, ending: str, size: int, *, make: bool) -> mmap.mmap:
        """Return memory that processes share, of at least `size` bytes."""
        if self._folder is None:
            return mmap.mmap(-1, size)
        path = self._folder / f"{name}{ending}"
        fd, writable = _open(path, make=make)
        try:
            if make and os.fstat(fd).st_size < size:
                os.ftruncate(fd, size)
            if os.fstat(fd).st_size < size:
                raise FileNotFoundError(path)
            self._files[path.name] = os.fstat(fd).st_ino
            return mmap.mmap(fd, size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        finally:
            os.close(fd)

    def _reserve(self, name: str, ending: str, start: int, size: int) -> None:
        """Allocate bytes of a file: to write to a hole of a mapped file kills, on a full disk."""
        if self._folder is None:
            return
        path = self._folder / f"{name}{ending}"
        fd = os.open(path, os.O_RDWR | _FLAGS)
        try:
            if os.fstat(fd).st_ino != self._files[path.name]:
                raise FileNotFoundError(errno.ENOENT, "it was cleared meanwhile", str(path))
            os.posix_fallocate(fd, start, size)
        finally:
            os.close(fd)


def _open(path: Path, *, make: bool) -> tuple[int, bool]:
    """Open a file for writing, or for reading if that is all that is allowed; tell which."""
    try:
        return os.open(path, os.O_RDWR | _FLAGS | (os.O_CREAT if make else 0), 0o666), True
    except PermissionError:
        if make:
            raise
        return os.open(path, os.O_RDONLY | _FLAGS), False
