"""What is done to accounts, on the pages of one transaction."""

from collections.abc import Mapping
from typing import Any, cast

from sandbox.errors import InvalidInputError, LedgerError, UnknownNameError
from sandbox.ledger import posting, rules
from sandbox.ledger.account import Account, Balance, Mode
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.pages import Pages
from sandbox.ledger.transfer import ANY, Booked, Charges, Move, check_amount, named
from sandbox.meter import Receipt
from sandbox.prices import credits, plus


def check(mode: Mode, overdraft: int) -> None:
    """Refuse a mode or an overdraft that no account can have (InvalidInputError)."""
    if mode not in ("prepaid", "postpaid"):
        raise InvalidInputError(f"mode {mode!r}: give prepaid or postpaid.")
    check_amount("an overdraft", overdraft)
    if mode == "postpaid" and overdraft:
        raise InvalidInputError("a postpaid account has no limit, so no overdraft either.")


def opened(pages: Pages, name: str, mode: Mode, overdraft: int, now: int) -> Account:
    """Open an account, unless it is open; see `Ledger.open_account`."""
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


def payer(pages: Pages, name: str, now: int) -> Account:
    """Return an account that is open; see `Ledger.account`."""
    found = pages.account(rules.checked_name(name))
    if found:
        return Account(name, cast(Mode, found[0]), found[1])
    if name == "local":
        return opened(pages, name, "postpaid", 0, now)
    known = [row[0] for row in pages.accounts()]
    remedy = f"Or open it with `sandbox ledger open {name} --mode prepaid`."
    raise UnknownNameError("account", name, sorted({"local", *known}), remedy=remedy)


def balance(pages: Pages, account: Account, now: int) -> Balance:
    """Return the balance of an account, whose holds and grants that are due have expired."""
    name = account.name
    pots = [pages.pot(name, pot) for pot in (OVERAGE, *pages.grants(name))]
    room = rules.overdraft(pages, account)
    free = None if room is None else room + sum(lot.free for lot in rules.lots(pages, name, now))
    return Balance(sum(posted for posted, _ in pots), sum(held for _, held in pots), free)


def shortfall(pages: Pages, account: Account, charges: Charges, now: int) -> int:
    """Return how much an account lacks to pay some charges [microcredits]; 0 if it can pay."""
    found = rules.missing(pages, account, charges, now)
    dead = found and rules.bury(pages, account.name, now)
    return rules.missing(pages, account, charges, now) if dead else found


def grant(
    pages: Pages, now: int, id: bytes, account: str, amount: int, facts: Mapping[str, Any]
) -> Receipt:
    """Grant credit to an account, which is opened if it is not open; see `Ledger.grant`."""
    if not pages.account(account):
        opened(pages, account, "postpaid" if account == "local" else "prepaid", 0, now)
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


def refund(
    pages: Pages, now: int, id: bytes, post: Booked, amount: int | None, facts: Mapping[str, Any]
) -> Receipt:
    """Refund a post or a part of it; see `Ledger.refund`."""
    known = pages.find(id)
    if known is not None:
        rules.exists(pages, Move(id, "refund", post.move.account, known.move.amount, facts))
        return Receipt(id, known.move.amount, exists=True)
    move = rules.refund(pages, post, id, amount, facts, now)
    pages.add(move, now)
    return Receipt(id, move.amount, exists=False)


def hold(
    pages: Pages,
    now: int,
    account: Account,
    lease: bytes,
    wanted: tuple[Charges, Charges, int, int],
    lasts: int,
    facts: Mapping[str, Any],
    run: str | None,
) -> int:
    """Reserve credit for some time [ms]; see `Ledger.reserve`.

    Args:
        pages: the pages of the transaction.
        now: the ledger's time [ms since 1970].
        account: who pays.
        lease: the name of the lease.
        wanted: `first`, `more`, `times` and `share`.
        lasts: how long until the hold expires [ms].
        facts: the facts of the transfer.
        run: the run that the credit is for, or None.
    """
    first, more, times, share = wanted
    n = rules.portion(pages, account, first, more, times, share, now)
    if n >= 0:
        parts = rules.parts(pages, account, plus(first, more, n), now)
        rules.hold(pages, account.name, lease, parts, now, lasts, facts, run)
    return n


def renew(pages: Pages, now: int, account: Account, lease: bytes) -> None:
    """Release what an account holds under a lease, and hold it again for as long as before."""
    posting.Purse(pages, account, pages.held(lease, account.name), now).hold_on()
