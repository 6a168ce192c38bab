"""Burn order: which grants pay for which work."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sandbox.ledger.transfer import Charges, Parts

OVERAGE = 0  # The pot without conditions; only this pot may be overdrawn.
_ENDLESS = 2**63


@dataclass(frozen=True, slots=True)
class Lot:
    """The unused credit of one grant.

    Attributes:
        pot: the number of the grant's pot.
        free: credit that is neither spent nor held [microcredits].
        priority: lots with lower numbers burn first.
        expires: when the unused credit is lost [ms since 1970], or None.
        meters: the meter units that the grant pays; empty means all.
    """

    pot: int
    free: int
    priority: int
    expires: int | None
    meters: tuple[str, ...]

    def pays(self, unit: str) -> bool:
        """Return whether the grant may pay for a meter unit."""
        return not self.meters or unit in self.meters


def order(lots: Iterable[Lot]) -> list[Lot]:
    """Return lots in burn order: priority, then earliest expiry, then oldest."""
    return sorted(lots, key=lambda lot: (lot.priority, lot.expires or _ENDLESS, lot.pot))


def covered(
    charges: Charges, lots: Sequence[Lot], overdraft: int | None, first: Parts | None = None
) -> tuple[dict[tuple[str, int], int], int]:
    """Distribute charges over lots and, last, over the pot without conditions.

    Each lot in turn pays as much as it can. If need be it takes over work from an earlier lot, so
    that the earlier one can pay for other work. So no lot is skipped that could pay, and the
    charges are covered whenever that is possible.

    Args:
        charges: microcredits per meter unit.
        lots: in burn order.
        overdraft: how much the pot without conditions can still pay [microcredits]; None means no
            limit.
        first: parts that are set aside for these charges; they are used before any lot. Of a pot
            that is not among `lots`, only its part can be used, and only for the part's unit.

    Returns:
        The parts that pay, and how much is missing [microcredits]; 0 if all is covered.
    """
    if not first and lots and not lots[0].meters and lots[0].free >= sum(charges.values()):
        return {(unit, lots[0].pot): amount for unit, amount in charges.items() if amount}, 0
    room = sum(charges.values()) if overdraft is None else max(0, overdraft)
    share = _Share(charges, lots, room)
    if first:
        share.take_aside(first)
    for lot in lots:
        if not share.left:
            break
        share.take(lot, lot.free - share.used(lot.pot))
    parts = share.parts
    for unit, amount in share.left.items():
        parts[unit, OVERAGE] = parts.get((unit, OVERAGE), 0) + amount
    return parts, max(0, share.used(OVERAGE) - room)


class _Share:
    """The state of a distribution of charges.

    Attributes:
        left: charges that are not paid yet [microcredits per meter unit], without zeros.
        parts: charges that are paid, by meter unit and pot [microcredits], without zeros.
    """

    def __init__(self, charges: Charges, lots: Sequence[Lot], room: int) -> None:
        self.left = {unit: amount for unit, amount in charges.items() if amount}
        self.parts: dict[tuple[str, int], int] = {}
        self._units = sorted(self.left)
        self._lots = {lot.pot: lot for lot in (*lots, Lot(OVERAGE, room, 0, None, ()))}

    def used(self, pot: int) -> int:
        """Return how much a pot pays [microcredits]."""
        return sum(amount for (_, its), amount in self.parts.items() if its == pot)

    def take_aside(self, first: Parts) -> None:
        """Pay with the parts set aside, each for its unit; those of unknown pots may swap work."""
        others: list[Lot] = []
        for (unit, pot), amount in sorted(first.items()):
            lot = self._lots.get(pot)
            free = amount if lot is None else min(amount, lot.free - self.used(pot))
            free -= self._pay(unit, pot, free)
            if lot is None and free:
                others.append(Lot(pot, free, 0, None, (unit,)))
        for lot in others:
            self.take(lot, lot.free)

    def take(self, lot: Lot, free: int) -> None:
        """Let a lot pay up to `free` [microcredits]."""
        for unit in self._units:
            if lot.pays(unit):
                free -= self._pay(unit, lot.pot, free)
        while free > 0 and self.left:
            path = self._path(lot)
            if not path:
                return
            free -= self._take_over(lot.pot, path, free)

    def _pay(self, unit: str, pot: int, most: int) -> int:
        """Let a pot pay up to `most` of a unit's charge; return how much it paid."""
        taken = min(self.left.get(unit, 0), most)
        if taken <= 0:
            return 0
        self.parts[unit, pot] = self.parts.get((unit, pot), 0) + taken
        self.left[unit] -= taken
        if not self.left[unit]:
            del self.left[unit]
        return taken

    def _path(self, lot: Lot) -> list[tuple[str, int, str]]:
        """Return the swaps that let `lot` pay for a unit that it cannot pay directly.

        A breadth-first search. Each step is (unit, pot, other): `pot` stops paying `unit`, which
        the step before takes over, and pays `other` instead. The first unit is paid by `lot`, the
        last `other` is a unit that is not paid yet. Empty if there are no such swaps.
        """
        steps: dict[str, tuple[str, int, str] | None] = {
            unit: None for unit in self._units if lot.pays(unit)
        }
        reached = list(steps)
        for unit in reached:  # The loop appends to `reached`.
            for pot in [pot for its, pot in self.parts if its == unit]:
                payer = self._lots.get(pot)
                for other in self._units:
                    if payer is not None and other not in steps and payer.pays(other):
                        steps[other] = (unit, pot, other)
                        reached.append(other)
        path: list[tuple[str, int, str]] = []
        step = next((steps[unit] for unit in reached if unit in self.left), None)
        while step is not None:
            path.insert(0, step)
            step = steps[step[0]]
        return path

    def _take_over(self, pot: int, path: list[tuple[str, int, str]], most: int) -> int:
        """Make the swaps of a path with up to `most`; return how much more is paid."""
        last = path[-1][2]
        amount = min(most, self.left[last], *(self.parts[unit, its] for unit, its, _ in path))
        self._pay(last, path[-1][1], amount)
        for (unit, its, _), taker in zip(path, (pot, *(its for _, its, _ in path)), strict=False):
            self.parts[unit, its] -= amount
            if not self.parts[unit, its]:
                del self.parts[unit, its]
            self.parts[unit, taker] = self.parts.get((unit, taker), 0) + amount
        return amount


