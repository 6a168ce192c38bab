"""What a run folder holds besides its shards: plain JSON, written whole and read as untrusted."""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from sandbox.errors import FormatError, SandboxError
from sandbox.run.recipe import Recipe
from sandbox.scenario import Scenario
from sandbox.trajectory.shard import sync_folder

FORMAT = 3
LEDGER = ".ledger.json"  # No part of the dataset: another book gives the same bytes.
DEEPEST = 32  # Levels of JSON.
_KEYS: dict[str, tuple[type, ...]] = {  # Of run.json.
    "run": (str,),
    "recipe": (dict,),
    "scenario": (dict,),
    "engine": (dict,),
    "renderer": (dict, type(None)),
    "price_version": (str,),
    "prices": (str,),
    "parent": (str, type(None)),
    "plan": (dict, type(None)),
    "code": (str,),
}
_HEX = re.compile("[0-9a-f]{32} [0-9a-f]{16}")


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a run folder says it is.

    Raises:
        FormatError: no run, damaged, or of another format.
    """
    path = folder / "run.json"
    if not path.exists():
        raise FormatError(f"{folder}: no run.json here; this is no run folder.")
    known = read_json(path)
    if known.get("format") != FORMAT:
        raise FormatError(f"{path}: not of run format {FORMAT}; use the version that wrote it.")
    for name, kinds in _KEYS.items():
        if not isinstance(known.get(name, ...), kinds):
            raise FormatError(f"{path}: {name!r} is missing or damaged; restore it from a copy.")
    return known


def recipe_of(folder: Path) -> Recipe:
    """Return the recipe of a run folder; FormatError if there is none that is valid."""
    try:
        return Recipe.model_validate(read_run(folder)["recipe"])
    except (KeyError, ValueError) as error:
        raise FormatError(f"{folder / 'run.json'}: its recipe is not valid: {error}") from None


def scenario_of(folder: Path) -> Scenario:
    """Return the scenario of a run folder; FormatError if there is none that is valid."""
    try:
        return Scenario.model_validate(read_run(folder)["scenario"])
    except (KeyError, ValueError) as error:
        raise FormatError(f"{folder / 'run.json'}: its scenario is not valid: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file that anybody may have written.

    Raises:
        FormatError: it holds none, or one that has a key twice, a number that is none, text that is
            not Unicode, or more levels than anything here.
    """
    try:
        data = json.loads(path.read_bytes().decode(), object_pairs_hook=_once)
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: cannot be read: {error}.") from None
    if not isinstance(data, dict):
        raise FormatError(f"{path}: holds no JSON object.")
    if _levels(data) > DEEPEST:
        raise FormatError(f"{path}: has more than {DEEPEST} levels; restore it from a copy.")
    return cast(dict[str, Any], data)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; ValueError if a key is there twice: JSON would keep the last."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return made


def _levels(data: Any) -> int:
    """Return how deep JSON is nested, counted to one more than there may be."""
    count, level = 0, [data]
    while level and count <= DEEPEST:
        level = [item for one in level for item in _items(one)]
        count += 1
    return count


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast(dict[str, Any], value).values()
    return cast(list[Any], value) if isinstance(value, list) else ()


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file whole or not at all, and return when the disk has it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(json_bytes(data))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SandboxError(f"{path}: cannot be written: {error.strerror}.") from error


def ledger_of(folder: Path) -> dict[str, str]:
    """Return which ledger a run is charged in, and under which leases; {} if none was named.

    Raises:
        FormatError: the file that says so is damaged.
    """
    path = folder / LEDGER
    if not path.exists():
        return {}
    known = read_json(path)
    if not _HEX.fullmatch(f"{known.get('ledger')} {known.get('lease')}"):
        raise FormatError(f"{path}: names no ledger and lease; restore it from a copy.")
    return known


def json_bytes(data: Any) -> bytes:
    """Return the bytes of a JSON file as it is written."""
    return f"{json.dumps(data, indent=1, sort_keys=True)}\n".encode()


def unborn(path: Path) -> bool:
    """Whether a growing shard's writer was killed before its header was written."""
    try:
        return path.name.endswith(".part") and path.stat().st_size <= 4096
    except FileNotFoundError:  # Finished meanwhile: its reader finds it by its final name.
        return False


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
