"""Which grants pay: all that can be covered is, and no grant is spared before a later one."""

from collections.abc import Mapping, Sequence
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.ledger import burn
from sandbox.ledger.burn import OVERAGE, Lot
from sandbox.ledger.transfer import Parts

UNITS = ("physics_step", "pixel", "raw_byte", "reset")


def lot(pot: int, free: int, *meters: str) -> Lot:
    return Lot(pot, free, 0, None, meters)


def flow(charges: Mapping[str, int], lots: Sequence[Lot]) -> int:
    """The most that lots can pay: the smallest cut, over all sets of units that are cut off."""
    units = [unit for unit in UNITS if charges.get(unit)]
    sets = chain.from_iterable(combinations(units, n) for n in range(len(units) + 1))
    return min(
        sum(charges[unit] for unit in cut)
        + sum(one.free for one in lots if any(one.pays(unit) for unit in units if unit not in cut))
        for cut in sets
    )


def paid(parts: Parts, pot: int) -> int:
    return sum(amount for (_, its), amount in parts.items() if its == pot)


def worth(parts: Parts, unit: str) -> int:
    return sum(amount for (its, _), amount in parts.items() if its == unit)


def amounts(most: int) -> st.SearchStrategy[dict[str, int]]:
    return st.dictionaries(st.sampled_from(UNITS), st.integers(0, most))


lots = st.lists(st.tuples(st.integers(0, 9), st.sets(st.sampled_from(UNITS))), max_size=6).map(
    lambda found: [lot(n, free, *sorted(meters)) for n, (free, meters) in enumerate(found, 2)]
)


@given(amounts(12), lots, st.none() | st.integers(0, 9))
@settings(deadline=None)
def test_lots_pay_in_turn_as_much_as_they_can_and_all_is_covered_that_can_be(
    charges: dict[str, int], lots: list[Lot], room: int | None
) -> None:
    parts, missing = burn.covered(charges, lots, room)
    payers = {one.pot: one for one in lots} | {OVERAGE: lot(OVERAGE, 10**6)}
    assert all(payers[pot].pays(unit) and n > 0 for (unit, pot), n in parts.items())
    for unit, amount in charges.items():
        assert worth(parts, unit) == amount
    for n, one in enumerate(lots):
        assert paid(parts, one.pot) == flow(charges, lots[: n + 1]) - flow(charges, lots[:n])
    lacking = sum(charges.values()) - flow(charges, lots)
    assert paid(parts, OVERAGE) == lacking
    assert missing == (0 if room is None else max(0, lacking - room))


@given(amounts(12), lots, st.integers(0, 9), st.data())
@settings(deadline=None)
def test_what_is_set_aside_pays_first_and_no_pot_pays_more_than_it_has(
    charges: dict[str, int], lots: list[Lot], room: int, data: st.DataObject
) -> None:
    """Aside may be more than there is: other charges may have used what it was set aside from."""
    free = {OVERAGE: room, **{one.pot: one.free for one in lots}}
    keys = [(unit, one.pot) for one in lots for unit in UNITS if one.pays(unit)]
    keys += [(unit, pot) for unit in UNITS for pot in (OVERAGE, 99)]  # 99 is of a grant that ended.
    aside = data.draw(st.dictionaries(st.sampled_from(keys), st.integers(1, 5), max_size=5))
    parts, missing = burn.covered(charges, lots, room, aside)
    for pot, most in free.items():
        assert paid(parts, pot) <= most + missing * (pot == OVERAGE)
    assert all(n <= aside.get(key, 0) for key, n in parts.items() if key[1] == 99)
    gone = [lot(99, n, unit) for (unit, pot), n in aside.items() if pot == 99]
    assert missing == sum(charges.values()) - flow(charges, [*gone, *lots, lot(OVERAGE, room)])
    wanted = all(worth(aside, unit) <= charges.get(unit, 0) for unit in UNITS)
    if wanted and all(paid(aside, pot) <= most for pot, most in free.items()):
        assert all(paid(parts, pot) >= paid(aside, pot) for pot in (*free, 99))
    used = burn.spent(lots, {key: n for key, n in parts.items() if key[1] not in (OVERAGE, 99)})
    rest = burn.within(burn.less(aside, parts), used, max(0, room - paid(parts, OVERAGE)))
    for pot, most in free.items():
        left = most - paid(parts, pot)
        assert missing or paid(rest, pot) == min(left, paid(burn.less(aside, parts), pot))
    assert paid(rest, 99) == paid(aside, 99) - paid(parts, 99)


@pytest.mark.parametrize("turn", range(3))
def test_a_grant_of_one_meter_makes_room_in_one_of_two(turn: int) -> None:
    """Each of three grants is needed; whoever takes what comes first refuses."""
    kinds = [("raw_byte", "pixel"), ("raw_byte", "reset"), ("pixel",)]
    lots = [lot(n, 100, *meters) for n, meters in enumerate([*kinds[turn:], *kinds[:turn]], 2)]
    charges = {"raw_byte": 100, "pixel": 100, "reset": 100}
    parts, missing = burn.covered(charges, lots, 0)
    assert missing == 0
    assert [paid(parts, one.pot) for one in lots] == [100, 100, 100]
