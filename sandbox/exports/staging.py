"""Write a file or a folder whole or not at all: under another name first, then renamed.

A process that is killed leaves a hidden folder `.NAME.exporting` beside the path. The next export
to that path goes on with what is there, if it is the same export of a format of several files, and
else removes it. Ctrl-C and a full disk leave it too if the same export can go on with it, and every
other error removes it at once.
"""

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sandbox import durable, files, outputs
from sandbox.errors import FormatError, InvalidInputError, RunConflictError, SandboxError
from sandbox.trajectory.layout import one_line

_SAME = "same"  # The file that says which export a folder holds.


@contextmanager
def staged(out: Path, own: str = "", same: str = "") -> Generator[Path]:
    """Yield a path to write to; after the block it is at `out`, on the disk.

    Args:
        out: the file or folder; there is nothing yet.
        own: name of the folder in a run below which the command may write.
        same: what only the same export says, if it can go on with what is there; "" if it cannot.

    Raises:
        InvalidInputError: there is something at `out`, or it is no place for an export.
        RunConflictError: another process exports to `out`.
        SandboxError: it cannot be written. Nothing is there.
    """
    refuse(out, own)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = out.parent / _hidden(out)
        with _alone(folder, out):
            kept = False
            try:
                _begin(folder, same)
                yield folder / out.name
                _sync(folder / out.name)
                _refuse_existing(out)
                os.rename(folder / out.name, out)
                durable.sync_folder(out.parent)
            except BaseException as error:
                kept = bool(same) and not isinstance(error, InvalidInputError | FormatError)
                raise
            finally:
                if not kept:
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        rest = "then run the same command again"
        if same:
            rest = f"{rest}, which goes on with {out.parent / _hidden(out)}"
        raise SandboxError(
            f"{out}: cannot be written: {error.strerror or one_line(error)}. Nothing is there; "
            f"make room or name another place, {rest}."
        ) from error


def refuse(out: Path, own: str = "") -> None:
    """Refuse a path at which something is, or that is no place for an export.

    Raises:
        InvalidInputError: it is one.
    """
    _refuse_existing(out)
    outputs.check(out, own)


def protect(path: Path) -> None:
    """Make HDF5 files read-only: what is written to a view is written to the shards."""
    for one in (path, *path.rglob("*")):
        if one.name.endswith((".h5", ".hdf5")) and one.is_file():
            one.chmod(0o444)


def size(path: Path) -> int:
    """Return the size of a file, or of all files in a folder [bytes]."""
    return sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        raise InvalidInputError(
            f"{out}: exists already, and nothing is replaced. Name a new path, or remove it first."
        )


@contextmanager
def _alone(folder: Path, out: Path) -> Generator[None]:
    """Hold a folder that is this process's own; it is made if it does not exist.

    Raises:
        RunConflictError: another process holds it.
    """
    files.refuse_special(folder, InvalidInputError)
    folder.mkdir(exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(fd), os.stat(folder))
        except (BlockingIOError, FileNotFoundError):
            held = False
        if not held:
            raise RunConflictError(
                f"{out}: another process writes there. Wait for it, or name another path."
            )
        yield
    finally:
        os.close(fd)


def _hidden(out: Path) -> str:
    """Return the name of the folder in which an export is written."""
    return f".{out.name}.exporting"


def _begin(folder: Path, same: str) -> None:
    """Remove what another export has left in the folder; note which one this is."""
    said = folder / _SAME
    if same and said.is_file() and files.read(said) == same.encode():
        return
    _clear(folder)
    if same:
        durable.create(said, same.encode())


def _clear(folder: Path) -> None:
    """Remove what an export that was killed has left in its folder."""
    for one in folder.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()


def _sync(path: Path) -> None:
    """Return when the disk has a file, or a folder and all that is in it."""
    inside = [path, *path.rglob("*")] if path.is_dir() else [path]
    for one in inside:
        sync(one)


def sync(path: Path) -> None:
    """Return when the disk has a file, or the names in a folder."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
