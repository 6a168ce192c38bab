"""An index of shards, kept in a file so that a large dataset opens at once; checked, not trusted.

The file has what `Facts` has for every episode, and each shard's path, size and times; of a remote
shard, its URL, size and version. A part of it holds while the shard has these; whatever is damaged
or out of date is made again from the shards. Without a folder that can be written, it is made each
time.
"""

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sandbox import content, durable, files
from sandbox.dataset import facts
from sandbox.dataset.facts import Array, Columns, Facts
from sandbox.errors import FormatError, SandboxError
from sandbox.remote.location import Location, Remote, located
from sandbox.trajectory import Schema, ShardReader
from sandbox.trajectory.shard import PART

I64 = NDArray[np.int64]
_FORMAT = 1
_ALWAYS = ("rows", "run", "episode")  # What every dataset asks for.
_MOST_BYTES = 1 << 32  # Of an index file.
_DAMAGE = (  # What NumPy and its ZIP reader raise for a file that is damaged anywhere.
    *(SandboxError, OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError),
    *(RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error),
)
Stamp = tuple[int, int, int]  # Size [bytes], times of the last change and of any [ns].


@dataclass(frozen=True)
class Held:
    """What one shard holds.

    Attributes:
        path: the shard.
        stamp: its size and times before it was read; None if it grows, or changed meanwhile.
        episodes: the number of its episodes.
        schema: its columns.
    """

    path: Location
    stamp: Stamp | None
    episodes: int
    schema: Schema


