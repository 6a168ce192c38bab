"""Ask for remote files, again if a connection is cut, and say in one sentence what went wrong."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sandbox.errors import FormatError, SandboxError, UnreadableError
from sandbox.remote import store
from sandbox.remote.location import Remote
from sandbox.remote.store import Range, RefusedError

TRIES = 4
_PAUSE_S = 0.1  # Before the second try; four times as long before each that follows.
_FINAL = (SandboxError, FileNotFoundError, PermissionError, RefusedError)  # Would be so again.
Found = TypeVar("Found")


def found(urls: Sequence[str]) -> list[Remote]:
    """Return files by their URLs, which are all of one kind.

    Raises:
        FormatError: there is no such file.
        InvalidInputError: nothing reads such a URL.
        UnreadableError: it cannot be read here and now.
    """
    if not urls:
        return []
    where = store.at(urls[0])
    stamps = store.each(urls, lambda url: _tried(url, lambda: where.stamp(url)))
    return [Remote(url, stamp) for url, stamp in zip(urls, stamps, strict=True)]


def inside(url: str) -> list[str]:
    """Return the URLs of what is in a folder; none where that cannot be known."""
    where = store.at(url)
    return _tried(url, lambda: where.inside(url))


def matching(pattern: str) -> list[str]:
    """Return the URLs that match a glob; InvalidInputError on a web server."""
    where = store.at(pattern)
    return _tried(pattern, lambda: where.matching(pattern))


def read_if_there(url: str, most: int) -> bytes | None:
    """Return the bytes of a file, or None if there is none.

    Raises:
        FormatError: it is larger than `most` bytes.
        UnreadableError: it cannot be read here and now.
    """
    where = store.at(url)

    def size_if_there() -> int | None:
        try:
            return where.stamp(url)[0]
        except FileNotFoundError:
            return None

    size = _tried(url, size_if_there)
    if size is None:
        return None
    if size > most:
        raise FormatError(f"{url}: larger than {most:,} bytes; such a file is not read.")
    return ranges([(url, 0, size)])[0] if size else b""


def ranges(wanted: Sequence[Range]) -> list[bytes]:
    """Return the bytes of ranges of files, which are all of one kind.

    Raises:
        FormatError: a file is gone, or shorter than it was.
        UnreadableError: they cannot be read here and now.
    """
    where, got = store.at(wanted[0][0]), dict[int, bytes]()
    for attempt in range(TRIES):
        missing = [n for n in range(len(wanted)) if n not in got]
        answers = where.ranges([wanted[n] for n in missing])
        failed: tuple[str, Exception] | None = None
        for n, answer in zip(missing, answers, strict=True):
            url, start, end = wanted[n]
            if isinstance(answer, bytes) and len(answer) == end - start:
                got[n] = answer
            elif isinstance(answer, _FINAL):
                raise _told(url, answer)
            elif isinstance(answer, bytes):
                failed = url, OSError(f"{len(answer):,} of {end - start:,} bytes came")
            else:
                failed = url, answer
        if failed is None:
            break
        if attempt == TRIES - 1:
            raise _told(*failed) from None
        time.sleep(_PAUSE_S * 4**attempt)
    return [got[n] for n in range(len(wanted))]


def _tried(url: str, call: Callable[[], Found]) -> Found:
    """Return what a call returns, as `_retried`; its errors are those of files of ours."""
    try:
        return _retried(url, call)
    except (FileNotFoundError, PermissionError, RefusedError) as error:
        raise _told(url, error) from None


def _retried(url: str, call: Callable[[], Found]) -> Found:
    """Return what a call returns; call again if the connection is cut."""
    attempt = 0
    while True:
        try:
            return call()
        except _FINAL:
            raise
        except Exception as error:  # Every kind of store has its own.
            if attempt == TRIES - 1:
                raise _told(url, error) from None
        time.sleep(_PAUSE_S * 4**attempt)
        attempt += 1


def _told(url: str, error: Exception) -> SandboxError:
    """Return the error of a file that could not be read."""
    said = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
    if isinstance(error, SandboxError):
        return error
    if isinstance(error, FileNotFoundError):
        return FormatError(f"{url}: there is no such file: {said}; look at its name.")
    if isinstance(error, PermissionError):
        return UnreadableError(f"{url}: access is refused: {said}; give credentials for it.")
    if isinstance(error, RefusedError):
        return UnreadableError(f"{url}: cannot be read: {said}; ask its owner.")
    return UnreadableError(
        f"{url}: cannot be read after {TRIES} tries: {said}; look at the connection, then "
        "try again."
    )
