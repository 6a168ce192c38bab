"""Rows read beside HDF5, by several threads: it unpacks one chunk at a time, and takes longer."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import pairwise
from typing import Any, Self, cast

import h5py
import numpy as np
import zstandard
from numpy.typing import NDArray

from sandbox.trajectory import planes
from sandbox.trajectory.chunks import ZSTD

FLETCHER32 = h5py.h5z.FILTER_FLETCHER32
_KINDS = ((ZSTD,), (ZSTD, FLETCHER32))  # Filters of chunks, in the order in which they were used.
_CHECKSUM_BYTES = 4
_FRAME_BYTES = 1 << 10  # Of a frame, beside twice what it unpacks to: more than any has.
_KEPT = 2  # Chunks that a thread unpacked last: neighbouring windows share them.
_MOST = 8  # Threads of a process.
_SHARE_BYTES = 1 << 18  # A thread is worth it for so much.
_GROUP_BYTES = 32 << 20  # Of chunks that are read together, when they are unpacked.
_UNKNOWN, _ELSEWHERE = 0, -1  # Instead of a chunk's first byte. No chunk begins at 0.
Rows = NDArray[Any]
Wanted = tuple[int, Rows]  # A first row, and an array that is filled from there.


class Direct:
    """Where a column's rows lie in its file, which is open while they are read.

    They lie one after another, or in chunks of whole rows that are packed with Zstandard. What is
    damaged is left to HDF5, which refuses it.

    Args:
        dataset: the column.
        kinds: the numbers of its filters.
    """

    @classmethod
    def of(cls, dataset: h5py.Dataset, kinds: Sequence[int]) -> Self | None:
        """Return the column; None if it is stored in a way that HDF5 alone reads, or grows."""
        it: Any = dataset  # The types of h5py lack half of it.
        in_rows = it.chunks is not None and it.chunks[1:] == it.shape[1:]
        fits = tuple(kinds) in _KINDS if in_rows else it.chunks is None and not kinds
        return cls(dataset, kinds) if fits and not it.file.swmr_mode else None

    def __init__(self, dataset: h5py.Dataset, kinds: Sequence[int]) -> None:
        it: Any = dataset
        self._id, self._fd = it.id, cast(int, it.file.id.get_vfd_handle())
        self._type, self._checked = dataset.dtype, FLETCHER32 in kinds
        self._row = tuple(int(size) for size in dataset.shape[1:])
        self._row_bytes = self._type.itemsize * math.prod(self._row)
        self._step = 0 if it.chunks is None else int(it.chunks[0])  # Rows of a chunk.
        self._places = np.zeros((0, 2), np.int64)  # Of each chunk: first byte, bytes.
        self._right = np.zeros(0, np.bool_)  # Whether its checksum was right.

    def read(self, wanted: Sequence[Wanted], apart: int, threads: int) -> list[Wanted]:
        """Read rows, in a session of HDF5; return what is left to it.

        Args:
            wanted: first rows, in their order, each with an array that is filled from there.
            apart: how far apart the rows of an array lie.
            threads: how many may read at once.
        """
        if not self._step:
            return self._read_plain(wanted, apart, threads)
        left = list[Wanted]()
        for group, numbers in self._groups(wanted, apart):
            data = self._packed(numbers)
            if data is None:
                left += group
            else:
                left += _share(lambda some, of=data: self._fill(some, apart, of), group, threads)
        return left

    def _read_plain(self, wanted: Sequence[Wanted], apart: int, threads: int) -> list[Wanted]:
        """Read rows that lie one after another."""
        place = cast(int | None, self._id.get_offset())
        if place is None:
            return list(wanted)
        first, size = place, self._id.get_storage_size()

        def read(some: Sequence[Wanted]) -> list[Wanted]:
            left = list[Wanted]()
            for start, values in some:
                rows = (len(values) - 1) * apart + 1
                begin, taken = start * self._row_bytes, rows * self._row_bytes
                data = os.pread(self._fd, taken, first + begin) if begin + taken <= size else b""
                if len(data) == taken:
                    self._copy(values, planes.of(values), 0, data, 0, apart, len(values))
                else:
                    left.append((start, values))
            return left

        return _share(read, wanted, threads)

    def _groups(
        self, wanted: Iterable[Wanted], apart: int
    ) -> Iterator[tuple[list[Wanted], list[int]]]:
        """Yield parts of what is wanted, each with the numbers of its chunks."""
        most = max(1, _GROUP_BYTES // (self._step * self._row_bytes))
        group, numbers = list[Wanted](), dict[int, None]()
        for start, values in wanted:
            mine = {(start + t * apart) // self._step: None for t in range(len(values))}
            if group and len(numbers | mine) > most:
                yield group, [*numbers]
                group, numbers = [], {}
            group.append((start, values))
            numbers |= mine
        if group:
            yield group, [*numbers]

    def _packed(self, numbers: Sequence[int]) -> dict[int, bytes] | None:
        """Return chunks as they are stored; None if one is damaged, or not packed."""
        found = dict[int, bytes]()
        for n in numbers:
            place, size = self._place(n)
            if place == _ELSEWHERE:
                return None
            data = os.pread(self._fd, size, place)
            if self._checked:
                data, told = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
                if not self._right[n] and fletcher32(data) != int.from_bytes(told, "little"):
                    return None
                self._right[n] = True
            found[n] = data
        with suppress(zstandard.ZstdError):  # Of what is no frame.
            size = self._step * self._row_bytes
            if all(zstandard.frame_content_size(one) == size for one in found.values()):
                return found
        return None

    def _place(self, n: int) -> tuple[int, int]:
        """Return a chunk's first byte and its bytes, which HDF5 is asked once."""
        if not len(self._places):
            count = -(-self._id.shape[0] // self._step)
            self._places, self._right = np.zeros((count, 2), np.int64), np.zeros(count, np.bool_)
        if self._places[n, 0] == _UNKNOWN:
            info = self._id.get_chunk_info_by_coord((n * self._step, *(0 for _ in self._row)))
            place, size = cast(tuple[int | None, int], (info.byte_offset, info.size))
            fits = size <= 2 * self._step * self._row_bytes + _FRAME_BYTES
            there = place is not None and fits and not info.filter_mask
            self._places[n] = (place or 0, size) if there else (_ELSEWHERE, 0)
        return int(self._places[n, 0]), int(self._places[n, 1])

    def _fill(self, wanted: Sequence[Wanted], apart: int, of: dict[int, bytes]) -> list[Wanted]:
        """Unpack chunks, and copy rows out of them; return what is damaged."""
        zstd, chunks, left = zstandard.ZstdDecompressor(), dict[int, bytes](), list[Wanted]()
        for start, values in wanted:
            done, memory = 0, planes.of(values)
            while done < len(values):
                n, first = divmod(start + done * apart, self._step)
                if n not in chunks:
                    if len(chunks) == _KEPT:
                        del chunks[next(iter(chunks))]
                    try:
                        chunks[n] = zstd.decompress(of[n])
                    except zstandard.ZstdError:
                        left.append((start, values))
                        break
                count = min(len(values) - done, (self._step - first - 1) // apart + 1)
                self._copy(values, memory, done, chunks[n], first, apart, count)
                done += count
        return left

    def _copy(
        self,
        values: Rows,
        memory: Rows | None,
        done: int,
        data: bytes,
        first: int,
        apart: int,
        count: int,
    ) -> None:
        """Copy rows to `values` from row `done` on, or to their memory."""
        if memory is None:
            values[done : done + count] = self._shaped(data)[first::apart][:count]
        else:
            rows = np.frombuffer(data, np.uint8)
            planes.fill(memory, done, rows, first, apart, (count, *self._row))

    def _shaped(self, data: Any) -> Rows:
        return np.frombuffer(data, self._type).reshape(-1, *self._row)


def fletcher32(data: bytes) -> int:
    """Return HDF5's checksum of bytes, which are big-endian words of 16 bits.

    It has two sums: of the words, and of the first sum after each word. Both are modulo 65,535,
    which stands for 0 except where every word is 0, as in `H5_checksum_fletcher32` of HDF5.
    """
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").astype(np.int64)
    once = int(words.sum())
    twice = int(words @ np.arange(len(words), 0, -1))
    return ((twice - 1) % 65535 + 1) << 16 | ((once - 1) % 65535 + 1) if once else 0


def _parts(size: int, threads: int) -> int:
    """Return among how many threads so many bytes are shared."""
    return max(1, min(threads, _MOST, size // _SHARE_BYTES))


def _share(
    read: Callable[[Sequence[Wanted]], list[Wanted]], wanted: Sequence[Wanted], threads: int
) -> list[Wanted]:
    """Call `read` with parts of what is wanted, in several threads; return all that it returns."""
    parts = min(len(wanted), _parts(sum(values.nbytes for _, values in wanted), threads))
    ends = [len(wanted) * n // parts for n in range(parts + 1)]
    shares = [wanted[a:b] for a, b in pairwise(ends)]
    begun = list[Future[list[Wanted]]]()
    with suppress(RuntimeError):  # The process ends, and starts no thread any more.
        for part in shares[1:]:
            begun.append(_pool().submit(read, part))
    try:
        left = [one for part in (shares[0], *shares[1 + len(begun) :]) for one in read(part)]
    finally:
        wait(begun)
    return left + [one for future in begun for one in future.result()]


_pools: dict[int, ThreadPoolExecutor] = {}  # By process: a forked one has none of the threads.


def _pool() -> ThreadPoolExecutor:
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
        _pools[pid] = ThreadPoolExecutor(_MOST - 1, "sandbox-reading")
    return _pools[pid]
