"""The pages of the ledger: all SQL that reads and writes accounts, transfers and entries."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apsw
import cbor2

from sandbox.errors import LedgerError
from sandbox.ledger.rows import booked_of, facts_of, is_time
from sandbox.ledger.schema import SCHEMA
from sandbox.ledger.transfer import Booked, Move, canonical, legs, text_of

FIRST_LINK = bytes(32)
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
_COLUMNS = "seq, id, kind, account, amount, facts, parts, lease, run, resolves, corrects, expires"
_UNRESOLVED = "NOT EXISTS (SELECT 1 FROM transfer WHERE resolves = t.seq)"
_ADD = f"INSERT INTO transfer ({_COLUMNS}, at, link) VALUES ({', '.join('?' * 14)})"
_ENTER = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)"
_MOST = 2**63 - 1


class Pages:
    """The ledger as one transaction reads and extends it.

    Added rows are written together, before the next query and at the end: that is faster.
    """

    def __init__(self, connection: Any) -> None:  # apsw's own types are partly unknown.
        self._sql, self._many = connection.execute, connection.executemany
        self._pots: dict[tuple[str, int], tuple[int, int]] = {}
        self._grants: dict[str, dict[int, dict[str, Any]]] = {}
        self._tail: tuple[int, bytes, int] | None = None
        self._transfers: list[tuple[Any, ...]] = []  # Not yet written.
        self._entries: list[tuple[Any, ...]] = []

    # Read -----------------------------------------------------------------------------------------

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a statement; apsw runs it only as far as its rows are read."""
        return list(self._read(sql, *values))

    def _read(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        self.flush()
        yield from self._sql(sql, values)

    def ledger_id(self) -> str:
        """Return the ledger's id; LedgerError if there is not exactly one."""
        ids = self.rows("SELECT id FROM ledger")
        if len(ids) != 1 or type(ids[0][0]) is not str:
            raise LedgerError(f"damaged: the ledger has {len(ids)} ids, not 1. Restore a copy.")
        return ids[0][0]

    def schema(self) -> list[tuple[Any, ...]]:
        """Return (type, name, statement) of each table, index and trigger."""
        return self.rows(SCHEMA)

    def tail(self) -> tuple[int, bytes, int]:
        """Return the last transfer's number, link and time [ms since 1970]."""
        if self._tail is None:
            rows = self.rows("SELECT seq, link, at FROM transfer ORDER BY seq DESC LIMIT 1")
            seq, link, at = rows[0] if rows else (0, FIRST_LINK, 0)
            if type(link) is not bytes or not is_time(at):
                raise LedgerError(f"transfer {seq!r}: damaged: its at is {at!r}. Restore a copy.")
            self._tail = (seq, link, at)
        return self._tail

    def account(self, name: str) -> tuple[str, int] | None:
        """Return an account's mode and overdraft [microcredits]; None if it is not open."""
        found = self.rows("SELECT name, mode, overdraft FROM account WHERE name = ?", name)
        return _account(found[0])[1:] if found else None

    def accounts(self) -> list[tuple[str, str, int]]:
        """Return (name, mode, overdraft) of every account, sorted by name."""
        rows = self.rows("SELECT name, mode, overdraft FROM account NOT INDEXED")
        return sorted(map(_account, rows))  # As they are: an index may say other names.

    def pot(self, account: str, pot: int) -> tuple[int, int]:
        """Return a pot's posted and pending balance [microcredits]."""
        found = self._pots.get((account, pot))
        if found is None:
            rows = self.rows(
                "SELECT posted_after, pending_after FROM entry WHERE account = ? AND pot = ? "
                "ORDER BY transfer DESC LIMIT 1",
                account,
                pot,
            )
            posted, pending = rows[0] if rows else (0, 0)
            if type(posted) is not int or type(pending) is not int:
                raise LedgerError(f"an entry of {account!r}: damaged. Restore a copy.")
            found = self._pots[account, pot] = (posted, pending)
        return found

    def grants(self, account: str) -> dict[int, dict[str, Any]]:
        """Return the facts of an account's grants by transfer number, oldest first."""
        if account not in self._grants:
            sql = "SELECT seq, facts FROM transfer WHERE account = ? AND kind = 'grant'"
            rows = self.rows(f"{sql} ORDER BY seq", account)
            self._grants[account] = {seq: _conditions(seq, facts) for seq, facts in rows}
        return self._grants[account]

    def find(self, id: bytes) -> Booked | None:
        """Return the transfer with an id, or None."""
        return next(self._booked("WHERE id = ?", id), None)

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of `ids` that are booked."""
        sql = "SELECT id FROM transfer WHERE id IN (SELECT unhex(value) FROM json_each(?))"
        return {id for (id,) in self.rows(sql, json.dumps([id.hex() for id in ids]))}

    def held(
        self, prefix: bytes, account: str | None = None, run: str | None = None
    ) -> list[Booked]:
        """Return the open reservations under leases whose names begin with a prefix.

        Args:
            prefix: the first bytes of a lease, or all 16.
            account: the account that holds the credit; None means every account.
            run: the run that the credit is for; None means every run, and no run.
        """
        where = (
            "AS t WHERE lease BETWEEN ?1 AND ?2 AND kind = 'reserve' AND account = ifnull(?3, "
            f"account) AND (?4 IS NULL OR run = ?4) AND {_UNRESOLVED} ORDER BY seq"
        )
        return list(self._booked(where, prefix, prefix.ljust(16, b"\xff"), account, run))

    def reservations(self, lease: bytes) -> int:
        """Return how many reservations were ever booked under a lease."""
        sql = "SELECT count(*) FROM transfer WHERE lease = ? AND kind = 'reserve'"
        return self.rows(sql, lease)[0][0]

    def overdue(self, account: str, seen: tuple[int, int], now: int) -> list[Booked]:
        """Return an account's open reservations that have expired.

        Args:
            account: the name of the account.
            seen: (time, number) of an earlier look: no reservation up to that transfer number that
                expired by that time is open.
            now: the ledger's time [ms since 1970].
        """
        where = (
            "AS t WHERE seq IN (SELECT seq FROM transfer WHERE account = ?1 AND kind = 'reserve' "
            "AND expires > ?2 AND expires <= ?4 UNION ALL SELECT seq FROM transfer WHERE seq > ?3 "
            "AND +account = ?1 AND +kind = 'reserve' AND +expires <= ?4)"  # One index a branch.
        )
        return list(self._booked(f"{where} AND {_UNRESOLVED} ORDER BY seq", account, *seen, now))

    def open_holds(self, now: int, accounts: Iterable[str]) -> list[Booked]:
        """Return the open reservations of some accounts that have not expired, oldest first."""
        where = (
            "AS t WHERE account IN (SELECT value FROM json_each(?)) AND kind = 'reserve' AND "
            f"expires > ? AND {_UNRESOLVED} ORDER BY seq"
        )
        return list(self._booked(where, json.dumps(sorted(accounts)), now))

    def of_run(self, run: str) -> list[Booked]:
        """Return a run's posts, their refunds, and its open reservations."""
        kinds = f"kind IN ('post', 'refund') OR (kind = 'reserve' AND {_UNRESOLVED})"
        return list(self._booked(f"AS t WHERE run = ? AND ({kinds}) ORDER BY seq", run))

    def corrections(self, post: int) -> list[Booked]:
        """Return the refunds of the post with a transfer number."""
        return list(self._booked("WHERE corrects = ? ORDER BY seq", post))

    def numbered(self, seq: int) -> Booked | None:
        """Return the transfer with a number, or None."""
        return next(self._booked("WHERE seq = ?", seq), None)

    def is_resolved(self, hold: int, until: int) -> bool:
        """Return whether a transfer up to number `until` closes the hold with a number."""
        sql = "SELECT 1 FROM transfer WHERE resolves = ? AND seq <= ?"
        return bool(self.rows(sql, hold, until))

    def pots(self, until: int) -> list[tuple[Any, ...]]:
        """Return (account, pot, posted, pending, entries) after transfer `until`, sorted.

        The balances are sums of entries.
        """
        sql = (
            "SELECT account, pot, sum(posted), sum(pending), count(*) FROM entry "
            "WHERE transfer <= ? GROUP BY account, pot ORDER BY account, pot"
        )
        return self.rows(sql, until)

    def opened(self, until: int) -> list[Booked]:
        """Return the openings of accounts up to transfer `until`."""
        return list(self._booked("WHERE kind = 'open' AND seq <= ? ORDER BY seq", until))

    def transfers(self, accounts: Iterable[str] | None = None) -> Iterator[Booked]:
        """Yield all transfers in order, or only those of some accounts."""
        if accounts is None:
            return self._booked("ORDER BY seq")
        names = json.dumps(sorted(accounts))
        return self._booked("WHERE account IN (SELECT value FROM json_each(?)) ORDER BY seq", names)

    def _booked(self, where: str, *values: Any) -> Iterator[Booked]:
        for row in self.raw(where, *values):
            yield booked_of(row)

    def until(self, seq: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the transfers up to a number, unchecked, with all columns."""
        return self.raw("WHERE seq <= ? ORDER BY seq", seq)

    def after(self, seq: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the transfers after a number, unchecked, with all columns."""
        return self.raw("WHERE seq > ? ORDER BY seq", seq)

    def raw(self, where: str = "ORDER BY seq", *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of transfers, unchecked, with all columns."""
        return self._read(f"SELECT {_COLUMNS}, at, link FROM transfer {where}", *values)

    def entries(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the entries of the transfers after a number, in the order of these."""
        sql = "SELECT * FROM entry WHERE transfer > ? ORDER BY transfer, account, pot"
        for row in self._read(sql, after):
            if [type(value) for value in row] != [str, *[int] * 6]:
                raise LedgerError(f"the entry {row!r}: damaged. Restore a copy.")
            yield row

    def damage(self) -> list[str]:
        """Return what SQLite's own checks find wrong with the file."""
        found = [str(row[0]) for row in self.rows("PRAGMA integrity_check") if row != ("ok",)]
        for table, _, other, _ in self.rows("PRAGMA foreign_key_check"):
            found.append(f"a row of {table} is about one of {other} that is not there")
        return found

    # Add ------------------------------------------------------------------------------------------

    def open(self, name: str, mode: str, overdraft: int) -> None:
        """Add an account."""
        self.rows("INSERT INTO account VALUES (?, ?, ?)", name, mode, overdraft)

    def add(self, move: Move, at: int) -> None:
        """Add a transfer with its entries, at a time [ms since 1970]."""
        last, before, _ = self.tail()
        seq = last + 1
        values = (  # In the order of _COLUMNS, and `at`.
            seq,
            move.id,
            move.kind,
            move.account,
            move.amount,
            canonical(move.facts),
            text_of(move.parts),
            move.lease,
            move.run,
            move.resolves,
            move.corrects,
            move.expires,
            at,
        )
        link = linked(before, values)
        entries = [
            (account, pot, seq, posted, pending, *self._moved(account, pot, posted, pending))
            for account, pot, posted, pending in legs(
                move.kind, move.account, move.amount, move.parts
            )
        ]  # Computed before anything is appended: looking up a pot writes the waiting rows.
        self._transfers.append((*values, link))
        self._entries += entries
        self._tail = (seq, link, at)
        if move.kind == "grant":
            self._grants.pop(move.account, None)

    def flush(self) -> None:
        """Write the added rows."""
        if self._transfers:
            transfers, entries = self._transfers, self._entries
            self._transfers, self._entries = [], []
            self._many(_ADD, transfers)
            self._many(_ENTER, entries)

    def _moved(self, account: str, pot: int, posted: int, pending: int) -> tuple[int, int]:
        """Change a pot's posted and pending balance; return the new ones [microcredits]."""
        before = self.pot(account, pot)
        after = before[0] + posted, before[1] + pending
        if not (-_MOST <= after[0] <= _MOST and -_MOST <= after[1] <= _MOST):
            raise LedgerError(
                f"the account {account!r} would hold over {_MOST:,} microcredits, the most that "
                "the book can write. Nothing was booked."
            )
        self._pots[account, pot] = after
        return after


class Draft(Pages):
    """Pages that are never written: an added transfer only changes the balances in memory."""

    def open(self, name: str, mode: str, overdraft: int) -> None:
        """Add nothing."""

    def add(self, move: Move, at: int) -> None:
        """Change the balances as the transfer would."""
        for leg in legs(move.kind, move.account, move.amount, move.parts):
            self._moved(*leg)


def linked(before: bytes, values: tuple[Any, ...]) -> bytes:
    """Return the link of a transfer: SHA-256 of the link before it and the CBOR of its columns."""
    return hashlib.sha256(before + cbor2.dumps(values)).digest()


def _account(row: tuple[Any, ...]) -> tuple[str, str, int]:
    """Return name, mode and overdraft in a row; LedgerError if it is damaged."""
    name, mode, overdraft = row
    if type(name) is not str or mode not in ("prepaid", "postpaid") or type(overdraft) is not int:
        raise LedgerError(f"the account {name!r}: damaged. Restore a copy.")
    return name, mode, overdraft


def _conditions(seq: int, facts: Any) -> dict[str, Any]:
    """Return the facts of the grant with a number; LedgerError if they are damaged."""
    try:
        return facts_of("grant", facts)
    except (ValueError, TypeError, RecursionError) as error:
        raise LedgerError(f"transfer {seq}: damaged: {error}. Restore a copy.") from None
