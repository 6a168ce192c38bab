"""What a run folder holds besides its shards: plain JSON, written whole and read as untrusted."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, cast

from sandbox.errors import FormatError, SandboxError
from sandbox.recipe import Recipe

FORMAT = 1


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a run folder says it is.

    Raises:
        FormatError: no run, damaged, or of another format.
    """
    path = folder / "run.json"
    if not path.exists():
        raise FormatError(f"{folder}: no run.json here; this is no run folder.")
    known = read_json(path)
    if known.get("format") != FORMAT or not isinstance(known.get("run"), str):
        raise FormatError(f"{path}: not of run format {FORMAT}; use the version that wrote it.")
    return known


def recipe_of(folder: Path) -> Recipe:
    """Return the recipe of a run folder; FormatError if there is none that is valid."""
    try:
        return Recipe.model_validate(read_run(folder)["recipe"])
    except (KeyError, ValueError) as error:
        raise FormatError(f"{folder / 'run.json'}: its recipe is not valid: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; FormatError if it holds none."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: cannot be read: {error}.") from None
    if not isinstance(data, dict):
        raise FormatError(f"{path}: holds no JSON object.")
    return cast(dict[str, Any], data)


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w") as file:
            json.dump(data, file, indent=1, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SandboxError(f"{path}: cannot be written: {error.strerror}.") from error


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
