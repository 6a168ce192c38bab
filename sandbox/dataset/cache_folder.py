"""The folders of decoded rows: one a shard, which names the shard and its size and times."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox import content, durable, files, jsonfile
from sandbox.errors import SandboxError
from sandbox.remote.location import Location, Remote, is_url
from sandbox.trajectory.shard import PART

ABOUT, LOCK = "about.json", ".lock"
FORMAT = 1  # Of what is in a folder; another is not read.
_MOST_ABOUT = 1 << 16  # Bytes of ABOUT; a path is shorter.
_NAME = re.compile("[0-9a-f]{32}-[0-9a-f]{32}")


@dataclass(frozen=True)
class Held:
    """What a folder holds.

    Attributes:
        folder: the folder.
        shard: path or URL of the shard whose rows these are.
        size: what it takes of the disk [bytes].
        current: whether the shard is still there, as it was; true of a remote one.
    """

    folder: Path
    shard: str
    size: int
    current: bool


def default() -> Path:
    """Return where decoded rows are kept if no folder is named."""
    return content.cache() / "decoded"


def is_finished(shard: Location) -> bool:
    """Return whether a shard does not change any more: only such a one is cached."""
    if isinstance(shard, Remote):
        return True
    return not shard.name.endswith(PART) and shard.is_file()


def of(root: Path | None, shard: Location) -> Path | None:
    """Return the folder of a shard; None if there is no root."""
    if root is None:
        return None
    if isinstance(shard, Remote):
        stamp = [FORMAT, *shard.stamp]
    else:
        found = shard.lstat()
        stamp = [FORMAT, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    return root / f"{_short([str(shard)])}-{_short(stamp)}"


def make(folder: Path) -> None:
    """Make the folder of a shard.

    Raises:
        FormatError: a link stands there.
        OSError: it cannot be made.
    """
    files.refuse_links(folder.parent, folder)
    folder.mkdir(exist_ok=True)


def describe(folder: Path, shard: Location) -> None:
    """Say whose rows a folder has, and remove those of what the shard was before.

    The caller holds the folder's lock.

    Raises:
        SandboxError: it cannot be written.
    """
    about = folder / ABOUT
    if not about.exists():
        durable.replace(about, json.dumps({"format": FORMAT, "shard": str(shard)}).encode())
    for other in folder.parent.glob(f"{folder.name.partition('-')[0]}-*"):
        if other != folder and not other.is_symlink():
            shutil.rmtree(other, ignore_errors=True)


def size(folder: Path, columns: Iterable[str] | None = None) -> int:
    """Return what the files of a folder take of the disk, all or those of columns [bytes]."""
    total = 0
    with suppress(OSError):
        for entry in os.scandir(folder):
            if columns is None or entry.name.rpartition(".")[0] in columns:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def listed(root: Path) -> list[Held]:
    """Return the folders of decoded rows in a folder, in the order of their shards."""
    return sorted(_listed(root), key=lambda held: (held.shard, held.folder))


def clear(root: Path) -> list[Held]:
    """Remove all decoded rows in a folder, and nothing else; return what was there.

    Raises:
        SandboxError: some cannot be removed; all others were.
    """
    found, left = listed(root), list[str]()
    for held in found:
        try:
            shutil.rmtree(held.folder)
        except OSError as error:
            left.append(f"{held.folder}: cannot be removed: {error.strerror or error}")
    if left:
        others = f", nor can {len(left) - 1} others" if len(left) > 1 else ""
        raise SandboxError(
            f"{left[0]}{others}. {len(found) - len(left)} were removed. Get permission there."
        )
    return found


def _listed(root: Path) -> Iterator[Held]:
    for folder in root.iterdir() if root.is_dir() else ():
        if not _NAME.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            shard = str(jsonfile.read(folder / ABOUT, _MOST_ABOUT).data.get("shard", ""))
        except SandboxError:  # Half made, or damaged: it takes room all the same.
            shard = ""
        yield Held(folder, shard, size(folder), _is_current(folder, shard))


def _is_current(folder: Path, shard: str) -> bool:
    if is_url(shard):
        return True
    try:
        return of(folder.parent, Path(shard)) == folder
    except (OSError, ValueError):
        return False


def _short(parts: list[str] | list[int]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
