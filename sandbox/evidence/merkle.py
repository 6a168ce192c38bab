"""Hash trees over SHA-256 as in RFC 6962 and RFC 9162, section 2.1."""

from collections.abc import Sequence
from hashlib import sha256

from sandbox.errors import InvalidInputError

EMPTY = sha256(b"").digest()  # The root of no leaves.


def leaf_hash(data: bytes | memoryview) -> bytes:
    """Return the hash of a leaf, 32 bytes: SHA-256 of a byte 0 and its data."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node, 32 bytes: SHA-256 of a byte 1 and its children's hashes."""
    return sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree over leaf hashes, 32 bytes.

    Built level by level; an odd last node moves up unchanged. This gives RFC 6962's tree, whose
    left subtree has the largest power of two of leaves that is less than their number.
    """
    if not leaves:
        return EMPTY
    level = b"".join(leaves)
    while len(level) > 32:
        odd = level[-32:] if len(level) % 64 else b""
        pairs = range(0, len(level) - 63, 64)
        level = b"".join([sha256(b"\x01" + level[n : n + 64]).digest() for n in pairs]) + odd
    return level


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree (RFC 9162, 2.1.3.1).

    Raises:
        InvalidInputError: the tree has no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise InvalidInputError(f"leaf {index!r}: the tree has {len(leaves)}.")
    path: list[bytes] = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _up(level)
        index >>= 1
    return path


def consistency(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the proof that the tree over the first `old_size` leaves was extended (2.1.4.1).

    Raises:
        InvalidInputError: the tree has fewer leaves.
    """
    if not 0 <= old_size <= len(leaves):
        raise InvalidInputError(f"old size {old_size!r}: the tree has {len(leaves)} leaves.")
    return _subproof(old_size, leaves, whole=True) if 0 < old_size < len(leaves) else []


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Return whether a proof shows that a leaf hash has number `index` in a tree.

    RFC 9162, section 2.1.3.2. Take `size` and `root` from the same checkpoint: the proof alone does
    not fix the size, because trees of several sizes have paths of the same shape.
    """
    if not 0 <= index < size or any(len(node) != 32 for node in (leaf, root, *path)):
        return False
    place, last, found = index, size - 1, leaf
    for node in path:
        if not last:
            return False
        if place & 1 or place == last:
            found = node_hash(node, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, node)
        place, last = place >> 1, last >> 1
    return not last and found == root


def is_consistent(
    old_size: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]
) -> bool:
    """Return whether a proof shows that a tree extends an older one (RFC 9162, 2.1.4.2).

    Take each size and its root from the same checkpoint; see `includes`.
    """
    if not 0 <= old_size <= size or any(len(node) != 32 for node in (old_root, root, *path)):
        return False
    if old_size in (0, size):
        same = old_size < size or old_root == root
        return not path and same and (old_size > 0 or old_root == EMPTY)
    nodes = list(path)
    if old_size & (old_size - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        return False
    place, last = old_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if not last:
            return False
        if place & 1 or place == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, node)
        place, last = place >> 1, last >> 1
    return not last and old == old_root and new == root


def _up(level: list[bytes]) -> list[bytes]:
    """Return the nodes one level above."""
    pairs = range(0, len(level) - 1, 2)
    return [node_hash(level[n], level[n + 1]) for n in pairs] + level[len(level) & ~1 :]


def _subproof(old_size: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """Return RFC 9162's SUBPROOF; `whole` is its b: the old root is known to the verifier."""
    size = len(leaves)
    if old_size == size:
        return [] if whole else [root(leaves)]
    split = 1 << (size - 1).bit_length() - 1
    left, right = leaves[:split], leaves[split:]
    if old_size <= split:
        return [*_subproof(old_size, left, whole=whole), root(right)]
    return [*_subproof(old_size - split, right, whole=False), root(left)]
