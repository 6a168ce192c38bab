"""Check a ledger: derive it again from its transfers, and report what disagrees."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox import digest, prices
from sandbox.errors import LedgerError, SandboxError
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.pages import FIRST_LINK, Pages, linked
from sandbox.ledger.rows import booked_of
from sandbox.ledger.transfer import ANY, Booked, charge_id, legs


@dataclass(frozen=True)
class Point:
    """A point up to which a ledger was checked, from its first transfer on.

    Attributes:
        ledger: id of the ledger.
        transfers: number of transfers up to it.
        link: the link of the last of them, 32 bytes in hex.
        balances: SHA-256 of all balances there, and of how many entries made them.
    """

    ledger: str
    transfers: int
    link: str
    balances: str


@dataclass
class _Replay:
    """The state after the transfers so far.

    Attributes:
        pages: the ledger, for what came before `since`.
        since: number of the transfer up to which the ledger is trusted; 0 trusts nothing.
        pots: (account, pot) to posted and pending balance [microcredits].
        accounts: name to mode and overdraft of the opened accounts.
        seen: number of the last transfer.
        booked: number to transfer, for grants and open reservations. Posts are too many to keep.
        resolved: the numbers of reservations that are closed.
        refunded: the number of a post to how much of it was refunded [microcredits].
    """

    pages: Pages
    since: int = 0
    pots: dict[tuple[str, int], tuple[int, int]] = field(
        default_factory=lambda: defaultdict[tuple[str, int], tuple[int, int]](lambda: (0, 0))
    )
    accounts: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    seen: int = 0
    booked: dict[int, Booked] = field(default_factory=dict[int, Booked])
    resolved: set[int] = field(default_factory=set[int])
    refunded: dict[int, int] = field(default_factory=lambda: defaultdict[int, int](int))

    def transfer(self, seq: int) -> Booked | None:
        """Return a transfer before this one, of a kind that later ones can refer to, or None."""
        if seq > self.seen:
            return None
        if seq not in self.booked:
            try:
                found = self.pages.numbered(seq)
            except LedgerError:  # It was reported where it stands.
                return None
            if found is None or found.move.kind not in _REFERRED:
                return None
            if found.move.kind != "grant":
                return found
            self.booked[seq] = found
        return self.booked[seq]

    def is_resolved(self, hold: int) -> bool:
        """Return whether a hold is closed."""
        old = hold <= self.since and self.pages.is_resolved(hold, self.since)
        return old or hold in self.resolved

    def refund(self, post: int, amount: int) -> int:
        """Add a refund of a post; return how much of it was refunded in all [microcredits]."""
        if post <= self.since and post not in self.refunded:
            old = [one for one in self.pages.corrections(post) if one.seq <= self.since]
            self.refunded[post] = sum(one.move.amount for one in old)
        self.refunded[post] += amount
        return self.refunded[post]


_REFERRED = ("reserve", "post", "grant")


def replayed(pages: Pages) -> dict[tuple[str, int], tuple[int, int]]:
    """Return (account, pot) to posted and pending balance, derived from the transfers alone."""
    replay = _Replay(pages)
    for booked in pages.transfers():
        _apply(replay, booked)
    return dict(replay.pots)


def faults(pages: Pages, since: Point | None = None) -> list[str]:
    """Return one sentence for each thing that disagrees or cannot be read.

    Args:
        pages: the ledger.
        since: a point up to which it was checked; only what came after it is. None checks all.
    """
    parts: tuple[Callable[[], Iterator[str]], ...] = (
        lambda: _check_id(pages, since),
        lambda: (f"the file: {text}" for text in pages.faults(whole=since is None)),
        lambda: _check_book(pages, since),
    )
    found: list[str] = []
    for part in parts:
        try:
            for text in part():
                found.append(text)
        except (LedgerError, *pages.damages) as error:
            found.append(f"the file: {error}")
    return found


def checked(pages: Pages, since: Point | None) -> tuple[list[str], Point | None]:
    """Return the faults after a point; without any, the point at the last transfer."""
    found = faults(pages, since)
    return found, None if found else point(pages)


def point(pages: Pages) -> Point:
    """Return the point at the ledger's last transfer."""
    seq, link, _ = pages.tail()
    return Point(pages.ledger_id(), seq, link.hex(), _balances(pages, seq))


