"""Reserve disk space before HDF5 needs it.

A write that fails inside HDF5 leaves a file that can be neither flushed nor closed: the library
then crashes the process. So HDF5 only writes where space is reserved.
"""

import os
from pathlib import Path

import h5py

STEP_BYTES = 1 << 20
END_OF_FILE = slice(28, 36)  # In a version 3 superblock, little-endian.


class Room:
    """Reserved disk space beyond the end of an open HDF5 file.

    The space is part of the file, which HDF5 allows; `trim` removes it after the file is closed.
    """

    def __init__(self, file: h5py.File) -> None:
        self._id = file.id
        self._fd = file.id.get_vfd_handle()
        self._end = 0

    def ensure(self, size: int) -> None:
        """Reserve `size` more bytes; OSError if the disk has no room."""
        end = self._id.get_filesize() + size  # Without the reserved bytes.
        if end > self._end:
            reserve(self._fd, self._end, end - self._end + STEP_BYTES)
            self._end = end + STEP_BYTES


def reserve(fd: int, start: int, size: int) -> None:
    """Allocate bytes of a file; OSError if the disk is full. Does nothing where unsupported."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, start, size)


def check(path: Path, size: int) -> None:
    """Create an empty file, replacing an old one; OSError without room for `size` bytes."""
    path.unlink(missing_ok=True)  # If it is a link, what it leads to stays.
    with path.open("xb") as file:
        reserve(file.fileno(), 0, size)
        file.truncate(0)


def trim(path: Path) -> None:
    """Cut a closed file at the end that HDF5 recorded; return when the disk has it."""
    with path.open("r+b") as file:
        file.truncate(int.from_bytes(file.read(END_OF_FILE.stop)[END_OF_FILE], "little"))
        os.fsync(file.fileno())
