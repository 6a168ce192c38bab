"""How two runs differ: in what they are, in their columns, and in which rows of which episodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.run import identity
from sandbox.run.folder import Folder
from sandbox.run.shard import Shard
from sandbox.trajectory import Schema

MOST = 20  # Episodes that are described.
_OWN = ("run", "digest", "prefix_micro")  # Keys that follow from the run or from other keys.
_Place = tuple[Shard, int]


@dataclass
class Difference:
    """How a run differs from another.

    Attributes:
        identity: what differs in what run.json says, in sentences.
        columns: what differs in the columns, in sentences.
        only_a: number of episodes that the first run alone has.
        only_b: number of episodes that the second run alone has.
        same: number of episodes with the same rows and record in both.
        other: number of episodes that both have, with other rows or another record.
        episodes: how the first of these differ, in sentences.
    """

    identity: list[str] = field(default_factory=list[str])
    columns: list[str] = field(default_factory=list[str])
    only_a: int = 0
    only_b: int = 0
    same: int = 0
    other: int = 0
    episodes: list[str] = field(default_factory=list[str])

    @property
    def none(self) -> bool:
        """Whether the runs are the same."""
        counts = self.only_a + self.only_b + self.other
        return not (self.identity or self.columns or counts)


def diff(a: Folder, b: Folder) -> Difference:
    """Return how two runs, or two trajectory files, differ.

    Episodes are compared by run and number if the two share some, and else by their places. The
    column `run` and the record's `run` differ between any two runs, so they do not count.

    Raises:
        FormatError: one is no run, or damaged.
    """
    found = Difference(_identities(a, b))
    ours, theirs = _schema(a), _schema(b)
    found.columns = _columns(ours, theirs)
    mine, other = _episodes(a), _episodes(b)
    if not mine.keys() & other.keys():
        mine, other = (dict(enumerate(one.values())) for one in (mine, other))
    found.only_a = len(mine.keys() - other.keys())
    found.only_b = len(other.keys() - mine.keys())
    shared = [name for name in ours.names if name in theirs.names and name != "run"]
    for key in [key for key in mine if key in other]:
        text = _unlike(mine[key], other[key], shared)
        found.same += not text
        found.other += bool(text)
        if text and len(found.episodes) < MOST:
            number = key if isinstance(key, int) else f"{key[1]} of run {key[0][:8]}"
            found.episodes.append(f"episode {number}: {text}")
    return found


def _identities(a: Folder, b: Folder) -> list[str]:
    """Return how what two runs are differs; files without a run are nothing in particular."""
    others = [one.derived is not None or one.imported is not None for one in (a, b)]
    known = [one.exists or other for one, other in zip((a, b), others, strict=True)]
    if not all(known):
        return [] if known[0] == known[1] else ["one is a run, and the other a single file."]
    if any(others):
        same = a.run == b.run
        return (
            [] if same else [f"one is {_kind(a)} {a.run[:16]}, the other {_kind(b)} {b.run[:16]}."]
        )
    text = identity.difference(a.identity, b.identity)
    found = [f"the second was made with {text}."] if text else []
    ends = [" + ".join(map(str, one.stages.ends)) for one in (a, b)]
    if ends[0] != ends[1]:
        found.append(f"their stages end at {ends[0]} and {ends[1]} episodes.")
    return found


def _kind(folder: Folder) -> str:
    if folder.imported is not None:
        return "the imported run"
    return "the run" if folder.derived is None else "the derived run"


def _schema(folder: Folder) -> Schema:
    return folder.shards()[0].reader.schema


def _columns(a: Schema, b: Schema) -> list[str]:
    """Return which columns one alone has, or has otherwise."""
    found = [f"the first alone has {name!r}." for name in a.names if name not in b.names]
    found += [f"the second alone has {name!r}." for name in b.names if name not in a.names]
    for name in [name for name in a.names if name in b.names]:
        mine, other = a[name], b[name]
        if (mine.dtype, mine.shape) != (other.dtype, other.shape):
            found.append(
                f"{name!r} is {mine.dtype} {mine.shape} in the first, {other.dtype} {other.shape} "
                "in the second."
            )
    return found


def _episodes(folder: Folder) -> dict[Any, _Place]:
    """Return where each episode is, by its run and number; by its place where records lack them."""
    found: dict[Any, _Place] = {}
    for shard in folder.shards():
        for n, data in enumerate(shard.reader.records):
            number = len(found)
            known = "run" in data and "episode" in data
            found[(str(data["run"]), data["episode"]) if known else number] = (shard, n)
    return found


def _unlike(a: _Place, b: _Place, names: list[str]) -> str:
    """Return the first difference between two episodes, or ""."""
    ours, theirs = (shard.reader.records[n] for shard, n in (a, b))
    if ours.get("digest") == theirs.get("digest") and ours == theirs:
        return ""
    texts = [text for text in (_rows(a, b, names), _records(ours, theirs)) if text]
    return " ".join(texts)


def _rows(a: _Place, b: _Place, names: list[str]) -> str:
    """Return the first row and column in which two episodes differ, or ""."""
    first: tuple[int, str] | None = None
    mine, other = (shard.reader.arrays(n, names) for shard, n in (a, b))
    for name in names:
        at = _first(mine[name], other[name])
        if at is not None and (first is None or at < first[0]):
            first = (at, name)
    if first is None:
        return ""
    row, name = first
    lengths = [len(one[name]) for one in (mine, other)]
    if row >= min(lengths):
        return f"{lengths[0]} rows in the first, {lengths[1]} in the second."
    values = [_short(one[name][row]) for one in (mine, other)]
    return f"row {row} differs first, in {name!r}: {values[0]} and {values[1]}."


def _first(a: NDArray[Any], b: NDArray[Any]) -> int | None:
    """Return the first row in which two columns differ in a byte; None if in none."""
    count = min(len(a), len(b))
    if a.dtype != b.dtype or a.shape[1:] != b.shape[1:]:
        return None  # Said of the columns.
    flat = [np.ascontiguousarray(x[:count]).view(np.uint8).reshape(count, -1) for x in (a, b)]
    unlike = np.flatnonzero((flat[0] != flat[1]).any(axis=1))
    return int(unlike[0]) if len(unlike) else (None if len(a) == len(b) else count)


def _records(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Return the keys in which two records differ, with the values of the first."""
    keys = [key for key in sorted({*a, *b}) if key not in _OWN and a.get(key) != b.get(key)]
    if not keys:
        return ""
    key, more = keys[0], ", ".join(keys[1:6])
    said = f"its record says {key} {a.get(key)!r:.60} and {b.get(key)!r:.60}"
    return f"{said}{f'; other {more} too' if more else ''}."


def _short(value: NDArray[Any]) -> str:
    text = " ".join(np.array2string(np.asarray(value), threshold=6, precision=9).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