def _balances(pages: Pages, until: int) -> str:
    return digest.sha256([list(row) for row in pages.pots(until)])


def _check_id(pages: Pages, since: Point | None) -> Iterator[str]:
    found = pages.ledger_id()  # Raises if it is missing.
    if since is not None and since.ledger != found:
        yield f"it is the ledger {found}; the one that was checked before is {since.ledger}."


def _check_point(pages: Pages, since: Point, last: Booked | None) -> Iterator[str]:
    """Check that the ledger still has what it had at a point: its links and its balances."""
    link = FIRST_LINK
    for row in pages.until(since.transfers):
        link = linked(link, row[:-1])
    if last is None or link.hex() != since.link or last.link != link:
        yield (
            f"transfer {since.transfers}: it is not what it was when the ledger was checked up to "
            "it: the ledger was rewritten, or an older copy was restored."
        )
    elif _balances(pages, since.transfers) != since.balances:
        yield f"the balances after transfer {since.transfers} are not those that were checked."


def _begun(pages: Pages, since: Point) -> _Replay:
    """Return the state at a point."""
    replay = _Replay(pages, since.transfers, seen=since.transfers)
    for account, pot, posted, pending, _ in pages.pots(since.transfers):
        replay.pots[account, pot] = posted, pending
    for opened in pages.opened(since.transfers):
        facts = opened.move.facts
        replay.accounts[opened.move.account] = (facts["mode"], facts["overdraft"])
    return replay


def _check_book(pages: Pages, since: Point | None) -> Iterator[str]:
    replay, link, last_at, first = _Replay(pages), FIRST_LINK, 0, 0
    if since is not None and since.transfers:
        last, first = pages.numbered(since.transfers), since.transfers
        yield from _check_point(pages, since, last)
        if last is None:
            return
        replay, link, last_at = _begun(pages, since), last.link, last.at
    entries = _Entries(pages, first)
    for number, row in enumerate(pages.after(first), first + 1):
        for text in (*_check_chain(row, number, link, last_at), *_check_row(replay, entries, row)):
            yield f"transfer {row[0]}: {text}"
        link, last_at = row[-1], row[-2]
    if entries.strays or entries.of(2**63):
        yield "there are entries of transfers that are not there."
    known = {name: (mode, overdraft) for name, mode, overdraft in pages.accounts()}
    if known != replay.accounts:
        yield "the accounts are not those that were opened."


# Account, pot, change of posted, change of pending, posted after it, pending after it.
Entry = tuple[str, int, int, int, int, int]


class _Entries:
    """The entries of the ledger, transfer by transfer.

    Attributes:
        strays: how many entries were skipped because their transfer does not exist.
    """

    def __init__(self, pages: Pages, after: int) -> None:
        self._rows = pages.entries(after)
        self._next = next(self._rows, None)
        self.strays = 0

    def of(self, transfer: int) -> list[Entry]:
        """Return the entries of a transfer; call this in the order of transfers."""
        found: list[Entry] = []
        while self._next is not None and self._next[2] <= transfer:
            account, pot, its, *amounts = self._next
            if its == transfer:
                found.append((account, pot, *amounts))
            self.strays += its != transfer
            self._next = next(self._rows, None)
        return found


def _apply(replay: _Replay, booked: Booked) -> list[Entry]:
    """Apply a transfer to the state; return the entries that it must have."""
    move = booked.move
    entries: list[Entry] = []
    for account, pot, posted, pending in legs(move.kind, move.account, move.amount, move.parts):
        before = replay.pots[account, pot]
        after = (before[0] + posted, before[1] + pending)
        replay.pots[account, pot] = after
        entries.append((account, pot, posted, pending, *after))
    replay.seen = booked.seq
    if move.kind in ("reserve", "grant"):
        replay.booked[booked.seq] = booked
    return sorted(entries)


def _check_chain(row: tuple[Any, ...], number: int, link: Any, last_at: Any) -> Iterator[str]:
    """Check a row's number, link and time against the row before it."""
    if row[0] != number:
        yield f"it stands where number {number} should be."
    if not isinstance(link, bytes) or linked(link, row[:-1]) != row[-1]:
        yield "it is not what its link says, or the one before it is another."
    if isinstance(last_at, int) and isinstance(row[-2], int) and row[-2] < last_at:
        yield "it was booked before the one before it."


