"""Memory for batches, which is used again when nobody has the batch any more.

Fresh memory costs a page fault for every 4 KiB, as much time as to copy a batch into it. It begins
where a page does: a copy between places that differ by 16 bytes modulo a page, as memory from
`malloc` and a mapped file do, takes five times as long on some processors.
"""

import math
import mmap
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # A process that is forked has its own.


class Buffers:
    """Arrays that are lent: memory comes back when the last tensor or view of it is gone.

    Several threads may use it. A copy, and what is pickled, has no memory yet.

    Args:
        spare: how many arrays of a size are kept for the next that asks.
    """

    def __init__(self, spare: int) -> None:
        self._spare = spare
        self._free: dict[int, deque[mmap.mmap]] = {}

    def take(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return an array of whatever values, whose memory nobody else has."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        free = self._free.setdefault(size, deque(maxlen=self._spare))
        try:
            memory = free.pop()
        except IndexError:
            memory = mmap.mmap(-1, size, _PRIVATE)
        lent = np.frombuffer(memory, dtype)  # Every view of it refers to it, and not past it.
        weakref.finalize(lent, free.append, memory).atexit = False
        return lent.reshape(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return Buffers, (self._spare,)
