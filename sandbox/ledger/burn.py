"""Which grants pay: burn order, and what credit covers what work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.ledger.transfer import Charges, Parts

OVERAGE = 0  # The pot without conditions, which alone may be overdrawn.


@dataclass(frozen=True, slots=True)
class Lot:
    """What is left of one grant.

    Attributes:
        pot: its number.
        free: what is neither spent nor held [microcredits].
        priority: the lower burns first.
        expires: when its rest is lost [ms since 1970], or None.
        meters: the meter units that it pays; none means all.
    """

    pot: int
    free: int
    priority: int
    expires: int | None
    meters: tuple[str, ...]

    def pays(self, unit: str) -> bool:
        """Whether it may pay for a meter unit."""
        return not self.meters or unit in self.meters


def order(lots: Iterable[Lot]) -> list[Lot]:
    """Return lots in burn order: priority, then earliest expiry, then oldest."""
    never = 2**63
    return sorted(lots, key=lambda lot: (lot.priority, lot.expires or never, lot.pot))


def allocate(
    charges: Charges, lots: Sequence[Lot], first: Parts | None = None
) -> tuple[dict[tuple[str, int], int], dict[str, int]]:
    """Share charges out over lots.

    Each lot in turn pays what is left of the units that it may pay; among these, first what the
    fewest later lots could pay.

    Args:
        charges: microcredits per meter unit.
        lots: in burn order.
        first: parts set aside for these charges, used before any lot.

    Returns:
        The parts, and what nothing pays [microcredits per meter unit].
    """
    left = {unit: amount for unit, amount in charges.items() if amount}
    parts: dict[tuple[str, int], int] = {}
    for (unit, pot), amount in sorted((first or {}).items()):
        _take(left, parts, unit, pot, amount)
    for n, lot in enumerate(lots):
        free = lot.free
        later = lots[n + 1 :]
        units = [unit for unit in left if lot.pays(unit)]
        for unit in sorted(units, key=lambda u: (sum(other.pays(u) for other in later), u)):
            free -= _take(left, parts, unit, lot.pot, free)
    return parts, left


def _take(
    left: dict[str, int], parts: dict[tuple[str, int], int], unit: str, pot: int, most: int
) -> int:
    taken = min(left.get(unit, 0), most)
    if taken > 0:
        parts[unit, pot] = parts.get((unit, pot), 0) + taken
        left[unit] -= taken
        if not left[unit]:
            del left[unit]
    return max(taken, 0)


def covered(
    charges: Charges, lots: Sequence[Lot], overdraft: int | None, first: Parts | None = None
) -> tuple[dict[tuple[str, int], int], int]:
    """Share charges out over lots and, last, the pot without conditions.

    Args:
        charges: microcredits per meter unit.
        lots: in burn order.
        overdraft: what that pot can still give [microcredits]; None is without limit.
        first: parts set aside for these charges.

    Returns:
        The parts, and how much is missing [microcredits]; 0 if all is covered.
    """
    parts, left = allocate(charges, lots, first)
    for unit, amount in left.items():
        parts[unit, OVERAGE] = parts.get((unit, OVERAGE), 0) + amount
    if overdraft is None:
        return parts, 0
    over = sum(amount for (_, pot), amount in parts.items() if pot == OVERAGE)
    return parts, max(0, over - max(0, overdraft))


def plus(one: Mapping[str, int], other: Mapping[str, int], times: int = 1) -> dict[str, int]:
    """Return charges added, the second `times` over [microcredits per meter unit]."""
    return {u: one.get(u, 0) + times * other.get(u, 0) for u in {**one, **other}}


def less(parts: Parts, used: Parts) -> dict[tuple[str, int], int]:
    """Return the parts that are left of some after others were used."""
    rest = {key: amount - used.get(key, 0) for key, amount in parts.items()}
    return {key: amount for key, amount in rest.items() if amount > 0}
