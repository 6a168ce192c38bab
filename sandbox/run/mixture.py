"""Which policy, or which part, has which episode: in exact proportion, in an order by chance.

After every n episodes each policy has had n times its share of them, rounded down or up. So its
j-th episode has a window of places: it comes after j / share, and at the latest at (j + 1) / share.
Serving the earliest deadline first always meets such windows (Baruah et al. 1996, "Proportionate
progress"). Here chance chooses instead wherever the rest can still be met.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

BLOCK = 1024  # Episodes that are placed at once, at most.
AHEAD = 64  # Places that are looked at before chance may choose.


def policy(weights: Mapping[str, float], chance: Sequence[int], index: int) -> str:
    """Return the name of the policy that acts in an episode.

    Args:
        weights: name of each policy to its weight.
        chance: what the order depends on.
        index: the episode's place in its run.
    """
    names = sorted(weights)
    return names[order([weights[name] for name in names], chance).policy(index)]


def order(weights: Sequence[float], chance: Sequence[int]) -> "Order":
    """Return the order of episodes that have such shares of a run.

    Args:
        weights: of each policy, or part.
        chance: what the order depends on.
    """
    exact = [Fraction(str(weight)) for weight in weights]  # 0.1 as it is written.
    unit = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * unit) for weight in exact]
    common = math.gcd(*whole)
    return _order(tuple(share // common for share in whole), tuple(chance))


@dataclass(frozen=True)
class _Block:
    """A block of an order.

    Attributes:
        placed: which policy acts in each of its episodes.
        counts: how many episodes each policy has had after it.
    """

    placed: list[int]
    counts: list[int]


class Order:
    """The places of policies in a run without an end, block by block.

    Args:
        shares: how many of every `sum(shares)` episodes each policy has, without a common divisor.
        chance: what the order depends on.
    """

    def __init__(self, shares: Sequence[int], chance: Sequence[int]) -> None:
        self._shares, self._chance = shares, chance
        self._size = min(sum(shares), BLOCK)
        self._even = self._size == sum(shares)  # Then every block begins as the first one does.
        self._latest: tuple[int, list[int]] = (-1, [])  # A block, by its number.
        self._blocks = [_Block([], [0] * len(shares))]  # Of an order that is not even: all so far.

    def policy(self, index: int) -> int:
        """Return the place in `shares` of the policy that acts in an episode.

        Several threads may ask: what is known is replaced, and never changed.
        """
        number, place = divmod(index, self._size)
        return self._block(number)[place]

    def place(self, index: int) -> int:
        """Return how many episodes before one have its policy."""
        return self.count(self.policy(index), index)

    def count(self, policy: int, until: int) -> int:
        """Return how many of the first `until` episodes a policy has."""
        number, rest = divmod(until, self._size)
        before = self._before(policy, number)
        return before + (self._block(number)[:rest].count(policy) if rest else 0)

    def index(self, policy: int, place: int) -> int:
        """Return which episode is a policy's `place`-th, from 0."""
        number = place * sum(self._shares) // (self._shares[policy] * self._size)  # Or one near it.
        while self._before(policy, number + 1) <= place:
            number += 1
        while self._before(policy, number) > place:
            number -= 1
        mine = [n for n, one in enumerate(self._block(number)) if one == policy]
        return number * self._size + mine[place - self._before(policy, number)]

    def _before(self, policy: int, number: int) -> int:
        """Return how many episodes a policy has before a block."""
        if self._even:
            return number * self._shares[policy]
        self._known(number)
        return self._blocks[number].counts[policy]

    def _block(self, number: int) -> list[int]:
        """Return which policy acts in each episode of a block."""
        if self._even:
            known, placed = self._latest
            if known != number:
                placed = self._placed(number, 0, [0] * len(self._shares))
                self._latest = number, placed
            return placed
        return self._known(number + 1)[number + 1].placed

    def _known(self, last: int) -> list[_Block]:
        """Return the blocks of an order that is not even, up to the `last`-th at least."""
        blocks = self._blocks
        if len(blocks) <= last:
            blocks = list(blocks)
            while len(blocks) <= last:
                counts, number = list(blocks[-1].counts), len(blocks) - 1
                placed = self._placed(number, number * self._size, counts)
                blocks.append(_Block(placed, counts))
            self._blocks = max(self._blocks, blocks, key=len)
        return blocks

    def _placed(self, number: int, start: int, counts: list[int]) -> list[int]:
        """Return which policy acts in each episode of a block, and add these to `counts`."""
        rng, placed = np.random.default_rng([*self._chance, number]), list[int]()
        for place in range(start + 1, start + self._size + 1):
            ready = _ready(self._shares, counts, place)
            chosen = ready[0]
            turns: list[int] = rng.permutation(len(ready)).tolist() if len(ready) > 1 else [0]
            for n in turns:
                if n == 0 or _can_wait(self._shares, counts, place, ready[n]):
                    chosen = ready[n]
                    break
            counts[chosen] += 1
            placed.append(chosen)
        return placed


_order = lru_cache(maxsize=8)(Order)


def _ready(shares: Sequence[int], counts: Sequence[int], place: int) -> list[int]:
    """Return the policies whose next episode may come at this place, the earliest deadline first.

    Empty if a deadline was missed.
    """
    total, found = sum(shares), list[tuple[int, int]]()
    for policy, (share, count) in enumerate(zip(shares, counts, strict=True)):
        latest = -(-(count + 1) * total // share)
        if latest < place:
            return []
        if count * total // share < place:
            found.append((latest, policy))
    return [policy for _, policy in sorted(found)]


def _can_wait(shares: Sequence[int], counts: Sequence[int], place: int, chosen: int) -> bool:
    """Return whether all deadlines can surely be met if `chosen` acts at this place.

    It is sure if the others can do without the place that `chosen` would have had, AHEAD places
    further on at most.
    """
    usual, other = list(counts), list(counts)
    other[chosen] += 1
    usual[_ready(shares, usual, place)[0]] += 1
    for later in range(place + 1, place + AHEAD):
        if usual == other:
            return True
        ready = _ready(shares, other, later)
        if not ready:
            return False
        other[ready[0]] += 1
        usual[_ready(shares, usual, later)[0]] += 1
    return False
