"""The one way in for files that anybody may have written, and what a path means.

A stranger's folder can hold a link to a file of yours, a pipe that never ends, a device without an
end, a name that is a folder. Here, nothing but a regular file of limited size is opened, and
whatever goes wrong is one line that names the file.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, cast

from sandbox.errors import FormatError, InvalidInputError, SandboxError, UnreadableError

MOST_BYTES = 64 << 20  # Of a file that is read whole.
_HOLES = 100  # A file of which less than one byte in so many is stored is refused.
_LONGEST_NAME = 255  # Bytes that a file system allows.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # A pipe would block.
_REMEDIES = {
    errno.EMFILE: "close other files, or raise the limit with `ulimit -n`",
    errno.ENFILE: "the whole machine has too many; close other programs",
    errno.EACCES: "ask its owner for permission",
    errno.EPERM: "ask its owner for permission",
    errno.EAGAIN: "another process holds it; wait for it",
    errno.ENOMEM: "close other programs, or use a machine with more memory",
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def place(path: str | os.PathLike[str]) -> Path:
    """Return the path that is meant now: absolute, with `~` replaced by the user's folder.

    Raises:
        InvalidInputError: no file can have that name.
        SandboxError: there is no such user, or the current folder is gone.
    """
    try:
        found = Path(os.path.abspath(Path(path).expanduser()))
        longest = max(len(os.fsencode(part)) for part in found.parts)
    except (RuntimeError, OSError) as error:
        raise SandboxError(f"{path}: {error} Give an absolute path.") from None
    except ValueError:
        longest, found = _LONGEST_NAME + 1, Path()
    if longest > _LONGEST_NAME or "\0" in str(found):
        raise InvalidInputError(f"{str(path)[:80]!r}: no file has such a name; give another.")
    return found


def opened(path: Path, kind: type[SandboxError] = FormatError) -> BinaryIO:
    """Open a regular file for reading; nothing else is opened, and no link is followed.

    Args:
        path: the file.
        kind: what is raised if the file is not what it should be.

    Raises:
        FormatError (or `kind`): there is no such file, or it is a link, a folder, a pipe, a device.
        UnreadableError: it cannot be opened here and now.
    """
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise refusal(path, error, kind) from None
    found = os.fstat(fd)
    form = stat.S_IFMT(found.st_mode)
    if form != stat.S_IFREG:
        os.close(fd)
        what = _KINDS.get(form, "no regular file")
        raise kind(f"{path}: is {what}, where a file is wanted; put the file there.")
    if found.st_size > MOST_BYTES and found.st_blocks * 512 * _HOLES < found.st_size:
        os.close(fd)
        raise kind(f"{path}: has {found.st_size:,} bytes, most of which are holes; it is no data.")
    return os.fdopen(fd, "rb")


def read(path: Path, most: int = MOST_BYTES, kind: type[SandboxError] = FormatError) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: the file.
        most: size above which it is refused [bytes].
        kind: what is raised if the file is not what it should be.

    Raises:
        FormatError (or `kind`): as `opened`; or the file is too large.
        UnreadableError: it cannot be read here and now.
    """
    data = begin(path, most + 1, kind)
    if len(data) > most:
        raise kind(f"{path}: larger than {most:,} bytes; such a file is not read.")
    return data


def sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file's bytes; raises as `opened`."""
    with opened(path) as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def lines(
    path: Path, count: int, most: int = MOST_BYTES, kind: type[SandboxError] = FormatError
) -> list[bytes]:
    """Return the first `count` whole lines of a regular file, or all if it has fewer.

    What follows them is not read.

    Args:
        path: the file.
        count: how many lines.
        most: size above which the lines are refused, together [bytes].
        kind: what is raised if the file is not what it should be.

    Raises:
        FormatError (or `kind`): as `opened`; or the lines are too large.
        UnreadableError: it cannot be read here and now.
    """
    found, size = list[bytes](), 0
    with opened(path, kind) as file:
        try:
            while len(found) < count and (line := file.readline(most - size + 1)):
                size += len(line)
                if size > most:
                    raise kind(f"{path}: larger than {most:,} bytes; such a file is not read.")
                if line.endswith(b"\n"):  # Else it is torn, and the last.
                    found.append(line[:-1])
        except (OSError, MemoryError) as error:
            raise unreadable(path, error) from None
    return found


