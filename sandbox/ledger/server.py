"""A ledger on a PostgreSQL server: what is done again, and the locks that a session holds."""

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from sandbox import content
from sandbox.errors import InvalidInputError, LedgerError, NoLedgerError
from sandbox.interrupts import heed
from sandbox.ledger import postgres
from sandbox.ledger.connection import AGAIN, Connection, Place, UnreachableError
from sandbox.ledger.database import T
from sandbox.ledger.locks import ORPHAN_S
from sandbox.ledger.pages import Draft, Pages
from sandbox.ledger.postgres import Postgres, key
from sandbox.ledger.sessions import RunLock
from sandbox.ledger.tables import FORMAT, THERE

WAIT = "SANDBOX_LEDGER_WAIT"  # How long to wait for a server that was lost [s].
WAIT_S = 300.0
_TIMES = 30  # A transaction is done again, at most, because of another one.
_PAUSES_S = (0.05, 1.0)  # Between attempts: first, and at most.


class ServerStore:
    """A ledger on a server; see `database.Store`.

    A process has one connection, with the locks of its runs. Where it is lost, a new one takes
    them again before anything else, and what was under way is done again. If the answer to a
    commit was lost, the ids that were to be booked say whether it was.

    Args:
        url: the server and the database.
        read_only: neither make nor change the ledger.
        id: of the ledger that is expected; None is any.
    """

    def __init__(self, url: str, *, read_only: bool = False, id: str | None = None) -> None:
        self.read_only, self._url, self._id = read_only, url, id
        self._place = Place(url)
        self._open: list[Connection] = []  # The connection, if there is one.
        self._was: tuple[int, Any] | None = None  # Process and start of the last session.
        self._locks: list[RunLock] = []
        self._given_up = False  # Nobody waits again before the server is reached.
        self._turn = threading.RLock()  # Threads that share a store take turns.
        weakref.finalize(self, _close, self._open)
        _STORES.add(self)

    def __reduce__(self) -> "tuple[Callable[..., ServerStore], tuple[Any, ...]]":
        return _again, (self._url, self.read_only, self._id)

    @property
    def where(self) -> str:
        """Where the ledger is, for messages: its URL without the password."""
        return self._place.where

    @property
    def file(self) -> Path | None:
        """None: it has no file."""
        return None

    @property
    def beside(self) -> Path:
        """A path in `content.home()` with the ledger's id."""
        return content.home() / self.reading(lambda pages: pages.ledger_id())

    def exists(self) -> bool:
        """Return whether the database holds a ledger."""
        with self._turn, _opened(self._place) as connection:
            return _format(connection, self.where) is not None

    # Transactions ---------------------------------------------------------------------------------

    def transaction(
        self, work: Callable[[Pages], T], accounts: Sequence[str] = (), *, patient: bool = True
    ) -> T:
        """Return what some work returns; what it adds to the pages is committed whole or not.

        Args:
            work: takes the ledger's pages; it may be called again.
            accounts: the only accounts whose credit it may move; none means any.
            patient: wait for a server that was lost.

        Raises:
            LedgerError: the server cannot be used; nothing was booked.
        """
        if self.read_only:
            raise LedgerError(f"{self.where}: opened to be read only. Nothing was booked.")
        sent: list[tuple[bytes, bytes, T]] = []  # Last id and link of a commit, and the result.

        def attempt(connection: Connection) -> T:
            connection.execute(_begin(accounts))
            pages = Pages(Postgres(connection))
            for id, link, result in sent:  # Its answer was lost; its locks are free by now.
                found = pages.find(id)
                if found is not None and found.link == link:
                    connection.execute("ROLLBACK")
                    return result
            result = work(pages)
            pages.flush()
            if pages.last is not None:
                sent[:] = [(*pages.last, result)]
            if connection.execute("COMMIT").statusmessage != "COMMIT":
                raise LedgerError(f"{self.where}: did not commit. Nothing was booked.")
            return result

        return self._tried(attempt, patient=patient)

    def reading(self, work: Callable[[Pages], T]) -> T:
        """Return what some work returns; what it adds to the pages is discarded.

        Raises:
            LedgerError: the server cannot be used.
        """

        def attempt(connection: Connection) -> T:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            result = work(Draft(Postgres(connection)))
            connection.execute("COMMIT")
            return result

        return self._tried(attempt)

    def _tried(self, attempt: Callable[[Connection], T], *, patient: bool = True) -> T:
        """Return what an attempt returns; make it again where that may help.

        Raises:
            LedgerError: the server stays unreachable for $SANDBOX_LEDGER_WAIT seconds, or refuses.
        """
        since, times, pause = 0.0, 0, _PAUSES_S[0]
        with self._turn:
            while True:
                try:
                    return self._once(attempt)
                except UnreachableError as error:
                    since = since or time.monotonic()
                    known = self._id is not None or error.starts
                    wait = _wait_s() if known and patient and not self._given_up else 0.0
                    if time.monotonic() + pause > since + wait:
                        self._given_up = True
                        raise
                except _OtherError:
                    times += 1
                    if times >= _TIMES:
                        raise LedgerError(
                            f"{self.where}: other processes changed the same {times} times. "
                            "Nothing was booked. Try again."
                        ) from None
                self._pause(pause)
                pause = min(2 * pause, _PAUSES_S[1])

    def _pause(self, seconds: float) -> None:
        """Wait, for about so long; act on an interrupt that has waited for too long."""
        try:
            time.sleep(seconds * random.uniform(0.5, 1.0))
            heed()
        except BaseException:
            self._given_up = True  # Whoever ends now does not wait again.
            raise

    def _once(self, attempt: Callable[[Connection], T]) -> T:
        connection = self._connected()
        try:
            return attempt(connection)
        except psycopg.Error as error:
            if isinstance(error, AGAIN):
                raise _OtherError from error
            raise self._place.failed(error, connection) from error
        finally:
            self._ended(connection)

    def _ended(self, connection: Connection) -> None:
        """Leave no transaction open; forget a connection that is of no use."""
        connection.patience_s = type(connection).patience_s
        status = connection.info.transaction_status
        if status in (_STATUS.INTRANS, _STATUS.INERROR):
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
                status = connection.info.transaction_status
        if status is not _STATUS.IDLE:
            self._forget()

    def _forget(self) -> None:
        _close(self._open)

    # The connection -------------------------------------------------------------------------------

    def _connected(self) -> Connection:
        """Return the connection; make it, with all locks of this process, if there is none."""
        if self._open and self._open[0].info.transaction_status is _STATUS.IDLE:
            return self._open[0]  # Else it is closed, or an interrupt came before its end.
        self._forget()
        connection = Connection.opened(self._place)
        self._open.append(connection)
        try:
            self._begun(connection)
        except psycopg.Error as error:
            failed = self._place.failed(error, connection)
            self._forget()
            raise failed from error
        except BaseException:
            self._forget()
            raise
        return connection

    def _begun(self, connection: Connection) -> None:
        """Make the tables if there are none; check that it is the same ledger; take the locks."""
        if self._was is not None:  # It may hold locks until the server notices its end.
            connection.execute(_END, self._was)
        self._was = connection.execute(_SESSION).fetchone()  # type: ignore[assignment]
        found = _format(connection, self.where)
        if found is None and self.read_only:
            raise NoLedgerError(f"{self.where}: there is no ledger here.")
        if found is None:
            self._make(connection)
        id = Pages(Postgres(connection)).ledger_id()
        if self._id not in (None, id):
            raise LedgerError(
                f"{self.where}: the ledger was replaced by another while it was in use: it is "
                f"{id}, not {self._id}. Nothing was booked. Restore it, and do the same again."
            )
        self._id, self._given_up = id, False
        for lock in self._locks:
            lock.take(connection, self.where, again=True)

    def _make(self, connection: Connection) -> None:
        """Make the tables, unless another process has.

        The lock is taken before the transaction: only as one begins does a session learn for sure
        that tables, which it did not find, were made by another.
        """
        connection.execute("SELECT pg_advisory_lock(%s)", [key("make")])
        with connection.transaction():
            if _format(connection, self.where) is None:
                postgres.make(connection, os.urandom(16).hex())
        connection.execute("SELECT pg_advisory_unlock(%s)", [key("make")])

    def close(self) -> None:
        """Close the connection, unless it holds the lock of a run."""
        with self._turn:
            if not self._locks:
                self._forget()
                self._was = None

    # Locks ----------------------------------------------------------------------------------------

    @contextmanager
    def alone(
        self, name: str, worker: int | None, wait_s: float | None, *, joins: bool
    ) -> Generator[None]:
        """Hold a lock of the ledger while the block runs; see `Ledger.alone`."""
        lock = RunLock(name, worker, ORPHAN_S if wait_s is None else wait_s, joins)
        if lock in self._locks:
            raise lock.refused(self.where)
        self._tried(lambda connection: lock.take(connection, self.where))
        self._locks.append(lock)
        try:
            yield
        finally:
            self._locks.remove(lock)
            if self._open:
                with suppress(psycopg.Error):  # Without a connection nothing is held.
                    lock.release(self._open[0])

    def confirm(self) -> None:
        """Refuse to go on if a lock was lost to another process."""
        if self._locks:
            self._tried(lambda connection: connection.execute("SELECT 1"))

    def forked(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        for connection in self._open:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, connection.fileno())  # The server must see the end of the other's.
            os.close(null)
            _LEFT.append(connection)
        self._open, self._locks, self._was = [], [], None
        self._turn = threading.RLock()  # Another thread may have held it.
        weakref.finalize(self, _close, self._open)


