"""Some leaves of a hash tree and the hashes of the rest: one proof of many leaves.

A proof of each leaf alone repeats the hashes that leaves share. A part has every hash once: the
root of each largest subtree that holds none of its leaves, from left to right. A part with all
leaves has no further hash.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sandbox.errors import FormatError, InvalidInputError
from sandbox.evidence import merkle


@dataclass(frozen=True)
class Part:
    """Some leaves of a tree, and what shows that they are in it.

    Attributes:
        size: number of leaves of the whole tree.
        leaves: place of each known leaf to its hash, 32 bytes.
        nodes: the hashes of the subtrees without known leaves, from left to right.
    """

    size: int
    leaves: Mapping[int, bytes]
    nodes: Sequence[bytes] = ()

    @classmethod
    def of(cls, leaves: Sequence[bytes], places: Iterable[int]) -> "Part":
        """Return the part of a whole tree that has the leaves of some places."""
        return cls(len(leaves), dict(enumerate(leaves))).narrowed(places)

    def root(self) -> bytes:
        """Return the root of the whole tree that the part gives.

        Raises:
            FormatError: it has too few or too many hashes, or a leaf outside the tree.
        """
        return _Walk(self, sorted(self.leaves)).root

    def narrowed(self, places: Iterable[int]) -> "Part":
        """Return a part with fewer leaves.

        Args:
            places: the places of its leaves, which this part knows.

        Raises:
            InvalidInputError: this part does not know such a leaf.
            FormatError: as `root`.
        """
        kept = sorted({*places})
        unknown = [place for place in kept if place not in self.leaves]
        if unknown:
            raise InvalidInputError(f"leaf {unknown[0]}: the part does not have it.")
        walk = _Walk(self, kept)
        return Part(self.size, {place: self.leaves[place] for place in kept}, tuple(walk.nodes))


class _Walk:
    """Computes the root of a part, and the hashes that a part with fewer leaves needs.

    Attributes:
        root: the root.
        nodes: the hashes of the subtrees without the leaves that are kept.
    """

    def __init__(self, part: Part, kept: Sequence[int]) -> None:
        self._part, self._kept = part, kept
        self._known = sorted(part.leaves)
        self._given: Iterator[bytes] = iter(part.nodes)
        self.nodes: list[bytes] = []
        if part.size < 1 or (
            self._known and not 0 <= self._known[0] <= self._known[-1] < part.size
        ):
            raise FormatError(f"a leaf lies outside the tree of {part.size} leaves.")
        if any(len(node) != 32 for node in (*part.nodes, *part.leaves.values())):
            raise FormatError("a hash has not 32 bytes.")
        self.root = self._hash(0, part.size, inside=False)
        if next(self._given, None) is not None:
            raise FormatError("it has more hashes than its leaves need.")

    def _hash(self, low: int, high: int, *, inside: bool) -> bytes:
        """Return the hash of the subtree over the leaves from `low` to `high`.

        `inside`: a larger subtree without a kept leaf has it.
        """
        outside = not inside and not _any(self._kept, low, high)
        if not _any(self._known, low, high):
            found = next(self._given, None)
            if found is None:
                raise FormatError("it lacks a hash that its leaves need.")
        elif high - low == 1:
            found = self._part.leaves[low]
        else:
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            left = self._hash(low, middle, inside=inside or outside)
            found = merkle.node_hash(left, self._hash(middle, high, inside=inside or outside))
        if outside:
            self.nodes.append(found)
        return found


def _any(places: Sequence[int], low: int, high: int) -> bool:
    """Return whether a sorted list of places has one from `low` to below `high`."""
    at = bisect_left(places, low)
    return at < len(places) and places[at] < high
