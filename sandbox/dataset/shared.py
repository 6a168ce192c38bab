"""Memory that a DataLoader's workers share with the process that trains, used again and again.

PyTorch makes new shared memory for every tensor that a worker sends, which costs more than to read
it. A worker's batches lie in memory files instead, which the other process maps once. It marks
there what it has dropped, so that the worker knows when it may use a file again. Files are gone
with the processes, however they end, and need no room in /dev/shm.
"""

import math
import mmap
import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing import reductions
from torch.utils import data

from sandbox.errors import SandboxError

U8 = NDArray[np.uint8]
Place = tuple[int, int, int, int, int]  # Process, descriptor, inode, bytes of data, number of mark.
_PAGE = mmap.PAGESIZE
_MOST = 256  # Files of a worker: each takes a descriptor.
_GONE = 1  # The mark of a tensor that nobody has any more.
_as_torch_does: Callable[[Tensor], Any] = reductions.reduce_tensor  # pyright: ignore


def in_worker() -> bool:
    """Return whether this process is a DataLoader's worker, and the system has memory files."""
    return data.get_worker_info() is not None and hasattr(os, "memfd_create")


def take(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return an array to fill in a worker; tensors of its memory are sent without a copy."""
    pid = os.getpid()
    if pid not in _workers:  # It was forked from another.
        _workers.clear()
        _workers[pid] = _Worker()
    return _workers[pid].take(shape, dtype)


class _Worker:
    """The files of a worker, by their address. Several threads may take from it."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._turn = Lock()
        ForkingPickler.register(Tensor, self._reduced)

    def take(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return an array of whatever values, in a file where there is one."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with self._turn:
            idle = (one for one in self._files.values() if one.size == size and one.is_idle())
            file = next(idle, None) or self._file(size)
            if file is None:
                return np.empty(shape, dtype)
            lent = file.lend()
            self._files[lent.ctypes.data] = file
        return lent.view(dtype).reshape(shape)

    def _file(self, size: int) -> "_File | None":
        """Return a new file; None where batches that are kept hold many, or the system has none."""
        if len(self._files) < _MOST:
            with suppress(OSError):
                return _File(size)
        return None

    def _reduced(self, tensor: Tensor) -> Any:
        """Return how a tensor is sent: by its place in a file, if it lies in one."""
        plain = type(tensor) is Tensor and tensor.device.type == "cpu"
        file = self._files.get(tensor.untyped_storage().data_ptr()) if plain else None
        if file is None or file.sent == _PAGE:
            return _as_torch_does(tensor)
        layout = (tuple(tensor.shape), tensor.stride(), tensor.storage_offset())
        return received, (file.send(), tensor.dtype, *layout)


class _File:
    """A memory file of a worker: the data, then a page of marks, one for each tensor of it sent."""

    def __init__(self, size: int) -> None:
        self.size, self.sent = size, 0
        self._fd = os.memfd_create("sandbox-batch", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, _marks_at(size) + _PAGE)
        self._data, self._marks = _mapped(self._fd, size)
        self._lent: weakref.ref[U8] | None = None

    def is_idle(self) -> bool:
        """Return whether nobody has the data, here or where it was sent."""
        here = self._lent is not None and self._lent() is not None
        return not here and bool((self._marks[: self.sent] == _GONE).all())

    def lend(self) -> U8:
        """Return the data, which is idle."""
        self._marks[: self.sent] = 0
        self.sent = 0
        lent = np.frombuffer(self._data, np.uint8)  # Every view refers to it, and not past it.
        self._lent = weakref.ref(lent)
        return lent

    def send(self) -> Place:
        """Return where another process finds the data, and which mark it shall set."""
        self.sent += 1
        return os.getpid(), self._fd, os.fstat(self._fd).st_ino, self.size, self.sent - 1


_workers: dict[int, _Worker] = {}  # By process: there is one.
_known: dict[int, tuple[int, memoryview, U8]] = {}  # Files of workers: inode to process, contents.
_turn = Lock()


def received(
    place: Place, dtype: torch.dtype, shape: Sequence[int], stride: Sequence[int], offset: int
) -> Tensor:
    """Return a tensor that a worker sent, in the worker's memory; it is the caller's alone.

    Args:
        place: where the file is.
        dtype: type of the tensor.
        shape: its shape.
        stride: its strides [elements].
        offset: where it begins in the file [elements].

    Raises:
        SandboxError: the worker has ended, or this process may not read its files.
    """
    pid, fd, inode, size, mark = place
    with _turn:
        if inode not in _known:
            for other in [n for n, one in _known.items() if not os.path.exists(f"/proc/{one[0]}")]:
                del _known[other]
            _known[inode] = (pid, *_opened(pid, fd, inode, size))
        _, contents, marks = _known[inode]
    lent = np.frombuffer(contents, np.uint8)
    weakref.finalize(lent, marks.__setitem__, mark, _GONE).atexit = False
    whole = torch.from_numpy(lent).view(dtype)  # pyright: ignore[reportUnknownMemberType]
    return whole.as_strided(shape, stride, offset)


def _opened(pid: int, fd: int, inode: int, size: int) -> tuple[memoryview, U8]:
    """Return the contents of a worker's file, and its marks."""
    path = f"/proc/{pid}/fd/{fd}"
    try:
        opened = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxError(
            f"{path}: a batch of a worker cannot be read ({error.strerror}): the worker has ended, "
            "or this process may not see its files. Use num_workers=0."
        ) from None
    try:
        if os.fstat(opened).st_ino != inode:
            raise SandboxError(f"{path}: the worker has ended. Use num_workers=0.")
        return _mapped(opened, size)
    finally:
        os.close(opened)


def _mapped(fd: int, size: int) -> tuple[memoryview, U8]:
    """Return the contents of a file, and its marks."""
    memory = mmap.mmap(fd, _marks_at(size) + _PAGE)
    return memoryview(memory)[:size], np.frombuffer(memory, np.uint8, _PAGE, _marks_at(size))


def _marks_at(size: int) -> int:
    """Return where the marks of a file begin: at a page."""
    return -(-size // _PAGE) * _PAGE
