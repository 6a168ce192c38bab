"""The ledger's SQLite file: opened on first use, with clear errors."""

import errno
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import apsw

from sandbox import files
from sandbox.errors import LedgerError, NoLedgerError
from sandbox.ledger import locks, schema
from sandbox.ledger.database import Row, T
from sandbox.ledger.pages import Draft, Pages
from sandbox.ledger.schema import APPLICATION_ID, FORMAT

DAMAGE = (  # What reading a damaged file can raise.
    apsw.NotADBError,
    apsw.CorruptError,
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.InternalError,
    UnicodeDecodeError,
)
BUSY_MS = 30_000
_FILES = 4  # That SQLite has open at once: the database, the WAL, its index, the folder.
_ROOM = 2**16  # Bytes that SQLite needs at once for the files beside the ledger.


class SQLite:
    """A transaction of a ledger's file; see `database.Database`."""

    damages = DAMAGE

    def __init__(self, connection: Any) -> None:  # apsw's own types are partly unknown.
        self._connection = connection

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a statement; apsw runs it only as far as its rows are read."""
        return list(self.stream(sql, *values))

    def stream(self, sql: str, *values: Any) -> Iterator[Row]:
        """Yield the rows of a query."""
        return self._connection.execute(*_own(sql, values))

    def lock_tail(self) -> None:
        """Do nothing: the file has one writer at a time."""

    def insert(self, transfers: Sequence[Row], entries: Sequence[Row]) -> None:
        """Insert rows with all columns."""
        for table, rows in (("transfer", transfers), ("entry", entries)):
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def now(self) -> float:
        """Return this machine's time [s since 1970]."""
        return time.time()

    def faults(self, *, whole: bool) -> Iterator[str]:
        """Yield which tables are not as made and, if `whole`, what SQLite's checks find wrong."""
        if whole:
            for (text,) in self.rows("PRAGMA integrity_check"):
                if text != "ok":
                    yield f"{text}."
            for table, _, other, _ in self.rows("PRAGMA foreign_key_check"):
                yield f"a row of {table} is about one of {other} that is not there."
        yield from schema.differences(self.rows(schema.SCHEMA))


