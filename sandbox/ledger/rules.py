"""The rules of the ledger, applied to the pages of one transaction."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sandbox.errors import InvalidInputError, LedgerError, UnknownNameError
from sandbox.ledger import burn
from sandbox.ledger.account import ABOUT, Account
from sandbox.ledger.burn import OVERAGE, Lot
from sandbox.ledger.holder import Holder, State
from sandbox.ledger.pages import Pages
from sandbox.ledger.rows import LATEST_MS, is_text
from sandbox.ledger.transfer import ANY, LARGEST, Booked, Charges, Move, Parts, check_amount, named
from sandbox.prices import UNITS, credits, plus

HOLD_S = 600  # When a hold expires by default, unless its process renews it.
LONGEST_HOLD_S = 30 * 24 * 3600
LATEST_S = LATEST_MS / 1000  # Times are below this [s since 1970].
LATEST = "2248-09-26"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_NAME_LENGTH = 64


def checked_name(name: str) -> str:
    """Return an account's name; InvalidInputError if it is not valid."""
    if type(name) is not str or len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"account {name!r}: use 1 to {_NAME_LENGTH} letters, digits and . _ - in each part of "
            "a path like lab/alice, each beginning with a letter or digit."
        )
    return name


def checked_text(what: str, text: str) -> str:
    """Return a text; InvalidInputError if UTF-8 cannot encode it. Errors call it `what`."""
    if not is_text(text):
        raise InvalidInputError(f"{what} {text!r}: give text that can be written as UTF-8.")
    return text


def checked_texts(**texts: str | None) -> None:
    """Refuse texts that UTF-8 cannot encode; None is allowed."""
    for what, text in texts.items():
        if text is not None:
            checked_text(what, text)


def checked_prefix(lease: bytes) -> bytes:
    """Return the beginning of a lease's name; InvalidInputError unless it has 8 to 16 bytes."""
    if type(lease) is not bytes or not 8 <= len(lease) <= 16:
        raise InvalidInputError(
            f"{lease!r} is no lease or beginning of one; give 8 to 16 bytes: fewer could be those "
            "of somebody else."
        )
    return lease


def check_reservation(first: Charges, more: Charges, times: int) -> None:
    """Refuse to reserve `first` and `times` over `more` if they are no amounts or no number."""
    for amount in (*first.values(), *more.values()):
        check_amount("a reservation", amount)
    if type(times) is not int or times < 0:
        raise InvalidInputError(f"a reservation of {times!r} times: give 0 or more.")


def checked_timeout(seconds: int) -> int:
    """Return how long to hold credit [s]; InvalidInputError if it is not 1 s to 30 days."""
    if type(seconds) is not int or not 1 <= seconds <= LONGEST_HOLD_S:
        raise InvalidInputError(
            f"a hold of {seconds!r} s: give whole seconds from 1 to {LONGEST_HOLD_S:,} (30 days)."
        )
    return seconds


def whole(what: str, number: int) -> int:
    """Return a whole number; InvalidInputError if it is not one from 0 to 2**31 - 1."""
    if type(number) is not int or not 0 <= number < 2**31:
        raise InvalidInputError(f"{what} {number!r}: give a whole number from 0 to {2**31 - 1:,}.")
    return number


def ms(seconds: float | None) -> int | None:
    """Return a time [s] in milliseconds; InvalidInputError if it is out of range."""
    if seconds is None:
        return None
    if not 0 <= seconds < LATEST_S:
        raise InvalidInputError(
            f"time {seconds!r}: give seconds since 1970, fewer than {LATEST_S:,.0f} ({LATEST})."
        )
    return int(seconds * 1000)


