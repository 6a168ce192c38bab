"""The ledger: accounts, grants, reservations, posts and refunds, in double entry, append-only.

A grant moves credit into a pot of an account. A reservation holds a part of it (pending), and a
void or an expiry releases what is held. A post moves credit to the plant, and a refund moves it
back. Breakage removes what an expired grant left unused. Every entry has its pot's balances after
it, so that a balance is a look-up; `check` derives all balances again from the transfers.
"""

import re
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sandbox.errors import InvalidInputError, LedgerError
from sandbox.ledger import accounts, posting, proof, rules, stores
from sandbox.ledger import clock as clocks
from sandbox.ledger.account import Account, Balance, Mode, Usage
from sandbox.ledger.accounts import opened, payer
from sandbox.ledger.database import T
from sandbox.ledger.heartbeat import Heartbeat
from sandbox.ledger.holder import Holder
from sandbox.ledger.pages import Pages
from sandbox.ledger.proof import Point
from sandbox.ledger.rules import HOLD_S
from sandbox.ledger.transfer import Booked, Charges, check_amount, checked_id, named
from sandbox.meter import Receipt

PRIORITY = 100
_LOCK = re.compile("[0-9a-f]{1,64}")
_NEVER = (-1, 2**62)  # An account that was never swept; see rules.sweep.


