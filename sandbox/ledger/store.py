"""The ledger's file: one SQLite database whose rows are only ever added. All SQL is here."""

import hashlib
import json
import os
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import cbor2

from sandbox.errors import LedgerError
from sandbox.ledger.transfer import Leg, Move, canonical, legs, parts_of, text_of

APPLICATION_ID = 0x5B0C0001  # In the file's header: this is a ledger of ours.
FORMAT = 2
BUSY_MS = 30_000
FIRST_LINK = bytes(32)

_TABLES = """
CREATE TABLE ledger (id TEXT NOT NULL) STRICT;
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    mode TEXT NOT NULL CHECK (mode IN ('prepaid', 'postpaid')),
    overdraft INTEGER NOT NULL CHECK (overdraft >= 0)
) STRICT;
CREATE TABLE transfer (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    kind TEXT NOT NULL CHECK (kind IN
        ('open', 'grant', 'reserve', 'post', 'void', 'expire', 'breakage', 'refund')),
    account TEXT NOT NULL REFERENCES account (name),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    facts TEXT NOT NULL,
    parts TEXT NOT NULL,
    lease BLOB,
    run TEXT,
    resolves INTEGER UNIQUE REFERENCES transfer (seq),
    corrects INTEGER REFERENCES transfer (seq),
    expires INTEGER,
    at INTEGER NOT NULL,
    link BLOB NOT NULL CHECK (length(link) = 32)
) STRICT;
CREATE TABLE entry (
    account TEXT NOT NULL,
    pot INTEGER NOT NULL,
    transfer INTEGER NOT NULL REFERENCES transfer (seq),
    posted INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    posted_after INTEGER NOT NULL,
    pending_after INTEGER NOT NULL,
    PRIMARY KEY (account, pot, transfer)
) STRICT, WITHOUT ROWID;
CREATE INDEX transfer_lease ON transfer (lease) WHERE kind = 'reserve';
CREATE INDEX transfer_hold ON transfer (account, expires) WHERE kind = 'reserve';
CREATE INDEX transfer_grant ON transfer (account) WHERE kind = 'grant';
CREATE INDEX transfer_run ON transfer (run) WHERE run IS NOT NULL;
CREATE INDEX transfer_corrects ON transfer (corrects) WHERE corrects IS NOT NULL
"""
_COLUMNS = "seq, id, kind, account, amount, facts, parts, lease, run, resolves, corrects, expires"
_UNRESOLVED = "NOT EXISTS (SELECT 1 FROM transfer WHERE resolves = t.seq)"
_ADD = f"INSERT INTO transfer ({_COLUMNS}, at, link) VALUES ({', '.join('?' * 14)})"
_ENTER = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Booked:
    """A transfer on the book.

    Attributes:
        seq: its number.
        move: what it is; see Move.
        at: when it was booked [ms since 1970].
        link: SHA-256 over the link before it and all that it says.
    """

    seq: int
    move: Move
    at: int
    link: bytes


