"""A shard under way: an HDF5 file in SWMR mode, and a sidecar with one line of JSON an episode.

An episode is committed when `ep_len` counts it. An append writes rows, sidecar lines, `ep_offset`
and `ep_len` in this order, and hands each to the operating system before the next. So a kill at any
moment leaves the committed episodes whole.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sandbox.durable import write_all
from sandbox.trajectory import layout
from sandbox.trajectory.episode import Rows as EpisodeRows
from sandbox.trajectory.schema import INDEX, Column, Schema

SPARE_ROWS = 8192  # Datasets grow by blocks: rewriting a header costs 3 us a column.
SPARE_EPISODES = 1024


class Growing:
    """The two files of a shard under way.

    Args:
        path: the path of the HDF5 file; an existing file is replaced.
        sidecar: path of the records' file; an existing file is replaced.
        schema: the columns.
        texts: the JSON texts of the root attributes.
        compression: one of COMPRESSIONS, for pictures; numbers are stored raw until the shard is
            finished.
    """

    def __init__(
        self,
        path: Path,
        sidecar: Path,
        schema: Schema,
        texts: Mapping[str, str],
        compression: str,
    ) -> None:
        self.episodes = self.rows = 0
        columns = (*schema.columns, *INDEX)
        self._once, self._per_row = layout.append_bytes(columns)
        self._file, self._room = layout.create(path, self._once)
        try:
            layout.write_texts(self._file, texts)
            self._columns = {c.name: self._column(c, compression) for c in columns}
            self._offsets, self._lengths = (self._columns.pop(n) for n in ("ep_offset", "ep_len"))
            self._file.swmr_mode = True  # No dataset or attribute can be added after this.
            self._fd = self._file.id.get_vfd_handle()
            sidecar.unlink(missing_ok=True)  # If it is a link, what it leads to stays.
            self._lines = sidecar.open("xb", buffering=0)
        except BaseException:
            self._file.close()
            raise

    def append(self, episodes: Sequence[EpisodeRows], lines: Sequence[str], *, sync: bool) -> None:
        """Append episodes with their records' lines; with `sync`, return when the disk has them.

        Several episodes cost little more than one: most of the time is HDF5's overhead a column.
        """
        lengths = [len(rows["step_idx"]) for rows in episodes]
        self._room.ensure(self._once + self._per_row * sum(lengths))
        self._write_rows(episodes, sum(lengths))
        self._file.flush()
        write_all(self._lines.fileno(), "".join(f"{line}\n" for line in lines).encode())
        if sync:
            os.fdatasync(self._lines.fileno())
        self._count(lengths)
        if sync:
            os.fdatasync(self._fd)

    def sync(self) -> None:
        """Wait until the disk has everything appended so far."""
        os.fsync(self._lines.fileno())
        os.fsync(self._fd)

    def close(self) -> None:
        """Close both files; the committed episodes stay."""
        self._lines.close()
        self._file.close()

    def _column(self, column: Column, compression: str) -> layout.StoredColumn:
        kind = compression if layout.is_packed(column) else "none"
        use = layout.filters(column, kind)
        return layout.StoredColumn(layout.create_column(self._file, column, 0, use))

    def _write_rows(self, episodes: Sequence[EpisodeRows], count: int) -> None:
        end = self.rows + count
        for name, column in self._columns.items():
            if column.extent < end:
                column.extend(end + SPARE_ROWS)
            parts = [rows[name] for rows in episodes]
            values = parts[0] if len(parts) == 1 else np.concatenate(parts)
            column.write(self.rows, np.ascontiguousarray(values, column.dtype))

    def _count(self, lengths: Sequence[int]) -> None:
        """Commit episodes of some lengths [rows] by adding them to the index."""
        episodes = self.episodes + len(lengths)
        if self._lengths.extent < episodes:
            self._lengths.extend(episodes + SPARE_EPISODES)
            self._offsets.extend(episodes + SPARE_EPISODES)
        ends = self.rows + np.cumsum(lengths, dtype=np.int64)
        self._offsets.write(self.episodes, ends - lengths)
        self._offsets.flush()
        self._lengths.write(self.episodes, np.array(lengths, np.int32))
        self._lengths.flush()
        self.episodes, self.rows = episodes, int(ends[-1])
