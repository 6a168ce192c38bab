"""Copies of pictures that get their channels first: by Numba six times as fast as by NumPy.

Numba takes a second to load, so it is loaded beside the reading, by a thread, once so much was
copied that it pays. Until then, and where it is not installed, NumPy copies: to the same bytes.
"""

import os
import threading
from contextlib import suppress
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_PAYS_BYTES = 256 << 20  # NumPy copies them in 0.1 s.
_WAIT_S = 30.0  # A fork waits so long for Numba to be loaded: a child could not go on with it.
_CHANNELS = 3


def copy(target: NDArray[Any], rows: NDArray[Any]) -> None:
    """Copy rows to an array of their shape and type, which may have any strides."""
    planes = of(target)
    if planes is None:
        target[...] = rows
    else:
        fill(planes, 0, np.ascontiguousarray(rows).reshape(-1), 0, 1, target.shape)


def of(target: NDArray[Any]) -> NDArray[Any] | None:
    """Return the memory that `fill` fills instead of an array; None if NumPy is to copy.

    Args:
        target: where rows are to be copied, now. `fill` takes views of pictures whose channels
            come first: uint8 (rows, height, width, 3).
    """
    if target.ndim != 4 or target.shape[3] != _CHANNELS or target.dtype != np.uint8:
        return None
    if _NUMBA.kernel(target.nbytes) is None:
        return None
    stored = target.transpose(0, 3, 1, 2)
    return stored.reshape(-1) if stored.flags.c_contiguous else None


def fill(
    planes: NDArray[Any],
    at: int,
    rows: NDArray[Any],
    first: int,
    apart: int,
    shape: tuple[int, ...],
) -> None:
    """Copy pictures, whose channels come last, into memory in which they come first.

    Args:
        planes: the memory, from `of`.
        at: the picture there that is filled first.
        rows: the pictures, uint8, (rows * height * width * 3,).
        first: the row that is copied first.
        apart: how far apart the rows lie that are copied.
        shape: of what is copied: (count, height, width, 3).
    """
    _NUMBA.kernel(0)(planes, at, rows, first, apart, shape[0], shape[1] * shape[2])


def _split(
    planes: Any, at: int, rows: Any, first: int, apart: int, count: int, pixels: int
) -> None:
    """Do what `fill` does. Each slice begins anew at 0, so that LLVM makes vector instructions."""
    size = 3 * pixels
    for row in range(count):
        begin, target = (first + row * apart) * size, (at + row) * size
        stored = rows[begin : begin + size]
        red = planes[target : target + pixels]
        green = planes[target + pixels : target + 2 * pixels]
        blue = planes[target + 2 * pixels : target + size]
        for pixel in range(pixels):
            red[pixel] = stored[3 * pixel]
            green[pixel] = stored[3 * pixel + 1]
            blue[pixel] = stored[3 * pixel + 2]


class _Numba:
    """The compiled `_split`, and the thread that loads it."""

    def __init__(self) -> None:
        self._bytes, self._thread = 0, None
        self._kernel: Any = None
        os.register_at_fork(before=self._wait)

    def kernel(self, size: int) -> Any:
        """Return the compiled function; None until it is loaded, or if it cannot be.

        Args:
            size: the bytes that are to be copied now.
        """
        if self._thread is None:
            self._bytes += size  # Two threads may lose some of each other's.
            if self._bytes >= _PAYS_BYTES:
                self._thread = threading.Thread(target=self._load, name="sandbox-loading-numba")
                with suppress(RuntimeError):  # The process ends, and starts no thread any more.
                    self._thread.start()
        return self._kernel

    def _load(self) -> None:
        with suppress(Exception):  # It is not installed, or is broken: NumPy copies.
            import numba  # Numba takes as long as all else to import.

            if cast(Any, numba).config.DISABLE_JIT:
                return
            try:
                kernel: Any = numba.njit(nogil=True, cache=True)(_split)
            except RuntimeError:  # No folder for what is compiled can be written.
                kernel = numba.njit(nogil=True)(_split)
            empty = np.zeros(_CHANNELS, np.uint8)
            kernel(empty, 0, np.frombuffer(bytes(_CHANNELS), np.uint8), 0, 1, 1, 1)
            self._kernel = kernel

    def _wait(self) -> None:
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(_WAIT_S)


_NUMBA = _Numba()
