"""Which episodes to train on and which to keep for validation: whole groups, never rows."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.dataset.facts import NONE, Facts
from sandbox.dataset.filters import number
from sandbox.errors import InvalidInputError, shown

I64 = NDArray[np.int64]
_SLACK = 8  # Times the largest group: so many of the last episodes are chosen to fit exactly.
_WHOLE = 1 << 28  # Groups times episodes, at most, of which every sum is tried.


def training(
    facts: Facts, fraction: float, seed: int, by: str, strict: bool, where: str
) -> NDArray[np.bool_]:
    """Return which episodes to train on, (episodes,); the others are for validation.

    Args:
        facts: what is known of the episodes.
        fraction: share of the episodes to train on. It is met exactly if groups allow it, else as
            nearly as they do.
        seed: seed of the choice.
        by: `episode`, or the name of a factor of which whole values, or a range, are kept for
            validation.
        strict: whether episodes of one environment and seed stay on one side although their values
            of the factor differ.
        where: what errors call the dataset.

    Raises:
        InvalidInputError: nothing would be left on one side, or an episode lacks the factor.
        UnknownNameError: no episode has such a factor.
    """
    count = _check(len(facts), fraction, seed, where)
    groups = related(facts, seeds=strict or by == "episode")
    rng = np.random.default_rng(seed)
    if by == "episode":
        train = _fitting(groups, count, rng)
    else:
        values, ordered = _values(facts, by, where)
        blocks = _blocks(values, groups)
        train = (
            ~_range(blocks, len(facts) - count, rng) if ordered else _fitting(blocks, count, rng)
        )
    if train.all() or not train.any():
        way = (
            f", or part them by {by} alone with twins='name', which names those that share a seed"
            if strict and by != "episode"
            else ""
        )
        raise InvalidInputError(
            f"{where}: its {len(facts)} episodes cannot be parted by {by}: all share a value, or "
            "(environment, seed), or what they branch off, by way of others. Generate more, or "
            f"part them by something else{way}."
        )
    return train


def related(facts: Facts, *, seeds: bool = True) -> I64:
    """Return the group of each episode, int64 (episodes,), numbered from 0 in order.

    An episode and its branches are one group, and with `seeds` episodes of one environment and
    seed, too.
    """
    columns = facts.columns
    if not seeds:
        return _numbered(_merged(np.arange(len(facts)), facts))
    _, places = np.unique(columns["seed"], return_inverse=True)
    groups = columns["environment"].astype(np.int64) * (len(facts) + 1) + places
    unknown = columns["seed"] == NONE
    groups[unknown] = -2 - np.arange(len(facts))[unknown] - len(facts)  # Each is on its own.
    return _numbered(_merged(_numbered(groups), facts))


def _merged(groups: I64, facts: Facts) -> I64:
    """Return groups after those of branches and of what they branch off have become one."""
    columns = facts.columns
    branches = np.flatnonzero(columns["parent_run"] != NONE).tolist()
    if not branches:
        return groups
    root = list(range(int(groups.max()) + 1))
    pasts = dict(zip(_named(facts, "run", "episode"), groups.tolist(), strict=True))
    parents = _named(facts, "parent_run", "parent_episode")
    for n in branches:
        mine = int(groups[n])  # The first branch of an absent episode stands for it.
        one, other = _root(root, mine), _root(root, pasts.setdefault(parents[n], mine))
        root[max(one, other)] = min(one, other)
    return np.array([_root(root, n) for n in range(len(root))])[groups]


def _named(facts: Facts, run: str, episode: str) -> list[tuple[str | None, int]]:
    """Return the run and the number that two columns say of each episode."""
    names = (*facts.names[run], None)  # NONE is the last.
    places: list[int] = facts.columns[run].tolist()
    episodes: list[int] = facts.columns[episode].tolist()
    return [(names[place], n) for place, n in zip(places, episodes, strict=True)]


def _root(root: list[int], n: int) -> int:
    while root[n] != n:
        root[n] = n = root[root[n]]
    return n


def _numbered(groups: NDArray[Any]) -> I64:
    """Return groups, numbered from 0 in the order in which they first occur."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _check(count: int, fraction: object, seed: object, where: str) -> int:
    """Return how many episodes to train on; refuse what leaves one side without any."""
    share = number(fraction)
    if share is None or not 0 < share < 1:
        raise InvalidInputError(f"fraction {shown(fraction)}: give a number between 0 and 1.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InvalidInputError(f"seed {shown(seed)}: give a whole number from 0.")
    train = math.floor(count * Fraction(repr(share)) + Fraction(1, 2))  # 0.29 as it is written.
    if not 0 < train < count:
        raise InvalidInputError(
            f"{where}: {fraction} of {count} episodes leaves {train} to train on and "
            f"{count - train} to validate; give another fraction, or more episodes."
        )
    return train


def _fitting(groups: I64, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the episodes of groups by chance that have `count` together, or nearly."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    most = int(sizes.max())
    before = np.cumsum(sizes[order])
    sure = int(np.searchsorted(before, max(0, count - _SLACK * most), side="right"))
    need = count - int(before[sure - 1]) if sure else count
    last = _summing(sizes[order[sure:]].tolist(), need, least=0 if sure else 1)
    missed = need != sizes[order[sure:]][last].sum()
    if (
        missed and sure and len(sizes) * len(groups) <= _WHOLE
    ):  # Those chosen first may be in the way.
        sure, last = 0, _summing(sizes[order].tolist(), count, least=1)
    chosen = np.zeros(len(sizes), np.bool_)
    chosen[order[:sure]] = True
    chosen[order[sure:][last]] = True
    return chosen[groups]


def _summing(sizes: list[int], need: int, least: int) -> list[int]:
    """Return places of sizes that add up to `need`, or as nearly as some from `least` on do.

    Not all of them are chosen if there is another way.
    """
    most = (1 << need + max(sizes, default=0) + 1) - 1
    reached, steps = 1, list[tuple[int, int]]()  # Bit n: some of the sizes so far add up to n.
    for place, size in enumerate(sizes):
        more = (reached | reached << size) & most
        if more != reached:
            steps.append((place, reached))
            reached = more
        if reached >> need & 1:
            break
    ways = [n for n in range(reached.bit_length()) if reached >> n & 1]
    some = [n for n in ways if least <= n < sum(sizes)] or ways
    left = min(some, key=lambda total: (abs(total - need), total))
    found: list[int] = []
    for place, before in reversed(steps):
        if not before >> left & 1:
            found.append(place)
            left -= sizes[place]
    return found


def _values(facts: Facts, name: str, where: str) -> tuple[NDArray[np.float64], bool]:
    """Return a factor's value in each episode, and whether values have an order."""
    numbers = facts.factor(name)
    ordered = not np.isnan(numbers).all()
    values = numbers if ordered else facts.factor(name, color=True)
    lacking = np.isnan(values)
    if lacking.any():
        raise InvalidInputError(
            f"{where}: {int(lacking.sum())} of {len(facts)} episodes have no number for factor "
            f"{name!r}; select those that have, or part by something else."
        )
    return values, ordered


def _blocks(values: NDArray[np.float64], groups: I64) -> I64:
    """Return the block of each episode, int64 (episodes,), in the order of values.

    Equal values are in one block, and so are groups whose values lie across each other.
    """
    low, high = np.full(groups.max() + 1, np.inf), np.full(groups.max() + 1, -np.inf)
    np.minimum.at(low, groups, values)
    np.maximum.at(high, groups, values)
    order = np.argsort(low, kind="stable")
    reach = np.maximum.accumulate(high[order])
    begins = np.append(True, low[order][1:] > reach[:-1])
    block = np.empty(len(low), np.int64)
    block[order] = np.cumsum(begins) - 1
    return block[groups]


def _range(blocks: I64, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the episodes of neighbouring blocks that have `count` together, or nearly."""
    ends = np.cumsum(np.bincount(blocks))
    begins = np.append(0, ends[:-1])
    after = np.searchsorted(ends, begins + count)  # The last block of the shortest that reaches.
    last = np.stack((np.maximum(after - 1, np.arange(len(ends))), np.minimum(after, len(ends) - 1)))
    missed = np.abs(ends[last] - begins - count) + (ends[last] - begins == ends[-1]) * ends[-1]
    ways = np.argwhere(missed == missed.min())
    side, first = ways[rng.integers(len(ways))].tolist()
    return (first <= blocks) & (blocks <= last[side, first])