def _check_row(replay: _Replay, entries: _Entries, row: tuple[Any, ...]) -> Iterator[str]:
    """Check a transfer, its entries, and the limits of its account."""
    try:
        booked = booked_of(row)
    except LedgerError as error:
        yield str(error).partition(": ")[2]
        return
    yield from _check_kind(replay, booked)
    if entries.of(booked.seq) != _apply(replay, booked):
        yield "its entries are not what it moves."
    yield from _check_pots(replay, booked)
    yield from _check_limit(replay, booked)


def _check_kind(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check the rules of each kind of transfer."""
    move = booked.move
    if move.kind != "open" and sum(move.parts.values()) != move.amount:
        yield "its parts do not add up to its amount."
    if any(amount <= 0 for amount in move.parts.values()):
        yield "a part of it is not more than 0."
    if move.kind == "open":
        replay.accounts[move.account] = (move.facts["mode"], move.facts["overdraft"])
    elif move.kind == "grant":
        if list(move.parts) != [(ANY, booked.seq)]:
            yield "its credit is not in its own pot."
    elif move.kind in ("void", "expire"):
        yield from _check_release(replay, booked)
    elif move.kind == "post":
        yield from _check_post(booked)
    elif move.kind == "refund":
        yield from _check_refund(replay, booked)


def _check_release(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check that a void or expiry releases one open hold, whole."""
    move = booked.move
    hold = replay.transfer(move.resolves or 0)
    ours = (move.account, move.amount, move.parts, move.lease)
    if (
        hold is None
        or replay.is_resolved(move.resolves or 0)
        or ours != (hold.move.account, hold.move.amount, hold.move.parts, hold.move.lease)
    ):
        yield f"it does not give back the hold {move.resolves}, once and whole."
    replay.resolved.add(move.resolves or 0)
    replay.booked.pop(move.resolves or 0, None)


def _check_post(booked: Booked) -> Iterator[str]:
    """Check the price and the id of a post."""
    move = booked.move
    try:
        charges = prices.load(move.facts["price_version"]).charges(move.facts["quantities"])
    except SandboxError as error:
        yield f"its work cannot be priced: {error}"
        return
    paid: dict[str, int] = dict.fromkeys(charges, 0)
    for (unit, _), amount in move.parts.items():
        paid[unit] = paid.get(unit, 0) + amount
    if paid != charges:
        cost = sum(charges.values())
        yield f"its work costs {cost} microcredits, not {move.amount}, unit by unit."
    episode, parent = move.facts["episode"], move.facts["parent"]
    if move.run is not None and move.id != charge_id(move.run, episode or 0, parent):
        yield "its id is not that of its run and episode."


def _check_refund(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check that a refund refers to a post, and that no post is refunded beyond its amount."""
    move = booked.move
    post = replay.transfer(move.corrects or 0)
    if post is None or post.move.kind != "post" or post.move.account != move.account:
        yield f"it corrects {move.corrects}, which is no post of its account."
        return
    if replay.refund(post.seq, move.amount) > post.move.amount:
        yield f"more was given back of post {post.seq} than it cost."


def _check_pots(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check that each part comes from a grant of the account that pays the part's unit."""
    move = booked.move
    for unit, pot in move.parts:
        grant = replay.transfer(pot)
        if pot == OVERAGE:
            continue
        if grant is None or grant.move.kind != "grant" or grant.move.account != move.account:
            yield f"{pot} is no grant of its account."
        elif unit not in (ANY, *(grant.move.facts["meters"] or [unit])):
            yield f"the grant {pot} does not pay {unit}."


def _check_limit(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check that no pot is overdrawn, except pot 0 within the account's overdraft."""
    move = booked.move
    mode, overdraft = replay.accounts.get(move.account, ("", 0))
    if not mode:
        yield f"the account {move.account!r} was not opened."
    for pot in {pot for _, pot in move.parts}:
        posted, pending = replay.pots[move.account, pot]
        if pending < 0:
            yield f"{move.account!r} holds less than nothing."
        room = overdraft if pot == OVERAGE else 0
        if posted - pending < -room and not (pot == OVERAGE and mode == "postpaid"):
            yield f"{move.account!r} is overdrawn."
