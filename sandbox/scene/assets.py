"""Asset files of a scene: found by path, identified by the SHA-256 of their bytes.

Those below pybullet_data are installed, perhaps as links. All others may be a stranger's: regular
files of limited size, which are read through `files`; no link is followed.
"""

import functools
import hashlib
import importlib.util
import os
import xml.etree.ElementTree as ET
from pathlib import Path

from sandbox import files
from sandbox.errors import InvalidInputError

MOST_BYTES = {".urdf": 4 << 20, **dict.fromkeys((".obj", ".stl", ".ply", ".off"), 16 << 20)}


def asset(path: str) -> Path:
    """Return the path of an asset, given as an absolute path or one below pybullet_data.

    Raises:
        InvalidInputError: there is no such file, or it is a link, a folder, a pipe, a device.
    """
    roots = _roots()
    for candidate in [Path(path)] if Path(path).is_absolute() else [root / path for root in roots]:
        if os.path.lexists(candidate):
            return _checked(candidate)
    raise InvalidInputError(
        f"no asset {path!r}: give an absolute path, or one below pybullet_data "
        f"({', '.join(map(str, roots))})."
    )


def read(path: Path) -> bytes:
    """Return the bytes of the asset at a path that `asset` returned.

    Raises:
        InvalidInputError: as `asset`; or it is larger than a file of its kind may be.
    """
    most = MOST_BYTES.get(path.suffix.lower(), files.MOST_BYTES)
    return files.read(path, most, InvalidInputError)


def sha256_of(path: str) -> str:
    """Return the SHA-256 of an asset's bytes, 64 hex digits."""
    return hashlib.sha256(read(asset(path))).hexdigest()


def parsed_urdf(path: Path, data: bytes) -> ET.Element:
    """Return the root of a URDF, after looking at every file that it names.

    Whoever loads the URDF opens these files, and would wait for a pipe for ever.

    Raises:
        InvalidInputError: it is no XML, or a file that it names is no regular file.
    """
    try:
        root = ET.fromstring(data)
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: no URDF: {error}.") from None
    for tag in ("mesh", "texture"):
        for node in root.iter(tag):
            named(node.get("filename", ""), path)
    return root


def named(name: str, urdf: Path) -> Path | None:
    """Return the file that a URDF means by a name: below its folder, or below a folder above it.

    Returns:
        None if there is no such file.

    Raises:
        InvalidInputError: it is a link, a folder, a pipe, a device.
    """
    relative = name.partition("://")[2] or name
    for folder in (urdf.parent, *urdf.parent.parents):
        found = Path(f"{folder}/{relative}")
        if relative and "\0" not in relative and os.path.lexists(found):
            return _checked(found)
    return None


def _checked(path: Path) -> Path:
    """Return the path of a regular file that is no link; what is installed may be links."""
    if any(path.is_relative_to(root) for root in _roots()):
        path = path.resolve()
    with files.opened(path, InvalidInputError):
        return path


@functools.cache
def _roots() -> list[Path]:
    """Return the folders of pybullet_data."""
    spec = importlib.util.find_spec("pybullet_data")
    return [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
