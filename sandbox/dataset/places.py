"""Which shards are meant by a path, several, or a glob."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from sandbox import files
from sandbox.dataset import remote_places
from sandbox.errors import FormatError, InvalidInputError, shown
from sandbox.remote.location import Location, Remote, is_url
from sandbox.run.folder import RUN, Folder
from sandbox.trajectory import shards
from sandbox.trajectory.shard import PART

Source = str | Path | Sequence[str | Path]
_ENDS = (".h5", f".h5{PART}")  # Of the files that a glob means.


def given(source: Source) -> list[str | Path]:
    """Return the paths that one or several name; InvalidInputError if these are none."""
    several: Any = [source] if isinstance(source, str | os.PathLike) else source
    paths: list[Any] = list(cast(Any, several)) if isinstance(several, Iterable) else [several]
    wrong = [one for one in paths if not isinstance(one, str | os.PathLike)]
    if wrong or not paths:
        raise InvalidInputError(
            f"dataset of {shown(wrong[0] if wrong else paths)}: give the path of a run, a list of "
            "paths, or a glob."
        )
    return paths


def shard_paths(named: Sequence[str | Path]) -> list[Location]:
    """Return the shards of runs, in the order of their paths, however they are named.

    Args:
        named: shards, folders of runs, folders of such folders, globs or URLs of these.

    Raises:
        FormatError: nothing is there.
        InvalidInputError: a shard is named twice.
        UnreadableError: a folder cannot be read here and now.
    """
    found = [path for one in named for path in _named(one)]
    _refuse_twins(found)
    return sorted(found, key=_order)


def _order(path: Location) -> tuple[tuple[str, ...], int, str]:
    name = _final(path).name
    parts = path.parent.parts if isinstance(path, Path) else (path.parent.url,)
    return parts, len(name), name  # Shard 100,000 comes after shard 99,999.


def _final(path: Location) -> Location:
    """Return the path of a shard when it is finished."""
    return path.with_name(path.name.removesuffix(PART))


def _named(one: str | Path) -> list[Location]:
    """Return the shards that one path, URL or glob means."""
    if is_url(one):
        return [*remote_places.shards(str(one))]
    path = files.place(one)
    try:
        if path.exists() or not glob.has_magic(str(one)):
            return [*_inside(path)] or [*shards(path)]  # It says what is missing.
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        likely = [match for match in matches if match.is_dir() or match.name.endswith(_ENDS)]
        found = dict.fromkeys(path for match in likely for path in _inside(match))
    except OSError as error:
        raise files.unreadable(path, error) from None
    if not found:
        raise FormatError(
            f"{one}: none of the {len(matches)} paths that match is a run or a trajectory file "
            "with episodes; give another."
        )
    return [path for path in found if path.name.endswith(_ENDS[0]) or _final(path) not in found]


def _inside(path: Path) -> Iterator[Path]:
    """Yield the shards of a shard file, a run, or the runs in a folder, as far as there are any."""
    own = Folder(path).paths(missing_ok=True)
    yield from own
    if own or not path.is_dir() or (path / RUN).exists():
        return
    for child in sorted(path.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            yield from Folder(child).paths(missing_ok=True)


def _refuse_twins(found: list[Location]) -> None:
    """Refuse a shard that is named twice, by whatever names."""
    seen: dict[object, Location] = {}
    for path in found:
        try:
            known = path if isinstance(path, Remote) else os.stat(path)
        except OSError:  # Finished meanwhile: its reader finds it, or says what is wrong.
            continue
        place = known if isinstance(known, Remote) else (known.st_dev, known.st_ino)
        other = seen.setdefault(place, path)
        if other is not path:
            raise InvalidInputError(
                f"{path}: is {'named twice' if other == path else f'the same file as {other}'}; "
                "name each run once."
            )
