"""Accounts, grants, reservations and posts: double entry, whole microcredits, only ever added to.

A transfer moves an amount from its debit account to its credit account, in two entries. A grant
moves credit into an account; a reserve holds some of it back (pending); a post moves it to the
plant; a void or an expire gives a hold back. Every entry carries its account's balances after it,
so that a balance is one look-up; `check` derives them all again from nothing.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sandbox import content
from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError, UnknownNameError
from sandbox.ledger import proof
from sandbox.ledger.store import Sql, Store
from sandbox.ledger.transfer import COLUMNS, LARGEST, Move, check_amount, checked_id, effect, named
from sandbox.meter import Receipt
from sandbox.prices import credits

GRANTS, PLANT = "@grants", "@plant"
HOLD_S = 24 * 3600  # After this a hold that nobody resolved expires.
FULL = 2**63 - 1  # Microcredits; of one account: SQLite's integers have 64 bits.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")

Mode = Literal["prepaid", "postpaid", "system"]


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


class Ledger:
    """The book. Any number of processes may share one.

    Args:
        path: of its file; `ledger.db` in `content.home()` by default.
        clock: seconds since 1970, for holds that expire.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = path or content.home() / "ledger.db"
        self._store = Store(self.path)
        self._clock = clock
        self._swept: dict[str, int] = {}  # Account to when no hold that had expired was left.

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

    def accounts(self) -> list[Account]:
        """Return every account that somebody opened, by name."""
        with self._store.transaction() as sql:
            rows = sql("SELECT name, mode FROM account WHERE mode <> 'system' ORDER BY name")
        return [Account(name, mode) for name, mode in rows]

    def grant(self, account: str, amount: int, id: bytes | None = None) -> Receipt:
        """Give credit [microcredits]; a new account is opened as prepaid.

        Args:
            account: who gets it.
            amount: how much, more than 0.
            id: made by the client, 16 bytes: the same grant twice counts once.
        """
        check_amount("a grant", amount, least=1)
        id = uuid.uuid4().bytes if id is None else checked_id(id)
        if not _NAME.fullmatch(account):
            self.open_account(account, "prepaid")
        with self._store.transaction() as sql:
            if account == "local" or not sql("SELECT 1 FROM account WHERE name = ?", account):
                self._opened(sql, account, "postpaid" if account == "local" else "prepaid")
            move = Move(id, "grant", GRANTS, account, amount)
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
        check_amount("a reservation", at_least)
        if type(at_most) is not int or at_most < at_least:
            raise InvalidInputError(
                f"a reservation of {at_least!r} to {at_most!r} microcredits: give the most last."
            )
        checked_id(episode)
        with self._store.transaction() as sql:
            mode = self._account(sql, account).mode
            if mode == "postpaid":
                return at_most
            self._expire(sql, account)
            available = self._balance(sql, account, mode).available_micro or 0
            if available < at_least:
                return 0
            held = min(available, at_most, LARGEST)
            count = len(sql("SELECT 1 FROM transfer WHERE episode = ?", episode))
            move = Move(
                named("reserve/v1", account, episode.hex(), str(count)),
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
        check_amount("a charge", amount)
        checked_id(episode)
        with self._store.transaction() as sql:
            mode = self._account(sql, account).mode
            self._release(sql, account, episode)
            work = json.dumps(dict(quantities), sort_keys=True)
            move = Move(
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
        with self._store.transaction() as sql:
            return proof.faults(sql)

    def find(self, id: bytes) -> dict[str, Any] | None:
        """Return the transfer of an id, amounts in microcredits; None if it is not on the book."""
        with self._store.transaction() as sql:
            rows = sql(
                "SELECT json_object('time', at, 'kind', kind, 'debit', debit, 'credit', credit, "
                "'amount_micro', amount, 'episode', hex(episode), 'evidence', evidence, 'work', "
                "json(coalesce(quantities, '{}')), 'price_version', price_version) "
                "FROM transfer WHERE id = ?",
                id,
            )
        return json.loads(rows[0][0]) if rows else None

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

    def _book(self, sql: Sql, move: Move) -> bool:
        """Add a transfer and its two entries; return whether it was there already.

        Raises:
            LedgerError: its id was used for something else.
        """
        names = ", ".join(COLUMNS)
        found = sql(f"SELECT {names} FROM transfer WHERE id = ?", move.id)
        values = tuple(getattr(move, name) for name in COLUMNS)
        if found:
            differ = [
                f"{n} {old!r} is not {new!r}"
                for n, old, new in zip(COLUMNS, found[0], values, strict=True)
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
            f"VALUES ({', '.join('?' * (len(COLUMNS) + 2))})",
            *values,
            move.expires,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (seq,) = sql("SELECT seq FROM transfer WHERE id = ?", move.id)[0]
        for account in (move.debit, move.credit):
            before = self._balance(sql, account, "system")
            posted, pending = effect(account, move.kind, move.debit, move.credit, move.amount)
            after = (before.posted_micro + posted, before.pending_micro + pending)
            if max(map(abs, after)) > FULL:
                raise LedgerError(
                    f"{credits(move.amount)} credits more and the account {account!r} holds over "
                    f"{credits(FULL)}, the most that the book can write. Nothing was booked."
                )
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
            move = (named("void/v1", id.hex()), "void", account, PLANT, amount)
            self._book(sql, Move(*move, episode=episode, resolves=seq))

    def _expire(self, sql: Sql, account: str) -> None:
        """Give back the holds of an account that are past their time.

        A hold of a time that was seen to be clear is not looked for again: a hold is only ever made
        for later than now.
        """
        if self._balance(sql, account, "prepaid").pending_micro == 0:
            return
        now = int(self._clock())
        late = sql(
            "SELECT seq, id, amount, episode FROM transfer AS t WHERE debit = ? AND expires > ? "
            "AND expires <= ? AND NOT EXISTS (SELECT 1 FROM transfer WHERE resolves = t.seq)",
            *(account, self._swept.get(account, -1), now),
        )
        for seq, id, amount, episode in late:
            move = (named("expire/v1", id.hex()), "expire", account, PLANT, amount)
            self._book(sql, Move(*move, episode=episode, resolves=seq))
        if not late:  # Else this transaction may still be undone.
            self._swept[account] = max(now, self._swept.get(account, -1))
