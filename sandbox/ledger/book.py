"""Accounts, grants, reservations, posts, refunds: double entry, whole microcredits, only added to.

A grant moves credit into a pot of an account; a reserve holds some of it back (pending); a post
moves it to the plant; a void or an expire gives a hold back; breakage takes what a grant left
unused when it expired; a refund gives a post back. Every entry carries its pot's balances after it,
so that a balance is a look-up; `check` derives them all again from the transfers.
"""

import re
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sandbox import content
from sandbox.errors import InvalidInputError, LedgerError, UnknownNameError
from sandbox.ledger import burn, posting, proof, rules
from sandbox.ledger.account import Account, Balance, Mode, Usage
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.pages import Pages
from sandbox.ledger.rules import HOLD_S
from sandbox.ledger.sqlite import Store
from sandbox.ledger.transfer import ANY, Booked, Charges, Move, check_amount, checked_id, named
from sandbox.meter import Receipt
from sandbox.prices import credits, plus

SKEW_MS = 60_000  # By how much clocks may run backwards; the book's own time stands still then.
PRIORITY = 100
_LOCK = re.compile("[0-9a-f]{1,64}")
_NEVER = (-1, 2**62)  # By then no hold had ended, whatever its number.


class Ledger:
    """The book. Any number of processes may share one.

    Args:
        path: of its file; `ledger.db` in `content.home()` by default.
        clock: seconds since 1970.
        read_only: neither make nor change the file.
    """

    def __init__(
        self,
        path: Path | None = None,
        clock: Callable[[], float] = time.time,
        *,
        read_only: bool = False,
        vfs: str | None = None,
    ) -> None:
        self.path = path or content.home() / "ledger.db"
        self._store = Store(self.path, read_only=read_only, vfs=vfs)
        self._clock = clock
        self._swept: dict[str, tuple[int, int]] = {}  # By account; see rules.sweep.

    # Accounts and grants --------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """What tells this book from every other, 32 hex digits."""
        with self._store.reading() as pages:
            return pages.ledger_id()

    @property
    def where(self) -> str:
        """Where this book is, for messages."""
        return self._store.where

    @contextmanager
    def alone(
        self, name: str, worker: int | None = None, wait_s: float | None = None
    ) -> Generator[None]:
        """Hold a lock of this book while the block runs, across processes.

        Args:
            name: of the lock, hex digits; those of a lease for what is done under that lease.
            worker: the number of a worker, which shares the lock with workers of other numbers;
                None excludes everybody else, workers too.
            wait_s: how long to wait for a worker's lock, which the workers of a killed process
                hold until they notice; None is 10 s.

        Raises:
            LockedError: another process holds the lock.
            SandboxError: there can be no lock beside the book.
        """
        if not _LOCK.fullmatch(name):
            raise InvalidInputError(f"lock {name!r}: give 1 to 64 hex digits.")
        with self._store.alone(name, worker, wait_s):
            yield

    def open_account(self, name: str, mode: Mode, overdraft: int = 0) -> Account:
        """Open an account; one that is open in the same way is left as it is.

        Raises:
            InvalidInputError: a name that is none, or an overdraft of a postpaid account.
            LedgerError: it is open in another way.
        """
        if mode not in ("prepaid", "postpaid"):
            raise InvalidInputError(f"mode {mode!r}: give prepaid or postpaid.")
        check_amount("an overdraft", overdraft)
        if mode == "postpaid" and overdraft:
            raise InvalidInputError("a postpaid account has no limit, so no overdraft either.")
        with self._turn() as (pages, now):
            return self._opened(pages, rules.checked_name(name), mode, overdraft, now)

    def account(self, name: str) -> Account:
        """Return an account; `local` is postpaid if it was not opened otherwise.

        Raises:
            InvalidInputError: a name that is none.
            UnknownNameError: no such account.
        """
        with self._reading() as (pages, now):
            return self._account(pages, name, now)

    def accounts(self, below: str | None = None) -> list[Account]:
        """Return every account, or one and those below it, by name."""
        with self._store.reading() as pages:
            found = [Account(n, cast(Mode, mode), over) for n, mode, over in pages.accounts()]
        return [a for a in found if below is None or f"{a.name}/".startswith(f"{below}/")]

    def grant(
        self,
        account: str,
        amount: int,
        id: bytes | None = None,
        *,
        priority: int = PRIORITY,
        effective: float | None = None,
        expires: float | None = None,
        meters: Sequence[str] = (),
        source: str = "",
    ) -> Receipt:
        """Give credit [microcredits]; a new account is opened as prepaid.

        Args:
            account: who gets it.
            amount: how much, more than 0.
            id: made by the client, 16 bytes: the same grant twice counts once.
            priority: grants of lower numbers burn first; then the one that expires first, then the
                oldest.
            effective: from when it may be used [s since 1970]; None is at once.
            expires: when what is left is lost [s since 1970]; None is never.
            meters: the meter units that it may pay; none means all.
            source: where it comes from, in words.
        """
        check_amount("a grant", amount, least=1)
        facts = rules.grant_facts(priority, effective, expires, meters, source)
        id = uuid.uuid4().bytes if id is None else checked_id(id)
        with self._turn() as (pages, now):
            if not pages.account(rules.checked_name(account)):
                mode: Mode = "postpaid" if account == "local" else "prepaid"
                self._opened(pages, account, mode, 0, now)
            pot, ends = {(ANY, pages.tail()[0] + 1): amount}, facts["expires"]
            move = Move(id, "grant", account, amount, facts, pot, expires=ends)
            if rules.exists(pages, move):
                return Receipt(id, amount, exists=True)
            if ends is not None and ends <= now:
                raise InvalidInputError(
                    f"a grant that expires at {rules.when(ends)} is of no use; give a time to come."
                )
            pages.add(move, now)
            return Receipt(id, amount, exists=False)

    def balance(self, account: str) -> Balance:
        """Return what an account has, without what has expired; books nothing."""
        with self._reading() as (pages, now):
            payer = self._account(pages, account, now)
            self._sweep(pages, account, now)
            pots = [pages.pot(account, pot) for pot in (OVERAGE, *pages.grants(account))]
            lots = rules.lots(pages, account, now)
            room = rules.overdraft(pages, payer)
            free = None if room is None else room + sum(lot.free for lot in lots)
            return Balance(sum(p for p, _ in pots), sum(p for _, p in pots), free)

    def shortfall(self, account: str, charges: Charges) -> int:
        """Return how much an account lacks for some charges [microcredits]; 0 is nothing."""
        with self._reading() as (pages, now):
            payer = self._account(pages, account, now)
            self._sweep(pages, account, now)
            lots, room = rules.lots(pages, account, now), rules.overdraft(pages, payer)
            return burn.covered(charges, lots, room)[1]

    # Two phases -----------------------------------------------------------------------------------

    def reserve(
        self,
        account: str,
        lease: bytes,
        first: Charges,
        more: Charges | None = None,
        times: int = 0,
        *,
        price_version: str,
        run: str | None = None,
        timeout_s: int = HOLD_S,
    ) -> int:
        """Hold back what `first` costs, and `more` as often as can be, up to `times`.

        Args:
            account: who pays.
            lease: 16 bytes; the name under which it is held.
            first: microcredits per meter unit.
            more: likewise.
            times: 0 or more.
            price_version: under which the work will be posted.
            run: what it is for.
            timeout_s: after how many seconds what is still held is given back, 1 to 30 days.

        Returns:
            How often `more` is held; -1 if not even `first` is there. A postpaid account has no
            limit, so nothing is booked and `times` is returned.
        """
        more = more or {}
        for charges in (first, more):
            for amount in charges.values():
                check_amount("a reservation", amount)
        if type(times) is not int or times < 0:
            raise InvalidInputError(f"a reservation of {times!r} times: give 0 or more.")
        checked_id(lease)
        rules.checked_texts(price_version=price_version, run=run)
        lasts = 1000 * rules.checked_timeout(timeout_s)
        with self._turn() as (pages, now):
            payer = self._account(pages, account, now)
            if payer.mode == "postpaid":
                return times
            self._sweep(pages, account, now)
            lots, room = rules.lots(pages, account, now), rules.overdraft(pages, payer)
            held = rules.most(first, more, times, lots, room)
            if held < 0:
                return -1
            parts, _ = burn.covered(plus(first, more, held), lots, room)
            facts = {"price_version": price_version}
            rules.hold(pages, account, lease, parts, now, lasts, facts, run)
            return held

    def post(
        self,
        account: str,
        usages: Sequence[Usage],
        lease: bytes | None = None,
        *,
        keep: bool = False,
    ) -> list[Receipt]:
        """Post what episodes cost, each once; all of them, or none.

        Args:
            account: who pays.
            usages: what was done.
            lease: what the account holds under names that begin so, 8 bytes at least, pays first;
                then it is given back, unless
            keep: the rest of it is held on.

        Raises:
            LedgerError: an id was used for something else, or credit was reserved under another
                price schedule.
            BudgetExhaustedError: a prepaid account has not as much, for a hold has expired.
        """
        dues = [posting.due(usage) for usage in usages]
        prefix = None if lease is None else rules.checked_prefix(lease)
        with self._turn() as (pages, now):
            payer = self._account(pages, account, now)
            self._sweep(pages, account, now)
            holds = [] if prefix is None else pages.held(prefix, account)
            purse = posting.Purse(pages, payer, holds, now)
            receipts = purse.post(dues)
            if keep:
                purse.hold_on()
            return receipts

    def void(self, account: str, lease: bytes) -> None:
        """Give back what an account holds under a lease."""
        checked_id(lease)
        with self._turn() as (pages, now):
            self._account(pages, account, now)
            rules.release(pages, pages.held(lease, account), now)

    def void_all(self, prefix: bytes, account: str | None = None, run: str | None = None) -> int:
        """Give back all that is held under leases that begin so.

        Args:
            prefix: 8 to 16 bytes.
            account: only what it holds; None is whoever holds it.
            run: only what is held for it; None is for whatever it is held.

        Returns:
            How much was given back [microcredits].
        """
        rules.checked_prefix(prefix)
        rules.checked_texts(run=run)
        with self._turn() as (pages, now):
            if account is not None:
                self._account(pages, account, now)
            holds = pages.held(prefix, account, run)
            rules.release(pages, holds, now)
            return sum(hold.move.amount for hold in holds)

    def refund(
        self, post: bytes, amount: int | None = None, id: bytes | None = None, reason: str = ""
    ) -> Receipt:
        """Give a post back, or a part of it, by a transfer linked to it.

        What came from a grant that has not expired goes back to it; the rest comes back as credit
        without conditions.

        Args:
            post: its id.
            amount: microcredits; None is all that has not been given back.
            id: made by the client, 16 bytes; None names the post and the amount, so that the same
                refund twice counts once.
            reason: in words.

        Raises:
            LedgerError: no such post, or more than is left of it.
        """
        checked_id(post)
        rules.checked_texts(reason=reason)
        if amount is not None:
            check_amount("a refund", amount, least=1)
        with self._turn() as (pages, now):
            booked = pages.find(post)
            if booked is None or booked.move.kind != "post":
                raise LedgerError(f"{post.hex()} is no post on this book. Nothing was booked.")
            asked = "all" if amount is None else str(amount)
            id = named("refund/v1", post.hex(), asked) if id is None else checked_id(id)
            facts = {"post": post.hex(), "asked": asked, "reason": reason}
            known = pages.find(id)
            if known is not None:
                rules.exists(
                    pages, Move(id, "refund", booked.move.account, known.move.amount, facts)
                )
                return Receipt(id, known.move.amount, exists=True)
            move = rules.refund(pages, booked, id, amount, facts, now)
            pages.add(move, now)
            return Receipt(id, move.amount, exists=False)

    # What is on the book --------------------------------------------------------------------------

    def find(self, id: bytes) -> Booked | None:
        """Return the transfer of an id; None if it is not on the book."""
        with self._store.reading() as pages:
            return pages.find(id)

    def of_run(self, run: str) -> list[Booked]:
        """Return a run's posts, their refunds, and its reservations that nothing has resolved."""
        rules.checked_texts(run=run)
        with self._store.reading() as pages:
            return pages.of_run(run)

    def refunded(self, post: bytes) -> int:
        """Return how much of a post was given back [microcredits]."""
        with self._store.reading() as pages:
            booked = pages.find(post)
            return sum(r.move.amount for r in pages.corrections(booked.seq)) if booked else 0

    def transfers(self, accounts: Sequence[str] | None = None) -> list[Booked]:
        """Return every transfer in order, or those of some accounts."""
        with self._store.reading() as pages:
            return list(pages.transfers(accounts))

    def check(self) -> list[str]:
        """Derive every balance again from the transfers; return what disagrees, [] if nothing.

        Raises:
            LedgerError: the file cannot be opened or is no ledger. Damage in it is returned.
        """
        with self._store.reading() as pages:
            return proof.faults(pages)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        self._store.close()

    # Parts of a transaction -----------------------------------------------------------------------

    @contextmanager
    def _turn(self) -> Generator[tuple[Pages, int]]:
        """Yield the pages of a transaction, and the book's time [ms since 1970].

        Raises:
            LedgerError: the clock is behind the book.
        """
        with self._store.transaction() as pages:
            now, last = self._now(), pages.tail()[2]
            if now < last - SKEW_MS:
                raise LedgerError(
                    f"the clock says {rules.when(now)} but the last transfer was booked at "
                    f"{rules.when(last)}. Nothing was booked. Set the clock."
                )
            yield pages, max(now, last)

    @contextmanager
    def _reading(self) -> Generator[tuple[Pages, int]]:
        """Yield pages on which nothing is booked, and the book's time, whatever the clock says."""
        with self._store.reading() as pages:
            yield pages, max(self._now(), pages.tail()[2])

    def _now(self) -> int:
        seconds = self._clock()
        if not 0 <= seconds < rules.LATEST_S:
            raise LedgerError(
                f"the clock says {seconds!r} s since 1970, which is no time before "
                f"{rules.LATEST}. Nothing was booked. Set the clock."
            )
        return int(seconds * 1000)

    def _opened(self, pages: Pages, name: str, mode: Mode, overdraft: int, now: int) -> Account:
        found = pages.account(name)
        if found and found != (mode, overdraft):
            raise LedgerError(
                f"the account {name!r} is open as {found[0]} with an overdraft of "
                f"{credits(found[1])} credits, not {mode} with {credits(overdraft)}."
            )
        if not found:
            pages.open(name, mode, overdraft)
            facts = {"mode": mode, "overdraft": overdraft}
            pages.add(Move(named("open/v1", name), "open", name, 0, facts), now)
        return Account(name, mode, overdraft)

    def _account(self, pages: Pages, name: str, now: int) -> Account:
        found = pages.account(rules.checked_name(name))
        if found:
            return Account(name, cast(Mode, found[0]), found[1])
        if name == "local":
            return self._opened(pages, name, "postpaid", 0, now)
        known = [row[0] for row in pages.accounts()]
        where = f"Open it with `sandbox ledger open {name} --mode prepaid`"
        raise UnknownNameError("account", name, sorted({"local", *known}), where)

    def _sweep(self, pages: Pages, account: str, now: int) -> None:
        """See rules.sweep. What was seen to be clear of holds is not looked at again."""
        last = pages.tail()[0]
        if rules.sweep(pages, account, self._swept.get(account, _NEVER), now):
            self._swept[account] = now, last  # Else this transaction may still be undone.