class Pages:
    """One transaction's view of the book: what is read in it, and added by it."""

    def __init__(self, connection: Any) -> None:  # apsw's own types are partly unknown.
        self._sql = connection.execute
        self._pots: dict[tuple[str, int], tuple[int, int]] = {}
        self._grants: dict[str, dict[int, dict[str, Any]]] = {}
        self._tail: tuple[int, bytes, int] | None = None

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement to its end; apsw does the rest of one only when it is read."""
        return self._sql(sql, values).fetchall()

    def ledger_id(self) -> str:
        """Return the id that this book was given when it was made."""
        return self.rows("SELECT id FROM ledger")[0][0]

    def tail(self) -> tuple[int, bytes, int]:
        """Return number, link and time of the last transfer."""
        if self._tail is None:
            rows = self.rows("SELECT seq, link, at FROM transfer ORDER BY seq DESC LIMIT 1")
            self._tail = (rows[0][0], rows[0][1], rows[0][2]) if rows else (0, FIRST_LINK, 0)
        return self._tail

    def account(self, name: str) -> tuple[str, int] | None:
        """Return an account's mode and overdraft; None if it is not open."""
        found = self.rows("SELECT mode, overdraft FROM account WHERE name = ?", name)
        return (found[0][0], found[0][1]) if found else None

    def accounts(self) -> list[tuple[str, str, int]]:
        """Return name, mode and overdraft of every account, by name."""
        rows = self.rows("SELECT name, mode, overdraft FROM account ORDER BY name")
        return [(name, mode, overdraft) for name, mode, overdraft in rows]

    def open(self, name: str, mode: str, overdraft: int) -> None:
        """Add an account."""
        self.rows("INSERT INTO account VALUES (?, ?, ?)", name, mode, overdraft)

    def pot(self, account: str, pot: int) -> tuple[int, int]:
        """Return what is posted and pending in a pot [microcredits]."""
        found = self._pots.get((account, pot))
        if found is None:
            rows = self.rows(
                "SELECT posted_after, pending_after FROM entry WHERE account = ? AND pot = ? "
                "ORDER BY transfer DESC LIMIT 1",
                *(account, pot),
            )
            found = self._pots[account, pot] = (rows[0][0], rows[0][1]) if rows else (0, 0)
        return found

    def grants(self, account: str) -> dict[int, dict[str, Any]]:
        """Return the facts of an account's grants by number, oldest first."""
        if account not in self._grants:
            sql = "SELECT seq, facts FROM transfer WHERE account = ? AND kind = 'grant'"
            rows = self.rows(f"{sql} ORDER BY seq", account)
            self._grants[account] = {seq: json.loads(facts) for seq, facts in rows}
        return self._grants[account]

    def find(self, id: bytes) -> Booked | None:
        """Return the transfer of an id."""
        return next(self._booked("WHERE id = ?", id), None)

    def held(self, lease: bytes) -> list[Booked]:
        """Return the reservations under a lease that nothing has resolved."""
        where = f"AS t WHERE lease = ? AND kind = 'reserve' AND {_UNRESOLVED} ORDER BY seq"
        return list(self._booked(where, lease))

    def held_below(self, prefix: bytes) -> list[Booked]:
        """Return the unresolved reservations under leases that begin with some bytes."""
        where = f"AS t WHERE lease BETWEEN ? AND ? AND kind = 'reserve' AND {_UNRESOLVED}"
        return list(self._booked(f"{where} ORDER BY seq", prefix, prefix.ljust(16, b"\xff")))

    def reservations(self, lease: bytes) -> int:
        """Return how many reservations were ever made under a lease."""
        sql = "SELECT count(*) FROM transfer WHERE lease = ? AND kind = 'reserve'"
        return self.rows(sql, lease)[0][0]

    def overdue(self, account: str, after: int, now: int) -> list[Booked]:
        """Return an account's unresolved reservations that ended after one time and by another."""
        where = (
            "AS t WHERE account = ? AND kind = 'reserve' AND expires > ? AND expires <= ? "
            f"AND {_UNRESOLVED} ORDER BY seq"
        )
        return list(self._booked(where, account, after, now))

    def of_run(self, run: str) -> list[Booked]:
        """Return a run's posts, their refunds, and its reservations that nothing has resolved."""
        kinds = f"kind IN ('post', 'refund') OR (kind = 'reserve' AND {_UNRESOLVED})"
        return list(self._booked(f"AS t WHERE run = ? AND ({kinds}) ORDER BY seq", run))

    def corrections(self, post: int) -> list[Booked]:
        """Return the refunds of a post."""
        return list(self._booked("WHERE corrects = ? ORDER BY seq", post))

    def transfers(self, accounts: Iterable[str] | None = None) -> Iterator[Booked]:
        """Yield every transfer in order, or those of some accounts."""
        if accounts is None:
            return self._booked("ORDER BY seq")
        names = json.dumps(sorted(accounts))
        return self._booked("WHERE account IN (SELECT value FROM json_each(?)) ORDER BY seq", names)

    def entries(self) -> Iterator[tuple[Any, ...]]:
        """Yield every entry in the order of transfers."""
        yield from self._sql("SELECT * FROM entry ORDER BY transfer, account, pot")

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with the file, [] if nothing."""
        found = self.rows("PRAGMA integrity_check") + self.rows("PRAGMA foreign_key_check")
        return [str(row[0]) for row in found if row != ("ok",)]

    def add(self, move: Move, at: int) -> int:
        """Add a transfer and its entries; return its number."""
        last, before, _ = self.tail()
        seq = last + 1
        values = (
            *(seq, move.id, move.kind, move.account, move.amount, canonical(move.facts)),
            *(text_of(move.parts), move.lease, move.run, move.resolves, move.corrects),
            *(move.expires, at),
        )
        link = linked(before, values)
        self._sql(_ADD, (*values, link))
        for leg in legs(move.kind, move.account, move.amount, move.parts):
            self._enter(seq, leg)
        self._tail = (seq, link, at)
        self._grants.pop(move.account if move.kind == "grant" else "", None)
        return seq

    def _enter(self, seq: int, leg: Leg) -> None:
        account, pot, posted, pending = leg
        before = self.pot(account, pot)
        after = (before[0] + posted, before[1] + pending)
        if max(map(abs, after)) >= 2**63:
            raise LedgerError(
                f"the account {account!r} would hold over {2**63 - 1:,} microcredits, the most "
                "that the book can write. Nothing was booked."
            )
        self._sql(_ENTER, (account, pot, seq, posted, pending, *after))
        self._pots[account, pot] = after

    def _booked(self, where: str, *values: Any) -> Iterator[Booked]:
        for row in self._sql(f"SELECT {_COLUMNS}, at, link FROM transfer {where}", values):
            seq, id, kind, account, amount, facts, parts, *rest, at, link = row
            try:
                move = Move(id, kind, account, amount, json.loads(facts), parts_of(parts), *rest)
            except (ValueError, TypeError, RecursionError) as error:
                raise LedgerError(f"transfer {seq}: damaged: {error}. Restore a copy.") from None
            yield Booked(seq, move, at, link)


def linked(before: bytes, values: tuple[Any, ...]) -> bytes:
    """Return the link of a transfer: SHA-256 of the link before it and the CBOR of its columns."""
    return hashlib.sha256(before + cbor2.dumps(values)).digest()


def columns_of(booked: Booked) -> tuple[Any, ...]:
    """Return what `linked` hashes of a transfer."""
    move = booked.move
    return (
        *(booked.seq, move.id, move.kind, move.account, move.amount, canonical(move.facts)),
        *(text_of(move.parts), move.lease, move.run, move.resolves, move.corrects),
        *(move.expires, booked.at),
    )


class Store:
    """Opens the database when it is first needed, and again after a fork.

    Threads may share one: their transactions take turns.

    Args:
        path: of the file.
        read_only: it is neither made nor written.
    """

    def __init__(self, path: Path, *, read_only: bool = False, vfs: str | None = None) -> None:
        self.path, self.read_only, self._vfs = path, read_only, vfs
        self._connection: apsw.Connection | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "read_only": self.read_only}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    @contextmanager
    def transaction(self) -> Generator[Pages]:
        """Yield the book's pages; all that is added to them is kept, or none.

        Raises:
            LedgerError: the file cannot be used; it is as it was before.
        """
        with _TURN, self._said_plainly():
            connection = self._open()
            with connection:  # Nested would be a savepoint; this is never nested.
                yield Pages(connection)

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
        except _DAMAGE as error:
            raise LedgerError(
                f"{self.path}: this is no ledger, or a damaged one ({error}). Move it away, or "
                "restore a copy."
            ) from error
        except (apsw.CantOpenError, apsw.IOError, apsw.PermissionsError) as error:
            raise LedgerError(
                f"{self.path}: cannot be opened or written ({error}). Nothing was booked. {_REMEDY}"
            ) from error

    def _open(self) -> apsw.Connection:
        if self._connection is not None:
            return self._connection
        connection = self._opened_read_only() if self.read_only else self._opened()
        connection.set_busy_timeout(BUSY_MS)
        connection.transaction_mode = "DEFERRED" if self.read_only else "IMMEDIATE"
        try:
            if not self.read_only:
                for pragma in ("foreign_keys = ON", "synchronous = FULL"):
                    Pages(connection).rows(f"PRAGMA {pragma}")
            self._check(connection)
            if not self.read_only:
                Pages(connection).rows("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        _OPEN.add(self)
        return connection

    def _opened(self) -> apsw.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"{self.path.parent}: cannot be made ({error.strerror}). {_REMEDY}"
            ) from error
        return apsw.Connection(str(self.path), vfs=self._vfs)

    def _opened_read_only(self) -> apsw.Connection:
        """Open the file; where nothing can be written beside it, as one that nobody changes."""
        if not self.path.is_file():
            raise LedgerError(f"{self.path}: there is no ledger here.")
        uri, flags = self.path.resolve().as_uri(), apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(uri, flags=flags)
        try:
            Pages(connection).rows("PRAGMA user_version")
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            connection.close()
            return apsw.Connection(f"{uri}?immutable=1", flags=flags)
        return connection

    def _check(self, connection: apsw.Connection) -> None:
        """Make the tables of a new file; refuse a file that is not ours."""
        with connection:
            sql = Pages(connection).rows
            kind, version = sql("PRAGMA application_id")[0][0], sql("PRAGMA user_version")[0][0]
            if (kind, version) == (APPLICATION_ID, FORMAT):
                return
            empty = not sql("SELECT 1 FROM sqlite_schema LIMIT 1")
            if (kind, version) != (0, 0) or not empty or self.read_only:
                raise LedgerError(
                    f"{self.path}: no ledger of format {FORMAT} (application {kind!r}, format "
                    f"{version!r}). Use the version that wrote it, set SANDBOX_HOME to another "
                    "folder, or move the file away."
                )
            for statement in (*_TABLES.split(";\n"), *_only_added()):
                sql(statement)
            sql("INSERT INTO ledger VALUES (?)", os.urandom(16).hex())
            sql(f"PRAGMA application_id = {APPLICATION_ID}")
            sql(f"PRAGMA user_version = {FORMAT}")


def _only_added() -> Iterator[str]:
    """Yield the triggers that refuse to change or delete a row."""
    for table in ("ledger", "account", "transfer", "entry"):
        for verb in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN "
                "SELECT RAISE(ABORT, 'the ledger is only ever added to'); END"
            )


_DAMAGE = (
    *(apsw.NotADBError, apsw.CorruptError, apsw.SQLError, apsw.ConstraintError, apsw.MismatchError),
)
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