def read_if_there(
    path: Path, most: int = MOST_BYTES, kind: type[SandboxError] = FormatError
) -> bytes | None:
    """Return the bytes of a regular file, or None if nothing has that name; raises as `read`."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise refusal(path, error, kind) from None
    return read(path, most, kind)


def begin(path: Path, count: int, kind: type[SandboxError] = FormatError) -> bytes:
    """Return the first `count` bytes of a regular file, or all if it has fewer; raises as `read`.

    Python makes room for all that it is asked for, so no more is asked for than there is.
    """
    with opened(path, kind) as file:
        try:
            return file.read(min(count, os.fstat(file.fileno()).st_size + 1))
        except (OSError, MemoryError) as error:
            raise unreadable(path, error) from None


def refuse_links(root: Path, path: Path, *, read: bool = False) -> None:
    """Refuse a path inside a folder that is a link, or leads through one: it may lead anywhere.

    Args:
        root: the folder.
        path: the path.
        read: whether it is read; else it is written.

    Raises:
        FormatError: it is one. Nothing was read or written.
    """
    why = "through which nothing is written. Remove it, or name another place."
    why = "which is not followed; put what it leads to there." if read else why
    if not path.is_relative_to(root):
        return
    parts = path.relative_to(root).parts
    for n in range(1, len(parts) + 1):
        if root.joinpath(*parts[:n]).is_symlink():
            raise FormatError(f"{root.joinpath(*parts[:n])}: is a link, {why}")


def refuse_special(path: Path, kind: type[SandboxError] = SandboxError) -> None:
    """Refuse to replace a pipe, a socket or a device by a file; raises `kind`."""
    try:
        form = stat.S_IFMT(path.lstat().st_mode)
    except (OSError, ValueError):
        return  # Whoever writes it says what is wrong.
    if form not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
        raise kind(
            f"{path}: is {_KINDS.get(form, 'no regular file')}, which a file would replace. Name "
            "another place."
        )


def unreadable(path: object, error: OSError | MemoryError) -> UnreadableError:
    """Return the error of a file that cannot be read here and now; the file may be good."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno or 0
    what = os.strerror(number) if number else " ".join(str(error).split())
    remedy = _REMEDIES.get(number, "look at the disk, then try again")
    return UnreadableError(f"{path}: cannot be read: {what}; {remedy}.")


# What a file system without locks says: NFS without its daemon, Lustre without `-o flock`.
REFUSED_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def remedy(error: OSError, other: str) -> str:
    """Return what to do about an error, as a sentence: too many open files, or else `other`."""
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return other
    found = _REMEDIES[error.errno]
    return f"{found[0].upper()}{found[1:]}."


def lacking(count: int) -> OSError | None:
    """Return the error that so many more files cannot be opened now; None if they can.

    It asks for a library that does not say why it could not open a file.
    """
    opened: list[int] = []
    try:
        while len(opened) < count:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error
    finally:
        for fd in opened:
            os.close(fd)
    return None


def refusal(path: Path, error: OSError | ValueError, kind: type[SandboxError]) -> SandboxError:
    """Return the error of a file that cannot be opened: UnreadableError if it may be good."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOENT, errno.ENOTDIR):
        return kind(f"{path}: there is no such file.")
    if number == errno.ELOOP:
        return kind(f"{path}: is a link, which is not followed; put the file itself there.")
    if number == errno.ENXIO:
        return kind(f"{path}: is a socket, where a file is wanted; put the file there.")
    if number == errno.ENAMETOOLONG or isinstance(error, ValueError):
        return kind(f"{str(path)[:80]!r}: no file has such a name; give another.")
    return unreadable(path, error)