class _OtherError(Exception):
    """Another transaction came first."""


def _begin(accounts: Sequence[str]) -> bytes:
    """Return what begins a transaction that moves credit of some accounts; none means any."""
    names = sorted(set(accounts))
    locks = [f"{'_shared' if names else ''}({key('book')})"]
    locks += [f"({key('account', name)})" for name in names]
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"  # It sees what others did meanwhile.
    return "; ".join([begin, *(f"SELECT pg_advisory_xact_lock{it}" for it in locks)]).encode()


def _format(connection: Connection, where: str) -> int | None:
    """Return the format of a ledger; None if there is none.

    Raises:
        LedgerError: there is one of another version, or other tables with its names.
    """
    there = [row[0] for row in connection.execute(THERE).fetchall()]
    if not any(there):
        return None
    row = None
    if all(there):
        with suppress(psycopg.errors.UndefinedColumn):
            row = connection.execute("SELECT format FROM ledger").fetchone()
    if row is None or row[0] != FORMAT:
        what = "no ledger" if row is None else f"of format {row[0]}"
        raise LedgerError(
            f"{where}: its tables are {what}, not those of a ledger of format {FORMAT}. Nothing "
            "was booked. Use the version that made it, or name another database in SANDBOX_LEDGER."
        )
    return FORMAT


_SESSION = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s"
)
_STATUS = psycopg.pq.TransactionStatus


def _wait_s() -> float:
    """Return how long to wait for a server that was lost [s]."""
    said = os.environ.get(WAIT)
    try:
        seconds = WAIT_S if said is None else float(said)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 10**9:
        raise InvalidInputError(f"{WAIT}={said!r}: give seconds, 0 or more.")
    return seconds


@contextmanager
def _opened(place: Place) -> Generator[Connection]:
    """Yield a connection for a look, and close it."""
    connection = Connection.opened(place)
    try:
        yield connection
    except psycopg.Error as error:
        raise place.failed(error, connection) from error
    finally:
        connection.close()


def _close(connections: list[Connection]) -> None:
    """Close connections, and forget them."""
    while connections:
        connections.pop().close()


def _again(url: str, read_only: bool, id: str | None) -> ServerStore:
    """Return a store that was pickled."""
    return ServerStore(url, read_only=read_only, id=id)


_STORES: "weakref.WeakSet[ServerStore]" = weakref.WeakSet()
_LEFT: list[Connection] = []  # Of the process that this one was forked from; never closed here.


def _forked() -> None:
    for store in [*_STORES]:
        store.forked()


os.register_at_fork(after_in_child=_forked)