def _own(sql: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return a statement and its values for SQLite, which has lists as JSON alone."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, list):
            listed = cast("list[Any]", value)
            hexed = bool(listed) and type(listed[0]) is bytes
            sql = sql.replace(
                "= ANY(?)",
                f"IN (SELECT {'unhex(value)' if hexed else 'value'} FROM json_each(?))",
                1,
            )
            value = json.dumps([one.hex() for one in listed] if hexed else listed)
        found.append(value)
    return sql, found


class FileStore:
    """A ledger's file, opened on first use and again after a fork.

    Threads may share a store: their transactions run one after the other.

    Args:
        path: the path of the file.
        read_only: neither create nor write the file.
        vfs: the name of the SQLite VFS that opens the file; None is SQLite's default.
    """

    def __init__(self, path: Path, *, read_only: bool = False, vfs: str | None = None) -> None:
        self.path, self.read_only, self._vfs = path, read_only, vfs
        self._connection: apsw.Connection | None = None
        self._frozen = False  # Opened as immutable: the folder is read-only.
        self._file: tuple[int, int] | None = None  # Device and number of the file that is open.
        self._id: str | None = None  # Of the ledger that was used first; no other takes its place.

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "read_only": self.read_only}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def transaction(
        self, work: Callable[[Pages], T], accounts: Sequence[str] = (), *, patient: bool = True
    ) -> T:
        """Return what some work returns; what it adds to the pages is committed whole or not.

        Args:
            work: takes the ledger's pages.
            accounts: whose credit it may move; the file has one writer at a time, whoever it is.
            patient: changes nothing: a file is there or not.

        Raises:
            LedgerError: the file cannot be used; it is unchanged.
        """
        with self._begun("IMMEDIATE") as connection:
            pages = Pages(SQLite(connection))
            result = work(pages)
            pages.flush()
        return result

    def reading(self, work: Callable[[Pages], T]) -> T:
        """Return what some work returns; what it adds to the pages is discarded.

        Raises:
            LedgerError: the file cannot be used.
        """
        with self._begun("DEFERRED") as connection:
            return work(Draft(SQLite(connection)))

    @property
    def where(self) -> str:
        """Where the ledger is, for messages: the path of its file."""
        return str(self.path)

    @property
    def file(self) -> Path:
        """The ledger's file."""
        return self.path

    @property
    def beside(self) -> Path:
        """The path of the ledger without its suffix, with which files beside it begin."""
        return self.path.with_suffix("")

    def exists(self) -> bool:
        """Return whether the file is there."""
        return os.path.isfile(self.path)

    def confirm(self) -> None:
        """Do nothing: the system keeps the locks of a process as long as that lives."""

    @contextmanager
    def alone(
        self, name: str, worker: int | None, wait_s: float | None, *, joins: bool
    ) -> Generator[None]:
        """Hold a lock of this ledger while the block runs; see `Ledger.alone`."""
        folder = self.path.parent / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"{folder}: cannot be made ({error.strerror}). Nothing was done. {_REMEDY}"
            ) from error
        with locks.alone(folder / name, worker, wait_s, joins=joins):
            yield

    @contextmanager
    def _begun(self, mode: str) -> Generator[apsw.Connection]:
        with _TURN, self._plain_errors():
            connection = self._open()
            if connection.in_transaction:  # An interrupt came before it could be ended.
                self.close()
                connection = self._open()
            connection.transaction_mode = mode
            try:
                with connection:  # Never nested, which would only make a savepoint.
                    self._check_id(connection)
                    yield connection
            finally:
                if self._frozen:  # Open it again next time: somebody may write by then.
                    self.close()

    def close(self) -> None:
        """Close the file; the next transaction opens it again."""
        with _TURN:  # Another thread may be in a transaction.
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _plain_errors(self) -> Generator[None]:
        """Turn SQLite's errors into LedgerErrors that say what a user can do."""
        try:
            yield
        except apsw.ReadOnlyError as error:
            raise LedgerError(f"{self.path}: read-only. {_REMEDY}") from error
        except apsw.FullError as error:
            raise LedgerError(self._full()) from error
        except apsw.BusyError as error:
            raise LedgerError(
                f"{self.path}: another process has held it for {BUSY_MS // 1000} s. Try again."
            ) from error
        except (apsw.CantOpenError, apsw.IOError, apsw.PermissionsError) as error:
            if _is_full(self.path):
                raise LedgerError(self._full()) from error
            lack = files.lacking(_FILES)
            what = lack.strerror if lack else str(error)  # Text: an error would keep this frame.
            remedy = files.remedy(lack, _REMEDY) if lack else _REMEDY
            raise LedgerError(
                f"{self.path}: cannot be opened or written ({what}). Nothing was booked. {remedy}"
            ) from error
        except (apsw.Error, UnicodeDecodeError) as error:
            raise LedgerError(
                f"{self.path}: this is no ledger, or a damaged one ({error}). Move it away, or "
                "restore a copy."
            ) from error

    def _full(self) -> str:
        """Return the message of a full disk."""
        return f"{self.path}: the disk is full. Nothing was booked. Make room on it."

    def _open(self) -> apsw.Connection:
        """Return the open connection; open and check the file if there is none."""
        self._check_there()
        if self._connection is not None:
            return self._connection
        connection = self._opened_read_only() if self.read_only else self._opened()
        connection.set_busy_timeout(BUSY_MS)
        connection.transaction_mode = "DEFERRED" if self.read_only else "IMMEDIATE"
        try:
            if not self.read_only:
                for pragma in ("foreign_keys = ON", "synchronous = FULL"):
                    SQLite(connection).rows(f"PRAGMA {pragma}")
            self._check(connection)
            if not self.read_only:
                SQLite(connection).rows("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        self._connection, self._file = connection, _file(self.path)
        _OPEN.add(self)
        return connection

    def _check_there(self) -> None:
        """Refuse to go on where the file was deleted or replaced: bookings would be lost with it.

        SQLite would go on writing to a file that nobody finds any more.
        """
        there = None if self._id is None else _file(self.path)
        if self._id is not None and there is None:
            self.close()
            raise LedgerError(
                f"{self.path}: the ledger was deleted or moved while it was in use. Nothing was "
                "booked. Restore it, and do the same again: nothing is charged twice."
            )
        if self._connection is not None and there is not None and there != self._file:
            self.close()  # It is opened again, if it is the same ledger.

    def _check_id(self, connection: apsw.Connection) -> None:
        """Refuse another ledger than the one that was used first."""
        try:
            found = Pages(SQLite(connection)).ledger_id()
        except (LedgerError, *DAMAGE):
            return  # Whoever reads it says so.
        if self._id is None:
            self._id = found
        elif found != self._id:
            raise LedgerError(
                f"{self.path}: the ledger was replaced by another while it was in use: it is "
                f"{found}, not {self._id}. Nothing was booked. Restore it, and do the same again."
            )

    def _opened(self) -> apsw.Connection:
        """Open the file for writing; create it and its folder if they do not exist."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._vfs is None:  # SQLite would let everybody read it.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise LedgerError(self._full()) from error
            if os.path.isdir(self.path):  # Nor may look for it.
                raise LedgerError(f"{self.path}: is a folder, no ledger. Move it away.") from error
            raise LedgerError(
                f"{self.path}: cannot be made or opened ({error.strerror}). "
                f"{files.remedy(error, _REMEDY)}"
            ) from error
        return apsw.Connection(str(self.path), vfs=self._vfs)

    def _opened_read_only(self) -> apsw.Connection:
        """Open the file for reading; in a read-only folder, open it as immutable."""
        if not os.path.isfile(self.path):  # Nor may look for it.
            raise NoLedgerError(f"{self.path}: there is no ledger here.")
        uri, flags = self.path.resolve().as_uri(), apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(uri, flags=flags)
        try:
            SQLite(connection).rows("PRAGMA user_version")
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            connection.close()
            self._refuse_unread()
            self._frozen = True
            return apsw.Connection(f"{uri}?immutable=1", flags=flags)
        return connection

    def _refuse_unread(self) -> None:
        """Refuse a file with a WAL or journal, which cannot be read in a read-only folder."""
        for suffix in ("-wal", "-journal"):
            beside = self.path.with_name(self.path.name + suffix)
            if beside.exists() and beside.stat().st_size:
                raise LedgerError(
                    f"{self.path}: {beside.name} beside it has transfers that cannot be read where "
                    "nothing can be written. Copy the folder to where you can write, and set "
                    "SANDBOX_HOME to the copy."
                )

    def _check(self, connection: apsw.Connection) -> None:
        """Create the tables of a new file; refuse a file that is not a ledger of this format."""
        with connection:
            sql = SQLite(connection).rows
            kind, version = sql("PRAGMA application_id")[0][0], sql("PRAGMA user_version")[0][0]
            if (kind, version) == (APPLICATION_ID, FORMAT):
                return
            empty = not sql("SELECT 1 FROM sqlite_schema LIMIT 1")
            fresh = (kind, version) == (0, 0) and empty  # A full disk leaves such a file.
            if fresh and self.read_only:
                raise NoLedgerError(f"{self.path}: there is no ledger here; the file is empty.")
            if not fresh:
                raise LedgerError(
                    f"{self.path}: no ledger of format {FORMAT} (application {kind!r}, format "
                    f"{version!r}). Use the version that wrote it, set SANDBOX_HOME to another "
                    "folder, or move the file away."
                )
            for statement in schema.statements():
                sql(statement)
            sql("INSERT INTO ledger VALUES (?)", os.urandom(16).hex())
            sql(f"PRAGMA application_id = {APPLICATION_ID}")
            sql(f"PRAGMA user_version = {FORMAT}")


def _file(path: Path) -> tuple[int, int] | None:
    """Return the device and number of a file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_full(path: Path) -> bool:
    """Return whether the disk of a file is full: SQLite reports that in several ways."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _ROOM or (disk.f_files > 0 and not disk.f_favail)


_TURN = threading.RLock()
_OPEN: weakref.WeakSet[FileStore] = weakref.WeakSet()


def _before_fork() -> None:
    """Close every file before a fork: a child would believe it holds its parent's locks.

    When the parent then closes the file, SQLite believes that nobody else uses it, and deletes the
    WAL to which the child still commits (sqlite.org/howtocorrupt.html, section 2.6).
    """
    _TURN.acquire()
    for store in list(_OPEN):
        store.close()
    _OPEN.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=_TURN.release, after_in_child=_TURN.release
)

_REMEDY = "Set SANDBOX_HOME to a folder that can be written."
