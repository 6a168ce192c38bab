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

MESHES = (".obj", ".stl", ".ply", ".off")
MOST_BYTES = {".urdf": 4 << 20, **dict.fromkeys(MESHES, 8 << 20), ".obj": 16 << 20}
MOST_WORDS = 2_000_000  # Of a mesh: parsers take seconds and a gigabyte for more.
MOST_PARTS = 10_000
LONGEST_LINE = 4_000  # Of an OBJ file: a face of more corners is no face.


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
    kind = path.suffix.lower()
    data = files.read(path, MOST_BYTES.get(kind, files.MOST_BYTES), InvalidInputError)
    if kind in MESHES and (fault := _overlarge(data, kind)):
        raise InvalidInputError(f"{path}: {fault}; make the mesh coarser.")
    return data


def _overlarge(data: bytes, kind: str) -> str:
    """Return what a mesh has too much of, or ""."""
    words = sum(data.count(space) for space in (b" ", b"\n", b"\t", b"\r", b"\v", b"\f"))
    if words > MOST_WORDS:
        return f"about {words:,} words, and a mesh has at most {MOST_WORDS:,}"
    if kind != ".obj":
        return ""
    parts = sum(data.count(word) for word in (b"usemtl", b"\no", b"\ng", b"\ns"))
    if parts > MOST_PARTS:
        return f"{parts:,} parts and materials, and a mesh has at most {MOST_PARTS:,}"
    longest = max(map(len, data.splitlines()), default=0)
    return f"a line of more than {LONGEST_LINE:,} bytes" if longest >= LONGEST_LINE else ""


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
        InvalidInputError: it is a link, a folder, a pipe, a device, or too large.
    """
    relative = name.partition("://")[2] or name
    for folder in (urdf.parent, *urdf.parent.parents):
        found = Path(f"{folder}/{relative}")
        if relative and "\0" not in relative and os.path.lexists(found):
            found = _checked(found)
            state = found.stat()
            _read_once(found, state.st_mtime_ns, state.st_size)
            return found
    return None


@functools.lru_cache(maxsize=256)
def _read_once(path: Path, changed_ns: int, size: int) -> None:
    """Read a file to see that it can be, unless that was seen before."""
    read(path)


def is_installed(path: Path) -> bool:
    """Return whether a path is below pybullet_data, which is no stranger's."""
    return any(path.is_relative_to(root) for root in _roots())


def _checked(path: Path) -> Path:
    """Return the path of a regular file that is no link; what is installed may be links."""
    if is_installed(path):
        path = path.resolve()
    with files.opened(path, InvalidInputError):
        return path


@functools.cache
def _roots() -> list[Path]:
    """Return the folders of pybullet_data."""
    spec = importlib.util.find_spec("pybullet_data")
    return [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