def when(ms: int) -> str:
    """Return a time [ms since 1970] as text in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ms / 1000))


def hold(
    pages: Pages,
    account: str,
    lease: bytes,
    parts: Parts,
    now: int,
    lasts: int,
    facts: Mapping[str, Any],
    run: str | None,
) -> None:
    """Reserve parts under a lease.

    Args:
        pages: the pages of the transaction.
        account: the account that holds the credit.
        lease: the name of the lease.
        parts: what is held, by meter unit and pot.
        now: the ledger's time [ms since 1970].
        lasts: how long until the hold expires [ms].
        facts: the facts of the transfer.
        run: the run that the credit is for, or None.
    """
    amount = sum(parts.values())
    check_amount("a reservation", amount)
    move = Move(
        id=named("reserve/v1", account, lease.hex(), str(pages.reservations(lease))),
        kind="reserve",
        account=account,
        amount=amount,
        facts=facts,
        parts=parts,
        lease=lease,
        run=run,
        expires=now + lasts,
    )
    pages.add(move, now)


def release(
    pages: Pages,
    holds: Sequence[Booked],
    now: int,
    kind: Literal["void", "expire"] = "void",
) -> dict[tuple[str, int], int]:
    """Close holds by a void or an expiry; return the parts that they held, added up."""
    parts: dict[tuple[str, int], int] = {}
    for hold in holds:
        held = hold.move
        move = Move(
            id=named(f"{kind}/v1", held.id.hex()),
            kind=kind,
            account=held.account,
            amount=held.amount,
            parts=held.parts,
            lease=held.lease,
            run=held.run,
            resolves=hold.seq,
        )
        pages.add(move, now)
        for key, amount in held.parts.items():
            parts[key] = parts.get(key, 0) + amount
    return parts


def sweep(pages: Pages, account: str, seen: tuple[int, int], now: int) -> bool:
    """Release an account's expired holds, and book the breakage of its expired grants.

    Args:
        pages: the pages of the transaction.
        account: the name of the account.
        seen: (time, number) of an earlier sweep; see `Pages.overdue`.
        now: the ledger's time [ms since 1970].

    Returns:
        Whether no hold had expired.
    """
    late = pages.overdue(account, seen, now)
    release(pages, late, now, "expire")
    for pot, facts in pages.grants(account).items():
        if facts["expires"] is None or facts["expires"] > now:
            continue
        posted, pending = pages.pot(account, pot)
        if posted - pending > 0:
            lost = {(ANY, pot): posted - pending}
            id = named("breakage/v1", str(pot), str(pages.tail()[0] + 1))
            pages.add(Move(id, "breakage", account, posted - pending, {}, lost), now)
    return not late


def bury(pages: Pages, account: str, now: int) -> bool:
    """Release what processes of this machine hold that have ended; return whether there was any."""
    dead = [hold for hold in pages.open_holds(now, [account]) if state(hold) == "dead"]
    release(pages, dead, now)
    return bool(dead)


def state(hold: Booked) -> State:
    """Return whether the process lives that holds a reservation."""
    holder = Holder.parse(hold.move.facts.get("holder"))
    return "unknown" if holder is None else holder.state


def lots(pages: Pages, account: str, now: int) -> list[Lot]:
    """Return the usable credit of an account's grants, in burn order."""
    found: list[Lot] = []
    for pot, facts in unexpired(pages, account, now).items():
        posted, pending = pages.pot(account, pot)
        if posted > pending and (facts["effective"] or 0) <= now:
            lot = Lot(
                pot=pot,
                free=posted - pending,
                priority=facts["priority"],
                expires=facts["expires"],
                meters=tuple(facts["meters"]),
            )
            found.append(lot)
    return burn.order(found)


def unexpired(pages: Pages, account: str, now: int) -> dict[int, dict[str, Any]]:
    """Return the facts of an account's grants that have not expired, by pot."""
    pots = pages.grants(account).items()
    return {pot: facts for pot, facts in pots if (facts["expires"] or now + 1) > now}


def overdraft(pages: Pages, account: Account) -> int | None:
    """Return what the pot without conditions can still pay [microcredits]; None means no limit."""
    if account.mode == "postpaid":
        return None
    posted, pending = pages.pot(account.name, OVERAGE)
    return max(0, posted - pending + account.overdraft)


def missing(pages: Pages, payer: Account, charges: Charges, now: int) -> int:
    """Return how much an account lacks to pay some charges [microcredits]; 0 if it can pay."""
    return burn.covered(charges, lots(pages, payer.name, now), overdraft(pages, payer))[1]


def parts(pages: Pages, payer: Account, charges: Charges, now: int) -> Parts:
    """Return the parts of an account's credit that pay some charges."""
    return burn.covered(charges, lots(pages, payer.name, now), overdraft(pages, payer))[0]


def most(pages: Pages, payer: Account, first: Charges, more: Charges, times: int, now: int) -> int:
    """Return how many times an account can pay `more` beside `first`, up to `times`.

    Returns -1 if `first` alone cannot be paid.
    """
    credit, room = lots(pages, payer.name, now), overdraft(pages, payer)

    def covers(n: int) -> bool:
        charges = plus(first, more, n)
        return sum(charges.values()) <= LARGEST and not burn.covered(charges, credit, room)[1]

    if not covers(0):
        return -1
    low, high = 0, times  # Covered at `low`; bisect towards `high`.
    while low < high:
        middle = (low + high + 1) // 2 if high != times or low else high
        low, high = (middle, high) if covers(middle) else (low, middle - 1)
    return low


def portion(
    pages: Pages, payer: Account, first: Charges, more: Charges, times: int, share: int, now: int
) -> int:
    """Return how many times to reserve `more` beside `first`; see `Ledger.reserve`.

    Releases what ended processes of this machine hold if it is needed.
    """
    held = most(pages, payer, first, more, times * share, now)
    if held < times * share and bury(pages, payer.name, now):
        held = most(pages, payer, first, more, times * share, now)
    return held if held < 0 else held // share


