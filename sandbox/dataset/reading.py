"""Read the rows of many windows at once, from a cache of decoded rows where there is one."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils import data

from sandbox.dataset.cache import Cache
from sandbox.dataset.decoded import is_colour
from sandbox.dataset.index import I64, Index, Places
from sandbox.remote import ranged
from sandbox.remote.location import Remote
from sandbox.remote.ranged import RangedFile, Span
from sandbox.trajectory import Column, ShardReader

TABLES_BYTES = 256 << 20  # Of columns that are kept whole, together.
TABLE_ROW_BYTES = 1 << 10  # Columns of larger rows are not kept.
CHANNELS_LAST = (3, 4, 2)  # Of windows that have channels first.
_CORES = os.cpu_count() or 1  # Asked once: it takes as long as to read a window.
_SHARE = 8  # A column is read whole when windows have asked for one of so many of its rows.


@dataclass(frozen=True)
class Wanted:
    """What is read of a column.

    Attributes:
        column: the column.
        rows: rows of a window.
        apart: how far apart they lie.
    """

    column: Column
    rows: int
    apart: int = 1

    def given(self, rows: I64) -> I64:
        """Return how many of these rows are in an episode that has `rows` rows of the window."""
        return np.minimum(self.rows, -(-rows // self.apart))


class Reading:
    """Reads rows of columns. Opens shards when they are first read, in every process for itself.

    Several threads may use it.

    Args:
        index: where the episodes lie.
        cache: decoded rows, or None.
    """

    def __init__(self, index: Index, cache: Cache | None = None) -> None:
        self._index, self._cache = index, cache
        self._readers: dict[int, ShardReader] = {}
        self._tables = Tables()

    def read(self, places: Places, wanted: Mapping[str, Wanted], made: Mapping[str, Any]) -> None:
        """Read windows in the order in which they lie on disk.

        Args:
            places: where they lie.
            wanted: the columns.
            made: an array (windows, rows, ...) for each of them, which is filled: rows as they are
                handed out, pictures with their channels first; 0 beyond an episode's end.
        """
        if self._is_remote:
            self._fetch(places, wanted)
        order = np.lexsort((places.row, places.shard))
        shards, firsts = np.unique(places.shard[order], return_index=True)
        for shard, mine in zip(shards.tolist(), np.split(order, firsts[1:]), strict=True):
            if self._cache is not None:
                kept = self._cache.has(shard, places.episode[mine])
                if kept.any():
                    for name, one in wanted.items():
                        table = self._cache.rows(shard, name)
                        _gather(table, places, mine[kept], one, made[name])
                mine = mine[~kept]
            if len(mine):
                self._from_shard(shard, places, mine, wanted, made)

    @property
    def _is_remote(self) -> bool:
        return any(isinstance(path, Remote) for path in self._index.paths)

    def _fetch(self, places: Places, wanted: Mapping[str, Wanted]) -> None:
        """Fetch what remote shards have of windows, all of it at once."""
        asked = list[tuple[RangedFile, list[Span]]]()
        for shard in np.unique(places.shard).tolist():
            mine = np.flatnonzero(places.shard == shard)
            if not isinstance(self._index.paths[shard], Remote):
                continue
            if self._cache is not None:
                mine = mine[~self._cache.has(shard, places.episode[mine])]
            rows = list(zip(places.row[mine].tolist(), places.rows[mine].tolist(), strict=True))
            if rows:
                columns = self._tables.lacking(shard, wanted)
                reader = self._reader(shard)
                found = reader.spans([(name, *one) for name in columns for one in rows])
                asked += [found] if found is not None else []
        ranged.gather(asked)

    def _from_shard(
        self,
        shard: int,
        places: Places,
        mine: I64,
        wanted: Mapping[str, Wanted],
        made: Mapping[str, Any],
    ) -> None:
        """Read some of the windows from their shard."""
        reader, threads = self._reader(shard), _threads()
        with reader.session():
            for name, one in wanted.items():
                table = self._tables.get(shard, reader, one, len(mine))
                if table is not None:
                    _gather(table, places, mine, one, made[name])
                else:
                    _fill(reader, places, mine, one, made[name], threads)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}, "_tables": Tables()}

    def _reader(self, shard: int) -> ShardReader:
        """Return the reader of a shard."""
        if shard not in self._readers:
            self._readers[shard] = self._index.reader(shard, rows_alone=True)
        return self._readers[shard]


class Tables:
    """Columns of numbers that are kept whole: one read of HDF5 costs as much as 100 rows of them.

    Several threads may use it, and a process that is forked: there is no lock. Two threads may read
    the same column once each.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], NDArray[Any]] = {}
        self._asked: Counter[tuple[int, str]] = Counter()

    def get(
        self, shard: int, reader: ShardReader, one: Wanted, windows: int
    ) -> NDArray[Any] | None:
        """Return all rows of a column; None if it does not pay (yet) to read them."""
        column, key = one.column, (shard, one.column.name)
        found = self._kept.get(key)
        if found is not None or column.row_bytes > TABLE_ROW_BYTES or is_colour(column):
            return found
        self._asked[key] += windows * one.rows
        small = column.row_bytes * reader.rows <= TABLES_BYTES // 4
        if not small or self._asked[key] * _SHARE < reader.rows:
            return None
        found = np.empty((reader.rows, *column.shape), column.dtype)
        reader.fill(column.name, 0, found)
        self._kept[key] = found
        while sum(table.nbytes for table in list(self._kept.values())) > TABLES_BYTES:
            self._kept.pop(next(iter(list(self._kept))), None)
        return found

    def lacking(self, shard: int, wanted: Mapping[str, Wanted]) -> list[str]:
        """Return the columns of a shard that are not kept."""
        return [name for name in wanted if (shard, name) not in self._kept]

    def __reduce__(self) -> tuple[Any, ...]:
        return Tables, ()


def _gather(table: NDArray[Any], places: Places, mine: I64, one: Wanted, made: Any) -> None:
    """Copy windows out of rows that are as they are handed out."""
    first, given = places.row[mine], one.given(places.rows[mine])
    if one.column.row_bytes <= TABLE_ROW_BYTES:
        rows = first[:, None] + np.arange(one.rows) * one.apart
        made[mine] = table[np.minimum(rows, len(table) - 1)]
    else:
        for k, row, count in zip(mine.tolist(), first.tolist(), given.tolist(), strict=True):
            made[k, :count] = table[row : row + (count - 1) * one.apart + 1 : one.apart]
    _blank(made, mine, given)


def _fill(
    reader: ShardReader, places: Places, mine: I64, one: Wanted, made: Any, threads: int
) -> None:
    """Read windows from their shard."""
    first, given = places.row[mine], one.given(places.rows[mine])
    as_stored = made.transpose(0, 1, *CHANNELS_LAST) if is_colour(one.column) else made
    each = zip(mine.tolist(), first.tolist(), given.tolist(), strict=True)
    wanted = [(row, as_stored[k, :count]) for k, row, count in each]
    reader.gather(one.column.name, wanted, one.apart, threads)
    _blank(made, mine, given)


def _threads() -> int:
    """Return how many threads read at once: one in a DataLoader's worker, which is one of some."""
    return 1 if data.get_worker_info() is not None else _CORES


def _blank(made: Any, mine: I64, given: I64) -> None:
    """Set what is beyond the ends of episodes to 0."""
    for n in np.flatnonzero(given < made.shape[1]).tolist():
        made[mine[n], given[n] :] = 0
