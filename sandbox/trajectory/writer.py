"""Write one shard, episode by episode, under another name until it is finished."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sandbox import files
from sandbox.durable import sync_folder
from sandbox.errors import FormatError, InvalidInputError, SandboxError, UnknownNameError
from sandbox.trajectory import layout
from sandbox.trajectory.episode import Episode, Rows
from sandbox.trajectory.growing import Growing
from sandbox.trajectory.layout import StorageError, storage_error
from sandbox.trajectory.reader import ShardReader
from sandbox.trajectory.room import trim
from sandbox.trajectory.schema import INDEX, ROW, Schema
from sandbox.trajectory.shard import part_path, sidecar_path

FAILURES = (OSError, RuntimeError)  # What h5py raises when the disk fails.


class ShardWriter:
    """A shard under way: `PATH.part` and a sidecar, until `close` finishes it as `PATH`.

    The bytes of the finished shard depend only on the arguments and the episodes, not on time,
    process, kills or resumptions. A shard may have one writer at a time, which the run folder's
    lock ensures.

    Args:
        path: the path of the finished shard, `.../shard-00000.h5`.
        schema: the columns.
        header: plain JSON about the whole shard.
        compression: of pictures: `zstd` (level 1; readers must import hdf5plugin), `gzip` (level 1;
            any reader works), or `none` (contiguous, numbers too; the fastest to read). Numbers are
            compressed by gzip, which any reader has.
        sync: whether a commit waits for the disk, to survive a power loss; without it an episode
            survives a kill of the process only.
        hold_bytes: how many bytes of rows to hold back and commit together; 0 commits each episode.

    Attributes:
        records: the records of the committed episodes, each with its `digest`.

    Raises:
        InvalidInputError: the shard exists already, finished or growing.
        StorageError: the folder cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        schema: Schema,
        header: Mapping[str, Any],
        compression: str = "zstd",
        *,
        sync: bool = True,
        hold_bytes: int = 0,
    ) -> None:
        self._prepare(path, schema, header, compression, sync, hold_bytes)
        if part_path(self.path).exists():
            raise InvalidInputError(
                f"{part_path(self.path)}: a shard is growing here; nothing was done. Use "
                "ShardWriter.resume, or another folder."
            )
        self._begin(())

    @classmethod
    def resume(
        cls,
        path: str | Path,
        schema: Schema,
        header: Mapping[str, Any],
        compression: str = "zstd",
        *,
        sync: bool = True,
        hold_bytes: int = 0,
    ) -> Self:
        """Continue a shard after a kill, or begin it if there is none.

        The committed episodes are checked against their digests and appended to a new file, which
        then replaces the growing one: a file whose writer died is never written to.

        Raises:
            InvalidInputError: the shard is finished, or the growing one has another schema or
                header.
            FormatError: a committed episode is damaged.
            StorageError: the folder cannot be written.
        """
        self = cls.__new__(cls)
        self._prepare(path, schema, header, compression, sync, hold_bytes)
        reader = self._committed()
        if reader is None:
            self._begin(())
            return self
        with reader, reader.session():
            self._begin(reader.read(i) for i in range(len(reader)))
        return self

    def append(self, episode: Episode) -> dict[str, Any]:
        """Commit an episode, or hold it back; return its record with its `digest`.

        Raises:
            FormatError: the episode does not fit the schema; nothing was done.
            StorageError: the disk failed; neither this episode nor those held back are committed.
        """
        self._open()
        _check_fit(episode.rows, self._columns)
        kept, line = _line(episode)
        self._held_bytes += len(episode) * self.schema.row_bytes
        full, rows = self._held_bytes >= self._hold_bytes, episode.rows
        if not full:  # The caller reuses the arrays.
            rows = {name: array.copy() for name, array in rows.items()}
        self._held.append((rows, kept, line))
        if full:
            self.commit()
        return kept

    @property
    def held(self) -> int:
        """The number of episodes that are held back."""
        return len(self._held)

    def commit(self) -> None:
        """Commit the episodes that are held back.

        Raises:
            StorageError: the disk failed; the episodes held back are lost, those committed before
                are kept.
        """
        held, self._held, self._held_bytes = self._held, [], 0
        if not held:
            return
        rows, kept, lines = zip(*held, strict=True)
        try:
            self._open().append(rows, lines, sync=self._sync)
        except FAILURES as error:
            self.abandon()
            storage_error(part_path(self.path), error)
        self._lines += lines
        self.records += kept

    def close(self) -> None:
        """Finish the shard: write it again in its final form, then rename it.

        Raises:
            StorageError: the disk failed; the growing shard is unchanged and can be resumed.
        """
        self.commit()
        growing, self._growing = self._growing, None
        if growing is None:
            return
        temporary = self.path.with_name(f"{self.path.name}.finished")
        try:
            growing.close()
            texts = {**self._texts, "episodes": f"[{','.join(self._lines)}]"}
            self._finish(temporary, texts, growing.rows, growing.episodes)
            os.replace(temporary, self.path)
            sync_folder(self.path.parent)
            part_path(self.path).unlink()
        except FAILURES as error:
            storage_error(self.path, error)

    def abandon(self) -> None:
        """Stop writing. Committed episodes stay in the growing shard; those held back are lost."""
        self._held, self._held_bytes = [], 0
        growing, self._growing = self._growing, None
        if growing is not None:
            with suppress(*FAILURES):  # On a full disk even closing can fail.
                growing.close()

    def discard(self) -> None:
        """Stop writing, and remove what was written: the shard is not wanted."""
        self.abandon()
        for path in (part_path(self.path), sidecar_path(self.path)):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the shard; after an exception leave it growing, with the committed episodes."""
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _prepare(
        self,
        path: str | Path,
        schema: Schema,
        header: Mapping[str, Any],
        compression: str,
        sync: bool,
        hold_bytes: int,
    ) -> None:
        """Check and keep the arguments; write nothing."""
        path = files.place(path)
        if compression not in layout.COMPRESSIONS:
            raise UnknownNameError("compression", compression, layout.COMPRESSIONS)
        if ROW.name in schema.names:
            raise FormatError(f"a column is called {ROW.name!r}; that name is the file's own.")
        if path.exists():
            raise InvalidInputError(
                f"{path}: this shard is finished; nothing was done. Read it with ShardReader, or "
                "give another folder."
            )
        self.path, self.schema, self.compression = path, schema, compression
        self._columns = {c.name: (np.dtype(c.dtype), c.shape) for c in schema.columns}
        self._texts = {
            "schema": layout.dumps(schema.to_json(), "the schema"),
            "header": layout.dumps(dict(header), "the header"),
        }
        self._sync, self._hold_bytes = sync, hold_bytes
        self._held: list[tuple[Rows, dict[str, Any], str]] = []
        self._held_bytes = 0
        self._growing: Growing | None = None
        self._lines: list[str] = []
        self.records: list[dict[str, Any]] = []

    def _begin(self, episodes: Iterable[Episode]) -> None:
        """Write `episodes` to new files, which then replace the growing shard and its sidecar."""
        part, sidecar = part_path(self.path), sidecar_path(self.path)
        new_part, new_sidecar = (f.with_name(f"{f.name}.new") for f in (part, sidecar))
        sync, self._sync = self._sync, False
        try:
            kind = self.compression
            self._growing = Growing(new_part, new_sidecar, self.schema, self._texts, kind)
            for episode in episodes:
                self.append(episode)
            self.commit()
            self._growing.sync()
            os.replace(new_sidecar, sidecar)
            os.replace(new_part, part)
            sync_folder(part.parent)
        except FAILURES as error:
            self.abandon()
            storage_error(part, error)
        except SandboxError:
            self.abandon()
            raise
        self._sync = sync

    def _committed(self) -> ShardReader | None:
        """Return a reader of the growing shard; None if nothing was committed.

        Raises:
            InvalidInputError: the growing shard has another schema or header.
        """
        part, sidecar = part_path(self.path), sidecar_path(self.path)
        if not part.exists():
            return None
        try:
            reader = ShardReader(part)
        except FormatError:
            if sidecar.exists() and files.lines(sidecar, 1):
                raise
            return None  # Its writer died before it had written the header.
        found = {"schema": reader.schema.to_json(), "header": reader.header}
        for name, ours in self._texts.items():
            theirs = layout.dumps(found[name], name)
            if theirs != ours:
                reader.close()
                raise InvalidInputError(
                    f"{part}: the shard growing here has another {name}; nothing was done. Give "
                    f"the same, or another folder. There: {theirs[:200]}, here: {ours[:200]}."
                )
        return reader

    def _open(self) -> Growing:
        """Return the files under way; StorageError if the writer is closed."""
        if self._growing is None:
            raise StorageError(
                f"{self.path}: this writer is closed, or failed before; nothing was done. Make "
                "another with ShardWriter.resume."
            )
        return self._growing

    def _finish(self, path: Path, texts: Mapping[str, str], rows: int, episodes: int) -> None:
        """Write the finished shard to `path` from the growing one."""
        kind, chunked = self.compression, self.compression != "none"
        part = part_path(self.path)
        once, _ = layout.append_bytes((*self.schema.columns, *INDEX, ROW))
        size = part.stat().st_size * 65 // 64 + len(texts["episodes"]) + once
        size += ROW.row_bytes * rows
        target, _ = layout.create(path, size)
        with layout.read(part) as source, target:
            layout.write_texts(target, texts)
            scale = layout.create_scale(target, rows, kind)
            for column in (*self.schema.columns, *INDEX):
                count, filters = episodes if column in INDEX else rows, layout.filters(column, kind)
                made = layout.create_column(target, column, count, filters, chunked=chunked)
                as_stored = chunked and layout.is_packed(column)
                layout.copy_column(source[column.name], made, as_stored)
                layout.name_rows(made, scale if column not in INDEX else None)
                made.flush()  # Now, not when Python frees it: that is where its chunks lie.
            target["ep_offset"].make_scale("ep_offset")
            target["ep_len"].dims[0].attach_scale(target["ep_offset"])
            scale.flush()
        trim(path)


def _line(episode: Episode) -> tuple[dict[str, Any], str]:
    """Return an episode's record with its digest, and its canonical JSON."""
    line = layout.dumps({**episode.record, "digest": episode.digest}, "the episode's record")
    return json.loads(line), line


def _check_fit(rows: Rows, columns: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
    """Refuse rows that do not fit the schema's columns."""
    if rows.keys() != columns.keys():
        raise FormatError(
            f"the episode has columns {', '.join(sorted(rows))} but the schema has "
            f"{', '.join(sorted(columns))}; nothing was done. Record exactly those."
        )
    for name, (dtype, shape) in columns.items():
        array = rows[name]
        if array.dtype != dtype or array.shape[1:] != shape:
            raise FormatError(
                f"column {name!r} of the episode is {array.dtype} {array.shape[1:]} but the "
                f"schema says {dtype} {shape}; nothing was done."
            )
