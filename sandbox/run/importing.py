"""Write an imported run: rows that others made, in shards like those of any run."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import files, jsonfile
from sandbox.errors import FormatError, RunConflictError
from sandbox.run.filling import HOLD_BYTES
from sandbox.run.folder import MANIFEST, Folder
from sandbox.run.imported import FORMAT, IMPORTED, Imported
from sandbox.run.locks import LOCK, lock
from sandbox.trajectory import Episode, Rows, Schema, ShardWriter

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Arrived:
    """An episode that comes from somewhere else.

    Attributes:
        rows: its rows, by our convention, with every column of the schema but `episode_idx`.
        seed: the seed that its source names; None if it names none.
        told: what its source says of it besides, plain JSON.
    """

    rows: Rows
    seed: int | None = None
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])


def write(
    path: Path,
    source: Path,
    known: Imported,
    schema: Schema,
    episodes: Iterable[Arrived],
    progress: Progress,
) -> int:
    """Write an imported run; go on with one that a kill left. The bytes are the same.

    Args:
        path: the folder; made if it does not exist.
        source: where the episodes come from, for messages.
        known: what it says of itself.
        schema: the columns.
        episodes: the episodes, in order.
        progress: is told how many episodes are written, and of how many.

    Returns:
        The number of rows.

    Raises:
        RunConflictError: the folder holds something else, or another process is writing it.
        FormatError: an episode breaks a rule, or their number is another. What was written is
            removed: the same episodes would break it again.
        SandboxError: the folder cannot be written, or the episodes cannot be read here and now.
            What was kept is kept.
    """
    fresh = not path.exists()
    with lock(path, make=True):
        _begin(path, known)
        try:
            return _write(path, known, schema, episodes, progress)
        except FormatError as error:
            text = str(error).rstrip(".")
            if not text.startswith((str(source), str(path))):
                text = f"{source}: {text}"
            if (path / MANIFEST).exists():  # It was whole before.
                raise FormatError(f"{text}.") from error
            _remove(path, whole=fresh)
            raise FormatError(f"{text}. Nothing was kept.") from error


def _write(
    path: Path,
    known: Imported,
    schema: Schema,
    episodes: Iterable[Arrived],
    progress: Progress,
) -> int:
    """Write the shards that are missing, and the manifest; return the number of rows."""
    coming = iter(episodes)
    for number in range(known.stages.shards):
        _shard(path, known, schema, number, coming, progress)
    if next(coming, None) is not None:
        raise FormatError(f"has more than {known.episodes} episodes.")
    folder = Folder(path)
    manifest = of_folder(folder)
    folder.close()
    jsonfile.write(path / MANIFEST, manifest)
    return int(manifest["rows"])


def _remove(path: Path, *, whole: bool) -> None:
    """Remove what an import has written into a folder, and the folder if it is `whole` its own."""
    shards = path / "shards"
    with suppress(OSError):  # What cannot be removed is left, and the error is said all the same.
        for one in shards.glob("shard-*"):
            one.unlink()
        shards.rmdir()
        (path / IMPORTED).unlink()
        if whole:
            (path / LOCK).unlink()
            path.rmdir()


def of_folder(folder: Folder) -> dict[str, Any]:
    """Return the manifest of an imported run: its files."""
    known = folder.imported
    assert known is not None, "an imported run"
    shards = folder.shards()
    return {
        "format": FORMAT,
        "run": known.run,
        "imported": known.source,
        "episodes": sum(len(one.reader) for one in shards),
        "rows": sum(one.reader.rows for one in shards),
        "shards": {one.path.name: files.sha256(one.path) for one in shards},
    }


def _begin(path: Path, known: Imported) -> None:
    """Write what says where it comes from; or check it."""
    if (path / IMPORTED).exists():
        if jsonfile.read(path / IMPORTED).data != known.plain:
            raise RunConflictError(
                f"{path}: holds another import. Nothing was done. Give another --out."
            )
    elif any(not one.name.startswith(".") for one in path.iterdir()):
        raise RunConflictError(
            f"{path}: this folder holds something else. Nothing was done. Give another --out."
        )
    else:
        jsonfile.write(path / IMPORTED, known.plain)
    files.refuse_links(path, path / "shards")
    (path / "shards").mkdir(exist_ok=True)


def _shard(
    path: Path,
    known: Imported,
    schema: Schema,
    number: int,
    coming: Iterable[Arrived],
    progress: Progress,
) -> None:
    """Write one shard, or pass over its episodes if it is finished."""
    at, numbers = path / "shards" / f"shard-{number:05d}.h5", known.stages.shard(number)
    arriving = iter(coming)
    if at.exists():
        for _ in numbers:
            next(arriving, None)
        return
    header, kind = known.header(number), known.compression
    with ShardWriter.resume(at, schema, header, kind, hold_bytes=HOLD_BYTES) as writer:
        kept = len(writer.records)
        for place, episode in enumerate(numbers):
            arrived = next(arriving, None)
            if arrived is None:
                raise FormatError(f"has {episode} episodes, not {known.episodes}.")
            if place >= kept:
                _append(writer, known, episode, arrived)
            progress(episode + 1, known.episodes)


def _append(writer: ShardWriter, known: Imported, number: int, arrived: Arrived) -> None:
    """Write an episode with its record; FormatError, which names it, if it breaks a rule."""
    rows = {**arrived.rows, "episode_idx": np.full(len(arrived.rows["step_idx"]), number, np.int64)}
    with np.errstate(all="ignore"):
        total = float(rows["reward"].sum())
    facts = {
        "seed": arrived.seed,
        "steps": len(rows["step_idx"]) - 1,
        "return": total,
        "imported": dict(arrived.told),
    }
    try:
        if not math.isfinite(total):
            raise FormatError(f"its rewards add up to {total}, which is no return.")
        writer.append(Episode(rows, known.record(number, facts)))
    except FormatError as error:
        raise FormatError(f"episode {number}: {error}") from None
