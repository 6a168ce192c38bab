"""Where a ledger is: the file or the server that a place names."""

import os
import re
from pathlib import Path

from sandbox import content, files
from sandbox.errors import InvalidInputError, SandboxError
from sandbox.ledger.database import Store
from sandbox.ledger.sqlite import FileStore

LEDGER = "SANDBOX_LEDGER"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SERVER = ("postgresql", "postgres")


def store(place: str | Path | None, *, read_only: bool, vfs: str | None) -> Store:
    """Return the store that a place names.

    Args:
        place: a path, or a URL; None is $SANDBOX_LEDGER, else `ledger.db` in `content.home()`.
        read_only: neither make nor change the ledger.
        vfs: the name of the SQLite VFS that opens a file; None is SQLite's default.

    Raises:
        InvalidInputError: the URL is of no server that can hold a ledger, or cannot be read.
        SandboxError: the package for the server is not installed.
    """
    named = os.environ.get(LEDGER) if place is None else place
    url = _URL.match(named) if isinstance(named, str) else None
    if url is None:
        path = files.place(named) if named else content.home() / "ledger.db"
        return FileStore(path, read_only=read_only, vfs=vfs)
    if url[1] not in _SERVER:
        raise InvalidInputError(
            f"a ledger at {url[0]}...: give the path of a file, or a URL that begins with "
            "postgresql://."
        )
    try:
        from sandbox.ledger.server import ServerStore
    except ImportError as error:
        raise SandboxError(
            f"a ledger on a server needs psycopg, which cannot be imported ({error}). "
            '`pip install "worldmodel-sandbox[postgres]"` installs it.'
        ) from None
    return ServerStore(str(named), read_only=read_only)
