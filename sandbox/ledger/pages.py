"""The pages of the ledger: all SQL that reads and writes accounts, transfers and entries."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cbor2

from sandbox.errors import LedgerError
from sandbox.ledger.database import Database, Row
from sandbox.ledger.rows import booked_of, facts_of, is_time
from sandbox.ledger.transfer import Booked, Leg, Move, canonical, legs, text_of

FIRST_LINK = bytes(32)
_COLUMNS = "seq, id, kind, account, amount, facts, parts, lease, run, resolves, corrects, expires"
_SELECT = f"SELECT {_COLUMNS}, at, link FROM transfer"
_UNRESOLVED = "NOT EXISTS (SELECT 1 FROM transfer WHERE resolves = t.seq)"
_TAIL = "SELECT seq, link, at FROM transfer ORDER BY seq DESC LIMIT 1"
_MOST = 2**63 - 1
Tail = tuple[int, bytes, int]  # The last transfer's number, link and time [ms since 1970].
Entry = tuple[str, int, int, int, int, int]  # Account, pot, changes, balances after it.


class Pages:
    """The ledger as one transaction reads and extends it.

    Added transfers wait: they are numbered, linked and written together, before a query that they
    could change, and at the end. Until then other accounts' transactions may add theirs.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pots: dict[tuple[str, int], tuple[int, int]] = {}
        self._grants: dict[str, dict[int, dict[str, Any]]] = {}
        self._tail: Tail | None = None  # Known once no other transaction can add a transfer.
        self._seen: Tail | None = None  # What was the last when somebody asked first.
        self._waiting: dict[bytes, tuple[Row, list[Entry], Leg | None]] = {}  # By id.
        self.last: tuple[bytes, bytes] | None = None  # Id and link of what was written last.

    @property
    def damages(self) -> tuple[type[Exception], ...]:
        """What reading damaged tables can raise."""
        return self._database.damages

    # Read -----------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the time of the book's clock [s since 1970]."""
        return self._database.now()

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a query, with what was added."""
        self.flush()
        return self._database.rows(sql, *values)

    def _stream(self, sql: str, *values: Any) -> Iterator[Row]:
        self.flush()
        yield from self._database.stream(sql, *values)

    def _waits(self, kind: str) -> bool:
        """Return whether a transfer of a kind waits to be written."""
        return any(row[1] == kind for row, _, _ in self._waiting.values())

    def ledger_id(self) -> str:
        """Return the ledger's id; LedgerError if there is not exactly one."""
        ids = self.rows("SELECT id FROM ledger")
        if len(ids) != 1 or type(ids[0][0]) is not str:
            raise LedgerError(f"damaged: the ledger has {len(ids)} ids, not 1. Restore a copy.")
        return ids[0][0]

    def tail(self) -> Tail:
        """Return the last transfer; no other transaction can add one before this one ends."""
        self.flush()
        return self._locked_tail()

    def _locked_tail(self) -> Tail:
        if self._tail is None:
            self._database.lock_tail()
            self._tail = _tail(self._database.rows(_TAIL))
        return self._tail

    def seen(self) -> Tail:
        """Return the last transfer that was booked; others may come before what is added."""
        if self._tail is not None:
            return self._tail
        if self._seen is None:
            self._seen = _tail(self._database.rows(_TAIL))
        return self._seen

    def account(self, name: str) -> tuple[str, int] | None:
        """Return an account's mode and overdraft [microcredits]; None if it is not open."""
        sql = "SELECT name, mode, overdraft FROM account WHERE name = ?"
        found = self._database.rows(sql, name)
        return _account(found[0])[1:] if found else None

    def accounts(self) -> list[tuple[str, str, int]]:
        """Return (name, mode, overdraft) of every account, sorted by name."""
        rows = self.rows("SELECT name, mode, overdraft FROM account NOT INDEXED")
        return sorted(map(_account, rows))  # As they are: an index may say other names.

    def pot(self, account: str, pot: int) -> tuple[int, int]:
        """Return a pot's posted and pending balance [microcredits]."""
        found = self._pots.get((account, pot))
        if found is None:
            rows = self._database.rows(  # What waits has changed other pots alone.
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
            if self._waits("grant"):
                self.flush()
            rows = self._database.rows(f"{sql} ORDER BY seq", account)
            self._grants[account] = {seq: _conditions(seq, facts) for seq, facts in rows}
        return self._grants[account]

    def find(self, id: bytes) -> Booked | None:
        """Return the transfer with an id, or None."""
        if id in self._waiting:
            self.flush()
        found = self._database.rows(f"{_SELECT} WHERE id = ?", id)
        return booked_of(found[0]) if found else None

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of `ids` that are booked."""
        rows = self._database.rows("SELECT id FROM transfer WHERE id = ANY(?)", [*ids])
        return {id for (id,) in rows} | self._waiting.keys() & {*ids}

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
            "AS t WHERE lease BETWEEN ?1 AND ?2 AND kind = 'reserve' AND account = coalesce(?3, "
            f"account) AND (CAST(?4 AS TEXT) IS NULL OR run = ?4) AND {_UNRESOLVED} ORDER BY seq"
        )
        return self._booked(where, prefix, prefix.ljust(16, b"\xff"), account, run)

    def reservations(self, lease: bytes) -> int:
        """Return how many reservations were ever booked under a lease."""
        sql = "SELECT count(*) FROM transfer WHERE lease = ? AND kind = 'reserve'"
        if self._waits("reserve"):
            self.flush()
        return self._database.rows(sql, lease)[0][0]

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
        return self._booked(f"{where} AND {_UNRESOLVED} ORDER BY seq", account, *seen, now)

    def open_holds(self, now: int, accounts: Iterable[str]) -> list[Booked]:
        """Return the open reservations of some accounts that have not expired, oldest first."""
        where = (
            "AS t WHERE account = ANY(?) AND kind = 'reserve' AND expires > ? AND "
            f"{_UNRESOLVED} ORDER BY seq"
        )
        return self._booked(where, sorted(accounts), now)

    def of_run(self, run: str) -> Iterator[Booked]:
        """Yield a run's posts, their refunds, and its open reservations, in order."""
        kinds = f"kind IN ('post', 'refund') OR (kind = 'reserve' AND {_UNRESOLVED})"
        return map(booked_of, self.raw(f"AS t WHERE run = ? AND ({kinds}) ORDER BY seq", run))

    def corrections(self, post: int) -> list[Booked]:
        """Return the refunds of the post with a transfer number."""
        return self._booked("WHERE corrects = ? ORDER BY seq", post)

    def numbered(self, seq: int) -> Booked | None:
        """Return the transfer with a number, or None."""
        return next(iter(self._booked("WHERE seq = ?", seq)), None)

    def is_resolved(self, hold: int, until: int) -> bool:
        """Return whether a transfer up to number `until` closes the hold with a number."""
        sql = "SELECT 1 FROM transfer WHERE resolves = ? AND seq <= ?"
        return bool(self.rows(sql, hold, until))

    def pots(self, until: int) -> list[tuple[Any, ...]]:
        """Return (account, pot, posted, pending, entries) after transfer `until`, sorted.

        The balances are sums of entries.
        """
        sql = (
            "SELECT account, pot, CAST(sum(posted) AS BIGINT), CAST(sum(pending) AS BIGINT), "
            "count(*) FROM entry WHERE transfer <= ? GROUP BY account, pot ORDER BY account, pot"
        )
        return list(self._stream(sql, until))

    def opened(self, until: int) -> list[Booked]:
        """Return the openings of accounts up to transfer `until`."""
        return self._booked("WHERE kind = 'open' AND seq <= ? ORDER BY seq", until)

    def transfers(self, accounts: Iterable[str] | None = None) -> Iterator[Booked]:
        """Yield all transfers in order, or only those of some accounts."""
        where = "ORDER BY seq" if accounts is None else "WHERE account = ANY(?) ORDER BY seq"
        values = [] if accounts is None else [sorted(accounts)]
        return map(booked_of, self.raw(where, *values))

    def _booked(self, where: str, *values: Any) -> list[Booked]:
        return [booked_of(row) for row in self.rows(f"{_SELECT} {where}", *values)]

    def until(self, seq: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the transfers up to a number, unchecked, with all columns."""
        return self.raw("WHERE seq <= ? ORDER BY seq", seq)

    def after(self, seq: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the transfers after a number, unchecked, with all columns."""
        return self.raw("WHERE seq > ? ORDER BY seq", seq)

    def raw(self, where: str = "ORDER BY seq", *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of transfers, unchecked, with all columns."""
        return self._stream(f"{_SELECT} {where}", *values)

    def entries(self, after: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the entries of the transfers after a number, in the order of these."""
        sql = "SELECT * FROM entry WHERE transfer > ? ORDER BY transfer, account, pot"
        for row in self._stream(sql, after):
            if [type(value) for value in row] != [str, *[int] * 6]:
                raise LedgerError(f"the entry {row!r}: damaged. Restore a copy.")
            yield row

    def faults(self, *, whole: bool) -> Iterator[str]:
        """Yield which tables are not as made and, if `whole`, what the database finds wrong."""
        return self._database.faults(whole=whole)

    # Add ------------------------------------------------------------------------------------------

    def open(self, name: str, mode: str, overdraft: int) -> None:
        """Add an account."""
        self._database.rows("INSERT INTO account VALUES (?, ?, ?)", name, mode, overdraft)

    def add(self, move: Move, at: int) -> None:
        """Add a transfer with its entries, at a time [ms since 1970] or when it is written."""
        if move.id in self._waiting:
            self.flush()  # The database refuses the second.
        row = (  # In the order of _COLUMNS without the number, and `at`.
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
        *mine, other = legs(move.kind, move.account, move.amount, move.parts) or [None]
        entries = [(*leg, *self._moved(*leg)) for leg in mine if leg is not None]
        self._waiting[move.id] = (row, entries, other)
        if move.kind == "grant":
            self._grants.pop(move.account, None)

    def flush(self) -> None:
        """Number, link and write the added transfers."""
        if not self._waiting:
            return
        seq, link, last = self._locked_tail()
        waiting, self._waiting = self._waiting, {}
        transfers, written = list[Row](), list[Row]()
        for (*row, at), entries, other in waiting.values():
            seq, last = seq + 1, max(at, last)
            if row[1] == "reserve":
                row[-1] += last - at  # It lasts as long as was asked for.
            values = (seq, *row, last)
            link = linked(link, values)
            transfers.append((*values, link))
            if other is not None:
                entries = [*entries, (*other, *self._moved(*other))]
            written += [(*entry[:2], seq, *entry[2:]) for entry in entries]
        self._tail, self.last = (seq, link, last), (transfers[-1][1], link)
        self._database.insert(transfers, written)

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

    def tail(self) -> Tail:
        """Return the last transfer that was booked."""
        return self.seen()

    def add(self, move: Move, at: int) -> None:
        """Change the balances as the transfer would."""
        for leg in legs(move.kind, move.account, move.amount, move.parts):
            self._moved(*leg)


def _tail(rows: Sequence[Row]) -> Tail:
    """Return the last transfer in the rows of a query for it; LedgerError if it is damaged."""
    seq, link, at = rows[0] if rows else (0, FIRST_LINK, 0)
    if type(link) is not bytes or not is_time(at):
        raise LedgerError(f"transfer {seq!r}: damaged: its at is {at!r}. Restore a copy.")
    return seq, link, at


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