@dataclass(frozen=True)
class Holdings:
    """What several shards hold, in order.

    Attributes:
        shards: the shards.
        facts: what is known of their episodes.
    """

    shards: tuple[Held, ...]
    facts: Facts

    @cached_property
    def places(self) -> tuple[I64, I64]:
        """The shard of each episode, and its first row there, int64 (episodes,)."""
        counts = np.array([one.episodes for one in self.shards], np.int64)
        shard = np.repeat(np.arange(len(counts)), counts)
        rows = self.facts.columns["rows"]
        before = np.append(0, np.cumsum(rows))  # Rows before each episode, in all shards.
        begins = before[np.cumsum(counts) - counts]
        return shard, before[:-1] - begins[shard]

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return what the shards of all parts hold."""
        held = tuple(one for part in parts for one in part.shards)
        return cls(held, facts.join([part.facts for part in parts]))

    def take(self, number: int) -> Self:
        """Return what one of the shards holds."""
        first = sum(one.episodes for one in self.shards[:number])
        one = self.shards[number]
        return type(self)((one,), self.facts.take(slice(first, first + one.episodes)))


def holdings(paths: Sequence[Location]) -> Holdings:
    """Return what shards hold, of which there is at least one.

    Raises:
        FormatError: a shard cannot be read.
        UnreadableError: a shard cannot be read here and now.
    """
    stamps = [_stamp(path) for path in paths]  # Before they are read.
    file = _file(paths)
    kept = _load(file)
    if kept is not None and [(one.path, one.stamp) for one in kept.shards] == list(
        zip(paths, stamps, strict=True)
    ):
        return kept
    folders = [list(some) for _, some in groupby(paths, lambda path: path.parent)]
    if len(folders) > 1:  # Each has an index of its own, so that one more run costs little.
        found = Holdings.join([holdings(some) for some in folders])
        fresh = all(one.stamp for one in found.shards)
    else:
        found, fresh = _renewed(paths, stamps, kept)
    if fresh:
        _save(file, found, kept)
    return found


def stale(path: Location) -> FormatError:
    """Remove the index files that have a shard, and return the error that it is not as they say."""
    for file in _folder().glob("*.npz"):
        kept = _load(file)
        if kept is None or any(one.path == path for one in kept.shards):
            with suppress(OSError):
                file.unlink()
    return FormatError(
        f"{path}: its episodes are not those of its index, or changed since the dataset was "
        "opened; open the dataset again, which makes the index again."
    )


def _renewed(
    paths: Sequence[Location], stamps: Sequence[Stamp | None], kept: Holdings | None
) -> tuple[Holdings, bool]:
    """Return what shards hold, and whether finished ones were read that the index lacks."""
    known = {} if kept is None else {one.path: n for n, one in enumerate(kept.shards)}
    found, fresh = list[Holdings](), False
    for path, stamp in zip(paths, stamps, strict=True):
        number = known.get(path)
        if kept is not None and number is not None and kept.shards[number].stamp == stamp:
            found.append(kept.take(number))
        else:
            found.append(_read(path, stamp))
            fresh |= found[-1].shards[0].stamp is not None
    return Holdings.join(found), fresh


def _read(path: Location, stamp: Stamp | None) -> Holdings:
    """Return what a shard holds, as it says itself."""
    with ShardReader(path) as reader:
        try:
            known = Facts.of(reader.lengths, reader.records)
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None
        same = not reader.growing and _stamp(path) == stamp
        return Holdings((Held(path, stamp if same else None, len(reader), reader.schema),), known)


def _stamp(path: Location) -> Stamp | None:
    """Return the size and times of a finished shard; None for a growing one, or none."""
    if isinstance(path, Remote):
        return path.stamp
    if path.name.endswith(PART):
        return None
    try:
        found = path.lstat()  # A link is no shard.
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _folder() -> Path:
    return content.cache() / "index"


def _file(paths: Sequence[Location]) -> Path:
    """Return the index file of the folders that shards are in."""
    folders = dict.fromkeys(str(path.parent) for path in paths)
    named = hashlib.sha256(json.dumps(list(folders)).encode()).hexdigest()
    return _folder() / f"{named}.npz"


class _Stored:
    """The columns of an index file, each read and checked when it is asked for.

    Args:
        path: the file.
        data: its bytes.

    Attributes:
        names: the names of the columns.
        shards: what the shards hold.
        texts: the texts of columns of texts.

    Raises:
        One of _DAMAGE: the file is damaged.
    """

    def __init__(self, path: Path, data: bytes) -> None:
        self._path = path
        self._file = np.load(BytesIO(data), allow_pickle=False)  # It checks the sum of each part.
        if any(part.compress_type or part.file_size > len(data) for part in _parts(data)):
            raise ValueError("unpacks to more than it has")  # We write nothing compressed.
        head = json.loads(self._file["head"].tobytes())
        if head["format"] != _FORMAT:
            raise ValueError("another format")
        self._places = {name: str(n) for n, name in enumerate(head["columns"])}
        self._fixed: dict[str, tuple[str, float]] = head["fixed"]
        self.names = (*self._places, *self._fixed)
        schemas: list[Schema] = [Schema.from_json(one) for one in head["schemas"]]
        self.shards = tuple(
            Held(located(where, (*stamp,)), (*stamp,), episodes, schemas[int(schema)])
            for where, *stamp, episodes, schema in head["shards"]
        )
        self.texts = {name: tuple(head["names"][name]) for name in facts.TEXTS}
        self._count = sum(one.episodes for one in self.shards)
        self._always = {name: self.read(name) for name in _ALWAYS}

    def read(self, name: str) -> Array:
        """Return a column; raises one of _DAMAGE if it is damaged."""
        if name in self._fixed:
            kind, value = self._fixed[name]
            column = np.full(self._count, value, kind)
        else:
            column = self._file[self._places[name]]
        least = 0 if name not in self.texts else int(column.max(initial=facts.NONE)) + 1
        if len(column) != self._count or least > len(self.texts.get(name, ())):
            raise ValueError("not of these episodes")
        return column

    def column(self, name: str) -> Array:
        """Return a column, from the shards if it is damaged.

        Raises:
            FormatError: a shard is damaged, or changed meanwhile.
        """
        try:
            return self._always[name] if name in self._always else self.read(name)
        except _DAMAGE:
            return self._again(name)

    @cached_property
    def _made(self) -> Facts:
        """The facts as the shards have them now."""
        with suppress(OSError):
            self._path.unlink()
        return Holdings.join([_read(one.path, one.stamp) for one in self.shards]).facts

    def _again(self, name: str) -> Array:
        """Return a column as the shards have it, if they hold what the file says that they do."""
        try:
            if np.array_equal(self._made.columns["rows"], self._always["rows"]):
                return facts.recoded(self._made, name, self.texts)
        except KeyError:  # A text that is not in the file.
            pass
        raise stale(self.shards[0].path)


def _load(path: Path) -> Holdings | None:
    """Return what an index file says; None if there is none, or it is damaged, or of old."""
    try:
        stored = _Stored(path, files.read(path, _MOST_BYTES))
        columns = Columns(stored.names, stored.column)
        if not {*facts.TEXTS, *facts.WHOLE, "digest"} <= {*columns}:
            return None
    except _DAMAGE:
        return None
    return Holdings(stored.shards, Facts(stored.texts, columns))


def _parts(data: bytes) -> list[zipfile.ZipInfo]:
    """Return what a ZIP file says of its parts."""
    with zipfile.ZipFile(BytesIO(data)) as file:
        return file.infolist()


def _save(path: Path, found: Holdings, kept: Holdings | None) -> None:
    """Keep what finished shards hold, beside what is known of others that are still there."""
    parts = [found.take(n) for n, one in enumerate(found.shards) if one.stamp]
    if kept is not None:
        ours = {one.path for one in found.shards}
        others = [one.path not in ours and _is_there(one.path) for one in kept.shards]
        parts += [kept.take(n) for n, other in enumerate(others) if other]
    with suppress(SandboxError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(path, _packed(Holdings.join(parts)))


def _is_there(path: Location) -> bool:
    """Return whether a shard is there still, as far as that is known without a request."""
    return isinstance(path, Remote) or path.exists()


def _packed(found: Holdings) -> bytes:
    """Return the bytes of an index file."""
    schemas = list(dict.fromkeys(one.schema for one in found.shards))
    fixed, varied = dict[str, tuple[str, float]](), dict[str, Array]()
    for name, column in found.facts.columns.items():
        if column.ndim == 1 and len(column) and (column == column[0]).all():
            fixed[name] = column.dtype.name, column[0].item()  # Most factors, mostly.
        else:
            varied[name] = column
    head: Mapping[str, Any] = {
        "format": _FORMAT,
        "shards": [
            (str(one.path), *(one.stamp or ()), one.episodes, schemas.index(one.schema))
            for one in found.shards
        ],
        "schemas": [one.to_json() for one in schemas],
        "columns": list(varied),
        "fixed": fixed,
        "names": found.facts.names,
    }
    parts = {str(n): column for n, column in enumerate(varied.values())}
    parts["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    file = BytesIO()
    np.savez(file, **parts)  # pyright: ignore[reportArgumentType]
    return file.getvalue()
