"""The Merkle tree of RFC 6962 against a transcription of its definitions, and proofs of every size.

The vectors follow the public ones for RFC 6962: for each pair of sizes the right proof, and that proof
corrupted in every way somebody thought of; a verifier has to take the first and refuse all others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import AuditError
from moderator.store.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_spans,
    inclusion_spans,
    leaf_hash,
    node_hash,
    subtree_roots,
    verify_consistency,
    verify_inclusion,
)

SIZES = range(41)
LEAVES = [leaf_hash(bytes([index])) for index in SIZES]
ROOTS = [Frontier(LEAVES[:size]).root() for size in SIZES]
OTHER = hashlib.sha256(b"other").digest()


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, over leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def test_published_values() -> None:
    # the test vectors of Certificate Transparency's reference implementation
    inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    roots = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    leaves = [leaf_hash(bytes.fromhex(each)) for each in inputs]
    assert {size: Frontier(leaves[:size]).root().hex() for size in roots} == roots


@pytest.mark.parametrize("size", SIZES)
def test_roots_and_proofs_are_those_of_the_definition(size: int) -> None:
    leaves = LEAVES[:size]
    assert ROOTS[size] == mth(leaves)
    for index in range(size):
        assert subtree_roots(leaves, inclusion_spans(index, size)) == path(index, leaves)
    for first in range(1, size + 1):
        assert subtree_roots(leaves, consistency_spans(first, size)) == subproof(first, leaves, True)


@dataclass(frozen=True)
class Inclusion:
    index: int
    size: int
    leaf: bytes
    path: tuple[bytes, ...]
    root: bytes

    def check(self) -> None:
        verify_inclusion(self.index, self.size, self.leaf, self.path, self.root)


@dataclass(frozen=True)
class Consistency:
    first: int
    second: int
    first_root: bytes
    second_root: bytes
    path: tuple[bytes, ...]

    def check(self) -> None:
        verify_consistency(self.first, self.second, self.first_root, self.second_root, self.path)


def right_inclusions() -> Iterator[Inclusion]:
    for size in SIZES:
        for index in range(size):
            yield Inclusion(index, size, LEAVES[index], tuple(path(index, LEAVES[:size])), ROOTS[size])


def right_consistencies() -> Iterator[Consistency]:
    yield Consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, ())
    for second in SIZES:
        for first in range(1, second + 1):
            proof = tuple(subproof(first, LEAVES[:second], True))
            yield Consistency(first, second, ROOTS[first], ROOTS[second], proof)


def wrong_paths(right: tuple[bytes, ...], *roots: bytes) -> Iterator[tuple[bytes, ...]]:
    """Every hash changed by a bit, taken out, doubled or cut; hashes added at both ends; neighbours
    swapped; no hash at all."""
    for at, each in enumerate(right):
        before, after = right[:at], right[at + 1 :]
        yield (*before, bytes([each[0] ^ 1]) + each[1:], *after)
        yield (*before, each[:-1] + bytes([each[-1] ^ 128]), *after)
        yield (*before, *after)
        yield (*before, each, each, *after)
        yield (*before, each[:-1], *after)
        yield (*before, each + b"\x00", *after)
        yield (*before, b"", *after)
        if after and after[0] != each:
            yield (*before, after[0], each, *after[1:])
    for more in (OTHER, EMPTY_ROOT, b"", *roots):
        yield (*right, more)
        yield (more, *right)
    if right:
        yield ()


def wrong_inclusions(right: Inclusion) -> Iterator[Inclusion]:
    yield from (replace(right, path=each) for each in wrong_paths(right.path, right.root, right.leaf))
    for index in (right.index - 1, right.index + 1, right.index ^ 2, right.size, -1, right.index + 2**64):
        if index != right.index:
            yield replace(right, index=index)
    # another size may have a path of this length, and then its root tells them apart
    for size in (0, -1, -right.size, right.index, right.size * 2 + 1, right.size + 2**64):
        if size != right.size:
            yield replace(right, size=size)
    for other in (OTHER, EMPTY_ROOT, b"", right.root[:-1], right.root + b"\x00"):
        yield replace(right, root=other)
        yield replace(right, leaf=other)
    if right.size > 1:
        yield replace(right, root=right.leaf, path=())
        yield replace(right, leaf=right.root)
        yield replace(right, leaf=node_hash(right.leaf, right.path[0]), path=right.path[1:])


def wrong_consistencies(right: Consistency) -> Iterator[Consistency]:
    roots = (right.first_root, right.second_root)
    yield from (replace(right, path=each) for each in wrong_paths(right.path, *roots))
    for other in (OTHER, b"", right.first_root[:-1], right.first_root + b"\x00"):
        yield replace(right, first_root=other)
        yield replace(right, second_root=other)
    for first in (0, -1, right.second + 1, right.first + 2**64):
        if first != right.first:
            yield replace(right, first=first)
    for second in (0, -1, right.first - 1, right.second * 2 + 1, right.second + 2**64):
        if second != right.second:
            yield replace(right, second=second)
    if right.first != right.second:
        yield replace(right, first=right.second, second=right.first)
        yield replace(right, first_root=right.second_root, second_root=right.first_root)
        yield replace(right, first_root=right.second_root)
        yield replace(right, second_root=right.first_root)
        yield replace(right, first=right.second)
        yield replace(right, second=right.first)
        yield replace(right, first=0, first_root=EMPTY_ROOT, path=())
        yield replace(right, first=0, first_root=EMPTY_ROOT)


def test_right_inclusions_are_taken_and_wrong_ones_refused() -> None:
    taken = []
    count = 0
    for right in right_inclusions():
        right.check()
        for wrong in wrong_inclusions(right):
            count += 1
            try:
                wrong.check()
            except AuditError:
                continue
            taken.append((right, wrong))
    assert taken == []
    assert count > 20_000


def test_right_consistencies_are_taken_and_wrong_ones_refused() -> None:
    taken = []
    count = 0
    for right in right_consistencies():
        right.check()
        for wrong in wrong_consistencies(right):
            count += 1
            try:
                wrong.check()
            except AuditError:
                continue
            taken.append((right, wrong))
    assert taken == []
    assert count > 20_000


@pytest.mark.parametrize(
    ("first", "second", "first_root", "second_root", "proof"),
    [
        (0, 0, OTHER, OTHER, ()),  # equal, but no tree without leaves has this root
        (0, 0, EMPTY_ROOT, EMPTY_ROOT, (OTHER,)),
        (0, 1, EMPTY_ROOT, LEAVES[0], ()),  # everything grows from nothing: it proves nothing
        (0, 1, EMPTY_ROOT, LEAVES[0], (LEAVES[0],)),
        (1, 1, OTHER, LEAVES[0], ()),
        (1, 0, LEAVES[0], EMPTY_ROOT, ()),
        (2, 1, ROOTS[2], ROOTS[1], ()),
        (-1, -1, EMPTY_ROOT, EMPTY_ROOT, ()),
        (1, 2, ROOTS[1], ROOTS[2], ()),
        (4, 8, ROOTS[4], ROOTS[8], ()),
    ],
)
def test_degenerate_consistency_is_refused(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: tuple[bytes, ...]
) -> None:
    with pytest.raises(AuditError):
        verify_consistency(first, second, first_root, second_root, proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (0, -1), (2**64, 2**64)])
def test_degenerate_inclusion_is_refused(index: int, size: int) -> None:
    for proof in ((), (LEAVES[0],)):
        with pytest.raises(AuditError, match="has no leaf"):
            verify_inclusion(index, size, LEAVES[0], proof, LEAVES[0])


def test_refusals_say_why() -> None:
    with pytest.raises(AuditError, match="the proof has 0 hashes, not 3"):
        verify_inclusion(0, 8, LEAVES[0], (), ROOTS[8])
    with pytest.raises(AuditError, match="a hash has 32 bytes, not 1"):
        verify_inclusion(0, 2, LEAVES[0], (b"x",), ROOTS[2])
    with pytest.raises(AuditError, match="does not lead to the root of the first 3 leaves"):
        verify_consistency(3, 4, OTHER, ROOTS[4], tuple(subproof(3, LEAVES[:4], True)))


@given(st.integers(1, 400), st.data())
def test_proofs_hold_for_any_size(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(index.to_bytes(2, "big")) for index in range(size)]
    root = Frontier(leaves).root()
    index = data.draw(st.integers(0, size - 1))
    verify_inclusion(index, size, leaves[index], subtree_roots(leaves, inclusion_spans(index, size)), root)
    first = data.draw(st.integers(1, size))
    proof = subtree_roots(iter(leaves), consistency_spans(first, size))
    verify_consistency(first, size, Frontier(leaves[:first]).root(), root, proof)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_frontier_goes_on_where_it_was_put_down(before: int, after: int) -> None:
    leaves = [leaf_hash(index.to_bytes(2, "big")) for index in range(before + after)]
    stored = Frontier(leaves[:before])
    assert len(stored.dump()) == 32 * before.bit_count()
    taken_up = Frontier.load(before, stored.dump())
    for leaf in leaves[before:]:
        taken_up.append(leaf)
    assert (taken_up.size, taken_up.root()) == (before + after, mth(leaves))


@pytest.mark.parametrize(("size", "data"), [(0, b"x"), (1, b""), (3, bytes(32)), (-1, b""), (2, bytes(33))])
def test_a_frontier_of_another_size_is_refused(size: int, data: bytes) -> None:
    with pytest.raises(AuditError, match="no frontier of a tree"):
        Frontier.load(size, data)


def test_leaves_that_are_not_there() -> None:
    with pytest.raises(AuditError, match="there are no leaves 4 to 7"):
        subtree_roots(LEAVES[:6], [(4, 8)])
