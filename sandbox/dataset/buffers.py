"""Memory for batches, which is used again when nobody has the batch any more.

Fresh memory costs a page fault for every 4 KiB, as much time as to copy a batch into it.
"""

import math
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Buffers:
    """Arrays that are lent: memory comes back when the last tensor or view of it is gone.

    Several threads may use it. A copy, and what is pickled, has no memory yet.

    Args:
        spare: how many arrays of a size are kept for the next that asks.
    """

    def __init__(self, spare: int) -> None:
        self._spare = spare
        self._free: dict[int, deque[bytearray]] = {}

    def take(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Return an array of whatever values, whose memory nobody else has."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        free = self._free.setdefault(size, deque(maxlen=self._spare))
        try:
            memory = free.pop()
        except IndexError:
            memory = bytearray(size)
        lent = np.frombuffer(memory, dtype)  # Every view of it refers to it, and not past it.
        weakref.finalize(lent, free.append, memory).atexit = False
        return lent.reshape(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return Buffers, (self._spare,)
