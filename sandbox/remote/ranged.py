"""A remote file that HDF5 reads: what it needs of rows is fetched at once, the rest in blocks.

HDF5 asks for its metadata in hundreds of small pieces, one after another. Each costs a round trip
unless its neighbours come with it.
"""

import bisect
import gc
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from sandbox.errors import FormatError, SandboxError
from sandbox.remote import asking
from sandbox.remote.location import Remote

BLOCK_BYTES = 64 << 10
_BLOCKS = 256  # Kept of a file.
_GAP_BYTES = 16 << 10  # Spans that are so near are one request.
_SPAN_BYTES = 8 << 20  # Of a request that joins several.
_MOST_BYTES = 1 << 30  # Of what is read at once.
Span = tuple[int, int]  # First byte, byte after the last.


class RangedFile(io.RawIOBase):
    """A remote file, read by ranges. One thread may read it at a time.

    Args:
        where: the file.

    Attributes:
        where: the file.
        error: what went wrong last; HDF5 hides it.
    """

    def __init__(self, where: Remote) -> None:
        self.where = where
        self.error: SandboxError | None = None
        self._place = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._ahead: tuple[list[int], list[bytes]] = [], []

    def at(self, count: int, start: int) -> bytes:
        """Return `count` bytes from `start`, fewer at the end of the file.

        Raises:
            FormatError: the file is gone or cut, or so much is never read.
            UnreadableError: it cannot be read here and now.
        """
        end = min(start + count, self.where.size)
        if count > _MOST_BYTES:
            raise FormatError(f"{self.where}: {count:,} bytes at once; such a file is not read.")
        if start >= end:
            return b""
        kept = self._fetched(start, end)
        if kept is None:
            large = end - start > BLOCK_BYTES
            kept = self._asked([(start, end)])[0] if large else self._of_blocks(start, end)
        return kept

    def missing(self, spans: Iterable[Span]) -> list[Span]:
        """Return what must be fetched so that these spans are here, joined where they are near.

        Raises:
            FormatError: a span is not in the file.
        """
        joined = list[Span]()
        for start, end in sorted(spans):
            if not 0 <= start < end <= self.where.size or end - start > _MOST_BYTES:
                raise FormatError(f"{self.where}: has no bytes {start:,} to {end:,}; it is cut.")
            if self._fetched(start, end) is not None:
                continue
            near = joined and start - joined[-1][1] <= _GAP_BYTES
            if near and end - joined[-1][0] <= _SPAN_BYTES:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            else:
                joined.append((start, end))
        return joined

    def keep(self, wanted: Sequence[Span], spans: Sequence[Span], parts: Sequence[bytes]) -> None:
        """Keep the bytes of spans, and what is here already of those that are wanted."""
        kept = {start: part for (start, _), part in zip(spans, parts, strict=True)}
        for start, part in zip(*self._ahead, strict=True):
            if any(start <= first and end <= start + len(part) for first, end in wanted):
                kept.setdefault(start, part)
        self._ahead = sorted(kept), [kept[start] for start in sorted(kept)]

    def forget(self) -> None:
        """Free what was fetched; it is fetched again when it is read."""
        self._ahead = [], []

    # What HDF5 calls ------------------------------------------------------------------------------

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it."""
        before = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.where.size}
        self._place = before[whence] + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the file reaches; return how far."""
        target = memoryview(buffer).cast("B")
        try:
            with _COLLECTING.paused():
                found = self.at(len(target), self._place)
        except SandboxError as error:
            self.error = error
            raise OSError(str(error)) from None
        target[: len(found)] = found
        self._place += len(found)
        return len(found)

    def _fetched(self, start: int, end: int) -> bytes | None:
        """Return bytes that were fetched; None if they were not."""
        starts, parts = self._ahead
        n = bisect.bisect_right(starts, start) - 1
        if n < 0 or end > starts[n] + len(parts[n]):
            return None
        return parts[n][start - starts[n] : end - starts[n]]

    def _of_blocks(self, start: int, end: int) -> bytes:
        """Return bytes from the one or two blocks in which they lie."""
        numbers = range(start // BLOCK_BYTES, (end - 1) // BLOCK_BYTES + 1)
        lacking = [n for n in numbers if n not in self._blocks]
        if lacking:
            spans = [
                (n * BLOCK_BYTES, min((n + 1) * BLOCK_BYTES, self.where.size)) for n in lacking
            ]
            self._blocks.update(zip(lacking, self._asked(spans), strict=True))
        for n in numbers:
            self._blocks.move_to_end(n)
        whole = b"".join(self._blocks[n] for n in numbers)
        while len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)
        first = numbers[0] * BLOCK_BYTES
        return whole[start - first : end - first]

    def _asked(self, spans: Sequence[Span]) -> list[bytes]:
        return asking.ranges([(self.where.url, *span) for span in spans])


def gather(wanted: Sequence[tuple[RangedFile, Sequence[Span]]]) -> None:
    """Fetch spans of several files at once; each file forgets what it had beside them.

    Raises:
        FormatError: a file is gone or cut.
        UnreadableError: a file cannot be read here and now.
    """
    missing = [(file, every, file.missing(every)) for file, every in wanted]
    kinds = dict.fromkeys(file.where.url.partition("://")[0] for file, *_ in missing)
    for kind in kinds:  # Files of one kind are asked for together.
        some = [one for one in missing if one[0].where.url.startswith(f"{kind}://")]
        asked = [(file.where.url, *span) for file, _, spans in some for span in spans]
        parts = iter(asking.ranges(asked) if asked else [])
        for file, every, spans in some:
            if spans:
                file.keep(every, spans, [next(parts) for _ in spans])


class _Collecting:
    """Pauses the collection of garbage.

    HDF5 holds a lock while it reads, and waits for other threads that read for it. If one of them
    collected an object of h5py, it would wait for the lock.
    """

    def __init__(self) -> None:
        self._lock, self._count, self._was = threading.Lock(), 0, False
        os.register_at_fork(after_in_child=self._forked)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Collect no garbage during the block."""
        with self._lock:
            if not self._count:
                self._was = gc.isenabled()
                gc.disable()
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count and self._was:
                    gc.enable()

    def _forked(self) -> None:
        """Collect garbage in a process that was forked while another thread read."""
        if self._count and self._was:
            gc.enable()
        self._lock, self._count = threading.Lock(), 0


_COLLECTING = _Collecting()