class Ledger:
    """A ledger in a file or on a server. Any number of processes may use it at once.

    Args:
        place: the path of a file, or a URL that begins with postgresql://; by default
            $SANDBOX_LEDGER, else `ledger.db` in `content.home()`.
        clock: returns the time [s since 1970]; None is the clock of the book: this machine's for a
            file, the server's for a server.
        read_only: neither make nor change the ledger.
        vfs: the name of the SQLite VFS that opens the file; None is SQLite's default.
    """

    def __init__(
        self,
        place: str | Path | None = None,
        clock: Callable[[], float] | None = None,
        *,
        read_only: bool = False,
        vfs: str | None = None,
    ) -> None:
        self._store = stores.store(place, read_only=read_only, vfs=vfs)
        self._clock = clock
        self._swept: dict[str, tuple[int, int]] = {}  # By account; see rules.sweep.
        self._heartbeat = Heartbeat()

    # Accounts and grants --------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of this ledger, 32 random hex digits."""
        return self._store.reading(lambda pages: pages.ledger_id())

    @property
    def where(self) -> str:
        """Where this ledger is, for messages."""
        return self._store.where

    @property
    def path(self) -> Path:
        """The path of the ledger's file; LedgerError if it is on a server."""
        if self._store.file is None:
            raise LedgerError(f"{self.where}: is on a server and has no file.")
        return self._store.file

    @property
    def beside(self) -> Path:
        """How the paths of this machine's files about the ledger begin."""
        return self._store.beside

    def exists(self) -> bool:
        """Return whether the ledger has been made."""
        return self._store.exists()

    @contextmanager
    def alone(  # noqa: D417
        self, name: str, worker: int | None = None, wait_s: float | None = None, joins: bool = False
    ) -> Generator[None]:
        """Hold a lock of this ledger while the block runs, against all other processes.

        Args:
            name: the lock's name, 1 to 64 hex digits, such as those of a lease.
            worker, wait_s, joins: as in `locks.alone`.

        Raises:
            LockedError: another process holds the lock.
            SandboxError: the lock cannot be made.
        """
        if not _LOCK.fullmatch(name):
            raise InvalidInputError(f"lock {name!r}: give 1 to 64 hex digits.")
        with self._store.alone(name, worker, wait_s, joins=joins):
            yield

    def confirm(self) -> None:
        """Refuse to go on if another process took a lock that a lost connection held.

        Raises:
            LockedError: another process holds it.
            LedgerError: the ledger cannot be reached.
        """
        self._store.confirm()

    def open_account(self, name: str, mode: Mode, overdraft: int = 0) -> Account:
        """Open an account; do nothing if it is open with the same mode and overdraft.

        Raises:
            InvalidInputError: the name is not valid, or a postpaid account has an overdraft.
            LedgerError: the account is open with another mode or overdraft.
        """
        accounts.check(mode, overdraft)
        rules.checked_name(name)
        return self.turn(lambda pages, now: opened(pages, name, mode, overdraft, now), name)

    def account(self, name: str) -> Account:
        """Return an account; `local` is open from the start, as postpaid.

        Raises:
            InvalidInputError: the name is not valid.
            UnknownNameError: the account is not open.
        """
        rules.checked_name(name)
        return self.reading(lambda pages, now: payer(pages, name, now))

    def accounts(self, below: str | None = None) -> list[Account]:
        """Return all accounts, or the account `below` and those below it, sorted by name."""
        rows = self._store.reading(lambda pages: pages.accounts())
        found = [Account(name, cast(Mode, mode), overdraft) for name, mode, overdraft in rows]
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
        """Grant credit to an account; an unknown account is opened as prepaid.

        Args:
            account: the account that receives the credit.
            amount: microcredits, more than 0.
            id: chosen by the client, 16 bytes: the same grant sent twice counts once.
            priority: grants with lower numbers burn first; then the one that expires first, then
                the oldest.
            effective: when the credit becomes usable [s since 1970]; None means at once.
            expires: when the unused credit is lost [s since 1970]; None means never.
            meters: the meter units that the credit may pay; empty means all.
            source: where the credit comes from, as free text.
        """
        check_amount("a grant", amount, least=1)
        facts = rules.grant_facts(priority, effective, expires, meters, source)
        rules.checked_name(account)
        chosen = uuid.uuid4().bytes if id is None else checked_id(id)
        return self.turn(
            lambda pages, now: accounts.grant(pages, now, chosen, account, amount, facts), account
        )

    def balance(self, account: str) -> Balance:
        """Return the balance of an account, without expired credit; books nothing."""
        return self.reading(
            lambda pages, now: accounts.balance(pages, self._swept_payer(pages, account, now), now)
        )

    def shortfall(self, account: str, charges: Charges) -> int:
        """Return how much an account lacks to pay some charges [microcredits]; 0 if it can pay."""

        def work(pages: Pages, now: int) -> int:
            mine = self._swept_payer(pages, account, now)
            return accounts.shortfall(pages, mine, charges, now)

        return self.reading(work)

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
        timeout_s: int | None = None,
        share: int = 1,
        holder: Holder | None = None,
    ) -> int:
        """Reserve `first` and, as many times as possible up to `times`, `more`.

        Args:
            account: the account that pays.
            lease: the name under which the credit is held, 16 bytes.
            first: microcredits per meter unit.
            more: microcredits per meter unit.
            times: 0 or more.
            price_version: the schedule under which the work will be posted.
            run: the id of the run that the credit is for, or None.
            timeout_s: when the hold expires, 1 s to 30 days from now; None: when this process ends.
            share: take no more than one part in so many of what could be reserved beside `first`.
            holder: the process that holds the credit; None is this one.

        Returns:
            How many times `more` is reserved; -1 if not even `first` can be. A postpaid account
            has no limit: nothing is booked and `times` is returned.
        """
        rules.check_reservation(first, more or {}, times)
        rules.checked_texts(price_version=price_version, run=run)
        checked_id(lease)
        lasts = 1000 * rules.checked_timeout(HOLD_S if timeout_s is None else timeout_s)
        facts = {"price_version": price_version, "holder": (holder or Holder.me()).plain}
        wanted = first, more or {}, times, share

        def work(pages: Pages, now: int) -> int:
            mine = payer(pages, account, now)
            if mine.mode == "postpaid":
                return times
            self._sweep(pages, account, now)
            return accounts.hold(pages, now, mine, lease, wanted, lasts, facts, run)

        held = self.turn(work, rules.checked_name(account))
        if held >= 0 and timeout_s is None:
            self._heartbeat.begin(self, account, lease)
        return held

    def post(
        self,
        account: str,
        usages: Sequence[Usage],
        lease: bytes | None = None,
        *,
        keep: bool = False,
    ) -> list[Receipt]:
        """Post the work of episodes, all of them or none; an episode posted before counts once.

        Args:
            account: the account that pays.
            usages: the work of the episodes.
            lease: the beginning of lease names, 8 to 16 bytes; credit held under them pays first,
                and its rest is released.
            keep: hold the rest instead of releasing it.

        Raises:
            LedgerError: an id was used for something else, or credit was reserved under another
                price schedule.
            BudgetExhaustedError: a prepaid account cannot pay, because a hold has expired.
        """
        priced = [posting.priced(usage) for usage in usages]
        prefix = None if lease is None else rules.checked_prefix(lease)
        rules.checked_name(account)

        def work(pages: Pages, now: int) -> list[Receipt]:
            mine = self._swept_payer(pages, account, now)
            holds = [] if prefix is None else pages.held(prefix, account)
            purse = posting.Purse(pages, mine, holds, now)
            receipts = purse.post(priced)
            if keep:
                purse.hold_on()
            return receipts

        receipts = self.turn(work, account)
        if prefix is not None and not keep:
            self._heartbeat.end(prefix, account)
        return receipts

    def renew(self, account: str, lease: bytes) -> None:
        """Hold what an account holds under a lease for as long again, without waiting."""

        def work(pages: Pages) -> None:
            now = clocks.booking(pages, self._clock)
            accounts.renew(pages, now, self._swept_payer(pages, account, now), lease)

        self._store.transaction(work, [account], patient=False)

    def void(self, account: str, lease: bytes) -> None:
        """Release what an account holds under a lease."""
        checked_id(lease)
        rules.checked_name(account)

        def work(pages: Pages, now: int) -> None:
            payer(pages, account, now)
            rules.release(pages, pages.held(lease, account), now)

        self.turn(work, account)
        self._heartbeat.end(lease, account)

    def void_all(self, prefix: bytes, account: str | None = None, run: str | None = None) -> int:
        """Release everything that is held under leases whose names begin with a prefix.

        Args:
            prefix: 8 to 16 bytes.
            account: release only what this account holds; None means every account.
            run: release only what is held for this run; None means every run.

        Returns:
            How much was released [microcredits].
        """
        rules.checked_prefix(prefix)
        rules.checked_texts(run=run)

        def work(pages: Pages, now: int) -> int:
            if account is not None:
                payer(pages, account, now)
            holds = pages.held(prefix, account, run)
            rules.release(pages, holds, now)
            return sum(hold.move.amount for hold in holds)

        freed = self.turn(work, *([] if account is None else [rules.checked_name(account)]))
        if run is None:
            self._heartbeat.end(prefix, account)
        return freed

    def refund(
        self,
        post: bytes,
        amount: int | None = None,
        id: bytes | None = None,
        reason: str = "",
        verdict: str | None = None,
    ) -> Receipt:
        """Refund a post or a part of it, by a transfer linked to it.

        Credit from a grant that has not expired returns to that grant; the rest returns as credit
        without conditions.

        Args:
            post: the id of the post.
            amount: microcredits; None means everything not yet refunded.
            id: chosen by the client, 16 bytes; None derives it from post and amount, so that the
                same refund sent twice counts once.
            reason: free text.
            verdict: SHA-256 of a file that says why, hex; or None.

        Raises:
            LedgerError: there is no such post, or less of it is left to refund.
        """
        checked_id(post)
        rules.check_refund(amount, reason, verdict)
        booked = self.find(post)  # It never changes: whose it is says whose turn this is.
        if booked is None or booked.move.kind != "post":
            raise LedgerError(f"{post.hex()} is no post on this book. Nothing was booked.")
        facts = rules.refund_facts(booked, amount, reason, verdict)
        chosen = named("refund/v1", post.hex(), facts["asked"]) if id is None else checked_id(id)
        return self.turn(
            lambda pages, now: accounts.refund(pages, now, chosen, booked, amount, facts),
            booked.move.account,
        )

    # Queries --------------------------------------------------------------------------------------

    def find(self, id: bytes) -> Booked | None:
        """Return the transfer with an id; None if the ledger has none."""
        return self._store.reading(lambda pages: pages.find(id))

    def of_run(self, run: str) -> list[Booked]:
        """Return a run's posts, their refunds, and its reservations that are still open."""
        rules.checked_texts(run=run)
        return self._store.reading(lambda pages: list(pages.of_run(run)))

    def refunded(self, post: bytes) -> int:
        """Return how much of a post was refunded [microcredits]."""

        def work(pages: Pages) -> int:
            booked = pages.find(post)
            return sum(r.move.amount for r in pages.corrections(booked.seq)) if booked else 0

        return self._store.reading(work)

    def transfers(self, names: Sequence[str] | None = None) -> list[Booked]:
        """Return all transfers in order, or only those of the accounts with some names."""
        return self._store.reading(lambda pages: list(pages.transfers(names)))

    def check(self) -> list[str]:
        """Derive all balances again from the transfers; return one sentence for each fault.

        Raises:
            LedgerError: the file cannot be opened or is not a ledger. Damage in it is returned.
        """
        return self.checked(None)[0]

    def checked(self, since: Point | None) -> tuple[list[str], Point | None]:
        """Check what came after a point; return the faults, and without any the new point."""
        return self._store.reading(lambda pages: proof.checked(pages, since))

    def close(self) -> None:
        """Close the file or connection; the next call opens it again."""
        self._store.close()

    # Transactions ---------------------------------------------------------------------------------

    def turn(self, work: Callable[[Pages, int], T], *accounts: str) -> T:
        """Do some work in a transaction, whole or not at all; return what it returns.

        Args:
            work: takes the pages, and the ledger's time [ms since 1970]. It may be called again,
                where the transaction must be done again.
            accounts: the only accounts whose credit it may move; none means any.

        Raises:
            LedgerError: the clock is behind the last transfer.
        """
        return self._store.transaction(
            lambda pages: work(pages, clocks.booking(pages, self._clock)), accounts
        )

    def reading(self, work: Callable[[Pages, int], T]) -> T:
        """Return what some work returns, whose pages are never written.

        Args:
            work: takes the pages, and the ledger's time [ms since 1970]. It may be called again.
        """
        return self._store.reading(lambda pages: work(pages, clocks.seen(pages, self._clock)))

    def _swept_payer(self, pages: Pages, account: str, now: int) -> Account:
        """Return an account in a transaction, after its holds and grants that are due expired."""
        found = payer(pages, account, now)
        self._sweep(pages, account, now)
        return found

    def _sweep(self, pages: Pages, account: str, now: int) -> None:
        """Expire the holds and grants that are due, beginning where the last sweep ended."""
        last = pages.seen()[0]
        if rules.sweep(pages, account, self._swept.get(account, _NEVER), now):
            # Not after holds have expired: this transaction may be rolled back.
            self._swept[account] = now, last
