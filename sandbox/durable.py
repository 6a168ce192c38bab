"""Files that survive a crash: each is written whole or not at all, and synced with its folder.

A file is durable only when the disk has its bytes and the folder's entry that names it, so every
function here syncs both. None writes through a link: a link in a stranger's folder could lead to a
file of yours.
"""

import os
from contextlib import suppress
from pathlib import Path

from sandbox import files
from sandbox.errors import SandboxError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MORE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, replacing an existing one; return when the disk has it.

    Raises:
        SandboxError: the file cannot be written; it has its old content or the new one, whole. Or
            it is a pipe, a socket or a device, which is left as it is.
    """
    files.refuse_special(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, _NEW, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)  # A link of that name is replaced, not followed.
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        remedy = "Make room or get permission there, or name another place."
        raise SandboxError(
            f"{path}: cannot be written: {error.strerror}. {files.remedy(error, remedy)}"
        ) from error


def create(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a new file whole or not at all; return when the disk has it.

    Args:
        path: the path of a file that does not exist yet.
        data: its bytes.
        mode: its permissions, less the process's umask.

    Raises:
        FileExistsError: there is such a file; it is unchanged.
        OSError: the file cannot be written; none is left.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    fd = os.open(temporary, _NEW, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink()
    try:
        sync_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def append(path: Path, offset: int, data: bytes) -> None:
    """Cut a file at `offset` and append bytes there; return when the disk has them.

    Makes the file if it does not exist. A crash may leave a part of `data` at the end: the caller
    must be able to tell a torn end.

    Raises:
        SandboxError: the file cannot be written; its first `offset` bytes are unchanged.
    """
    try:
        with os.fdopen(os.open(path, _MORE, 0o666), "ab") as file:
            file.truncate(offset)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise SandboxError(f"{path}: cannot be written: {error.strerror}.") from error


def sync_folder(folder: Path) -> None:
    """Return when the disk has the names in `folder`; OSError if it cannot."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however often the system takes only a part; OSError if it cannot."""
    while data:
        data = data[os.write(fd, data) :]
