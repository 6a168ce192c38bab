"""A cache of decoded rows: each episode is decoded once, checked, and then read at memory speed.

It is made in a thread while training runs; what is not there yet is read from the shards. On disk
it is one for all processes of a machine and all datasets that have the same shards.
"""

import shutil
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import files, memory
from sandbox.dataset import cache_folder, index_file
from sandbox.dataset.background import Background
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.decoded import ABSENT, FAULTY, Decoded
from sandbox.dataset.index import I64, Index
from sandbox.errors import FormatError, InvalidInputError, LockedError, SandboxError, shown
from sandbox.ledger.locks import alone
from sandbox.trajectory import Column, Rows, ShardReader

GB = 1_000_000_000
MOST_GB = 64.0
_POLL_S = 0.2  # How often a process looks whether another has decoded a shard.


class Cache:
    """Decoded rows of a dataset, some or all of which are there.

    Several threads may read it, and processes that are forked; one that is spawned reads what is on
    disk. The process that made it decodes what is missing, unless another does.

    Args:
        dataset: the episodes.
        columns: the columns that are kept.
        where: "ram", "disk" ($SANDBOX_HOME/cache), or a folder.
        most_gb: the most that it may take, with what is in the folder already [GB].

    Raises:
        InvalidInputError: it would take more, or more than there is; nothing was written.
        SandboxError: the folder cannot be written.
    """

    def __init__(
        self, dataset: Dataset, columns: Sequence[Column], where: str | Path, most_gb: float
    ) -> None:
        bound: Any = most_gb
        if not (isinstance(bound, int | float) and bound > 0):
            raise InvalidInputError(f"cache_gb {shown(most_gb)}: give a number above 0 [GB].")
        root = None if where == "ram" else _root(where)
        self._store = _Store(dataset, columns, root)
        self._store.refuse_size(most_gb, dataset.name)
        if root is None:
            self._store.take_memory()
        store = self._store  # The thread must not keep this object.
        self._making: Background | None = Background("sandbox-cache", lambda at: _make(store, at))
        weakref.finalize(self, self._making.end).atexit = False  # It ends by itself then.

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all is decoded; return whether it is."""
        if self._making is not None:
            self._making.wait(timeout_s)
        self._store.tell()
        return bool(self._store.ready.all())

    def has(self, shard: int, episodes: I64) -> NDArray[np.bool_]:
        """Return which episodes of a shard are here, bool (episodes,).

        Raises:
            FormatError: one of them fails its digest.
        """
        store = self._store
        store.tell()
        for episode in episodes[~store.ready[episodes]].tolist():
            store.look(shard, episode)
        return store.ready[episodes]

    def rows(self, shard: int, name: str) -> NDArray[Any]:
        """Return the rows of a column of a shard, as they are handed out."""
        return self._store.held[shard].rows[name]

    def __getstate__(self) -> dict[str, Any]:
        return {"_store": self._store, "_making": None}


class _Store:
    """What is decoded, and what is known of it: shared by the thread that makes it and readers.

    Attributes:
        ready: whether each episode is here, and was looked at, bool (episodes,).
        held: the decoded rows of each shard that has some.
        error: why no more is made.
    """

    def __init__(self, dataset: Dataset, columns: Sequence[Column], root: Path | None) -> None:
        self.index: Index = dataset.index
        self.columns = {column.name: column for column in columns}
        self.digests: NDArray[np.uint8] = dataset.facts.columns["digest"]
        self.root, self._told = root, False
        self.error: SandboxError | None = None
        self.ready = np.zeros(len(self.index), np.bool_)
        self.held: dict[int, Decoded] = {}
        self._again: dict[int, float] = {}  # When to look for a shard's files again.
        self._reader: tuple[int, ShardReader] | None = None
        ends = np.zeros(len(self.index.paths), np.int64)
        np.maximum.at(ends, self.index.shard, self.index.first + self.index.lengths)
        self._ends = ends.tolist()
        self.folders = {
            n: cache_folder.of(root, path)
            for n, path in enumerate(self.index.paths)
            if cache_folder.is_finished(path)
        }

    def take_memory(self) -> None:
        """Take the memory for rows that are not kept on disk; InvalidInputError without it."""
        try:
            self.held = {n: Decoded(self.columns, self._ends[n], None) for n in self.folders}
        except (OSError, MemoryError) as error:
            raise InvalidInputError(
                f"cache='ram': there is no memory for it ({error}). Ask for fewer columns or "
                "episodes, or keep it on disk."
            ) from None

    def refuse_size(self, most_gb: float, named: str) -> None:
        """Refuse to take more room than is allowed, or than there is."""
        kept = np.isin(self.index.shard, list(self.folders))
        row_bytes = sum(column.row_bytes for column in self.columns.values())
        needed = int(self.index.lengths[kept].sum()) * row_bytes
        if self.root is None:
            held, free = 0, memory.most_bytes()
            where = "in memory"
        else:
            ours = sum(cache_folder.size(one, self.columns) for one in self.folders.values() if one)
            needed = max(0, needed - ours)
            held = sum(one.size for one in cache_folder.listed(self.root))
            free, where = shutil.disk_usage(self.root).free, f"in {self.root}"
        takes = f"{named}: its cache takes {needed / GB:,.3f} GB more {where}"
        if held + needed > most_gb * GB:
            beside = f" beside the {held / GB:,.3f} GB there" if held else ""
            raise InvalidInputError(
                f"{takes}{beside}, and cache_gb is {most_gb:g}. Nothing was written. Raise it, ask "
                "for fewer columns or episodes, or clear others with `sandbox cache clear`."
            )
        if needed > free:
            raise InvalidInputError(
                f"{takes}, where {free / GB:,.3f} GB are free. Nothing was written. Make room, ask "
                "for fewer columns or episodes, or leave out the cache."
            )

    def tell(self) -> None:
        """Raise the error of an episode; warn, once, that no more is made for another reason."""
        if isinstance(self.error, FormatError):
            raise self.error
        if self.error is not None and not self._told:
            self._told = True
            warnings.warn(f"{self.error} What is missing is read from the shards.", stacklevel=4)

    def look(self, shard: int, episode: int) -> None:
        """Find out whether an episode is here."""
        held = self._open(shard)
        if held is None:
            return
        first, count = int(self.index.first[episode]), int(self.index.lengths[episode])
        state = held.state(first)
        if state == FAULTY:
            self._read(shard, episode)
        elif state != ABSENT:
            self.ready[episode] = held.has(first, count, self.digests[episode].tobytes())

    def make(self, shard: int, stop: threading.Event) -> bool:
        """Decode what is missing of a shard; return whether all of it is here.

        Raises:
            FormatError: an episode fails its digest.
            OSError: there is no room, or no permission.
        """
        mine = np.flatnonzero(self.index.shard == shard).tolist()
        folder = self.folders[shard]
        for episode in mine:
            if not stop.is_set() and not self._is_faulty(shard, episode):
                self.look(shard, episode)
        if self.ready[mine].all():
            return True
        if folder is None:
            self._decode(shard, mine, stop)
            return True
        cache_folder.make(folder)
        try:
            with alone(folder / cache_folder.LOCK):
                cache_folder.describe(folder, self.index.paths[shard])
                if shard not in self.held:
                    made = Decoded(self.columns, self._ends[shard], folder, make=True)
                    self.held[shard] = made
                self._decode(shard, mine, stop)
        except LockedError:
            return False
        return True

    def _is_faulty(self, shard: int, episode: int) -> bool:
        held = self._open(shard)
        return held is not None and held.state(int(self.index.first[episode])) == FAULTY

    def _decode(self, shard: int, episodes: Sequence[int], stop: threading.Event) -> None:
        """Decode the episodes of a shard that are not here."""
        held = self.held[shard]
        for episode in episodes:
            if stop.is_set():
                return
            first, count = int(self.index.first[episode]), int(self.index.lengths[episode])
            digest = self.digests[episode].tobytes()
            if not self.ready[episode] and not held.has(first, count, digest):
                try:
                    rows = self._read(shard, episode)
                except FormatError:
                    held.blame(first)
                    raise
                held.put(first, rows, digest)
            self.ready[episode] = True

    def _read(self, shard: int, episode: int) -> Rows:
        """Return the rows of an episode, checked against its digest."""
        known = self._reader
        if known is None or known[0] != shard:
            known = self._reader = shard, self.index.reader(shard)
        reader = known[1]
        first = int(self.index.first[episode])
        found = reader.read(int(np.searchsorted(reader.offsets, first)))
        if found.digest != self.digests[episode].tobytes().hex():
            raise index_file.stale(reader.path)
        return found.rows

    def _open(self, shard: int) -> Decoded | None:
        """Return the decoded rows of a shard; None if nobody has made any."""
        folder, now = self.folders.get(shard), time.monotonic()
        if shard in self.held or folder is None or now < self._again.get(shard, 0.0):
            return self.held.get(shard)
        self._again[shard] = now + _POLL_S
        with suppress(OSError):
            self.held[shard] = Decoded(self.columns, self._ends[shard], folder)
        return self.held.get(shard)

    def __getstate__(self) -> dict[str, Any]:
        lost: dict[str, Any] = {"held": {}, "_reader": None, "ready": np.zeros_like(self.ready)}
        return {**self.__dict__, **lost}


def _make(store: _Store, stop: threading.Event) -> None:
    """Decode what is missing, shard by shard; one that another process decodes is waited for."""
    waiting = sorted(store.folders)
    try:
        while waiting and not stop.is_set():
            waiting = [n for n in waiting if stop.is_set() or not store.make(n, stop)]
            if waiting:
                stop.wait(_POLL_S)
    except SandboxError as error:
        store.error = error
    except OSError as error:
        store.error = SandboxError(
            f"{store.root}: decoded rows cannot be written there: {error.strerror or error}."
        )


def _root(where: str | Path) -> Path:
    """Return the folder of a cache on disk, made if it is not there."""
    given: Any = where
    if not isinstance(given, str | Path) or not str(given):
        raise InvalidInputError(f"cache {where!r}: give 'ram', 'disk', or the path of a folder.")
    root = cache_folder.default() if where == "disk" else files.place(where)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SandboxError(
            f"{root}: no folder for decoded rows: {error.strerror}. Name another by cache=, or set "
            "SANDBOX_HOME to one that can be written."
        ) from None
    return root