def less(parts: Parts, used: Parts) -> dict[tuple[str, int], int]:
    """Return what is left of `parts` after `used` is subtracted."""
    rest = {key: amount - used.get(key, 0) for key, amount in parts.items()}
    return {key: amount for key, amount in rest.items() if amount > 0}


def spent(lots: Sequence[Lot], used: Parts) -> list[Lot]:
    """Return the lots after `used` was spent from them, in burn order, empty ones last."""
    pots: dict[int, int] = {}
    for (_, pot), amount in used.items():
        pots[pot] = pots.get(pot, 0) + amount
    left: list[Lot] = []
    empty: list[Lot] = []
    for lot in lots:
        if lot.pot in pots:
            free = lot.free - pots[lot.pot]
            lot = Lot(lot.pot, free, lot.priority, lot.expires, lot.meters)
        (left if lot.free > 0 else empty).append(lot)
    return left + empty


def within(parts: Parts, lots: Sequence[Lot], overdraft: int) -> dict[tuple[str, int], int]:
    """Return parts that were set aside, reduced to what their pots still have.

    Parts of pots that are not among `lots` are returned in full.
    """
    free = {OVERAGE: overdraft, **{lot.pot: lot.free for lot in lots}}
    kept: dict[tuple[str, int], int] = {}
    for (unit, pot), amount in sorted(parts.items()):
        part = min(amount, free.get(pot, amount))
        if pot in free:
            free[pot] -= part
        if part > 0:
            kept[unit, pot] = part
    return kept
