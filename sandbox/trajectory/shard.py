"""The names of a shard's files, and how to list the shards of a run.

`shard-00000.h5` is a finished shard and `shard-00000.h5.part` one under way. Beside either,
`shard-00000.episodes.jsonl` has the episodes' records, one line of canonical JSON each.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from sandbox import files
from sandbox.errors import FormatError

PART = ".part"
_NAME = re.compile(r"shard-(\d{5}|[1-9]\d{5,})\.h5(\.part)?")


def part_path(path: Path) -> Path:
    """Return the path of the shard `path` while it grows."""
    return path.with_name(path.name + PART)


def sidecar_path(path: Path) -> Path:
    """Return the path of the records of the shard `path`, finished or growing."""
    return path.with_name(f"{path.name.removesuffix(PART).removesuffix('.h5')}.episodes.jsonl")


def number_of(path: Path) -> int:
    """Return the number in a shard's name, finished or growing; FormatError if it has another."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise FormatError(f"{path}: is not called as a run's shards are, such as shard-00000.h5.")
    return int(found[1])


def shards(run: str | Path, *, missing_ok: bool = False) -> list[Path]:
    """Return the paths of a run's shards in order; a growing shard has its `.part` name.

    Args:
        run: the folder of the run, or the file of one shard.
        missing_ok: return no path, instead of raising, if there is no shard.

    Raises:
        FormatError: there is no shard, or `shards` is a link. The run's folder may be one.
        UnreadableError: the folder cannot be read here and now.
    """
    run = files.place(run)
    if run.is_file():
        return [run]
    if (run / "shards").is_symlink():
        raise FormatError(
            f"{run / 'shards'}: is a link, which is not followed; put the folder itself there."
        )
    try:
        listed = os.listdir(run / "shards")
    except (FileNotFoundError, NotADirectoryError):
        listed = []
    except OSError as error:
        raise files.unreadable(run / "shards", error) from None
    found = {final: run / "shards" / name for final, name in named(listed).items()}
    if not found and not missing_ok:
        raise FormatError(
            f"{run}: {'no shards/shard-*.h5 here' if run.exists() else 'does not exist'}; give the "
            "folder of a run, or a trajectory file."
        )
    return list(found.values())


def named(listed: Iterable[str]) -> dict[str, str]:
    """Return the shards among the names of a folder's files, in order, by their final names."""
    found: dict[str, str] = {}
    for name in sorted(filter(_NAME.fullmatch, listed), reverse=True):  # No copies beside them.
        found[name.removesuffix(PART)] = name  # Replaces its `.part`.
    return {final: found[final] for final in sorted(found, key=lambda name: (len(name), name))}
