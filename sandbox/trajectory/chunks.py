"""How much a stored chunk unpacks to, found before HDF5 unpacks it.

HDF5's filters give a chunk as much memory as the chunk asks for: 160 KB can ask for gigabytes.
"""

import itertools
import os
import zlib
from typing import Any, cast

import h5py

from sandbox.errors import FormatError
from sandbox.remote.ranged import RangedFile

ZSTD = 32015
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_HEAD_BYTES = 18  # Of a Zstd frame, at most, that say its size.
_CHECKSUM_BYTES = 4  # That Fletcher32 adds.
_DEFLATE_RATIO = 1032  # Deflate makes no more of a byte.
_UNSEEN_BYTES = 1 << 28  # Deflate may unpack so much without a look at it first.


class Chunks:
    """The stored chunks of a column that is compressed, each looked at before its first read.

    Args:
        dataset: the column.
        kinds: numbers of its filters.
        source: what HDF5 reads, if that is remote.
    """

    def __init__(
        self, dataset: h5py.Dataset, kinds: list[int], source: RangedFile | None = None
    ) -> None:
        it: Any = dataset  # The types of h5py lack half of it.
        self._id, self._sizes = it.id, cast(tuple[int, ...], it.chunks)
        self._places = [
            range(0, size, part)
            for size, part in zip(dataset.shape[1:], self._sizes[1:], strict=True)
        ]
        self._most = dataset.dtype.itemsize + _CHECKSUM_BYTES
        for size in self._sizes:
            self._most *= size
        self._zstd, self._source = ZSTD in kinds, source
        self._fd = -1 if source is not None else cast(int, it.file.id.get_vfd_handle())
        self._seen: set[int] = set()

    def check(self, start: int, count: int) -> None:
        """Refuse rows whose chunks unpack to more than they may (FormatError)."""
        step = self._sizes[0]
        for n in range(start // step, (start + count - 1) // step + 1):
            if n in self._seen:
                continue
            for place in itertools.product((n * step,), *self._places):
                self._look(place)
            self._seen.add(n)

    def _look(self, place: tuple[int, ...]) -> None:
        info: Any = self._id.get_chunk_info_by_coord(place)
        if info.byte_offset is None or info.filter_mask:
            return  # Nothing is stored there, or it is stored as it is.
        size = self._framed(info) if self._zstd else self._deflated(info)
        if size > self._most:
            raise FormatError(
                f"the chunk at row {place[0]} unpacks to {size:,} bytes or more, and has room for "
                f"{self._most:,}; it is damaged, or made to harm."
            )

    def _framed(self, info: Any) -> int:
        """Return the size that a Zstd frame gives as its own; 0 if HDF5 will find no frame."""
        head = self._at(_HEAD_BYTES, info.byte_offset)
        if head[:4] != _ZSTD_MAGIC:
            return 0
        flags = head[4]
        single, length = flags >> 5 & 1, (0, 2, 4, 8)[flags >> 6]
        length = length or single
        if not length:
            return self._most + 1  # It does not say; Zstd in HDF5 needs it.
        at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        return int.from_bytes(head[at : at + length], "little") + (256 if length == 2 else 0)

    def _deflated(self, info: Any) -> int:
        """Return the size to which a Deflate stream unpacks, as far as it matters."""
        if info.size * _DEFLATE_RATIO <= max(_UNSEEN_BYTES, self._most):
            return 0
        data = self._at(info.size, info.byte_offset)
        try:
            return len(zlib.decompressobj().decompress(data, self._most + 1))
        except zlib.error:  # HDF5 will say so.
            return 0

    def _at(self, count: int, start: int) -> bytes:
        """Return bytes of the file."""
        if self._source is not None:
            return self._source.at(count, start)
        return os.pread(self._fd, count, start)
