"""Asset files of a scene: found by path, identified by the SHA-256 of their bytes."""

import hashlib
import importlib.util
from pathlib import Path

from sandbox.errors import InvalidInputError


def asset(path: str) -> Path:
    """Return the path of an asset, given as an absolute path or one below pybullet_data.

    Raises:
        InvalidInputError: there is no such file.
    """
    spec = importlib.util.find_spec("pybullet_data")
    roots = list(spec.submodule_search_locations or []) if spec else []
    for candidate in [Path(path)] if Path(path).is_absolute() else [Path(r) / path for r in roots]:
        if candidate.is_file():
            return candidate
    raise InvalidInputError(
        f"no asset {path!r}: give an absolute path, or one below pybullet_data "
        f"({', '.join(roots)})."
    )


def sha256_of(path: str) -> str:
    """Return the SHA-256 of an asset's bytes, 64 hex digits."""
    return hashlib.sha256(asset(path).read_bytes()).hexdigest()
