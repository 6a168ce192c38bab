"""Writing a shard: an episode is in it whole or not at all, and a kill loses none that was.

While it grows, a shard is `NAME.h5.part`, readable by others (SWMR), with a line of JSON an episode in
the sidecar `NAME.episodes.jsonl`. The commit order is columns, record, `ep_offset`, `ep_len`, flush: an
episode exists when `ep_len` counts it. A finished shard carries the records in an attribute and is
renamed. Its bytes depend on the episodes appended and on nothing else, so that a run that was
interrupted, read back and appended again ends in the same bytes.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError, SandboxError
from sandbox.trajectory.episode import Episode
from sandbox.trajectory.reader import ShardReader, growing_path, sidecar_path
from sandbox.trajectory.schema import FORMAT_VERSION, Column, Schema

Compression = Literal["zstd", "gzip", "none"]
CHUNK_BYTES = 192 * 1024  # Of pictures: 16 frames of 64x64 RGB.
SMALL_ROW_BYTES = 1024  # Rows below this are not compressed: it would halve the rate of logging.
SMALL_CHUNK_ROWS = 1024
INDEX = (("ep_offset", np.dtype(np.int64)), ("ep_len", np.dtype(np.int32)))  # In commit order.


class ShardWriter:
    """Appends episodes to a new shard.

    Args:
        path: of the finished shard, ending in .h5; it must not exist.
        schema: its columns.
        header: plain JSON for the file's `header` attribute.
        compression: of the columns whose rows have at least 1 KiB.

    Raises:
        SandboxError: the shard cannot be written; what was committed stays readable.
    """

    def __init__(
        self, path: Path, schema: Schema, header: Mapping[str, Any], compression: Compression
    ) -> None:
        self._path, self._schema = path, schema
        self.records: list[dict[str, Any]] = []
        self._rows = 0
        self._open(growing_path(path), sidecar_path(path), header, compression)

    @classmethod
    def resume(
        cls, path: Path, schema: Schema, header: Mapping[str, Any], compression: Compression
    ) -> "ShardWriter":
        """Go on with a shard that a killed process left, or begin it.

        The committed episodes are checked and appended to a fresh file, which then takes the place of
        the old one: its bytes are those of a file that was never interrupted.

        Raises:
            FormatError: a committed episode is not what its digest says.
        """
        old = growing_path(path)
        if not old.exists():
            return cls(path, schema, header, compression)
        again = path.with_name(f".again-{path.name}")
        for stale in (growing_path(again), sidecar_path(again)):
            stale.unlink(missing_ok=True)
        writer = cls(again, schema, header, compression)
        try:
            _copy_committed(old, path, writer)
            os.replace(sidecar_path(again), sidecar_path(path))
            os.replace(growing_path(again), old)
            writer._path = path
        except BaseException:
            writer.abandon()
            raise
        return writer

    def append(self, episode: Episode) -> dict[str, Any]:
        """Commit an episode; return its record with the digest of its rows.

        Raises:
            SandboxError: it could not be written, and is not in the shard.
        """
        record = {**episode.record, "digest": episode.digest}
        line = json.dumps(record, sort_keys=True, allow_nan=False) + "\n"
        try:
            for column in self._schema.columns:
                self._extend(column, episode.rows[column.name])
            self._sidecar.write(line.encode())
            self._sidecar.flush()
            os.fsync(self._sidecar.fileno())
            for (name, dtype), value in zip(INDEX, (self._rows, len_(episode)), strict=True):
                self._put(name, len(self.records), np.array([value], dtype))
            self._file.flush()
            os.fsync(self._fd)
        except (OSError, RuntimeError) as error:
            raise self._unwritable(error) from error
        self._rows += len_(episode)
        self.records.append(record)
        return record

    def close(self) -> None:
        """Finish the shard: put the records in, and give it its name."""
        growing = growing_path(self._path)
        try:
            self._file.close()
            with h5py.File(growing, "r+", libver=("v110", "v110")) as file:
                file.attrs["episodes"] = _json(self.records)
                file.flush()
            self._sidecar.close()
            _sync(growing)
            os.replace(growing, self._path)
            _sync(self._path.parent)
        except (OSError, RuntimeError) as error:
            raise self._unwritable(error) from error

    def abandon(self) -> None:
        """Stop writing; what is committed stays in the growing file."""
        with suppress(OSError, RuntimeError):
            self._file.close()
        with suppress(OSError):
            self._sidecar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _open(
        self, growing: Path, sidecar: Path, header: Mapping[str, Any], compression: Compression
    ) -> None:
        try:
            growing.parent.mkdir(parents=True, exist_ok=True)
            self._sidecar = sidecar.open("wb")
            self._file = h5py.File(growing, "w", libver=("v110", "v110"))
            self._file.attrs["format_version"] = FORMAT_VERSION
            self._file.attrs["schema"] = _json(self._schema.to_json())
            self._file.attrs["header"] = _json(header)
            self._data = {c.name: self._dataset(c, compression) for c in self._schema.columns}
            for name, dtype in INDEX:
                self._data[name] = self._file.create_dataset(
                    name, shape=(0,), maxshape=(None,), chunks=(SMALL_CHUNK_ROWS,), dtype=dtype
                )
            self._file.swmr_mode = True  # From here on no dataset and no attribute can be added.
            self._fd = self._file.id.get_vfd_handle()
        except (OSError, RuntimeError) as error:
            raise self._unwritable(error) from error

    def _dataset(self, column: Column, compression: Compression) -> h5py.Dataset:
        small = column.row_bytes < SMALL_ROW_BYTES
        rows = SMALL_CHUNK_ROWS if small else max(1, min(64, round(CHUNK_BYTES / column.row_bytes)))
        options: dict[str, Any] = {}
        if not small and compression == "zstd":
            options = dict(hdf5plugin.Zstd(clevel=1))
        elif not small and compression == "gzip":
            options = {"compression": "gzip", "compression_opts": 1}
        return self._file.create_dataset(
            column.name,
            shape=(0, *column.shape),
            maxshape=(None, *column.shape),
            chunks=(rows, *column.shape),
            dtype=column.dtype,
            **options,
        )

    def _extend(self, column: Column, rows: NDArray[Any]) -> None:
        if rows.dtype != column.dtype or rows.shape[1:] != column.shape:
            raise FormatError(
                f"column {column.name!r} holds {column.dtype} {column.shape}, not {rows.dtype} "
                f"{rows.shape[1:]}."
            )
        self._put(column.name, self._rows, np.ascontiguousarray(rows))

    def _put(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Write rows at `start`, past h5py's high-level interface, which costs ten times as much."""
        target = self._data[name].id
        target.set_extent((start + len(rows), *rows.shape[1:]))
        space = target.get_space()
        space.select_hyperslab((start, *(0 for _ in rows.shape[1:])), rows.shape)
        target.write(h5py.h5s.create_simple(rows.shape), space, rows)

    def _unwritable(self, error: BaseException) -> SandboxError:
        return SandboxError(
            f"{self._path}: cannot be written ({_reason(error)}). The episodes committed before are "
            "kept; make room or give another --out, and run it again."
        )


def len_(episode: Episode) -> int:
    """Return the number of rows of an episode."""
    return len(episode.rows["step_idx"])


def _copy_committed(old: Path, path: Path, writer: ShardWriter) -> None:
    """Append the committed episodes of a growing file to `writer`."""
    try:
        reader = ShardReader(path.parent / old.name)
    except FormatError as error:
        if sidecar_path(path).exists() and sidecar_path(path).stat().st_size > 0:
            raise FormatError(f"{error} Move it away to generate its episodes again.") from error
        return  # Killed before the first episode.
    with reader:
        for n in range(len(reader)):
            episode = reader.read(n)
            if episode.digest != reader.records[n]["digest"]:
                raise FormatError(
                    f"{old}: episode {n} is not what its digest says; move the file away to generate "
                    "its episodes again."
                )
            kept = {k: v for k, v in reader.records[n].items() if k != "digest"}
            writer.append(Episode(episode.rows, kept))


def _json(data: object) -> str:
    return json.dumps(data, sort_keys=True, allow_nan=False)


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())[:200]


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
