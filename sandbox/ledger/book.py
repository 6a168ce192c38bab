"""Accounts, grants, reservations and posts: double entry, whole microcredits, only ever added to.

A transfer moves an amount from its debit account to its credit account, in two entries. A grant
moves credit into an account; a reserve holds some of it back (pending); a post moves it to the
plant; a void or an expire gives a hold back. Every entry carries its account's balances after it,
so that a balance is one look-up; `check` derives them all again from nothing.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError, UnknownNameError
from sandbox.ledger.store import Store, home
from sandbox.meter import Receipt
from sandbox.prices import credits

GRANTS, PLANT = "@grants", "@plant"
HOLD_S = 24 * 3600  # After this a hold that nobody resolved expires.
LARGEST = 2**62  # Microcredits; sums stay inside SQLite's 64 bits.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")

Mode = Literal["prepaid", "postpaid", "system"]
Sql = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays: `prepaid` stops at 0, `postpaid` owes."""

    name: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has.

    Attributes:
        posted_micro: grants less posts [microcredits]; below 0 is owed.
        pending_micro: held back by reservations.
        available_micro: what may still be reserved; None is without limit.
    """

    posted_micro: int
    pending_micro: int
    available_micro: int | None


def charge_id(run: str, episode: int) -> bytes:
    """Return the id of an episode's post, 16 bytes: SHA-256 of "charge/v1", run, episode.

    The parts are joined by line feeds, which none of them holds.
    """
    return _id("charge/v1", run, str(episode))


def _id(*parts: str) -> bytes:
    return hashlib.sha256("\n".join(parts).encode()).digest()[:16]


class Ledger:
    """The book. Any number of processes may share one.

    Args:
        path: of its file; `ledger.db` in `home()` by default.
        clock: seconds since 1970, for holds that expire.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = path or home() / "ledger.db"
        self._store = Store(self.path)
        self._clock = clock

    def open_account(self, name: str, mode: Mode) -> Account:
        """Open an account; one that is open with the same mode is left as it is.

        Raises:
            InvalidInputError: a name of other than 1 to 64 letters, digits and . _ / -
            LedgerError: it is open with another mode.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInputError(
                f"account {name!r}: use 1 to 64 letters, digits and . _ / -, beginning with a "
                "letter or digit."
            )
        with self._store.transaction() as sql:
            return self._opened(sql, name, mode)

    def account(self, name: str) -> Account:
        """Return an account; `local` is opened as postpaid when it is first asked for.

        Raises:
            UnknownNameError: no such account.
        """
        with self._store.transaction() as sql:
            return self._account(sql, name)

    def grant(self, account: str, amount: int, id: bytes | None = None) -> Receipt:
        """Give credit [microcredits]; a new account is opened as prepaid.

        Args:
            account: who gets it.
            amount: how much, more than 0.
            id: made by the client, 16 bytes: the same grant twice counts once.
        """
        if not 0 < amount <= LARGEST:
            raise InvalidInputError(f"a grant of {credits(amount)} credits: give more than 0.")
        if not _NAME.fullmatch(account):
            self.open_account(account, "prepaid")
        with self._store.transaction() as sql:
            if account == "local" or not sql("SELECT 1 FROM account WHERE name = ?", account):
                self._opened(sql, account, "postpaid" if account == "local" else "prepaid")
            move = _Move(id or uuid.uuid4().bytes, "grant", GRANTS, account, amount)
            return Receipt(move.id, amount, self._book(sql, move))

    def balance(self, account: str) -> Balance:
        """Return what an account has; holds that have expired are given back first."""
        with self._store.transaction() as sql:
            mode = self._account(sql, account).mode
            self._expire(sql, account)
            return self._balance(sql, account, mode)

    def reserve(self, account: str, episode: bytes, at_least: int, at_most: int) -> int:
        """Hold back between `at_least` and `at_most` [microcredits] for an episode.

        Returns:
            How much is held; 0 if not even `at_least` is there. A postpaid account has no limit, so
            nothing is booked and `at_most` is returned.
        """
        with self._store.transaction() as sql:
            mode = self._account(sql, account).mode
            if mode == "postpaid":
                return at_most
            self._expire(sql, account)
            available = self._balance(sql, account, mode).available_micro or 0
            if available < at_least:
                return 0
            held = min(available, at_most)
            count = len(sql("SELECT 1 FROM transfer WHERE episode = ?", episode))
            move = _Move(
                _id("reserve/v1", account, episode.hex(), str(count)),
                *("reserve", account, PLANT, held),
                episode=episode,
                expires=int(self._clock()) + HOLD_S,
            )
            self._book(sql, move)
            return held

    def settle(
        self,
        account: str,
        episode: bytes,
        amount: int,
        evidence: str,
        quantities: Mapping[str, int],
        version: str,
    ) -> Receipt:
        """Post an episode's charge, once, and give back what else it holds.

        Args:
            account: who pays.
            episode: the id of the post, 16 bytes: the same episode is never charged twice.
            amount: microcredits.
            evidence: the digest of what was done.
            quantities: the work, per meter unit.
            version: of the price schedule.

        Raises:
            LedgerError: the id was used for something else.
            BudgetExhaustedError: a prepaid account has not as much, for a hold has expired.
        """
        if not 0 <= amount <= LARGEST:
            raise InvalidInputError(f"a charge of {amount!r} microcredits cannot be booked.")
        with self._store.transaction() as sql:
            mode = self._account(sql, account).mode
            self._release(sql, account, episode)
            work = json.dumps(dict(quantities), sort_keys=True)
            move = _Move(
                *(episode, "post", account, PLANT, amount, episode),
                evidence=evidence,
                quantities=work,
                price_version=version,
            )
            exists = self._book(sql, move)
            if not exists and mode == "prepaid":
                balance = self._balance(sql, account, mode)
                if balance.available_micro is not None and balance.available_micro < 0:
                    raise BudgetExhaustedError(
                        f"an episode cost {credits(amount)} credits but the account {account!r} "
                        f"has {credits(balance.available_micro + amount)}. Nothing was charged. "
                        f"Grant credits with `sandbox ledger grant {account} CREDITS`."
                    )
            return Receipt(episode, amount, exists)

    def void(self, account: str, episode: bytes) -> None:
        """Give back what an episode holds."""
        with self._store.transaction() as sql:
            self._release(sql, account, episode)

    def statement(self, account: str) -> list[dict[str, Any]]:
        """Return what moved on an account, oldest first; amounts in microcredits."""
        with self._store.transaction() as sql:
            self._account(sql, account)
            rows = sql(
                "SELECT at, kind, posted, pending, posted_after, pending_after, quantities, "
                "price_version, hex(id), evidence FROM entry JOIN transfer ON seq = transfer "
                "WHERE account = ? ORDER BY seq",
                account,
            )
        keys = "time kind amount_micro held_micro balance_micro pending_micro work price_version"
        lines = [dict(zip([*keys.split(), "id", "evidence"], row, strict=True)) for row in rows]
        return [{**line, "work": json.loads(line["work"] or "{}")} for line in lines]

    def check(self) -> list[str]:
        """Derive every balance again from the transfers; return what disagrees, [] if nothing."""
        faults: list[str] = []
        with self._store.transaction() as sql:
            modes = dict(sql("SELECT name, mode FROM account"))
            sums: dict[str, tuple[int, int]] = {}
            for row in sql(
                "SELECT seq, account, posted, pending, posted_after, pending_after, kind, debit, "
                "credit, amount, resolves FROM entry JOIN transfer ON seq = transfer ORDER BY seq"
            ):
                seq, account, posted, pending, posted_after, pending_after, *move = row
                before = sums.get(account, (0, 0))
                after = sums[account] = (before[0] + posted, before[1] + pending)
                if after != (posted_after, pending_after):
                    faults.append(f"transfer {seq}: the balance of {account!r} is {after}.")
                if (posted, pending) != _effect(account, *move[:4]):
                    faults.append(f"transfer {seq}: its entry on {account!r} is not its amount.")
                if modes.get(account) == "prepaid" and after[0] - after[1] < 0:
                    faults.append(f"transfer {seq}: {account!r} is overdrawn.")
            if sum(s[0] for s in sums.values()) or sum(s[1] for s in sums.values()):
                faults.append("the entries do not add up to 0.")
            twos = sql("SELECT transfer FROM entry GROUP BY transfer HAVING count(*) <> 2")
            faults += [f"transfer {row[0]}: it has not two entries." for row in twos]
        return faults

    # Parts of a transaction -----------------------------------------------------------------------

    def _opened(self, sql: Sql, name: str, mode: Mode) -> Account:
        found = sql("SELECT mode FROM account WHERE name = ?", name)
        if found and found[0][0] != mode:
            raise LedgerError(f"the account {name!r} is open as {found[0][0]}, not {mode}.")
        if not found:
            for new, its in ((name, mode), (GRANTS, "system"), (PLANT, "system")):
                sql("INSERT OR IGNORE INTO account VALUES (?, ?)", new, its)
        return Account(name, mode)

    def _account(self, sql: Sql, name: str) -> Account:
        found = sql("SELECT mode FROM account WHERE name = ? AND mode <> 'system'", name)
        if found:
            return Account(name, found[0][0])
        if name == "local":
            return self._opened(sql, name, "postpaid")
        known = [row[0] for row in sql("SELECT name FROM account WHERE mode <> 'system'")]
        where = f"Open it with `sandbox ledger grant {name} CREDITS`"
        raise UnknownNameError("account", name, sorted({"local", *known}), where)

    def _balance(self, sql: Sql, account: str, mode: Mode) -> Balance:
        rows = sql(
            "SELECT posted_after, pending_after FROM entry WHERE account = ? "
            "ORDER BY transfer DESC LIMIT 1",
            account,
        )
        posted, pending = rows[0] if rows else (0, 0)
        return Balance(posted, pending, posted - pending if mode == "prepaid" else None)

    def _book(self, sql: Sql, move: "_Move") -> bool:
        """Add a transfer and its two entries; return whether it was there already.

        Raises:
            LedgerError: its id was used for something else.
        """
        names = ", ".join(_COLUMNS)
        found = sql(f"SELECT {names} FROM transfer WHERE id = ?", move.id)
        values = tuple(getattr(move, name) for name in _COLUMNS)
        if found:
            differ = [
                f"{n} {old!r} is not {new!r}"
                for n, old, new in zip(_COLUMNS, found[0], values, strict=True)
                if old != new
            ]
            if differ:
                raise LedgerError(
                    f"the transfer {move.id.hex()} is on the book as something else: "
                    f"{'; '.join(differ)}. Nothing was booked."
                )
            return True
        sql(
            f"INSERT INTO transfer ({names}, expires, at) "
            f"VALUES ({', '.join('?' * (len(_COLUMNS) + 2))})",
            *values,
            move.expires,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (seq,) = sql("SELECT seq FROM transfer WHERE id = ?", move.id)[0]
        for account in (move.debit, move.credit):
            before = self._balance(sql, account, "system")
            posted, pending = _effect(account, move.kind, move.debit, move.credit, move.amount)
            after = (before.posted_micro + posted, before.pending_micro + pending)
            sql(
                "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", seq, account, posted, pending, *after
            )
        return False

    def _release(self, sql: Sql, account: str, episode: bytes) -> None:
        """Void the holds of an episode that nothing has resolved."""
        for seq, id, amount in sql(
            "SELECT seq, id, amount FROM transfer AS t WHERE episode = ? AND kind = 'reserve' AND "
            "debit = ? AND NOT EXISTS (SELECT 1 FROM transfer WHERE resolves = t.seq)",
            episode,
            account,
        ):
            move = (_id("void/v1", id.hex()), "void", account, PLANT, amount)
            self._book(sql, _Move(*move, episode=episode, resolves=seq))

    def _expire(self, sql: Sql, account: str) -> None:
        """Give back the holds of an account that are past their time."""
        if self._balance(sql, account, "prepaid").pending_micro == 0:
            return
        for seq, id, amount, episode in sql(
            "SELECT seq, id, amount, episode FROM transfer AS t WHERE debit = ? AND expires <= ? "
            "AND NOT EXISTS (SELECT 1 FROM transfer WHERE resolves = t.seq)",
            account,
            int(self._clock()),
        ):
            move = (_id("expire/v1", id.hex()), "expire", account, PLANT, amount)
            self._book(sql, _Move(*move, episode=episode, resolves=seq))


@dataclass(frozen=True, slots=True)
class _Move:
    """A transfer to book; all but `expires` is what makes it the same transfer."""

    id: bytes
    kind: str
    debit: str
    credit: str
    amount: int
    episode: bytes | None = None
    resolves: int | None = None
    evidence: str | None = None
    quantities: str | None = None
    price_version: str | None = None
    expires: int | None = None


_COLUMNS = (
    *("id", "kind", "debit", "credit", "amount", "episode", "resolves"),
    *("evidence", "quantities", "price_version"),
)


def _effect(account: str, kind: str, debit: str, credit: str, amount: int) -> tuple[int, int]:
    """Return what a transfer does to an account's posted and pending balances."""
    sign = (account == credit) - (account == debit)
    if kind in ("grant", "post"):
        return sign * amount, 0
    return 0, (-sign if kind == "reserve" else sign) * amount


