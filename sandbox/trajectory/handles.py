"""How many shards a process keeps open: a run may have more of them than a process may open."""

import os
import resource
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.trajectory.reader import ShardReader

MOST = 64
SHARE = 4  # Of the descriptors that the process may have, one in so many is a shard's.


class Handles:
    """The readers of this process, those that were used last at the end.

    Attributes:
        lock: held while the readers change.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._open: dict[int, weakref.ref[ShardReader]] = {}
        self._known: weakref.WeakSet[ShardReader] = weakref.WeakSet()
        os.register_at_fork(after_in_child=self._forked)

    def most(self) -> int:
        """Return how many shards may be open at once."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return MOST if soft < 0 else max(4, min(MOST, soft // SHARE))

    def know(self, reader: "ShardReader") -> None:
        """Note a reader, which a fork of the process concerns."""
        with self.lock:
            self._known.add(reader)

    def used(self, reader: "ShardReader") -> None:
        """Note that a reader's file is open and used now; close those that are too many."""
        with self.lock:
            self._open.pop(id(reader), None)
            self._open[id(reader)] = weakref.ref(reader)
            surplus = list(self._open.values())[: -self.most()]
        self._close(surplus)

    def closed(self, reader: "ShardReader") -> None:
        """Note that a reader's file is closed."""
        with self.lock:
            self._open.pop(id(reader), None)

    def close_idle(self) -> bool:
        """Close every file that nobody reads at this moment; return whether there was one."""
        with self.lock:
            every = list(self._open.values())
        return self._close(every)

    def _close(self, every: "list[weakref.ref[ShardReader]]") -> bool:
        found = [reader for reader in (one() for one in every) if reader is not None]
        return any([reader.close_if_idle() for reader in found])

    def _forked(self) -> None:
        """Let the readers of a child process open their files for themselves."""
        self.lock = threading.Lock()
        self._open.clear()
        for reader in list(self._known):
            reader.forked()


HANDLES = Handles()
