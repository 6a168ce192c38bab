"""Where remote files lie, and what can be asked there: web servers, and whatever fsspec reads.

A web server is asked for ranges by Python's own library, and each answer is checked: a server that
ignores the range would send the whole file. Every other kind of URL is fsspec's.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Protocol, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.remote.location import Stamp

Range = tuple[str, int, int]  # URL, first byte, byte after the last.
Answer = bytes | Exception
_TIMEOUT_S = 30.0
_AT_ONCE = 16  # Requests to a web server.
_LOCAL = ("file", "local")
_TAGS = (  # What file systems of fsspec say of a file that changes when the file does.
    *("ETag", "etag", "md5Hash", "content_md5", "generation", "VersionId", "version_id", "blob_id"),
    *("oid", "LastModified", "last_modified", "mtime", "updated", "modified", "created"),
)


class Store(Protocol):
    """What can be asked where files lie."""

    def stamp(self, url: str) -> Stamp:
        """Return the size and version of a file; FileNotFoundError if there is none."""
        ...

    def inside(self, url: str) -> list[str]:
        """Return the URLs of what is in a folder, sorted; none if it cannot be listed."""
        ...

    def matching(self, pattern: str) -> list[str]:
        """Return the URLs that match a glob, sorted."""
        ...

    def ranges(self, wanted: Sequence[Range]) -> list[Answer]:
        """Return the bytes of each range, or what went wrong with it."""
        ...


def at(url: str) -> Store:
    """Return what reads a URL.

    Raises:
        InvalidInputError: nothing does, or it is a path of this machine.
        SandboxError: a package is missing.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return Web()
    if scheme in _LOCAL or "::" in scheme:
        raise InvalidInputError(
            f"{url}: give a file of this machine by its path, and one elsewhere by one protocol "
            "alone; cache='disk' keeps what was read."
        )
    try:
        fsspec: Any = import_module("fsspec")
        return Fsspec(scheme, fsspec.filesystem(scheme))
    except ImportError as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise SandboxError(
            f"{url}: {said}. Install 'worldmodel-sandbox[remote]', and what {scheme}:// needs "
            "besides."
        ) from None
    except ValueError as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise InvalidInputError(f"{url}: {said}; give a URL that fsspec reads.") from None


class Fsspec:
    """A file system of fsspec, set up as its configuration says: FSSPEC_... or its own files.

    Args:
        scheme: how its URLs begin.
        system: the file system.
    """

    def __init__(self, scheme: str, system: Any) -> None:
        self._scheme, self._system = scheme, system

    def stamp(self, url: str) -> Stamp:
        """Return the size and version of a file."""
        return _stamp(cast(dict[str, Any], self._system.info(url)), url)

    def inside(self, url: str) -> list[str]:
        """Return the URLs of what is in a folder."""
        try:
            return self._named(self._system.ls(url, detail=False, refresh=True))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def matching(self, pattern: str) -> list[str]:
        """Return the URLs that match a glob."""
        return self._named(self._system.glob(pattern))

    def ranges(self, wanted: Sequence[Range]) -> list[Answer]:
        """Return the bytes of each range, asked for at once."""
        urls, starts, ends = (list(part) for part in zip(*wanted, strict=True))
        return list(self._system.cat_ranges(urls, starts, ends, on_error="return"))

    def _named(self, found: Sequence[str]) -> list[str]:
        return sorted(self._system.unstrip_protocol(one).rstrip("/") for one in found)


class Web:
    """Web servers, which cannot list what they have."""

    def stamp(self, url: str) -> Stamp:
        """Return the size and version of a file, if the server gives parts of it."""
        with _asked(url, 0, 1) as reply:
            size = str(reply.headers.get("Content-Range", "")).rpartition("/")[2]
            if not size.isdecimal():
                raise FormatError(f"{url}: the server does not say how large the file is.")
            named = {"ETag": reply.headers.get("ETag"), "mtime": reply.headers.get("Last-Modified")}
            return _stamp({"size": int(size), **named}, url)

    def inside(self, url: str) -> list[str]:
        """Return nothing."""
        return []

    def matching(self, pattern: str) -> list[str]:
        """Refuse a glob (InvalidInputError)."""
        raise InvalidInputError(
            f"{pattern}: a web server does not list its files; name each run or shard."
        )

    def ranges(self, wanted: Sequence[Range]) -> list[Answer]:
        """Return the bytes of each range; several are asked for at once."""
        if len(wanted) == 1:
            return [_got(wanted[0])]
        with ThreadPoolExecutor(_AT_ONCE, "sandbox-remote") as pool:
            return list(pool.map(_got, wanted))


def _got(wanted: Range) -> Answer:
    """Return the bytes of a range of a web server's file, or what went wrong."""
    url, start, end = wanted
    try:
        with _asked(url, start, end) as reply:
            return cast(bytes, reply.read(end - start + 1))
    except Exception as error:  # Whoever asked tells them apart.
        return error


def _asked(url: str, start: int, end: int) -> Any:
    """Return a web server's reply of a range; FormatError if it would send something else."""
    headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    try:
        reply: Any = urlopen(Request(url, headers=headers), timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        raise _of_status(error) from None
    first = str(reply.headers.get("Content-Range", ""))
    if reply.status != 206 or not first.startswith(f"bytes {start}-"):
        reply.close()
        raise FormatError(
            f"{url}: the server gives no parts of files (HTTP {reply.status}). Copy the file here, "
            "or use a server that answers ranges."
        )
    return reply


def _of_status(error: HTTPError) -> Exception:
    """Return what a status of HTTP says, as Python's error of files."""
    said = f"HTTP {error.code} {error.reason}"
    if error.code in (404, 410):
        return FileNotFoundError(said)
    if error.code in (401, 403, 407):
        return PermissionError(said)
    passing = error.code in (408, 425, 429) or error.code >= 500
    return OSError(said) if passing else RefusedError(said)


class RefusedError(OSError):
    """A server refuses, and would again."""


def _stamp(info: dict[str, Any], url: str) -> Stamp:
    """Return the stamp of a file of which a file system says so."""
    size = info.get("size")
    if info.get("type", "file") != "file":
        raise FileNotFoundError(f"{url}: is a folder")
    if type(size) is not int or size < 0:
        raise FormatError(f"{url}: it is not said how large the file is; copy it here.")
    tags = [f"{name} {info[name]}" for name in _TAGS if info.get(name) is not None]
    digest = hashlib.sha256("\n".join(tags).encode()).digest()
    return size, int.from_bytes(digest[:7], "big"), 0


def each(urls: Sequence[str], ask: Callable[[str], Stamp]) -> list[Stamp]:
    """Return what `ask` returns for each URL; several are asked for at once."""
    if len(urls) == 1:
        return [ask(urls[0])]
    with ThreadPoolExecutor(_AT_ONCE, "sandbox-remote") as pool:
        return list(pool.map(ask, urls))
