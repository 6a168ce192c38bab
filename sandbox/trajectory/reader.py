"""Reading a shard, finished or growing; whoever wrote it, nothing in it is believed unseen."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import h5py
import hdf5plugin  # noqa: F401  # pyright: ignore[reportUnusedImport]  # Registers Zstd.
import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError, UnknownNameError
from sandbox.trajectory.episode import Episode
from sandbox.trajectory.schema import FORMAT_VERSION, Schema

REQUIRED = ("action", "reward", "terminated", "truncated", "charge", "step_idx", "episode_idx")
MAX_ATTRIBUTE_BYTES = 2**30


def growing_path(path: Path) -> Path:
    """Return the name of a shard while it grows."""
    return path.with_name(path.name + ".part")


def sidecar_path(path: Path) -> Path:
    """Return the name of a shard's records, one JSON line an episode."""
    return path.with_name(path.name.removesuffix(".part").removesuffix(".h5") + ".episodes.jsonl")


def shards(run: Path, missing_ok: bool = False) -> list[Path]:
    """Return the shards of a run in order, the growing one last; a file is a run of one shard.

    Raises:
        FormatError: there are none, unless `missing_ok`.
    """
    if run.is_file():
        return [run]
    finished = sorted((run / "shards").glob("shard-*.h5"))
    growing = sorted((run / "shards").glob("shard-*.h5.part"))
    if not finished and not growing and not missing_ok:
        raise FormatError(f"{run}: no trajectory file and no run folder; nothing to read.")
    return finished + growing


class ShardReader:
    """One shard, opened for reading.

    Args:
        path: a finished shard, or a growing one (.part).

    Attributes:
        schema: its columns.
        header: what the writer said about the file.
        records: what is known about each episode.
        rows: how many rows its episodes have in all.

    Raises:
        FormatError: not a trajectory file of this format, damaged, or inconsistent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        growing = path.name.endswith(".part")
        try:
            self._file = h5py.File(path, "r", swmr=growing)
        except FileNotFoundError:
            raise FormatError(f"{path}: no such file.") from None
        except (OSError, RuntimeError) as error:
            raise FormatError(f"{path}: {_reason(error)}; it is damaged, or no HDF5.") from None
        try:
            self._check(growing)
        except FormatError:
            self.close()
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, RecursionError) as error:
            self.close()
            raise FormatError(f"{path}: {_reason(error)}; the file is damaged.") from error

    def __len__(self) -> int:
        return len(self._length)

    def read(self, n: int) -> Episode:
        """Return episode `n` of the shard, all its columns.

        Raises:
            FormatError: it cannot be read, or contradicts itself.
        """
        rows = self.columns(n, self.schema.names)
        try:
            return Episode(rows, self.records[n])
        except FormatError as error:
            raise FormatError(f"{self.path}: episode {n}: {error}") from None

    def columns(
        self, n: int, names: Sequence[str], start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return rows `start` to `stop` of some columns of episode `n`; all of them by default."""
        offset, length = int(self._offset[n]), int(self._length[n])
        first, last = offset + start, offset + min(length, length if stop is None else stop)
        try:
            return {name: self.dataset(name)[first:last] for name in names}
        except (OSError, RuntimeError) as error:
            raise FormatError(f"{self.path}: episode {n}: {_reason(error)}; damaged.") from error

    def dataset(self, name: str) -> h5py.Dataset:
        """Return a column itself; UnknownNameError if there is none."""
        if name not in self.schema.names:
            raise UnknownNameError("column", name, self.schema.names, str(self.path))
        return self._data[name]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """The first row of each episode."""
        return self._offset

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of rows of each episode, T+1."""
        return self._length

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self, growing: bool) -> None:
        """Read what describes the file, and refuse what contradicts it."""
        file, where = self._file, str(self.path)
        version = file.attrs.get("format_version")
        if version is None:
            raise FormatError(f"{where}: HDF5, but none of ours: it has no format_version.")
        if version != FORMAT_VERSION:
            raise FormatError(
                f"{where}: of format {version}; this version reads {FORMAT_VERSION}. Use the version "
                "that wrote it."
            )
        self.schema = Schema.from_json(self._attribute("schema"), where)
        self.header = cast(Mapping[str, Any], self._attribute("header"))
        if not isinstance(self.header, dict):
            raise FormatError(f"{where}: its header is no object.")
        self._data = {name: self._dataset(name) for name in self._names()}
        self._check_columns()
        self._check_index()
        self.rows = int(self._length.sum())
        self.records = self._records(growing)

    def _names(self) -> list[str]:
        """Return the names at the root, which are those of the schema and the index."""
        wanted = {*self.schema.names, "ep_len", "ep_offset"}
        found = {str(name) for name in self._file}
        if found != wanted:
            raise FormatError(
                f"{self.path}: missing {sorted(wanted - found)}, unknown {sorted(found - wanted)} "
                "beside what its schema says."
            )
        missing = [name for name in REQUIRED if name not in self.schema.names]
        if missing:
            raise FormatError(f"{self.path}: its schema lacks {missing}.")
        return sorted(wanted)

    def _dataset(self, name: str) -> h5py.Dataset:
        """Return a dataset that lies in this file: no link, group, or storage elsewhere."""
        link = self._file.get(name, getlink=True)
        item = self._file[name] if isinstance(link, h5py.HardLink) else None
        if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
            raise FormatError(f"{self.path}: {name!r} is no plain dataset; it is not read.")
        return item

    def _check_columns(self) -> None:
        for column in self.schema.columns:
            data = self._data[column.name]
            if data.dtype != np.dtype(column.dtype) or data.shape[1:] != column.shape:
                raise FormatError(
                    f"{self.path}: column {column.name!r} holds {data.dtype} {data.shape[1:]}, its "
                    f"schema says {column.dtype} {column.shape}."
                )

    def _check_index(self) -> None:
        """Read the index; rows that it does not count are of an episode that was never committed."""
        for name in ("ep_len", "ep_offset"):
            if self._data[name].dtype.kind != "i" or self._data[name].ndim != 1:
                raise FormatError(f"{self.path}: {name} is no column of whole numbers.")
        self._length = self._data["ep_len"][:].astype(np.int64)
        self._offset = self._data["ep_offset"][: len(self._length)].astype(np.int64)
        ends = np.cumsum(self._length)
        rows = int(ends[-1]) if len(ends) else 0
        if (
            (self._length < 1).any()
            or not np.array_equal(self._offset, ends - self._length)
            or any(self._data[name].shape[0] < rows for name in self.schema.names)
        ):
            raise FormatError(f"{self.path}: its index does not fit its {rows} rows; damaged.")

    def _records(self, growing: bool) -> list[dict[str, Any]]:
        if growing:
            lines = sidecar_path(self.path).read_bytes().split(b"\n")[: len(self)]
            found: object = [json.loads(line) for line in lines]
        else:
            found = self._attribute("episodes")
        records = cast(list[dict[str, Any]], found)
        if (
            not isinstance(found, list)
            or len(records) != len(self)
            or not all(isinstance(record, dict) for record in cast(list[object], found))
        ):
            raise FormatError(f"{self.path}: {len(self)} episodes, but not as many records.")
        return records

    def _attribute(self, name: str) -> object:
        value = self._file.attrs.get(name)
        if not isinstance(value, str):
            raise FormatError(f"{self.path}: it has no {name}; the file is damaged or not finished.")
        return json.loads(value)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
