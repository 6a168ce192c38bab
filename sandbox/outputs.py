"""Where a command writes a file that its user names: never over something else that matters."""

import os
from collections.abc import Callable
from pathlib import Path

from sandbox import content, files
from sandbox.errors import InvalidInputError, SandboxError

_RUNS = ("run.json", "derived.json", "imported.json")  # A folder with one of these is a run.
_OURS = ("keys", "prices", "locks", "cache", "verdicts")  # Folders in the home, beside its ledger.


def check(path: Path, own: str = "", is_ours: Callable[[Path], bool] | None = None) -> None:
    """Refuse to write a file where it would replace, or lie among, what others need.

    Args:
        path: the file to write.
        own: the name, without ending, that the command may write directly in a run folder.
        is_ours: says of a file that exists whether the command may replace it; None: any file.

    Raises:
        InvalidInputError: it is no place for this file. Nothing was written.
        SandboxError: nobody may write there.
    """
    real = path.parent.resolve() / path.name
    _check_kind(path)
    _check_home(path, real)
    for folder in real.parents:
        name = real.relative_to(folder).parts[0]
        if any((folder / run).is_file() for run in _RUNS) and not (
            own and name.split(".")[0] == own
        ):
            raise InvalidInputError(
                f"{path}: lies inside the run {folder}, whose files are not replaced or added to. "
                "Name a place outside it."
            )
    if is_ours is not None and path.is_file() and not _holds(path, is_ours):
        raise InvalidInputError(
            f"{path}: is another file, which would be lost. Name a new file, or remove it first."
        )
    _check_permission(path)


def _check_kind(path: Path) -> None:
    """Refuse to replace a link, a pipe, a socket or a device."""
    if path.is_symlink():
        raise InvalidInputError(
            f"{path}: is a link, which is not followed; name the file itself, or another."
        )
    files.refuse_special(path, InvalidInputError)


def _check_permission(path: Path) -> None:
    """Refuse a path in a folder that may not be written, before there is work for it."""
    folder = next((one for one in path.parents if os.path.exists(one)), path)
    may = os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    if folder.is_dir() and not may:
        raise SandboxError(
            f"{path}: cannot be written: nothing may be written in {folder}. Name another place."
        )


def _check_home(path: Path, real: Path) -> None:
    """Refuse the ledger, keys, prices and what else the home keeps for itself."""
    home = content.home().resolve()
    if real.is_relative_to(home) and real != home:
        name = real.relative_to(home).parts[0]
        if name in _OURS or name.startswith("ledger."):
            raise InvalidInputError(
                f"{path}: is the place of the ledger, keys and prices. Name a place outside {home}."
            )


def _holds(path: Path, is_ours: Callable[[Path], bool]) -> bool:
    try:
        return is_ours(path)
    except SandboxError:
        return False
