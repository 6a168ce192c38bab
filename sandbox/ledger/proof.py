"""The book derived again from its transfers, and whatever in it disagrees."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox import prices
from sandbox.errors import SandboxError
from sandbox.ledger.burn import OVERAGE
from sandbox.ledger.store import FIRST_LINK, Booked, Pages, columns_of, linked
from sandbox.ledger.transfer import ANY, OTHER_SIDE, charge_id, legs


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
    """Return a sentence for whatever disagrees; [] if nothing."""
    found = [f"the file: {text}." for text in pages.damage()]
    replay, link, last_at = _Replay(), FIRST_LINK, 0
    entries = _Entries(pages)
    for number, booked in enumerate(pages.transfers(), 1):
        here = [*_of_chain(booked, number, link, last_at), *_of_kind(replay, booked)]
        made = _apply(replay, booked)
        if entries.of(booked.seq) != made:
            here.append("its entries are not what it moves.")
        here += _of_limit(replay, booked)
        found += [f"transfer {booked.seq}: {text}" for text in here]
        link, last_at = booked.link, booked.at
    if entries.strays or entries.of(2**63):
        found.append("there are entries of transfers that are not there.")
    known = {name: (mode, overdraft) for name, mode, overdraft in pages.accounts()}
    if known != replay.accounts:
        found.append("the accounts are not those that were opened.")
    return found


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
    if it.kind not in OTHER_SIDE and it.kind != "open":
        return entries
    for account, pot, posted, pending in legs(it.kind, it.account, it.amount, it.parts):
        before = replay.pots[account, pot]
        after = (before[0] + posted, before[1] + pending)
        replay.pots[account, pot] = after
        entries.append((account, pot, posted, pending, *after))
    if it.kind in ("reserve", "post", "grant"):
        replay.booked[booked.seq] = booked
    return sorted(entries)


def _of_chain(booked: Booked, number: int, link: bytes, last_at: int) -> Iterator[str]:
    if booked.seq != number:
        yield f"it stands where number {number} should be."
    if linked(link, columns_of(booked)) != booked.link:
        yield "it is not what its link says, or the one before it is another."
    if booked.at < last_at:
        yield "it was booked before the one before it."


def _of_kind(replay: _Replay, booked: Booked) -> Iterator[str]:
    """Check what each kind of transfer promises."""
    it = booked.move
    if it.kind != "open" and sum(it.parts.values()) != it.amount:
        yield "its parts do not add up to its amount."
    if any(amount <= 0 for amount in it.parts.values()):
        yield "a part of it is not more than 0."
    if it.kind == "open":
        replay.accounts[it.account] = (it.facts.get("mode", ""), it.facts.get("overdraft", 0))
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
        charges = prices.load(str(it.facts.get("price_version"))).charges(it.facts["quantities"])
    except (SandboxError, LookupError, TypeError, AttributeError) as error:
        yield f"its work cannot be priced: {error}"
        return
    paid: dict[str, int] = dict.fromkeys(charges, 0)
    for (unit, _), amount in it.parts.items():
        paid[unit] = paid.get(unit, 0) + amount
    if paid != charges:
        yield f"its work costs {sum(charges.values())} microcredits, not {it.amount}, unit by unit."
    episode, parent = it.facts.get("episode"), it.facts.get("parent")
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
