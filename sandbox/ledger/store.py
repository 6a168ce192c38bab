"""The ledger's file: one SQLite database whose rows are only ever added."""

import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from sandbox.errors import LedgerError

APPLICATION_ID = 0x5B0C0001  # In the file's header: this is a ledger of ours.
FORMAT = 1
Sql = Callable[..., list[tuple[Any, ...]]]
BUSY_MS = 30_000

_TABLES = """
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    mode TEXT NOT NULL CHECK (mode IN ('prepaid', 'postpaid', 'system'))
) STRICT;
CREATE TABLE transfer (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    kind TEXT NOT NULL CHECK (kind IN ('grant', 'reserve', 'post', 'void', 'expire')),
    debit TEXT NOT NULL REFERENCES account (name),
    credit TEXT NOT NULL REFERENCES account (name),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    episode BLOB,
    resolves INTEGER UNIQUE REFERENCES transfer (seq),
    expires INTEGER,
    evidence TEXT,
    quantities TEXT,
    price_version TEXT,
    at TEXT NOT NULL
) STRICT;
CREATE TABLE entry (
    transfer INTEGER NOT NULL REFERENCES transfer (seq),
    account TEXT NOT NULL REFERENCES account (name),
    posted INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    posted_after INTEGER NOT NULL,
    pending_after INTEGER NOT NULL,
    PRIMARY KEY (account, transfer)
) STRICT, WITHOUT ROWID;
CREATE INDEX transfer_episode ON transfer (episode) WHERE episode IS NOT NULL;
CREATE INDEX transfer_expires ON transfer (debit, expires) WHERE expires IS NOT NULL;
"""


class Store:
    """Opens the database when it is first needed, and again after a fork.

    Threads may share one: their transactions take turns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: apsw.Connection | None = None

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["path"])

    @contextmanager
    def transaction(self) -> Generator[Sql]:
        """Yield a function that runs one SQL statement; all of them happen, or none.

        Raises:
            LedgerError: the file cannot be used; it is as it was before.
        """
        with _TURN, self._said_plainly():
            connection = self._open()
            with connection:  # Nested would be a savepoint; this is never nested.
                yield lambda *statement: _rows(connection, *statement)

    def close(self) -> None:
        """Close the file; the next transaction opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _said_plainly(self) -> Generator[None]:
        """Turn what SQLite says into what a user can do."""
        try:
            yield
        except apsw.ReadOnlyError as error:
            raise LedgerError(f"{self.path}: read-only. {_REMEDY}") from error
        except apsw.FullError as error:
            raise LedgerError(f"{self.path}: the disk is full. Nothing was booked.") from error
        except apsw.BusyError as error:
            raise LedgerError(
                f"{self.path}: another process has held it for {BUSY_MS // 1000} s. Try again."
            ) from error
        except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError) as error:
            raise LedgerError(
                f"{self.path}: this is no ledger, or a damaged one ({error}). Move it away, or "
                "restore a copy."
            ) from error
        except (apsw.CantOpenError, apsw.IOError, apsw.PermissionsError) as error:
            raise LedgerError(f"{self.path}: cannot be opened ({error}). {_REMEDY}") from error

    def _open(self) -> apsw.Connection:
        if self._connection is not None:
            return self._connection
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"{self.path.parent}: cannot be made ({error.strerror}). {_REMEDY}"
            ) from error
        connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(BUSY_MS)
        connection.transaction_mode = "IMMEDIATE"
        _rows(connection, "PRAGMA foreign_keys = ON")
        _rows(connection, "PRAGMA synchronous = FULL")
        self._check(connection)
        _rows(connection, "PRAGMA journal_mode = WAL")
        self._connection = connection
        _OPEN.add(self)
        return connection

    def _check(self, connection: apsw.Connection) -> None:
        """Make the tables of a new file; refuse a file that is not ours."""
        with connection:
            kind = _rows(connection, "PRAGMA application_id")[0][0]
            version = _rows(connection, "PRAGMA user_version")[0][0]
            empty = not _rows(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")
            if (kind, version) == (0, 0) and empty:
                for statement in (*_TABLES.split(";\n"), *_only_added()):
                    _rows(connection, statement)
                _rows(connection, f"PRAGMA application_id = {APPLICATION_ID}")
                _rows(connection, f"PRAGMA user_version = {FORMAT}")
            elif (kind, version) != (APPLICATION_ID, FORMAT):
                raise LedgerError(
                    f"{self.path}: no ledger of format {FORMAT} (application {kind!r}, format "
                    f"{version!r}). Set SANDBOX_HOME to another folder, or move the file away."
                )


def _only_added() -> Iterator[str]:
    """Yield the triggers that refuse to change or delete a row."""
    for table in ("account", "transfer", "entry"):
        for verb in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN "
                "SELECT RAISE(ABORT, 'the ledger is only ever added to'); END"
            )


def _rows(connection: Any, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run one statement to its end; apsw does the rest of a statement only when it is read."""
    return connection.execute(sql, values).fetchall()


_TURN = threading.RLock()
_OPEN: weakref.WeakSet[Store] = weakref.WeakSet()


def _before_fork() -> None:
    """Close every file: a child would think that it holds the locks which its parent holds.

    When the parent then closes the file, SQLite takes itself for the last user and deletes the WAL
    that the child goes on committing to (sqlite.org/howtocorrupt.html, section 2.6).
    """
    _TURN.acquire()
    for store in list(_OPEN):
        store.close()
    _OPEN.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=_TURN.release, after_in_child=_TURN.release
)

_REMEDY = "Set SANDBOX_HOME to a folder that can be written."
