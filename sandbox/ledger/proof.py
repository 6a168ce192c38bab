"""The book derived again from its transfers, and whatever in it disagrees."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox import prices
from sandbox.errors import LedgerError, SandboxError
from sandbox.ledger import schema
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.pages import DAMAGE, FIRST_LINK, Pages, linked
from sandbox.ledger.rows import booked_of
from sandbox.ledger.transfer import ANY, Booked, charge_id, legs


@dataclass
class _Replay:
    """What the transfers so far come to.

    Attributes:
        pots: account and pot to what is posted and pending.
        accounts: name to mode and overdraft, as they were opened.
        booked: number to transfer, of those that others may be about.
        resolved: numbers of reservations that are ended.
        refunded: number of a post to how much was given back.
    """

    pots: dict[tuple[str, int], tuple[int, int]] = field(
        default_factory=lambda: defaultdict[tuple[str, int], tuple[int, int]](lambda: (0, 0))
    )
    accounts: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    booked: dict[int, Booked] = field(default_factory=dict[int, Booked])
    resolved: set[int] = field(default_factory=set[int])
    refunded: dict[int, int] = field(default_factory=lambda: defaultdict[int, int](int))


def replayed(pages: Pages) -> dict[tuple[str, int], tuple[int, int]]:
    """Return what the transfers alone say is posted and pending, by account and pot."""
    replay = _Replay()
    for booked in pages.transfers():
        _apply(replay, booked)
    return dict(replay.pots)


def faults(pages: Pages) -> list[str]:
    """Return a sentence for whatever disagrees or cannot be read; [] if nothing."""
    parts: tuple[Callable[[Pages], Iterator[str]], ...] = (_of_file, _of_id, _of_schema, _of_book)
    found: list[str] = []
    for part in parts:
        try:
            for text in part(pages):
                found.append(text)
        except (LedgerError, *DAMAGE) as error:
            found.append(f"the file: {error}")
    return found


def _of_file(pages: Pages) -> Iterator[str]:
    for text in pages.damage():
        yield f"the file: {text}."


def _of_id(pages: Pages) -> Iterator[str]:
    pages.ledger_id()  # Raises if there is not one.
    yield from ()


def _of_schema(pages: Pages) -> Iterator[str]:
    for text in schema.differences(pages.schema()):
        yield f"the file: {text}"


def _of_book(pages: Pages) -> Iterator[str]:
    replay, entries, link, last_at = _Replay(), _Entries(pages), FIRST_LINK, 0
    for number, row in enumerate(pages.raw(), 1):
        for text in (*_of_chain(row, number, link, last_at), *_of_row(replay, entries, row)):
            yield f"transfer {row[0]}: {text}"
        link, last_at = row[-1], row[-2]
    if entries.strays or entries.of(2**63):
        yield "there are entries of transfers that are not there."
    known = {name: (mode, overdraft) for name, mode, overdraft in pages.accounts()}
    if known != replay.accounts:
        yield "the accounts are not those that were opened."


Entry = tuple[str, int, int, int, int, int]  # Account, pot, and posted, pending: change and after.


class _Entries:
    """The entries on the book, transfer by transfer.

    Attributes:
        strays: how many were passed over, for nobody asked for their transfer.
    """

    def __init__(self, pages: Pages) -> None:
        self._rows = pages.entries()
        self._next = next(self._rows, None)
        self.strays = 0

    def of(self, transfer: int) -> list[Entry]:
        """Return the entries of a transfer; ask in the order of transfers."""
        found: list[Entry] = []
        while self._next is not None and self._next[2] <= transfer:
            account, pot, its, *amounts = self._next
            if its == transfer:
                found.append((account, pot, *amounts))
            self.strays += its != transfer
            self._next = next(self._rows, None)
        return found


def _apply(replay: _Replay, booked: Booked) -> list[Entry]:
    """Add a transfer; return its entries as they should be."""
    it = booked.move
    entries: list[Entry] = []
    for account, pot, posted, pending in legs(it.kind, it.account, it.amount, it.parts):
        before = replay.pots[account, pot]
        after = (before[0] + posted, before[1] + pending)
        replay.pots[account, pot] = after
        entries.append((account, pot, posted, pending, *after))
    if it.kind in ("reserve", "post", "grant"):
        replay.booked[booked.seq] = booked
    return sorted(entries)


def _of_chain(row: tuple[Any, ...], number: int, link: Any, last_at: Any) -> Iterator[str]:
    """Check a row as it is written, to the byte."""
    if row[0] != number:
        yield f"it stands where number {number} should be."
    if not isinstance(link, bytes) or linked(link, row[:-1]) != row[-1]:
        yield "it is not what its link says, or the one before it is another."
    if isinstance(last_at, int) and isinstance(row[-2], int) and row[-2] < last_at:
        yield "it was booked before the one before it."


def _of_row(replay: _Replay, entries: _Entries, row: tuple[Any, ...]) -> Iterator[str]:
    """Check what a transfer says, and that its entries and the limits agree."""
    try:
        booked = booked_of(row)
    except LedgerError as error:
        yield str(error).partition(": ")[2]
        return
    yield from _of_kind(replay, booked)
    if entries.of(booked.seq) != _apply(replay, booked):
        yield "its entries are not what it moves."
    yield from _of_pots(replay, booked)
    yield from _of_limit(replay, booked)


def _of_kind(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check what each kind of transfer promises."""
    it = booked.move
    if it.kind != "open" and sum(it.parts.values()) != it.amount:
        yield "its parts do not add up to its amount."
    if any(amount <= 0 for amount in it.parts.values()):
        yield "a part of it is not more than 0."
    if it.kind == "open":
        replay.accounts[it.account] = (it.facts["mode"], it.facts["overdraft"])
    elif it.kind == "grant":
        if list(it.parts) != [(ANY, booked.seq)]:
            yield "its credit is not in its own pot."
    elif it.kind in ("void", "expire"):
        yield from _of_release(replay, booked)
    elif it.kind == "post":
        yield from _of_post(booked)
    elif it.kind == "refund":
        yield from _of_refund(replay, booked)