def exists(pages: Pages, move: Move) -> bool:
    """Return whether a transfer is booked already.

    Raises:
        LedgerError: the transfer's id was used for something else.
    """
    found = pages.find(move.id)
    if found is None:
        return False
    differ: list[str] = []
    for name in ("kind", "account", "amount", "run"):
        old, new = getattr(found.move, name), getattr(move, name)
        if old != new and not (name == "run" and move.kind == "refund"):
            differ.append(f"{name} {old!r} is not {new!r}")
    for name in sorted({*found.move.facts, *move.facts} - {*ABOUT}):
        old, new = found.move.facts.get(name), move.facts.get(name)
        if old != new:
            differ.append(f"{name} {old!r} is not {new!r}")
    if differ:
        raise LedgerError(
            f"the transfer {move.id.hex()} is on the book as something else: {'; '.join(differ)}. "
            "Nothing was booked."
        )
    return True


def not_refunded(pages: Pages, post: Booked) -> dict[int, int]:
    """Return how much of a post is not refunded yet, by pot; pots that burnt last come first."""
    left: dict[int, int] = {}
    for (_, pot), amount in post.move.parts.items():
        left[pot] = left.get(pot, 0) + amount
    done = sum(refund.move.amount for refund in pages.corrections(post.seq))
    for pot in _last_burnt_first(left):
        given = min(left[pot], done)
        left[pot] -= given
        done -= given
    return {pot: left[pot] for pot in _last_burnt_first(left) if left[pot]}


def _last_burnt_first(pots: Mapping[int, int]) -> list[int]:
    """Return pots with the one without conditions first, then the newest grants."""
    return sorted(pots, key=lambda pot: (pot != OVERAGE, -pot))


def given_back(left: Mapping[int, int], amount: int, unexpired: Mapping[int, Any]) -> Parts:
    """Return the parts of a refund: credit returns to its grant, or to pot 0 if that expired."""
    parts: dict[tuple[str, int], int] = {}
    for pot, most in left.items():
        given = min(most, amount)
        amount -= given
        key = (ANY, pot if pot in unexpired else OVERAGE)
        if given:
            parts[key] = parts.get(key, 0) + given
    return parts


def check_refund(amount: int | None, reason: str, verdict: str | None) -> None:
    """Refuse a refund whose amount or texts cannot be booked (InvalidInputError)."""
    checked_texts(reason=reason, verdict=verdict)
    if amount is not None:
        check_amount("a refund", amount, least=1)


def refund_facts(
    post: Booked, amount: int | None, reason: str, verdict: str | None
) -> dict[str, Any]:
    """Return the facts of a refund of a post; one that a verdict asks for names the episode."""
    asked = "all" if amount is None else str(amount)
    facts = {"post": post.move.id.hex(), "asked": asked, "reason": reason}
    episode = post.move.facts["episode"]
    return facts if verdict is None else {**facts, "verdict": verdict, "episode": episode}


def refund(
    pages: Pages, post: Booked, id: bytes, amount: int | None, facts: Mapping[str, Any], now: int
) -> Move:
    """Return the transfer that refunds a post or a part of it.

    Raises:
        LedgerError: less than `amount` is left to refund, or nothing.
    """
    left = not_refunded(pages, post)
    whole = sum(left.values())
    wanted = whole if amount is None else amount
    if wanted > whole or not wanted:
        raise LedgerError(
            f"the post {post.move.id.hex()} has {credits(whole)} credits left to refund, not "
            f"{credits(wanted)}. Nothing was booked."
        )
    parts = given_back(left, wanted, unexpired(pages, post.move.account, now))
    return Move(
        id=id,
        kind="refund",
        account=post.move.account,
        amount=wanted,
        facts=facts,
        parts=parts,
        run=post.move.run,
        corrects=post.seq,
    )


def grant_facts(
    priority: int,
    effective: float | None,
    expires: float | None,
    meters: Sequence[str],
    source: str,
) -> dict[str, Any]:
    """Return the conditions of a grant, as the facts of its transfer.

    Raises:
        UnknownNameError: a meter unit does not exist.
        InvalidInputError: another condition is out of range, or the grant expires too early.
    """
    for unit in meters:
        if unit not in UNITS:
            raise UnknownNameError("meter unit", unit, UNITS)
    begins, ends = ms(effective), ms(expires)
    if begins is not None and ends is not None and begins >= ends:
        raise InvalidInputError(
            f"a grant from {when(begins)} until {when(ends)} is of no use; let it expire after it "
            "takes effect."
        )
    return {
        "priority": whole("priority", priority),
        "effective": begins,
        "expires": ends,
        "meters": sorted(set(meters)),
        "source": checked_text("source", source),
    }
