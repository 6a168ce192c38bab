"""Hash trees as RFC 6962 defines them: published vectors, and what must hold for any tree."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.errors import InvalidInputError
from sandbox.evidence import merkle

# Certificate Transparency's reference vectors: eight leaves, and the roots of the first n of them.
DATA = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
DATA.append("606162636465666768696a6b6c6d6e6f")
LEAVES = [merkle.leaf_hash(bytes.fromhex(text)) for text in DATA]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


NODES = {  # [first leaf : last leaf) to the node over them, as published.
    "01": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "12": "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "24": "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "45": "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "46": "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "48": "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    "68": "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
}
INCLUSION = {  # (index, size) to the path.
    (0, 1): [],
    (0, 8): [NODES["12"], NODES["24"], NODES["48"]],
    (5, 8): [NODES["45"], NODES["68"], ROOTS[4]],
    (2, 3): [ROOTS[2]],
    (1, 5): [NODES["01"], NODES["24"], NODES["45"]],
}
CONSISTENCY = {  # (old size, size) to the path.
    (1, 1): [],
    (1, 8): [NODES["12"], NODES["24"], NODES["48"]],
    (6, 8): [NODES["46"], NODES["68"], ROOTS[4]],
    (2, 5): [NODES["24"], NODES["45"]],
}


def recursive(leaves: list[bytes]) -> bytes:
    """The definition: RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(recursive(leaves[:split]), recursive(leaves[split:]))


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(n.to_bytes(4, "big")) for n in range(size)]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_published(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_the_inclusion_proofs_are_those_published(index: int, size: int) -> None:
    path = [bytes.fromhex(text) for text in INCLUSION[index, size]]
    assert merkle.inclusion(LEAVES[:size], index) == path
    assert merkle.includes(LEAVES[index], index, size, path, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_the_consistency_proofs_are_those_published(old: int, size: int) -> None:
    path = [bytes.fromhex(text) for text in CONSISTENCY[old, size]]
    before, after = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[size])
    assert merkle.consistency(LEAVES[:size], old) == path
    assert merkle.is_consistent(old, before, size, after, path)


def test_the_root_is_the_definition_for_every_size() -> None:
    leaves = leaves_of(300)
    for size in range(301):
        assert merkle.root(leaves[:size]) == recursive(leaves[:size])


def test_a_leaf_is_hashed_alike_from_bytes_and_from_a_view() -> None:
    assert merkle.leaf_hash(memoryview(b"rows")) == merkle.leaf_hash(b"rows")


def turns(index: int, size: int) -> list[bool]:
    """For each node of a path from the leaf up, whether it stands on the left (RFC 9162, 2.1.3)."""
    if size == 1:
        return []
    split = 1 << (size - 1).bit_length() - 1
    right = index >= split
    return [*turns(index - split, size - split), right] if right else [*turns(index, split), right]


@given(st.integers(1, 200), st.data())
@settings(deadline=None)
def test_a_leaf_is_proved_and_no_other(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    root, path = merkle.root(leaves), merkle.inclusion(leaves, index)
    assert merkle.includes(leaves[index], index, size, path, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index) | st.just(size))
    assert not merkle.includes(leaves[index], other, size, path, root)
    assert not merkle.includes(bytes(32), index, size, path, root)
    assert not merkle.includes(leaves[index], index, size, path, bytes(32))
    assert not merkle.includes(leaves[index], index, size, [*path, bytes(32)], root)
    for n in range(len(path)):
        wrong = [*path[:n], bytes([path[n][0] ^ 1, *path[n][1:]]), *path[n + 1 :]]
        assert not merkle.includes(leaves[index], index, size, wrong, root)
        assert not merkle.includes(leaves[index], index, size, path[:n], root)
        assert not merkle.includes(leaves[index], index, size, [*path[:n], b"short"], root)


@given(st.integers(1, 200), st.integers(-1, 400), st.data())
@settings(deadline=None)
def test_another_size_is_refused_unless_the_path_turns_alike(
    size: int, other: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    root, path = merkle.root(leaves), merkle.inclusion(leaves, index)
    alike = other > index and turns(index, other) == turns(index, size)
    assert merkle.includes(leaves[index], index, other, path, root) == alike


@given(st.integers(2, 200), st.data())
@settings(deadline=None)
def test_growth_is_proved_from_one_old_size_only(size: int, data: st.DataObject) -> None:
    old, other = data.draw(st.lists(st.integers(1, size), min_size=2, max_size=2, unique=True))
    leaves = leaves_of(size)
    root, before, path = (
        merkle.root(leaves),
        merkle.root(leaves[:old]),
        merkle.consistency(leaves, old),
    )
    assert not merkle.is_consistent(other, before, size, root, path)
    assert not merkle.is_consistent(0, before, size, root, path)
    assert not merkle.is_consistent(-old, before, size, root, path)
    assert not merkle.is_consistent(old, before, old - 1, root, path)


@given(st.integers(), st.integers(), st.lists(st.binary(max_size=40)), st.binary(max_size=40))
def test_no_proof_however_odd_raises(a: int, b: int, path: list[bytes], digest: bytes) -> None:
    whole = [leaf[:32].ljust(32, b"x") for leaf in path]
    root = digest[:32].ljust(32, b"x")
    for nodes, end in ((path, digest), (whole, root)):
        assert not merkle.includes(end, a, b, nodes, bytes(32))
        assert not merkle.is_consistent(a, end, b, bytes(32), nodes)


@given(st.integers(1, 200), st.data())
@settings(deadline=None)
def test_growth_is_proved_and_a_rewritten_prefix_is_not(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    leaves = leaves_of(size)
    root, before = merkle.root(leaves), merkle.root(leaves[:old])
    path = merkle.consistency(leaves, old)
    assert merkle.is_consistent(old, before, size, root, path)
    changed = data.draw(st.integers(0, old - 1))
    rewritten = merkle.root([*leaves[:changed], bytes(32), *leaves[changed + 1 : old]])
    assert not merkle.is_consistent(old, rewritten, size, root, path)
    assert not merkle.is_consistent(old, before, size, bytes(32), path)
    assert not merkle.is_consistent(old, before, size, root, [*path, bytes(32)])
    for n in range(len(path)):
        wrong = [*path[:n], bytes([path[n][0] ^ 1, *path[n][1:]]), *path[n + 1 :]]
        assert not merkle.is_consistent(old, before, size, root, wrong)


def test_an_empty_log_is_the_beginning_of_any() -> None:
    leaves = leaves_of(5)
    assert merkle.consistency(leaves, 0) == []
    assert merkle.is_consistent(0, merkle.EMPTY, 5, merkle.root(leaves), [])
    assert merkle.is_consistent(0, merkle.EMPTY, 0, merkle.EMPTY, [])
    assert not merkle.is_consistent(0, bytes(32), 5, merkle.root(leaves), [])
    assert not merkle.is_consistent(6, bytes(32), 5, merkle.root(leaves), [])


def test_a_tree_of_no_leaves_has_the_empty_root_alone() -> None:
    assert not merkle.is_consistent(0, merkle.EMPTY, 0, bytes(32), [])
    assert not merkle.is_consistent(0, bytes(32), 0, bytes(32), [])
    assert not merkle.is_consistent(0, merkle.EMPTY, 0, merkle.EMPTY, [bytes(32)])


def test_what_is_not_there_cannot_be_proved() -> None:
    for index in (-1, 8):
        with pytest.raises(InvalidInputError, match="the tree has 8"):
            merkle.inclusion(LEAVES, index)
    with pytest.raises(InvalidInputError, match="the tree has 8"):
        merkle.consistency(LEAVES, 9)