class AccountFunds:
    """One account of a book, as a meter sees it."""

    def __init__(self, ledger: Ledger, account: str) -> None:
        ledger.account(account)
        self._ledger, self.account = ledger, account
        self._episode = b""

    def available(self) -> int | None:
        """Return what could be reserved [microcredits]; None is without limit."""
        return self._ledger.balance(self.account).available_micro

    def posted(self) -> int | None:
        """Return what grants less posts leave [microcredits]; None is without limit."""
        found = self._ledger.balance(self.account)
        return None if found.available_micro is None else found.posted_micro

    def reserve(self, episode_id: bytes, at_least: int, at_most: int) -> int:
        """Hold back between `at_least` and `at_most` and return how much; 0 if that is not there.

        The first hold of an episode gives back what a killed process held for it.
        """
        if episode_id != self._episode:
            self._ledger.void(self.account, episode_id)
            self._episode = episode_id
        return self._ledger.reserve(self.account, episode_id, at_least, at_most)

    def settle(
        self,
        episode_id: bytes,
        amount: int,
        evidence: str,
        quantities: Mapping[str, int],
        version: str,
    ) -> Receipt:
        """Post `amount` once and give back what else this episode holds."""
        return self._ledger.settle(self.account, episode_id, amount, evidence, quantities, version)

    def void(self, episode_id: bytes) -> None:
        """Give back all that this episode holds."""
        self._ledger.void(self.account, episode_id)