def _of_release(replay: _Replay, booked: Booked) -> Iterator[str]:
    it = booked.move
    hold = replay.booked.get(it.resolves or 0)
    ours = (it.account, it.amount, it.parts, it.lease)
    if (
        hold is None
        or it.resolves in replay.resolved
        or ours != (hold.move.account, hold.move.amount, hold.move.parts, hold.move.lease)
    ):
        yield f"it does not give back the hold {it.resolves}, once and whole."
    replay.resolved.add(it.resolves or 0)


def _of_post(booked: Booked) -> Iterator[str]:
    it = booked.move
    try:
        charges = prices.load(it.facts["price_version"]).charges(it.facts["quantities"])
    except SandboxError as error:
        yield f"its work cannot be priced: {error}"
        return
    paid: dict[str, int] = dict.fromkeys(charges, 0)
    for (unit, _), amount in it.parts.items():
        paid[unit] = paid.get(unit, 0) + amount
    if paid != charges:
        yield f"its work costs {sum(charges.values())} microcredits, not {it.amount}, unit by unit."
    episode, parent = it.facts["episode"], it.facts["parent"]
    if it.run is not None and it.id != charge_id(it.run, episode or 0, parent):
        yield "its id is not that of its run and episode."


def _of_refund(replay: _Replay, booked: Booked) -> Iterator[str]:
    it = booked.move
    post = replay.booked.get(it.corrects or 0)
    if post is None or post.move.kind != "post" or post.move.account != it.account:
        yield f"it corrects {it.corrects}, which is no post of its account."
        return
    replay.refunded[post.seq] += it.amount
    if replay.refunded[post.seq] > post.move.amount:
        yield f"more was given back of post {post.seq} than it cost."


def _of_pots(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check that what is paid or held comes from grants of the account, for what these pay."""
    it = booked.move
    for unit, pot in it.parts:
        grant = replay.booked.get(pot)
        if pot == OVERAGE:
            continue
        if grant is None or grant.move.kind != "grant" or grant.move.account != it.account:
            yield f"{pot} is no grant of its account."
        elif unit not in (ANY, *(grant.move.facts["meters"] or [unit])):
            yield f"the grant {pot} does not pay {unit}."


def _of_limit(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check that no pot gives more than it has, but pot 0 as far as it may."""
    it = booked.move
    mode, overdraft = replay.accounts.get(it.account, ("", 0))
    if not mode:
        yield f"the account {it.account!r} was not opened."
    for pot in {pot for _, pot in it.parts}:
        posted, pending = replay.pots[it.account, pot]
        if pending < 0:
            yield f"{it.account!r} holds less than nothing."
        room = overdraft if pot == OVERAGE else 0
        if posted - pending < -room and not (pot == OVERAGE and mode == "postpaid"):
            yield f"{it.account!r} is overdrawn."
